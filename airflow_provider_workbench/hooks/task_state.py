"""Airflow's task state store (3.3 and later): what one try of a task leaves for the next."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context


FIRST_START_KEY = "workbench_first_start"


class TaskState:
    """The running task's own store. It is a comfort: no failure of it fails the task.

    The store's values are plain text in the database and over REST, and outlive a user's *Clear*.

    :param context: of the running task
    :param log: takes a line for the task's log
    :ivar offered: False before Airflow 3.3
    :ivar is_retry: True from the second try on
    :ivar max_tries: the same for all tries of one delivery. A Clear changes it, and a cleared task delivers again
        (only a Clear of a task that is *running* does not: to Airflow that is a retry)
    """

    def __init__(self, context: Context, log: Callable[[str], None]) -> None:
        ti = context.get("ti")
        self._store: Any = context.get("task_state_store")
        self._log = log
        self.offered = self._store is not None
        self.is_retry = ti is not None and ti.try_number > 1
        self.max_tries = ti.max_tries if ti is not None else None

    def get(self, key: str) -> Any:
        """What is kept; None if nothing is."""
        return self._ask("get", key)

    def set(self, key: str, value: Any, *, retention: timedelta | None = None) -> None:
        """Keep JSON values, for as long as Airflow is configured to or for ``retention``."""
        self._ask("set", key, value, retention=retention)

    def delete(self, key: str) -> None:
        """Keep it no longer."""
        self._ask("delete", key)

    def first_start(self, started: datetime) -> datetime:
        """When the first try of this row of tries started.

        :param started: when this one did; returned, and kept for the others, if nothing is kept yet
        """
        kept = self.get(FIRST_START_KEY)
        if isinstance(kept, dict) and kept.get("max_tries") == self.max_tries:
            try:
                return datetime.fromisoformat(kept["at"])
            except (KeyError, TypeError, ValueError):
                # people can edit the store
                pass
        self.set(FIRST_START_KEY, {"at": started.isoformat(), "max_tries": self.max_tries})
        return started

    def _ask(self, what: str, *args: Any, **kwargs: Any) -> Any:
        if self._store is None:
            return None
        try:
            return getattr(self._store, what)(*args, **kwargs)
        except Exception as error:
            self._log(f"Airflow's task state store failed ({what}: {type(error).__name__}): going on without it.")
            return None
