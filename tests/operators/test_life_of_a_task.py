"""A task's life in a real Airflow: retries, time limits, trigger rules, templates. By ``dag.test()``."""

from __future__ import annotations

import os
import signal
import time
from datetime import datetime, timedelta

import pytest
from airflow import __version__
from airflow.providers.common.compat.sdk import AirflowTaskTimeout

from airflow_provider_workbench.client import progress
from airflow_provider_workbench.hooks.workbench import WorkbenchHook
from airflow_provider_workbench.operators.workbench import WorkbenchUploadOperator
from airflow_provider_workbench.sensors.workbench import WorkbenchFileSensor

pytestmark = pytest.mark.airflow

# what one try leaves for the next
KEEPS_STATE = tuple(int(part) for part in __version__.split(".")[:2]) >= (3, 3)
CONTENT = b"city,sold\nBergen,1\nLima,2\n"
SIZE = 20_000_000


@pytest.fixture
def sandbox(monkeypatch, workbench_sandbox):
    monkeypatch.setenv("AIRFLOW_CONN_WORKBENCH_DEFAULT", workbench_sandbox.step.connection_json())
    return workbench_sandbox


@pytest.fixture
def sales(tmp_path):
    path = tmp_path / "sales.csv"
    path.write_bytes(CONTENT)
    return str(path)


@pytest.fixture
def big(tmp_path):
    path = tmp_path / "big.csv"
    path.write_bytes(os.urandom(SIZE))
    return path


@pytest.fixture
def new_dag():
    from airflow.providers.common.compat.sdk import DAG

    return lambda name, **options: DAG(name, schedule=None, start_date=datetime(2026, 1, 1), catchup=False, **options)


@pytest.fixture
def run(run_dag):
    """``run(dag)``. Airflow 2's ``dag.test()`` lets a timeout out, and the run is not over then."""

    def run(dag):
        try:
            return run_dag(dag)
        except AirflowTaskTimeout:
            return None

    return run


def methods(sandbox):
    return [seen.method for seen in sandbox.requests if seen.method != "GET"]


# long enough for a slow machine; the tests put the alarm forward
A_MINUTE = timedelta(minutes=1)


@pytest.fixture
def first_try_times_out(monkeypatch):
    """``first_try_times_out(at, stall=…)``: when that part has left, Airflow's time limit is nearly over."""

    def arrange(at, stall):
        stalled = []

        def note(self, sent, size):
            if sent >= at * size and not stalled:
                stalled.append(sent)
                signal.setitimer(signal.ITIMER_REAL, 0.2)
                time.sleep(stall)

        monkeypatch.setattr(progress.ProgressLines, "__call__", note)
        return stalled

    return arrange


class TestExecutionTimeoutInTheUpload:
    def test_with_a_try_left_the_upload_is_kept_and_gone_on_with(self, run, new_dag, sandbox, big, first_try_times_out):
        stalled = first_try_times_out(0.5, stall=60)
        with new_dag("upload_timed_out_and_retried") as dag:
            WorkbenchUploadOperator(
                task_id="upload",
                filepath=str(big),
                execution_timeout=A_MINUTE,
                retries=1,
                retry_delay=timedelta(0),
            )
        finished = run(dag)
        assert stalled
        assert "DELETE" not in methods(sandbox)
        if not KEEPS_STATE:
            assert sandbox.step.files == []
            return
        assert finished.state == "success", finished.log
        output = finished.returned("upload")
        assert output["resumed_from"] > 0
        assert (output["attempts"], methods(sandbox).count("POST")) == (0, 1)
        (file,) = sandbox.step.files
        assert sandbox.step.content(file.uuid) == big.read_bytes()

    def test_without_a_try_left_it_is_deleted(self, run, new_dag, sandbox, big, first_try_times_out):
        stalled = first_try_times_out(0.5, stall=60)
        with new_dag("upload_timed_out") as dag:
            WorkbenchUploadOperator(task_id="upload", filepath=str(big), execution_timeout=A_MINUTE, retries=0)
        finished = run(dag)
        assert stalled
        assert finished is None or "AirflowTaskTimeout" in finished.log
        assert methods(sandbox)[-1] == "DELETE"
        assert (sandbox.uploads.uploads, sandbox.step.files) == ({}, [])

    @pytest.mark.skipif(not KEEPS_STATE, reason="before Airflow 3.3 nothing is kept")
    def test_while_workbench_takes_the_file_a_retry_finds_it_taken(
        self, run, new_dag, sandbox, sales, first_try_times_out
    ):
        sandbox.hook_delay = 60
        stalled = first_try_times_out(1, stall=0)
        with new_dag("timed_out_at_the_finish") as dag:
            WorkbenchUploadOperator(
                task_id="upload",
                filepath=sales,
                execution_timeout=A_MINUTE,
                retries=1,
                retry_delay=timedelta(0),
                on_retry_callback=lambda context: setattr(sandbox, "hook_delay", 0),
            )
        finished = run(dag)
        assert finished.state == "success", finished.log
        assert stalled
        output = finished.returned("upload")
        assert (output["attempts"], output["duplicate_possible"]) == (0, False)
        assert methods(sandbox).count("POST") == 1
        assert len(sandbox.step.files) == 1


