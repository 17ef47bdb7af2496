"""What stands between a client and the sandbox here: TLS, and proxies. Both keep what they could read."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import datetime
import select
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from client.client_servers import Authority, Certificate
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from airflow_provider_workbench.client.async_session import AsyncSession
from airflow_provider_workbench.client.create_file import create_file
from airflow_provider_workbench.client.session import Session
from airflow_provider_workbench.client.settings import Settings
from airflow_provider_workbench.client.steps import read_step
from airflow_provider_workbench.client.tus import HEADERS
from airflow_provider_workbench.client.websocket import WorkflowSocket
from airflow_provider_workbench.sandbox import Sandbox

__all__ = [
    "CONTENT",
    "TRANSPORTS",
    "Asked",
    "Authority",
    "Certificate",
    "Gate",
    "Proxy",
    "Rig",
    "basic",
    "chain_text",
    "signed",
]

CONTENT = b"A\n1\n"


class _Listener:
    """Accepts on a loopback port, one thread per connection."""

    def __init__(self) -> None:
        self.connections = 0
        self.seen = bytearray()
        """Everything that clients sent and that could be read here."""

    def __enter__(self) -> Any:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        # closing alone would leave the thread in accept()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._socket.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._guarded, args=(sock,), daemon=True).start()

    def _guarded(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError), contextlib.closing(sock):
            sock.settimeout(30)
            self.serve(sock)

    def serve(self, sock: socket.socket) -> None:
        raise NotImplementedError

    def pump(self, client: socket.socket, server: socket.socket) -> None:
        """Carry bytes both ways until one side ends."""
        while True:
            pending = isinstance(client, ssl.SSLSocket) and client.pending()
            ready = [client] if pending else select.select([client, server], [], [], 30)[0]
            for end in ready:
                data = end.recv(65536)
                if not data:
                    return
                if end is client:
                    self.seen += data
                    server.sendall(data)
                else:
                    client.sendall(data)


class Gate(_Listener):
    """Terminates TLS in front of a plain port."""

    def __init__(self, context: ssl.SSLContext, target: str) -> None:
        super().__init__()
        self._context = context
        parts = urlsplit(target)
        self._target = (parts.hostname, parts.port)

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def serve(self, sock: socket.socket) -> None:
        with socket.create_connection(self._target) as server:
            try:
                encrypted = self._context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
                encrypted.do_handshake()
            except (ssl.SSLError, OSError):
                # a reset would overtake the alert that says why
                with contextlib.suppress(OSError):
                    raw = socket.socket(fileno=encrypted.detach())
                    with contextlib.closing(raw):
                        raw.shutdown(socket.SHUT_WR)
                        while raw.recv(65536):
                            pass
                return
            with contextlib.closing(encrypted):
                self.pump(encrypted, server)


@dataclass
class Asked:
    """What a proxy was asked: the first line, and the headers by lower-case name."""

    line: str
    headers: dict[str, str]
    raw: bytes


class Proxy(_Listener):
    """An HTTP proxy: tunnels for CONNECT, and passes plain requests on.

    :param answer: given what it was asked, the bytes to answer with instead of passing it on; None passes it on
    :param tls: for a proxy that is itself reached by TLS
    """

    def __init__(self, answer: Callable[[Asked], bytes | None] = lambda _: None, tls: ssl.SSLContext | None = None):
        super().__init__()
        self._answer = answer
        self._tls = tls
        self.asked: list[Asked] = []

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    def url_with(self, credentials: str) -> str:
        return self.url.replace("//", f"//{credentials}@")

    def serve(self, sock: socket.socket) -> None:
        if self._tls:
            sock = self._tls.wrap_socket(sock, server_side=True)
        with contextlib.closing(sock):
            while asked := self._read(sock):
                self.asked.append(asked)
                answer = self._answer(asked)
                if answer is not None:
                    with contextlib.suppress(OSError):
                        sock.sendall(answer)
                        # to the end: a reset would overtake the answer
                        sock.shutdown(socket.SHUT_WR)
                        while sock.recv(65536):
                            pass
                    return
                self._pass_on(sock, asked)
                return

    def _read(self, sock: socket.socket) -> Asked | None:
        raw = b""
        while b"\r\n\r\n" not in raw:
            byte = sock.recv(1)
            if not byte:
                return None
            raw += byte
        self.seen += raw
        line, *lines = raw.decode("latin-1").strip().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (each.partition(":") for each in lines)}
        return Asked(line, headers, raw)

    def _pass_on(self, sock: socket.socket, asked: Asked) -> None:
        method, target, _ = asked.line.split(" ")
        parts = urlsplit(f"//{target}" if method == "CONNECT" else target)
        with socket.create_connection((parts.hostname, parts.port)) as server:
            if method == "CONNECT":
                sock.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                kept = [line for line in asked.raw.split(b"\r\n") if not line.lower().startswith(b"proxy-")]
                if "upgrade" not in asked.headers:
                    # so that the next request comes here by a connection of its own
                    kept = [line for line in kept if not line.lower().startswith(b"connection:")]
                    kept.insert(1, b"Connection: close")
                origin = f"{parts.scheme}://{parts.netloc}".encode()
                server.sendall(b"\r\n".join(kept).replace(b" " + origin, b" ", 1))
            self.pump(sock, server)


def basic(credentials: str) -> str:
    return f"Basic {base64.b64encode(credentials.encode()).decode()}"


@dataclass
class Rig:
    """The sandbox's default Step, and the addresses at which a client finds frontend and upload host.

    :ivar upload_url: of an upload that was made for PATCH and HEAD, at the upload host's own address
    """

    wb: Sandbox
    frontend: str
    upload: str
    extra: dict[str, Any] = field(default_factory=dict)
    gates: tuple[Gate, ...] = ()

    def __post_init__(self) -> None:
        self.wb.advertised_upload_url = None
        with Session(self._settings(self.wb.frontend_url, {})) as session:
            url, _ = create_file(session, session.settings, "a.csv", len(CONTENT))
        self.upload_path = urlsplit(url).path
        self.wb.advertised_upload_url = self.upload
        self.wb.clear_requests()

    def _settings(self, origin: str, extra: dict[str, Any]) -> Settings:
        url = self.wb.step.create_file_url.replace(self.wb.frontend_url, origin)
        limits = {"connect_timeout": 5, "stall_timeout": 5, "finish_timeout": 5, "retry_budget": 1}
        return Settings.from_fields(url, self.wb.step.api_token or "", {**limits, **extra})

    @property
    def settings(self) -> Settings:
        return self._settings(self.frontend, self.extra)

    @property
    def upload_url(self) -> str:
        return self.upload + self.upload_path

    @property
    def secrets(self) -> tuple[str, ...]:
        token = self.wb.step.api_token or ""
        identity = self.upload_path.rpartition("/")[2]
        return (token, base64.b64encode(token.encode()).decode(), identity, identity.replace("+", "%2B"))

    def run(self, transport: str) -> object:
        """Make one request by a transport. Returns what came of it, which is true if the server did it."""
        return TRANSPORTS[transport](self)


def _create(rig: Rig) -> object:
    with Session(rig.settings) as session:
        return create_file(session, rig.settings, "b.csv", len(CONTENT))[1].status == 200


def _patch(rig: Rig) -> object:
    headers = {**HEADERS, "Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"}
    with Session(rig.settings) as session:
        return session.request("PATCH", rig.upload_url, headers=headers, body=CONTENT).status == 204


def _head(rig: Rig) -> object:
    with Session(rig.settings) as session:
        return session.request("HEAD", rig.upload_url, headers=HEADERS).headers.get("upload-offset") == "0"


def _page(rig: Rig) -> object:
    with Session(rig.settings) as session:
        return read_step(session, rig.settings).slug == rig.wb.step.slug


def _page_async(rig: Rig) -> object:
    async def run() -> object:
        async with AsyncSession(rig.settings) as session:
            return (await session.read_step()).slug == rig.wb.step.slug

    return asyncio.run(run())


def _websocket(rig: Rig) -> object:
    async def run() -> object:
        socket = WorkflowSocket(rig.settings)
        try:
            steps = await socket.open()
        finally:
            await socket.close()
        return any(step["slug"] == rig.wb.step.slug for step in steps.values())

    return asyncio.run(run())


TRANSPORTS: dict[str, Callable[[Rig], object]] = {
    "create-file": _create,
    "PATCH": _patch,
    "HEAD": _head,
    "page": _page,
    "page (aiohttp)": _page_async,
    "websocket": _websocket,
}


def chain_text(error: BaseException) -> str:
    """All that an exception and every exception behind it says or holds."""
    text, todo, seen = "", [error], set()
    while todo:
        one = todo.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        text += f"{one!s} {one!r} {one.args!r} {vars(one)!r}\n"
        inside = [one.__context__, one.__cause__, *one.args, *vars(one).values()]
        todo += [each for each in inside if isinstance(each, BaseException)]
    return text


def signed(
    folder: Path,
    name: str,
    issuer: Certificate | None = None,
    *,
    hosts: tuple[x509.GeneralName, ...] = (),
    days: tuple[int, int] = (-1, 1),
    is_authority: bool = False,
) -> Certificate:
    """A certificate of any age; self-signed without an issuer.

    :param days: from which day to which, counted from now
    """
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    first, last = (now + datetime.timedelta(days=day) for day in days)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.cert.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(first)
        .not_valid_after(last)
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
    )
    if hosts:
        builder = builder.add_extension(x509.SubjectAlternativeName(hosts), critical=False)
    return Certificate(builder.sign(issuer.key if issuer else key, hashes.SHA256()), key, folder, name)
