"""Just enough HTTP to know where a message's head and body end. It decodes nothing and changes nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping


def parse_head(head: bytes) -> tuple[list[str], dict[str, str]]:
    """The words of the first line, and the headers by lower-case name."""
    first, *lines = head.decode("latin-1").strip().split("\r\n")
    pairs = (line.partition(":") for line in lines)
    return first.split(" ", 2), {name.lower(): value.strip() for name, _, value in pairs}


def is_chunked(headers: Mapping[str, str]) -> bool:
    return "chunked" in headers.get("transfer-encoding", "").lower()


class Body:
    """Where a message's body ends: after ``length`` bytes, with the last chunk, or (None) with the connection."""

    def __init__(self, length: int | None, chunked: bool = False) -> None:
        self._left = 0 if chunked else length
        self._chunked = chunked
        self._part = "size"
        self._line = b""
        self.done = not chunked and length == 0

    def take(self, data: bytes, room: float = math.inf) -> tuple[int, int]:
        """How many bytes of ``data`` belong to it, and how many of these are content (at most ``room``)."""
        if not self._chunked:
            count = int(min(len(data), room, math.inf if self._left is None else self._left))
            if self._left is not None:
                self._left -= count
                self.done = self._left == 0
            return count, count
        raw = content = 0
        while raw < len(data) and not self.done:
            if self._part != "content":
                end = data.find(b"\n", raw) + 1 or len(data)
                self._line += data[raw:end]
                raw = end
                if self._line.endswith(b"\n"):
                    self._next_part(self._line.strip())
                    self._line = b""
                continue
            assert self._left is not None
            count = int(min(len(data) - raw, self._left, room - content))
            if count == 0:
                break
            raw, content, self._left = raw + count, content + count, self._left - count
            if self._left == 0:
                self._part = "end of content"
        return raw, content

    def _next_part(self, line: bytes) -> None:
        if self._part == "size":
            self._left = int(line.split(b";")[0], 16)
            self._part = "content" if self._left else "trailer"
        elif self._part == "end of content":
            self._part = "size"
        else:
            self.done = not line


class AnswerOnItsWay:
    """An answer to a request of ``method``, read piece by piece. ``status`` is None until its head is whole."""

    def __init__(self, method: str) -> None:
        self._method = method
        self._head = b""
        self._body: Body | None = None
        self.status: int | None = None
        self.closes = self.ends_with_connection = False

    @property
    def done(self) -> bool:
        return self._body is not None and self._body.done

    def take(self, data: bytes) -> bytes:
        """Bytes to pass on: the head as soon as it is whole, then the body as it comes. ``data`` is empty at the end.

        :raises ConnectionError: it ended too early
        """
        if not data:
            if not (self._body and self.ends_with_connection):
                raise ConnectionError
            self._body.done = True
        if self._body is not None:
            return data[: self._body.take(data)[0]]
        self._head += data
        if b"\r\n\r\n" not in self._head:
            return b""
        head, end, rest = self._head.partition(b"\r\n\r\n")
        self._head = b""
        (_, status, *_), headers = parse_head(head)
        if int(status) >= 200:  # else it is 100 Continue, and the answer is still to come
            self._begin(int(status), headers)
        return head + end + (self.take(rest) if rest else b"")

    def _begin(self, status: int, headers: Mapping[str, str]) -> None:
        self.status = status
        length = int(headers["content-length"]) if "content-length" in headers else None
        chunked = is_chunked(headers)
        if self._method == "HEAD" or status in (204, 304):
            length, chunked = 0, False
        self.ends_with_connection = length is None and not chunked
        self.closes = self.ends_with_connection or headers.get("connection", "").lower() == "close"
        self._body = Body(length, chunked)
