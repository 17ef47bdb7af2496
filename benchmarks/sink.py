"""A server that takes uploads and throws the bytes away, in a process of its own.

It speaks as much as the clients need: Workbench's create-file, and TUS PATCH and HEAD, over HTTP/1.1 or HTTPS, at two
addresses, as Workbench's frontend and upload host are two. It can cut connections, and counts what it sees.
"""

from __future__ import annotations

import http.client
import io
import json
import multiprocessing
import os
import secrets
import shutil
import socket
import ssl
import struct
import tempfile
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from ipaddress import ip_address
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

PATH = "/api/v1/workflows/1/steps/step-1/files"
TOKEN = "a-token"
_BUFFER = 1024 * 1024
# of Linux's struct tcp_info, where tcpi_bytes_received is
_TCP_INFO_BYTES_RECEIVED = 128


@dataclass
class Counts:
    """What the sink saw since the last time it was asked.

    :ivar requests: by method
    :ivar connections: that were made
    :ivar cuts: connections that were cut
    :ivar wire: bytes that arrived, of requests' heads and TLS too, and also those that were never read; of connections
        that have ended
    """

    requests: Counter[str] = field(default_factory=Counter)
    connections: int = 0
    cuts: int = 0
    wire: int = 0


class Sink:
    """``with Sink() as sink: upload(sink.create_file_url, …)``.

    :param tls: speak HTTPS, with a throw-away certificate
    :param cut_every: bytes of an upload after which its connection is cut; 0 never cuts
    :param receive_buffer: bytes that the kernel may hold for the sink; 0 leaves that to the kernel
    """

    def __init__(self, *, tls: bool = False, cut_every: int = 0, receive_buffer: int = 0) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="workbench-benchmark-"))
        self.scheme = "https" if tls else "http"
        self.authority = self._directory / "authority.pem"
        """The certificate that signs the sink's."""
        self.authorities = self._directory / "authorities.pem"
        """The same with the usual ones, since reading all of those is a part of each client's work."""
        if tls:
            _make_certificate(self._directory)
        self._pipe, theirs = multiprocessing.Pipe()
        # not forked: it should be as small as it can be, and no copy of a process with threads
        self._process = multiprocessing.get_context("spawn").Process(
            target=_run, args=(theirs, self._directory if tls else None, cut_every, receive_buffer), daemon=True
        )

    def __enter__(self) -> Sink:
        self._process.start()
        self.frontend_port, self.upload_port = self._pipe.recv()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.join()
        shutil.rmtree(self._directory)

    @property
    def create_file_url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.frontend_port}{PATH}"

    def connection_json(self, create_file_url: str | None = None) -> str:
        """For ``AIRFLOW_CONN_…``."""
        host = create_file_url or self.create_file_url
        return json.dumps({"conn_type": "workbench", "host": host, "password": TOKEN})

    def upload_url(self, size: int) -> str:
        """Of a new upload, made outside of what is measured."""
        return str(self._ask("create", size))

    def take_counts(self) -> Counts:
        """What was seen since the last time."""
        counts: Counts = self._ask("counts")
        return counts

    def send_to(self, frontend: int, upload: int) -> None:
        """Let clients believe that it listens at these ports: those of a proxy."""
        self._ask("ports", upload)
        self.frontend_port, self.upload_port = frontend, upload

    def _ask(self, what: str, value: int = 0) -> Any:
        self._pipe.send((what, value))
        return self._pipe.recv()


# ---- in its own process


class _Server:
    def __init__(self, directory: Path | None, cut_every: int, receive_buffer: int) -> None:
        self.scheme = "https" if directory else "http"
        self.cut_every = cut_every
        self.counts = Counts()
        self._lock = threading.Lock()
        self.uploads: dict[str, _Upload] = {}
        self._context = None
        if directory:
            self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            self._context.load_cert_chain(directory / "server.pem")
        self._frontend, self._upload = (_listen(receive_buffer) for _ in range(2))
        self.ports = [each.getsockname()[1] for each in (self._frontend, self._upload)]
        self.advertised_port = self.ports[1]
        for each in (self._frontend, self._upload):
            threading.Thread(target=self._accept, args=(each,), daemon=True).start()

    def create(self, size: int) -> str:
        path = f"/files/{secrets.token_hex(16)}"
        self.uploads[path] = _Upload(size)
        return f"{self.scheme}://127.0.0.1:{self.advertised_port}{path}"

    def take_counts(self) -> Counts:
        with self._lock:
            taken, self.counts = self.counts, Counts()
        return taken

    def count(self, *, method: str | None = None, connections: int = 0, cuts: int = 0, wire: int = 0) -> None:
        with self._lock:
            if method:
                self.counts.requests[method] += 1
            self.counts.connections += connections
            self.counts.cuts += cuts
            self.counts.wire += wire

    def _accept(self, listener: socket.socket) -> None:
        while True:
            connection, _ = listener.accept()
            self.count(connections=1)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, plain: socket.socket) -> None:
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = plain
        try:
            if self._context:
                connection = self._context.wrap_socket(plain, server_side=True)
            conversation = _Conversation(self, connection)
            while conversation.serve_request():
                pass
        except OSError:
            pass
        finally:
            self.count(wire=_bytes_received(connection))
            connection.close()


