"""Uploads kept from one try of a task to the next, in Airflow's task state store (3.3 and later), encrypted.

The store's values are plain text in the database and over REST, and outlive a user's *Clear*; so what is kept is sealed
with Airflow's Fernet key, and opened only for the same source, File name, Step, and row of tries.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_workbench.client.settings import Settings
from airflow_provider_workbench.hooks.task_state import TaskState

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_workbench.client.listener import Kept

KEY = "workbench_upload"
# Workbench deletes unfinished uploads after about a day (protocol, "The pieces")
RETENTION = timedelta(hours=20)


class KeptUploads:
    """The upload that this task instance may go on with.

    :param context: of the running task
    :param log: takes a line for the task's log
    """

    def __init__(self, context: Context, log: Callable[[str], None]) -> None:
        self._state = TaskState(context, log)
        self._log = log

    def load(self, settings: Settings, filename: str, fingerprint: str) -> Kept | None:
        """The upload that an earlier try left for the same delivery; None if there is none."""
        from airflow_provider_workbench.client.listener import Kept

        if self._state.is_retry and not self._state.offered:
            self._log("Airflow before 3.3 keeps nothing between tries: uploading from the start.")
        sealed = self._state.get(KEY)
        if not isinstance(sealed, str):
            return None
        kept = _unseal(sealed)
        if kept is None:
            self._log("What an earlier try kept of its upload cannot be read (another Fernet key?): starting over.")
            return None
        if kept.get("for") != self._purpose(settings, filename, fingerprint):
            self._log("An earlier try's upload was of another file or token, or the task was cleared: starting over.")
            return None
        try:
            return Kept.from_dict(kept["upload"])
        except (KeyError, TypeError, ValueError):
            self._log("An earlier try's upload was kept by another version of this provider: starting over.")
            return None

    def save(self, kept: Kept, settings: Settings, filename: str, fingerprint: str) -> None:
        """Keep an unfinished upload for the next try. Without a Fernet key nothing is kept."""
        sealed = _seal({"upload": kept.as_dict(), "for": self._purpose(settings, filename, fingerprint)})
        if sealed is not None:
            self._state.set(KEY, sealed, retention=RETENTION)

    def forget(self) -> None:
        """The upload is settled, one way or the other."""
        self._state.delete(KEY)

    def _purpose(self, settings: Settings, filename: str, fingerprint: str) -> list[Any]:
        # a reset of the token is the end of every upload that was made with the old one (protocol, "The pieces")
        token = hashlib.sha256(settings.token.encode()).hexdigest()
        return [settings.endpoint.create_file_url, token, filename, fingerprint, self._state.max_tries]


def _fernet() -> Any:
    try:
        from airflow.sdk.crypto import get_fernet
    except ImportError:
        from airflow.models.crypto import get_fernet
    try:
        fernet = get_fernet()
    except Exception:
        # a malformed key: Airflow itself complains of it where it needs one
        return None
    return fernet if fernet.is_encrypted else None


def _seal(values: dict[str, Any]) -> str | None:
    fernet = _fernet()
    return fernet.encrypt(json.dumps(values).encode()).decode() if fernet else None


def _unseal(sealed: str) -> dict[str, Any] | None:
    from cryptography.fernet import InvalidToken

    fernet = _fernet()
    try:
        values = json.loads(fernet.decrypt(sealed.encode())) if fernet else None
    except (InvalidToken, ValueError):
        return None
    return values if isinstance(values, dict) else None
