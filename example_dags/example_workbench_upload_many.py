"""Upload several files to one Step, in TaskFlow style: one mapped task a file.

A Step uses one File, so of several only the last to finish ends up selected: wait for ``listed``. The Step keeps 30
Files and 2 GiB in all; older ones go.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from tempfile import mkdtemp

from airflow.providers.common.compat.sdk import dag, get_current_context, task

from airflow_provider_workbench.operators.workbench import WorkbenchUploadOperator
from airflow_provider_workbench.sensors.workbench import WorkbenchFileSensor


@dag(schedule=None, start_date=datetime(2026, 1, 1), catchup=False, max_active_runs=1, tags=["example", "workbench"])
def example_workbench_upload_many():
    """Three files; operator and sensor, both mapped."""

    @task
    def write_regions() -> list[str]:
        folder = Path(mkdtemp(prefix="regions-"))
        paths = []
        for region in ("north", "south", "west"):
            path = folder / f"{region}.csv"
            path.write_text(f"region,month,sold\n{region},2026-01,12\n{region},2026-02,15\n")
            paths.append(str(path))
        return paths

    @task(trigger_rule="all_done")
    def remove(paths: list[str]) -> None:
        for path in paths:
            Path(path).unlink(missing_ok=True)

    @task
    def say_what_arrived(files: list[dict]) -> None:
        log = get_current_context()["task"].log
        for file in files:
            log.info("%s: %s bytes, uuid %s", file["name"], file["size"], file["uuid"])

    paths = write_regions()
    uploads = WorkbenchUploadOperator.partial(task_id="upload").expand(filepath=paths)
    seen = WorkbenchFileSensor.partial(
        task_id="wait_until_listed", until="listed", deferrable=True, poke_interval=5, timeout=600
    ).expand(upload=uploads.output)
    say_what_arrived(seen.output)
    uploads >> remove(paths)


example_workbench_upload_many()
