"""One task that uploads and waits, for a few seconds a try."""

from __future__ import annotations

from datetime import datetime, timedelta

from airflow.sdk import dag

from airflow_provider_workbench.operators.workbench import WorkbenchUploadOperator


@dag(schedule=None, start_date=datetime(2026, 1, 1), catchup=False)
def upload_and_wait():
    WorkbenchUploadOperator(
        task_id="upload",
        filepath="{{ dag_run.conf['filepath'] }}",
        wait_until="rendered",
        expected_rows="{{ dag_run.conf['rows'] }}",
        deferrable=True,
        poke_interval=1,
        wait_timeout=3,
        retries=1,
        retry_delay=timedelta(seconds=1),
    )


upload_and_wait()
