"""A real Airflow 3 on loopback, for a demo or a test: API server with UI, scheduler, DAG processor, triggerer.

These are the processes that ``airflow standalone`` runs, with LocalExecutor on SQLite. They are started here
one by one because ``airflow standalone`` cannot keep their log servers off other network interfaces, and
leaves processes behind when it is ended. Standard library only::

    with AirflowStandalone(home="/tmp/airflow", dags_folder="example_dags") as airflow:
        run_id = airflow.trigger("example_workbench_upload")
        run = airflow.wait_for_run("example_workbench_upload", run_id)
"""

from __future__ import annotations

import base64
import contextlib
import os
import shutil
import socket
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self
from urllib.error import URLError

from airflow_api import AirflowApi
from processes import Command, Processes, until

AIRFLOW = (sys.executable, "-m", "airflow")
# Everything waits for the API server, which needs 25 s of one core to start: the others let it go first.
COMPONENTS = (
    Command("api-server", (*AIRFLOW, "api-server")),
    Command("scheduler", (*AIRFLOW, "scheduler", "--skip-serve-logs"), nice=10),
    Command("dag-processor", (*AIRFLOW, "dag-processor"), nice=10),
    Command("triggerer", (*AIRFLOW, "triggerer", "--skip-serve-logs"), nice=15),
)
HEALTHY = ("metadatabase", "scheduler", "dag_processor", "triggerer")


class AirflowStandalone(AirflowApi):
    """Everything it starts ends with the context, and also when this process is killed.

    :param home: AIRFLOW_HOME, made if missing and left behind; all output goes to ``home/airflow.log``
    :param dags_folder: where the DAGs are
    :param env: more environment variables for Airflow, such as ``AIRFLOW_CONN_WORKBENCH_DEFAULT``
    :param wait_for: the components that must be healthy before the context is entered
    :param start_timeout: seconds that this may take
    :param components: the processes
    """

    def __init__(
        self,
        *,
        home: str | os.PathLike[str],
        dags_folder: str | os.PathLike[str],
        env: dict[str, str] | None = None,
        wait_for: tuple[str, ...] = HEALTHY,
        start_timeout: float = 180,
        components: tuple[Command, ...] = COMPONENTS,
    ) -> None:
        self.home = Path(home).resolve()
        self.dags_folder = Path(dags_folder).resolve()
        port = free_port()
        super().__init__(f"http://127.0.0.1:{port}")
        self.env = airflow_environment(self.home, self.dags_folder) | {
            "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
            "AIRFLOW__CORE__PARALLELISM": "4",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self.url}/execution/",
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__PORT": str(port),
            "AIRFLOW__API__BASE_URL": self.url,
            "AIRFLOW__API__WORKERS": "1",
            "AIRFLOW__API__SECRET_KEY": random_key(),
            "AIRFLOW__API_AUTH__JWT_SECRET": random_key(),
            # a killed triggerer's triggers are taken over after so many seconds
            "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "2",
            "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "10",
            **(env or {}),
        }
        self.processes = Processes(self.home, components, env=self.env, log_name="airflow.log")
        self.log_file = self.processes.log_file
        self._wait_for = wait_for
        self._start_timeout = start_timeout

    def __enter__(self) -> Self:
        make_database(self.env)
        with contextlib.ExitStack() as stack:
            stack.enter_context(self.processes)
            self._wait_until_healthy()
            self.log_in()
            stack.pop_all()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End it all."""
        self.processes.stop()

    def kill(self, component: str) -> None:
        """End one of its processes, and what it started, as a power cut would. It stays away until :meth:`start`."""
        self.processes.kill(component)

    def start(self, component: str) -> None:
        """Start a component that was killed. It needs some ten seconds to be at work."""
        self.processes.start(component)

    def log_tail(self, lines: int = 40) -> str:
        """The last of what all of them said."""
        return self.processes.log_tail(lines)

    def _wait_until_healthy(self) -> None:
        health: Any = None
        for _ in until(self._start_timeout):
            self.processes.check()
            with contextlib.suppress(URLError, OSError):
                self.get("/execution/health")  # the first answer takes 6 s: better now than in the first task
                health = self.get("/api/v2/monitor/health")
                if all((health.get(name) or {}).get("status") == "healthy" for name in self._wait_for):
                    return
        raise TimeoutError(f"Not healthy after {self._start_timeout:g} s: {health}\n{self.log_tail()}")


def airflow_environment(home: Path, dags_folder: Path) -> dict[str, str]:
    """This process's environment without its own Airflow settings, and with what a throw-away Airflow needs."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("AIRFLOW", "_AIRFLOW"))}
    return inherited | {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(dags_folder),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__FERNET_KEY": random_key(),
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        "NO_COLOR": "1",
    }


def make_database(env: dict[str, str]) -> None:
    """``airflow db migrate``; on SQLite a copy of what it made the first time, since it takes ten seconds."""
    home = Path(env["AIRFLOW_HOME"])
    home.mkdir(parents=True, exist_ok=True)
    if "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN" in env:
        _migrate(env)
        return
    database = home / "airflow.db"
    kept = Path(sys.prefix) / f"airflow-{version('apache-airflow')}.db"
    # whoever looked for a connection before has left an empty file
    is_there = database.exists() and database.stat().st_size > 0
    if kept.exists() and not is_there:
        shutil.copy(kept, database)
    elif not is_there:
        _migrate(env)
        with contextlib.suppress(OSError):
            half_done = kept.with_suffix(f".{os.getpid()}")
            shutil.copy(database, half_done)
            half_done.replace(kept)


def _migrate(env: dict[str, str]) -> None:
    command = [*AIRFLOW, "db", "migrate"]
    done = subprocess.run(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        raise RuntimeError(f"airflow db migrate failed:\n{done.stdout.decode(errors='replace')}")


def free_port() -> int:
    """On loopback."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def random_key() -> str:
    """Fit for Fernet."""
    return base64.urlsafe_b64encode(os.urandom(32)).decode()
