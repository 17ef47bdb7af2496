"""The audit: nothing secret remains of all that an Airflow did, and the search would have found it."""

from __future__ import annotations

import contextlib
import gzip
import shutil
import sqlite3
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from needles import BASE64, IN_JSON, QUOTED, RAW, Secret
from places import Hit, Place, search, values_of
from plants import make_plants
from samples import PROCESS_ENVIRONMENT
from scene import MISFILLED
from story import Story, told
from what_happens import ECHOED, EXPECTED, RECORDED, TESTS

CONNECTION_ROW = "the encrypted row of a connection, or of its test"
STATE_VALUE = "the encrypted value in the task state store"
SHOWN_FIELD = "a field of a connection that Airflow shows, with what does not belong there"
PROCESS_START = "AIRFLOW_CONN_* of processes that were started with it"
PLANTED_KINDS = {
    "API token",
    "session cookie",
    "secret link",
    "upload URL",
    "upload path",
    "upload id",
    "half of an upload id",
    "Upload-Metadata",
}
# what the search has to look at, with how many of it at least
LEAST = {
    "log of a task": 30,
    "log of a trigger": 3,
    "log of the DAG processor": 3,
    "output of the components": 1,
    "file of the database": 1,
    "other file of AIRFLOW_HOME": 2,
    "OpenLineage events": 1,
    "temporary file": 1,
    "argument of a process": 20,
    "environment variable of a process": 50,
    "database": 2000,
    "database while tasks run": 300,
    "REST": 1000,
}


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory):
    with told(tmp_path_factory.mktemp("audit"), make_plants()) as story:
        yield story


@pytest.fixture(scope="module")
def real_hits(story: Story) -> list[Hit]:
    """Every real secret that was found, allowed or not."""
    return search(story.places, story.secrets)


def allowance(hit: Hit) -> str | None:
    """Why the secret may be there; None: it may not."""
    kind, name = hit.place.kind, hit.place.name
    if kind in ("database: connection, unsealed", "database: connection_test_request, unsealed"):
        return CONNECTION_ROW
    if kind.endswith(", unsealed") and ("task_state_store" in kind or "/state-store" in kind):
        return STATE_VALUE
    if hit.secret.kind == MISFILLED and kind.startswith("REST: /api/v2/connections"):
        return SHOWN_FIELD
    if kind == PROCESS_ENVIRONMENT and name.startswith("AIRFLOW_CONN_"):
        return PROCESS_START
    return None


def sorts_of(places: list[Place]) -> Counter[str]:
    """How many of each kind, whatever table or path it is."""
    return Counter(place.kind.partition(":")[0] for place in places)


def test_all_of_it_happened(story, report):
    problems = []
    for key, (state, tries, words) in EXPECTED.items():
        instance, log = story.instances.get(key), story.logs.get(key, "")
        seen = instance and (instance["state"], instance["try_number"])
        if seen != (state, tries) or words not in log:
            problems.append(f"{key}: {seen}, not {(state, tries, words)}\n{log[-2000:]}")
    assert not problems, "\n\n".join(problems)
    assert story.instances.keys() == EXPECTED.keys()
    outcomes = ", ".join(
        f"{n} {state}" for state, n in Counter(each["state"] for each in story.instances.values()).items()
    )
    tries = sum(each["try_number"] for each in story.instances.values())
    report.append("seconds: " + ", ".join(f"{name} {seconds:.0f}" for name, seconds in story.seconds.items()))
    report.append(f"runs: {len({key[0] for key in EXPECTED})} DAGs, {tries} task tries; at last {outcomes}")


def test_workbench_answered_in_all_these_ways(story):
    wanted = {(name, *answer) for name, answers in RECORDED.items() for answer in answers}
    assert wanted - {(name, *answer) for name, answers in story.answers.items() for answer in answers} == set()


def test_what_stands_between_repeated_what_it_was_asked(story):
    assert {name: count > 0 for name, count in story.echoed.items()} == dict.fromkeys(ECHOED, True)


def test_the_connection_tests_said_what_they_found(story):
    assert story.tests.keys() == TESTS.keys()
    assert {name: words for name, words in TESTS.items() if words not in story.tests[name]} == {}, story.tests


def test_everything_was_logged(story):
    """Else there would be nothing to find in the logs."""
    logs = b"".join(place.data for place in story.places if place.kind == "log of a task")
    assert logs.count(b'"level":"debug"') > 500
    # a request of a planted task, which nobody holds back
    assert b"urllib3.connectionpool" in logs
    assert b"send: b'GET" in logs


