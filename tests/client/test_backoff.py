from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_workbench.client.backoff import Backoff, retry_after_seconds


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def longest(low: float, high: float) -> float:
    return high


def test_pauses_double_up_to_the_longest() -> None:
    backoff = Backoff(1000, first=1, longest=8, clock=Clock(), choose=longest)
    assert [backoff.pause() for _ in range(6)] == [1, 2, 4, 8, 8, 8]


def test_jitter_is_full() -> None:
    backoff = Backoff(1000, first=1, longest=8, clock=Clock(), choose=lambda low, high: low)
    assert backoff.pause() == 0
    pauses = [Backoff(1000, first=1, longest=8).pause() or 0 for _ in range(100)]
    assert min(pauses) < 0.3 < 0.7 < max(pauses) <= 1


def test_many_failures_do_not_overflow() -> None:
    backoff = Backoff(1e9, first=1, longest=30, clock=Clock(), choose=longest)
    assert [backoff.pause() for _ in range(2000)][-1] == 30


def test_budget_ends_it_and_progress_starts_it_anew() -> None:
    clock = Clock()
    backoff = Backoff(10, first=1, longest=8, clock=clock, choose=longest)
    assert (backoff.pause(), backoff.pause()) == (1, 2)
    clock.now += 9
    assert backoff.pause() == 1, "no longer than what is left"
    clock.now += 1
    assert backoff.pause() is None
    backoff.progress()
    assert backoff.pause() == 1


def test_bytes_that_moved_start_the_clock_and_not_the_doubling() -> None:
    clock = Clock()
    backoff = Backoff(10, first=1, longest=8, clock=clock, choose=longest)
    backoff.pause()
    clock.now += 10
    backoff.moved()
    assert backoff.pause() == 2


def test_retry_after_is_obeyed_and_ends_it_if_the_budget_has_not_so_much_left() -> None:
    clock = Clock()
    backoff = Backoff(10, first=1, longest=8, clock=clock, choose=longest)
    assert backoff.pause(5) == 5
    assert backoff.pause(0.5) == 2, "the longer of both"
    assert backoff.pause(10) == 10
    clock.now += 1
    assert backoff.pause(9.5) is None


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0),
        (" 120 ", 120),
        (None, None),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("\u0663", None),
        ("9" * 40, None),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
        ("Thu, 01 Jan 1970 00:00:00 -0000", 0),
        ("Thu, 99 Jan 2026 12:00:00 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_moment(value: str | None, seconds: float | None) -> None:
    assert retry_after_seconds({} if value is None else {"retry-after": value}) == seconds


def test_retry_after_moment_counts_from_now() -> None:
    moment = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    assert 57 < (retry_after_seconds({"retry-after": moment}) or 0) <= 60


def test_retry_after_moment_counts_by_the_servers_clock() -> None:
    ahead = datetime.now(UTC) + timedelta(minutes=20)
    headers = {
        "date": format_datetime(ahead, usegmt=True),
        "retry-after": format_datetime(ahead + timedelta(seconds=30), usegmt=True),
    }
    assert retry_after_seconds(headers) == 30


@pytest.mark.parametrize("date", ["", "yesterday", "Thu, 01 Jan 1970 00:00:00 GMT"])
def test_retry_after_moment_counts_by_our_clock_where_the_servers_is_of_no_use(date: str) -> None:
    moment = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    assert 57 < (retry_after_seconds({"retry-after": moment, "date": date}) or 0) <= 60


@given(st.text(max_size=40))
def test_any_retry_after_is_seconds_or_none(value: str) -> None:
    seconds = retry_after_seconds({"retry-after": value, "date": value})
    assert seconds is None or seconds >= 0
