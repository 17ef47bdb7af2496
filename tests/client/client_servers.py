"""Real servers for what the sandbox does not do: wrong bytes, cut connections, TLS, proxies."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import socket
import ssl
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import urllib3
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

Handler = Callable[["Peer"], None]


@dataclass
class Peer:
    """One connection, from the server's side."""

    sock: socket.socket
    number: int

    def read_head(self) -> bytes:
        """Read one request's head; empty if the client has gone."""
        head = b""
        while b"\r\n\r\n" not in head:
            byte = self.sock.recv(1)
            if not byte:
                return b""
            head += byte
        return head

    def read_request(self) -> tuple[bytes, bytes]:
        """Read one request: its head, and its body by Content-Length."""
        head = self.read_head()
        length = next(
            (int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")), 0
        )
        body = b""
        while len(body) < length and (more := self.sock.recv(length - len(body))):
            body += more
        return head, body

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def answer(self, status: str = "200 OK", body: bytes = b"", *headers: str) -> None:
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
        self.send("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body)

    def reset(self) -> None:
        """Close with a RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


@dataclass
class Wire:
    """A TCP (or TLS) server on loopback that does what a function says, one thread per connection."""

    handler: Handler
    tls: ssl.SSLContext | None = None
    connections: int = 0
    heads: list[bytes] = field(default_factory=list)
    receive_buffer: int = 0

    def __enter__(self) -> Wire:
        self._listener = socket.create_server(("127.0.0.1", 0))
        if self.receive_buffer:
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.receive_buffer)
        self.port = self._listener.getsockname()[1]
        self.ended = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        with contextlib.suppress(OSError):
            # closing alone leaves the thread waiting for the next connection
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    @property
    def create_file_url(self) -> str:
        return f"{self.url}/api/v1/workflows/7/steps/step-x/files"

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(sock, self.connections), daemon=True).start()

    def _serve(self, sock: socket.socket, number: int) -> None:
        with contextlib.suppress(OSError, ValueError), contextlib.closing(sock):
            if self.tls:
                sock = self.tls.wrap_socket(sock, server_side=True)
            with contextlib.closing(sock):
                self.handler(Peer(sock, number))


def small_send_buffers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let clients notice soon that a server does not read."""
    create_connection = urllib3.util.connection.create_connection

    def create(*args: Any, **kwargs: Any) -> socket.socket:
        sock = create_connection(*args, **kwargs)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16384)
        return sock

    monkeypatch.setattr(urllib3.util.connection, "create_connection", create)


def unused_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@dataclass(frozen=True)
class Certificate:
    """A certificate with its key, as PEM files."""

    cert: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    folder: Path
    name: str

    @classmethod
    def make(
        cls, folder: Path, name: str, issuer: Certificate | None = None, hosts: tuple[str, ...] = ()
    ) -> Certificate:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer.cert.subject if issuer else subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        )
        if hosts:
            names = [x509.IPAddress(ipaddress.ip_address(h)) if h[0].isdigit() else x509.DNSName(h) for h in hosts]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return cls(builder.sign(issuer.key if issuer else key, hashes.SHA256()), key, folder, name)

    @property
    def cert_file(self) -> str:
        return self._write("cert", self.cert.public_bytes(serialization.Encoding.PEM))

    @property
    def key_file(self) -> str:
        return self._write("key", self._key())

    @property
    def both_file(self) -> str:
        return self._write("both", self.cert.public_bytes(serialization.Encoding.PEM) + self._key())

    @property
    def locked_key_file(self) -> str:
        """The key, encrypted."""
        return self._write("locked", self._key(serialization.BestAvailableEncryption(b"secret")))

    def _key(self, encryption: serialization.KeySerializationEncryption | None = None) -> bytes:
        form = serialization.PrivateFormat.PKCS8
        how = encryption or serialization.NoEncryption()
        return self.key.private_bytes(serialization.Encoding.PEM, form, how)

    def _write(self, kind: str, data: bytes) -> str:
        path = self.folder / f"{self.name}-{kind}.pem"
        path.write_bytes(data)
        return str(path)

    def server_context(self, client_authority: Certificate | None = None) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.both_file)
        if client_authority:
            context.load_verify_locations(client_authority.cert_file)
            context.verify_mode = ssl.CERT_REQUIRED
        return context


@dataclass(frozen=True)
class Authority:
    """An authority of one's own, and what it signed."""

    ca: Certificate
    server: Certificate
    wrong_host: Certificate
    client: Certificate

    @classmethod
    def make(cls, folder: Path) -> Authority:
        ca = Certificate.make(folder, "ca")
        return cls(
            ca,
            Certificate.make(folder, "server", ca, ("127.0.0.1", "localhost")),
            Certificate.make(folder, "wrong", ca, ("other.example",)),
            Certificate.make(folder, "client", ca),
        )
