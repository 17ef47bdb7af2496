"""What Airflow keeps of a DAG with our tasks: the same each time it is parsed, and all that the UI needs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from airflow import __version__
from airflow.providers.common.compat.sdk import DAG, ObjectStoragePath, task

from airflow_provider_workbench.decorators.workbench import WorkbenchUploadDecoratedOperator, workbench_upload_task
from airflow_provider_workbench.operators.workbench import WorkbenchUploadOperator
from airflow_provider_workbench.sensors.workbench import WorkbenchFileSensor

AIRFLOW_3 = not __version__.startswith("2.")
OBJECT = "s3://aws_default@bucket/folder/sales.csv"
MARK = "kept: "
UPLOADS = ("upload", "upload_object", "upload_path", "mapped_upload", "mapped_objects", "mapped_dicts")
SENSORS = ("wait", "wait_since", "wait_back", "mapped_wait")
DECORATED = ("decorated", "mapped_decorated")
FIELDS = {
    **dict.fromkeys(UPLOADS, WorkbenchUploadOperator.template_fields),
    **dict.fromkeys(SENSORS, WorkbenchFileSensor.template_fields),
    **dict.fromkeys(DECORATED, WorkbenchUploadDecoratedOperator.template_fields),
}


def make_dag():
    with DAG("serialized", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC), catchup=False) as dag:

        @task
        def paths():
            return ["a.csv", "b.csv"]

        @workbench_upload_task(filename="sales.csv", wait_until="listed")
        def decorated(day="{{ ds }}"):
            return b"a\n1\n"

        upload = WorkbenchUploadOperator(
            task_id="upload",
            filepath="/data/{{ ds }}.csv",
            filename="{{ ds }}.csv",
            wait_until="rendered",
            expected_rows=paths(),
            poke_interval=timedelta(minutes=1),
            wait_timeout=timedelta(hours=1),
            execution_timeout=timedelta(hours=2),
            deferrable=True,
        )
        WorkbenchUploadOperator(task_id="upload_object", filepath=ObjectStoragePath(OBJECT))
        WorkbenchUploadOperator(task_id="upload_path", filepath=Path("/data/sales.csv"))
        mapped = WorkbenchUploadOperator.partial(
            task_id="mapped_upload", wait_timeout=timedelta(hours=1), poke_interval=timedelta(seconds=5)
        ).expand(filepath=paths.override(task_id="more_paths")())
        objects = [ObjectStoragePath(OBJECT), Path("/data/sales.csv"), "plain.csv"]
        WorkbenchUploadOperator.partial(task_id="mapped_objects").expand(filepath=objects)
        dicts = [{"filepath": ObjectStoragePath(OBJECT), "filename": "a.csv"}, {"filepath": Path("/data/sales.csv")}]
        WorkbenchUploadOperator.partial(task_id="mapped_dicts").expand_kwargs(dicts)
        WorkbenchFileSensor(task_id="wait", upload=upload.output, until="rendered", expected_rows="{{ 1 }}")
        WorkbenchFileSensor(task_id="wait_since", filename="*.csv", since=datetime(2026, 1, 1, 6, tzinfo=UTC), size=3)
        WorkbenchFileSensor(
            task_id="wait_back", filename="*.csv", since=timedelta(hours=1), timeout=timedelta(days=1), deferrable=True
        )
        WorkbenchFileSensor.partial(task_id="mapped_wait", until="listed", timeout=timedelta(minutes=5)).expand(
            upload=mapped.output
        )
        decorated()
        decorated.override(task_id="mapped_decorated").expand(day=["a", "b"])
    return dag


def serialization():
    try:
        from airflow.serialization.serialized_objects import DagSerialization
    except ImportError:
        from airflow.serialization.serialized_objects import SerializedDAG as DagSerialization
    return DagSerialization


def as_kept():
    """The DAG as Airflow's database has it after a parse."""
    # in this order: Airflow 2 loses a mapped operator's links when the keys are sorted
    return json.dumps(serialization().to_dict(make_dag()))


def tasks_of(text):
    return {task["__var"]["task_id"]: task["__var"] for task in json.loads(text)["dag"]["tasks"]}


if __name__ == "__main__":
    print(f"\n{MARK}{as_kept()}")


@pytest.fixture(scope="module")
def kept():
    return as_kept()


def test_it_is_the_same_in_every_process(kept):
    assert json.loads(as_kept()) == json.loads(kept)
    environment = {**os.environ, "PYTHONHASHSEED": "1234"}
    other = subprocess.run([sys.executable, __file__], env=environment, capture_output=True, text=True, check=True)
    (line,) = [line for line in other.stdout.splitlines() if line.startswith(MARK)]
    assert json.loads(line.removeprefix(MARK)) == json.loads(kept)


def test_it_has_no_address_of_an_object(kept):
    assert " at 0x" not in kept
    assert " object>" not in kept


@pytest.mark.parametrize("task_id", FIELDS)
def test_template_fields_and_link_are_there_when_it_is_read_again(kept, task_id):
    task = serialization().from_dict(json.loads(kept)).get_task(task_id)
    assert tuple(task.template_fields) == tuple(FIELDS[task_id])
    assert "Open in Workbench" in task.extra_links


def test_what_is_shown_of_the_fields(kept):
    tasks = tasks_of(kept)
    assert tasks["upload"]["filepath"] == "/data/{{ ds }}.csv"
    assert OBJECT in json.dumps(tasks["upload_object"]["filepath"])
    assert tasks["upload_path"]["filepath"] == "/data/sales.csv"
    assert OBJECT in json.dumps(tasks["mapped_objects"])
    assert OBJECT in json.dumps(tasks["mapped_dicts"])
    assert tasks["wait_since"]["since"] == "2026-01-01 06:00:00+00:00"
    assert tasks["wait_back"]["since"] == "1:00:00"
    assert tasks["upload"]["execution_timeout"] == 7200


@pytest.mark.airflow
@pytest.mark.skipif(not AIRFLOW_3, reason="Airflow 2 has no DAG versions")
def test_a_dag_that_has_run_and_is_parsed_again_gets_no_new_version(run_dag, monkeypatch, workbench_sandbox, tmp_path):
    from airflow.models.dag_version import DagVersion
    from airflow.models.serialized_dag import SerializedDagModel
    from airflow.utils.session import create_session

    monkeypatch.setenv("AIRFLOW_CONN_WORKBENCH_DEFAULT", workbench_sandbox.step.connection_json())
    path = tmp_path / "sales.csv"
    path.write_bytes(b"a\n1\n")

    def make(folder=path):
        with DAG("versioned", schedule=None, start_date=datetime(2026, 1, 1), catchup=False) as dag:
            upload = WorkbenchUploadOperator(task_id="upload", filepath=folder, wait_timeout=timedelta(hours=1))
            WorkbenchFileSensor.partial(task_id="wait", until="listed").expand(upload=[upload.output])
        return dag

    def parse_again(dag):
        from airflow.serialization.serialized_objects import LazyDeserializedDAG

        latest = DagVersion.get_latest_version("versioned")
        assert latest
        changed = SerializedDagModel.write_dag(LazyDeserializedDAG.from_dag(dag), latest.bundle_name)
        with create_session() as session:
            return changed, session.query(DagVersion).filter_by(dag_id="versioned").count()

    assert run_dag(make()).state == "success"
    assert parse_again(make()) == (False, 1)
    # and a difference is one
    assert parse_again(make(tmp_path / "other.csv")) == (True, 2)
