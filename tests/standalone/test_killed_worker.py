"""A worker process that dies in mid-upload: the retry goes on where the server is."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sqlite3
import time
from importlib.metadata import version
from pathlib import Path

import pytest
from slow_link import SlowLink

SIZE = 200_000_000
BYTES_PER_SECOND = 25_000_000


@pytest.fixture
def link(standalone_sandbox):
    link = SlowLink(standalone_sandbox.upload_url, BYTES_PER_SECOND)
    standalone_sandbox.reset()
    before = standalone_sandbox.advertised_upload_url
    standalone_sandbox.advertised_upload_url = link.url
    yield link
    standalone_sandbox.advertised_upload_url = before
    link.close()


@pytest.mark.skipif(
    tuple(int(part) for part in version("apache-airflow").split(".")[:2]) < (3, 3),
    reason="before Airflow 3.3 nothing is kept between tries",
)
def test_the_retry_resumes_and_nothing_secret_remains(airflow_standalone, standalone_sandbox, link, tmp_path):
    path = tmp_path / "large.csv"
    path.write_bytes(os.urandom(1_000_000) * (SIZE // 1_000_000))
    token = standalone_sandbox.step.api_token
    run_id = airflow_standalone.trigger("slow_upload", {"filepath": str(path)})
    deadline = time.monotonic() + 120
    while link.passed < SIZE // 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    os.kill(int(Path(f"{path}.pid").read_text()), signal.SIGKILL)

    run = airflow_standalone.wait_for_run("slow_upload", run_id)
    log = airflow_standalone.task_log("slow_upload", run_id, "upload", try_number=2)
    assert run["state"] == "success", log
    going_on = re.search(rf"Going on from byte (\d+) of {SIZE}", log)
    assert going_on, log
    assert int(going_on[1]) > SIZE // 4

    (file,) = standalone_sandbox.step.files
    assert standalone_sandbox.step.path(file.uuid).read_bytes() == path.read_bytes()
    received = sum(seen.body_bytes for seen in standalone_sandbox.requests if seen.method == "PATCH")
    assert SIZE <= received < 1.1 * SIZE

    upload_path = next(seen.path for seen in standalone_sandbox.requests if seen.method == "PATCH")
    upload_id = upload_path.rpartition("/")[2].partition("+")[0].partition("%2B")[0]
    with contextlib.closing(sqlite3.connect(airflow_standalone.home / "airflow.db")) as database:
        dump = "\n".join(database.iterdump())
    assert "slow_upload" in dump
    logs = "\n".join(each.read_text(errors="replace") for each in airflow_standalone.home.rglob("*.log"))
    for secret in (token, upload_id):
        assert secret not in dump
        assert secret not in logs
