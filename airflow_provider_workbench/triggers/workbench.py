"""``WorkbenchFileTrigger``: waits in the triggerer until the Step shows a File."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

_FIRST_PAUSE = 1.0


class WorkbenchFileTrigger(BaseTrigger):
    """Fires once, when the Step shows the File, when it never will, or at the deadline.

    Its arguments are kept in the database as plain text, so they hold no secret. The event is a dict: ``state`` is a
    :class:`~airflow_provider_workbench.client.waiting.Verdict`'s, ``timeout`` or ``error``.

    :param workbench_conn_id: a connection of type ``workbench``
    :param wanted: a :class:`~airflow_provider_workbench.client.waiting.Wanted` as a dict
    :param deadline: ISO 8601; stays where it is when the triggerer restarts
    :param poke_interval: seconds between two looks at the page, at most; the first come sooner
    """

    def __init__(self, workbench_conn_id: str, wanted: dict[str, Any], deadline: str, poke_interval: float) -> None:
        super().__init__()
        self.workbench_conn_id = workbench_conn_id
        self.wanted = wanted
        self.deadline = deadline
        self.poke_interval = poke_interval

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Everything that another triggerer needs to go on."""
        return (
            "airflow_provider_workbench.triggers.workbench.WorkbenchFileTrigger",
            {
                "workbench_conn_id": self.workbench_conn_id,
                "wanted": self.wanted,
                "deadline": self.deadline,
                "poke_interval": self.poke_interval,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait. Errors are events too: an exception here would lose its kind on the way to the worker."""
        yield TriggerEvent(await self._event())

    async def _event(self) -> dict[str, Any]:
        from airflow_provider_workbench.client.errors import WaitingFailedError, WorkbenchError

        try:
            return await self._wait()
        except WorkbenchError as error:
            return {"state": "error", **error.as_dict()}
        except Exception as error:
            self.log.exception("Waiting for a File failed")
            # its text may hold anything, and events are kept as plain text
            failed = WaitingFailedError(f"Waiting for the File failed: {type(error).__name__} (see the log).")
            return {"state": "error", **failed.as_dict()}

    async def _wait(self) -> dict[str, Any]:
        from airflow_provider_workbench.client.async_session import AsyncSession
        from airflow_provider_workbench.client.errors import WorkbenchError
        from airflow_provider_workbench.client.waiting import Wanted, judge
        from airflow_provider_workbench.hooks.workbench import WorkbenchHook

        wanted = Wanted.from_dict(self.wanted)
        deadline = datetime.fromisoformat(self.deadline)
        message = ""
        # most Files are rendered within seconds: look soon, then less and less often
        pause = min(_FIRST_PAUSE, self.poke_interval)
        async with AsyncSession(await WorkbenchHook(self.workbench_conn_id).aget_settings()) as session:
            while True:
                try:
                    verdict = judge(await session.read_step(), wanted)
                except WorkbenchError as error:
                    if not error.retryable:
                        raise
                    seen = f"The Step could not be read, trying again: {error}"
                else:
                    if verdict.state != "waiting":
                        return verdict.as_dict()
                    seen = verdict.message
                if seen != message:
                    message = seen
                    self.log.info("%s", message)
                left = (deadline - datetime.now(UTC)).total_seconds()
                if left <= 0:
                    return {"state": "timeout", "message": message}
                await asyncio.sleep(min(pause, left))
                pause = min(2 * pause, self.poke_interval)
