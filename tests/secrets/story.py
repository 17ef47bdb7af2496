"""What happens before the search: an Airflow in which much goes well, and much does not."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from airflow_standalone import COMPONENTS, AirflowStandalone
from cryptography.fernet import Fernet
from needles import Secret
from places import Place, files_in, values_of
from plants import Plant
from processes import until
from rest_walk import Walk
from samples import TEMPORARY_FILE, Sampler
from scene import Scene
from standalone.other_uploads import upload

HERE = Path(__file__).parent
LARGE = 40_000_000
NOT_TRIGGERED = ("hears_of_delivery", "hears_of_new_file", "hears_nothing")
DEFERRED = ("upload_waits_deferred", "sensor_waits_deferred", "websocket_echoed", "planted")


@dataclass
class Story:
    """What there was, for the search.

    :ivar places: all that was found, also while tasks ran
    :ivar instances: every task instance as the API shows it, by DAG, task and map index
    :ivar logs: of their last tries
    :ivar tests: what was said of connections
    :ivar echoed: how many requests were answered with themselves
    :ivar answers: of each Workbench, as host, method and status
    :ivar seconds: that the parts of the story took
    """

    airflow: AirflowStandalone
    plants: dict[str, Plant]
    secrets: list[Secret] = field(default_factory=list)
    places: list[Place] = field(default_factory=list)
    instances: dict[tuple[str, str, int], dict[str, Any]] = field(default_factory=dict)
    logs: dict[tuple[str, str, int], str] = field(default_factory=dict)
    tests: dict[str, str] = field(default_factory=dict)
    echoed: dict[str, int] = field(default_factory=dict)
    answers: dict[str, list[tuple[str, str, int | None]]] = field(default_factory=dict)
    walks: list[Walk] = field(default_factory=list)
    processes: int = 0
    seconds: dict[str, float] = field(default_factory=dict)


@contextlib.contextmanager
def told(folder: Path, plants: dict[str, Plant]) -> Iterator[Story]:
    """Let it all happen; the search's places are what is left afterwards, and what was seen meanwhile.

    :param folder: empty, and left behind
    """
    with contextlib.ExitStack() as stack:
        scene = Scene(stack, folder)
        airflow = _airflow(scene, folder, plants)
        key = Fernet(airflow.env["AIRFLOW__CORE__FERNET_KEY"])
        story = Story(airflow, plants)
        clock = time.monotonic()
        with airflow:
            story.seconds["start"] = time.monotonic() - clock
            with Sampler(airflow.home / "airflow.db", key, folder / "tmp") as sampler:
                _Teller(story, scene, folder, key).tell()
            story.seconds["runs"] = time.monotonic() - clock - story.seconds["start"]
            walk = Walk(airflow, key)
            story.places += walk.places()
            story.walks.append(walk)
        story.places += values_of(airflow.home / "airflow.db", key)
        story.places += files_in(airflow.home, _kind_of_file)
        story.places += files_in(folder / "tmp", lambda _: TEMPORARY_FILE)
        story.places += sampler.places
        story.processes = len(sampler.processes)
        story.seconds["looking"] = time.monotonic() - clock - sum(story.seconds.values())
        story.secrets = scene.all_secrets()
        story.echoed = {name: echo.echoed for name, echo in scene.echoes.items()}
        story.echoed["forward proxy"] = len(scene.proxy.asked)
        for name, sandbox in scene.sandboxes.items():
            story.answers[name] = [(each.host, each.method, each.status) for each in sandbox.requests]
        yield story


def _airflow(scene: Scene, folder: Path, plants: dict[str, Plant]) -> AirflowStandalone:
    files, temporary, home = folder / "files", folder / "tmp", folder / "home"
    for each in (files, temporary):
        each.mkdir()
    (files / "small.csv").write_bytes(b"A,B\n1,x\n2,y\n")
    (files / "proxy.txt").write_text(scene.proxy_url)
    (files / "large.csv").write_bytes(b"A,B\n" + b"1,x\n" * (LARGE // 4 - 1))
    (folder / "plants.json").write_text(json.dumps({place: plant.text for place, plant in plants.items()}))
    shutil.copytree(HERE / "dags", folder / "dags", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "dags" / "planted_source.py").write_text(_source(plants["source of a DAG"].text))
    shutil.copytree(HERE / "airflow_config", home / "config", ignore=shutil.ignore_patterns("__pycache__"))
    good = scene.good
    link = good.secret_step.secret_link_url
    lineage = {"type": "file", "log_file_path": str(home / "lineage.jsonl"), "append": True}
    loggers = ("airflow", "airflow.task", "urllib3", "requests", "http.client", "aiohttp", "asyncio", "tusclient")
    return AirflowStandalone(
        home=home,
        # beside so many tasks the triggerer would not come to its work for a minute
        components=tuple(replace(each, nice=0) if each.name == "triggerer" else each for each in COMPONENTS),
        dags_folder=folder / "dags",
        env={
            "AIRFLOW_CONN_WORKBENCH_DEFAULT": good.step.connection_json(),
            "AIRFLOW_CONN_WITH_LINK": good.secret_step.connection_json(secret_link=link),
            "AIRFLOW__LOGGING__LOGGING_LEVEL": "DEBUG",
            "AIRFLOW__LOGGING__NAMESPACE_LEVELS": " ".join(f"{name}=DEBUG" for name in loggers),
            "AIRFLOW__OPENLINEAGE__TRANSPORT": json.dumps(lineage),
            "AIRFLOW__CORE__TEST_CONNECTION": "Enabled",
            "AIRFLOW__CORE__PARALLELISM": "6",
            "AIRFLOW__CORE__COMPRESS_SERIALIZED_DAGS": "True",
            "AIRFLOW__API__MAXIMUM_PAGE_LIMIT": "1000",
            "AIRFLOW__API__EXPOSE_CONFIG": "True",
            "AUDIT_PLANTS": str(folder / "plants.json"),
            "AUDIT_FILES": str(files),
            "AUDIT_SERVER": good.upload_url,
            "TMPDIR": str(temporary),
        },
    )


def _source(planted: str) -> str:
    return f"""# {planted}
