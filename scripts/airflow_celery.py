"""An Airflow 3 of several machines, all of them this one: PostgreSQL, Redis, and Celery workers that share no disk.

Each worker has a host name, a process table and a disk of its own, by Linux's namespaces: what one writes below
``AirflowCelery.disk`` the other does not see, and ending one ends all that it started, as a power cut would::

    with AirflowCelery(home="/tmp/airflow", dags_folder="dags") as cluster:
        run_id = cluster.airflow.trigger("many_machines")
        cluster.airflow.wait_for_run("many_machines", run_id)

Needs Linux, and root or user namespaces; PostgreSQL and Redis (see ``machine_services``); the ``dev`` extra.
"""

from __future__ import annotations

import contextlib
import glob
import json
import os
import shlex
import subprocess
from pathlib import Path
from typing import Self

from airflow_standalone import AIRFLOW, COMPONENTS, AirflowStandalone
from machine_services import Services
from processes import Command, until

WORKERS = ("worker-one", "worker-two")
COMMON_QUEUE = "default"
START_TIMEOUT = 300
WORKER_TIMEOUT = 180
# seconds after which the scheduler takes a task for dead whose worker says nothing
HEARTBEAT_TIMEOUT = 20


class AirflowCelery:
    """Each of ``WORKERS`` takes tasks from ``COMMON_QUEUE``, and from a queue that is called as it is.

    Airflow's connection ``s3`` is an S3 server that forgets everything with the context.

    :param home: made if missing and left behind
    :param dags_folder: where the DAGs are; every machine sees it
    :param env: more environment variables for Airflow
    """

    def __init__(
        self, *, home: str | os.PathLike[str], dags_folder: str | os.PathLike[str], env: dict[str, str] | None = None
    ) -> None:
        self.home = Path(home).resolve()
        self.home.mkdir(parents=True, exist_ok=True)
        self.disk = self.home / "disk"
        """A path that leads each worker to its own disk."""
        self.services = Services(self.home)
        urls = self.services
        s3 = {"conn_type": "aws", "login": "test", "password": "test"}
        s3_extra = {"endpoint_url": urls.s3_url, "region_name": "us-east-1"}
        self.airflow = AirflowStandalone(
            home=self.home / "airflow",
            dags_folder=dags_folder,
            start_timeout=START_TIMEOUT,
            components=(*COMPONENTS, *map(self._worker, WORKERS)),
            env={
                "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor",
                "AIRFLOW__CORE__HOSTNAME_CALLABLE": "socket.gethostname",
                "AIRFLOW__CORE__PARALLELISM": "8",
                "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": urls.postgres_url,
                "AIRFLOW__CELERY__BROKER_URL": urls.redis_url,
                "AIRFLOW__CELERY__RESULT_BACKEND": f"db+{urls.postgres_url}",
                "AIRFLOW__CELERY__WORKER_CONCURRENCY": "2",
                "AIRFLOW__OPERATORS__DEFAULT_QUEUE": COMMON_QUEUE,
                "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "2",
                "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": str(HEARTBEAT_TIMEOUT),
                "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "2",
                "AIRFLOW_CONN_S3": json.dumps({**s3, "extra": s3_extra}),
                **(env or {}),
            },
        )
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        check_namespaces()
        self.disk.mkdir()
        for worker in WORKERS:
            for folder in ("tmp", "work", "airflow"):
                (self.disk_of(worker) / folder).mkdir(parents=True)
        with contextlib.ExitStack() as stack:
            stack.enter_context(self.services)
            stack.enter_context(self.airflow)
            self.wait_for_workers()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stack.close()

    @property
    def ports(self) -> list[int]:
        """Where something of it listens."""
        return [*self.services.ports.values(), int(self.airflow.url.rpartition(":")[2])]

    def disk_of(self, worker: str) -> Path:
        """Where to look at a worker's disk from outside."""
        return self.home / "disks" / worker

    def kill(self, worker: str) -> None:
        """End a worker and all that it started, as a power cut would."""
        self.airflow.kill(worker)

    def start(self, worker: str) -> None:
        """Start a worker that was killed, and wait until it takes tasks. Its disk is as it was."""
        self.airflow.start(worker)
        self.wait_for_workers()

    def wait_for_workers(self) -> None:
        """Until all of them answer to Celery."""
        from celery import Celery

        with Celery(broker=self.services.redis_url) as app:
            names: set[str] = set()
            for _ in until(WORKER_TIMEOUT):
                self.airflow.processes.check()
                names = {name for answer in app.control.ping(timeout=1) for name in answer}
                if names >= {f"celery@{worker}" for worker in WORKERS}:
                    return
        raise TimeoutError(f"After {WORKER_TIMEOUT} s only {names}\n{self.airflow.log_tail()}")

    def task_log(self, worker: str, dag_id: str, run_id: str, task_id: str, try_number: int = 1) -> str:
        """What a try said on this worker, from its disk; empty if it was not there."""
        logs = self.disk_of(worker) / "airflow" / "logs"
        log = logs / f"dag_id={dag_id}" / f"run_id={run_id}" / f"task_id={task_id}" / f"attempt={try_number}.log"
        return log.read_text(errors="replace") if log.exists() else ""

    def task_logs(self, dag_id: str, run_id: str) -> str:
        """What all tries of a run's tasks said, on all workers."""
        logs = self.home.glob(f"disks/*/airflow/logs/dag_id={dag_id}/run_id={glob.escape(run_id)}/*/*.log")
        return "\n".join(f"--- {log.relative_to(self.home)}\n{log.read_text(errors='replace')}" for log in sorted(logs))

    def _worker(self, name: str) -> Command:
        environment = {
            "TMPDIR": str(self.disk / "tmp"),
            "AIRFLOW_HOME": str(self.disk / "airflow"),
        }
        worker = [*AIRFLOW, "celery", "worker", "--skip-serve-logs", "--without-gossip", "--without-mingle"]
        worker += ["--queues", f"{name},{COMMON_QUEUE}", "--celery-hostname", f"celery@{name}"]
        script = " && ".join(
            shlex.join(command)
            for command in (
                ["hostname", name],
                ["mount", "--bind", str(self.disk_of(name)), str(self.disk)],
                ["cd", str(self.disk / "work")],
                ["exec", "env", *(f"{key}={value}" for key, value in environment.items()), *worker],
            )
        )
        return Command(name, (*_own_machine(), "--kill-child", "sh", "-c", script), nice=5)


def check_namespaces() -> None:
    """:raises RuntimeError: a worker cannot have a host name and a disk of its own here."""
    command = [*_own_machine(), "hostname", "worker"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"This needs Linux's namespaces (try it as root): {shlex.join(command)}: {done.stdout}")


def _own_machine() -> list[str]:
    as_root = [] if os.getuid() == 0 else ["--user", "--map-root-user"]
    return ["unshare", *as_root, "--mount", "--mount-proc", "--uts", "--pid", "--fork"]
