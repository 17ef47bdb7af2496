"""Write a CSV, upload it to Workbench, and wait until the Step has made a table of it.

Needs the connection ``workbench_default``; see the README. Waiting reads the Step's page: make the Workflow public,
or put its secret link into the connection.
"""

from __future__ import annotations

import csv
from datetime import datetime
from pathlib import Path
from tempfile import gettempdir

from airflow.providers.common.compat.sdk import dag, task

from airflow_provider_workbench.operators.workbench import WorkbenchUploadOperator
from airflow_provider_workbench.sensors.workbench import WorkbenchFileSensor


@dag(schedule=None, start_date=datetime(2026, 1, 1), catchup=False, max_active_runs=1, tags=["example", "workbench"])
def example_workbench_upload():
    """One file, operator and sensor."""

    @task
    def write_sales(run_id: str | None = None) -> str:
        # one worker has this disk; with more than one, write to object storage
        path = Path(gettempdir()) / f"sales-{(run_id or 'once').replace('/', '-').replace(':', '')}.csv"
        with path.open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["city", "product", "sold", "price"])
            rows.writerows(
                (city, product, 10 * place + number, 1.25 * number)
                for place, city in enumerate(("Bergen", "Lagos", "Lima", "Osaka"), start=1)
                for number, product in enumerate(("apples", "pears", "plums"), start=1)
            )
        return str(path)

    upload = WorkbenchUploadOperator(task_id="upload", filepath=write_sales(), filename="sales.csv")

    WorkbenchFileSensor(
        task_id="wait_until_rendered",
        upload=upload.output,
        until="rendered",
        deferrable=True,
        poke_interval=5,
        timeout=600,
    )


example_workbench_upload()
