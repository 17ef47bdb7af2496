"""In a real Airflow: the asset event starts another DAG, OpenLineage is told what was uploaded, and the link is there
while the task runs."""

from __future__ import annotations

import json
import socket
from hashlib import sha256
from urllib.parse import quote, urlsplit

import pytest
from processes import until

DAG_ID = "lineage_and_link"
PRODUCER = "example_workbench_assets"
CONSUMER = "example_workbench_assets_reader"
CONTENT = b"city,sold\nBergen,1\nLima,2\nOslo,3\n"
NAME = "Open in Workbench"


class Run:
    """A run of ``lineage_and_link``."""

    def __init__(self, airflow, run_id, path):
        self.airflow = airflow
        self.run_id = run_id
        self.path = path

    def state(self, task_id):
        instances = {each["task_id"]: each for each in self.airflow.task_instances(DAG_ID, self.run_id)}
        return instances[task_id]["state"]

    def links(self, task_id):
        """As the UI gets them."""
        run = f"/api/v2/dags/{DAG_ID}/dagRuns/{quote(self.run_id, safe='')}"
        return self.airflow.get(f"{run}/taskInstances/{task_id}/links")["extra_links"]

    def wait_until(self, what, name):
        for _ in until(180):
            if what():
                return
        raise TimeoutError(f"no {name}\n{self.airflow.task_log(DAG_ID, self.run_id, 'upload')}")

    def events(self, task_id, kind):
        """OpenLineage's of a task, as they were sent."""
        lines = (self.airflow.home / "lineage.jsonl").read_text().splitlines()
        found = [json.loads(line) for line in lines]
        return [each for each in found if (each["job"]["name"], each["eventType"]) == (f"{DAG_ID}.{task_id}", kind)]


@pytest.fixture(scope="module")
def while_running():
    """What was seen while the first task ran."""
    return {}


@pytest.fixture(scope="module")
def run(airflow_standalone, standalone_sandbox, tmp_path_factory, while_running):
    standalone_sandbox.reset()
    secret_step = standalone_sandbox.secret_step
    connection = json.loads(secret_step.connection_json(secret_link=secret_step.secret_link_url, show_secret_link=True))
    connection["extra"] = json.dumps(connection["extra"])
    airflow_standalone.post("/api/v2/connections", {"connection_id": "workbench_shown", **connection})

    standalone_sandbox.render_delay = 600
    path = tmp_path_factory.mktemp("sales") / "sales.csv"
    path.write_bytes(CONTENT)
    run = Run(airflow_standalone, airflow_standalone.trigger(DAG_ID, {"filepath": str(path)}), path)
    run.wait_until(lambda: standalone_sandbox.step.files, "File")
    while_running["links"] = run.links("upload")
    while_running["state"] = run.state("upload")
    standalone_sandbox.render_delay = 1
    done = airflow_standalone.wait_for_run(DAG_ID, run.run_id)
    assert done["state"] == "success", run.airflow.task_log(DAG_ID, run.run_id, "upload")
    yield run
    airflow_standalone.request("DELETE", "/api/v2/connections/workbench_shown")
    standalone_sandbox.reset()


def test_the_link_is_there_while_the_task_runs_and_afterwards(run, while_running, standalone_sandbox):
    page = standalone_sandbox.step.page_url
    assert while_running == {"links": {NAME: page}, "state": "running"}
    assert run.links("upload") == {NAME: page}
    assert run.links("deferred") == {NAME: page}


def test_the_secret_link_is_shown_unmasked_where_the_connection_says_so_and_only_there(run, standalone_sandbox):
    step = standalone_sandbox.secret_step
    assert run.links("shown") == {NAME: step.secret_link_url}
    assert step.secret_link not in str(run.airflow.xcom(DAG_ID, run.run_id, "shown"))
    assert step.secret_link not in run.airflow.task_log(DAG_ID, run.run_id, "shown")
    assert step.secret_link not in (run.airflow.home / "lineage.jsonl").read_text()


def without_schemas(value):
    """Which version of a facet it is, and who made it, is OpenLineage's affair."""
    if isinstance(value, dict):
        return {key: without_schemas(each) for key, each in value.items() if key not in ("_producer", "_schemaURL")}
    return [without_schemas(each) for each in value] if isinstance(value, list) else value


