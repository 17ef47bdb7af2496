"""``WorkbenchUploadOperator``: a task's output file becomes a File of a Workbench Step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.providers.common.compat.sdk import AirflowSkipException, AirflowTaskTimeout, BaseOperator, conf, timezone

from airflow_provider_workbench.links.workbench import WorkbenchStepLink, show_link

if TYPE_CHECKING:
    from os import PathLike

    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_workbench.client.endpoint import Endpoint
    from airflow_provider_workbench.client.settings import Settings
    from airflow_provider_workbench.client.waiting import Verdict
    from airflow_provider_workbench.hooks.kept_delivery import KeptDelivery
    from airflow_provider_workbench.hooks.kept_uploads import KeptUploads
    from airflow_provider_workbench.hooks.waiting import Rules, Waiting
    from airflow_provider_workbench.hooks.workbench import WorkbenchHook
    from airflow_provider_workbench.operators.outlets import StepOutlets

# XCom with the upload's result while the task waits: people see it, and defer's own arguments are lost in dag.test()
_XCOM_KEY = "upload"
# in it, what OpenLineage calls the source, without credentials: whoever ends the task may be on another machine
_SOURCE = "source"


class WorkbenchUploadOperator(BaseOperator):
    """Upload a file to the Upload Step of a connection, and succeed only if Workbench accepted it.

    Returns the :class:`~airflow_provider_workbench.client.upload.UploadResult` as a dict, which
    ``WorkbenchFileSensor(upload=…)`` takes. With ``wait_until`` it has ``file``, too: the File as the Step shows it
    (``uuid``, ``name``, ``size``, ``created_at``, ``n_rows`` and ``n_columns`` once rendered), or None if the Step has
    dropped it.

    With ``wait_until``, the Step must be readable (a public Workflow, or ``secret_link`` in the connection), which is
    seen to before anything is uploaded. A retry only waits where an earlier try has delivered the File; a cleared task
    delivers again. Before Airflow 3.3 a retry delivers again, too.

    :param filepath: a path on the worker's disk, an ``ObjectStoragePath``, or text like ``s3://bucket/key``; may be an
        upstream task's output (templated)
    :param filename: the File's name in Workbench; the path's last part if None (templated)
    :param workbench_conn_id: a connection of type ``workbench`` (templated)
    :param source_conn_id: the connection that reads ``filepath`` where that is text with a scheme and names none
        itself, as ``s3://conn_id@bucket/key`` does (templated)
    :param allowed_roots: folders and addresses such as ``"s3://bucket/prefix"``, one or a list of them, under which
        ``filepath`` must be, after symbolic links: of any other, nothing is read. None for anywhere. A root without a
        connection allows that of ``source_conn_id`` only; ``"s3://conn_id@bucket/prefix"`` names one, as it should
        where ``source_conn_id`` is a template. Not templated
    :param chunk_size: bytes per PATCH, where a proxy on the way limits them; None takes the connection's, and that is
        one PATCH for all by default
    :param sha256: compute the file's SHA-256 while it is sent; the result has it, in hex
    :param wait_until: None: the task ends as soon as Workbench has accepted the File. ``"listed"``: it is among the
        Step's Files; ``"selected"``: the Step uses it; ``"rendered"``: the Step has made a table of it, and an error of
        the rendering fails the task
    :param expected_rows: rows, without the header, that the rendered table must have; any other number fails the task.
        Needs ``wait_until="rendered"`` (templated)
    :param expected_columns: columns, likewise (templated)
    :param on_superseded: what it means that a later File took its place: ``"succeed"`` (with a warning), ``"skip"`` or
        ``"fail"``
    :param deferrable: wait in the triggerer, without holding a worker; the upload is made on the worker
    :param poke_interval: seconds, or a timedelta, between two looks at the Step where it is polled; at first less
    :param wait_timeout: seconds, or a timedelta, that the waiting may take after the upload; then the task fails, and a
        retry waits on
    """

    template_fields: Sequence[str] = (
        "filepath",
        "filename",
        "workbench_conn_id",
        "source_conn_id",
        "expected_rows",
        "expected_columns",
    )
    operator_extra_links = (WorkbenchStepLink(),)
    ui_color = "#e6f2ff"

    def __init__(
        self,
        *,
        filepath: str | PathLike[str],
        filename: str | None = None,
        workbench_conn_id: str = "workbench_default",
        source_conn_id: str | None = None,
        allowed_roots: str | PathLike[str] | Sequence[str | PathLike[str]] | None = None,
        chunk_size: int | None = None,
        sha256: bool = False,
        wait_until: str | None = None,
        expected_rows: int | str | None = None,
        expected_columns: int | str | None = None,
        on_superseded: str = "succeed",
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        poke_interval: float | timedelta = 60,
        wait_timeout: float | timedelta = 3600,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.filepath = filepath
        self.filename = filename
        self.workbench_conn_id = workbench_conn_id
        self.source_conn_id = source_conn_id
        self.allowed_roots = allowed_roots
        self.chunk_size = chunk_size
        self.sha256 = sha256
        self.wait_until = wait_until
        self.expected_rows = expected_rows
        self.expected_columns = expected_columns
        self.on_superseded = on_superseded
        self.deferrable = deferrable
        self.poke_interval = poke_interval
        self.wait_timeout = wait_timeout
        self._hook: WorkbenchHook | None = None
        # for OpenLineage: what is known so far
        self._endpoint: Endpoint | None = None
        self._source: dict[str, str] | None = None
        self._delivered: dict[str, Any] | None = None
        self._is_last_try = False
        self._killed = False

    def execute(self, context: Context) -> dict[str, Any]:
        """Upload, going on where an earlier try of this task was cut off (Airflow 3.3 and later), and wait.

        See :meth:`WorkbenchHook.upload_file` for what is raised by the upload.

        :raises WorkbenchFatalError: it will never be shown, or not as expected; the message says why
        :raises WaitTimeoutError: not within ``wait_timeout``; a retry can help
        """
        from airflow_provider_workbench.hooks.workbench import translated

        return translated(lambda: self._execute(context))

    def execute_complete(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        """Take the trigger's event. Called by Airflow.

        :param event: a :class:`~airflow_provider_workbench.triggers.workbench.WorkbenchFileTrigger`'s
        """
        from airflow_provider_workbench.hooks.workbench import translated

        return translated(lambda: self._complete(context, event))

    def on_kill(self) -> None:
        """Stop sending or waiting. What was sent stays for the next try; if there is none, it is deleted."""
        self._killed = True
        if self._hook is not None:
            self._hook.stop_upload(terminate=self._is_last_try)

    def get_openlineage_facets_on_start(self) -> Any:
        """What is read, and the Step. Called by OpenLineage's listener, if that is installed."""
        from airflow_provider_workbench.operators.lineage import operator_lineage, source_name

        return operator_lineage(source_name(self.filepath), self._endpoint or self._look_up_endpoint())

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> Any:
        """The same with bytes and rows, as far as they are known. Also called when the task has failed."""
        from airflow_provider_workbench.operators.lineage import operator_lineage, source_name

        return operator_lineage(self._source or source_name(self.filepath), self._endpoint, self._delivered)

    def _execute(self, context: Context) -> dict[str, Any]:
        from airflow_provider_workbench.hooks.kept_uploads import KeptUploads
        from airflow_provider_workbench.hooks.waiting import Waiting, read_before_upload, seconds, wait_deadline
        from airflow_provider_workbench.hooks.workbench import WorkbenchHook

        ti = context.get("ti")
        self._is_last_try = ti is None or ti.try_number > ti.max_tries
        rules = self._rules()
        self._hook = WorkbenchHook(self.workbench_conn_id)
        settings = self._hook.get_settings()
        outlets = self._outlets(context, settings)
        show_link(context, settings)
        kept_uploads = KeptUploads(context, self.log.info)
        if rules.until is None:
            upload = self._upload(self._hook, context, kept_uploads, read_step=bool(outlets))
            outlets.tell(context, upload, sha256=self.sha256)
            kept_uploads.forget()
            return upload
        poke_interval = seconds("poke_interval", self.poke_interval)
        timeout = seconds("wait_timeout", self.wait_timeout)
        kept = self._kept(settings, context)
        delivered = kept.load()
        if delivered is None:
            before = read_before_upload(settings, lambda: self._killed)
            known = frozenset(file.uuid for file in before.files)
            upload = self._upload(self._hook, context, kept_uploads, known=known)
            kept.save(upload)
            # only now: a try that is killed in between finds one or the other
            kept_uploads.forget()
        else:
            upload = self._delivered = delivered
            self.log.info("An earlier try of this task delivered the File: only waiting for it.")
        waiting = Waiting.of_upload(
            settings,
            upload,
            rules,
            self.log,
            conn_id=self.workbench_conn_id,
            just_delivered=delivered is None,
        )
        verdict = waiting.look(lambda: self._killed)
        found, upload["uuid"] = waiting.wanted.uuid != upload["uuid"], waiting.wanted.uuid
        if verdict is None or verdict.state == "waiting":
            if found:
                kept.save(upload)
            deadline = wait_deadline(timeout, self, context)
            if ti is not None:
                ti.xcom_push(key=_XCOM_KEY, value={**upload, _SOURCE: self._source})
            if self.deferrable:
                self._defer(waiting, deadline)
            verdict = waiting.poll(deadline, poke_interval, lambda: self._killed)
        if verdict is None:
            self._time_is_over(context, waiting.last_seen, kept)
        return self._result(context, outlets, upload, waiting, verdict, kept)

    def _complete(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        from airflow_provider_workbench.hooks.waiting import Waiting, check_event
        from airflow_provider_workbench.hooks.workbench import WorkbenchHook

        check_event(event)
        settings = WorkbenchHook(self.workbench_conn_id).get_settings()
        outlets = self._outlets(context, settings)
        kept = self._kept(settings, context)
        ti = context["ti"]
        upload = dict(ti.xcom_pull(task_ids=self.task_id, key=_XCOM_KEY, map_indexes=ti.map_index))
        self._source = upload.pop(_SOURCE, None)
        self._delivered = upload
        waiting = Waiting.of_upload(settings, upload, self._rules(), self.log, conn_id=self.workbench_conn_id)
        verdict = waiting.verdict_of(event)
        if verdict is None:
            self._time_is_over(context, waiting.last_seen, kept)
        return self._result(context, outlets, upload, waiting, verdict, kept)

    def _rules(self) -> Rules:
        from airflow_provider_workbench.hooks.waiting import Rules

        return Rules.checked(
            until=self.wait_until,
            until_name="wait_until",
            expected_rows=self.expected_rows,
            expected_columns=self.expected_columns,
            on_superseded=self.on_superseded,
        )

    def _outlets(self, context: Context, settings: Settings) -> StepOutlets:
        from airflow_provider_workbench.operators.outlets import StepOutlets

        self._endpoint = settings.endpoint
        return StepOutlets(self.outlets, context, settings.endpoint, self.workbench_conn_id)

    def _upload(
        self,
        hook: WorkbenchHook,
        context: Context,
        kept_uploads: KeptUploads,
        *,
        read_step: bool = False,
        known: frozenset[str] | None = None,
    ) -> dict[str, Any]:
        from airflow_provider_workbench.operators.lineage import source_name

        with self._content(context) as content:
            self._source = source_name(content)
            result = hook.upload_file(
                content,
                self.filename,
                source_conn_id=self.source_conn_id,
                allowed_roots=self.allowed_roots,
                chunk_size=self.chunk_size,
                sha256=self.sha256,
                read_step=read_step,
                known=known,
                kept_uploads=kept_uploads,
            )
        self._delivered = result.as_dict()
        return self._delivered

    def _look_up_endpoint(self) -> Endpoint | None:
        from airflow_provider_workbench.hooks.workbench import WorkbenchHook

        try:
            return WorkbenchHook(self.workbench_conn_id).get_settings().endpoint
        except Exception:
            # the task itself will say what is wrong with the connection
            return None

    @contextmanager
    def _content(self, context: Context) -> Iterator[Any]:
        """What is uploaded, for as long as the upload takes. Not entered where an earlier try delivered it."""
        yield self.filepath

    @property
    def _delivery_name(self) -> str:
        """What tells one delivery of this task from another."""
        return str(self.filepath)

    def _kept(self, settings: Settings, context: Context) -> KeptDelivery:
        from airflow_provider_workbench.hooks.kept_delivery import KeptDelivery

        return KeptDelivery(context, settings, self._delivery_name, self.filename, self.log.info)

    def _defer(self, waiting: Waiting, deadline: datetime) -> NoReturn:
        from airflow_provider_workbench.hooks.waiting import BACKSTOP, seconds
        from airflow_provider_workbench.triggers.workbench import WorkbenchFileTrigger

        self.defer(
            trigger=WorkbenchFileTrigger(
                workbench_conn_id=self.workbench_conn_id,
                wanted=waiting.wanted.as_dict(),
                deadline=deadline.isoformat(),
                poke_interval=seconds("poke_interval", self.poke_interval),
            ),
            method_name="execute_complete",
            timeout=max(deadline - timezone.utcnow(), timedelta()) + BACKSTOP,
        )

    def _time_is_over(self, context: Context, last_seen: str, kept: KeptDelivery) -> NoReturn:
        from airflow_provider_workbench.client.errors import WaitTimeoutError
        from airflow_provider_workbench.hooks.waiting import is_execution_timeout, seconds

        text = f"Workbench accepted the File, but it was not {self.wait_until}"
        within = seconds("wait_timeout", self.wait_timeout)
        if is_execution_timeout(self, context, within):
            raise AirflowTaskTimeout(f"{text} before the task's execution_timeout was over. Last seen: {last_seen}")
        retry = "A retry does not upload it again, and waits on." if kept.is_offered else "A retry uploads it again."
        raise WaitTimeoutError(f"{text} within {within:g} s (wait_timeout). {retry} Last seen: {last_seen}")

    def _result(
        self,
        context: Context,
        outlets: StepOutlets,
        upload: dict[str, Any],
        waiting: Waiting,
        verdict: Verdict,
        kept: KeptDelivery,
    ) -> dict[str, Any]:
        from airflow_provider_workbench.client.errors import WorkbenchError

        try:
            file = waiting.conclude(verdict)
        except (WorkbenchError, AirflowSkipException):
            # for good: whoever clears the task wants it delivered again
            kept.forget()
            raise
        self._delivered = {**upload, "uuid": waiting.wanted.uuid, "file": file}
        if outlets and waiting.wanted.uuid is None:
            self.log.warning("The event has no uuid: the Step did not show exactly one File that can be this one.")
        outlets.tell(context, self._delivered, sha256=self.sha256)
        kept.forget()
        return self._delivered
