"""Whom an upload tells what, and what it leaves for a later try."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from airflow_provider_workbench.client.unpicklable import Unpicklable


@dataclass(frozen=True, slots=True)
class Kept(Unpicklable):
    """An upload that a later try can go on with, or look for evidence with.

    :ivar upload_url: secret
    :ivar not_before: server time no later than when it was created
    :ivar not_after: server time no earlier than when it was created
    :ivar finish_failed: True if the TUS server itself said that the finish failed
    :ivar duplicate_possible: True if an upload before it may have left the same File in the Step
    """

    upload_url: str = field(repr=False)
    not_before: datetime
    not_after: datetime
    finish_failed: bool = False
    duplicate_possible: bool = False

    def as_dict(self) -> dict[str, Any]:
        """JSON values only. With a secret among them: seal it before it is stored."""
        return {**asdict(self), "not_before": self.not_before.isoformat(), "not_after": self.not_after.isoformat()}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Kept:
        """From :meth:`as_dict`.

        :raises KeyError, TypeError, ValueError: it is not from there
        """
        times = {name: datetime.fromisoformat(data[name]) for name in ("not_before", "not_after")}
        return cls(**{**data, **times})


def _ignore(*_: Any) -> None:
    return


@dataclass(frozen=True, slots=True)
class Listener:
    """Whom an upload tells what. Each is called in the uploading thread and should be quick.

    :ivar progress: bytes on the server or on the way to it, and bytes in all
    :ivar log: a line about something that was overcome
    :ivar warning: a line about what is odd but no error
    :ivar secret: an upload URL, before anything can log it
    :ivar unsettled: an upload that a later try can go on with; told again when more is known of it
    :ivar settled: no later try should go on with it: it was refused, or the file is another now
    """

    progress: Callable[[int, int], None] = _ignore
    log: Callable[[str], None] = _ignore
    warning: Callable[[str], None] = _ignore
    secret: Callable[[str], None] = _ignore
    unsettled: Callable[[Kept], None] = _ignore
    settled: Callable[[], None] = _ignore
