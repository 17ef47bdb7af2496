"""1,000 triggers that wait for a File, in a real triggerer: reaction, sockets, requests, memory, idle CPU.

Ours (one websocket per Workflow) beside a poller (one page GET per waiter every 5 s) and triggers that do nothing (what
Airflow itself costs). Each waits for a File of its own, and Files come one at a time; then all wait for the same File,
beside triggers that all fire at the same moment of the clock. The reaction is counted from the File's ``createdAt``,
which the sandbox takes just before it pushes, to the trigger's event. Run it with ``make bench-waiting``.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "benchmarks")]

import psutil  # noqa: E402
from airflow_standalone import airflow_environment, make_database  # noqa: E402
from report import Table  # noqa: E402

from airflow_provider_workbench.client.settings import Settings  # noqa: E402
from airflow_provider_workbench.client.upload import upload_file  # noqa: E402
from airflow_provider_workbench.sandbox import Sandbox, Step  # noqa: E402

WAITERS = int(os.environ.get("WAITERS", "1000"))
IDLE_SECONDS = 10.0
POLL_SECONDS = 5.0
LIMIT_SECONDS = 180.0
FILES = 100
# a Step keeps 30, and a poller looks late
FILES_FOR_POLLERS = 20


@dataclass
class Seen:
    """What one triggerer showed.

    :ivar grown: resident bytes of the process that runs the triggers, from the first trigger to all. It is forked from
        another, so its private bytes would also grow by each of Airflow's pages that it touches
    :ivar cpu: of one core, while all wait
    :ivar sockets: websockets that are open while all wait
    :ivar requests: that the frontend gets in :data:`IDLE_SECONDS` while all wait
    :ivar reactions: seconds, sorted
    """

    grown: int = 0
    cpu: float = 0.0
    sockets: int = 0
    requests: int = 0
    reactions: tuple[float, ...] = ()

    def percentile(self, percent: int) -> str:
        if not self.reactions:
            return "–"
        return f"{1000 * statistics.quantiles(self.reactions, n=100, method='inclusive')[percent - 1]:.0f} ms"


@dataclass
class Waiter:
    """A trigger: which connection it uses, and which File it waits for."""

    conn_id: str
    name: str


def measure(home: Path, wb: Sandbox, kind: str, workflows: int) -> Seen:
    """Let triggers wait on Steps of ``workflows`` Workflows, each for its own File: first one trigger, then all."""
    steps = _make_steps(wb, workflows)
    waiters = [Waiter(f"wb_{number % workflows}", f"{number}.csv") for number in range(WAITERS)]
    notes = _no_triggers(home)
    _defer(kind, waiters[:1])
    with _triggerer(home, notes, steps) as runner:
        first = _settled_memory(runner)
        _defer(kind, waiters[1:])
        _wait_for(notes, "runs", WAITERS)
        sockets = workflows if kind == "Pushed" else 0
        _until(lambda: wb.open_websockets == sockets)
        if kind == "Poller":
            time.sleep(POLL_SECONDS)
        seen = Seen(grown=_settled_memory(runner) - first, sockets=wb.open_websockets)
        wb.clear_requests()
        before, began = _cpu_seconds(runner), time.monotonic()
        time.sleep(IDLE_SECONDS)
        seen.requests = len(wb.requests)
        seen.cpu = (_cpu_seconds(runner) - before) / (time.monotonic() - began)
        if kind != "Idle":
            count = min(FILES_FOR_POLLERS if kind == "Poller" else FILES, WAITERS)
            # at random: the pollers' rounds begin in the order of their numbers
            chosen = Random(0).sample(waiters, count)
            came = {}
            began = time.monotonic()
            for done, waiter in enumerate(chosen, 1):
                if kind == "Poller":
                    # over a whole round of the pollers: how long one takes depends on when in it the File comes
                    time.sleep(max(0.0, began + done * POLL_SECONDS / count - time.monotonic()))
                step = steps[waiter.conn_id]
                _upload(step, waiter.name)
                came[waiter.name] = datetime.fromisoformat(step.files[0].created_at).timestamp()
                if kind == "Pushed":
                    _wait_for(notes, "seen", done)
            _wait_for(notes, "seen", count)
            seen.reactions = _reactions(notes, came)
        return seen


def measure_burst(home: Path, wb: Sandbox, kind: str) -> Seen:
    """Let all wait for the same File, or for the same moment."""
    steps = _make_steps(wb, 1)
    notes = _no_triggers(home)
    _defer(kind, [Waiter("wb_0", "a.csv")] * WAITERS)
    with _triggerer(home, notes, steps) as runner:
        _wait_for(notes, "runs", WAITERS)
        _settled_memory(runner)
        if kind == "Clock":
            # they look each second
            moment = time.time() + 3
            (home / "moment").write_text(str(moment))
        else:
            _upload(steps["wb_0"], "a.csv")
            moment = datetime.fromisoformat(steps["wb_0"].files[0].created_at).timestamp()
        _wait_for(notes, "seen", WAITERS)
        return Seen(reactions=_reactions(notes, {"a.csv": moment}))


def _make_steps(wb: Sandbox, workflows: int) -> dict[str, Step]:
    wb.reset()
    return {
        f"wb_{number}": wb.add_workflow(f"Workflow {number}", public=True).add_step() for number in range(workflows)
    }


def _upload(step: Step, name: str) -> None:
    upload_file(Settings.from_fields(step.create_file_url, step.api_token or ""), b"a\n1\n", filename=name)


def _make_dag(home: Path) -> None:
    """A DAG of one task, as a DAG processor would have put it into the database."""
    (home / "dags" / "benchmark.py").write_text(
        "from airflow.sdk import DAG\n"
        "from airflow.providers.standard.operators.empty import EmptyOperator\n"
        "with DAG('benchmark', schedule=None):\n"
        "    EmptyOperator(task_id='waits')\n"
    )
    from airflow.dag_processing.bundles.manager import DagBundlesManager
    from airflow.dag_processing.dagbag import BundleDagBag, sync_bag_to_db

    manager = DagBundlesManager()
    manager.sync_bundles_to_db()
    (bundle,) = manager.get_all_dag_bundles()
    bundle.initialize()
    bag = BundleDagBag(dag_folder=bundle.path, bundle_path=bundle.path, bundle_name=bundle.name)
    sync_bag_to_db(bag, bundle.name, bundle.version)


def _make_runs() -> None:
    """As many runs of the DAG as triggers may wait."""
    from airflow.models.dagbag import DBDagBag
    from airflow.utils.session import create_session
    from airflow.utils.state import DagRunState
    from airflow.utils.types import DagRunTriggeredByType, DagRunType

    now = datetime.now(UTC)
    with create_session() as session:
        dag = DBDagBag().get_latest_version_of_dag("benchmark", session=session)
        for number in range(WAITERS):
            dag.create_dagrun(
                run_id=f"manual__{now.isoformat()}__{number}",
                logical_date=None,
                run_after=now,
                run_type=DagRunType.MANUAL,
                triggered_by=DagRunTriggeredByType.TEST,
                state=DagRunState.RUNNING,
                session=session,
            )


def _no_triggers(home: Path) -> Path:
    """Let no task wait. Returns where the next triggers take notes."""
    from airflow.models.taskinstance import TaskInstance
    from airflow.models.trigger import Trigger
    from airflow.utils.session import create_session

    with create_session() as session:
        session.query(TaskInstance).update({"state": None, "trigger_id": None, "next_kwargs": None})
        session.query(Trigger).delete()
    for name in ("moment", "notes"):
        (home / name).write_text("")
    return home / "notes"


def _defer(kind: str, waiters: list[Waiter]) -> None:
    """Let further tasks wait on triggers, as if they had deferred."""
    from airflow.models.taskinstance import TaskInstance
    from airflow.models.trigger import Trigger
    from airflow.utils.session import create_session
    from airflow.utils.state import TaskInstanceState

    deadline = datetime.now(UTC) + timedelta(hours=1)
    with create_session() as session:
        free = session.query(TaskInstance).filter(TaskInstance.trigger_id.is_(None)).limit(len(waiters))
        for ti, waiter in zip(free, waiters, strict=True):
            ti.trigger = Trigger(
                f"timed_triggers.{kind}",
                {
                    "workbench_conn_id": waiter.conn_id,
                    "wanted": {"until": "listed", "name": waiter.name, "size": 4},
                    "deadline": deadline.isoformat(),
                    "poke_interval": POLL_SECONDS,
                },
            )
            ti.state = TaskInstanceState.DEFERRED


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
        _wait_for(notes, "runs", 1)
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


def _reactions(notes: Path, came: dict[str, float]) -> tuple[float, ...]:
    lines = (line.split() for line in notes.read_text().splitlines())
    return tuple(sorted(int(moment) / 1e9 - came[name] for what, name, moment in lines if what == "seen"))


def _wait_for(notes: Path, what: str, count: int) -> None:
    _until(lambda: Counter(line.split()[0] for line in notes.read_text().splitlines())[what] >= count)


def _settled_memory(process: psutil.Process) -> int:
    """Its resident bytes, once they have been nearly the same for two seconds."""
    last: deque[int] = deque(maxlen=40)

    def is_settled() -> bool:
        last.append(process.memory_info().rss)
        return len(last) == last.maxlen and max(last) - min(last) < 2**18

    _until(is_settled)
    return last[-1]


def _until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT_SECONDS
    while not is_so():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {LIMIT_SECONDS:g} s")
        time.sleep(0.05)


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
    _make_dag(home)
    _make_runs()
    table = Table(
        f"{WAITERS:,} waiting triggers in a real triggerer",
        "subject",
        "Workflows",
        "p50",
        "p99",
        "sockets",
        f"requests in {IDLE_SECONDS:.0f} s of waiting",
        "KB per trigger beyond the first",
        "idle CPU of a core",
    )
    burst = Table(f"{WAITERS:,} triggers that fire at once", "subject", "first", "p50", "p99", "last")
    try:
        with Sandbox() as wb:
            for kind, name, workflows in (
                ("Idle", "Airflow's own (does nothing)", 1),
                ("Pushed", "this provider", 1),
                ("Pushed", "this provider", min(100, WAITERS)),
                ("Poller", "a page GET per waiter every 5 s", 1),
            ):
                seen = measure(home, wb, kind, workflows)
                table.row(
                    name,
                    workflows,
                    seen.percentile(50),
                    seen.percentile(99),
                    seen.sockets,
                    seen.requests,
                    f"{seen.grown / (WAITERS - 1) / 1000:.1f}",
                    f"{100 * seen.cpu:.1f} %",
                )
            for kind, name in (
                ("Pushed", "this provider, one File"),
                ("Clock", "Airflow's own, one moment of the clock"),
            ):
                seen = measure_burst(home, wb, kind)
                first_one, last = (f"{1000 * seen.reactions[index]:.0f} ms" for index in (0, -1))
                burst.row(name, first_one, seen.percentile(50), seen.percentile(99), last)
    finally:
        shutil.rmtree(home, ignore_errors=True)
    table.save(
        "waiting",
        f"p50 and p99 of this provider are of {min(FILES, WAITERS)} Files, each uploaded when the one before was seen; "
        f"those of the page GETs are of {min(FILES_FOR_POLLERS, WAITERS)} Files spread over {POLL_SECONDS:.0f} s, so "
        "that p99 is about the slowest.",
    )
    burst.save("waiting-burst")


if __name__ == "__main__":
    main()
