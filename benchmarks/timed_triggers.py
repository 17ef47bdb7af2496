"""The triggers that ``waiting.py`` compares. They run in a real triggerer and note when they run and when they fire."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from functools import cache
from pathlib import Path
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_workbench.triggers.workbench import WorkbenchFileTrigger


@cache
def _notes() -> int:
    return os.open(os.environ["BENCHMARK_NOTES"], os.O_WRONLY | os.O_APPEND)


def note(what: str, name: str) -> None:
    """One short write is atomic, and takes some microseconds."""
    os.write(_notes(), f"{what} {name} {time.time_ns()}\n".encode())


class _Timed(BaseTrigger):
    wanted: dict[str, Any]

    def serialize(self) -> tuple[str, dict[str, Any]]:
        _, kwargs = super().serialize()
        return f"timed_triggers.{type(self).__name__}", kwargs

    async def run(self) -> AsyncIterator[TriggerEvent]:
        note("runs", self.wanted["name"])
        async for event in super().run():
            note(event.payload["state"], self.wanted["name"])
            yield event


class Pushed(_Timed, WorkbenchFileTrigger):
    """Ours."""


class Poller(_Timed, WorkbenchFileTrigger):
    """What most sensors do: each reads the page every ``poke_interval``, over a connection of its own."""

    async def _wait(self) -> dict[str, Any]:
        from airflow_provider_workbench.client.async_session import AsyncSession
        from airflow_provider_workbench.client.waiting import Wanted, judge
        from airflow_provider_workbench.hooks.workbench import WorkbenchHook

        wanted = Wanted.from_dict(self.wanted)
        async with AsyncSession(await WorkbenchHook(self.workbench_conn_id).aget_settings()) as session:
            while (verdict := judge(await session.read_step(), wanted)).state == "waiting":
                await asyncio.sleep(self.poke_interval)
            return verdict.as_dict()


class Idle(_Timed, WorkbenchFileTrigger):
    """Does nothing: what Airflow itself needs for a trigger."""

    async def _wait(self) -> dict[str, Any]:
        await asyncio.Event().wait()
        return {}


class Clock(_Timed, WorkbenchFileTrigger):
    """Fires at a moment that is told when all run: how fast Airflow itself takes many events of one moment."""

    async def _wait(self) -> dict[str, Any]:
        told = Path(os.environ["BENCHMARK_NOTES"]).with_name("moment")
        while not (moment := told.read_text()):
            await asyncio.sleep(1)
        await asyncio.sleep(float(moment) - time.time())
        return {"state": "seen"}
