"""Bytes sent, as lines for a log that people read."""

from __future__ import annotations

import time
from collections.abc import Callable

_STEP = 0.1
_SECONDS_BETWEEN = 10.0


class ProgressLines:
    """Writes one line per 10 %, but not more often than every 10 s.

    :param write: takes one line
    :param name: of the File, safe for a log
    :param clock: seconds; never goes backwards
    """

    def __init__(self, write: Callable[[str], None], name: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._write = write
        self._name = name
        self._clock = clock
        self._started = self._written = clock()
        self._next_share = _STEP
        self._first: int | None = None

    def __call__(self, sent: int, size: int) -> None:
        """Take note that ``sent`` of ``size`` bytes have left."""
        # an earlier try may have sent some already
        self._first = sent if self._first is None else min(sent, self._first)
        if sent == self._first or sent < self._next_share * size:
            return
        now = self._clock()
        if sent >= size or now - self._written < _SECONDS_BETWEEN:
            return
        rate = (sent - self._first) / (now - self._started)
        left = (size - sent) / rate
        self._write(
            f"{self._name}: {sent * 100 // size} % – {human_bytes(sent)} of {human_bytes(size)}, "
            f"{human_bytes(rate)}/s, {human_seconds(left)} left"
        )
        self._written = now
        self._next_share = (sent * 10 // size + 1) / 10


def human_bytes(count: float) -> str:
    """Bytes for people: ``1.5 MiB``."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"


def human_seconds(seconds: float) -> str:
    """Seconds for people: ``0.42 s``, ``45 s``, ``2 min 5 s``, ``1 h 3 min``."""
    if seconds < 10:
        return f"{seconds:.2f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
