"""A real Airflow on loopback for a demo or a test: scheduler, triggerer, DAG processor, API server and UI.

Standard library only, Airflow 3. Everything it starts and writes is gone when the context ends::

    with AirflowStandalone(home="/tmp/airflow", dags_folder="example_dags") as airflow:
        run_id = airflow.trigger("example_workbench_upload")
        run = airflow.wait_for_run("example_workbench_upload", run_id)
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self
from urllib.error import HTTPError, URLError
from urllib.parse import quote
from urllib.request import Request, urlopen

COMPONENTS = ("metadatabase", "scheduler", "triggerer", "dag_processor")


class AirflowStandalone:
    """Runs ``airflow standalone`` with LocalExecutor on SQLite, in a process group of its own.

    :param home: AIRFLOW_HOME, made if missing; logs go to ``home/standalone.log``. Not removed at the end.
    :param dags_folder: where the DAGs are.
    :param env: more environment variables for Airflow, such as ``AIRFLOW_CONN_WORKBENCH_DEFAULT``.
    :param start_timeout: seconds until every component must be healthy.
    """

    def __init__(
        self,
        *,
        home: str | os.PathLike[str],
        dags_folder: str | os.PathLike[str],
        env: dict[str, str] | None = None,
        start_timeout: float = 180,
    ) -> None:
        self.home = Path(home).resolve()
        self.dags_folder = Path(dags_folder).resolve()
        self.env = dict(env or {})
        self.start_timeout = start_timeout
        self.log_file = self.home / "standalone.log"
        self.url = ""
        self.token = ""
        self._process: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    # --- starting and ending

    def start(self) -> None:
        self.home.mkdir(parents=True, exist_ok=True)
        api, worker_logs, trigger_logs = _free_ports(3)
        self.url = f"http://127.0.0.1:{api}"
        self._log = self.log_file.open("ab")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "airflow", "standalone"],
            env=self._environment(api, worker_logs, trigger_logs),
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._wait_until_healthy()
        self.token = self.get("/auth/token")["access_token"]

    def stop(self) -> None:
        """End every process that was started. A SIGTERM to ``airflow standalone`` alone leaves its children."""
        if self._process is not None:
            for signum, seconds in ((signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0)):
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self._process.pid, signum)
                if self._group_ended(seconds):
                    break
            self._process = None
        if self._log is not None:
            self._log.close()
            self._log = None

    def log_tail(self, lines: int = 40) -> str:
        return "\n".join(self.log_file.read_text(errors="replace").splitlines()[-lines:])

    def _environment(self, api: int, worker_logs: int, trigger_logs: int) -> dict[str, str]:
        inherited = {
            key: value for key, value in os.environ.items() if not key.startswith(("AIRFLOW", "_AIRFLOW"))
        }
        settings = {
            "AIRFLOW_HOME": str(self.home),
            "AIRFLOW__CORE__DAGS_FOLDER": str(self.dags_folder),
            "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
            "AIRFLOW__CORE__PARALLELISM": "4",
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self.url}/execution/",
            "AIRFLOW__CORE__FERNET_KEY": base64.urlsafe_b64encode(os.urandom(32)).decode(),
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__PORT": str(api),
            "AIRFLOW__API__BASE_URL": self.url,
            "AIRFLOW__API__WORKERS": "1",
            "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(worker_logs),
            "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(trigger_logs),
            "AIRFLOW__SCHEDULER__ENABLE_HEALTH_CHECK": "False",
            "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
            # `airflow standalone` looks for `airflow` there
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), inherited.get("PATH", os.defpath)]),
            "PYTHONUNBUFFERED": "1",
            "NO_COLOR": "1",
        }
        return inherited | settings | self.env

    def _wait_until_healthy(self) -> None:
        deadline = time.monotonic() + self.start_timeout
        health: Any = None
        while time.monotonic() < deadline:
            assert self._process is not None
            if self._process.poll() is not None:
                raise RuntimeError(f"airflow standalone ended:\n{self.log_tail()}")
            with contextlib.suppress(URLError, OSError):
                health = self.get("/api/v2/monitor/health")
                if all((health.get(name) or {}).get("status") == "healthy" for name in COMPONENTS):
                    return
            time.sleep(0.3)
        raise TimeoutError(
            f"Airflow is not healthy after {self.start_timeout:g} s: {health}\n{self.log_tail()}"
        )

    def _group_ended(self, seconds: float) -> bool:
        assert self._process is not None
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self._process.poll()  # or it stays as a zombie of ours, which keeps the group alive
            try:
                os.killpg(self._process.pid, 0)
            except ProcessLookupError:
                return True
            time.sleep(0.05)
        return False

    # --- its REST API

    def get(self, path: str) -> Any:
        return self._request("GET", path)

    def post(self, path: str, body: dict[str, Any]) -> Any:
        return self._request("POST", path, body)

    def patch(self, path: str, body: dict[str, Any]) -> Any:
        return self._request("PATCH", path, body)

    def wait_for_dag(self, dag_id: str, timeout: float = 60) -> None:
        """Until the DAG processor has read the DAG; an import error ends the wait."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            try:
                self.get(f"/api/v2/dags/{quote(dag_id)}")
            except HTTPError as error:
                if error.code != 404:
                    raise
            else:
                return
            if errors := self.get("/api/v2/importErrors")["import_errors"]:
                raise RuntimeError("\n".join(f"{e['filename']}:\n{e['stack_trace']}" for e in errors))
            time.sleep(0.3)
        raise TimeoutError(f"No DAG {dag_id!r} after {timeout:g} s in {self.dags_folder}")

    def unpause(self, dag_id: str) -> None:
        self.patch(f"/api/v2/dags/{quote(dag_id)}", {"is_paused": False})

    def trigger(self, dag_id: str, conf: dict[str, Any] | None = None) -> str:
        """Start a run of the DAG, waiting for the DAG and unpausing it first. Returns the run id."""
        self.wait_for_dag(dag_id)
        self.unpause(dag_id)
        run = self.post(f"/api/v2/dags/{quote(dag_id)}/dagRuns", {"logical_date": None, "conf": conf or {}})
        return str(run["dag_run_id"])

    def wait_for_run(self, dag_id: str, run_id: str, timeout: float = 180) -> dict[str, Any]:
        """Until the run has succeeded or failed; returns the run as the API shows it."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            run: dict[str, Any] = self.get(_run_path(dag_id, run_id))
            if run["state"] in ("success", "failed"):
                return run
            time.sleep(0.3)
        states = {ti["task_id"]: ti["state"] for ti in self.task_instances(dag_id, run_id)}
        raise TimeoutError(f"Run {run_id} of {dag_id} is not done after {timeout:g} s: {states}")

    def task_instances(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        instances: list[dict[str, Any]] = self.get(f"{_run_path(dag_id, run_id)}/taskInstances")[
            "task_instances"
        ]
        return instances

    def xcom(
        self, dag_id: str, run_id: str, task_id: str, key: str = "return_value", map_index: int = -1
    ) -> Any:
        path = f"{_task_path(dag_id, run_id, task_id)}/xcomEntries/{quote(key)}"
        return self.get(f"{path}?map_index={map_index}&deserialize=true")["value"]

    def task_log(self, dag_id: str, run_id: str, task_id: str, try_number: int = 1, map_index: int = -1) -> str:
        path = f"{_task_path(dag_id, run_id, task_id)}/logs/{try_number}"
        content = self.get(f"{path}?map_index={map_index}&full_content=true")["content"]
        return "\n".join(entry if isinstance(entry, str) else _log_line(entry) for entry in content)

    def _request(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        headers = {"Accept": "application/json", "Content-Type": "application/json"}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        data = None if body is None else json.dumps(body).encode()
        with urlopen(Request(self.url + path, data, headers, method=method), timeout=30) as response:
            return json.load(response)


def _run_path(dag_id: str, run_id: str) -> str:
    return f"/api/v2/dags/{quote(dag_id)}/dagRuns/{quote(run_id, safe='')}"


def _task_path(dag_id: str, run_id: str, task_id: str) -> str:
    return f"{_run_path(dag_id, run_id)}/taskInstances/{quote(task_id)}"


def _log_line(entry: dict[str, Any]) -> str:
    line = " ".join(str(entry[key]) for key in ("timestamp", "level", "event") if entry.get(key))
    for error in entry.get("error_detail") or ():
        line += f"\n{error['exc_type']}: {error['exc_value']}"
    return line


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]
    finally:
        for each in sockets:
            each.close()
