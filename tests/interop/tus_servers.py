"""TUS servers that we did not write, and a frontend that makes uploads on them as Workbench's makes them on tusd."""

from __future__ import annotations

import base64
import contextlib
import http.client
import importlib.util
import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

HERE = Path(__file__).parent
SERVERS = ("@tus/server", "tuspyserver", "tussi")


class Missing(Exception):  # noqa: N818
    """A server is not installed; the text says how it is."""


class TusServer:
    """One of :data:`SERVERS`, running until the end of the ``with``.

    :raises Missing: it is not installed
    """

    def __init__(self, name: str, directory: Path) -> None:
        self.name = name
        self.directory = directory
        self.can_terminate = name != "tussi"
        """Whether it has the termination extension."""
        self.keeps_cut_bytes = name != "tussi"
        """Whether it keeps what arrived of a PATCH that was cut."""
        self._command = _command(name, directory)

    def __enter__(self) -> TusServer:
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=HERE
        )
        assert self._process.stdout
        self.port = int(self._process.stdout.readline())
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
        if self._process.stdout:
            self._process.stdout.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def create(self, filename: str, size: int) -> str:
        """Make an upload; its path."""
        pairs = {"filename": filename, "filetype": "application/octet-stream"}
        metadata = ",".join(f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in pairs.items())
        headers = {"Tus-Resumable": "1.0.0", "Upload-Length": str(size), "Upload-Metadata": metadata}
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)) as connection:
            connection.request("POST", "/files/" if self.name == "tuspyserver" else "/files", headers=headers)
            response = connection.getresponse()
            assert response.status == 201, (response.status, response.read())
            return urlsplit(response.headers["Location"]).path

    def head(self, path: str) -> tuple[int, str | None]:
        """HEAD's status and offset."""
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)) as connection:
            connection.request("HEAD", path, headers={"Tus-Resumable": "1.0.0"})
            response = connection.getresponse()
            return response.status, response.headers["Upload-Offset"]

    def content(self, path: str) -> bytes:
        """The bytes that it has stored."""
        return (self.directory / path.rpartition("/")[2]).read_bytes()


def _command(name: str, directory: Path) -> list[str]:
    if name != "@tus/server":
        if importlib.util.find_spec(name) is None:
            raise Missing(f"{name} is not installed: pip install {name}")
        return [sys.executable, "tus_python_server.py", name, str(directory)]
    node = shutil.which("node")
    if node is None:
        raise Missing("there is no node: install Node 20 or newer")
    if not (HERE / "node_modules" / "@tus" / "server").is_dir():
        raise Missing("@tus/server is not installed: npm install --prefix tests/interop --no-package-lock")
    return [node, "tus_node_server.mjs", str(directory)]


@contextlib.contextmanager
def frontend(server: TusServer, upload_host: str) -> Iterator[Frontend]:
    """Answers create-file by making an upload on ``server``, whose address it gives as ``upload_host``."""
    with Frontend(server, upload_host) as stub:
        threading.Thread(target=stub.serve_forever, args=(0.02,), daemon=True).start()
        yield stub
        stub.shutdown()


class Frontend(ThreadingHTTPServer):
    """As much of Workbench's frontend as create-file takes; its pages are not for us (403)."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, server: TusServer, upload_host: str) -> None:
        self.server = server
        self.upload_host = upload_host
        self.paths: list[str] = []
        """Of the uploads that were made."""
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def create_file_url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/api/v1/workflows/1/steps/step-1/files"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Frontend

    def do_POST(self) -> None:
        form = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        path = self.server.server.create(form["filename"], form["size"])
        self.server.paths.append(path)
        self._answer(200, {"tusUploadUrl": self.server.upload_host + path})

    def do_GET(self) -> None:
        self._answer(403, {})

    def _answer(self, status: int, content: Any) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass
