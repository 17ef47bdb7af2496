"""Uploads with little patience, what they tell, and a Workbench that follows a script."""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any
from urllib.parse import unquote

import pytest
from client_servers import Peer, Wire

from airflow_provider_workbench.client import errors
from airflow_provider_workbench.client.listener import Kept, Listener
from airflow_provider_workbench.client.patience import Patience
from airflow_provider_workbench.client.settings import Settings
from airflow_provider_workbench.client.upload import UploadResult, upload_file
from airflow_provider_workbench.sandbox import Sandbox

QUICK = Patience(first_pause=0.01, longest_pause=0.04, round_pause=0.01, lock=1, source=0.5, grace=0.05, look=0.02)
TOKEN = "t0ken-of-the-step"
SECRET = "s3cret0f3a9c2e51d8b604"
TUS = "Tus-Resumable: 1.0.0"
PAGE = b"<html><body>a proxy's page</body></html>"


def settings_of(wb: Sandbox, **extra: Any) -> Settings:
    """A connection to the sandbox's default Step."""
    return Settings.from_fields(wb.step.create_file_url, wb.step.api_token or "", extra)


@dataclass
class Told:
    """What an upload told its listener."""

    then: Callable[[], object] = lambda: None
    """Done once the upload's URL is known, before any byte moves."""
    at_half: Callable[[], object] = lambda: None
    """Done once, when more than half has left."""
    progress: list[tuple[int, int]] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    urls: list[str] = field(default_factory=list)
    events: list[str] = field(default_factory=list)
    kept: list[Kept] = field(default_factory=list)

    @property
    def log(self) -> str:
        return "\n".join(self.lines)

    @property
    def listener(self) -> Listener:
        return Listener(
            self._progress, self.lines.append, self.warnings.append, self._secret, self._unsettled, self._settled
        )

    def _progress(self, sent: int, size: int) -> None:
        self.progress.append((sent, size))
        if sent > size // 2 and "half" not in self.events:
            self.events.append("half")
            self.at_half()

    def _secret(self, url: str) -> None:
        self.urls.append(url)

    def _unsettled(self, kept: Kept) -> None:
        self.events.append("unsettled")
        self.kept.append(kept)
        if not kept.finish_failed:
            self.then()

    def _settled(self) -> None:
        self.events.append("settled")


def upload(settings: Settings, what: Any, told: Told | None = None, **options: Any) -> UploadResult:
    """Upload with little patience. Bytes are called a.csv."""
    if isinstance(what, bytes):
        options.setdefault("filename", "a.csv")
    options.setdefault("patience", QUICK)
    told = told or Told()
    try:
        return upload_file(settings, what, listener=told.listener, **options)
    finally:
        check_secrets(told, "\n".join(told.lines + told.warnings), settings)


def failing(
    kind: type[errors.WorkbenchError], settings: Settings, what: Any, told: Told | None = None, **options: Any
) -> Any:
    """The error of an upload, of that kind exactly, with no secret in it or behind it."""
    told = told or Told()
    with pytest.raises(errors.WorkbenchError) as caught:
        upload(settings, what, told, **options)
    error = caught.value
    assert type(error) is kind, repr(error)
    check_secrets(told, text_of(error), settings)
    return error


def text_of(error: BaseException) -> str:
    """All that an error shows, and those behind it."""
    text, todo, seen = "", [error], set()
    while todo:
        one = todo.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        text += "".join(traceback.format_exception_only(one)) + repr(vars(one)) + repr(one.args) + repr(one)
        todo += [one.__context__, one.__cause__]
        todo += [value for value in (*one.args, *vars(one).values()) if isinstance(value, BaseException)]
    return text


def check_secrets(told: Told, text: str, settings: Settings) -> None:
    assert settings.token not in text
    for url in told.urls:
        identity = unquote(url.rpartition("/")[2])
        for secret in (url, identity, *identity.split("+"), identity.replace("+", "%2B"), identity.replace("+", "%2b")):
            assert secret not in text


# ---- a Workbench that follows a script


@dataclass
class Call:
    """A request to it, whose body is not read yet."""

    server: Workbench
    peer: Peer
    method: str
    """``CREATE``, ``HEAD``, ``PATCH``, ``GET``, ``DELETE``, ``PAGE`` or ``POST`` (to the upload host)."""
    headers: dict[str, str]
    left: int

    @property
    def offset(self) -> int:
        return int(self.headers.get("upload-offset", "0"))

    def read(self, count: int | None = None) -> bytes:
        """Read (the next bytes of) the body."""
        body = bytearray()
        count = self.left if count is None else min(count, self.left)
        while len(body) < count and (more := self.peer.sock.recv(min(count - len(body), 2**20))):
            body += more
        self.left -= len(body)
        return bytes(body)

    def keep(self, count: int | None = None) -> None:
        """Read (the next bytes of) the body, and keep them as the server does."""
        self.server.content += self.read(count)

    def answer(self, status: str, body: bytes = b"", *headers: str) -> None:
        date = f"Date: {format_datetime(datetime.now(UTC), usegmt=True)}"
        if self.method == "HEAD":
            self.peer.send(("\r\n".join([f"HTTP/1.1 {status}", date, *headers]) + "\r\n\r\n").encode())
        else:
            self.peer.answer(status, body, date, *headers)


Act = Callable[[Call], object]


