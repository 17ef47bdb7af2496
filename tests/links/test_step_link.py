"""The button "Open in Workbench": what the task puts there, and what Airflow's UI gets of it."""

from __future__ import annotations

from datetime import datetime

import pytest
from airflow import __version__
from airflow.providers.common.compat.sdk import DAG, get_current_context

from airflow_provider_workbench.decorators.workbench import workbench_upload_task
from airflow_provider_workbench.links.workbench import WorkbenchStepLink
from airflow_provider_workbench.operators.workbench import WorkbenchUploadOperator
from airflow_provider_workbench.sensors.workbench import WorkbenchFileSensor

AIRFLOW_3 = not __version__.startswith("2.")
NAME = "Open in Workbench"
KEY = "_link_WorkbenchStepLink"

pytestmark = pytest.mark.airflow


@pytest.fixture
def connect(monkeypatch):
    """``connect(step, **extra)`` makes it the connection's Step."""

    def connect(step, **extra):
        monkeypatch.setenv("AIRFLOW_CONN_WORKBENCH_DEFAULT", step.connection_json(**extra))
        return step

    return connect


@pytest.fixture
def step(connect, workbench_sandbox):
    return connect(workbench_sandbox.step)


@pytest.fixture
def sales(tmp_path):
    path = tmp_path / "sales.csv"
    path.write_bytes(b"city,sold\nBergen,1\n")
    return str(path)


@pytest.fixture
def new_dag():
    return DAG("links", schedule=None, start_date=datetime(2026, 1, 1))


def seen_in_ui(dag, run, task_id, map_index=-1):
    """The links that the UI shows of a task instance: of the DAG as the database has it, not the task's own."""
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session

    try:
        from airflow.serialization.serialized_objects import DagSerialization as Serialized
    except ImportError:
        from airflow.serialization.serialized_objects import SerializedDAG as Serialized

    stored = Serialized.from_dict(Serialized.to_dict(dag)).get_task(task_id)
    with create_session() as session:
        instance = (
            session.query(TaskInstance)
            .filter_by(dag_id=dag.dag_id, run_id=run.run_id, task_id=task_id, map_index=map_index)
            .one()
        )
        return {name: stored.get_extra_links(instance, name) for name in stored.extra_links}


def test_the_operators_link_leads_to_the_steps_page(run_dag, new_dag, step, sales):
    with new_dag:
        WorkbenchUploadOperator(task_id="upload", filepath=sales)
    run = run_dag(new_dag)
    assert seen_in_ui(new_dag, run, "upload") == {NAME: step.page_url}
    assert run.returned("upload")["step_url"] == step.page_url


@pytest.mark.parametrize("deferrable", [False, True], ids=["on the worker", "deferred"])
def test_the_sensors_link_too(run_dag, new_dag, step, sales, deferrable, workbench_sandbox):
    workbench_sandbox.render_delay = 0.5
    with new_dag:
        upload = WorkbenchUploadOperator(task_id="upload", filepath=sales)
        WorkbenchFileSensor(
            task_id="wait", upload=upload.output, until="rendered", deferrable=deferrable, poke_interval=1, timeout=30
        )
    run = run_dag(new_dag)
    assert run.state == "success", run.log
    assert seen_in_ui(new_dag, run, "wait") == {NAME: step.page_url}


def test_it_outlasts_a_deferral(run_dag, new_dag, step, sales, workbench_sandbox):
    workbench_sandbox.render_delay = 0.5
    with new_dag:
        WorkbenchUploadOperator(task_id="upload", filepath=sales, wait_until="rendered", deferrable=True)
    run = run_dag(new_dag)
    assert run.state == "success", run.log
    assert "upload" in run.xcoms["upload"], "it did not wait"
    assert seen_in_ui(new_dag, run, "upload") == {NAME: step.page_url}


def test_the_decorated_functions_link_is_there_while_it_runs(run_dag, new_dag, step, sales):
    with new_dag:

        @workbench_upload_task
        def deliver() -> str:
            ti = get_current_context()["ti"]
            seen = ti.xcom_pull(task_ids="deliver", key=KEY)
            print(f"while running: {seen}")
            return sales

        deliver()
    run = run_dag(new_dag)
    assert f"while running: {step.page_url}" in run.log
    assert seen_in_ui(new_dag, run, "deliver") == {NAME: step.page_url}


