"""``WorkbenchFileEventTrigger`` against the sandbox; ``tests/standalone/`` has it in a real triggerer."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from importlib.metadata import version

import pytest

from airflow_provider_workbench.client.steps import File, Step
from airflow_provider_workbench.hooks.workbench import WorkbenchHook
from airflow_provider_workbench.triggers import file_events
from airflow_provider_workbench.triggers.seen_files import SeenFiles
from airflow_provider_workbench.triggers.workbench import WorkbenchFileEventTrigger

AIRFLOW = tuple(int(part) for part in version("apache-airflow").split(".")[:2])
airflow_3 = pytest.mark.skipif(AIRFLOW < (3, 0), reason="Airflow 2 has no event triggers")
with_stores = pytest.mark.skipif(AIRFLOW < (3, 3), reason="before Airflow 3.3 assets have no state store")


class Store:
    """An asset's state store as the triggerer gives it to a trigger: JSON values by key."""

    def __init__(self):
        self.values = {}
        self.writes = 0
        self.broken = False
        self.broken_writes = False

    async def aget(self, key, default=None):
        if self.broken:
            raise RuntimeError("the API server is away")
        return json.loads(self.values[key]) if key in self.values else default

    async def aset(self, key, value):
        if self.broken or self.broken_writes:
            raise RuntimeError("the API server is away")
        self.writes += 1
        self.values[key] = json.dumps(value)

    @property
    def uuids(self):
        return json.loads(next(iter(self.values.values())))["uuids"]

    @property
    def pending(self):
        return json.loads(next(iter(self.values.values())))["pending"]


class Running:
    """A trigger at work, as in the triggerer: a task of the event loop."""

    def __init__(self, trigger):
        self.trigger = trigger
        self._payloads = asyncio.Queue()
        self.task = asyncio.create_task(self._run())

    async def _run(self):
        async for event in self.trigger.run():
            self._payloads.put_nowait(event.payload)

    async def event(self):
        return await asyncio.wait_for(self._payloads.get(), 15)

    async def no_event(self, seconds=0.5):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(self._payloads.get(), seconds)

    async def started(self):
        await until(lambda: self.trigger._seen is not None)


async def until(condition, seconds=15):
    deadline = asyncio.get_running_loop().time() + seconds
    while not condition():
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.02)


@asynccontextmanager
async def running(store=None, **kwargs):
    trigger = WorkbenchFileEventTrigger(**kwargs)
    trigger.asset_state_store = store
    trigger._log = logging.getLogger("the_trigger")  # Airflow 3's own does not pass caplog
    running = Running(trigger)
    try:
        yield running
    finally:
        running.task.cancel()
        await asyncio.gather(running.task, return_exceptions=True)


@pytest.fixture(autouse=True)
def hurry(monkeypatch, caplog):
    caplog.set_level(logging.INFO, logger="the_trigger")
    monkeypatch.setattr(file_events, "_UNTIL_EVENTS_ARE_STORED", 0.05)
    monkeypatch.setattr(file_events, "_BETWEEN_EVENTS", 0.0)
    monkeypatch.setattr(file_events, "_FIRST_PAUSE", 0.1)
    monkeypatch.setattr("airflow_provider_workbench.client.steps.SECOND_LOOK", (0.05, 0.1))


@pytest.fixture
def store():
    return Store()


@pytest.fixture
def upload(monkeypatch, workbench_sandbox):
    """``await upload(name)`` puts a File into the sandbox's Step, and returns its uuid."""
    monkeypatch.setenv("AIRFLOW_CONN_WORKBENCH_DEFAULT", workbench_sandbox.step.connection_json())

    async def upload(name, content=b"a\n1\n"):
        hook = WorkbenchHook()
        return (await asyncio.to_thread(hook.upload_file, content, filename=name, read_step=True)).uuid

    return upload


@airflow_3
async def test_a_new_file_is_one_event_that_says_which(upload, workbench_sandbox, store):
    async with running(store) as trigger:
        await trigger.started()
        uuid = await upload("new.csv", b"a\n1\n22\n")
        (file,) = workbench_sandbox.step.files
        payload = await trigger.event()
        assert payload == {
            "uuid": uuid,
            "name": "new.csv",
            "size": 7,
            "created_at": datetime.fromisoformat(file.created_at).isoformat(),
        }
        assert json.loads(json.dumps(payload)) == payload
        await trigger.no_event()


