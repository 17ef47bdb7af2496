"""What a waiter is told, and when."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from airflow_provider_workbench.client.endpoint import Endpoint
from airflow_provider_workbench.client.errors import StepGoneError
from airflow_provider_workbench.client.steps import Step
from airflow_provider_workbench.client.subscriptions import Subscription, Subscriptions

ENDPOINT = Endpoint.parse("https://app.example/api/v1/workflows/1/steps/step-a/files")
EMPTY = Step("step-a", (), None, True, "ok", (), 0, 0)
BUSY = replace(EMPTY, rendered=False, output_status="busy")


def subscription(lines: list[str], poke_interval: float = 1.0) -> Subscription:
    return Subscription(ENDPOINT, poke_interval, lines.append)


async def test_slow_reader_gets_the_newest_state_and_the_newest_notes() -> None:
    lines: list[str] = []
    one = subscription(lines)
    one.tell(EMPTY)
    for number in range(9):
        one.note(f"trouble {number}")
    one.tell(BUSY)
    assert await anext(one) is BUSY
    assert lines == [f"trouble {number}" for number in range(4, 9)]


async def test_reader_that_waits_is_woken_by_each_kind_of_news() -> None:
    lines: list[str] = []
    one = subscription(lines)
    reading = asyncio.create_task(anext(one))
    await asyncio.sleep(0)
    one.note("trouble")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert lines == ["trouble"]
    assert not reading.done()
    one.tell(EMPTY)
    assert await reading is EMPTY
    reading = asyncio.create_task(anext(one))
    await asyncio.sleep(0)
    one.fail(StepGoneError("gone"))
    with pytest.raises(StepGoneError):
        await reading


async def test_same_state_is_news_only_after_trouble() -> None:
    one = subscription([])
    assert one.tell(EMPTY)
    assert not one.tell(EMPTY)
    one.note("trouble")
    assert one.tell(EMPTY)


async def test_reader_that_was_cancelled_can_read_on() -> None:
    one = subscription([])
    reading = asyncio.create_task(anext(one))
    await asyncio.sleep(0)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    one.tell(EMPTY)
    assert await anext(one) is EMPTY


async def test_what_was_handed_over_is_read_before_the_error() -> None:
    one = subscription([])
    one.tell(EMPTY)
    one.fail(StepGoneError("gone"))
    assert await anext(one) is EMPTY
    with pytest.raises(StepGoneError):
        await anext(one)


def test_most_impatient_one_decides_how_often_the_page_is_read() -> None:
    all_ = Subscriptions()
    for seconds in (60.0, 5.0, 30.0):
        all_.add(subscription([], seconds))
    assert all_.poke_interval == 5.0
