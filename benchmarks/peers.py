"""What a user would take instead, as subjects: each sends one file to an upload URL of the sink."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import requests
from sink import Sink
from tusclient.client import TusClient

HERE = Path(__file__).parent
_HEADERS = {"Tus-Resumable": "1.0.0", "Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"}


def curl(sink: Sink, file: Path) -> None:
    headers = [part for name, value in _HEADERS.items() for part in ("-H", f"{name}: {value}")]
    command = ["curl", "-sS", "--fail", "--noproxy", "*", "--cacert", str(sink.authorities), "-X", "PATCH", *headers]
    subprocess.run([*command, "-T", str(file), sink.upload_url(file.stat().st_size)], check=True)


def sendfile(sink: Sink, file: Path) -> None:
    """The least that this machine needs for plain HTTP."""
    size = file.stat().st_size
    parts = urlsplit(sink.upload_url(size))
    head = {"Host": parts.netloc, **_HEADERS, "Content-Length": str(size)}
    lines = [f"PATCH {parts.path} HTTP/1.1", *(f"{name}: {value}" for name, value in head.items()), "", ""]
    with socket.create_connection((parts.hostname or "", parts.port or 0)) as connection, file.open("rb") as opened:
        connection.sendall("\r\n".join(lines).encode())
        connection.sendfile(opened)
        if not connection.recv(65536).startswith(b"HTTP/1.1 204"):
            raise OSError("not taken")


def requests_patch(sink: Sink, file: Path) -> None:
    with file.open("rb") as opened:
        url = sink.upload_url(file.stat().st_size)
        requests.patch(url, data=opened, headers=_HEADERS).raise_for_status()


def tuspy(sink: Sink, file: Path, chunk_size: int | None = None, retries: int = 0) -> None:
    """Its own HEAD at the start is left out, and its pause of 30 s before a retry too."""
    chunk = {"chunk_size": chunk_size} if chunk_size else {}
    uploader = TusClient("").uploader(str(file), retries=retries, retry_delay=0, **chunk)
    uploader.set_url(sink.upload_url(file.stat().st_size))
    uploader.upload()


def tus_js(sink: Sink, file: Path) -> float:
    done = subprocess.run(
        ["node", str(HERE / "tus_js.mjs"), sink.upload_url(file.stat().st_size), str(file)],
        env={**os.environ, "NODE_EXTRA_CA_CERTS": str(sink.authority)},
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout)


def has_tus_js() -> bool:
    return bool(shutil.which("node")) and (HERE / "node_modules" / "tus-js-client").is_dir()


def versions() -> str:
    """Of those that are no Python packages, for a table's notes."""
    found = [" ".join(_output("curl", "--version").split()[:2])]
    if has_tus_js():
        package = json.loads((HERE / "node_modules" / "tus-js-client" / "package.json").read_text())
        found.append(f"tus-js-client {package['version']} on node {_output('node', '--version').strip()}")
    else:
        found.append("tus-js-client was left out: it needs node and npm")
    return f"{'; '.join(found)}."


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