def test_mapped_tasks_each_have_one(run_dag, new_dag, connect, workbench_sandbox, sales, monkeypatch):
    steps = [workbench_sandbox.step, workbench_sandbox.secret_step]
    for number, step in enumerate(steps):
        monkeypatch.setenv(f"AIRFLOW_CONN_STEP_{number}", step.connection_json())
    with new_dag:
        WorkbenchUploadOperator.partial(task_id="upload", filepath=sales).expand(workbench_conn_id=["step_0", "step_1"])
    run = run_dag(new_dag)
    assert run.state == "success", run.log
    shown = [seen_in_ui(new_dag, run, "upload", map_index)[NAME] for map_index in (0, 1)]
    assert [link.rpartition("/workflows/")[2] for link in shown] == [f"{step.workflow_id}/" for step in steps]
    assert shown[0] != shown[1]


def test_a_task_that_knows_no_step_has_none(run_dag, new_dag, monkeypatch, sales):
    monkeypatch.setenv(
        "AIRFLOW_CONN_WORKBENCH_DEFAULT", '{"conn_type": "workbench", "host": "no.url", "password": "x"}'
    )
    with new_dag:
        WorkbenchUploadOperator(task_id="upload", filepath=sales)
    run = run_dag(new_dag)
    assert run.state == "failed"
    assert not seen_in_ui(new_dag, run, "upload")[NAME]
    assert "Failed to push an xcom" not in run.log


def test_a_task_that_fails_later_has_one(run_dag, new_dag, step):
    with new_dag:
        WorkbenchUploadOperator(task_id="upload", filepath="/there/is/no/such/file.csv")
    run = run_dag(new_dag)
    assert run.state == "failed"
    assert seen_in_ui(new_dag, run, "upload") == {NAME: step.page_url}


@pytest.mark.parametrize("show", [None, False, "false"])
def test_it_is_no_secret_link_unless_the_connection_says_so(run_dag, new_dag, connect, workbench_sandbox, sales, show):
    step = workbench_sandbox.secret_step
    connect(step, secret_link=step.secret_link_url, **({} if show is None else {"show_secret_link": show}))
    with new_dag:
        upload = WorkbenchUploadOperator(task_id="upload", filepath=sales)
        WorkbenchFileSensor(task_id="wait", upload=upload.output, until="listed")
    run = run_dag(new_dag)
    assert run.state == "success", run.log
    for task_id in ("upload", "wait"):
        shown = seen_in_ui(new_dag, run, task_id)[NAME]
        assert shown.endswith(f"/workflows/{step.workflow_id}/")
        assert step.secret_link not in str(run.xcoms[task_id])


def test_it_is_the_secret_link_unmasked_if_the_connection_says_so(run_dag, new_dag, connect, workbench_sandbox, sales):
    step = workbench_sandbox.secret_step
    connect(step, secret_link=step.secret_link_url, show_secret_link=True)
    with new_dag:
        upload = WorkbenchUploadOperator(task_id="upload", filepath=sales)
        WorkbenchFileSensor(task_id="wait", upload=upload.output, until="listed")
    run = run_dag(new_dag)
    assert run.state == "success", run.log
    for task_id in ("upload", "wait"):
        assert seen_in_ui(new_dag, run, task_id) == {NAME: step.secret_link_url}
        # nowhere else
        rest = {key: value for key, value in run.xcoms[task_id].items() if key != KEY}
        assert step.secret_link not in str(rest)


def test_show_secret_link_without_one_is_the_page(run_dag, new_dag, connect, workbench_sandbox, sales):
    step = connect(workbench_sandbox.step, show_secret_link=True)
    with new_dag:
        WorkbenchUploadOperator(task_id="upload", filepath=sales)
    run = run_dag(new_dag)
    assert seen_in_ui(new_dag, run, "upload") == {NAME: step.page_url}


def test_the_api_server_of_airflow_3_finds_it_where_the_task_puts_it():
    assert WorkbenchStepLink().xcom_key == KEY
    if AIRFLOW_3:
        from airflow.sdk import BaseOperatorLink

        assert BaseOperatorLink.xcom_key.fget(WorkbenchStepLink()) == KEY
