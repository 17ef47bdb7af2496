"""``WorkbenchFileTrigger`` against the sandbox."""

from __future__ import annotations

import asyncio
import logging
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from airflow_provider_workbench.client.answers import Answer
from airflow_provider_workbench.client.async_session import AsyncSession
from airflow_provider_workbench.client.errors import ConnectError, StepGoneError, TlsError
from airflow_provider_workbench.hooks.workbench import WorkbenchHook
from airflow_provider_workbench.triggers.workbench import WorkbenchFileTrigger


def trigger(seconds=20.0, conn_id="workbench_default", **wanted):
    deadline = datetime.now(UTC) + timedelta(seconds=seconds)
    wanted = {"until": "listed", "name": "a.csv", **wanted}
    return WorkbenchFileTrigger(conn_id, wanted, deadline.isoformat(), poke_interval=0.1)


def event_of(a_trigger):
    async def first():
        async for event in a_trigger.run():
            return event.payload
        return None

    return asyncio.run(first())


@pytest.fixture(autouse=True)
def hurry(monkeypatch):
    monkeypatch.setattr("airflow_provider_workbench.client.steps.SECOND_LOOK", (0.05, 0.1))


@pytest.fixture
def hook(monkeypatch, workbench_sandbox):
    monkeypatch.setenv("AIRFLOW_CONN_WORKBENCH_DEFAULT", workbench_sandbox.step.connection_json())
    return WorkbenchHook()


def test_it_fires_for_a_file_that_is_there(hook):
    uuid = hook.upload_file(b"a\n1\n", filename="a.csv", read_step=True).uuid
    event = event_of(trigger())
    assert (event["state"], event["file"]["uuid"]) == ("seen", uuid)


def test_it_fires_for_a_file_that_comes_while_it_waits(hook, workbench_sandbox):
    timer = threading.Timer(0.5, lambda: hook.upload_file(b"a\n1\n", filename="a.csv"))
    timer.start()
    event = event_of(trigger(until="rendered"))
    timer.join()
    assert (event["state"], event["file"]["n_rows"]) == ("seen", 1)


def test_what_it_serializes_makes_the_same_trigger(hook):
    first = trigger(until="selected", size=4, not_before="2026-01-01T00:00:00+00:00")
    path, kwargs = first.serialize()
    assert path == f"{WorkbenchFileTrigger.__module__}.{WorkbenchFileTrigger.__qualname__}"
    assert WorkbenchFileTrigger(**kwargs).serialize() == first.serialize()


def test_the_deadline_is_absolute(hook):
    event = event_of(trigger(seconds=-1))
    assert event["state"] == "timeout"
    assert "not among the Step's Files" in event["message"]


def test_what_no_retry_mends_ends_the_wait_as_an_event(hook, workbench_sandbox):
    workbench_sandbox.step.delete()
    event = event_of(trigger())
    assert (event["state"], event["kind"]) == ("error", "StepGoneError")


def test_an_unreachable_workbench_is_waited_for(monkeypatch):
    # what a first look may take beyond the deadline
    monkeypatch.setattr("airflow_provider_workbench.triggers.workbench._FIRST_LOOK", 2.0)
    monkeypatch.setenv(
        "AIRFLOW_CONN_WORKBENCH_DEFAULT", "workbench://:token@127.0.0.1:1/api/v1/workflows/1/steps/step-x/files"
    )
    event = event_of(trigger(seconds=0.5))
    assert event["state"] == "timeout"
    assert "Could not connect" in event["message"]


def test_a_connection_that_cannot_work_is_an_error_event(monkeypatch):
    monkeypatch.setenv("AIRFLOW_CONN_WORKBENCH_DEFAULT", "workbench://:token@app.example/workflows/1/")
    event = event_of(trigger())
    assert (event["state"], event["kind"]) == ("error", "WorkbenchFatalError")


def test_an_unexpected_error_is_an_event_too(hook, caplog):
    broken = trigger()
    broken._log = logging.getLogger("the_trigger")  # Airflow 3's own does not pass caplog
    hook.upload_file(b"a\n1\n", filename="a.csv")
    broken.wanted["no_such_field"] = 1
    event = event_of(broken)
    assert (event["state"], event["kind"]) == ("error", "WaitingFailedError")
    # where, but not its own words, which may hold anything
    assert "from_dict" in caplog.text
    assert "no_such_field" not in caplog.text + str(event)


def test_a_file_that_came_while_the_triggerer_was_down_is_seen(hook, workbench_sandbox):
    """Also after the deadline: nobody could look earlier."""
    hook.upload_file(b"a\n1\n", filename="a.csv")
    assert event_of(trigger(seconds=-600))["state"] == "seen"
    assert [request.path for request in workbench_sandbox.requests][-1] == "/workflows/1"


def test_waiting_costs_no_request(hook, workbench_sandbox):
    event = event_of(trigger(seconds=1.5))
    assert event == {"state": "timeout", "message": "File 'a.csv' is not among the Step's Files yet.", "uuid": None}
    assert [request.status for request in workbench_sandbox.requests] == [101]


