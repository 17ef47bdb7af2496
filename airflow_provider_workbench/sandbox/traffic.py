"""What was sent to the sandbox: every request of both hosts, with the body bytes that arrived."""

from __future__ import annotations

import time
from dataclasses import dataclass
from email.utils import formatdate
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send


@dataclass
class Request:
    """A request as it was received. It is written on while the request lasts.

    ``status`` is None until an answer is sent (for ever if the connection is lost before that); ``body_bytes``
    counts the body bytes read from the connection so far; ``time`` is the arrival, in seconds since the epoch.
    """

    host: str
    """``frontend`` or ``upload``."""
    method: str
    path: str
    headers: dict[str, str]
    """Names in lower case."""
    client: tuple[str, int]
    """Address and port of the connection's other end: equal for the requests of one connection."""
    time: float
    status: int | None = None
    body_bytes: int = 0


class Record:
    """Wraps a host's app: writes the list of requests and the Date headers.

    With ``frozen_date``, Date is the time of the connection's first answer, as the real frontend has it.
    """

    def __init__(self, app: ASGIApp, host: str, requests: list[Request], frozen_date: bool) -> None:
        self.app = app
        self.host = host
        self.requests = requests
        self.frozen_date = frozen_date

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        raw_path = scope["raw_path"].decode("latin-1")
        query = scope["query_string"].decode("latin-1")
        request = Request(
            host=self.host,
            method=scope.get("method", "GET"),
            path=f"{raw_path}?{query}" if query else raw_path,
            headers={name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]},
            client=tuple(scope["client"] or ("", 0)),  # unknown if the connection is gone already
            time=time.time(),
        )
        if not raw_path.startswith("/sandbox"):
            self.requests.append(request)
        connection: dict[str, Any] = scope["state"]["connection"]

        async def counting_receive() -> Message:
            message = await receive()
            if message["type"] == "http.disconnect" and "unread" in connection:
                # What uvicorn had read from a connection that is gone; "every byte sent survives" (recorded).
                body, more_body = connection.pop("unread")
                message = {"type": "http.request", "body": bytes(body), "more_body": more_body, "cut": True}
            request.body_bytes += len(message.get("body") or b"")
            return message

        async def dating_send(message: Message) -> None:
            if message["type"] == "websocket.accept":
                request.status = 101
            elif message["type"] == "websocket.close":
                request.status = request.status or 403
            elif message["type"].endswith("response.start"):
                request.status = message["status"]
            if message["type"] == "http.response.start":
                date = formatdate(usegmt=True).encode()
                if self.frozen_date:
                    date = connection.setdefault("date", date)
                message = {**message, "headers": [*message.get("headers", []), (b"date", date)]}
            await send(message)

        await self.app(scope, counting_receive, dating_send)
