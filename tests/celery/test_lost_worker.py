"""A machine that is lost in mid-upload: another goes on where the server is."""

from __future__ import annotations

import hashlib
import os
import re
import time

import pytest
from slow_link import SlowLink

DAG_ID = "large_object"
SIZE = 120_000_000
BYTES_PER_SECOND = 15_000_000


@pytest.fixture
def link(workbench):
    link = SlowLink(workbench.upload_url, BYTES_PER_SECOND)
    before = workbench.advertised_upload_url
    workbench.advertised_upload_url = link.url
    yield link
    workbench.advertised_upload_url = before
    link.close()


@pytest.fixture
def content(cluster):
    content = os.urandom(1_000_000) * (SIZE // 1_000_000)
    cluster.services.put_object("deliveries", "large.csv", content)
    return content


def test_the_retry_on_another_worker_resumes(cluster, workbench, link, content):
    run_id = cluster.airflow.trigger(DAG_ID)
    wait_until(lambda: link.passed > SIZE // 2, cluster, run_id)
    lost = task(cluster, run_id)["hostname"]
    cluster.kill(lost)
    try:
        run = cluster.airflow.wait_for_run(DAG_ID, run_id, timeout=240)
    finally:
        cluster.airflow.start(lost)

    logs = cluster.task_logs(DAG_ID, run_id)
    assert run["state"] == "success", logs
    other = task(cluster, run_id)["hostname"]
    assert {lost, other} == {"worker-one", "worker-two"}
    assert cluster.task_log(lost, DAG_ID, run_id, "upload", try_number=1)
    log = cluster.task_log(other, DAG_ID, run_id, "upload", try_number=2)
    going_on = re.search(rf"Going on from byte (\d+) of {SIZE}", log)
    assert going_on, logs
    assert int(going_on[1]) > SIZE // 4

    (file,) = workbench.step.files
    assert workbench.step.path(file.uuid).read_bytes() == content
    received = sum(seen.body_bytes for seen in workbench.requests if seen.method == "PATCH")
    print(f"{received} of {SIZE} bytes sent; went on from byte {going_on[1]}")
    assert SIZE <= received < 1.1 * SIZE
    result = cluster.airflow.xcom(DAG_ID, run_id, "upload")
    assert result["resumed_from"] == int(going_on[1])
    assert result["sha256"] == hashlib.sha256(content).hexdigest()

    upload_path = next(seen.path for seen in workbench.requests if seen.method == "PATCH")
    upload_id = upload_path.rpartition("/")[2].partition("+")[0].partition("%2B")[0]
    said = "\n".join(each.read_text(errors="replace") for each in cluster.home.rglob("*.log"))
    assert f"Going on from byte {going_on[1]}" in said
    for secret in (workbench.step.api_token, upload_id):
        assert secret not in said


def task(cluster, run_id):
    (instance,) = cluster.airflow.task_instances(DAG_ID, run_id)
    return instance


def wait_until(is_so, cluster, run_id):
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline:
        if is_so():
            return
        time.sleep(0.1)
    raise TimeoutError(f"{task(cluster, run_id)['state']}\n{cluster.task_logs(DAG_ID, run_id)}")
