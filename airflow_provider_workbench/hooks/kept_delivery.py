"""A delivery that a task need not repeat: Workbench has accepted the File, and only the waiting is left to a retry."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from airflow_provider_workbench.client.settings import Settings
from airflow_provider_workbench.hooks.task_state import TaskState

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

KEY = "workbench_delivery"


class KeptDelivery:
    """What an earlier try of this task delivered (Airflow 3.3 and later).

    It holds no secret, so it is kept as it is, with or without a Fernet key. It counts for the same path, File name,
    Step and row of tries; the file itself is not looked at again, and may be on another worker, or gone.

    :param context: of the running task
    :param settings: of the Step
    :param what: the path, or whatever else tells one delivery of this task from another
    :param filename: as the task was given it
    :param log: takes a line for the task's log
    """

    def __init__(
        self, context: Context, settings: Settings, what: str, filename: str | None, log: Callable[[str], None]
    ) -> None:
        self._state = TaskState(context, log)
        self._log = log
        parts = [settings.endpoint.create_file_url, what, filename, self._state.max_tries]
        # a digest, since a path may hold what should not be shown
        self._purpose = hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    @property
    def is_offered(self) -> bool:
        """False before Airflow 3.3."""
        return self._state.offered

    def load(self) -> dict[str, Any] | None:
        """The upload's result; None if there is none, or it was another delivery's."""
        if self._state.is_retry and not self._state.offered:
            self._log(
                "Airflow before 3.3 does not tell a retry whether an earlier try delivered the File: uploading it "
                "again. The Step may then have it twice."
            )
        kept = self._state.get(KEY)
        if not isinstance(kept, dict) or not isinstance(kept.get("upload"), dict):
            return None
        if kept.get("for") != self._purpose:
            self._log("What an earlier try delivered was another file, or the task was cleared: uploading.")
            return None
        return dict(kept["upload"])

    def save(self, upload: dict[str, Any]) -> None:
        """Keep an accepted upload's result for the next try."""
        self._state.set(KEY, {"upload": upload, "for": self._purpose})

    def forget(self) -> None:
        """The task is done."""
        self._state.delete(KEY)
