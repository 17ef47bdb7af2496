from __future__ import annotations

import threading
import time
from datetime import timedelta

import pytest

from airflow_provider_workbench.client import steps, upload, watcher, websocket
from airflow_provider_workbench.client.errors import UploadStoppedError
from airflow_provider_workbench.client.patience import Control, Patience


def test_locks_are_waited_for_three_minutes_and_a_stalled_source_less_than_the_servers_limit() -> None:
    patience = Patience()
    assert patience.lock >= 180
    assert patience.source < 6


def test_limits_fit_the_server_and_what_people_can_wait_for() -> None:
    patience = Patience()
    # an early HEAD cancels tusd 2's hook, and a lost answer should be cleared up soon
    assert 5 <= patience.grace <= 30
    # tusd gives a failing hook up after 2 s, and a restart takes longer
    assert 2 < patience.round_pause <= patience.longest_pause
    # another File of this name and size must not be taken for ours, nor ours missed by a clock that is wrong
    assert timedelta(minutes=1) <= upload._CLOCKS_APART <= timedelta(minutes=10)

    # more than two of the server's pings, which come every 20 s, and one may be late
    assert 2 * 20 < websocket.SILENCE_LIMIT <= 60
    # a slow server is none that only pretends to listen, which must not hold the wait
    assert 10 <= websocket.FIRST_MESSAGE_LIMIT <= 30
    assert 5 <= websocket.PONG_LIMIT <= 30
    # a deleted Workflow leaves its socket open, and many that are renewed too often are a load
    assert 300 <= watcher.SOCKET_AGE <= 720
    # a server that is back is found soon, and one that closes each socket at once is spared
    assert 10 <= watcher.LONGEST_PAUSE <= 60
    assert 5 <= watcher.LASTING <= watcher.LONGEST_PAUSE
    # where websockets cannot pass they are seldom tried, and nothing is seen while one is
    assert 60 <= watcher.FIRST_RETRIAL <= watcher.SOCKET_AGE
    assert 5 <= watcher.RETRIAL_LIMIT <= 10

    # what a proxy says while its server restarts is over then, and a Step that is gone is said to be within a minute
    soonest, latest = steps.SECOND_LOOK
    assert 10 <= soonest < latest <= 60
    # minutes are a maintenance, a year is a mistake
    assert 300 <= steps.LONGEST_RETRY_AFTER <= 900


def test_control_lets_go_on_until_it_is_stopped() -> None:
    control = Control()
    control.check()
    began = time.monotonic()
    control.sleep(0.05)
    assert time.monotonic() - began >= 0.05
    control.stop()
    with pytest.raises(UploadStoppedError):
        control.check()
    with pytest.raises(UploadStoppedError):
        control.sleep(60)


def test_stop_from_another_thread_ends_a_sleep() -> None:
    control = Control()
    threading.Timer(0.05, control.stop).start()
    began = time.monotonic()
    with pytest.raises(UploadStoppedError, match="was stopped"):
        control.sleep(60)
    assert time.monotonic() - began < 1


def test_stop_cuts_the_watched_session() -> None:
    class Cut:
        times = 0

        def cut(self) -> None:
            self.times += 1

    control = Control()
    session = Cut()
    control.watch(session)  # type: ignore[arg-type]
    control.stop()
    control.stop()
    assert session.times == 2