from airflow.sdk import dag


@dag(schedule=None)
def planted_source():
    pass


planted_source()
"""


class _Teller:
    def __init__(self, story: Story, scene: Scene, folder: Path, key: Fernet) -> None:
        self._story = story
        self._airflow = story.airflow
        self._scene = scene
        self._files = folder / "files"
        self._key = key
        self._runs: dict[str, str] = {}

    def tell(self) -> None:
        for connection in self._scene.connections.values():
            self._airflow.post("/api/v2/connections", connection)
        self._plant_by_rest()
        for dag_id in self._dag_ids():
            if dag_id in NOT_TRIGGERED:
                self._airflow.unpause(dag_id)
        # the slow ones first
        first = ("killed_and_resumed", "marked_failed", "outcome_unknown", *DEFERRED)
        for dag_id in sorted(self._dag_ids(), key=lambda each: (each not in first, each)):
            if dag_id not in NOT_TRIGGERED:
                conf = {"told": self._plant("configuration of a run"), "templated": self._plant("rendered field")}
                self._runs[dag_id] = self._airflow.trigger(dag_id, conf if dag_id == "planted" else {})
        note = {"note": self._plant("note")}
        self._airflow.request("PATCH", f"/api/v2/dags/planted/dagRuns/{quote(self._runs['planted'])}", note)
        self._kill_in_mid_upload()
        self._mark_failed()
        self._test_connections()
        self._look_at_those_that_wait()
        self._end_the_waiting()
        for dag_id, run_id in self._runs.items():
            self._airflow.wait_for_run(dag_id, run_id, timeout=240)
        for dag_id in NOT_TRIGGERED[:-1]:
            self._wait_for(lambda dag_id=dag_id: self._heard(dag_id), f"run of {dag_id}")
        for dag_id in self._dag_ids():
            for run in self._airflow.get(f"/api/v2/dags/{dag_id}/dagRuns")["dag_runs"]:
                self._keep_instances(dag_id, run["dag_run_id"])

    def _dag_ids(self) -> list[str]:
        for _ in until(120):
            found = [each["dag_id"] for each in self._airflow.get("/api/v2/dags?limit=1000")["dags"]]
            if {"planted", "succeeds", "hears_of_new_file", "planted_source"} <= set(found):
                return [dag_id for dag_id in found if dag_id != "planted_source"]
        raise TimeoutError(f"No DAGs\n{self._airflow.log_tail()}")

    def _plant(self, place: str) -> str:
        return self._story.plants[place].text

    def _plant_by_rest(self) -> None:
        airflow = self._airflow
        described = {"connection_id": "planted", "conn_type": "generic"}
        airflow.post("/api/v2/connections", {**described, "description": self._plant("description of a connection")})
        airflow.post("/api/v2/variables", {"key": "planted", "value": self._plant("variable")})
        deleted = {"key": "deleted", "value": "-", "description": self._plant("row that was deleted")}
        airflow.post("/api/v2/variables", deleted)
        airflow.request("DELETE", "/api/v2/variables/deleted")

    def _kill_in_mid_upload(self) -> None:
        self._wait_for(lambda: self._arrived("large.csv") > LARGE // 10, "bytes")
        # first: what is kept for the retry is there now
        self._wait_for(
            lambda: self._row("SELECT 1 FROM task_state_store WHERE key = 'workbench_upload'"), "kept upload"
        )
        time.sleep(1)
        os.kill(int((self._files / "killed_and_resumed.pid").read_text()), signal.SIGKILL)

    def _mark_failed(self) -> None:
        self._wait_for(lambda: self._arrived("marked.csv") > 0, "bytes")
        task = f"/api/v2/dags/marked_failed/dagRuns/{quote(self._runs['marked_failed'])}/taskInstances/marked_failed"
        self._airflow.request("PATCH", task, {"new_state": "failed"})

    def _arrived(self, filename: str) -> int:
        uploads = list(self._scene.slow.uploads.uploads.values())
        return max((each.offset for each in uploads if each.metadata["filename"] == filename), default=0)

    def _test_connections(self) -> None:
        connections = self._scene.connections
        for conn_id in (
            "secret_link",
            "late_cookie",
            "wrong_token",
            "self_signed",
            "misfilled_link",
            *self._scene.echoes,
        ):
            body = {**connections[conn_id], "connection_id": f"tested_{conn_id}"}
            self._story.tests[conn_id] = self._airflow.post("/api/v2/connections/test", body)["message"]
        saved = {**connections["secret_link"], "password": "***"}
        self._story.tests["saved"] = self._airflow.post("/api/v2/connections/test", saved)["message"]
        # as a task of the executor, from a row of its own
        on_worker = {**connections["late_cookie"], "connection_id": "tested_on_worker"}
        self._airflow.post("/api/v2/connections/enqueue-test", on_worker)
        query = "SELECT result_message FROM connection_test_request WHERE state IN ('success', 'failed')"
        self._wait_for(lambda: self._row(query), "test on the worker")
        self._story.tests["on a worker"] = str(self._row(query)[0])

    def _look_at_those_that_wait(self) -> None:
        """While their triggers are there."""
        waiting = "SELECT count(*) >= 5 FROM trigger WHERE triggerer_id IS NOT NULL"
        self._wait_for(lambda: self._row(f"SELECT 1 WHERE ({waiting})"), "triggers")
        self._wait_for(lambda: self._scene.late.open_websockets >= 2, "websockets")
        self._wait_for(lambda: self._scene.echoes["websocket_echoed"].echoed, "refused websocket")
        walk = Walk(self._airflow, self._key)
        self._story.places += walk.places(list(DEFERRED))
        self._story.walks.append(walk)

    def _end_the_waiting(self) -> None:
        late = self._scene.late
        # one that can watch, and one that cannot
        for words in ("Watching watched", "The Step could not be read, trying again: "):
            self._wait_for(lambda words=words: words in self._airflow.log_file.read_text(errors="replace"), words)
        somebodys = self._files / "somebody's.csv"
        somebodys.write_bytes(b"A\n1\n")
        for step in (late.private_step, late.secret_step):
            upload(step, somebodys)
        for sandbox in (late, self._scene.sandboxes["websocket_echoed"]):
            sandbox.render_delay = 0
        (self._files / "triggers may end").touch()

    def _heard(self, dag_id: str) -> bool:
        runs = self._airflow.get(f"/api/v2/dags/{dag_id}/dagRuns")["dag_runs"]
        return bool(runs) and all(run["state"] in ("success", "failed") for run in runs)

    def _keep_instances(self, dag_id: str, run_id: str) -> None:
        for each in self._airflow.task_instances(dag_id, run_id):
            key = (dag_id, each["task_id"], each["map_index"])
            self._story.instances[key] = each
            self._story.logs[key] = self._airflow.task_log(
                dag_id, run_id, each["task_id"], each["try_number"], each["map_index"]
            )

    def _row(self, query: str) -> Any:
        """The first; None if there is none."""
        with (
            contextlib.suppress(sqlite3.OperationalError),
            contextlib.closing(sqlite3.connect(self._airflow.home / "airflow.db", timeout=10)) as database,
        ):
            return database.execute(query).fetchone()
        return None

    def _wait_for(self, what: Callable[[], object], name: str) -> None:
        for _ in until(240):
            if what():
                return
        raise TimeoutError(f"No {name}\n{self._airflow.log_tail()}")


def _kind_of_file(name: str) -> str:
    if name.startswith("logs/dag_processor"):
        return "log of the DAG processor"
    if name.startswith("logs/"):
        return "log of a trigger" if ".trigger." in name or "triggerer" in name else "log of a task"
    if name.startswith("airflow.db"):
        return "file of the database"
    kinds = {"airflow.log": "output of the components", "lineage.jsonl": "OpenLineage events"}
    return kinds.get(name, "other file of AIRFLOW_HOME")