class Workbench:
    """Answers as it should, but for what the script says: by method, what to do with the first, the second, …

    ``server.script["PATCH"] = [cut(500), ...]``; a last ``...`` repeats the one before it.
    """

    def __init__(
        self, *, readable: bool = False, tls: Any = None, receive_buffer: int = 0, plus: str = "+", **extra: Any
    ) -> None:
        self.readable = readable
        self.plus = plus
        self.script: dict[str, list[Any]] = {}
        self.calls: list[Call] = []
        self.content = bytearray()
        self.size = 0
        self.created = 0
        self.finished = False
        self.gone = False
        self.files: list[tuple[str, int, str, bytes]] = []
        """Name, size, createdAt, bytes; the oldest first."""
        self._wire = Wire(self._serve, tls=tls, receive_buffer=receive_buffer)
        self._extra = {"stall_timeout": 5, "finish_timeout": 5, "retry_budget": 3, **extra}

    def __enter__(self) -> Workbench:
        self._wire.__enter__()
        self.settings = Settings.from_fields(self._wire.create_file_url, TOKEN, self._extra)
        return self

    def __exit__(self, *_: object) -> None:
        self._wire.__exit__()

    @property
    def url(self) -> str:
        return self._wire.url

    @property
    def methods(self) -> list[str]:
        return [call.method for call in self.calls]

    def count(self, method: str) -> int:
        return self.methods.count(method)

    def _serve(self, peer: Peer) -> None:
        while head := peer.read_head():
            first, *lines = head.decode("latin-1").strip().split("\r\n")
            method, path, _ = first.split(" ")
            if not path.startswith("/files/"):
                method = {"POST": "CREATE", "GET": "PAGE", "HEAD": "PAGE-HEAD"}[method]
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            call = Call(self, peer, method, headers, int(headers.get("content-length", "0")))
            self.calls.append(call)
            self._act(call)
            if call.left:
                return

    def _act(self, call: Call) -> None:
        script = self.script.get(call.method, [])
        repeated = len(script) > 1 and script[1] is ...
        act = script[0] if repeated else script.pop(0) if script else None
        (act or DEFAULT[call.method])(call)


def _create(call: Call) -> None:
    server = call.server
    form = json.loads(call.read())
    server.name, server.size = form["filename"], form["size"]
    server.content, server.finished, server.gone = bytearray(), False, False
    server.created += 1
    if not server.size:
        _list(server)
    url = f"{server.url}/files/{SECRET}{server.created}{server.plus}id{SECRET}"
    call.answer("200 OK", json.dumps({"tusUploadUrl": url}).encode())


def _list(server: Workbench) -> None:
    server.finished = True
    server.files.append((server.name, server.size, datetime.now(UTC).isoformat(), bytes(server.content)))


def _head(call: Call) -> None:
    server = call.server
    if server.gone:
        call.answer("404 Not Found", b"", TUS)
    else:
        offsets = (f"Upload-Offset: {len(server.content)}", f"Upload-Length: {server.size}")
        call.answer("200 OK", b"", TUS, *offsets, "Content-Length: 0")


def patch(call: Call) -> None:
    """As a server should."""
    server = call.server
    if server.gone:
        call.read()
        call.answer("404 Not Found", b"upload not found\n", TUS)
    elif call.offset != len(server.content):
        call.read()
        call.answer("409 Conflict", b"mismatched offset\n", TUS)
    else:
        call.keep()
        if len(server.content) == server.size:
            _list(server)
        call.answer("204 No Content", b"", TUS, f"Upload-Offset: {len(server.content)}")


def _get(call: Call) -> None:
    server = call.server
    if server.finished or server.gone:
        call.answer("404 Not Found", b"upload not found\n", TUS)
    elif len(server.content) < server.size:
        call.answer("500 Internal Server Error", b"cannot stream non-finished upload\n", TUS)
    else:
        call.answer("200 OK", bytes(server.content), TUS)


def _delete(call: Call) -> None:
    call.server.gone = True
    call.answer("204 No Content", b"", TUS)


def _page(call: Call) -> None:
    server = call.server
    if not server.readable:
        call.answer("403 Forbidden", PAGE)
        return
    call.answer("200 OK", page_of(server))


def page_of(server: Workbench) -> bytes:
    files = [
        {"uuid": f"u{number}", "name": name, "size": size, "createdAt": created}
        for number, (name, size, created, _) in enumerate(server.files)
    ]
    step = {
        "slug": "step-x",
        "params": {"file": None},
        "files": files[::-1],
        "last_relevant_delta_id": 1,
        "cached_render_result_delta_id": None,
    }
    state = json.dumps({"steps": {"1": step}})
    return f"<script>window.initState = {state}</script>".encode()


DEFAULT: dict[str, Act] = {
    "CREATE": _create,
    "HEAD": _head,
    "PATCH": patch,
    "POST": patch,
    "GET": _get,
    "DELETE": _delete,
    "PAGE": _page,
    "PAGE-HEAD": lambda call: call.answer("405 Method Not Allowed"),
}


def says(status: str, body: bytes = b"", *headers: str) -> Act:
    """Read the request, keep nothing of it, and answer so."""
    return lambda call: (call.read(), call.answer(status, body, *headers))


def early(status: str, body: bytes = PAGE) -> Act:
    """Answer before the body was read, and close."""
    return lambda call: (call.read(1000), call.answer(status, body, "Connection: close"), call.peer.sock.close())


def cut(count: int, *, rst: bool = True) -> Act:
    """Keep so many bytes, and close the connection."""
    return lambda call: (call.keep(count), call.peer.reset() if rst else call.peer.sock.close())


def swallow(call: Call) -> None:
    """Read it all, keep nothing, and close, as a proxy that buffers does."""
    call.read()
    call.peer.reset()


def unanswered(act: Act) -> Act:
    """Do it, but lose the answer."""

    def run(call: Call) -> None:
        mute = replace(call, peer=Mute(call.peer.sock, call.peer.number))
        act(mute)
        call.peer.reset()

    return run


class Mute(Peer):
    def send(self, data: bytes) -> None:
        """Nothing."""
