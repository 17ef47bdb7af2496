"""``WorkbenchFileSensor``: waits until a Workbench Step shows a File."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.providers.common.compat.sdk import (
    AirflowSensorTimeout,
    AirflowSkipException,
    AirflowTaskTimeout,
    BaseSensorOperator,
    PokeReturnValue,
    conf,
    timezone,
)

from airflow_provider_workbench.links.workbench import WorkbenchStepLink, show_link

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_workbench.hooks.waiting import Waiting


class WorkbenchFileSensor(BaseSensorOperator):
    """Wait until the Step of a connection shows a File. Returns the File as a dict: ``uuid``, ``name``, ``size``
    (bytes), ``created_at`` (ISO 8601), and ``n_rows`` and ``n_columns`` once rendered.

    Either for the File that a ``WorkbenchUploadOperator`` delivered (``upload``), or for one that anybody uploads
    (``filename`` and ``since``). Reading needs a public Workflow, or ``secret_link`` in the connection.

    :param upload: the operator's output (templated)
    :param filename: name or pattern (``*.csv``) of a File that anybody uploads; case counts (templated)
    :param since: required with ``filename``: no File from before this counts. A datetime, ISO 8601 text, a timedelta
        back from the task's first start, or ``"any"`` (templated). Without a time zone it is UTC. Before Airflow 3.3 a
        retry does not know when the first try started, and counts from its own start
    :param size: with ``filename``: bytes that the File must have (templated)
    :param until: ``"listed"``: it is among the Step's Files; ``"selected"``: the Step uses it; ``"rendered"``: the
        Step has made a table of it, and an error of the rendering fails the task
    :param expected_rows: rows, without the header, that the rendered table must have; any other number fails the task.
        Needs ``until="rendered"`` (templated)
    :param expected_columns: columns, likewise (templated)
    :param on_superseded: what it means that a later File took its place: ``"succeed"`` (with a warning), ``"skip"`` or
        ``"fail"``. With ``"succeed"``, what was expected of the table is not compared, which the warning says
    :param workbench_conn_id: a connection of type ``workbench`` (templated)
    :param deferrable: wait in the triggerer, without holding a worker
    """

    template_fields: Sequence[str] = (
        "upload",
        "filename",
        "since",
        "size",
        "expected_rows",
        "expected_columns",
        "workbench_conn_id",
    )
    operator_extra_links = (WorkbenchStepLink(),)
    ui_color = "#e6f2ff"

    def __init__(
        self,
        *,
        upload: dict[str, Any] | None = None,
        filename: str | None = None,
        since: datetime | timedelta | str | None = None,
        size: int | None = None,
        until: str = "selected",
        expected_rows: int | str | None = None,
        expected_columns: int | str | None = None,
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
        self.expected_rows = expected_rows
        self.expected_columns = expected_columns
        self.on_superseded = on_superseded
        self.workbench_conn_id = workbench_conn_id
        self.deferrable = deferrable
        self._waited: Waiting | None = None

    def execute(self, context: Context) -> Any:
        """Look once, then wait: here, or with ``deferrable`` in the triggerer.

        :raises WorkbenchFatalError: it will never be shown, or not as expected, or must not be waited for; the message
            says why
        :raises AirflowSensorTimeout: not within ``timeout`` (with ``soft_fail`` a skip)
        """
        return self._for_airflow(lambda: self._execute(context))

    def poke(self, context: Context) -> PokeReturnValue | bool:
        """Look at the Step's page once."""
        waiting = self._not_fatal(lambda: self._waiting(context))
        if self._waited is not None:
            # what earlier pokes saw counts, and the connection may have been mended since
            self._waited.settings = waiting.settings
        self._waited = self._waited or waiting
        return self._poke(self._waited) or False

    def execute_complete(self, context: Context, event: dict[str, Any]) -> Any:
        """Take the trigger's event. Called by Airflow.

        :param event: a :class:`~airflow_provider_workbench.triggers.workbench.WorkbenchFileTrigger`'s
        """
        return self._for_airflow(lambda: self._complete(context, event))

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Called by Airflow when the trigger is done, or failed."""
        if next_method == "execute_complete":
            # not through Airflow's own: with soft_fail it makes a skip of every error
            return self.execute_complete(context, **(next_kwargs or {}))
        if (next_kwargs or {}).get("error") != "Trigger timeout" and not self.never_fail:
            # a triggerer that cannot run the trigger is no timeout, either
            return super(BaseSensorOperator, self).resume_execution(next_method, next_kwargs, context)
        return super().resume_execution(next_method, next_kwargs, context)

    def _execute(self, context: Context) -> Any:
        waiting = self._waited = self._waiting(context)
        show_link(context, waiting.settings)
        if not self.deferrable:
            return super().execute(context)
        done = self._poke(waiting)
        if done is None:
            self._defer(waiting, context)
        return done.xcom_value

    def _poke(self, waiting: Waiting) -> PokeReturnValue | None:
        verdict = waiting.look()
        if verdict is None or verdict.state == "waiting":
            return None
        return PokeReturnValue(is_done=True, xcom_value=waiting.conclude(verdict))

    def _complete(self, context: Context, event: dict[str, Any]) -> Any:
        from airflow_provider_workbench.hooks.waiting import check_event, is_execution_timeout

        check_event(event)
        waiting = self._waiting(context)
        verdict = waiting.verdict_of(event)
        if verdict is None:
            seen = f"Last seen: {waiting.last_seen}"
            if self.soft_fail:
                raise AirflowSkipException(f"The File was not there in time. {seen}")
            if is_execution_timeout(self, context, self.timeout):
                raise AirflowTaskTimeout(f"The File was not there before execution_timeout was over. {seen}")
            raise AirflowSensorTimeout(f"The File was not there within {self.timeout:.0f} s. {seen}")
        return waiting.conclude(verdict)

    def _defer(self, waiting: Waiting, context: Context) -> NoReturn:
        from airflow_provider_workbench.hooks.waiting import BACKSTOP, wait_deadline
        from airflow_provider_workbench.triggers.workbench import WorkbenchFileTrigger

        deadline = wait_deadline(self.timeout, self, context)
        self.defer(
            trigger=WorkbenchFileTrigger(
                workbench_conn_id=self.workbench_conn_id,
                wanted=waiting.wanted.as_dict(),
                deadline=deadline.isoformat(),
                poke_interval=self.poke_interval,
            ),
            method_name="execute_complete",
            timeout=max(deadline - timezone.utcnow(), timedelta()) + BACKSTOP,
        )

    def _for_airflow(self, run: Callable[[], Any]) -> Any:
        from airflow_provider_workbench.client.errors import WorkbenchError
        from airflow_provider_workbench.hooks.workbench import translated

        problem = None
        try:
            return translated(run)
        except WorkbenchError as error:
            if not self.never_fail:
                raise
            problem = str(error)
        raise AirflowSkipException(problem)

    def _not_fatal(self, run: Callable[[], Waiting]) -> Waiting:
        """The client's error in place of Airflow's, of which Airflow's poking makes a skip with ``soft_fail``."""
        from airflow_provider_workbench.client.errors import error_from_dict
        from airflow_provider_workbench.hooks.workbench import WorkbenchFatalError

        try:
            return run()
        except WorkbenchFatalError as error:
            failure = error_from_dict({**error.as_dict(), "kind": error.kind})
        raise failure

    def _waiting(self, context: Context) -> Waiting:
        """Check the parameters, before anything is asked of Workbench."""
        from airflow_provider_workbench.client.errors import ConfigurationError
        from airflow_provider_workbench.client.settings import byte_count
        from airflow_provider_workbench.client.waiting import UNTIL, Wanted, one_of, since_moment
        from airflow_provider_workbench.hooks.waiting import Rules, Waiting
        from airflow_provider_workbench.hooks.workbench import WorkbenchHook

        one_of("until", self.until, UNTIL)
        rules = Rules.checked(
            until=self.until,
            expected_rows=self.expected_rows,
            expected_columns=self.expected_columns,
            on_superseded=self.on_superseded,
        )
        if self.upload is None and self.filename is None:
            raise ConfigurationError(
                "Give upload (a WorkbenchUploadOperator's output) or filename. The output of a task that was skipped "
                "or failed is None."
            )
        if self.upload is not None and self.filename is not None:
            raise ConfigurationError("Give either upload (a WorkbenchUploadOperator's output) or filename, not both.")
        settings = WorkbenchHook(self.workbench_conn_id).get_settings()
        if self.filename is None:
            return Waiting.of_upload(settings, self._checked_upload(), rules, self.log, conn_id=self.workbench_conn_id)
        wanted = Wanted(
            until=self.until,
            name=self.filename,
            is_pattern=True,
            size=None if self.size is None else byte_count("size", self.size, least=0),
            not_before=since_moment(self.since, started=self._started(context)),
        )
        return Waiting(settings, wanted, rules, self.log)

    def _checked_upload(self) -> dict[str, Any]:
        from airflow_provider_workbench.client.errors import ConfigurationError

        upload = self.upload
        if (
            not isinstance(upload, dict)
            or not {"filename", "size", "step_url", "step_slug", "not_before"} <= upload.keys()
        ):
            raise ConfigurationError(
                f"upload must be the output of one WorkbenchUploadOperator, not a {type(upload).__name__}. "
                "For a mapped operator, expand the sensor too: WorkbenchFileSensor.partial(…)"
                ".expand(upload=operator.output)."
            )
        return upload

    def _started(self, context: Context) -> datetime:
        from airflow_provider_workbench.hooks.task_state import TaskState

        ti = context["ti"]
        first = None
        if self.reschedule:
            first = ti.get_first_reschedule_date(context) if hasattr(ti, "get_first_reschedule_date") else None
        started = first or ti.start_date or timezone.utcnow()
        if not isinstance(self.since, timedelta):
            # nothing counts from it, and the store is a request
            return started
        return TaskState(context, self.log.warning).first_start(started)