def test_a_later_file_supersedes(hook):
    hook.upload_file(b"a\n1\n", filename="a.csv")
    hook.upload_file(b"b\n1\n", filename="b.csv")
    event = event_of(trigger(until="rendered"))
    assert (event["state"], event["file"]["name"]) == ("superseded", "a.csv")
    assert "'b.csv'" in event["message"]


async def until_true(condition):
    async with asyncio.timeout(15):
        while not condition():
            await asyncio.sleep(0.01)


async def contradicted(hook, sandbox, is_contradicted):
    """The event of a wait that was sent a message that its File is gone, and later that another took its place."""
    sandbox.render_delay = 60
    upload = await asyncio.to_thread(hook.upload_file, b"a\n1\n", filename="a.csv", read_step=True)
    sandbox.clear_requests()
    a_trigger = trigger(seconds=60, until="rendered", uuid=upload.uuid)
    waiting = asyncio.create_task(anext(a_trigger.run()))
    await until_true(lambda: "is rendering it" in a_trigger._last_seen)
    with sandbox.workbench.changed:
        # as one that was overtaken by a later one
        sandbox.workbench.push(sandbox.step.workflow, {"updateSteps": {str(sandbox.step.id): {"files": []}}})
    await until_true(lambda: waiting.done() or is_contradicted())
    await asyncio.to_thread(hook.upload_file, b"b\n1\n", filename="b.csv")
    event = (await waiting).payload
    assert (event["state"], event["file"] and event["file"]["uuid"]) == ("superseded", upload.uuid)
    assert "'b.csv'" in event["message"]


async def test_a_stale_message_that_the_file_is_gone_is_contradicted_by_the_page_and_the_wait_goes_on(
    hook, workbench_sandbox
):
    def pages():
        return [request.status for request in workbench_sandbox.requests].count(200)

    # the page is asked for only then
    await contradicted(hook, workbench_sandbox, lambda: pages() == 1)


@pytest.mark.parametrize(
    "trouble",
    [ConnectError("no"), TlsError("no"), Answer(403, {}, b"<html>")],
    ids=["no answer", "no handshake", "closed"],
)
async def test_a_page_that_cannot_be_read_for_a_moment_is_read_again(hook, workbench_sandbox, monkeypatch, trouble):
    """The one that confirms that a File is gone."""
    read_page, looks = AsyncSession.read_page, []

    async def read(session):
        looks.append(session)
        if len(looks) > 1:
            return await read_page(session)
        if isinstance(trouble, Exception):
            raise trouble
        return trouble

    monkeypatch.setattr(AsyncSession, "read_page", read)
    await contradicted(hook, workbench_sandbox, lambda: len(looks) == 2)


def test_a_file_that_the_page_does_not_show_either_is_gone(hook, workbench_sandbox):
    workbench_sandbox.render_delay = 60
    uuid = hook.upload_file(b"a\n1\n", filename="a.csv", read_step=True).uuid
    workbench_sandbox.step_file_limit = 1
    hook.upload_file(b"b\n1\n", filename="b.csv")
    event = event_of(trigger(until="rendered", uuid=uuid))
    assert (event["state"], event["file"]) == ("superseded", None)


def test_a_file_that_it_has_seen_and_that_is_gone_is_not_waited_for(hook, workbench_sandbox):
    """Also where nobody knew its uuid before."""
    workbench_sandbox.render_delay = 60
    upload = hook.upload_file(b"a\n1\n", filename="a.csv")
    a_trigger = trigger(until="rendered", size=4, not_before=upload.not_before)

    async def run():
        waiting = asyncio.create_task(anext(a_trigger.run()))
        await until_true(lambda: "is rendering it" in a_trigger._last_seen)
        workbench_sandbox.step_file_limit = 1
        await asyncio.to_thread(hook.upload_file, b"b\n1\n", filename="b.csv")
        return (await waiting).payload

    (file,) = workbench_sandbox.step.files
    event = asyncio.run(run())
    assert (event["state"], event["uuid"]) == ("superseded", file.uuid)


