"""Looks for evidence until it decides; :mod:`evidence` says what it means."""

from __future__ import annotations

import time
from datetime import datetime

from airflow_provider_workbench.client.errors import StepGoneError, WorkbenchError
from airflow_provider_workbench.client.evidence import Finding, Shown, weigh
from airflow_provider_workbench.client.job import Job
from airflow_provider_workbench.client.steps import File, read_step
from airflow_provider_workbench.client.transfer import Transfer
from airflow_provider_workbench.client.tus import Meaning
from airflow_provider_workbench.client.waiting import MAX_FILES, Wanted


class Settling:
    """Finds out whether Workbench took a File, where no answer said so.

    :param wanted: the File by name, size and the earliest time that it can have
    :param not_after: no File that was there before is as new as this
    :param known: uuids of the Files that were there before; None if the Step was not looked at
    :ivar seen: uuids of the Files that are there now; None if the Step cannot be read
    """

    def __init__(self, job: Job, wanted: Wanted, *, not_after: datetime, known: frozenset[str] | None) -> None:
        self._job = job
        self._wanted = wanted
        self._not_after = not_after
        self._known = known
        self.seen = known

    def settle(self, transfer: Transfer, *, size: int, answered: bool) -> Finding:
        """Look at the Step and at the upload until they decide, or ``finish_timeout`` is over.

        :param size: bytes; of the whole file
        :param answered: True if the TUS server itself said that the finish failed
        """
        deadline = time.monotonic() + self._job.settings.finish_timeout
        if not answered:
            self._give_grace()
        while True:
            head = transfer.get_offset()
            at_end = head.meaning is Meaning.AT and head.offset == size
            get = transfer.get_object() if at_end else None
            finding = weigh(shown=self._look(), head=head, get=get, size=size, answered=answered)
            if finding is not Finding.BUSY:
                return finding
            if time.monotonic() > deadline:
                return Finding.UNDECIDED
            self._job.control.sleep(self._job.patience.look)

    def settle_empty(self) -> Finding:
        """The same for 0 bytes, which are finished inside create-file: no upload is left that could be asked."""
        shown = self._give_grace(times=4)
        return {Shown.YES: Finding.TAKEN, Shown.NO: Finding.NOT_TAKEN}.get(shown, Finding.UNDECIDED)

    def _give_grace(self, times: int = 1) -> Shown:
        end = time.monotonic() + times * self._job.patience.grace
        while True:
            shown = self._look()
            left = end - time.monotonic()
            if shown is Shown.YES or left <= 0:
                return shown
            self._job.control.sleep(min(left, self._job.patience.look))

    def _look(self) -> Shown:
        files = read_files(self._job)
        if files is None:
            return Shown.UNREADABLE
        self.seen = frozenset(file.uuid for file in files)
        found = [file for file in files if self._wanted.matches(file) and file.uuid not in (self._known or ())]
        if found:
            surely = self._known is not None or any(file.created_at >= self._not_after for file in found)
            return Shown.YES if surely else Shown.LIKE_IT
        later = [file for file in files if self._wanted.not_before and file.created_at >= self._wanted.not_before]
        # later Files may have pushed it out
        return Shown.UNREADABLE if len(later) >= MAX_FILES else Shown.NO


def read_files(job: Job) -> tuple[File, ...] | None:
    """The Step's Files; None if they cannot be read. Tries again, within ``retry_budget``, where that can help."""
    backoff = job.backoff()
    while True:
        try:
            return read_step(job.session, job.settings).files
        except StepGoneError:
            # a secret link that was reset, or is another Workflow's, shows nothing either
            return None if job.settings.secret_link else ()
        except WorkbenchError as error:
            pause = backoff.pause(error.retry_after) if error.retryable else None
        if pause is None:
            return None
        job.control.sleep(pause)
