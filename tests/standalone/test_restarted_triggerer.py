"""A triggerer that dies while a sensor waits in it: the next one sees what happened meanwhile."""

from __future__ import annotations

import time

import pytest
from other_uploads import upload


@pytest.fixture
def step(standalone_sandbox):
    standalone_sandbox.reset()
    yield standalone_sandbox.step
    standalone_sandbox.reset()  # other tests want it empty


def test_a_file_that_came_while_the_triggerer_was_dead_is_seen(airflow_standalone, standalone_sandbox, step, tmp_path):
    path = tmp_path / "while the triggerer was dead.csv"
    path.write_bytes(b"A,B\n1,x\n2,y\n")
    run_id = airflow_standalone.trigger("wait_for_file", {"filename": path.name})
    wait_until_it_waits(airflow_standalone, run_id, standalone_sandbox)

    airflow_standalone.kill("triggerer")
    uuid = upload(step, path)
    step.wait_until_rendered()
    airflow_standalone.start("triggerer")

    run = airflow_standalone.wait_for_run("wait_for_file", run_id)
    log = airflow_standalone.task_log("wait_for_file", run_id, "wait")
    assert run["state"] == "success", log
    seen = airflow_standalone.xcom("wait_for_file", run_id, "wait")
    assert (seen["uuid"], seen["n_rows"], seen["n_columns"]) == (uuid, 2, 2)
    (task,) = airflow_standalone.task_instances("wait_for_file", run_id)
    assert task["try_number"] == 1  # nothing failed on the way


def wait_until_it_waits(airflow, run_id, sandbox):
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        for task in airflow.task_instances("wait_for_file", run_id):
            assert task["state"] not in ("success", "failed"), airflow.task_log("wait_for_file", run_id, "wait")
            if task["state"] == "deferred" and task["triggerer_job"] and sandbox.open_websockets:
                return
        time.sleep(0.3)
    raise TimeoutError(airflow.log_tail())
