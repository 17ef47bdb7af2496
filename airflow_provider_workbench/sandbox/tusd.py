"""The upload host: tusd 1.6.0 with the blocking hook (``recorded/tus.json``, protocol sections 2 and 3)."""

from __future__ import annotations

import asyncio
import base64
import binascii
import os
import random
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

from starlette.types import Receive, Scope, Send

from .state import Refused, Workbench
from .switches import Switches

OFFSET_TYPE = "application/offset+octet-stream"
CORS_HEADERS = (
    "Authorization, Origin, X-Requested-With, X-Request-ID, X-HTTP-Method-Override, Content-Type, "
    "Upload-Length, Upload-Offset, Tus-Resumable, Upload-Metadata, Upload-Defer-Length, Upload-Concat"
)
CORS_EXPOSED = "Upload-Offset, Location, Upload-Length, Tus-Version, Tus-Resumable, Tus-Extension, Upload-Metadata"
EXTENSIONS = "creation,creation-with-upload,termination,concatenation,creation-defer-length"
HOOK_UNREACHABLE = (
    'pre-finish hook failed: Post "http://tusd-hooks.internal/tusd-hooks": '
    "dial tcp tusd-hooks.internal: connect: connection refused"
)
SERVER_ERROR = "<!doctype html><title>Server Error</title><h1>Server Error</h1>"
# tusd keeps metadata in HTTP headers of S3, which cannot hold these (recorded: \x01 and \x7f fail, newlines do not).
UNSTORABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
DRAINED_BYTES = 256 * 1024
"""Go's server reads so much of a body that its handler left unread; beyond it, it closes the connection (read)."""
LINGER_SECONDS = 0.5


@dataclass(eq=False)
class Upload:
    """An upload; size and offset in bytes."""

    id: str
    size: int
    metadata: dict[str, str]
    metadata_pairs: list[str]
    """The metadata as Upload-Metadata carries it."""
    path: Path
    offset: int = 0
    locked: bool = False


@dataclass
class Answer:
    status: int
    headers: dict[str, str] = field(default_factory=dict)
    text: str | None = None
    """A text/plain body; tusd ends each with a newline."""
    file: Path | None = None
    close: bool = False


class _Cut(Exception):  # noqa: N818
    """The connection is gone, so there is nobody to answer."""


