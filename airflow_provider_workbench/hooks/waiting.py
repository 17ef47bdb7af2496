"""Waiting for a File, as operator and sensor do it alike: where to look, and what a verdict means for the task.

Raises the client's errors; whoever calls it makes Airflow's of them (:func:`~.workbench.translated`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowSkipException, timezone

from airflow_provider_workbench.client.backoff import Backoff
from airflow_provider_workbench.client.errors import (
    ConfigurationError,
    FileSupersededError,
    RenderError,
    TlsError,
    WaitingFailedError,
    WorkbenchError,
    error_from_dict,
    printable,
)
from airflow_provider_workbench.client.expected import Expected
from airflow_provider_workbench.client.settings import Settings
from airflow_provider_workbench.client.waiting import ON_SUPERSEDED, UNTIL, Verdict, Wanted, judge, one_of, resolved

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_workbench.client.steps import Step

# the trigger keeps the deadline itself; Airflow's own limit is for a triggerer that is down
BACKSTOP = timedelta(seconds=120)

# most Files are rendered within seconds: look soon, then less and less often
_FIRST_PAUSE = 1.0
_LONGEST_READ_PAUSE = 30.0
# a kill is noticed within this
_NAP = 0.5
_MOST_SECONDS = 366 * 86400


@dataclass(frozen=True, slots=True)
class Rules:
    """What ends the waiting well.

    :ivar until: ``listed``, ``selected`` or ``rendered``; None if nothing is waited for
    :ivar expected: what the rendered table should be
    :ivar on_superseded: what it means that a later File took its place: ``succeed``, ``skip`` or ``fail``
    """

    until: str | None
    expected: Expected
    on_superseded: str

    @classmethod
    def checked(
        cls,
        *,
        until: str | None,
        expected_rows: Any,
        expected_columns: Any,
        on_superseded: str,
        until_name: str = "until",
    ) -> Rules:
        """From a task's parameters.

        :param until_name: what the task calls ``until``
        :raises ConfigurationError: one of them cannot work; the error names it
        """
        if until is not None:
            one_of(until_name, until, UNTIL)
        one_of("on_superseded", on_superseded, ON_SUPERSEDED)
        expected = Expected.parse(expected_rows, expected_columns)
        if expected and until != "rendered":
            raise ConfigurationError(
                f'expected_rows and expected_columns need {until_name}="rendered": before that, Workbench has no '
                "table to compare."
            )
        return cls(until, expected, on_superseded)


class Waiting:
    """One File that is waited for.

    :param settings: of the Step
    :param wanted: the File
    :param rules: what ends the waiting well
    :param log: the task's logger
    :param just_delivered: True if it was delivered a moment before the first look
    :ivar settings: of the Step
    :ivar wanted: with the uuid, as soon as exactly one File can be the one
    :ivar last_seen: in plain words
    """

    def __init__(
        self, settings: Settings, wanted: Wanted, rules: Rules, log: Any, *, just_delivered: bool = False
    ) -> None:
        self.wanted = wanted
        self.last_seen = ""
        self.settings = settings
        self._rules = rules
        self._log = log
        self._just_delivered = just_delivered
        self._asked_to_wait = 0.0

    @classmethod
    def of_upload(
        cls,
        settings: Settings,
        upload: Mapping[str, Any],
        rules: Rules,
        log: Any,
        *,
        conn_id: str,
        just_delivered: bool = False,
    ) -> Waiting:
        """For the File of an upload that Workbench accepted.

        :param upload: an :class:`~airflow_provider_workbench.client.upload.UploadResult` as a dict
        :param conn_id: the connection that ``settings`` are of
        :raises ConfigurationError: the File went to another Step: that this one does not list it means nothing
        """
        if rules.until is None:
            raise ConfigurationError("There is nothing to wait for.")
        endpoint = settings.endpoint
        if (upload["step_url"], upload["step_slug"]) != (endpoint.step_url, endpoint.step_slug):
            raise ConfigurationError(
                f"The File went to {printable(str(upload['step_slug']), 100)} of "
                f"{printable(str(upload['step_url']), 200)}, and connection {conn_id!r} is {endpoint.step_slug} of "
                f"{endpoint.step_url}. Wait with the connection that uploaded it."
            )
        return cls(settings, Wanted.of_upload(upload, rules.until), rules, log, just_delivered=just_delivered)

    def look(self, is_stopped: Callable[[], bool] = lambda: False) -> Verdict | None:
        """Read the Step's page once, or a second time some 20 s later if it says that there is nothing to wait for.

        :param is_stopped: True if the task was killed
        :return: None if it could not be read this time
        :raises StepUnreadableError, StepGoneError: it never will be
        :raises WaitingFailedError: the task was killed
        """
        just_delivered, self._just_delivered = self._just_delivered, False
        step = self._read(is_stopped)
        if step is None:
            return None
        self.wanted = resolved(step, self.wanted, just_delivered=just_delivered)
        verdict = judge(step, self.wanted)
        if verdict.state == "waiting":
            self._note(verdict.message, self._log.info)
        return verdict

    def poll(self, deadline: datetime, poke_interval: float, is_stopped: Callable[[], bool]) -> Verdict | None:
        """Look again and again, soon at first.

        :param poke_interval: seconds between two looks, at most
        :param is_stopped: True if the task was killed
        :return: anything but ``waiting``; None at the deadline
        :raises WaitingFailedError: the task was killed
        """
        pause = min(_FIRST_PAUSE, poke_interval)
        while (left := (deadline - timezone.utcnow()).total_seconds()) > 0:
            _sleep(min(max(pause, self._asked_to_wait), left), is_stopped)
            verdict = self.look(is_stopped)
            if verdict is not None and verdict.state != "waiting":
                return verdict
            pause = min(2 * pause, poke_interval)
        return None

    def verdict_of(self, event: dict[str, Any]) -> Verdict | None:
        """What a trigger's event says; None if the time is over, and the page does not show it even now.

        :param event: no error
        """
        if event.get("uuid") is not None:
            self.wanted = replace(self.wanted, uuid=event["uuid"])
        if event["state"] != "timeout":
            return Verdict.from_dict(event)
        self.last_seen = event["message"]
        # it may have come since the last look, or its push may have been lost
        verdict = self.look()
        return None if verdict is None or verdict.state == "waiting" else verdict

    def conclude(self, verdict: Verdict) -> dict[str, Any] | None:
        """What the end of the waiting means for the task.

        :param verdict: anything but ``waiting``
        :return: the File, if it is still listed
        :raises RenderError: the Step could not render it
        :raises UnexpectedTableError: what was rendered is not what was expected
        :raises FileSupersededError: a later File took its place, and that fails the task
        :raises AirflowSkipException: the same, and that skips the task
        """
        if verdict.state == "render-error":
            raise RenderError(f"Workbench could not render the File: {verdict.message}")
        if verdict.state == "superseded":
            self._superseded(verdict.message)
        else:
            self._log.info("%s", verdict.message)
            if verdict.file is not None:
                self._rules.expected.check(verdict.file, verdict.message)
        return verdict.file.as_dict() if verdict.file else None

    def _read(self, is_stopped: Callable[[], bool], *, again: bool = False) -> Step | None:
        from airflow_provider_workbench.client.steps import ends_a_wait, pause_before_next_look

        self._asked_to_wait = 0.0
        try:
            return _read_step(self.settings)
        except WorkbenchError as error:
            if ends_a_wait(error, again=again):
                raise
            failure = error
        self._note(f"The Step could not be read, trying again: {failure}", self._log.warning)
        if failure.retryable:
            self._asked_to_wait = pause_before_next_look(failure)
            return None
        _sleep(pause_before_next_look(failure), is_stopped)
        return self._read(is_stopped, again=True)

    def _superseded(self, message: str) -> None:
        if self._rules.expected:
            # the Step shows the table of the File that it uses, and of no other
            message += " Its rows and columns could not be compared with what was expected."
        if self._rules.on_superseded == "fail":
            raise FileSupersededError(message)
        if self._rules.on_superseded == "skip":
            raise AirflowSkipException(message)
        self._log.warning("%s", message)

    def _note(self, message: str, log: Callable[..., None]) -> None:
        if message != self.last_seen:
            self.last_seen = message
            log("%s", message)


def check_event(event: dict[str, Any]) -> None:
    """
    :param event: a trigger's
    :raises WorkbenchError: it is an error
    """
    if event["state"] == "error":
        raise error_from_dict(event)


def read_before_upload(settings: Settings, is_stopped: Callable[[], bool]) -> Step:
    """Read the Step that is waited on later, trying again within ``retry_budget`` where that can help. That there is
    nothing to wait for (403, 404, a redirect) must be said twice, 10 to 30 s apart.

    :param is_stopped: True if the task was killed
    :raises WorkbenchError: it cannot be read; the message says what to do
    """
    from airflow_provider_workbench.client.steps import ends_a_wait, pause_before_next_look

    backoff = Backoff(settings.retry_budget, first=_FIRST_PAUSE, longest=_LONGEST_READ_PAUSE)
    again = False
    while True:
        try:
            return _read_step(settings)
        except WorkbenchError as error:
            if error.retryable:
                pause = backoff.pause(error.retry_after)
            else:
                # an upload is not tried again after a failed handshake, either
                ends = isinstance(error, TlsError) or ends_a_wait(error, again=again)
                pause = None if ends else pause_before_next_look(error)
            again = not error.retryable
            if pause is None:
                failure = error
                break
        _sleep(pause, is_stopped)
    failure.args = (f"Nothing was uploaded, since the Step cannot be read, and so not waited for: {failure}",)
    raise failure


def seconds(name: str, value: Any) -> float:
    """A time span as seconds; a timedelta is one, too.

    :raises ConfigurationError: it is none, or not above 0; the error calls it ``name``
    """
    number = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(number, bool) or not isinstance(number, int | float) or not 0 < number <= _MOST_SECONDS:
        raise ConfigurationError(
            f"{name} must be a number of seconds above 0, at most {_MOST_SECONDS}, not {printable(repr(value), 60)}."
        )
    return float(number)


def wait_deadline(within: float, task: Any, context: Context) -> datetime:
    """When the waiting ends: after ``within`` seconds, or earlier at the task's ``execution_timeout``, which Airflow 3
    does not watch while the task is deferred."""
    deadline = timezone.utcnow() + timedelta(seconds=within)
    limit = _execution_limit(task, context)
    return min(deadline, limit) if limit else deadline


def is_execution_timeout(task: Any, context: Context, within: float) -> bool:
    """True if :func:`wait_deadline` was the task's ``execution_timeout``, and not ``within`` seconds."""
    limit = _execution_limit(task, context)
    # Airflow 3.0 to 3.2 forgets when a task that was deferred had started
    return limit is not None and (timezone.utcnow() >= limit or task.execution_timeout.total_seconds() <= within)


def _execution_limit(task: Any, context: Context) -> datetime | None:
    # Airflow 2's dag.test() starts tasks without noting when
    started = getattr(context.get("ti"), "start_date", None) or timezone.utcnow()
    return started + task.execution_timeout if task.execution_timeout else None


def _read_step(settings: Settings) -> Step:
    from airflow_provider_workbench.client.session import Session
    from airflow_provider_workbench.client.steps import read_step

    with Session(settings) as session:
        return read_step(session, settings)


def _sleep(seconds: float, is_stopped: Callable[[], bool]) -> None:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0 and not is_stopped():
        time.sleep(min(left, _NAP))
    if is_stopped():
        raise WaitingFailedError("The waiting was stopped.")