def dataset(namespace, name, facets, own_facets):
    kind, own = own_facets
    return {"namespace": namespace, "name": name, "facets": facets, kind: own}


@pytest.mark.parametrize("task_id", ["upload", "deferred", "decorated", "shown"])
def test_openlineage_is_told_what_was_uploaded(run, standalone_sandbox, task_id):
    step = standalone_sandbox.secret_step if task_id == "shown" else standalone_sandbox.step
    result = run.airflow.xcom(DAG_ID, run.run_id, task_id)
    here = (f"file://{socket.gethostname()}", str(run.path))
    namespace = f"workbench://{urlsplit(step.create_file_url).netloc}"
    there = (namespace, f"workflows/{step.workflow_id}/steps/{step.slug}")
    facets = {"dataSource": {"name": namespace, "uri": result["step_url"]}}

    starts = run.events(task_id, "START")
    assert starts
    # before the function is called nobody knows what it returns
    known = [] if task_id == "decorated" else [dataset(*here, {}, ("inputFacets", {}))]
    for start in starts:
        assert without_schemas(start["inputs"]) == known
        assert without_schemas(start["outputs"]) == [dataset(*there, facets, ("outputFacets", {}))]

    (complete,) = run.events(task_id, "COMPLETE")
    assert {each["run"]["runId"] for each in starts} == {complete["run"]["runId"]}
    statistics = {"size": len(CONTENT)}
    (uuid,) = (file.uuid for file in step.files if file.name == result["filename"])
    facets["version"] = {"datasetVersion": uuid}
    if task_id != "shown":
        statistics["rowCount"] = 3
    read = {"inputStatistics": {"size": len(CONTENT), "fileCount": 1}}
    assert without_schemas(complete["inputs"]) == [dataset(*here, {}, ("inputFacets", read))]
    assert without_schemas(complete["outputs"]) == [
        dataset(*there, facets, ("outputFacets", {"outputStatistics": statistics}))
    ]


def test_openlineage_is_told_no_secret(run, standalone_sandbox):
    text = (run.airflow.home / "lineage.jsonl").read_text()
    assert DAG_ID in text
    for step in (standalone_sandbox.step, standalone_sandbox.secret_step):
        assert step.api_token not in text
    assert "/files/" not in text


def test_the_logs_have_no_warning(run):
    for task_id in ("upload", "deferred", "decorated", "shown"):
        log = run.airflow.task_log(DAG_ID, run.run_id, task_id)
        assert " info " in log
        assert [line for line in log.splitlines() if " warning " in line or " error " in line] == []


def test_a_dag_starts_because_of_the_upload_and_reads_which_file_it_was(airflow_standalone, standalone_sandbox):
    standalone_sandbox.reset()
    # only what is not paused is started
    airflow_standalone.unpause(CONSUMER)
    run_id = airflow_standalone.trigger(PRODUCER)
    run = airflow_standalone.wait_for_run(PRODUCER, run_id)
    assert run["state"] == "success", airflow_standalone.task_log(PRODUCER, run_id, "upload")
    for _ in until(120):
        if started := airflow_standalone.get(f"/api/v2/dags/{CONSUMER}/dagRuns")["dag_runs"]:
            break
    (consumer,) = started
    assert consumer["run_type"] == "asset_triggered"
    done = airflow_standalone.wait_for_run(CONSUMER, consumer["dag_run_id"])
    log = airflow_standalone.task_log(CONSUMER, consumer["dag_run_id"], "say_which")
    assert done["state"] == "success", log

    (file,) = standalone_sandbox.step.files
    digest = sha256(standalone_sandbox.step.content(file.uuid)).hexdigest()
    expected = {"filename": "prices.csv", "size": file.size, "uuid": file.uuid, "sha256": digest}
    assert airflow_standalone.xcom(CONSUMER, consumer["dag_run_id"], "say_which") == [expected]
    assert f"prices.csv: {file.size} bytes, uuid {file.uuid}" in log
    airflow_standalone.request("PATCH", f"/api/v2/dags/{CONSUMER}", {"is_paused": True})
