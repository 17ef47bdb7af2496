"""``WorkbenchFileSensor``: waits until a Workbench Step shows a File."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import (
    AirflowSensorTimeout,
    AirflowSkipException,
    BaseSensorOperator,
    PokeReturnValue,
    conf,
    timezone,
)

if TYPE_CHECKING:
    from datetime import datetime

    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_workbench.client.waiting import Verdict, Wanted

# the trigger keeps the deadline itself; Airflow's own limit is for a triggerer that is down
_BACKSTOP = timedelta(seconds=120)


class WorkbenchFileSensor(BaseSensorOperator):
    """Wait until the Step of a connection shows a File. Returns the File as a dict: ``uuid``, ``name``, ``size``
    (bytes), ``created_at`` (ISO 8601), and ``n_rows`` and ``n_columns`` once rendered.

    Either for the File that a ``WorkbenchUploadOperator`` delivered (``upload``), or for one that anybody uploads
    (``filename`` and ``since``). Reading needs a public Workflow, or ``secret_link`` in the connection.

    :param upload: the operator's output (templated)
    :param filename: name or pattern (``*.csv``) of a File that anybody uploads; case counts (templated)
    :param since: required with ``filename``: no File from before this counts. A datetime, ISO 8601 text, a timedelta
        back from the task's start, or ``"any"`` (templated)
    :param size: with ``filename``: bytes that the File must have (templated)
    :param until: ``"listed"``: it is among the Step's Files; ``"selected"``: the Step uses it; ``"rendered"``: the
        Step has made a table of it, and an error of the rendering fails the task
    :param on_superseded: what it means that a later File took its place: ``"succeed"`` (with a warning), ``"skip"`` or
        ``"fail"``
    :param workbench_conn_id: a connection of type ``workbench`` (templated)
    :param deferrable: wait in the triggerer, without holding a worker
    """

    template_fields: Sequence[str] = ("upload", "filename", "since", "size", "workbench_conn_id")
    ui_color = "#e6f2ff"

    def __init__(
        self,
        *,
        upload: dict[str, Any] | None = None,
        filename: str | None = None,
        since: datetime | timedelta | str | None = None,
        size: int | None = None,
        until: str = "selected",
        on_superseded: str = "succeed",
        workbench_conn_id: str = "workbench_default",
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.upload = upload
        self.filename = filename
        self.since = since
        self.size = size
        self.until = until
        self.on_superseded = on_superseded
        self.workbench_conn_id = workbench_conn_id
        self.deferrable = deferrable

    def execute(self, context: Context) -> Any:
        """Look once, then wait: here, or with ``deferrable`` in the triggerer.

        :raises WorkbenchFatalError: it will never be shown, or must not be waited for; the message says why
        :raises AirflowSensorTimeout: not within ``timeout`` (with ``soft_fail`` a skip)
        """
        from airflow_provider_workbench.client.errors import WorkbenchError
        from airflow_provider_workbench.hooks.workbench import for_airflow

        failure = None
        try:
            wanted = self._wanted(context)
            if not self.deferrable:
                return super().execute(context)
            done = self._look(wanted)
        except WorkbenchError as error:
            failure = for_airflow(error)
        if failure is not None:
            raise failure
        if done is not None:
            return done.xcom_value
        return self._defer(wanted)

    def poke(self, context: Context) -> PokeReturnValue | bool:
        """Look at the Step's page once."""
        return self._look(self._wanted(context)) or False

    def execute_complete(self, context: Context, event: dict[str, Any]) -> Any:
        """Take the trigger's event. Called by Airflow."""
        from airflow_provider_workbench.client.errors import WorkbenchError, error_from_dict
        from airflow_provider_workbench.client.waiting import Verdict
        from airflow_provider_workbench.hooks.workbench import for_airflow

        state = event["state"]
        if state == "timeout":
            text = f"The File was not there within {self.timeout:.0f} s. Last seen: {event['message']}"
            raise (AirflowSkipException if self.soft_fail else AirflowSensorTimeout)(text)
        if state == "error":
            raise for_airflow(error_from_dict(event))
        failure = None
        try:
            return self._finish(Verdict.from_dict(event)).xcom_value
        except WorkbenchError as error:
            failure = for_airflow(error)
        raise failure

    def _defer(self, wanted: Wanted) -> None:
        from airflow_provider_workbench.triggers.workbench import WorkbenchFileTrigger

        timeout = timedelta(seconds=self.timeout)
        self.defer(
            trigger=WorkbenchFileTrigger(
                workbench_conn_id=self.workbench_conn_id,
                wanted=wanted.as_dict(),
                deadline=(timezone.utcnow() + timeout).isoformat(),
                poke_interval=self.poke_interval,
            ),
            method_name="execute_complete",
            timeout=timeout + _BACKSTOP,
        )

    def _look(self, wanted: Wanted) -> PokeReturnValue | None:
        from airflow_provider_workbench.client.errors import WorkbenchError
        from airflow_provider_workbench.client.session import Session
        from airflow_provider_workbench.client.steps import read_step
        from airflow_provider_workbench.client.waiting import judge
        from airflow_provider_workbench.hooks.workbench import WorkbenchHook

        # not hook.get_step(): Airflow's soft_fail makes a skip of the AirflowFailException that it raises
        settings = WorkbenchHook(self.workbench_conn_id).get_settings()
        try:
            with Session(settings) as session:
                step = read_step(session, settings)
        except WorkbenchError as error:
            if not error.retryable:
                raise
            self.log.warning("The Step could not be read, trying again: %s", error)
            return None
        verdict = judge(step, wanted)
        if verdict.state == "waiting":
            self.log.info("%s", verdict.message)
            return None
        return self._finish(verdict)

    def _finish(self, verdict: Verdict) -> PokeReturnValue:
        from airflow_provider_workbench.client.errors import FileSupersededError, RenderError

        if verdict.state == "render-error":
            raise RenderError(f"Workbench could not render the File: {verdict.message}")
        if verdict.state == "superseded":
            if self.on_superseded == "fail":
                raise FileSupersededError(verdict.message)
            if self.on_superseded == "skip":
                raise AirflowSkipException(verdict.message)
            self.log.warning("%s", verdict.message)
        else:
            self.log.info("%s", verdict.message)
        return PokeReturnValue(is_done=True, xcom_value=verdict.file.as_dict() if verdict.file else None)

    def _wanted(self, context: Context) -> Wanted:
        """Check the parameters, before anything is asked of Workbench."""
        from airflow_provider_workbench.client.errors import ConfigurationError, printable
        from airflow_provider_workbench.client.settings import byte_count
        from airflow_provider_workbench.client.waiting import (
            ON_SUPERSEDED,
            Wanted,
            parse_time,
            since_moment,
        )
        from airflow_provider_workbench.hooks.workbench import WorkbenchHook

        if self.on_superseded not in ON_SUPERSEDED:
            raise ConfigurationError(
                f"on_superseded must be one of {', '.join(ON_SUPERSEDED)}, "
                f"not {printable(repr(self.on_superseded), 60)}."
            )
        if (self.upload is None) == (self.filename is None):
            raise ConfigurationError("Give either upload (a WorkbenchUploadOperator's output) or filename, not both.")
        if self.filename is not None:
            return Wanted(
                until=self.until,
                name=self.filename,
                is_pattern=True,
                size=None if self.size is None else byte_count("size", self.size, least=0),
                not_before=since_moment(self.since, started=self._started(context)),
            )
        upload = self.upload
        if not isinstance(upload, dict) or not {"filename", "size", "step_url", "not_before"} <= upload.keys():
            raise ConfigurationError(
                f"upload must be the output of one WorkbenchUploadOperator, not a {type(upload).__name__}. "
                "For a mapped operator, expand the sensor too: WorkbenchFileSensor.partial(…)"
                ".expand(upload=operator.output)."
            )
        endpoint = WorkbenchHook(self.workbench_conn_id).get_settings().endpoint
        if (upload["step_url"], upload["step_slug"]) != (endpoint.step_url, endpoint.step_slug):
            raise ConfigurationError(
                f"upload went to {upload['step_slug']} of {upload['step_url']}, and connection "
                f"{self.workbench_conn_id!r} is {endpoint.step_slug} of {endpoint.step_url}: give the sensor the "
                "operator's workbench_conn_id."
            )
        return Wanted(
            until=self.until,
            uuid=upload.get("uuid"),
            name=upload["filename"],
            size=upload["size"],
            not_before=parse_time(upload["not_before"]),
        )

    def _started(self, context: Context) -> datetime:
        ti = context["ti"]
        first = None
        if self.reschedule:
            first = ti.get_first_reschedule_date(context) if hasattr(ti, "get_first_reschedule_date") else None
        return first or ti.start_date or timezone.utcnow()