def test_all_kinds_of_places_were_searched(story, report):
    counted = sorts_of(story.places)
    assert {kind: counted[kind] for kind, least in LEAST.items() if counted[kind] < least} == {}
    assert counted.keys() == LEAST.keys()
    size = sum(len(place.data) for place in story.places)
    asked = {path for walk in story.walks for path in walk.asked}
    report.append(f"places searched: {len(story.places)} ({size / 1e6:.0f} MB)")
    report += [f"  {kind}: {number}" for kind, number in counted.most_common()]
    report.append(f"  REST paths that answered: {len(asked)}; processes seen: {story.processes}")


def test_the_planted_leaks_are_found_each_in_its_place(story, report):
    hits = search(story.places, [plant.secret for plant in story.plants.values()])
    found = {(hit.secret, hit.form, hit.place.kind) for hit in hits}
    wanted = {(plant.secret, plant.form, kind) for plant in story.plants.values() for kind in plant.places}
    missed = [f"{secret.owner}, {form}: not in {kind}" for secret, form, kind in wanted - found]
    owners = {secret.owner for secret, *_ in wanted - found}
    report.append(
        f"planted leaks found: {len(story.plants) - len(owners)} of {len(story.plants)} "
        f"({len(wanted & found)} of {len(wanted)} times, where one shows in several kinds of places)"
    )
    assert not missed, "\n".join(sorted(missed))
    assert {plant.form for plant in story.plants.values()} == {RAW, QUOTED, IN_JSON, *BASE64}
    assert {plant.secret.kind for plant in story.plants.values()} == PLANTED_KINDS


def test_a_leak_in_any_column_of_any_table_is_found(story, tmp_path, report):
    """Planted by hand, in a copy: no DAG reaches them all."""
    copy = tmp_path / "copy.db"
    shutil.copy(story.airflow.home / "airflow.db", copy)
    key = Fernet(story.airflow.env["AIRFLOW__CORE__FERNET_KEY"])
    planted = plant_everywhere(copy, key)
    hits = search(values_of(copy, key), planted.values())
    found = {hit.secret.owner for hit in hits if hit.place.name.startswith(f"{hit.secret.owner}, ")}
    report.append(f"planted in a copy of the database, found: {len(planted.keys() & found)} of {len(planted)} columns")
    assert planted.keys() - found == set()
    assert len(planted) > 300


def plant_everywhere(database: Path, key: Fernet) -> dict[str, Secret]:
    """One secret in every column of every table, in turn as it is, in JSON, packed, and sealed."""
    writings: list[Any] = [
        str.encode,
        lambda text: f'{{"told": ["{text}"]}}'.encode(),
        lambda text: zlib.compress(text.encode()),
        lambda text: gzip.compress(text.encode()),
        lambda text: key.encrypt(text.encode()),
    ]
    planted: dict[str, Secret] = {}
    with contextlib.closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA foreign_keys = OFF")
        connection.execute("PRAGMA ignore_check_constraints = ON")
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
        for (table,) in tables.fetchall():
            values = []
            columns = connection.execute(f'PRAGMA table_info("{table}")').fetchall()
            keys = [column for _, column, kind, *_, is_key in columns if is_key and kind == "INTEGER"]
            for _, column, *_ in columns:
                if keys == [column] and sum(bool(each[-1]) for each in columns) == 1:
                    # a row's number takes nothing else
                    values.append(None)
                    continue
                owner = f"{table}.{column}"
                planted[owner] = Secret("planted", owner, f"planted-{len(planted):05}-in-{owner}")
                values.append(writings[len(planted) % len(writings)](planted[owner].value))
            connection.execute(f'INSERT INTO "{table}" VALUES ({", ".join("?" * len(values))})', values)
        connection.commit()
    return planted


def test_what_may_be_there_was_found(real_hits, report):
    """The search knows the real secrets, and looks into what is sealed."""
    allowed = Counter(reason for hit in real_hits if (reason := allowance(hit)))
    assert allowed.keys() == {CONNECTION_ROW, STATE_VALUE, SHOWN_FIELD, PROCESS_START}
    report.append(f"real secrets where they may be: {sum(allowed.values())}")
    report += [f"  {reason}: {number}" for reason, number in allowed.most_common()]


def test_nothing_secret_remains(story, real_hits, report):
    leaks = [hit for hit in real_hits if allowance(hit) is None]
    report.append(f"real leaks: {len(leaks)}, of {len(story.secrets)} secrets in all their forms")
    # the same thing shows in many places: one of each kind, with their number
    first = {(hit.place.kind, hit.secret.kind, hit.form): hit for hit in reversed(leaks)}
    numbers = Counter((hit.place.kind, hit.secret.kind, hit.form) for hit in leaks)
    assert not leaks, "\n".join(f"{numbers[key]} × {hit}" for key, hit in first.items())
