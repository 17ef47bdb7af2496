"""A large upload whose process says who it is, so that a test can kill it."""

from __future__ import annotations

import os
from datetime import datetime, timedelta
from pathlib import Path

from airflow.sdk import dag

from airflow_provider_workbench.operators.workbench import WorkbenchUploadOperator


class SaysItsProcess(WorkbenchUploadOperator):
    def execute(self, context):
        Path(f"{self.filepath}.pid").write_text(str(os.getpid()))
        return super().execute(context)


@dag(schedule=None, start_date=datetime(2026, 1, 1), catchup=False)
def slow_upload():
    SaysItsProcess(
        task_id="upload",
        filepath="{{ dag_run.conf['filepath'] }}",
        retries=1,
        retry_delay=timedelta(seconds=1),
    )


slow_upload()
