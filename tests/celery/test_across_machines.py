"""Workers that share no disk: what one writes to object storage another uploads, and the triggerer waits."""

from __future__ import annotations

import time

ROWS = 20_000
CONTENT = "".join(["city,sold\n", *(f"Bergen,{number}\n" for number in range(ROWS))]).encode()


def test_one_worker_writes_to_s3_another_uploads_and_the_triggerer_waits(cluster, workbench):
    dag_id = "across_machines"
    workbench.render_delay = 600
    run_id = cluster.airflow.trigger(dag_id, {"rows": ROWS})
    for task_id in ("wait", "upload_and_wait"):
        wait_until_the_triggerer_has(cluster, dag_id, run_id, task_id)
        assert not workbench.step.is_rendered
        workbench.render_delay = 0
        workbench.step.wait_until_rendered()
        workbench.render_delay = 600

    run = cluster.airflow.wait_for_run(dag_id, run_id)
    log = cluster.task_log("worker-two", dag_id, run_id, "upload_and_wait")
    assert run["state"] == "success", log
    assert hosts(cluster, dag_id, run_id) == {
        "write": "worker-one",
        "upload": "worker-two",
        "wait": "worker-one",
        "upload_and_wait": "worker-two",
    }
    second, first = workbench.step.files
    assert (first.name, second.name) == ("first.csv", "sales.csv")
    for file in (first, second):
        assert workbench.step.path(file.uuid).read_bytes() == CONTENT
    assert cluster.airflow.xcom(dag_id, run_id, "wait")["uuid"] == first.uuid
    result = cluster.airflow.xcom(dag_id, run_id, "upload_and_wait")
    assert (result["uuid"], result["file"]["n_rows"]) == (second.uuid, ROWS)


def test_a_file_on_another_workers_disk_is_an_error_that_names_path_and_host(cluster, workbench):
    dag_id = "local_file"
    run_id = cluster.airflow.trigger(dag_id)
    cluster.airflow.wait_for_run(dag_id, run_id)
    log = cluster.task_log("worker-two", dag_id, run_id, "upload_elsewhere")
    ended = {each["task_id"]: each["state"] for each in cluster.airflow.task_instances(dag_id, run_id)}
    assert ended == {"write": "success", "upload_there": "success", "upload_elsewhere": "failed"}, log

    path = cluster.disk / "tmp" / "local.csv"
    assert cluster.airflow.xcom(dag_id, run_id, "write") == str(path)
    assert (cluster.disk_of("worker-one") / "tmp" / "local.csv").exists()
    assert f"There is no file {path} on worker-two. Workers share no disk" in log
    assert "object storage" in log
    (file,) = workbench.step.files  # from where it was
    assert file.name == "local.csv"


def wait_until_the_triggerer_has(cluster, dag_id, run_id, task_id):
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline:
        tasks = {each["task_id"]: each for each in cluster.airflow.task_instances(dag_id, run_id)}
        assert "failed" not in {each["state"] for each in tasks.values()}, cluster.task_logs(dag_id, run_id)
        if tasks[task_id]["state"] == "deferred" and tasks[task_id]["triggerer_job"]:
            return
        time.sleep(0.3)
    raise TimeoutError(f"{task_id}: {tasks[task_id]['state']}\n{cluster.task_logs(dag_id, run_id)}")


def hosts(cluster, dag_id, run_id):
    return {each["task_id"]: each["hostname"] for each in cluster.airflow.task_instances(dag_id, run_id)}
