"""The DAGs of ``docs/`` and of the README can be copied: each is imported, and what needs no database is run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from dag_runs import AIRFLOW_3

if TYPE_CHECKING:
    from storage_server import Storage

ROOT = Path(__file__).parent.parent
PAGES = ("README.md", "docs/recipes.md")


@pytest.fixture(autouse=True)
def aws_default(storage: Storage, monkeypatch) -> None:
    """From the first import on: Airflow keeps a storage that it has found."""
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", storage.connection())


def blocks() -> dict[str, str]:
    """The Python blocks that are whole DAG files, by the name of their last DAG."""
    found = {}
    for page in PAGES:
        for block in re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text("utf-8"), re.DOTALL | re.MULTILINE):
            if names := re.findall(r"^@dag\(.*\)\ndef (\w+)", block, re.MULTILINE):
                found[f"{page}:{names[-1]}"] = block
    return found


def load(name: str) -> list[Any]:
    code = blocks()[name]
    if not AIRFLOW_3:
        if "Asset" in code:
            pytest.skip("Airflow 3 has assets")
        # as the pages say
        code = re.sub(r"from airflow\.sdk import (ObjectStoragePath, )?", "from airflow.decorators import ", code)
        code = f"from airflow.io.path import ObjectStoragePath\n{code}"
    names: dict[str, Any] = {}
    exec(compile(code, name, "exec"), names)
    from airflow.providers.common.compat.sdk import DAG

    dags = re.findall(r"^@dag\(.*\)\ndef (\w+)", code, re.MULTILINE)
    made = [names[each]() for each in dags]
    assert all(isinstance(each, DAG) for each in made)
    return made


def test_all_pages_have_their_dags() -> None:
    assert len(blocks()) == 7


@pytest.mark.parametrize("name", blocks())
def test_it_is_a_dag_that_airflow_can_keep(name: str) -> None:
    if AIRFLOW_3:
        from airflow.serialization.serialized_objects import DagSerialization as Serialized
    else:
        from airflow.serialization.serialized_objects import SerializedDAG as Serialized

    for made in load(name):
        assert Serialized.to_dict(made)["dag"]["dag_id"] == made.dag_id


@pytest.mark.airflow
def test_a_frame_that_is_returned_arrives(run_dag, workbench_sandbox, monkeypatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_WORKBENCH_DEFAULT", workbench_sandbox.step.connection_json())
    run = run_dag(*load("docs/recipes.md:sales_as_a_frame"))
    assert run.state == "success", run.log
    (file,) = workbench_sandbox.step.files
    assert file.name.startswith("sales-2")
    assert workbench_sandbox.step.content(file.uuid) == b"city,sold\nBergen,12\nLima,31\n"


@pytest.mark.airflow
def test_a_folder_of_objects_arrives(run_dag, workbench_sandbox, monkeypatch, storage: Storage) -> None:
    from airflow.providers.common.compat.sdk import timezone

    day = timezone.datetime(2026, 3, 1)
    monkeypatch.setenv("AIRFLOW_CONN_WORKBENCH_DEFAULT", workbench_sandbox.step.connection_json())
    bucket = "exports"
    storage.client.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-north-1"})
    for name in ("north.csv", "south.csv", "notes.md"):
        storage.client.put_object(
            Bucket=bucket, Key=f"regions/2026-03-01/{name}", Body=b"region,sold\n" + name.encode()
        )
    option = "logical_date" if AIRFLOW_3 else "execution_date"
    run = run_dag(*load("docs/recipes.md:a_folder_of_files"), **{option: day})
    assert run.state == "success", run.log
    assert sorted(file.name for file in workbench_sandbox.step.files) == ["north.csv", "south.csv"]
