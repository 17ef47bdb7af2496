"""Start a DAG whenever somebody uploads a File to the Step by hand. Airflow 3 only.

Needs the connection ``workbench_default``, with which the Step can be read: make the Workflow public, or put its
secret link into the connection. Nothing polls: the triggerer holds one websocket.
"""

from __future__ import annotations

from datetime import datetime

try:
    from airflow.sdk import Asset, AssetWatcher, dag, task
except ImportError:  # Airflow 2 has no asset watchers: there this file has no DAG
    AssetWatcher = None

from airflow_provider_workbench.triggers.workbench import WorkbenchFileEventTrigger

if AssetWatcher:
    new_file = Asset(
        "workbench_new_file",
        watchers=[
            AssetWatcher(
                name="uploads",
                trigger=WorkbenchFileEventTrigger(workbench_conn_id="workbench_default", filename="*.csv"),
            )
        ],
    )

    @dag(schedule=[new_file], start_date=datetime(2026, 1, 1), catchup=False, tags=["example", "workbench"])
    def example_workbench_on_new_file():
        """A run for each new File; Airflow may hand over several at once, so look at all events."""

        @task
        def say_which(triggering_asset_events=None) -> list[dict]:
            files = [event.extra["payload"] for event in triggering_asset_events[new_file]]
            for file in files:
                print(f"{file['name']}: {file['size']} bytes, uploaded {file['created_at']}, uuid {file['uuid']}")
            return files

        say_which()

    example_workbench_on_new_file()
