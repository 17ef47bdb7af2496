"""How long to wait before another try: exponential, with full jitter, ``Retry-After``, and a budget."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime


class Backoff:
    """Counts failures since the last progress.

    :param budget: seconds since the last progress, after which there is no other try
    :param first: seconds; the longest pause after the first failure
    :param longest: seconds; where doubling ends
    :param clock: seconds; never goes backwards
    :param choose: a number between two, for the jitter
    """

    def __init__(
        self,
        budget: float,
        *,
        first: float,
        longest: float,
        clock: Callable[[], float] = time.monotonic,
        choose: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self.budget = budget
        self._first = first
        self._longest = longest
        self._clock = clock
        self._choose = choose
        self._failures = 0
        self._since = clock()

    def progress(self) -> None:
        """Start anew: something moved."""
        self._failures = 0
        self._since = self._clock()

    def moved(self) -> None:
        """Count the budget from now: bytes left, and whether they arrived is not known yet."""
        self._since = self._clock()

    def pardon(self, seconds: float) -> None:
        """Leave so many of the last seconds out of the budget: they went to something else."""
        self._since += seconds

    @property
    def left(self) -> float:
        """Seconds of the budget; 0 if it is used up."""
        return max(0.0, self.budget - (self._clock() - self._since))

    def pause(self, retry_after: float | None = None) -> float | None:
        """Seconds to wait now, or None if the budget does not allow another try.

        :param retry_after: seconds that the server asked for; None comes back if the budget has not that many left
        """
        longest = min(self._longest, self._first * 2 ** min(self._failures, 16))
        self._failures += 1
        left = self.left
        if not left or (retry_after or 0) > left:
            return None
        return min(max(self._choose(0, longest), retry_after or 0), left)


def retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """``Retry-After`` as seconds from now: it is a number, or a moment; None if it is neither.

    :param headers: of an answer, by lower-case name; its ``Date`` is what time it is by the clock that the moment is of
    """
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.isdecimal() and len(text) < 10:
        return float(text)
    moment = _moment(text)
    if moment is None:
        return None
    # the later clock of the two: too short a wait is no harm, and a Date can be older than its answer (recorded)
    now = max(datetime.now(UTC), _moment(headers.get("date", "")) or moment.min.replace(tzinfo=UTC))
    return max(0.0, (moment - now).total_seconds())


def _moment(text: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text)
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, TypeError, OverflowError):
        return None
