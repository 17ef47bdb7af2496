from __future__ import annotations

import threading
import time

import pytest

from airflow_provider_workbench.client.errors import UploadStoppedError
from airflow_provider_workbench.client.patience import Control, Patience


def test_locks_are_waited_for_three_minutes_and_a_stalled_source_less_than_the_servers_limit() -> None:
    patience = Patience()
    assert patience.lock >= 180
    assert patience.source < 6


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
