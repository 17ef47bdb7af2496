"""Waits in the triggerer for a File that somebody uploads."""

from __future__ import annotations

from datetime import datetime

from airflow.sdk import dag

from airflow_provider_workbench.sensors.workbench import WorkbenchFileSensor


@dag(schedule=None, start_date=datetime(2026, 1, 1), catchup=False)
def wait_for_file():
    WorkbenchFileSensor(
        task_id="wait",
        filename="{{ dag_run.conf['filename'] }}",
        since="any",
        until="rendered",
        deferrable=True,
        timeout=300,
    )


wait_for_file()
