"""Looks for evidence until it decides; :mod:`evidence` says what it means."""

from __future__ import annotations

import time

from airflow_provider_workbench.client.backoff import Backoff
from airflow_provider_workbench.client.errors import StepGoneError, WorkbenchError
from airflow_provider_workbench.client.evidence import Finding, weigh
from airflow_provider_workbench.client.patience import Control, Patience
from airflow_provider_workbench.client.session import Session
from airflow_provider_workbench.client.settings import Settings
from airflow_provider_workbench.client.steps import File, read_step
from airflow_provider_workbench.client.transfer import Transfer
from airflow_provider_workbench.client.tus import Meaning
from airflow_provider_workbench.client.waiting import MAX_FILES, Wanted


class Settling:
    """Finds out whether Workbench took a File, where no answer said so.

    :param wanted: the File by name, size and time
    :param known: uuids of Files that were there before
    """

    def __init__(
        self,
        settings: Settings,
        session: Session,
        wanted: Wanted,
        *,
        patience: Patience,
        control: Control,
        known: frozenset[str] = frozenset(),
    ) -> None:
        self._settings = settings
        self._session = session
        self._wanted = wanted
        self._known = known
        self._patience = patience
        self._control = control

    def settle(self, transfer: Transfer, *, size: int) -> Finding:
        """Look at the Step and at the upload until they decide, or ``finish_timeout`` is over.

        :param size: bytes; of the whole file
        """
        answered = transfer.answered_by_server
        deadline = time.monotonic() + self._settings.finish_timeout
        if not answered:
            self._give_grace()
        while True:
            head = transfer.get_offset()
            at_end = head.meaning is Meaning.AT and head.offset == size
            get = transfer.get_object() if at_end else None
            finding = weigh(shown=self._shown(), head=head, get=get, size=size, answered=answered)
            if finding is not Finding.BUSY:
                return finding
            if time.monotonic() > deadline:
                return Finding.UNDECIDED
            self._control.sleep(self._patience.look)

    def settle_empty(self) -> Finding:
        """The same for 0 bytes, which are finished inside create-file: no upload is left that could be asked."""
        shown = self._give_grace(times=4)
        return {True: Finding.TAKEN, False: Finding.NOT_TAKEN, None: Finding.UNDECIDED}[shown]

    def _give_grace(self, times: int = 1) -> bool | None:
        end = time.monotonic() + times * self._patience.grace
        while True:
            shown = self._shown()
            left = end - time.monotonic()
            if shown or left <= 0:
                return shown
            self._control.sleep(min(left, self._patience.look))

    def _shown(self) -> bool | None:
        """True if the Step lists a File that can be it; None if the Step does not tell."""
        files = read_files(self._settings, self._session, patience=self._patience, control=self._control)
        if files is None:
            return None
        if any(self._wanted.matches(file) and file.uuid not in self._known for file in files):
            return True
        later = [file for file in files if self._wanted.not_before and file.created_at >= self._wanted.not_before]
        # later Files may have pushed it out
        return None if len(later) >= MAX_FILES else False


def read_files(
    settings: Settings, session: Session, *, patience: Patience, control: Control
) -> tuple[File, ...] | None:
    """The Step's Files; None if they cannot be read. Tries again, within ``retry_budget``, where that can help."""
    backoff = Backoff(settings.retry_budget, first=patience.first_pause, longest=patience.longest_pause)
    while True:
        try:
            return read_step(session, settings).files
        except StepGoneError:
            # a secret link that was reset, or is another Workflow's, shows nothing either
            return None if settings.secret_link else ()
        except WorkbenchError as error:
            pause = backoff.pause(error.retry_after) if error.retryable else None
        if pause is None:
            return None
        control.sleep(pause)
