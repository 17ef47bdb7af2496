"""Uploads on the worker, with a deferral, and with a connection of which people may see the secret link."""

from __future__ import annotations

from datetime import datetime

from airflow.sdk import AssetAlias, dag

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
    upload >> [deferred, shown]


lineage_and_link()
