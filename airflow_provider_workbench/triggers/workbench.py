"""The triggers. Here: ``WorkbenchFileTrigger``, which waits in the triggerer until the Step shows a File."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_workbench.triggers.file_events import WorkbenchFileEventTrigger

if TYPE_CHECKING:
    from airflow_provider_workbench.client.settings import Settings
    from airflow_provider_workbench.client.steps import Step
    from airflow_provider_workbench.client.waiting import Verdict, Wanted

__all__ = ["WorkbenchFileEventTrigger", "WorkbenchFileTrigger"]

# seconds for a connection, a websocket's silence and a page; less than the sensor's backstop
_FIRST_LOOK = 90.0
_LONGEST_PAUSE = 10.0


class WorkbenchFileTrigger(BaseTrigger):
    """Fires once, when the Step shows the File, when it never will, or at the deadline.

    Workbench tells it: no requests while it waits, and one websocket per Workflow, however many wait in a triggerer.
    Each start looks at the present state first, so what happened while the triggerer was down is not missed.

    Its arguments are kept in the database as plain text, so they hold no secret. The event is a dict: ``state`` is a
    :class:`~airflow_provider_workbench.client.waiting.Verdict`'s, ``timeout`` or ``error``; ``uuid`` is the File's, if
    exactly one File could be it.

    :param workbench_conn_id: a connection of type ``workbench``
    :param wanted: a :class:`~airflow_provider_workbench.client.waiting.Wanted` as a dict
    :param deadline: ISO 8601; stays where it is when the triggerer restarts
    :param poke_interval: seconds between two looks at the page where no websocket can pass, at most; the first come
        sooner
    """

    def __init__(self, workbench_conn_id: str, wanted: dict[str, Any], deadline: str, poke_interval: float) -> None:
        super().__init__()
        self.workbench_conn_id = workbench_conn_id
        self.wanted = wanted
        self.deadline = deadline
        self.poke_interval = poke_interval
        self._last_seen = "Workbench has not answered."
        self._uuid: str | None = None

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
        from airflow_provider_workbench.client.errors import WaitingFailedError, WorkbenchError, where_from

        try:
            event = await self._wait()
        except WorkbenchError as error:
            return {"state": "error", **error.as_dict()}
        except Exception as error:
            kind, trouble = type(error).__name__, where_from(error)
        else:
            return {**event, "uuid": self._uuid}
        self.log.error("Waiting for a File failed: %s", trouble)
        return {"state": "error", **WaitingFailedError(f"Waiting for the File failed: {kind} (see the log).").as_dict()}

    async def _wait(self) -> dict[str, Any]:
        from airflow_provider_workbench.client.errors import WorkbenchError
        from airflow_provider_workbench.client.waiting import Wanted
        from airflow_provider_workbench.client.watch import reads_alike
        from airflow_provider_workbench.hooks.shared_settings import forget_shared_settings
        from airflow_provider_workbench.hooks.workbench import WorkbenchHook

        wanted = Wanted.from_dict(self.wanted)
        hook = WorkbenchHook(self.workbench_conn_id)
        now = asyncio.get_running_loop().time()
        deadline = now + (datetime.fromisoformat(self.deadline) - datetime.now(UTC)).total_seconds()
        try:
            # the triggerer may have been down until after the deadline: look once in any case
            async with asyncio.timeout_at(max(deadline, now + _FIRST_LOOK)) as limit:

                def looked() -> None:
                    if limit.when() != deadline and not limit.expired():
                        limit.reschedule(deadline)

                settings = await hook.aget_settings()
                try:
                    return (await self._verdict(settings, wanted, looked)).as_dict()
                except WorkbenchError as error:
                    if error.retryable:
                        raise
                    failure = error
                # they may be some seconds old, and the connection mended since
                forget_shared_settings(self.workbench_conn_id, settings)
                mended = await hook.aget_settings()
                if reads_alike(mended, settings):
                    raise failure
                # once: some secrets backends give other settings every time
                return (await self._verdict(mended, wanted, looked)).as_dict()
        except TimeoutError:
            return {"state": "timeout", "message": self._last_seen}

    async def _verdict(self, settings: Settings, wanted: Wanted, looked: Callable[[], None]) -> Verdict:
        from airflow_provider_workbench.client.waiting import judge, resolved
        from airflow_provider_workbench.client.watch import watch_step

        # where no websocket can pass, the page is read as often as the most hasty of a triggerer's tasks wants
        async with watch_step(settings, poke_interval=max(1.0, self.poke_interval), log=self._saw) as states:
            async for step in states:
                wanted = resolved(step, wanted)
                self._uuid = wanted.uuid
                verdict = judge(step, wanted)
                if verdict.state == "superseded" and verdict.file is None:
                    # two changes of one moment may come in any order; the page is always the newest
                    verdict = judge(await self._page(settings), wanted)
                if verdict.state != "waiting":
                    return verdict
                self._saw(verdict.message)
                looked()
        raise AssertionError("states never end without an error")

    async def _page(self, settings: Settings) -> Step:
        from airflow_provider_workbench.client.async_session import AsyncSession
        from airflow_provider_workbench.client.errors import WorkbenchError
        from airflow_provider_workbench.client.steps import ends_a_wait, pause_before_next_look
        from airflow_provider_workbench.client.subscriptions import still_trying

        again = False
        async with AsyncSession(settings) as session:
            while True:
                try:
                    return await session.read_step()
                except WorkbenchError as error:
                    if ends_a_wait(error, again=again):
                        raise
                    failure = error
                again = not failure.retryable
                self._saw(still_trying(failure))
                await asyncio.sleep(max(min(self.poke_interval, _LONGEST_PAUSE), pause_before_next_look(failure)))

    def _saw(self, text: str) -> None:
        if text != self._last_seen:
            self._last_seen = text
            self.log.info("%s", text)