class _Request:
    """One request: its headers, and its body piece by piece."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self.headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        self.method: str = scope["method"]
        if self.method == "POST":
            self.method = self.headers.get("x-http-method-override") or "POST"
        self.path: str = unquote(scope["raw_path"].decode("latin-1"))
        self.cut = False
        self.ended = False
        self._receive = receive

    @property
    def length(self) -> int | None:
        """Content-Length in bytes, None for a chunked body."""
        length = self.headers.get("content-length")
        if length is None and "transfer-encoding" not in self.headers:
            return 0
        return int(length) if length else None

    async def read(self) -> bytes:
        """The next piece of the body; empty at its end or when the connection is gone."""
        while not self.ended:
            message = await self._receive()
            self.cut = message["type"] == "http.disconnect" or message.get("cut", False)
            self.ended = self.cut or not message.get("more_body", False)
            if message.get("body"):
                return bytes(message["body"])
        return b""


class UploadHost:
    """The ASGI app of the upload host. ``url`` is its address as create-file hands it out."""

    def __init__(self, workbench: Workbench, switches: Switches) -> None:
        self.workbench = workbench
        self.switches = switches
        self.url = ""
        self.is_up = True
        self.uploads: dict[str, Upload] = {}
        self._directory = workbench.directory / "uploads"
        self._directory.mkdir(exist_ok=True)

    def forget(self) -> None:
        """Lose every upload, as a store's expiry does."""
        uploads, self.uploads = self.uploads, {}
        for upload in uploads.values():
            upload.path.unlink(missing_ok=True)

    async def create(self, size: int, metadata: Mapping[str, str]) -> tuple[Upload, Answer | None]:
        """Make an upload; one of 0 bytes is finished at once. The answer is that of a refused or failed finish.

        ``ValueError`` if the store cannot keep the metadata.
        """
        if any(UNSTORABLE.search(value) for value in metadata.values()):
            raise ValueError("the store cannot keep this metadata")
        pairs = [f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in metadata.items()]
        name = secrets.token_hex(16)
        upload = Upload(f"{name}+{secrets.token_urlsafe(48)}", size, dict(metadata), pairs, self._directory / name)
        upload.path.touch()
        self.uploads[upload.id] = upload
        return upload, await self._finish(upload) if size == 0 else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        request = _Request(scope, receive)
        try:
            answer = await self._answer(request)
            await self._drain(request, answer)
            await self._send(request, answer, send)
        except _Cut:
            return

    async def _answer(self, request: _Request) -> Answer:
        if request.method == "OPTIONS":
            headers = {"Tus-Version": "1.0.0", "Tus-Extension": EXTENSIONS, "Content-Length": "0"}
            return Answer(200, headers)
        if request.method != "GET" and request.headers.get("tus-resumable") != "1.0.0":
            return Answer(412, text="unsupported version")
        if request.path == "/files/":
            return await self._post(request) if request.method == "POST" else self._not_allowed("POST")
        match = re.fullmatch(r"/files/([^/]+)", request.path)
        if not match:
            return Answer(404, text="404 page not found")
        handlers = {"HEAD": self._head, "PATCH": self._patch, "GET": self._get, "DELETE": self._delete}
        if request.method not in handlers:
            return self._not_allowed(", ".join(handlers))
        if request.method == "PATCH" and (problem := self._patch_problem(request)):
            return Answer(400, text=f"missing or invalid {problem} header")
        upload = self.uploads.get(match[1])
        if upload is None:
            return Answer(404, text="upload not found")
        if upload.locked:
            return Answer(423, text="file currently locked")
        upload.locked = True
        try:
            return await handlers[request.method](request, upload)
        finally:
            upload.locked = False

    @staticmethod
    def _not_allowed(methods: str) -> Answer:
        return Answer(405, {"Allow": methods}, text="Method Not Allowed")

    @staticmethod
    def _patch_problem(request: _Request) -> str | None:
        if request.headers.get("content-type") != OFFSET_TYPE:
            return "Content-Type"
        if not re.fullmatch(r"\+?[0-9]{1,18}", request.headers.get("upload-offset", "")):
            return "Upload-Offset"
        return None

    async def _post(self, request: _Request) -> Answer:
        """Creation from outside: open on the recorded server, closed in production."""
        if {"upload-concat", "upload-defer-length"} & set(request.headers) or "content-type" in request.headers:
            return Answer(501, text="announced as recorded, but the sandbox only has plain creation")
        length = request.headers.get("upload-length", "")
        if not re.fullmatch(r"[0-9]{1,18}", length):
            return Answer(400, text="missing or invalid Upload-Length header")
        upload, problem = await self.create(int(length), _parse_metadata(request.headers.get("upload-metadata", "")))
        return problem or Answer(201, {"Location": f"{self.url}/files/{upload.id}", "Content-Length": "0"})

    async def _head(self, request: _Request, upload: Upload) -> Answer:
        pairs = random.sample(upload.metadata_pairs, len(upload.metadata_pairs))  # recorded: any order
        headers = {"Cache-Control": "no-store", "Upload-Length": str(upload.size), "Upload-Offset": str(upload.offset)}
        if pairs:
            headers["Upload-Metadata"] = ",".join(pairs)
        return Answer(200, headers)

    async def _get(self, request: _Request, upload: Upload) -> Answer:
        headers = {"Content-Disposition": f"attachment;filename={_quote(upload.metadata.get('filename', ''))}"}
        if upload.offset == 0:
            return Answer(204, {**headers, "Content-Type": "application/octet-stream"})
        if not upload.path.exists():  # Workbench moved the bytes away: it took the File
            return Answer(404, headers, text="upload not found")
        if upload.offset < upload.size:
            return Answer(500, headers, text="cannot stream non-finished upload")
        headers |= {"Content-Type": "application/octet-stream", "Content-Length": str(upload.size)}
        return Answer(200, headers, file=upload.path)

    async def _delete(self, request: _Request, upload: Upload) -> Answer:
        self.uploads.pop(upload.id, None)
        upload.path.unlink(missing_ok=True)
        return Answer(204)

    async def _patch(self, request: _Request, upload: Upload) -> Answer:
        offset = int(request.headers["upload-offset"])
        if offset != upload.offset:
            return Answer(409, text="mismatched offset")
        if offset == upload.size:  # complete, accepted or not: the hook is not called again
            return Answer(204, {"Upload-Offset": str(offset)})
        if "upload-length" in request.headers:
            return Answer(400, text="missing or invalid Upload-Length header")
        return await self._write(request, upload)

    async def _write(self, request: _Request, upload: Upload) -> Answer:
        """Append the request's body to the upload, and finish the upload if that completes it."""
        length = request.length
        room = upload.size - upload.offset
        if length is not None and length > room:
            return Answer(413, text="resource's size exceeded")
        room = room if length is None else length
        clock = asyncio.get_running_loop()
        target = os.open(upload.path, os.O_WRONLY)
        try:
            async with asyncio.timeout(None) as silence:
                while room:
                    silence.reschedule(clock.time() + self.switches.idle_limit)
                    piece = await request.read()
                    if not piece:
                        break
                    piece = piece[:room]  # recorded: what is too much of a chunked body is dropped in silence
                    os.pwrite(target, piece, upload.offset)
                    upload.offset += len(piece)
                    room -= len(piece)
        except TimeoutError:
            # What tusd has not flushed to S3 as a whole part is gone, even what earlier PATCHes acknowledged.
            upload.offset -= upload.offset % self.switches.flush_size
            os.ftruncate(target, upload.offset)
            return Answer(500, text="read tcp: i/o timeout", close=True)
        finally:
            os.close(target)
        if request.cut:
            await asyncio.sleep(self.switches.cut_seconds)
        problem = await self._finish(upload) if upload.offset == upload.size else None
        if request.cut:
            raise _Cut
        answer = problem or Answer(204)
        answer.headers["Upload-Offset"] = str(upload.offset)
        return answer

    async def _finish(self, upload: Upload) -> Answer | None:
        """Call the hook, three times if it fails. None if Workbench has accepted the File."""
        answer = None
        for attempt in range(3):
            if attempt:
                await asyncio.sleep(self.switches.hook_retry_seconds)
            await self.switches.pause("hook_delay")
            if upload.id not in self.uploads:  # forgotten meanwhile
                return Answer(404, text="upload not found")
            if self.switches.hook == "down":
                answer = Answer(500, text=HOOK_UNREACHABLE)
                continue
            try:
                await self._call_hook(upload)
            except Refused as refused:
                return Answer(refused.status, text=refused.body)
            except Exception:  # whatever it is, the real hook answers with Django's page
                answer = Answer(500, text=SERVER_ERROR)
            else:
                return None
        return answer

    async def _call_hook(self, upload: Upload) -> None:
        if self.switches.hook == "500":
            raise RuntimeError("the hook crashes by switch")
        await self.workbench.wait_for_workflow(int(upload.metadata["workflowId"]))
        self.workbench.accept(upload.metadata, upload.size, upload.path)

    async def _drain(self, request: _Request, answer: Answer) -> None:
        """Read the rest of a body that the answer did not need, as far as Go does."""
        if request.ended or answer.close:
            return
        if (request.length or 0) > DRAINED_BYTES or "expect" in request.headers:
            answer.close = True
            return
        left = DRAINED_BYTES
        try:
            async with asyncio.timeout(self.switches.idle_limit):
                while left > 0 and (piece := await request.read()):
                    left -= len(piece)
        except TimeoutError:
            pass
        answer.close = not request.ended

    async def _send(self, request: _Request, answer: Answer, send: Send) -> None:
        headers = {"Tus-Resumable": "1.0.0", "X-Content-Type-Options": "nosniff", **answer.headers}
        body = f"{answer.text}\n".encode() if answer.text is not None else b""
        if answer.text is not None:
            router_page = answer.status in (404, 405) and answer.text in ("404 page not found", "Method Not Allowed")
            if request.method == "HEAD" and not router_page:
                body = b""
            headers |= {"Content-Type": "text/plain; charset=utf-8", "Content-Length": str(len(body))}
        if origin := request.headers.get("origin"):
            headers["Access-Control-Allow-Origin"] = origin
            if request.method == "OPTIONS":
                headers["Access-Control-Allow-Methods"] = "POST, GET, HEAD, PATCH, DELETE, OPTIONS"
                headers["Access-Control-Allow-Headers"] = CORS_HEADERS
                headers["Access-Control-Max-Age"] = "86400"
            else:
                headers["Access-Control-Expose-Headers"] = CORS_EXPOSED
        if answer.close:
            headers["Connection"] = "close"
        raw = [(name.encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": answer.status, "headers": raw})
        if answer.file:
            with answer.file.open("rb") as source:
                while piece := source.read(256 * 1024):
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
        elif body:
            await send({"type": "http.response.body", "body": body, "more_body": True})
        if answer.close and not request.ended:
            # Closing with unread bytes resets the connection; Go waits so that the answer gets through.
            try:
                async with asyncio.timeout(LINGER_SECONDS):
                    while await request.read():
                        pass
            except TimeoutError:
                pass
        await send({"type": "http.response.body", "body": b""})


def _parse_metadata(header: str) -> dict[str, str]:
    metadata = {}
    for pair in filter(None, (part.strip() for part in header.split(","))):
        key, _, value = pair.partition(" ")
        try:
            metadata[key] = base64.b64decode(value, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            continue
    return metadata


def _quote(name: str) -> str:
    """A File's name in Content-Disposition: between quotes, with what is not printable escaped."""
    short = {"\n": r"\n", "\r": r"\r", "\t": r"\t", '"': r"\"", "\\": r"\\"}
    escaped = [short.get(c) or (c if c.isprintable() else c.encode("unicode_escape").decode()) for c in name]
    return f'"{"".join(escaped)}"'