class TestTimeLimitsOfTheWaiting:
    @pytest.mark.parametrize("deferrable", [False, True], ids=["poke", "deferrable"])
    def test_execution_timeout_ends_a_sensor(self, run, new_dag, sandbox, deferrable):
        with new_dag("sensor_timed_out") as dag:
            WorkbenchFileSensor(
                task_id="wait",
                filename="never.csv",
                since="any",
                execution_timeout=timedelta(seconds=2),
                timeout=100,
                poke_interval=0.2,
                deferrable=deferrable,
                retries=0,
            )
        finished = run(dag)
        if finished:
            assert finished.states["wait"] == "failed"
            assert "AirflowTaskTimeout" in finished.log

    @pytest.mark.parametrize("deferrable", [False, True], ids=["poke", "deferrable"])
    def test_execution_timeout_is_no_end_for_a_task_with_a_try_left(self, run, new_dag, sandbox, sales, deferrable):
        """A sensor's own timeout is: Airflow retries it no more."""
        with new_dag("sensor_timed_out_and_retried") as dag:
            WorkbenchFileSensor(
                task_id="wait",
                filename="sales.csv",
                since="any",
                execution_timeout=timedelta(seconds=2),
                timeout=100,
                poke_interval=0.2,
                deferrable=deferrable,
                retries=1,
                retry_delay=timedelta(0),
                on_retry_callback=lambda context: WorkbenchHook().upload_file(sales),
            )
        finished = run(dag)
        if finished:
            assert finished.returned("wait")["uuid"] == sandbox.step.files[0].uuid

    @pytest.mark.parametrize("deferrable", [False, True], ids=["poke", "deferrable"])
    def test_a_retry_after_wait_timeout_only_waits(self, run, new_dag, sandbox, sales, deferrable):
        sandbox.render_delay = 60
        with new_dag("waited_too_short") as dag:
            WorkbenchUploadOperator(
                task_id="upload",
                filepath=sales,
                wait_until="rendered",
                expected_rows=2,
                wait_timeout=1,
                poke_interval=0.2,
                deferrable=deferrable,
                retries=1,
                retry_delay=timedelta(0),
                on_retry_callback=lambda context: setattr(sandbox, "render_delay", 0),
            )
        finished = run(dag)
        assert finished.state == "success", finished.log
        assert methods(sandbox).count("POST") == (1 if KEEPS_STATE else 2)
        assert "was not rendered within 1 s (wait_timeout)" in finished.log
        output = finished.returned("upload")
        assert output["file"]["n_rows"] == 2
        assert output["file"]["uuid"] == sandbox.step.files[0].uuid


class TestRetries:
    def test_what_a_retry_can_mend_is_retried(self, run, new_dag, sandbox, tmp_path):
        path = tmp_path / "late.csv"
        with new_dag("file_comes_late") as dag:
            WorkbenchUploadOperator(
                task_id="upload",
                filepath=str(path),
                retries=2,
                retry_delay=timedelta(milliseconds=10),
                retry_exponential_backoff=True,
                max_active_tis_per_dagrun=1,
                on_retry_callback=lambda context: path.write_bytes(CONTENT),
            )
        finished = run(dag)
        assert finished.state == "success", finished.log
        assert "Workers share no disk" in finished.log
        assert [file.name for file in sandbox.step.files] == ["late.csv"]

    def test_what_no_retry_can_mend_fails_at_once(self, run, new_dag, sandbox, sales):
        sandbox.step.reset_token()
        with new_dag("token_reset") as dag:
            WorkbenchUploadOperator(task_id="upload", filepath=sales, retries=5, retry_delay=timedelta(0))
        finished = run(dag)
        assert finished.states["upload"] == "failed"
        assert methods(sandbox) == ["POST"]


