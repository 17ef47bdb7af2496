"""An upload that either worker may take."""

from __future__ import annotations

from datetime import datetime, timedelta

from airflow.sdk import dag

from airflow_provider_workbench.operators.workbench import WorkbenchUploadOperator


@dag(schedule=None, start_date=datetime(2026, 1, 1), catchup=False)
def large_object():
    WorkbenchUploadOperator(
        task_id="upload",
        filepath="s3://s3@deliveries/large.csv",
        sha256=True,
        retries=1,
        retry_delay=timedelta(seconds=1),
    )


large_object()
