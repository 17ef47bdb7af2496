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
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self
from urllib.error import HTTPError, URLError
from urllib.parse import quote
from urllib.request import Request, urlopen

# Everything waits for the API server, which needs 25 s of one core to start: the others let it go first.
COMPONENTS: tuple[tuple[Any, ...], ...] = (
    (0, "api-server"),
    (10, "scheduler", "--skip-serve-logs"),
    (10, "dag-processor"),
    (15, "triggerer", "--skip-serve-logs"),
)
HEALTHY = ("metadatabase", "scheduler", "dag_processor", "triggerer")


class AirflowStandalone:
    """Everything it starts ends with the context, and also when this process is killed.

    :param home: AIRFLOW_HOME, made if missing and left behind; all output goes to ``home/airflow.log``
    :param dags_folder: where the DAGs are
    :param env: more environment variables for Airflow, such as ``AIRFLOW_CONN_WORKBENCH_DEFAULT``
    :param wait_for: the components that must be healthy before the context is entered
    :param start_timeout: seconds that this may take
    """

    def __init__(
        self,
        *,
        home: str | os.PathLike[str],
        dags_folder: str | os.PathLike[str],
        env: dict[str, str] | None = None,
        wait_for: tuple[str, ...] = HEALTHY,
        start_timeout: float = 180,
    ) -> None:
        self.home = Path(home).resolve()
        self.dags_folder = Path(dags_folder).resolve()
        self.log_file = self.home / "airflow.log"
        port = _free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.env = airflow_environment(self.home, self.dags_folder) | {
            "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
            "AIRFLOW__CORE__PARALLELISM": "4",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self.url}/execution/",
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__PORT": str(port),
            "AIRFLOW__API__BASE_URL": self.url,
            "AIRFLOW__API__WORKERS": "1",
            "AIRFLOW__API__SECRET_KEY": _random_key(),
            "AIRFLOW__API_AUTH__JWT_SECRET": _random_key(),
            # a killed triggerer's triggers are taken over after so many seconds
            "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "2",
            "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "10",
            **(env or {}),
        }
        self._wait_for = wait_for
        self._start_timeout = start_timeout
        self._launcher: subprocess.Popen[bytes] | None = None
        self._token = ""

    def __enter__(self) -> Self:
        make_database(self.env)
        with self.log_file.open("ab") as log:
            self._launcher = subprocess.Popen(
                [sys.executable, __file__],
                env=self.env,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            self._wait_until_healthy()
            self._token = self.get("/auth/token")["access_token"]
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def stop(self) -> None:
        if self._launcher is not None and self._launcher.stdin is not None:
            self._launcher.stdin.close()  # the launcher ends everything when it sees this
            self._launcher.wait(timeout=30)
            self._launcher = None

    def kill(self, component: str) -> None:
        """End one of ``COMPONENTS``, and what it started, as a power cut would. It stays away until :meth:`start`."""
        self._tell(f"kill {component}", lambda: not _running(self.home, component).exists())

    def start(self, component: str) -> None:
        """Start a component that was killed. It needs some ten seconds to be at work."""
        self._tell(f"start {component}", _running(self.home, component).exists)

    def _tell(self, order: str, is_done: Callable[[], bool]) -> None:
        assert self._launcher is not None
        assert self._launcher.stdin is not None
        self._launcher.stdin.write(f"{order}\n".encode())
        self._launcher.stdin.flush()
        for _ in _until(20, pause=0.1):
            if is_done():
                return
        raise TimeoutError(f"{order}: not done\n{self.log_tail()}")

    def log_tail(self, lines: int = 40) -> str:
        return "\n".join(self.log_file.read_text(errors="replace").splitlines()[-lines:])

    def _wait_until_healthy(self) -> None:
        health: Any = None
        for _ in _until(self._start_timeout):
            assert self._launcher is not None
            if self._launcher.poll() is not None:
                raise RuntimeError(f"A part of Airflow ended:\n{self.log_tail()}")
            with contextlib.suppress(URLError, OSError):
                self.get("/execution/health")  # the first answer takes 6 s: better now than in the first task
                health = self.get("/api/v2/monitor/health")
                if all((health.get(name) or {}).get("status") == "healthy" for name in self._wait_for):
                    return
        raise TimeoutError(f"Not healthy after {self._start_timeout:g} s: {health}\n{self.log_tail()}")

    # --- its REST API

    def get(self, path: str) -> Any:
        return self.request("GET", path)

    def post(self, path: str, body: dict[str, Any]) -> Any:
        return self.request("POST", path, body)

    def request(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """What the API answers to this, from JSON. ``urllib.error.HTTPError`` unless it is 2xx."""
        headers = {"Accept": "application/json", "Content-Type": "application/json"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        data = None if body is None else json.dumps(body).encode()
        with urlopen(Request(self.url + path, data, headers, method=method), timeout=60) as response:
            return json.loads(response.read() or b"null")

    def unpause(self, dag_id: str, timeout: float = 90) -> None:
        """Waits until the DAG processor has read the DAG. An import error ends the wait."""
        for _ in _until(timeout):
            try:
                self.request("PATCH", f"/api/v2/dags/{quote(dag_id)}", {"is_paused": False})
            except HTTPError as error:
                if error.code != 404:
                    raise
            else:
                return
            if errors := self.get("/api/v2/importErrors")["import_errors"]:
                raise RuntimeError("\n".join(f"{e['filename']}:\n{e['stack_trace']}" for e in errors))
        raise TimeoutError(f"No DAG {dag_id!r} in {self.dags_folder} after {timeout:g} s")

    def trigger(self, dag_id: str, conf: dict[str, Any] | None = None) -> str:
        """Start a run, unpausing the DAG first. Returns the run id."""
        self.unpause(dag_id)
        run = self.post(f"/api/v2/dags/{quote(dag_id)}/dagRuns", {"logical_date": None, "conf": conf or {}})
        return str(run["dag_run_id"])

    def wait_for_run(self, dag_id: str, run_id: str, timeout: float = 180) -> dict[str, Any]:
        """Until the run has succeeded or failed. Returns it as the API shows it."""
        for _ in _until(timeout):
            run: dict[str, Any] = self.get(_run_path(dag_id, run_id))
            if run["state"] in ("success", "failed"):
                return run
        states = {ti["task_id"]: ti["state"] for ti in self.task_instances(dag_id, run_id)}
        raise TimeoutError(f"Run {run_id} of {dag_id} is not done after {timeout:g} s: {states}")

    def task_instances(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        answer = self.get(f"{_run_path(dag_id, run_id)}/taskInstances")
        return list(answer["task_instances"])

    def xcom(self, dag_id: str, run_id: str, task_id: str, key: str = "return_value", map_index: int = -1) -> Any:
        path = f"{_run_path(dag_id, run_id)}/taskInstances/{quote(task_id)}/xcomEntries/{quote(key)}"
        return self.get(f"{path}?map_index={map_index}&deserialize=true")["value"]

    def task_log(self, dag_id: str, run_id: str, task_id: str, try_number: int = 1, map_index: int = -1) -> str:
        path = f"{_run_path(dag_id, run_id)}/taskInstances/{quote(task_id)}/logs/{try_number}"
        content = self.get(f"{path}?map_index={map_index}&full_content=true")["content"]
        return "\n".join(entry if isinstance(entry, str) else _log_line(entry) for entry in content)


def airflow_environment(home: Path, dags_folder: Path) -> dict[str, str]:
    """This process's environment without its own Airflow settings, and with what a throw-away Airflow needs."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("AIRFLOW", "_AIRFLOW"))}
    return inherited | {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(dags_folder),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__FERNET_KEY": _random_key(),
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        "NO_COLOR": "1",
    }


def make_database(env: dict[str, str]) -> None:
    """``airflow db migrate``, or a copy of what it made the first time: it takes ten seconds."""
    home = Path(env["AIRFLOW_HOME"])
    home.mkdir(parents=True, exist_ok=True)
    database = home / "airflow.db"
    kept = Path(sys.prefix) / f"airflow-{version('apache-airflow')}.db"
    if kept.exists() and not database.exists():
        shutil.copy(kept, database)
    elif not database.exists():
        command = [sys.executable, "-m", "airflow", "db", "migrate"]
        done = subprocess.run(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        if done.returncode:
            raise RuntimeError(f"airflow db migrate failed:\n{done.stdout.decode(errors='replace')}")
        with contextlib.suppress(OSError):
            half_done = kept.with_suffix(f".{os.getpid()}")
            shutil.copy(database, half_done)
            half_done.replace(kept)


def _run_path(dag_id: str, run_id: str) -> str:
    return f"/api/v2/dags/{quote(dag_id)}/dagRuns/{quote(run_id, safe='')}"


def _log_line(entry: dict[str, Any]) -> str:
    line = " ".join(str(entry[key]) for key in ("timestamp", "level", "event") if entry.get(key))
    errors = entry.get("error_detail") or []
    return "\n".join([line, *(f"{error['exc_type']}: {error['exc_value']}" for error in errors)])


def _until(seconds: float, pause: float = 0.3) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        yield
        time.sleep(pause)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _random_key() -> str:
    return base64.urlsafe_b64encode(os.urandom(32)).decode()


# --- the launcher: leads the session in which all of Airflow's processes are


def _launch() -> None:
    """Run the components until one of them ends or standard input closes, then end the whole session.

    Lines on standard input kill and start one: a component that was killed so is not one that ended.
    """
    home = Path(os.environ["AIRFLOW_HOME"])
    commands = {command[0]: (nice, command) for nice, *command in COMPONENTS}
    running = {name: _start(*command) for name, command in commands.items()}
    started = list(running.values())
    for name in running:
        _running(home, name).touch()
    while all(each.poll() is None for each in running.values()):
        if not select.select([0], [], [], 0.5)[0]:
            continue
        if not (orders := os.read(0, 4096)):
            break
        for order, name in (line.split() for line in orders.decode().splitlines()):
            if order == "kill":
                killed = running.pop(name)
                os.killpg(killed.pid, signal.SIGKILL)
                killed.wait()
                _running(home, name).unlink()
            else:
                running[name] = _start(*commands[name])
                started.append(running[name])
                _running(home, name).touch()
    # Airflow's tasks have process groups of their own: only the session holds all of them.
    for signum in (signal.SIGTERM, signal.SIGKILL):
        for pid in _session():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signum)
        for _ in _until(2, pause=0.1):
            for each in started:
                each.poll()
            if not _session():
                return


def _start(nice: int, command: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "airflow", *command],
        stdin=subprocess.DEVNULL,
        preexec_fn=partial(os.nice, nice),
        process_group=0,  # what it starts can be killed with it
    )


def _running(home: Path, name: str) -> Path:
    """Is there while the component is meant to run."""
    return home / f"{name}.running"


def _session() -> list[int]:
    """The other processes of this session."""
    if os.path.isdir("/proc/self"):
        names = os.listdir("/proc")
    else:
        names = subprocess.run(["ps", "-A", "-o", "pid="], capture_output=True, text=True).stdout.split()
    found = []
    for pid in (int(name) for name in names if name.isdecimal()):
        with contextlib.suppress(OSError):
            if os.getsid(pid) == os.getsid(0) and pid != os.getpid():
                found.append(pid)
    return found


if __name__ == "__main__":
    _launch()
