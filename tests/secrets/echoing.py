"""A proxy in front of a host whose error pages repeat the whole request."""

from __future__ import annotations

import contextlib
import json
import re
import select
import socket
from collections.abc import Callable
from urllib.parse import quote, urlsplit

from client.client_servers import Peer, Wire

PAGE, CODE, REDIRECT = "page", "code", "redirect"


class Echoing:
    """Passes requests on, except for some.

    :param target: the host behind it
    :param refuses: given a request's head as text
    :param how: it answers those: with a page, with an error code in Workbench's form, or with a redirect. What was
        asked is in the reason, in headers, and in the body
    :ivar echoed: how many requests were answered so
    """

    def __init__(self, target: str, refuses: Callable[[str], bool], how: str = PAGE) -> None:
        parts = urlsplit(target)
        self._target = (parts.hostname, parts.port)
        self._refuses = refuses
        self._how = how
        self._wire = Wire(self._serve)
        self.echoed = 0

    def __enter__(self) -> Echoing:
        self._wire.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._wire.__exit__()

    @property
    def url(self) -> str:
        return self._wire.url

    def _serve(self, peer: Peer) -> None:
        peer.sock.settimeout(60)
        head = peer.read_head()
        if not head:
            return
        text = head.decode("latin-1")
        if self._refuses(text):
            self.echoed += 1
            with contextlib.suppress(OSError):
                peer.send(echo_of(text, self._how))
                # to the end: a reset would overtake the answer
                peer.sock.shutdown(socket.SHUT_WR)
                while peer.sock.recv(65536):
                    pass
            return
        lines = head.split(b"\r\n")
        if b"upgrade:" not in head.lower():
            # so that the next request comes by a connection of its own
            lines = [lines[0], b"Connection: close", *(each for each in lines[1:] if b"onnection:" not in each)]
        with socket.create_connection(self._target) as host:
            host.sendall(b"\r\n".join(lines))
            _pump(peer.sock, host)


def echo_of(asked: str, how: str = PAGE) -> bytes:
    """The answer to a request's head."""
    line, _, headers = asked.strip().partition("\r\n")
    method, path, _ = line.split(" ")
    bearer = re.search(r"(?im)^authorization: bearer (\S+)", headers)
    told = bearer[1] if bearer else path.rpartition("/")[2]
    status, body, more = f"502 Bad {told} {path}", f"<pre>{asked}</pre>", []
    if how == CODE:
        status, body = "403 Forbidden", json.dumps({"error": {"code": told, "errors": {told: [{"code": told}]}}})
    if how == REDIRECT:
        status, body, more = f"307 {told}", asked, [f"Location: /elsewhere?{quote(asked, safe='')}"]
    repeated = [f"X-Asked-{each}" for each in headers.split("\r\n")]
    answer = [f"HTTP/1.1 {status}", *more, *repeated, f"X-Path: {path}", f"Set-Cookie: a={told}", "Connection: close"]
    if method != "HEAD":
        answer.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*answer, "", body if method != "HEAD" else ""]).encode("latin-1")


def _pump(client: socket.socket, host: socket.socket) -> None:
    while True:
        for end in select.select([client, host], [], [], 60)[0] or [None]:
            data = end.recv(65536) if end else b""
            if not data:
                return
            (host if end is client else client).sendall(data)
