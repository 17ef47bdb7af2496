"""One Airflow of several machines for all tests in this folder; its default connection is the sandbox's public Step."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from airflow_celery import AirflowCelery

from airflow_provider_workbench.sandbox import Sandbox

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.celery)


@pytest.fixture(scope="session")
def cluster_sandbox() -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture(scope="session")
def cluster(cluster_sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AirflowCelery]:
    with AirflowCelery(
        home=tmp_path_factory.mktemp("celery"),
        dags_folder=HERE / "dags",
        env={"AIRFLOW_CONN_WORKBENCH_DEFAULT": cluster_sandbox.step.connection_json()},
    ) as cluster:
        cluster.services.make_bucket("deliveries")
        yield cluster


@pytest.fixture
def workbench(cluster_sandbox: Sandbox) -> Iterator[Sandbox]:
    """The sandbox, as new."""
    cluster_sandbox.reset()
    yield cluster_sandbox
    cluster_sandbox.reset()
