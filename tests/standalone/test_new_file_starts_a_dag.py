"""A File that a person uploads on the Step's page starts a DAG, through an asset watcher in a real triggerer."""

from __future__ import annotations

import json
import time
from importlib.metadata import version
from urllib.error import HTTPError

import pytest
from chromium import chromium
from other_uploads import upload

DAG = "example_workbench_on_new_file"
ASSET = "workbench_new_file"
REMEMBERS = tuple(int(part) for part in version("apache-airflow").split(".")[:2]) >= (3, 3)


class Watched:
    """The example DAG, unpaused, and what its asset was told of."""

    def __init__(self, airflow):
        self.airflow = airflow

    def events(self, uuid):
        """The asset's events for this File."""
        events = wait_for(self._all_events, "answer", self.airflow)
        return [each for each in events if each["extra"].get("payload", {}).get("uuid") == uuid]

    def _all_events(self):
        try:
            return self.airflow.get("/api/v2/assets/events?limit=100&order_by=-timestamp")["asset_events"]
        except HTTPError as error:
            if error.code != 500:
                raise
            # Airflow 3.3.2 cannot show an event's run between its making and its start
            return None

    def runs(self, uuid):
        return [run["run_id"] for event in self.events(uuid) for run in event["created_dagruns"]]

    def run_for(self, uuid):
        """The run that the File started, once it has ended."""
        (run_id,) = wait_for(lambda: self.runs(uuid), "run", self.airflow)
        return self.airflow.wait_for_run(DAG, run_id)

    def remembered(self):
        (asset,) = (each for each in self.airflow.get("/api/v2/assets?limit=100")["assets"] if each["name"] == ASSET)
        [kept] = self.airflow.get(f"/api/v2/assets/{asset['id']}/state-store")["asset_state_store"]
        value = kept["value"]
        return (json.loads(value) if isinstance(value, str) else value)["uuids"]


def wait_for(what, name, airflow, timeout=300):
    deadline = time.monotonic() + timeout
    while not (found := what()):
        assert time.monotonic() < deadline, f"no {name} within {timeout} s\n{airflow.log_tail()}"
        time.sleep(0.5)
    return found


@pytest.fixture(scope="module")
def watched(airflow_standalone, standalone_sandbox):
    standalone_sandbox.reset()
    airflow_standalone.unpause(DAG)
    # only a DAG that is not paused has its watchers, from when it is read the next time: now, not in 30 s
    token = airflow_standalone.get(f"/api/v2/dags/{DAG}")["file_token"]
    airflow_standalone.request("PUT", f"/api/v2/parseDagFile/{token}")
    wait_for(
        lambda: "Watching workbench_default" in airflow_standalone.log_file.read_text(), "watcher", airflow_standalone
    )
    yield Watched(airflow_standalone)
    airflow_standalone.request("PATCH", f"/api/v2/dags/{DAG}", {"is_paused": True})
    standalone_sandbox.reset()  # other tests want an empty Step


@pytest.fixture(scope="module")
def page(standalone_sandbox, tmp_path_factory):
    """The Step's page, open in a browser."""
    with chromium(tmp_path_factory.mktemp("chromium")) as tab:
        tab.open(standalone_sandbox.step.page_url)
        tab.wait_until("document.querySelector('input[type=file]') !== null")
        yield tab


def upload_by_hand(page, step, path):
    page.choose_file("input[type=file]", path)
    page.wait_until(f"document.querySelector('tr.selected td.name bdi')?.textContent === {path.name!r}")
    return step.selected.uuid


def test_a_file_uploaded_by_hand_starts_the_dag_once(watched, page, standalone_sandbox, tmp_path):
    step = standalone_sandbox.step
    uuids = []
    for name in ("first by hand.csv", "second by hand.csv"):
        path = tmp_path / name
        path.write_bytes(b"A\n1\n2\n")
        uuid = upload_by_hand(page, step, path)
        uuids.append(uuid)
        run = watched.run_for(uuid)
        log = watched.airflow.task_log(DAG, run["dag_run_id"], "say_which")
        assert run["state"] == "success", log
        assert run["run_type"] == "asset_triggered"
        (payload,) = watched.airflow.xcom(DAG, run["dag_run_id"], "say_which")
        assert (payload["uuid"], payload["name"], payload["size"]) == (uuid, name, 6)
        assert f"{name}: 6 bytes" in log
        assert step.api_token not in log
    ignored = tmp_path / "not for the pattern.txt"
    ignored.write_bytes(b"A\n1\n")
    ignored_uuid = upload(step, ignored)
    time.sleep(3)
    assert [len(watched.events(uuid)) for uuid in (*uuids, ignored_uuid)] == [1, 1, 0]
    assert [len(watched.runs(uuid)) for uuid in uuids] == [1, 1]


def test_a_killed_triggerer_misses_no_file_and_repeats_none(watched, standalone_sandbox, tmp_path):
    standalone_sandbox.reset()
    step = standalone_sandbox.step
    paths = [tmp_path / name for name in ("before.csv", "meanwhile.csv", "meanwhile too.csv")]
    for path in paths:
        path.write_bytes(b"A\n1\n")
    before = upload(step, paths[0])
    watched.run_for(before)
    if REMEMBERS:
        wait_for(lambda: before in watched.remembered(), "memory", watched.airflow)

    watched.airflow.kill("triggerer")
    meanwhile = [upload(step, path) for path in paths[1:]]
    watched.airflow.start("triggerer")
    for uuid in meanwhile:
        assert watched.run_for(uuid)["state"] == "success"
    time.sleep(3)
    assert [len(watched.events(uuid)) for uuid in meanwhile] == [1, 1]
    # without an asset_state_store a new triggerer tells of all that is listed
    assert len(watched.events(before)) == (1 if REMEMBERS else 2)
    assert step.api_token not in watched.airflow.log_file.read_text()
