"""The example DAG under a real scheduler and triggerer."""

from __future__ import annotations

import re


def test_a_file_is_uploaded_and_the_deferred_sensor_sees_it_rendered(airflow_standalone, standalone_sandbox):
    standalone_sandbox.render_delay = 3  # long enough for the sensor to defer
    dag_id = "example_workbench_upload"
    run_id = airflow_standalone.trigger(dag_id)
    run = airflow_standalone.wait_for_run(dag_id, run_id)
    logs = {
        each["task_id"]: airflow_standalone.task_log(dag_id, run_id, each["task_id"])
        for each in airflow_standalone.task_instances(dag_id, run_id)
    }
    assert run["state"] == "success", "\n".join(logs.values())

    [file] = standalone_sandbox.step.files
    assert standalone_sandbox.step.content(file.uuid).startswith(b"city,product,sold,price")
    seen = airflow_standalone.xcom(dag_id, run_id, "wait_until_rendered")
    assert (seen["uuid"], seen["name"], seen["size"]) == (file.uuid, "sales.csv", file.size)
    assert (seen["n_rows"], seen["n_columns"]) == (12, 4)

    assert "DEFERRED" in logs["wait_until_rendered"]
    everything = "\n".join(logs.values())
    assert standalone_sandbox.step.api_token not in everything
    assert not re.search(r"/files/[0-9a-f]{32}", everything)
