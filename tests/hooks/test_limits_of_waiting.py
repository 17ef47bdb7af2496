"""Times that no user sets, and what they must fit; those without Airflow are in ``tests/client/test_patience.py``."""

from __future__ import annotations

from datetime import timedelta

from airflow_provider_workbench.client import websocket
from airflow_provider_workbench.hooks import kept_uploads, waiting
from airflow_provider_workbench.triggers import file_events, workbench


def test_limits_fit_airflow_and_workbench() -> None:
    # a trigger that still looks for the first time, by a socket that may be dead, is not taken for one that is down
    assert websocket.SILENCE_LIMIT < workbench._FIRST_LOOK < waiting.BACKSTOP.total_seconds() <= 300
    # the triggerer collects events every second
    assert 1 < file_events._UNTIL_EVENTS_ARE_STORED <= 10
    # the scheduler makes a run within seconds, and 30 Files at once are told of within minutes
    assert 10 <= file_events._BETWEEN_EVENTS <= 30
    # a retry may come after a night, and Workbench deletes unfinished uploads after a day
    assert timedelta(hours=10) < kept_uploads.RETENTION < timedelta(hours=24)