class TestMendedConnection:
    """Settings are shared for some seconds, so a wait may begin with those from before somebody mended them."""

    async def one(self):
        return (await anext(trigger(until="listed", seconds=20).run())).payload

    async def test_it_counts_for_a_wait_that_began_with_stale_settings(self, monkeypatch, workbench_sandbox):
        step = workbench_sandbox.secret_step
        monkeypatch.setenv("AIRFLOW_CONN_WORKBENCH_DEFAULT", step.connection_json())
        await WorkbenchHook().aget_settings()
        text = step.connection_json(secret_link=step.secret_link_url)
        monkeypatch.setenv("AIRFLOW_CONN_WORKBENCH_DEFAULT", text)
        await asyncio.to_thread(WorkbenchHook().upload_file, b"a\n1\n", filename="a.csv")
        assert [event["state"] for event in await asyncio.gather(self.one(), self.one())] == ["seen", "seen"]

    async def test_one_that_is_the_same_ends_the_wait_after_one_more_look_up(self, monkeypatch, workbench_sandbox):
        look_up, times = WorkbenchHook._look_up, []

        async def counted(hook):
            times.append(hook)
            return await look_up(hook)

        monkeypatch.setattr(WorkbenchHook, "_look_up", counted)
        monkeypatch.setenv("AIRFLOW_CONN_WORKBENCH_DEFAULT", workbench_sandbox.private_step.connection_json())
        events = await asyncio.gather(*(self.one() for _ in range(20)))
        assert {event.get("kind") for event in events} == {"StepUnreadableError"}
        assert len(times) == 2, "shared by all"
        assert [request.status for request in workbench_sandbox.requests] == [403, 403, 403]

    @pytest.mark.parametrize(
        ("others", "looks"), [("session_token", 6), ("token", 3)], ids=["matters to reading", "matters to uploads only"]
    )
    async def test_settings_that_are_others_every_time_are_tried_once_more_if_they_matter(
        self, monkeypatch, workbench_sandbox, others, looks
    ):
        look_up, times = WorkbenchHook._look_up, []

        async def changing(hook):
            times.append(hook)
            return replace(await look_up(hook), **{others: f"t{len(times)}"})

        monkeypatch.setattr(WorkbenchHook, "_look_up", changing)
        monkeypatch.setenv("AIRFLOW_CONN_WORKBENCH_DEFAULT", workbench_sandbox.private_step.connection_json())
        assert (await self.one())["kind"] == "StepUnreadableError"
        assert len(times) == 2
        # a websocket and two pages for each try
        assert [request.status for request in workbench_sandbox.requests] == [403] * looks


async def test_a_connection_that_airflow_does_not_give_counts_as_waiting(hook, monkeypatch):
    """Airflow's own limit comes soon after the deadline, and would end the task without a word."""

    async def never(hook):
        await asyncio.Event().wait()

    monkeypatch.setattr("airflow_provider_workbench.triggers.workbench._FIRST_LOOK", 0.2)
    monkeypatch.setattr(WorkbenchHook, "_look_up", never)
    async with asyncio.timeout(10):
        event = (await anext(trigger(seconds=0.1).run())).payload
    assert event == {"state": "timeout", "message": "Workbench has not answered.", "uuid": None}


def test_a_render_error_is_told_in_workbenchs_words(hook, workbench_sandbox):
    workbench_sandbox.render_error = "No such sheet"
    workbench_sandbox.render_delay = 0.3
    hook.upload_file(b"a\n1\n", filename="a.csv")
    event = event_of(trigger(until="rendered"))
    assert (event["state"], event["message"]) == ("render-error", "No such sheet")


def test_the_page_is_read_where_websockets_cannot_pass(hook, workbench_sandbox):
    workbench_sandbox.websocket_refusal = 502
    timer = threading.Timer(1, lambda: hook.upload_file(b"a\n1\n", filename="a.csv"))
    timer.start()
    assert event_of(trigger())["state"] == "seen"
    timer.join()


def test_the_page_is_read_once_a_second_at_most(hook, monkeypatch):
    """However often one task of a triggerer wants it."""
    asked = []

    def watch_step(settings, *, poke_interval, log):
        asked.append(poke_interval)
        raise StepGoneError("It is gone.")

    monkeypatch.setattr("airflow_provider_workbench.client.watch.watch_step", watch_step)
    assert trigger().poke_interval == 0.1
    assert event_of(trigger())["state"] == "error"
    assert asked == [1.0]


def test_triggers_of_one_workflow_share_a_socket_and_go_one_by_one(hook, workbench_sandbox):
    deadline_of_one = trigger(name="never.csv", seconds=1)

    async def run():
        cancelled, *others = (
            asyncio.create_task(anext(each.run())) for each in (trigger(), trigger(), deadline_of_one)
        )
        await asyncio.sleep(0.5)
        sockets = workbench_sandbox.open_websockets
        cancelled.cancel()
        await asyncio.wait([cancelled, others[1]])
        await asyncio.to_thread(hook.upload_file, b"a\n1\n", filename="a.csv")
        return sockets, [(await each).payload["state"] for each in others]

    async def left():
        async with asyncio.timeout(5):
            while workbench_sandbox.open_websockets:
                await asyncio.sleep(0.01)

    assert asyncio.run(run()) == (1, ["seen", "timeout"])
    asyncio.run(left())


def test_it_does_not_block_the_event_loop(hook, workbench_sandbox):
    """Other triggers of the process go on while this one waits for an answer."""
    workbench_sandbox.render_delay = 60
    hook.upload_file(b"a\n1\n", filename="a.csv")
    ticks = []

    async def tick():
        while True:
            ticks.append(1)
            await asyncio.sleep(0.01)

    async def both():
        ticking = asyncio.create_task(tick())
        async for _ in trigger(seconds=1, until="rendered").run():
            ticking.cancel()

    asyncio.run(both())
    # blocking would leave a handful; the exact count is the machine's business
    assert len(ticks) > 20
