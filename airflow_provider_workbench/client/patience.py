"""How long to wait for what, and how waiting is ended."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from airflow_provider_workbench.client.errors import UploadStoppedError
from airflow_provider_workbench.client.session import Session


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds that no user has to set; tests have less of them.

    :ivar first_pause: the longest pause before the second try; it doubles with each failure
    :ivar longest_pause: where doubling ends
    :ivar round_pause: the longest pause before the file is uploaded again from zero; it doubles with each round: a hook
        that restarts needs more than a moment
    :ivar lock: for another request to let go of the upload: a half-open connection can hold it for minutes (protocol
        section 2)
    :ivar lock_unsaid: for the same, without a word in the log
    :ivar source: for the source to give bytes while a PATCH is open. Then the connection is cut, which keeps what was
        sent; a silent one loses it after 6 s (recorded)
    :ivar grace: for the Step to show the File after a lost answer, before the upload host is asked: on tusd 2 an early
        HEAD cancels the hook (protocol section 2)
    :ivar look: between two looks at the evidence
    """

    first_pause: float = 0.5
    longest_pause: float = 30.0
    round_pause: float = 5.0
    lock: float = 180.0
    lock_unsaid: float = 5.0
    source: float = 4.0
    grace: float = 5.0
    look: float = 2.0


class Control:
    """Lets another thread, or a signal handler, stop an upload."""

    def __init__(self) -> None:
        self._stopped = threading.Event()
        self._session: Session | None = None

    def watch(self, session: Session) -> None:
        """Cut this session's connections when the upload is stopped."""
        self._session = session

    def stop(self) -> None:
        """Stop sending, and cut the connections. Returns at once."""
        self._stopped.set()
        if self._session is not None:
            self._session.cut()

    def check(self) -> None:
        """Go on, or not.

        :raises UploadStoppedError: it was stopped
        """
        if self._stopped.is_set():
            raise UploadStoppedError("The upload was stopped.")

    def sleep(self, seconds: float) -> None:
        """Wait, or stop waiting.

        :param seconds: at most
        :raises UploadStoppedError: it was stopped
        """
        self._stopped.wait(seconds)
        self.check()
