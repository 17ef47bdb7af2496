"""One worker writes, another uploads, the triggerer waits."""

from __future__ import annotations

from datetime import datetime

from airflow.sdk import ObjectStoragePath, dag, task

from airflow_provider_workbench.operators.workbench import WorkbenchUploadOperator
from airflow_provider_workbench.sensors.workbench import WorkbenchFileSensor


@dag(schedule=None, start_date=datetime(2026, 1, 1), catchup=False)
def across_machines():
    @task(queue="worker-one")
    def write(rows: str) -> str:
        with ObjectStoragePath("s3://s3@deliveries/sales.csv").open("w") as file:
            file.write("city,sold\n")
            file.writelines(f"Bergen,{number}\n" for number in range(int(rows)))
        return "s3://s3@deliveries/sales.csv"

    uploaded = WorkbenchUploadOperator(
        task_id="upload", queue="worker-two", filepath=write(rows="{{ dag_run.conf['rows'] }}"), filename="first.csv"
    )
    seen = WorkbenchFileSensor(
        task_id="wait", queue="worker-one", upload=uploaded.output, until="rendered", deferrable=True
    )
    again = WorkbenchUploadOperator(
        task_id="upload_and_wait",
        queue="worker-two",
        filepath="s3://deliveries/sales.csv",
        source_conn_id="s3",
        wait_until="rendered",
        deferrable=True,
    )
    seen >> again


across_machines()