class TestTriggerRules:
    @pytest.fixture
    def upstream(self):
        """``upstream()`` makes three tasks: one that succeeds with a path, one that fails, one that skips."""
        from airflow.providers.common.compat.sdk import AirflowSkipException, task

        def upstream(path):
            @task
            def good():
                return path

            @task(retries=0)
            def bad():
                raise ValueError("on purpose")

            @task
            def skipped():
                raise AirflowSkipException("on purpose")

            return good(), bad(), skipped()

        return upstream

    @pytest.mark.parametrize(
        ("rule", "behind", "state"),
        [
            ("all_done", ("bad", "skipped"), "success"),
            ("one_failed", ("bad", "skipped"), "success"),
            ("none_failed_min_one_success", ("good", "skipped"), "success"),
            ("none_failed_min_one_success", ("bad", "good"), "upstream_failed"),
            ("all_success", ("good", "skipped"), "skipped"),
        ],
    )
    def test_they_decide_whether_the_file_is_uploaded(
        self, run, new_dag, sandbox, sales, upstream, rule, behind, state
    ):
        with new_dag("trigger_rules") as dag:
            tasks = dict(zip(("good", "bad", "skipped"), upstream(sales), strict=True))
            upload = WorkbenchUploadOperator(task_id="upload", filepath=sales, trigger_rule=rule)
            [tasks[name] for name in behind] >> upload
            WorkbenchFileSensor(task_id="wait", upload=upload.output, until="listed")
        finished = run(dag)
        assert finished.states["upload"] == state
        assert finished.states["wait"] == state
        assert len(sandbox.step.files) == (state == "success")

    def test_the_path_of_a_task_that_was_skipped_is_none_and_the_error_says_so(
        self, run, new_dag, sandbox, sales, upstream
    ):
        with new_dag("path_of_a_skipped_task") as dag:
            _, _, skipped = upstream(sales)
            upload = WorkbenchUploadOperator(task_id="upload", filepath=skipped, trigger_rule="all_done", retries=5)
            WorkbenchFileSensor(task_id="wait", upload=upload.output, trigger_rule="all_done", retries=5)
        finished = run(dag)
        assert (finished.states["upload"], finished.states["wait"]) == ("failed", "failed")
        assert sandbox.requests == []
        assert "There is nothing to upload: filepath is None" in finished.log
        assert "The output of a task that was skipped or failed is None" in finished.log


class TestTemplates:
    @pytest.mark.parametrize("native", [False, True])
    def test_parameters_are_rendered(self, run, new_dag, sandbox, sales, monkeypatch, native):
        from airflow.providers.common.compat.sdk import task

        monkeypatch.setenv("AIRFLOW_CONN_STEP_20260101", sandbox.step.connection_json())
        with new_dag(
            "templates",
            render_template_as_native_obj=native,
            params={"conn": "step_20260101", "path": sales, "rows": 2},
        ) as dag:

            @task
            def now():
                return datetime.now().astimezone() - timedelta(hours=1)

            @task
            def columns():
                return 2

            since = now()
            upload = WorkbenchUploadOperator(
                task_id="upload",
                filepath="{{ params.path }}",
                filename="{{ dag.dag_id }}-{{ 1 + 1 }}.csv",
                workbench_conn_id="{{ params.conn }}",
                wait_until="rendered",
                expected_rows="{{ params.rows }}",
                expected_columns=columns(),
                poke_interval=0.2,
            )
            WorkbenchFileSensor(
                task_id="by_upload",
                upload=upload.output,
                until="rendered",
                expected_rows="{{ params.rows }}",
                workbench_conn_id="{{ params.conn }}",
            )
            by_name = WorkbenchFileSensor(
                task_id="by_name",
                filename="{{ ti.xcom_pull(task_ids='upload')['filename'] }}",
                since=since,
                size="{{ ti.xcom_pull(task_ids='upload')['size'] }}",
            )
            by_text = WorkbenchFileSensor(
                task_id="by_text", filename="templates-*", since="{{ dag_run.start_date - macros.timedelta(hours=1) }}"
            )
            upload >> [by_name, by_text]
        finished = run(dag)
        assert finished.state == "success", finished.log
        (file,) = sandbox.step.files
        assert file.name == "templates-2.csv"
        for name in ("by_upload", "by_name", "by_text"):
            assert finished.returned(name)["uuid"] == file.uuid

    def test_a_name_that_native_rendering_makes_a_number_of_is_refused_in_words(self, run, new_dag, sandbox, sales):
        with new_dag("native_number", render_template_as_native_obj=True) as dag:
            WorkbenchUploadOperator(task_id="upload", filepath=sales, filename="{{ '20260131' }}", retries=5)
            WorkbenchFileSensor(task_id="wait", filename="{{ '20260131' }}", since="any", retries=5)
        finished = run(dag)
        assert finished.states == {"upload": "failed", "wait": "failed"}
        assert "The File's name must be text, not 20260131" in finished.log
        assert "filename must be text, not 20260131" in finished.log
        assert sandbox.requests == []
