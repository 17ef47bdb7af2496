"""1,000 triggers that wait for a File, in a real triggerer: reaction, sockets, requests, memory, idle CPU.

Ours (one websocket per Workflow) beside a poller (one page GET per waiter every 5 s) and triggers that do nothing (what
Airflow itself costs). The reaction is counted from the File's ``createdAt``, which the sandbox takes just before it
pushes, to the trigger's event. Run it with ``make bench-waiting``.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "benchmarks")]

import psutil  # noqa: E402
from airflow_standalone import airflow_environment, make_database  # noqa: E402
from report import Table  # noqa: E402

from airflow_provider_workbench.client.settings import Settings  # noqa: E402
from airflow_provider_workbench.client.upload import upload_file  # noqa: E402
from airflow_provider_workbench.sandbox import Sandbox, Step  # noqa: E402

WAITERS = int(os.environ.get("WAITERS", "1000"))
IDLE_SECONDS = 20.0
START_SECONDS = 120.0
FIRE_SECONDS = 60.0


@dataclass
class Seen:
    """What one triggerer showed.

    :ivar memory: resident bytes of the process that runs the triggers. It is forked from another, so its private bytes
        would also grow by each of Airflow's pages that it touches
    :ivar cpu: of one core, while all wait
    :ivar sockets: websockets that are open while all wait
    :ivar requests: that the frontend gets per second while all wait
    :ivar reactions: seconds, sorted
    """

    memory: int
    cpu: float = 0.0
    sockets: int = 0
    requests: float = 0.0
    reactions: tuple[float, ...] = ()

    def percentile(self, percent: int) -> str:
        if not self.reactions:
            return "–"
        return f"{1000 * statistics.quantiles(self.reactions, n=100, method='inclusive')[percent - 1]:.0f} ms"


def measure(home: Path, wb: Sandbox, kind: str, waiters: int, workflows: int) -> Seen:
    """Let ``waiters`` triggers wait on Steps of ``workflows`` Workflows, idle, and fire."""
    wb.reset()
    steps = {}
    for number in range(workflows):
        steps[f"wb_{number}"] = wb.add_workflow(f"Workflow {number}", public=True).add_step()
    notes = home / "notes"
    notes.write_text("")
    _insert(kind, [f"wb_{number % workflows}" for number in range(waiters)])
    with _triggerer(home, notes, steps) as runner:
        _wait_for(notes, "runs", waiters, START_SECONDS)
        sockets = workflows if kind == "Pushed" else 0
        _until(lambda: wb.open_websockets == sockets, START_SECONDS)
        time.sleep(5)
        seen = Seen(memory=runner.memory_info().rss, sockets=wb.open_websockets)
        if waiters == 1:
            return seen
        wb.clear_requests()
        before, began = _cpu_seconds(runner), time.monotonic()
        time.sleep(IDLE_SECONDS)
        idle = time.monotonic() - began
        seen.cpu = (_cpu_seconds(runner) - before) / idle
        seen.requests = len(wb.requests) / idle
        if kind != "Idle":
            for step in steps.values():
                upload_file(
                    Settings.from_fields(step.create_file_url, step.api_token or ""), b"a\n1\n", filename="a.csv"
                )
            _wait_for(notes, "seen", waiters, FIRE_SECONDS)
            seen.reactions = tuple(sorted(_reactions(notes, steps)))
        return seen


def _insert(kind: str, conn_ids: list[str]) -> None:
    """Rows as a deferred task leaves them, but tied to an asset: that keeps a trigger alive without a task."""
    from airflow.models.asset import AssetModel, AssetWatcherModel
    from airflow.models.trigger import Trigger
    from airflow.utils.session import create_session

    deadline = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    with create_session() as session:
        for model in (AssetWatcherModel, AssetModel, Trigger):
            session.query(model).delete()
        asset = AssetModel(name="benchmark", uri="benchmark", group="asset", extra={})
        session.add(asset)
        triggers = [
            Trigger(
                f"timed_triggers.{kind}",
                {
                    "workbench_conn_id": conn_id,
                    "wanted": {"until": "selected", "name": "a.csv", "size": 4},
                    "deadline": deadline,
                    "poke_interval": 60.0,
                },
            )
            for conn_id in conn_ids
        ]
        session.add_all(triggers)
        session.flush()
        session.add_all(
            AssetWatcherModel(name=f"watcher {trigger.id}", asset_id=asset.id, trigger_id=trigger.id)
            for trigger in triggers
        )


@contextmanager
def _triggerer(home: Path, notes: Path, steps: dict[str, Step]) -> Iterator[psutil.Process]:
    """The process that runs the triggers: a child of ``airflow triggerer``."""
    env = {
        **os.environ,
        **{f"AIRFLOW_CONN_{conn_id.upper()}": step.connection_json() for conn_id, step in steps.items()},
        "BENCHMARK_NOTES": str(notes),
        "PYTHONPATH": str(ROOT / "benchmarks"),
    }
    with (home / "triggerer.log").open("ab") as log:
        main = subprocess.Popen(
            [sys.executable, "-m", "airflow", "triggerer", "--skip-serve-logs"],
            env=env,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    children: list[psutil.Process] = []
    try:
        _wait_for(notes, "runs", 1, START_SECONDS)
        children = psutil.Process(main.pid).children(recursive=True)
        yield max(children, key=lambda child: child.memory_info().rss)
    finally:
        main.terminate()
        psutil.wait_procs([psutil.Process(main.pid), *children], timeout=10)
        for child in children:
            if child.is_running():
                child.kill()
        main.kill()
        main.wait()


def _reactions(notes: Path, steps: dict[str, Step]) -> Iterator[float]:
    pushed = {conn_id: datetime.fromisoformat(step.files[0].created_at).timestamp() for conn_id, step in steps.items()}
    for line in notes.read_text().splitlines():
        what, conn_id, moment = line.split()
        if what == "seen":
            yield int(moment) / 1e9 - pushed[conn_id]


def _wait_for(notes: Path, what: str, count: int, seconds: float) -> None:
    _until(lambda: Counter(line.split()[0] for line in notes.read_text().splitlines())[what] >= count, seconds)


def _until(is_so: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds:g} s")
        time.sleep(0.2)


def _cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def main() -> None:
    home = Path(tempfile.mkdtemp(prefix="workbench-benchmark-"))
    os.environ.update(
        airflow_environment(home, home / "dags")
        | {
            "AIRFLOW__TRIGGERER__CAPACITY": str(WAITERS),
            "AIRFLOW__TRIGGERER__MAX_TRIGGER_TO_SELECT_PER_LOOP": str(WAITERS),
            "AIRFLOW__LOGGING__LOGGING_LEVEL": "WARNING",
        }
    )
    (home / "dags").mkdir()
    make_database(dict(os.environ))
    table = Table(
        f"{WAITERS:,} waiting triggers in a real triggerer",
        "subject",
        "Workflows",
        "p50",
        "p99",
        "sockets",
        "requests/s while waiting",
        "KB per trigger beyond the first",
        "idle CPU of a core",
    )
    try:
        with Sandbox() as wb:
            for kind, name, workflows in (
                ("Idle", "Airflow's own (does nothing)", 1),
                ("Pushed", "this provider", 1),
                ("Pushed", "this provider", min(100, WAITERS)),
                ("Poller", "a page GET per waiter every 5 s", 1),
            ):
                first = measure(home, wb, kind, 1, 1)
                seen = measure(home, wb, kind, WAITERS, workflows)
                table.row(
                    name,
                    workflows,
                    seen.percentile(50),
                    seen.percentile(99),
                    seen.sockets,
                    f"{seen.requests:.1f}",
                    f"{(seen.memory - first.memory) / (WAITERS - 1) / 1000:.1f}",
                    f"{100 * seen.cpu:.1f} %",
                )
    finally:
        shutil.rmtree(home, ignore_errors=True)
    table.save("waiting")


if __name__ == "__main__":
    main()