@airflow_3
async def test_files_that_are_there_at_the_first_start_are_no_events(upload, store):
    await upload("old.csv")
    async with running(store) as trigger:
        await trigger.started()
        uuid = await upload("new.csv")
        assert (await trigger.event())["uuid"] == uuid
        await trigger.no_event()


@airflow_3
async def test_a_render_is_no_event(upload, workbench_sandbox, store):
    workbench_sandbox.render_delay = 0.3
    async with running(store) as trigger:
        await trigger.started()
        await upload("new.csv")
        await trigger.event()
        await asyncio.to_thread(workbench_sandbox.step.wait_until_rendered)
        await trigger.no_event()


@airflow_3
async def test_only_files_that_match_the_pattern_count(upload, store):
    async with running(store, filename="budget-*.csv") as trigger:
        await trigger.started()
        for name in ("sales.csv", "Budget-1.csv", "budget-1.tsv"):
            await upload(name)
        uuid = await upload("budget-2.csv")
        assert (await trigger.event())["uuid"] == uuid
        await trigger.no_event()


@airflow_3
async def test_several_files_between_two_looks_have_an_event_each_oldest_first(upload, store):
    async with running(store) as trigger:
        await trigger.started()
        await until(lambda: store.writes)
    uuids = [await upload(name) for name in ("b.csv", "a.csv", "c.csv")]
    async with running(store) as trigger:
        assert [(await trigger.event())["uuid"] for _ in uuids] == uuids
        await trigger.no_event()


@airflow_3
async def test_events_keep_a_distance(upload, store, monkeypatch):
    """The scheduler would start no run for one that comes too soon after another."""
    monkeypatch.setattr(file_events, "_BETWEEN_EVENTS", 0.7)
    async with running(store) as trigger:
        await trigger.started()
        await until(lambda: store.writes)
    await upload("one.csv")
    await upload("two.csv")
    async with running(store) as trigger:
        times = []
        for _ in range(3):
            await trigger.event()
            times.append(asyncio.get_running_loop().time())
            if len(times) == 2:
                await upload("three.csv")
    assert all(later - sooner > 0.65 for sooner, later in itertools.pairwise(times))


@airflow_3
async def test_more_files_than_the_step_lists_that_come_between_two_events_are_all_told_of(
    upload, workbench_sandbox, store, monkeypatch
):
    workbench_sandbox.step_file_limit = 2
    monkeypatch.setattr(file_events, "_BETWEEN_EVENTS", 1.0)
    async with running(store) as trigger:
        await trigger.started()
        uuids = [await upload(f"{number}.csv") for number in range(5)]
        # the second event still has its distance to the first
        monkeypatch.setattr(file_events, "_BETWEEN_EVENTS", 0.05)
        assert [(await trigger.event())["uuid"] for _ in uuids] == uuids
        await trigger.no_event()


@airflow_3
async def test_files_that_wait_for_their_event_and_are_listed_no_more_survive_a_restart(
    upload, workbench_sandbox, store, monkeypatch
):
    workbench_sandbox.step_file_limit = 2
    monkeypatch.setattr(file_events, "_BETWEEN_EVENTS", 60)
    async with running(store) as trigger:
        await trigger.started()
        await until(lambda: store.writes)
        uuids = [await upload(f"{number}.csv") for number in range(5)]
        assert (await trigger.event())["uuid"] == uuids[0]
        await until(lambda: store.uuids[:1] == uuids[:1] and len(store.pending) == 4)
    monkeypatch.setattr(file_events, "_BETWEEN_EVENTS", 0)
    async with running(store) as trigger:
        assert [(await trigger.event())["uuid"] for _ in uuids[1:]] == uuids[1:]
        await trigger.no_event()


@airflow_3
async def test_files_that_were_read_have_their_events_while_the_step_cannot_be(
    upload, workbench_sandbox, store, monkeypatch, caplog
):
    monkeypatch.setattr(file_events, "_BETWEEN_EVENTS", 2.0)
    async with running(store) as trigger:
        await trigger.started()
        uuids = [await upload(f"{number}.csv") for number in range(2)]
        assert (await trigger.event())["uuid"] == uuids[0]
        await until(lambda: trigger.trigger._seen.pending)
        workbench_sandbox.workflow.public = False
        workbench_sandbox.drop_websockets()
        await until(lambda: "new Files start no DAG at present" in errors(caplog))
        assert (await trigger.event())["uuid"] == uuids[1]


