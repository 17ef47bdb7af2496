"""One worker writes to its disk; it can upload that, and another cannot."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from tempfile import gettempdir

from airflow.sdk import dag, task

from airflow_provider_workbench.operators.workbench import WorkbenchUploadOperator


@dag(schedule=None, start_date=datetime(2026, 1, 1), catchup=False)
def local_file():
    @task(queue="worker-one")
    def write() -> str:
        path = Path(gettempdir(), "local.csv")
        path.write_text("city,sold\nBergen,1\n")
        return str(path)

    path = write()
    WorkbenchUploadOperator(task_id="upload_there", queue="worker-one", filepath=path)
    WorkbenchUploadOperator(task_id="upload_elsewhere", queue="worker-two", filepath=path)


local_file()
