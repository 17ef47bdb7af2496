"""The example DAGs run in a real Airflow against the sandbox."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent / "example_dags"
FILES = sorted(FOLDER.glob("*.py"))


def load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def run_example(run_dag, monkeypatch, workbench_sandbox):
    def run_example(name):
        monkeypatch.setenv("AIRFLOW_CONN_WORKBENCH_DEFAULT", workbench_sandbox.step.connection_json())
        module = load(FOLDER / f"{name}.py")
        return run_dag(getattr(module, name)())

    return run_example


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_it_is_parsed_without_a_warning_of_ours(path):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        load(path)
    assert [str(warning.message) for warning in caught if "workbench" in str(warning.filename).lower()] == []


def test_a_process_that_parses_them_for_the_first_time_hears_no_warning():
    """Also none that Airflow gives where something of it is imported by an old name."""
    script = """
import runpy, sys, warnings
import airflow.triggers.base
from airflow.providers.common.compat.sdk import Asset, BaseOperator, BaseSensorOperator, DecoratedOperator, dag, task
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for path in sys.argv[1:]:
        runpy.run_path(path)
print("parsed", len(sys.argv) - 1, *(f"{each.filename}: {each.message}" for each in caught), sep="\\n")
"""
    command = [sys.executable, "-c", script, *map(str, FILES)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.partition("parsed\n")[2].splitlines() == [str(len(FILES))]


@pytest.mark.airflow
def test_upload_and_wait(run_example, workbench_sandbox):
    run = run_example("example_workbench_upload")
    assert run.state == "success", run.log
    (file,) = workbench_sandbox.step.files
    seen = run.returned("wait_until_rendered")
    assert (seen["uuid"], seen["name"], seen["n_rows"], seen["n_columns"]) == (file.uuid, "sales.csv", 12, 4)
    assert workbench_sandbox.step.content(file.uuid).startswith(b"city,product,sold,price\r\n")
    assert workbench_sandbox.step.api_token not in run.log


@pytest.mark.airflow
def test_several_files_with_expand(run_example, workbench_sandbox):
    run = run_example("example_workbench_upload_many")
    assert run.state == "success", run.log
    assert sorted(file.name for file in workbench_sandbox.step.files) == ["north.csv", "south.csv", "west.csv"]
    listed = {run.returned("wait_until_listed", index)["uuid"] for index in range(3)}
    assert listed == {file.uuid for file in workbench_sandbox.step.files}


@pytest.mark.airflow
def test_upload_wait_and_count_in_one_task(run_example, workbench_sandbox):
    run = run_example("example_workbench_wait")
    assert run.state == "success", run.log
    (file,) = workbench_sandbox.step.files
    output = run.returned("upload_and_wait")
    assert (output["uuid"], output["file"]["n_rows"], output["file"]["n_columns"]) == (file.uuid, 3, 2)


@pytest.mark.airflow
def test_what_functions_return(run_example, workbench_sandbox):
    run = run_example("example_workbench_taskflow")
    assert run.state == "success", run.log
    step = workbench_sandbox.step
    assert {file.name: step.content(file.uuid) for file in step.files} == {
        "totals.csv": b"product,sold\napples,42\npears,7\n",
        "north.csv": b"product,sold\napples,12\npears,7\n",
        "south.csv": b"product,sold\napples,30\n",
    }
    output = run.returned("totals")
    assert (output["file"]["n_rows"], output["uuid"]) == (2, step.selected.uuid)
