"""Many triggers of one process, one look-up."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from airflow_provider_workbench.client.settings import Settings
from airflow_provider_workbench.hooks import shared_settings as module
from airflow_provider_workbench.hooks.shared_settings import forget_shared_settings, shared_settings

SETTINGS = Settings.from_fields("https://app.example/api/v1/workflows/1/steps/step-x/files", "t0ken")


class LookUp:
    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.times = 0

    async def __call__(self) -> Settings:
        self.times += 1
        await asyncio.sleep(0.02)
        if self.failures:
            raise self.failures.pop(0)
        return replace(SETTINGS)


def forward(loop: asyncio.AbstractEventLoop, seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the loop's clock forward."""
    time = loop.time
    monkeypatch.setattr(loop, "time", lambda: time() + seconds)


async def test_many_who_ask_at_once_are_one_look_up() -> None:
    look_up = LookUp()
    found = await asyncio.gather(*(shared_settings("a", look_up) for _ in range(50)))
    assert found == [SETTINGS] * 50
    assert await shared_settings("a", look_up) is found[0]
    assert look_up.times == 1


async def test_each_connection_is_looked_up() -> None:
    look_up = LookUp()
    await asyncio.gather(shared_settings("a", look_up), shared_settings("b", look_up))
    assert look_up.times == 2


async def test_changed_connection_is_seen_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LIFETIME", 0.05)
    look_up = LookUp()
    await shared_settings("a", look_up)
    await asyncio.sleep(0.1)
    await shared_settings("a", look_up)
    assert look_up.times == 2


async def test_failure_is_everyones_and_is_not_kept() -> None:
    look_up = LookUp(ValueError("no such connection"))
    results = await asyncio.gather(*(shared_settings("a", look_up) for _ in range(3)), return_exceptions=True)
    assert [type(result) for result in results] == [ValueError] * 3
    assert await shared_settings("a", look_up) == SETTINGS


async def test_cancelled_asker_does_not_cancel_the_others() -> None:
    look_up = LookUp()
    first = asyncio.create_task(shared_settings("a", look_up))
    second = asyncio.create_task(shared_settings("a", look_up))
    await asyncio.sleep(0)
    first.cancel()
    assert await second == SETTINGS
    assert look_up.times == 1


async def test_forgotten_settings_are_looked_up_once_for_all_who_forget_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LIFETIME", 100)
    loop = asyncio.get_running_loop()
    look_up = LookUp()
    stale = await shared_settings("a", look_up)

    async def again(pause: float) -> Settings:
        await asyncio.sleep(pause)
        forget_shared_settings("a", stale)
        return await shared_settings("a", look_up)

    forward(loop, 50, monkeypatch)
    found = await asyncio.gather(*(again(number / 500) for number in range(50)))
    assert look_up.times == 2
    assert all(one is found[0] is not stale for one in found)
    # the time of the forgotten ones is over now, and that of the new ones not
    forward(loop, 50, monkeypatch)
    await asyncio.sleep(0.01)
    assert await shared_settings("a", look_up) is found[0]


async def test_another_look_up_that_failed_meanwhile_is_not_raised_to_who_forgets() -> None:
    problems: list[BaseException] = []

    def forget() -> None:
        try:
            forget_shared_settings("a", SETTINGS)
        except BaseException as error:
            problems.append(error)

    async def fails() -> Settings:
        # runs after this has failed, and before anybody hears of it
        asyncio.get_running_loop().call_soon(lambda: (ended.append(_shared_task("a").done()), forget()))
        raise ValueError("no such connection")

    ended: list[bool] = []
    with pytest.raises(ValueError, match="no such connection"):
        await shared_settings("a", fails)
    assert (ended, problems) == ([True], [])


def _shared_task(conn_id: str) -> asyncio.Task[Settings]:
    return module._SHARED[asyncio.get_running_loop(), conn_id]


async def test_nothing_to_forget_is_no_error() -> None:
    forget_shared_settings("never asked for", SETTINGS)