@airflow_3
async def test_a_file_is_not_seen_before_its_event_is_taken(upload, store):
    """Whoever takes events may be slow, or end in between."""
    trigger = WorkbenchFileEventTrigger()
    trigger.asset_state_store = store
    events = trigger.run()
    waiting = asyncio.ensure_future(anext(events))
    await until(lambda: store.writes)
    uuid = await upload("new.csv")
    assert (await waiting).payload["uuid"] == uuid
    await asyncio.sleep(0.3)
    assert uuid not in store.uuids
    await events.aclose()
    assert uuid not in store.uuids


@airflow_3
@pytest.mark.parametrize("how", ["cancelled", "closed", "cleaned up"])
async def test_nothing_is_left_when_it_ends(upload, workbench_sandbox, store, how):
    trigger = WorkbenchFileEventTrigger()
    trigger.asset_state_store = store
    events = trigger.run()
    waiting = asyncio.ensure_future(anext(events))
    await until(lambda: store.writes)
    if how == "cancelled":
        waiting.cancel()
        await asyncio.wait([waiting])
    else:
        await upload("new.csv")
        await waiting
        await (events.aclose() if how == "closed" else trigger.cleanup())
    assert asyncio.all_tasks() == {asyncio.current_task()}
    await until(lambda: workbench_sandbox.open_websockets == 0)
    await events.aclose()


@airflow_3
async def test_a_reader_that_dies_ends_the_trigger_instead_of_leaving_it_deaf(upload, store, monkeypatch):
    async def dead(self, news):
        raise RuntimeError("cannot happen")

    monkeypatch.setattr(WorkbenchFileEventTrigger, "_keep_reading", dead)
    async with running(store) as trigger:
        with pytest.raises(RuntimeError, match="cannot happen"):
            await asyncio.wait_for(trigger.task, 5)


@airflow_3
async def test_a_restart_between_two_events_repeats_none_and_misses_none(upload, store, monkeypatch):
    async with running(store) as trigger:
        await trigger.started()
        await until(lambda: store.writes)
    first, second = await upload("one.csv"), await upload("two.csv")
    monkeypatch.setattr(file_events, "_BETWEEN_EVENTS", 60)
    async with running(store) as trigger:
        assert (await trigger.event())["uuid"] == first
        await until(lambda: first in store.uuids)
    async with running(store) as trigger:
        assert (await trigger.event())["uuid"] == second
        await trigger.no_event()


@airflow_3
async def test_a_restart_neither_misses_nor_repeats(upload, store):
    await upload("old.csv")
    async with running(store) as trigger:
        await trigger.started()
        first = await upload("first.csv")
        assert (await trigger.event())["uuid"] == first
        await until(lambda: first in store.uuids)
    meanwhile = await upload("meanwhile.csv")
    async with running(store) as trigger:
        assert (await trigger.event())["uuid"] == meanwhile
        await trigger.no_event()


@airflow_3
async def test_an_event_that_airflow_may_not_have_stored_yet_comes_again(upload, store, monkeypatch):
    monkeypatch.setattr(file_events, "_UNTIL_EVENTS_ARE_STORED", 60)
    async with running(store) as trigger:
        await trigger.started()
        await until(lambda: store.writes)
        uuid = await upload("new.csv")
        await trigger.event()
        await asyncio.sleep(0.3)
    assert uuid not in store.uuids
    async with running(store) as trigger:
        assert (await trigger.event())["uuid"] == uuid


@airflow_3
async def test_nothing_is_stored_when_nothing_is_new(upload, workbench_sandbox, store):
    async with running(store) as trigger:
        await trigger.started()
        await upload("new.csv")
        await trigger.event()
        await until(lambda: store.writes == 2)
        await asyncio.to_thread(workbench_sandbox.step.wait_until_rendered)
        workbench_sandbox.drop_websockets()
        await trigger.no_event(1)
    assert store.writes == 2


