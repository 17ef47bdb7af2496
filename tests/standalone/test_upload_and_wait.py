"""Under a real scheduler and triggerer: a retry of ``wait_until`` only waits on, a cleared task delivers again."""

from __future__ import annotations

import time
from importlib.metadata import version

import pytest

DAG_ID = "upload_and_wait"

pytestmark = pytest.mark.skipif(
    tuple(int(part) for part in version("apache-airflow").split(".")[:2]) < (3, 3),
    reason="before Airflow 3.3 nothing is kept between tries",
)


@pytest.fixture
def run_id(airflow_standalone, standalone_sandbox, tmp_path):
    """A run whose first try waits for a table that does not come."""
    standalone_sandbox.reset()
    standalone_sandbox.render_delay = 600
    path = tmp_path / "sales.csv"
    path.write_bytes(b"city,sold\nBergen,1\nLima,2\n")
    yield airflow_standalone.trigger(DAG_ID, {"filepath": str(path), "rows": 2})
    standalone_sandbox.reset()


def wait_for_try(airflow, run_id, try_number):
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        (instance,) = airflow.task_instances(DAG_ID, run_id)
        if instance["try_number"] >= try_number:
            return
        time.sleep(0.2)
    raise TimeoutError(f"no try {try_number}: {instance}")


def test_a_retry_only_waits(airflow_standalone, standalone_sandbox, run_id):
    wait_for_try(airflow_standalone, run_id, 2)
    standalone_sandbox.render_delay = 0
    run = airflow_standalone.wait_for_run(DAG_ID, run_id)
    first, second = (airflow_standalone.task_log(DAG_ID, run_id, "upload", try_number=number) for number in (1, 2))
    assert run["state"] == "success", first + second
    assert "was not rendered within 3 s (wait_timeout). A retry does not upload it again" in first
    assert "only waiting" in second

    (file,) = standalone_sandbox.step.files
    output = airflow_standalone.xcom(DAG_ID, run_id, "upload")
    assert (output["uuid"], output["file"]["uuid"], output["file"]["n_rows"]) == (file.uuid, file.uuid, 2)
    assert sum(seen.method == "POST" for seen in standalone_sandbox.requests) == 1
    assert standalone_sandbox.step.api_token not in first + second


def test_a_cleared_task_delivers_again(airflow_standalone, standalone_sandbox, run_id):
    run = airflow_standalone.wait_for_run(DAG_ID, run_id)
    assert run["state"] == "failed"
    assert len(standalone_sandbox.step.files) == 1
    standalone_sandbox.render_delay = 0
    airflow_standalone.post(
        f"/api/v2/dags/{DAG_ID}/clearTaskInstances",
        {"dry_run": False, "dag_run_id": run_id, "only_failed": False, "reset_dag_runs": True},
    )
    run = airflow_standalone.wait_for_run(DAG_ID, run_id)
    log = airflow_standalone.task_log(DAG_ID, run_id, "upload", try_number=3)
    assert run["state"] == "success", log
    assert "the task was cleared: uploading" in log
    newest, _ = standalone_sandbox.step.files
    assert airflow_standalone.xcom(DAG_ID, run_id, "upload")["uuid"] == newest.uuid
