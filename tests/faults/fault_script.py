"""What a fault proxy does to which request, and what it has seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass
class Fault:
    """Harm to one request (or to ``times`` of them, None for all): the first in the script that fits takes it.

    =========  ========================================================================================================
    do         what happens
    =========  ========================================================================================================
    pass       nothing but ``buffer`` and ``rate``
    cut        both connections end when ``at`` bytes of the body were passed on (None: the whole request)
    stall      nothing moves for ``seconds`` at that byte, and then it goes on (None: before the answer)
    refuse     as cut, and nobody can connect to that host for ``seconds``
    lose       the whole request is passed on, the host answers, and the client's connection ends instead
    answer     the proxy itself answers with ``status``, ``headers`` and ``body``; see ``when``
    =========  ========================================================================================================
    """

    do: Literal["pass", "cut", "stall", "refuse", "lose", "answer"] = "pass"
    host: str | None = None
    method: str | None = None
    skip: int = 0
    """Let so many fitting requests pass before."""
    times: int | None = 1
    over: int = -1
    """Only requests that announce a body of more bytes than this."""
    at: int | None = None
    seconds: float = 0.0
    rst: bool = False
    """Connections end with RST instead of FIN; an answer that is ``first`` is not waited for to be read."""
    hold: float = 0.0
    """``cut`` ends the host's connection so many seconds later than the client's: it is half-open."""
    status: int = 502
    headers: Mapping[str, str] = field(default_factory=lambda: {"Content-Type": "text/html"})
    body: bytes = b"<html><head><title>Trouble</title></head><body>a proxy's page</body></html>\n"
    when: Literal["first", "instead", "after"] = "instead"
    """Answer before the body was read, or when it was, or when the host has answered (which is thrown away)."""
    buffer: bool = False
    """Read the whole body before any of it is passed on: of a request that is cut, the host sees nothing."""
    rate: float | None = None
    """Body bytes per second."""
    used: int = 0

    def fits(self, seen: Seen) -> bool:
        return (
            self.host in (None, seen.host)
            and self.method in (None, seen.method)
            and (self.over < 0 or (seen.length or 0) > self.over)
        )

    @property
    def waits_for_a_byte(self) -> bool:
        return self.do in ("cut", "stall", "refuse")


@dataclass
class Seen:
    """A request that came. ``body_bytes`` of its body were taken from the client; ``status`` is what that got."""

    host: str
    method: str
    path: str
    headers: Mapping[str, str]
    length: int | None
    connection: int
    body_bytes: int = 0
    status: int | None = None
    fault: Fault | None = None