@airflow_3
async def test_without_a_store_every_start_tells_of_all_files(upload):
    uuids = [await upload("one.csv"), await upload("two.csv")]
    for name in ("three.csv", "four.csv"):
        async with running(None) as trigger:
            assert [(await trigger.event())["uuid"] for _ in uuids] == uuids
            later = await upload(name)
            assert (await trigger.event())["uuid"] == later
            await trigger.no_event()
        uuids.append(later)


@airflow_3
async def test_lost_access_is_an_error_in_the_log_until_the_connection_is_mended(
    monkeypatch, workbench_sandbox, store, caplog
):
    step = workbench_sandbox.secret_step
    monkeypatch.setenv("AIRFLOW_CONN_WORKBENCH_DEFAULT", step.connection_json(secret_link=step.secret_link_url))
    async with running(store) as trigger:
        await trigger.started()
        old_link = step.secret_link
        await asyncio.to_thread(step.workflow.reset_secret_link)
        # an open websocket knows nothing of it
        workbench_sandbox.drop_websockets()
        await until(lambda: "new Files start no DAG at present" in errors(caplog))
        hook = WorkbenchHook()
        await asyncio.to_thread(hook.upload_file, b"a\n1\n", filename="meanwhile.csv")
        await trigger.no_event()
        monkeypatch.setenv("AIRFLOW_CONN_WORKBENCH_DEFAULT", step.connection_json(secret_link=step.secret_link_url))
        assert (await trigger.event())["name"] == "meanwhile.csv"
    said = "\n".join(each.getMessage() for each in caplog.records if each.name == "the_trigger")
    assert old_link not in said
    assert step.secret_link not in said
    assert step.api_token not in said


@airflow_3
async def test_a_missing_connection_is_an_error_in_the_log_and_waited_for(
    monkeypatch, workbench_sandbox, store, caplog
):
    conn_id = "workbench_later"
    async with running(store, workbench_conn_id=conn_id) as trigger:
        await until(lambda: errors(caplog).count("new Files start no DAG at present") >= 2)
        assert not trigger.task.done()
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", workbench_sandbox.step.connection_json())
        await trigger.started()


@airflow_3
async def test_pauses_after_errors_grow_to_ten_minutes(monkeypatch, store, caplog):
    monkeypatch.setenv(
        "AIRFLOW_CONN_WORKBENCH_DEFAULT", "workbench://:token@127.0.0.1:1/api/v1/workflows/1/steps/not%20a%20slug/files"
    )
    pauses = []

    async def sleep(seconds):
        pauses.append(seconds)
        if len(pauses) == 20:
            raise asyncio.CancelledError

    monkeypatch.setattr(file_events.asyncio, "sleep", sleep)
    with pytest.raises(asyncio.CancelledError):
        async for _ in WorkbenchFileEventTrigger().run():
            pass
    assert pauses == sorted(pauses)
    assert (pauses[1] / pauses[0], pauses[-1]) == (2, 600)


@airflow_3
async def test_a_connection_to_another_step_starts_anew(monkeypatch, upload, workbench_sandbox, store):
    async with running(store) as trigger:
        await trigger.started()
        await until(lambda: store.writes)
    other = workbench_sandbox.workflow.add_step("step-other")
    monkeypatch.setenv("AIRFLOW_CONN_WORKBENCH_DEFAULT", other.connection_json())
    await upload("there.csv")
    async with running(store) as trigger:
        await trigger.started()
        uuid = await upload("new.csv")
        assert (await trigger.event())["uuid"] == uuid


def connection_by_another_name(step):
    """As if it were a Step with the same numbers on another Workbench."""
    return step.connection_json().replace("127.0.0.1", "localhost")


@airflow_3
async def test_a_step_with_the_same_numbers_of_another_workbench_is_another_step(
    monkeypatch, upload, workbench_sandbox, store
):
    async with running(store) as trigger:
        await trigger.started()
        await until(lambda: store.writes)
    await upload("there.csv")
    monkeypatch.setenv("AIRFLOW_CONN_WORKBENCH_DEFAULT", connection_by_another_name(workbench_sandbox.step))
    async with running(store) as trigger:
        await until(lambda: store.writes == 2)
        await trigger.no_event()


