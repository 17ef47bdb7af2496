"""What the audit has happen. Which connection is to what is in the test."""

from __future__ import annotations

import os
import subprocess
from datetime import datetime, timedelta
from pathlib import Path

from airflow.sdk import AssetAlias, dag, get_current_context, task
from airflow.sdk.definitions.asset import Asset, AssetWatcher

from airflow_provider_workbench.hooks.workbench import WorkbenchHook
from airflow_provider_workbench.operators.workbench import WorkbenchUploadOperator
from airflow_provider_workbench.sensors.workbench import WorkbenchFileSensor
from airflow_provider_workbench.triggers.workbench import WorkbenchFileEventTrigger

FILES = os.environ["AUDIT_FILES"]
SMALL = f"{FILES}/small.csv"
LARGE = f"{FILES}/large.csv"
SOON = {"poke_interval": 1, "wait_timeout": 240}

delivered = AssetAlias("delivered")
new_file = Asset(
    "audited_new_file",
    watchers=[AssetWatcher(name="uploads", trigger=WorkbenchFileEventTrigger(workbench_conn_id="watched"))],
)
unreadable = Asset(
    "audited_unreadable",
    watchers=[AssetWatcher(name="uploads", trigger=WorkbenchFileEventTrigger(workbench_conn_id="page_echoed"))],
)


class SaysItsProcess(WorkbenchUploadOperator):
    def execute(self, context):
        Path(f"{FILES}/{self.task_id}.pid").write_text(str(os.getpid()))
        return super().execute(context)


def alone(dag_id, operator=WorkbenchUploadOperator, schedule=None, **arguments):
    """A DAG with one task, of the same name."""

    @dag(dag_id=dag_id, schedule=schedule, start_date=datetime(2026, 1, 1), catchup=False)
    def made():
        operator(task_id=dag_id, **arguments)

    made()


def waiting(dag_id, conn_id, **arguments):
    """A DAG with an upload that waits for a table."""
    arguments = {"filepath": SMALL, "wait_until": "rendered", "deferrable": False, **SOON, **arguments}
    alone(dag_id, workbench_conn_id=conn_id, **arguments)


# well
waiting("succeeds", "workbench_default", sha256=True, outlets=[delivered])
waiting("succeeds_over_tls", "tls", deferrable=True, wait_until="listed")
waiting("succeeds_with_secret_link", "secret_link")
waiting("upload_waits_deferred", "late_secret_link", deferrable=True)
alone(
    "sensor_waits_deferred",
    WorkbenchFileSensor,
    filename="somebody's.csv",
    since="any",
    until="rendered",
    workbench_conn_id="late_cookie",
    deferrable=True,
    timeout=240,
)
alone(
    "sensor_pokes",
    WorkbenchFileSensor,
    filename="somebody's.csv",
    since="any",
    until="listed",
    workbench_conn_id="late_cookie",
    deferrable=False,
    poke_interval=2,
    timeout=240,
)
# not well
alone("refused_before_sending", filepath=SMALL, filename="n" * 101 + ".csv")
alone("refused_at_the_finish", filepath=SMALL, workbench_conn_id="refused")
alone("wrong_token", filepath=SMALL, workbench_conn_id="wrong_token")
alone("odd_token", filepath=SMALL, workbench_conn_id="odd_token")
alone("outcome_unknown", filepath=SMALL, workbench_conn_id="unknown")
waiting("evidence_decides", "evidence", wait_until=None)
waiting("render_fails", "unrendered")
alone(
    "killed_and_resumed",
    SaysItsProcess,
    filepath=LARGE,
    workbench_conn_id="killed",
    retries=1,
    retry_delay=timedelta(seconds=1),
)
alone("times_out", filepath=LARGE, workbench_conn_id="slow", execution_timeout=timedelta(seconds=6))
alone("marked_failed", SaysItsProcess, filepath=LARGE, filename="marked.csv", workbench_conn_id="slow")
alone("tls_fails", filepath=SMALL, workbench_conn_id="self_signed")
alone(
    "sensor_tls_fails",
    WorkbenchFileSensor,
    filename="*",
    since="any",
    deferrable=True,
    timeout=20,
    workbench_conn_id="self_signed",
)
# what stands between, and repeats all that it was asked
alone("create_echoed", filepath=SMALL, workbench_conn_id="create_echoed")
alone("create_echoed_as_code", filepath=SMALL, workbench_conn_id="create_echoed_as_code")
alone("create_echoed_in_redirect", filepath=SMALL, workbench_conn_id="create_echoed_in_redirect")
alone("patch_echoed", filepath=SMALL, workbench_conn_id="patch_echoed")
waiting("page_echoed", "page_echoed")
waiting("websocket_echoed", "websocket_echoed", deferrable=True, poke_interval=2)


@dag(schedule=None, start_date=datetime(2026, 1, 1), catchup=False)
def mapped():
    WorkbenchUploadOperator.partial(task_id="upload", workbench_conn_id="workbench_default").expand(
        filepath=[SMALL, f"{FILES}/missing.csv"]
    )
    WorkbenchUploadOperator.partial(task_id="misfilled", filepath=SMALL).expand(
        workbench_conn_id=["misfilled_number", "misfilled_link", "misfilled_cookie"]
    )


@dag(schedule=None, start_date=datetime(2026, 1, 1), catchup=False)
def written_in_python():
    @task.workbench_upload(workbench_conn_id="secret_link", filename="decorated.csv", **SOON)
    def decorated():
        return b"A,B\n1,2\n"

    @task
    def shows_everything():
        hook = WorkbenchHook("secret_link")
        settings = hook.get_settings()
        result = hook.upload_file(SMALL, "by hook.csv", read_step=True)
        for each in (hook, settings, settings.endpoint, result, result.as_dict(), hook.get_step()):
            print(each, repr(each))
        hook.log.debug("%r", get_current_context())
        # what a task starts has its environment
        subprocess.run(["sleep", "2"], check=True)

    @task
    def through_a_proxy():
        os.environ["HTTP_PROXY"] = Path(f"{FILES}/proxy.txt").read_text()
        os.environ["NO_PROXY"] = ""
        WorkbenchHook("behind_a_proxy").upload_file(SMALL)

    decorated()
    shows_everything()
    through_a_proxy()


@dag(schedule=[delivered], start_date=datetime(2026, 1, 1), catchup=False)
def hears_of_delivery():
    @task
    def which(triggering_asset_events=None):
        return [str(event) for events in triggering_asset_events.values() for event in events]

    which()


@dag(schedule=[new_file], start_date=datetime(2026, 1, 1), catchup=False)
def hears_of_new_file():
    @task
    def which(triggering_asset_events=None):
        return [event.extra["payload"] for event in triggering_asset_events[new_file]]

    which()


@dag(schedule=[unreadable], start_date=datetime(2026, 1, 1), catchup=False)
def hears_nothing():
    @task
    def which():
        return None

    which()


mapped()
written_in_python()
hears_nothing()
hears_of_delivery()
hears_of_new_file()
