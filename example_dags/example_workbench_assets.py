"""Upload, and let another DAG start because of it: the Step is an asset, and the upload an event that says which File.

Needs the connection ``workbench_default``, with which the Step can be read (else the event has no uuid): make the
Workflow public, or put its secret link into the connection. Take the pause off both DAGs, and start the first.
"""

from __future__ import annotations

import csv
import os
from datetime import datetime
from pathlib import Path
from tempfile import mkdtemp

from airflow.providers.common.compat.sdk import dag, get_current_context, task

from airflow_provider_workbench.assets.workbench import step_asset
from airflow_provider_workbench.operators.workbench import WorkbenchUploadOperator

# paste here what Workbench shows under "File-upload API", and the connection has as its host
CREATE_FILE_URL = "https://app.workbench.example/api/v1/workflows/123/steps/step-abc/files"

STEP = step_asset(os.environ.get("WORKBENCH_CREATE_FILE_URL", CREATE_FILE_URL))


@dag(schedule=None, start_date=datetime(2026, 1, 1), catchup=False, max_active_runs=1, tags=["example", "workbench"])
def example_workbench_assets():
    """The task's outlet is the Step: an event tells when Workbench has taken the File."""

    @task
    def write_prices() -> str:
        path = Path(mkdtemp(prefix="prices-")) / "prices.csv"
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([("product", "price"), ("apples", 1.2), ("pears", 1.9), ("plums", 2.4)])
        return str(path)

    WorkbenchUploadOperator(task_id="upload", filepath=write_prices(), outlets=[STEP], sha256=True)


@dag(schedule=[STEP], start_date=datetime(2026, 1, 1), catchup=False, tags=["example", "workbench"])
def example_workbench_assets_reader():
    """Starts by itself; several events may have come meanwhile, so look at all."""

    @task
    def say_which() -> list[dict]:
        context = get_current_context()
        # Airflow 2 calls assets datasets
        events = context.get("triggering_asset_events") or context["triggering_dataset_events"]
        files = [event.extra for of_asset in events.values() for event in of_asset]
        for file in files:
            print(f"{file['filename']}: {file['size']} bytes, uuid {file['uuid']}, SHA-256 {file['sha256']}")
        return files

    say_which()


example_workbench_assets()
example_workbench_assets_reader()