@airflow_3
@pytest.mark.parametrize("when", ["running", "stopped"])
async def test_files_without_an_event_that_a_moved_connection_drops_are_counted_in_the_log(
    monkeypatch, upload, workbench_sandbox, store, caplog, when
):
    monkeypatch.setattr(file_events, "_BETWEEN_EVENTS", 60)
    other = workbench_sandbox.workflow.add_step("step-other")
    async with running(store) as trigger:
        await trigger.started()
        told = await upload("0.csv")
        for name in ("1.csv", "2.csv"):
            await upload(name)
        await trigger.event()
        await until(lambda: told in store.uuids and len(store.pending) == 2)
        monkeypatch.setenv("AIRFLOW_CONN_WORKBENCH_DEFAULT", other.connection_json())
        if when == "running":
            workbench_sandbox.step.delete()
            await until(lambda: "leads to another Step now" in caplog.text)
    if when == "stopped":
        async with running(store) as trigger:
            await until(lambda: "leads to another Step now" in caplog.text)
    assert "2 Files of the earlier one had no event yet" in caplog.text


@airflow_3
async def test_what_cannot_be_stored_is_stored_with_the_next_file(upload, store, caplog):
    async with running(store) as trigger:
        await trigger.started()
        await until(lambda: store.writes)
        store.broken = True
        first = await upload("first.csv")
        assert (await trigger.event())["uuid"] == first
        await until(lambda: "could not be kept" in caplog.text)
        store.broken = False
        second = await upload("second.csv")
        assert (await trigger.event())["uuid"] == second
        await until(lambda: store.uuids == [second, first])


@airflow_3
async def test_what_cannot_be_stored_is_stored_later_even_if_no_file_comes(upload, store, caplog, monkeypatch):
    monkeypatch.setattr(file_events, "_STORE_AGAIN", 0.2)
    await upload("old.csv")
    store.broken_writes = True
    async with running(store) as trigger:
        await until(lambda: caplog.text.count("Files may be missed or come twice") >= 2)
        store.broken_writes = False
        await until(lambda: store.writes)
        await trigger.no_event()
    assert store.writes == 1
    uuid = await upload("meanwhile.csv")
    async with running(store) as trigger:
        assert (await trigger.event())["uuid"] == uuid
        await trigger.no_event()


@airflow_3
async def test_a_store_that_fails_keeps_none_of_the_others_from_being_written(upload, caplog, monkeypatch):
    monkeypatch.setattr(file_events, "_STORE_AGAIN", 0.2)
    first, second = Store(), Store()
    first.broken_writes = True
    monkeypatch.setattr(WorkbenchFileEventTrigger, "_stores", [first, second])
    async with running():
        await until(lambda: second.writes)
        assert first.writes == 0
        first.broken_writes = False
        await until(lambda: first.writes)
    assert first.values == second.values
    assert caplog.text.count("the API server is away") >= 1


@airflow_3
async def test_a_store_that_cannot_be_read_is_not_taken_for_empty(upload, store, caplog):
    async with running(store) as trigger:
        await trigger.started()
        await until(lambda: store.writes)
    uuid = await upload("meanwhile.csv")
    store.broken = True
    async with running(store) as trigger:
        await until(lambda: errors(caplog).count("new Files start no DAG at present") >= 2)
        store.broken = False
        assert (await trigger.event())["uuid"] == uuid
        await trigger.no_event()


@airflow_3
async def test_two_patterns_for_one_asset_have_a_memory_each(upload, store):
    async with running(store, filename="a*") as a, running(store, filename="b*") as b:
        await a.started()
        await b.started()
        await until(lambda: store.writes == 2)
    await upload("a.csv")
    uuid = await upload("b.csv")
    async with running(store, filename="a*") as a:
        assert (await a.event())["name"] == "a.csv"
        # seen, but not told of
        await until(lambda: any(uuid in value for value in store.values.values()))
    async with running(store, filename="b*") as b:
        assert (await b.event())["uuid"] == uuid


