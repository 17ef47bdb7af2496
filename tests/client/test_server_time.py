from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from uploads import settings_of

from airflow_provider_workbench.client.answers import Answer
from airflow_provider_workbench.client.server_time import answer_time, server_time
from airflow_provider_workbench.client.session import Session
from airflow_provider_workbench.sandbox import Sandbox

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def dated(date: str) -> Answer:
    return Answer(200, {"date": date}, b"")


@pytest.mark.parametrize("date", ["Thu, 01 Jan 2026 12:00:00 GMT", "Thu, 01 Jan 2026 13:00:00 +0100"])
def test_answers_date_is_its_time(date: str) -> None:
    assert answer_time(dated(date)) == NOON


def test_date_without_a_zone_is_utc() -> None:
    assert answer_time(dated("Thu, 01 Jan 2026 12:00:00 -0000")) == NOON


@pytest.mark.parametrize(
    "date",
    ["", "soon", "Thu, 01 Jan 2026 12:00:00 +9999", "Fri, 31 Dec 9999 23:59:59 -1200", "Thu, 99 Jan 2026 12:00:00 GMT"],
)
def test_bad_date_is_none(date: str) -> None:
    assert answer_time(dated(date)) is None


def test_no_answer_and_no_date_are_none() -> None:
    assert answer_time(None) is None
    assert answer_time(Answer(200, {}, b"")) is None


def test_servers_time_is_now(wb: Sandbox) -> None:
    settings = settings_of(wb)
    with Session(settings) as session:
        found = server_time(session, settings)
    assert found is not None
    assert abs(datetime.now(UTC) - found) < timedelta(seconds=3)
    assert len(wb.requests) == 1


def test_servers_time_is_none_without_an_answer(wb: Sandbox) -> None:
    settings = settings_of(wb)
    wb.frontend_down = True
    with Session(settings) as session:
        assert server_time(session, settings) is None
