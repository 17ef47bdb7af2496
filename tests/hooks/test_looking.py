"""How a task looks at the Step's page, again and again, where no websocket serves."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta

import pytest

from airflow_provider_workbench.client.errors import (
    ServerError,
    StepGoneError,
    StepUnreadableError,
    TlsError,
    WaitingFailedError,
    WorkbenchError,
)
from airflow_provider_workbench.client.expected import Expected
from airflow_provider_workbench.client.settings import Settings
from airflow_provider_workbench.client.steps import File, Step
from airflow_provider_workbench.client.waiting import Wanted
from airflow_provider_workbench.hooks import waiting as module
from airflow_provider_workbench.hooks.waiting import Rules, Waiting

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
SETTINGS = Settings.from_fields("https://app.example/api/v1/workflows/1/steps/step-x/files", "t0ken")
THERE = Step("step-x", (File("u", "a.csv", 1, NOON),), "u", True, "ok", (), 1, 1)
EMPTY = Step("step-x", (), None, True, "ok", (), 0, 0)


def closed() -> StepUnreadableError:
    return StepUnreadableError("closed", status=403)


def busy(retry_after: float) -> ServerError:
    error = ServerError("busy", status=503)
    error.retry_after = retry_after
    return error


class Looks:
    """What the page says, look for look, and how long is slept in between."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.answers: list[Step | WorkbenchError] = []
        self.sleeps: list[float] = []
        self.waiting = Waiting(SETTINGS, Wanted("listed", name="a.csv"), Rules("listed", Expected(), "fail"), LOG)
        monkeypatch.setattr(module, "_read_step", self._read)
        monkeypatch.setattr(module, "_sleep", lambda seconds, is_stopped: self.sleeps.append(seconds))

    def _read(self, settings: Settings) -> Step:
        answer = self.answers.pop(0)
        if isinstance(answer, WorkbenchError):
            raise answer
        return answer

    def poll(self, *answers: Step | WorkbenchError) -> str:
        self.answers = list(answers)
        verdict = self.waiting.poll(datetime.now(UTC) + timedelta(hours=1), 2.0, lambda: False)
        assert verdict is not None
        assert self.answers == []
        return verdict.state


LOG = logging.getLogger("looks")


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Looks:
    return Looks(monkeypatch)


def test_answer_that_it_is_closed_must_come_twice(looks: Looks, caplog: pytest.LogCaptureFixture) -> None:
    assert looks.poll(EMPTY, closed(), EMPTY, closed(), THERE) == "seen"
    assert [second for second in looks.sleeps if second > 2] == [looks.sleeps[2], looks.sleeps[4]]
    assert all(10 <= second <= 30 for second in (looks.sleeps[2], looks.sleeps[4]))
    assert "trying again: closed" in caplog.text


def test_answer_that_comes_twice_ends_it(looks: Looks) -> None:
    with pytest.raises(StepUnreadableError):
        looks.poll(EMPTY, closed(), closed())


def test_failed_handshake_must_come_twice(looks: Looks, caplog: pytest.LogCaptureFixture) -> None:
    assert looks.poll(EMPTY, TlsError("no handshake"), THERE) == "seen"
    assert 10 <= looks.sleeps[-1] <= 30
    assert "trying again: no handshake" in caplog.text


def test_handshake_that_fails_twice_ends_it(looks: Looks) -> None:
    with pytest.raises(TlsError):
        looks.poll(EMPTY, TlsError("no handshake"), TlsError("no handshake"))


def test_failed_handshake_before_the_upload_is_refused_at_once(looks: Looks) -> None:
    looks.answers = [TlsError("no handshake"), THERE]
    with pytest.raises(TlsError, match="Nothing was uploaded"):
        module.read_before_upload(SETTINGS, lambda: False)
    assert (looks.sleeps, looks.answers) == ([], [THERE])


def test_answer_before_the_upload_that_it_is_closed_must_come_twice(looks: Looks) -> None:
    looks.answers = [closed(), busy(0), closed(), THERE]
    assert module.read_before_upload(SETTINGS, lambda: False) == THERE
    assert [10 <= second <= 30 for second in looks.sleeps] == [True, False, True]
    looks.answers = [closed(), closed(), THERE]
    with pytest.raises(StepUnreadableError, match="Nothing was uploaded.*closed"):
        module.read_before_upload(SETTINGS, lambda: False)
    assert looks.answers == [THERE]


def test_trouble_in_between_makes_the_answer_count_anew(looks: Looks) -> None:
    assert looks.poll(closed(), busy(0), closed(), THERE) == "seen"


def test_workbenchs_own_word_ends_it_at_once(looks: Looks) -> None:
    with pytest.raises(StepGoneError):
        looks.poll(StepGoneError("no such Step"))


def test_retry_after_is_heeded_and_no_longer_than_ten_minutes(looks: Looks) -> None:
    assert looks.poll(busy(40), busy(3600), EMPTY, THERE) == "seen"
    assert looks.sleeps == [1.0, 40, 600, 2.0]


def test_kill_is_noticed_before_the_second_look(monkeypatch: pytest.MonkeyPatch) -> None:
    real = module._sleep
    looks = Looks(monkeypatch)
    looks.answers = [closed()]
    monkeypatch.setattr(module, "_sleep", real)
    with pytest.raises(WaitingFailedError, match="stopped"):
        looks.waiting.look(lambda: True)