@with_stores
async def test_assets_that_share_a_trigger_all_remember(monkeypatch, upload):
    from airflow.sdk import Asset
    from airflow.sdk.execution_time import task_runner
    from airflow.sdk.execution_time.context import AssetStateStoreAccessors

    comms = Comms()
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", comms, raising=False)
    both = AssetStateStoreAccessors(inlets=[Asset("one"), Asset("two")])
    async with running(both) as trigger:
        await until(lambda: len(comms.values) == 2)
        before = dict(comms.values["one"])
        uuid = await upload("new.csv")
        await trigger.event()
        await until(lambda: comms.remember(uuid) == ["one", "two"])
    comms.values["one"] = before  # it was away meanwhile
    async with running(both) as trigger:
        await trigger.started()
        await trigger.no_event()
        await until(lambda: comms.remember(uuid) == ["one", "two"])
    del comms.values["two"]
    async with running(AssetStateStoreAccessors(inlets=[Asset("one")])) as trigger:
        await trigger.no_event()


class Comms:
    """The triggerer's half of the real accessors."""

    def __init__(self):
        self.values = {}

    async def asend(self, message):
        from airflow.sdk.exceptions import ErrorType
        from airflow.sdk.execution_time.comms import AssetStateStoreResult, ErrorResponse

        if message.type == "SetAssetStateStoreByName":
            self.values.setdefault(message.name, {})[message.key] = message.value
            return None
        assert message.type == "GetAssetStateStoreByName"
        try:
            return AssetStateStoreResult(value=self.values[message.name][message.key])
        except KeyError:
            return ErrorResponse(error=ErrorType.ASSET_STORE_NOT_FOUND)

    def remember(self, uuid):
        return sorted(
            name for name, values in self.values.items() for value in values.values() if uuid in value["uuids"]
        )


@airflow_3
def test_airflow_takes_it_as_an_assets_watcher():
    from airflow.sdk import Asset, AssetWatcher
    from airflow.triggers.base import BaseEventTrigger

    trigger = WorkbenchFileEventTrigger(workbench_conn_id="mine", filename="*.csv", poke_interval=30)
    Asset("files", watchers=[AssetWatcher(name="uploads", trigger=trigger)])
    path, kwargs = trigger.serialize()
    assert path == f"airflow_provider_workbench.triggers.workbench.{WorkbenchFileEventTrigger.__qualname__}"
    assert kwargs == {"workbench_conn_id": "mine", "filename": "*.csv", "poke_interval": 30}
    again = WorkbenchFileEventTrigger(**kwargs)
    assert BaseEventTrigger.hash(*again.serialize()) == BaseEventTrigger.hash(path, kwargs)
    assert BaseEventTrigger.hash(*WorkbenchFileEventTrigger().serialize()) != BaseEventTrigger.hash(path, kwargs)


@airflow_3
@pytest.mark.parametrize("filename", [None, "", " ", 5])
def test_a_name_that_no_file_has_is_refused_when_the_trigger_is_made(filename):
    with pytest.raises(TypeError, match="filename must be a File's name or a pattern"):
        WorkbenchFileEventTrigger(filename=filename)


@airflow_3
@pytest.mark.parametrize("poke_interval", ["30", None, True])
def test_an_interval_that_is_none_is_refused_when_the_trigger_is_made(poke_interval):
    with pytest.raises(TypeError, match="poke_interval must be a number of seconds"):
        WorkbenchFileEventTrigger(poke_interval=poke_interval)


@airflow_3
def test_an_interval_can_be_a_timedelta():
    assert WorkbenchFileEventTrigger(poke_interval=timedelta(minutes=2)).serialize()[1]["poke_interval"] == 120


@pytest.mark.skipif(AIRFLOW >= (3, 0), reason="Airflow 3 has event triggers")
def test_airflow_2_is_told_when_it_is_used():
    from airflow.exceptions import AirflowOptionalProviderFeatureException

    with pytest.raises(AirflowOptionalProviderFeatureException, match=r"needs Airflow 3.*WorkbenchFileSensor"):
        WorkbenchFileEventTrigger()


def errors(caplog):
    return "\n".join(each.getMessage() for each in caplog.records if each.levelno == logging.ERROR)


NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def file(uuid, age=0, name=None):
    return File(uuid, name or f"{uuid}.csv", 1, NOON - timedelta(seconds=age))


def step(*uuids):
    """A Step with these Files, newest first."""
    files = tuple(file(uuid, age) for age, uuid in enumerate(uuids))
    return Step("step-a", files, None, False, "busy", (), 0, 0)


def uuids_of(files):
    return [each.uuid for each in files]


def tell_all(seen):
    for each in seen.pending:
        seen = seen.with_told(each)
    return seen


