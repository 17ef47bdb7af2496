"""One task that uploads a file, waits until Workbench has made a table of it, and counts its rows.

What Workbench rendered is held against what the task before wrote: a header taken for a row, or a file cut short,
fails the task here and not in somebody's report. A retry of the task uploads nothing twice (Airflow 3.3 and later).
"""

from __future__ import annotations

import csv
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import mkdtemp

from airflow.providers.common.compat.sdk import dag, task

from airflow_provider_workbench.operators.workbench import WorkbenchUploadOperator


@dag(schedule=None, start_date=datetime(2026, 1, 1), catchup=False, max_active_runs=1, tags=["example", "workbench"])
def example_workbench_wait():
    """Operator alone, with ``wait_until`` and ``expected_rows``."""

    @task(multiple_outputs=True)
    def write_stock() -> dict:
        path = Path(mkdtemp(prefix="stock-")) / "stock.csv"
        stock = [("apples", 12), ("pears", 0), ("plums", 31)]
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([("product", "left"), *stock])
        return {"path": str(path), "rows": len(stock)}

    stock = write_stock()
    WorkbenchUploadOperator(
        task_id="upload_and_wait",
        filepath=stock["path"],
        wait_until="rendered",
        expected_rows=stock["rows"],
        expected_columns=2,
        deferrable=True,
        poke_interval=5,
        wait_timeout=timedelta(minutes=10),
        retries=2,
    )


example_workbench_wait()
