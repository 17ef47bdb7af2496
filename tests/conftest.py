"""A throw-away Airflow for the tests. Nothing here imports Airflow before a test needs it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from functools import partialmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from airflow_standalone import airflow_environment, make_database

if TYPE_CHECKING:
    from storage_server import Storage

HOME = Path(tempfile.mkdtemp(prefix="airflow-home-"))


def pytest_configure() -> None:
    dags_folder = HOME / "dags"
    dags_folder.mkdir()
    environment = airflow_environment(HOME, dags_folder)
    environment["AIRFLOW__DATABASE__LOAD_DEFAULT_CONNECTIONS"] = "False"
    os.environ.clear()
    os.environ.update(environment)


def pytest_unconfigure() -> None:
    shutil.rmtree(HOME, ignore_errors=True)


@pytest.fixture(scope="session")
def airflow_db() -> None:
    """Airflow's metadata database, empty."""
    make_database(dict(os.environ))


@pytest.fixture
def run_dag(airflow_db: None) -> Callable[..., Any]:
    """``run_dag(dag)`` makes a run by ``dag.test()`` and returns a :class:`dag_runs.FinishedRun`."""
    from dag_runs import run_dag

    return run_dag


@pytest.fixture
def no_pauses_between_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """An upload that Workbench does not take is made again at once."""
    from airflow_provider_workbench.client.patience import Patience

    monkeypatch.setattr(Patience, "__init__", partialmethod(Patience.__init__, round_pause=0, grace=0))


@pytest.fixture(scope="session")
def storage() -> Iterator[Storage]:
    """An S3 with one bucket."""
    from storage_server import Storage

    with Storage() as storage:
        yield storage