def test_files_with_the_same_time_come_in_the_steps_order():
    files = tuple(File(uuid, "a.csv", 1, NOON) for uuid in "cba")
    same = Step("step-a", files, None, False, "busy", (), 0, 0)
    assert uuids_of(SeenFiles("1/step-a").with_new(same, "*").pending) == ["a", "b", "c"]


def test_a_file_that_vanishes_and_is_shown_again_is_not_new():
    old = [str(number) for number in range(29)]
    seen = SeenFiles("1/step-a").with_all(step("b", *old))
    seen = seen.with_new(step(*old, "29"), "*")  # a page that lags behind
    seen = tell_all(seen)
    assert uuids_of(seen.with_new(step("c", "b", *old), "*").pending) == ["c"]


def test_a_file_is_pending_until_it_was_told_of_even_when_the_step_lists_it_no_more():
    seen = SeenFiles("1/step-a").with_new(step("a"), "*").with_new(step("b"), "*").with_new(step("b"), "*")
    assert (uuids_of(seen.pending), seen.uuids) == (["a", "b"], ())
    seen = seen.with_told(seen.pending[0])
    assert (uuids_of(seen.pending), seen.uuids) == (["b"], ("a",))


def test_a_file_that_does_not_match_is_seen_and_not_pending():
    seen = SeenFiles("1/step-a").with_new(step("b", "a"), "a*")
    assert (uuids_of(seen.pending), seen.uuids) == (["a"], ("b",))


def test_what_any_of_several_assets_was_told_of_is_not_pending():
    one = SeenFiles("1/step-a", ("x",), (file("b", 1), file("c")))
    two = SeenFiles("1/step-a", ("b", "x"), (file("a", 2), file("c")))
    both = one.with_others([two])
    assert (uuids_of(both.pending), both.uuids) == (["a", "c"], ("x", "b"))


def test_what_is_remembered_stays_small():
    seen = SeenFiles("1/step-a")
    for first in range(0, 3000, 30):
        listed = [f"{number:036}" for number in reversed(range(first, first + 30))]
        seen = tell_all(seen.with_new(step(*listed), "*"))
        assert seen.with_new(step(*listed), "*").pending == ()
    assert len(json.dumps(seen.as_dict())) < 5000


@pytest.mark.parametrize("at_start", [SeenFiles.with_all, lambda seen, step: tell_all(seen.with_new(step, "*"))])
def test_a_step_that_lists_very_many_files_has_no_new_ones(at_start):
    many = step(*(str(number) for number in range(1000)))
    seen = at_start(SeenFiles("1/step-a"), many)
    assert seen.with_new(many, "*").pending == ()
    assert seen.with_new(many, "*").with_new(many, "*").pending == ()
    assert len(json.dumps(seen.as_dict())) < 60_000


def test_what_is_stored_fits_into_airflows_store_and_keeps_the_oldest():
    crowd = tuple(file(f"{number:036}", -number, "\u20ac" * 100) for number in range(1000))
    stored = SeenFiles("1/step-a", tuple(f"{number:036}" for number in range(90)), crowd).as_dict()
    assert len(json.dumps(stored)) < 60_000
    kept = SeenFiles.from_stored(stored).pending
    assert kept == crowd[: len(kept)]
    assert len(kept) > 50


def test_what_is_stored_comes_back():
    seen = SeenFiles("1/step-a", ("b", "a"), (file("c"), file("d")))
    assert SeenFiles.from_stored(json.loads(json.dumps(seen.as_dict()))) == seen


@pytest.mark.parametrize(
    "value",
    [
        None,
        1,
        "text",
        [],
        {},
        {"step": "1/step-a"},
        {"step": "1/step-a", "uuids": ["a"]},
        {"step": 1, "uuids": [], "pending": []},
        {"uuids": [], "pending": []},
        {"step": "1/step-a", "uuids": [], "pending": 5},
        {"step": "1/step-a", "uuids": [], "pending": [{"uuid": "a"}]},
        {"step": "1/step-a", "uuids": [], "pending": [{"uuid": "a", "name": "a", "size": 1, "created_at": "noon"}]},
    ],
)
def test_what_somebody_else_stored_is_nothing(value):
    assert SeenFiles.from_stored(value) is None
