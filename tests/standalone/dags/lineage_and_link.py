"""Uploads on the worker, with a deferral, of what a function returns, and with a secret link that may be shown."""

from __future__ import annotations

from datetime import datetime

from airflow.sdk import AssetAlias, dag, task

from airflow_provider_workbench.operators.workbench import WorkbenchUploadOperator


@dag(schedule=None, start_date=datetime(2026, 1, 1), catchup=False)
def lineage_and_link():
    path = "{{ dag_run.conf['filepath'] }}"
    upload = WorkbenchUploadOperator(
        task_id="upload", filepath=path, wait_until="rendered", deferrable=False, poke_interval=1, wait_timeout=300
    )
    deferred = WorkbenchUploadOperator(
        task_id="deferred",
        filepath=path,
        filename="deferred.csv",
        wait_until="rendered",
        deferrable=True,
        wait_timeout=300,
    )
    shown = WorkbenchUploadOperator(
        task_id="shown", filepath=path, workbench_conn_id="workbench_shown", outlets=[AssetAlias("shown")]
    )

    @task.workbench_upload(filename="decorated.csv", wait_until="rendered", deferrable=True, wait_timeout=300)
    def decorated(filepath: str) -> str:
        return filepath

    upload >> [deferred, shown]
    # one after the other, since of two Files that come together only one is rendered
    deferred >> decorated(path)


lineage_and_link()
