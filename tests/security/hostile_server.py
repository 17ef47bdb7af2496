"""A server that answers anything, byte for byte and for as long as it is read. It holds no more of it than a block."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from client.client_servers import Peer, Wire

from airflow_provider_workbench.client.settings import Settings

BLOCK = 64 * 1024
TOKEN = "t0ken-of-the-step"
LINK = "wSecret123abcDEF456ghi"
# as tusd makes them: its own id, and that of the storage
HALVES = ("0f3a9c2e51d8b604s3cretUploadId00", "2~s3cretIdOfTheStorage0123456789")
IDENTITY = "+".join(HALVES)
CONTENT = b"A\n1\n"
SECRETS = (TOKEN, base64.b64encode(TOKEN.encode()).decode(), LINK, IDENTITY, "%2b".join(HALVES), *HALVES)

# seconds: far longer than a drip's pause, and short enough to wait for
LIMITS = {"connect_timeout": 1, "stall_timeout": 0.8, "finish_timeout": 0.8, "retry_budget": 0.6}
DRIP = 0.02

Pieces = Iterable[bytes]
Speech = Callable[["HostileServer"], Pieces]


class HostileServer(Wire):
    """A Workbench, frontend and upload host in one, that says what it is told to.

    :param speeches: by what is asked for – CREATE, PATCH, HEAD, GET, PAGE, SOCKET – the bytes to answer with; without
        one it answers as Workbench, to an upload of which it keeps nothing
    :ivar asked: what was asked for, in order
    :ivar sent: bytes that a client, or the system for it, has taken
    """

    def __init__(self, tls: Any = None, **speeches: Speech) -> None:
        super().__init__(self._talk, tls)
        self.speeches = {**POLITE, **speeches}
        self.asked: list[str] = []
        self.sent = 0

    @property
    def upload_url(self) -> str:
        return f"{self.url}/files/{IDENTITY}"

    def settings(self, **extra: Any) -> Settings:
        return Settings.from_fields(self.create_file_url, TOKEN, {"secret_link": LINK, **LIMITS, **extra})

    def said(self, error: BaseException) -> str:
        """An error's words, without the port."""
        return str(error).replace(f":{self.port}", "").replace("127.0.0.1", "HOST")

    def _talk(self, peer: Peer) -> None:
        peer.sock.settimeout(100)
        while head := peer.read_head():
            self.heads.append(head)
            self._take_body(peer, head)
            kind = _kind(head)
            self.asked.append(kind)
            for piece in self.speeches[kind](self):
                peer.send(piece)
                self.sent += len(piece)

    def _take_body(self, peer: Peer, head: bytes) -> None:
        left = next((int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0)
        while left and (more := peer.sock.recv(min(left, BLOCK))):
            left -= len(more)


def _kind(head: bytes) -> str:
    method, path = head.split(b" ", 2)[:2]
    if path.startswith(b"/files/"):
        return method.decode()
    if b"pgrade: websocket" in head:
        return "SOCKET"
    return "CREATE" if method == b"POST" else "PAGE"


# ---- what to say


def answer(status: str = "200 OK", body: bytes = b"", *headers: str) -> Speech:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    return lambda _: ["\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body]


def raw(*pieces: bytes) -> Speech:
    """These, and no more: the connection is closed."""

    def speech(_: HostileServer) -> Iterator[bytes]:
        yield from pieces
        raise OSError

    return speech


def then(head: bytes, more: Callable[[], Pieces]) -> Speech:
    """These, and then what never ends."""
    return lambda _: itertools.chain((head,), more())


def again(piece: bytes) -> Callable[[], Pieces]:
    """The same over and over, in blocks."""
    block = piece * max(1, BLOCK // len(piece))
    return lambda: itertools.repeat(block)


def times(piece: bytes, count: int) -> Iterator[bytes]:
    """The same so many times, in blocks."""
    per_block = max(1, BLOCK // len(piece))
    yield from itertools.repeat(piece * per_block, count // per_block)
    yield piece * (count % per_block)


def drip(head: bytes, piece: bytes = b"x") -> Speech:
    """Something now and then, so that it is never silent for long."""

    def speech(server: HostileServer) -> Iterator[bytes]:
        yield head
        while not server.ended.wait(DRIP):
            yield piece

    return speech


def created(url: Any) -> Speech:
    """A create-file answer."""
    return answer("200 OK", json.dumps({"tusUploadUrl": url}).encode())


TUS = "Tus-Resumable: 1.0.0"
STEP = {
    "slug": "step-x",
    "params": {"file": None},
    "files": [],
    "last_relevant_delta_id": 1,
    "cached_render_result_delta_id": 1,
    "output_status": "ok",
    "output_errors": [],
    "output_n_rows": 0,
    "output_columns": [],
}


def page(state: bytes) -> bytes:
    return b"<script>window.initState = " + state + b"</script>"


def whole_step(*names: str) -> dict[str, Any]:
    files = [{"uuid": name, "name": name, "size": 1, "createdAt": "2026-11-22T12:00:00Z"} for name in names]
    return {**STEP, "files": files}


# ---- websockets

TEXT, BINARY, CLOSE, PING = 1, 2, 8, 9


def frame(payload: bytes, code: int = TEXT, *, last: bool = True, reserved: int = 0) -> bytes:
    """A frame as servers send them."""
    return frame_head(len(payload), code, last=last, reserved=reserved) + payload


def frame_head(length: int, code: int = TEXT, *, last: bool = True, reserved: int = 0) -> bytes:
    first = bytes([last << 7 | reserved | code])
    if length < 126:
        return first + bytes([length])
    return first + (b"\x7e" + length.to_bytes(2) if length < 65536 else b"\x7f" + length.to_bytes(8))


def change(number: str = "1", *names: str, **more: Any) -> bytes:
    data = {"updateSteps": {number: whole_step(*names)}, **more}
    return json.dumps({"type": "apply-delta", "data": data}).encode()


def complete(*names: str) -> bytes:
    return change("1", *names, updateWorkflow={"id": 7})


def socket(frames: Callable[[HostileServer], Pieces], *headers: str) -> Speech:
    """A websocket that is opened and says this; then it is silent."""

    def speech(server: HostileServer) -> Iterator[bytes]:
        head = next(head for head in reversed(server.heads) if b"pgrade: websocket" in head)
        key = next(line[19:] for line in head.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key: "))
        accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()).decode()
        lines = (
            "HTTP/1.1 101 Switching Protocols",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Accept: {accept}",
            *headers,
        )
        yield ("\r\n".join(lines) + "\r\n\r\n").encode()
        yield from frames(server)
        server.ended.wait(30)

    return speech


def saying(*frames: bytes) -> Callable[[HostileServer], Pieces]:
    return lambda _: frames


POLITE: dict[str, Speech] = {
    "CREATE": lambda server: created(server.upload_url)(server),
    "PATCH": answer("204 No Content", b"", TUS, f"Upload-Offset: {len(CONTENT)}"),
    "HEAD": answer("200 OK", b"", TUS, "Upload-Offset: 0", f"Upload-Length: {len(CONTENT)}"),
    "GET": answer("500 Internal Server Error", b"cannot stream non-finished upload\n", TUS),
    "DELETE": answer("204 No Content", b"", TUS),
    "PAGE": answer("200 OK", page(json.dumps({"steps": {"1": STEP}}).encode())),
    "SOCKET": socket(saying(frame(complete()))),
}
