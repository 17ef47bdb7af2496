"""Looks for evidence until it decides; :mod:`evidence` says what it means."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from airflow_provider_workbench.client.errors import (
    ConfigurationError,
    StepGoneError,
    TlsError,
    UnexpectedAnswerError,
    WorkbenchError,
)
from airflow_provider_workbench.client.evidence import Finding, Shown, weigh
from airflow_provider_workbench.client.job import Job
from airflow_provider_workbench.client.steps import File, read_step
from airflow_provider_workbench.client.tus import Meaning, Reading
from airflow_provider_workbench.client.waiting import Wanted, pushed_out

if TYPE_CHECKING:
    from airflow_provider_workbench.client.transfer import Transfer

# beyond this nobody knows what time it was on the server, and a File's age says nothing
_CLOCKS_AGREE = timedelta(seconds=10)
# so many pages in place of the Workflow's are no passing trouble: perhaps a login that the API does not ask for
_STRANGE_PAGES = 4


class Settling:
    """Finds out whether Workbench took a File, where no answer said so.

    :param wanted: the File by name, size and the earliest time that it can have
    :param not_after: no File that was there before is as new as this
    :param known: uuids of the Files that were there before; None if the Step was not looked at
    :ivar seen: uuids of the Files that were there at the last look; ``known`` if the Step could not be read
    :ivar shown: what the last look showed
    """

    def __init__(self, job: Job, wanted: Wanted, *, not_after: datetime, known: frozenset[str] | None) -> None:
        self._job = job
        self._wanted = wanted
        self._size = wanted.size or 0
        self._not_after = not_after
        self._known = known
        self.seen = known
        self.shown = Shown.UNREADABLE
        self._may_be_read_later = False
        self._strange_pages = 0

    def settle(self, transfer: Transfer, *, answered: bool) -> Finding:
        """Look at the Step and at the upload until they decide, or ``finish_timeout`` is over.

        :param answered: True if the TUS server itself said that the finish failed
        """
        began = time.monotonic()
        if not answered:
            self._look_until(began + self._job.patience.grace)
        # a contradiction may be a moment's: the bytes are moved away before the Step has the File
        grace = time.monotonic() + self._job.patience.grace
        while True:
            asked = self._ask(transfer, answered)
            if asked(Shown.UNREADABLE) is Finding.RESUME:
                return Finding.RESUME
            finding = asked(self.look())
            now = time.monotonic()
            unsure = finding is Finding.UNDECIDED and (self._may_be_read_later or now < grace)
            if finding is not Finding.BUSY and not unsure:
                return finding
            if now > began + self._job.settings.finish_timeout:
                return Finding.UNDECIDED
            self._job.control.sleep(self._job.patience.look)

    def is_taken_late(self, transfer: Transfer, *, answered: bool) -> bool:
        """Look once more, before all is sent again. A File that has come meanwhile can be another upload's.

        :param answered: as for :meth:`settle`
        """
        return self.look() is Shown.YES and self._ask(transfer, answered)(Shown.YES) is Finding.TAKEN

    def _ask(self, transfer: Transfer, answered: bool) -> Callable[[Shown], Finding]:
        """Ask the upload host. Returns what follows from its word and the Step's."""
        head = _head(transfer)
        get = transfer.get_object() if head.meaning is Meaning.AT and head.offset == self._size else None
        return lambda shown: weigh(shown=shown, head=head, get=get, size=self._size, answered=answered)

    def settle_empty(self) -> Finding:
        """The same for 0 bytes, which are finished inside create-file: no upload is left that could be asked."""
        began = time.monotonic()
        self._look_until(began + 4 * self._job.patience.grace)
        if self._may_be_read_later:
            self._look_until(began + self._job.settings.retry_budget, but_not_after_a_page=True)
        return {Shown.YES: Finding.TAKEN, Shown.NO: Finding.NOT_TAKEN}.get(self.shown, Finding.UNDECIDED)

    def look(self) -> Shown:
        """Read the Step once."""
        self._may_be_read_later = False
        try:
            files = _read_once(self._job)
        except WorkbenchError as error:
            self._strange_pages += isinstance(error, UnexpectedAnswerError)
            self._may_be_read_later = self._strange_pages < _STRANGE_PAGES
            files = None
        self.shown = Shown.UNREADABLE if files is None else self._find(files)
        return self.shown

    def _look_until(self, end: float, *, but_not_after_a_page: bool = False) -> None:
        while self.look() is not Shown.YES and (left := end - time.monotonic()) > 0:
            if but_not_after_a_page and not self._may_be_read_later:
                return
            self._job.control.sleep(min(left, self._job.patience.look))

    def _find(self, files: tuple[File, ...]) -> Shown:
        self.seen = frozenset(file.uuid for file in files)
        found = [file for file in files if self._wanted.matches(file) and file.uuid not in (self._known or ())]
        if self._known is not None and found:
            return Shown.YES
        if any(file.created_at >= self._not_after for file in found):
            return Shown.YES
        not_before = self._wanted.not_before
        if found and not_before and self._not_after - not_before <= _CLOCKS_AGREE:
            return Shown.LIKE_IT
        return Shown.UNREADABLE if found or pushed_out(files, self._wanted) else Shown.NO


def read_files(job: Job) -> tuple[File, ...] | None:
    """The Step's Files; None if they cannot be read. Tries again, within ``retry_budget``, where that can help."""
    backoff = job.backoff()
    strange_pages = 0
    while True:
        try:
            return _read_once(job)
        except WorkbenchError as error:
            strange_pages += isinstance(error, UnexpectedAnswerError)
            pause = backoff.pause(error.retry_after)
        if pause is None or strange_pages >= _STRANGE_PAGES:
            return None
        job.control.sleep(pause)


def _read_once(job: Job) -> tuple[File, ...] | None:
    """
    :raises WorkbenchError: another look may do
    """
    try:
        return read_step(job.session, job.settings).files
    except StepGoneError as error:
        # only a Workflow's own page proves that it has no such Step: a 404 may be a proxy's, a secret link another's
        return () if error.status is None and not job.settings.secret_link else None
    except WorkbenchError as error:
        if error.retryable:
            raise
        return None


def _head(transfer: Transfer) -> Reading:
    try:
        return transfer.get_offset()
    except (TlsError, ConfigurationError):
        # it would say that nothing was sent
        return Reading(Meaning.AGAIN)