@dataclass
class _Upload:
    size: int
    offset: int = 0


class _Conversation:
    """One connection's requests."""

    def __init__(self, server: _Server, connection: socket.socket) -> None:
        self._server = server
        self._connection = connection
        self._buffer = memoryview(bytearray(_BUFFER))
        self._read = b""

    def serve_request(self) -> bool:
        """False at the end of the connection."""
        while b"\r\n\r\n" not in self._read:
            more = self._connection.recv(65536)
            if not more:
                return False
            self._read += more
        head, _, self._read = self._read.partition(b"\r\n\r\n")
        line, _, fields = head.partition(b"\r\n")
        method, path, _ = line.decode().split(" ")
        headers = http.client.parse_headers(io.BytesIO(fields + b"\r\n\r\n"))
        self._server.count(method=method)
        length = int(headers.get("Content-Length", 0))
        if headers.get("Expect"):
            self._connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        if method == "POST":
            return self._create(length)
        upload = self._server.uploads[urlsplit(path).path]
        if method == "PATCH" and int(headers["Upload-Offset"]) != upload.offset:
            return False
        if method == "PATCH" and not self._discard(upload, length):
            return False
        self._answer(
            200 if method == "HEAD" else 204,
            {"Tus-Resumable": "1.0.0", "Upload-Offset": upload.offset, "Upload-Length": upload.size},
        )
        return True

    def _create(self, length: int) -> bool:
        while len(self._read) < length:
            self._read += self._connection.recv(65536)
        asked, self._read = json.loads(self._read[:length]), self._read[length:]
        answer = json.dumps({"tusUploadUrl": self._server.create(asked["size"])}).encode()
        self._answer(200, {"Content-Type": "application/json", "Content-Length": len(answer)}, answer)
        return True

    def _discard(self, upload: _Upload, length: int) -> bool:
        """Take ``length`` bytes, or cut the connection before. False if it was cut."""
        every = self._server.cut_every
        left = length - len(self._read)
        upload.offset += len(self._read)
        self._read = b""
        until_cut = every - upload.offset % every if every else left + 1
        while left:
            count = self._connection.recv_into(self._buffer, min(left, until_cut, _BUFFER))
            if not count:
                return False
            left -= count
            upload.offset += count
            until_cut -= count
            if not until_cut and left:
                self._server.count(cuts=1)
                # with a reset, as a proxy that dies
                self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return False
        return True

    def _answer(self, status: int, headers: Mapping[str, object], body: bytes = b"") -> None:
        head = {"Date": formatdate(usegmt=True), **headers}
        lines = [f"HTTP/1.1 {status} {http.client.responses[status]}", *(f"{key}: {head[key]}" for key in head), "", ""]
        self._connection.sendall("\r\n".join(lines).encode() + body)


def _run(pipe: Connection, directory: Path | None, cut_every: int, receive_buffer: int) -> None:
    server = _Server(directory, cut_every, receive_buffer)
    pipe.send(server.ports)
    while True:
        try:
            what, value = pipe.recv()
        except EOFError:
            return
        if what == "create":
            pipe.send(server.create(value))
        elif what == "counts":
            pipe.send(server.take_counts())
        else:
            server.advertised_port = value
            pipe.send(None)


def _listen(receive_buffer: int) -> socket.socket:
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    if receive_buffer:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    return listener


def _bytes_received(connection: socket.socket) -> int:
    """0, where the kernel does not say."""
    try:
        info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 192)
        return int(struct.unpack_from("Q", info, _TCP_INFO_BYTES_RECEIVED)[0])
    except (AttributeError, OSError, struct.error):
        return 0


# ---- TLS


def _make_certificate(directory: Path) -> None:
    import certifi
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    def build(name: str, key: Any, issuer: str, issuer_key: Any, extension: x509.ExtensionType) -> bytes:
        now = datetime.now(UTC)
        names = [x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, each)]) for each in (name, issuer)]
        builder = (
            x509.CertificateBuilder(*reversed(names), key.public_key(), x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(extension, critical=False)
        )
        return builder.sign(issuer_key, hashes.SHA256()).public_bytes(Encoding.PEM)

    authority_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    address = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    authority = build("benchmark", authority_key, "benchmark", authority_key, x509.BasicConstraints(True, None))
    certificate = build("127.0.0.1", key, "benchmark", authority_key, address)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (directory / "authority.pem").write_bytes(authority)
    (directory / "authorities.pem").write_bytes(Path(certifi.where()).read_bytes() + b"\n" + authority)
    (directory / "server.pem").write_bytes(certificate + private)
    os.chmod(directory / "server.pem", 0o600)
