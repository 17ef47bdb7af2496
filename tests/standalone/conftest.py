"""One whole Airflow for all tests in this folder; its default connection is the sandbox's public Step."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest
from airflow_standalone import AirflowStandalone

from airflow_provider_workbench.sandbox import Sandbox

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    old = version("apache-airflow").startswith("2.")
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.standalone)
            if old:
                item.add_marker(pytest.mark.skip(reason="made for Airflow 3"))


@pytest.fixture(scope="session")
def standalone_sandbox() -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture(scope="session")
def airflow_standalone(
    standalone_sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[AirflowStandalone]:
    home = tmp_path_factory.mktemp("airflow-home")
    lineage = {"type": "file", "log_file_path": str(home / "lineage.jsonl"), "append": True}
    # of one DAG, so that it costs the others nothing
    policy = [
        {"scope": {}, "controls": {"emit": False}},
        {"scope": {"dag_id": "lineage_and_link"}, "controls": {"emit": True}},
    ]
    environment = {
        "AIRFLOW_CONN_WORKBENCH_DEFAULT": standalone_sandbox.step.connection_json(),
        "WORKBENCH_CREATE_FILE_URL": standalone_sandbox.step.create_file_url,
        "AIRFLOW__OPENLINEAGE__TRANSPORT": json.dumps(lineage),
        "AIRFLOW__OPENLINEAGE__EMISSION_POLICY": json.dumps(policy),
        "AIRFLOW__CORE__TEST_CONNECTION": "Enabled",
    }
    dags_folder = tmp_path_factory.mktemp("dags")
    for folder in (HERE.parent.parent / "example_dags", HERE / "dags"):
        shutil.copytree(folder, dags_folder, dirs_exist_ok=True)
    with AirflowStandalone(
        home=home,
        dags_folder=dags_folder,
        env=environment,
    ) as airflow:
        yield airflow
