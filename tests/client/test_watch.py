"""Waiting on a Step's websocket, against the sandbox."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from contextvars import ContextVar

import pytest
from watchers import (
    Waiter,
    deliver,
    first,
    lists,
    nothing_left,
    sandbox_requests,
    settings_of_step,
    settled,
)

from airflow_provider_workbench.client import errors
from airflow_provider_workbench.client.settings import Settings
from airflow_provider_workbench.client.watch import watch_step
from airflow_provider_workbench.client.watcher import Watcher
from airflow_provider_workbench.sandbox import Sandbox

WATCHER = "airflow_provider_workbench.client.watcher"


@pytest.fixture(autouse=True)
async def _tidy() -> AsyncIterator[None]:
    async with nothing_left():
        yield


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airflow_provider_workbench.client.steps.SECOND_LOOK", (0.05, 0.1))


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reconnects within milliseconds."""
    monkeypatch.setattr(f"{WATCHER}.FIRST_PAUSE", 0.01)
    monkeypatch.setattr(f"{WATCHER}.LONGEST_PAUSE", 0.02)
    monkeypatch.setattr(f"{WATCHER}.FIRST_POKE", 0.05)


@pytest.fixture
def short_lived(monkeypatch: pytest.MonkeyPatch, impatient: None) -> None:
    """A fresh socket every fifth of a second."""
    monkeypatch.setattr(f"{WATCHER}.SOCKET_AGE", 0.2)


async def test_first_state_shows_a_file_that_is_there(wb: Sandbox, settings: Settings) -> None:
    uuid = deliver(wb)
    async with Waiter(settings) as waiter:
        step = await waiter.until(lambda step: True)
    assert (step.files[0].uuid, step.files[0].name, step.selected_uuid) == (uuid, "a.csv", uuid)
    assert sandbox_requests(wb) == [101]


async def test_file_that_comes_before_the_socket_is_open_is_seen(wb: Sandbox, settings: Settings) -> None:
    async with watch_step(settings, poke_interval=60, log=print) as states:
        deliver(wb)
        assert [file.name for file in (await first(states)).files] == ["a.csv"]


async def test_file_is_seen_at_once_and_without_a_request(wb: Sandbox, settings: Settings) -> None:
    async with Waiter(settings) as waiter:
        await waiter.until(lambda step: True)
        deliver(wb)
        await waiter.until(lists("a.csv"))
    assert sandbox_requests(wb) == [101]
    assert waiter.lines == []


async def test_render_is_seen_after_the_file(wb: Sandbox, settings: Settings) -> None:
    """The whole Step comes first, then a part of it."""
    wb.render_delay = 0.1
    async with Waiter(settings) as waiter:
        await waiter.until(lambda step: True)
        uuid = deliver(wb, content=b"A,B\n1,2\n3,4\n")
        listed = await waiter.until(lists("a.csv"))
        done = await waiter.until(lambda step: step.rendered and bool(step.files))
    assert (listed.rendered, listed.output_status) == (False, "busy")
    assert (done.files[0].uuid, done.output_status, done.n_rows, done.n_columns) == (uuid, "ok", 2, 2)


async def test_slow_reader_gets_the_newest_state_only(wb: Sandbox, settings: Settings) -> None:
    async with Waiter(settings) as other, watch_step(settings, poke_interval=60, log=print) as states:
        await first(states)
        for number in range(5):
            deliver(wb, f"{number}.csv")
        await other.until(lists("4.csv"))
        assert len((await first(states)).files) == 5


async def test_state_that_came_before_the_end_is_told_before_it(wb: Sandbox, settings: Settings) -> None:
    async with Waiter(settings) as other, watch_step(settings, poke_interval=60, log=print) as states:
        await first(states)
        deliver(wb)
        wb.step.delete()
        await other.until_failed()
        assert lists("a.csv")(await anext(states))
        with pytest.raises(errors.StepGoneError):
            await anext(states)


async def test_two_steps_of_a_workflow_share_a_socket(wb: Sandbox, settings: Settings) -> None:
    second = wb.workflow.add_step("step-second")
    async with Waiter(settings) as one, Waiter(settings_of_step(second)) as two:
        await one.until(lambda step: True)
        await two.until(lambda step: step.slug == "step-second")
        deliver(wb, "one.csv")
        deliver(wb, "two.csv", step=second)
        await one.until(lists("one.csv"))
        await two.until(lists("two.csv"))
        assert wb.open_websockets == 1
    assert (one.names, two.names) == (["one.csv"], ["two.csv"])
    assert sandbox_requests(wb) == [101]


async def test_change_of_another_step_is_no_news(wb: Sandbox, settings: Settings) -> None:
    second = wb.workflow.add_step("step-second")
    async with Waiter(settings) as one, Waiter(settings_of_step(second)) as two:
        await one.until(lambda step: True)
        deliver(wb, step=second)
        await two.until(lambda step: step.rendered and bool(step.files))
    assert len(one.states) == 1


async def test_workflows_and_credentials_have_sockets_of_their_own(wb: Sandbox, settings: Settings) -> None:
    secret = wb.secret_step
    mine = settings_of_step(secret, secret_link=secret.secret_link)
    owners = settings_of_step(secret, session_token=wb.session_cookie)
    async with Waiter(settings) as one, Waiter(mine) as two, Waiter(owners) as three:
        for waiter in (one, two, three):
            await waiter.until(lambda step: True)
        assert wb.open_websockets == 3
        deliver(wb, step=secret)
        await two.until(lists("a.csv"))
        await three.until(lists("a.csv"))
    assert one.names == []


async def test_settings_that_matter_to_uploads_only_do_not_cost_a_socket(wb: Sandbox, settings: Settings) -> None:
    other = settings_of_step(wb.step, chunk_size=1000, retry_budget=5, show_secret_link=True)
    async with Waiter(settings) as one, Waiter(other) as two:
        await one.until(lambda step: True)
        await two.until(lambda step: True)
        assert wb.open_websockets == 1


async def test_many_wait_over_one_socket(wb: Sandbox, settings: Settings) -> None:
    async with AsyncExitStack() as stack:
        waiters = [await stack.enter_async_context(Waiter(settings)) for _ in range(300)]
        await settled(lambda: all(waiter.states for waiter in waiters))
        deliver(wb)
        await settled(lambda: all(waiter.names == ["a.csv"] for waiter in waiters))
        assert wb.open_websockets == 1
    assert sandbox_requests(wb) == [101]


async def test_who_joins_later_gets_the_present_state(wb: Sandbox, settings: Settings) -> None:
    async with Waiter(settings) as early:
        await early.until(lambda step: True)
        deliver(wb)
        await early.until(lambda step: step.rendered and bool(step.files))
        async with Waiter(settings) as late:
            await settled(lambda: bool(late.states))
    assert late.states[0] == early.states[-1]
    assert sandbox_requests(wb) == [101]


async def test_the_last_who_leaves_closes_the_socket(wb: Sandbox, settings: Settings) -> None:
    async with Waiter(settings) as stays:
        async with Waiter(settings) as leaves:
            await leaves.until(lambda step: True)
        assert leaves.task.cancelled()
        deliver(wb)
        await stays.until(lists("a.csv"))
        assert wb.open_websockets == 1
    await settled(lambda: wb.open_websockets == 0)
    assert sandbox_requests(wb) == [101]


async def test_who_comes_after_the_last_gets_a_new_socket(wb: Sandbox, settings: Settings) -> None:
    for _ in range(2):
        async with watch_step(settings, poke_interval=60, log=print) as states:
            await first(states)
    assert sandbox_requests(wb) == [101, 101]


async def test_leaving_before_the_socket_is_open_leaves_nothing(wb: Sandbox, settings: Settings) -> None:
    for turns in range(20):
        async with watch_step(settings, poke_interval=60, log=print):
            for _ in range(turns):
                await asyncio.sleep(0)
    await settled(lambda: wb.open_websockets == 0)


@pytest.mark.usefixtures("impatient")
async def test_no_file_is_missed_when_the_socket_is_cut_again_and_again(wb: Sandbox, settings: Settings) -> None:
    wb.step_file_limit = 100
    uuids = []
    async with Waiter(settings) as waiter:
        await waiter.until(lambda step: True)
        for number in range(20):
            wb.drop_websockets()
            uuids.append(deliver(wb, f"{number}.csv"))
            if number % 2:
                await waiter.until(lists(f"{number}.csv"))
        await waiter.until(lists("19.csv"))
    seen = {file.uuid for step in waiter.states for file in step.files}
    assert seen == set(uuids)
    assert set(sandbox_requests(wb)) == {101}
    assert waiter.lines == []


@pytest.mark.usefixtures("impatient")
async def test_server_that_is_down_is_waited_for(wb: Sandbox, settings: Settings) -> None:
    async with Waiter(settings) as waiter:
        await waiter.until(lambda step: True)
        wb.frontend_down = True
        await settled(lambda: bool(waiter.lines))
        async with Waiter(settings) as late:
            await settled(lambda: bool(late.lines))
            deliver(wb)
            wb.frontend_down = False
            await late.until(lists("a.csv"))
            await waiter.until(lists("a.csv"))
    assert late.lines == waiter.lines
    assert len(waiter.lines) == 1, "the same trouble is logged once"
    assert "Could not connect to 127.0.0.1: Connection refused" in waiter.lines[0]


@pytest.mark.usefixtures("impatient")
async def test_state_is_told_again_after_trouble(wb: Sandbox, settings: Settings) -> None:
    """Else the trouble would be the last that a waiter knows."""
    async with Waiter(settings) as waiter:
        await waiter.until(lambda step: True)
        wb.frontend_down = True
        await settled(lambda: bool(waiter.lines))
        wb.frontend_down = False
        await settled(lambda: len(waiter.states) == 2)
    assert waiter.states[0] == waiter.states[1]


@pytest.mark.usefixtures("impatient")
async def test_socket_that_is_silent_for_long_is_replaced(
    wb: Sandbox, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_provider_workbench.client.websocket.SILENCE_LIMIT", 0.3)
    wb.websockets_silent = True
    async with Waiter(settings) as waiter:
        await waiter.until(lambda step: True)
        deliver(wb)
        await waiter.until(lists("a.csv"))
    assert sandbox_requests(wb) == [101, 101]


@pytest.mark.usefixtures("short_lived")
async def test_socket_is_renewed_before_the_old_one_is_closed(wb: Sandbox, settings: Settings) -> None:
    wb.step_file_limit = 100
    wb.render_delay = 60
    async with Waiter(settings) as waiter:
        await waiter.until(lambda step: True)
        for number in range(30):
            deliver(wb, f"{number}.csv")
            await waiter.until(lists(f"{number}.csv"))
            await asyncio.sleep(0.02)
        assert wb.open_websockets <= 2
        assert len(sandbox_requests(wb)) > 2
    assert set(sandbox_requests(wb)) == {101}
    assert len(waiter.states) == 31, "a complete state that says nothing new is not told"


@pytest.mark.usefixtures("short_lived")
async def test_deleted_workflow_ends_the_wait(wb: Sandbox, settings: Settings) -> None:
    async with Waiter(settings) as waiter:
        await waiter.until(lambda step: True)
        wb.workflow.delete()
        error = await waiter.until_failed()
    assert type(error) is errors.StepGoneError
    assert "no such Workflow. It was deleted" in str(error)


@pytest.mark.usefixtures("short_lived")
async def test_reset_secret_link_ends_the_wait(wb: Sandbox) -> None:
    step = wb.secret_step
    async with Waiter(settings_of_step(step, secret_link=step.secret_link)) as waiter:
        await waiter.until(lambda step: True)
        step.workflow.reset_secret_link()
        error = await waiter.until_failed()
    assert type(error) is errors.StepGoneError
    assert "secret link was reset" in str(error)


@pytest.mark.usefixtures("short_lived")
async def test_workflow_that_is_made_private_ends_the_wait(wb: Sandbox, settings: Settings) -> None:
    async with Waiter(settings) as waiter:
        await waiter.until(lambda step: True)
        wb.workflow.public = False
        error = await waiter.until_failed()
    assert type(error) is errors.StepUnreadableError
    assert "it is private" in str(error)


async def test_deleted_step_ends_the_wait_for_it_and_for_no_other(wb: Sandbox, settings: Settings) -> None:
    second = wb.workflow.add_step("step-second")
    async with Waiter(settings) as one, Waiter(settings_of_step(second)) as two:
        await one.until(lambda step: True)
        await two.until(lambda step: True)
        second.delete()
        error = await two.until_failed()
        deliver(wb)
        await one.until(lists("a.csv"))
    assert type(error) is errors.StepGoneError
    assert "no Step step-second" in str(error)


async def test_step_that_was_never_there_is_told_at_once(wb: Sandbox, settings: Settings) -> None:
    wb.step.delete()
    async with Waiter(settings) as waiter:
        assert type(await waiter.until_failed()) is errors.StepGoneError
    assert sandbox_requests(wb) == [101]


async def test_refused_socket_is_explained_by_the_page(wb: Sandbox, settings: Settings) -> None:
    """Both answer 403 at the handshake; the page tells a private Workflow from an unknown one."""
    async with Waiter(settings_of_step(wb.private_step)) as waiter:
        assert type(await waiter.until_failed()) is errors.StepUnreadableError
    wb.workflow.delete()
    async with Waiter(settings) as waiter:
        assert type(await waiter.until_failed()) is errors.StepGoneError
    assert sandbox_requests(wb) == [403, 403, 403, 403, 404, 404], "each page twice"


async def test_answer_that_the_workflow_is_closed_must_come_twice(wb: Sandbox, settings: Settings) -> None:
    """What a server says for a moment, while it is restarted."""
    steps = "airflow_provider_workbench.client.steps"
    async with Waiter(settings) as waiter, Waiter(settings) as other:
        await waiter.until(lambda step: True)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(f"{steps}.SECOND_LOOK", (0.5, 0.5))
            patch.setattr(f"{WATCHER}.FIRST_PAUSE", 0.01)
            wb.workflow.public = False
            wb.drop_websockets()
            await settled(lambda: bool(waiter.lines))
            wb.workflow.public = True
            deliver(wb)
            await waiter.until(lists("a.csv"))
            await other.until(lists("a.csv"))
        # and a later one counts anew
        wb.drop_websockets()
        deliver(wb, "b.csv")
        await waiter.until(lists("b.csv"))
    assert (waiter.error, other.error) == (None, None)
    assert len(waiter.lines) == 1
    assert "trying again: " in waiter.lines[0]
    assert "it is private" in waiter.lines[0]


@pytest.mark.parametrize("poke_interval", [0, -1, float("nan")])
async def test_poke_interval_that_is_none_is_refused(settings: Settings, poke_interval: float) -> None:
    with pytest.raises(errors.ConfigurationError, match="poke_interval must be a number of seconds above 0"):
        async with watch_step(settings, poke_interval=poke_interval, log=print):
            pass


async def test_who_comes_after_the_end_gets_another_try(wb: Sandbox, settings: Settings) -> None:
    wb.workflow.public = False
    async with Waiter(settings) as waiter:
        await waiter.until_failed()
        wb.workflow.public = True
        async with Waiter(settings) as other:
            await other.until(lambda step: True)


async def test_who_comes_after_the_end_does_not_share_it_with_who_has_not_read_it(
    wb: Sandbox, settings: Settings
) -> None:
    wb.workflow.public = False
    async with watch_step(settings, poke_interval=60, log=print) as unread:
        async with Waiter(settings) as waiter:
            await waiter.until_failed()
        wb.workflow.public = True
        async with Waiter(settings) as other:
            await other.until(lambda step: True)
        with pytest.raises(errors.StepUnreadableError):
            await anext(unread)


async def test_watcher_keeps_nothing_of_the_first_waiters_context(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A triggerer finds a log line's trigger by the context."""
    trigger = ContextVar("trigger", default="none")
    seen = []
    run = Watcher.run

    async def noting(watcher: Watcher) -> None:
        seen.append(trigger.get())
        await run(watcher)

    monkeypatch.setattr(Watcher, "run", noting)
    trigger.set("first")
    async with Waiter(settings) as waiter:
        await waiter.until(lambda step: True)
    assert seen == ["none"]


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("status", [400, 403, 404, 426, 500, 502])
async def test_page_is_read_where_websockets_cannot_pass(wb: Sandbox, settings: Settings, status: int) -> None:
    wb.websocket_refusal = status
    async with Waiter(settings) as waiter:
        await settled(lambda: len(sandbox_requests(wb)) > 10)
        deliver(wb)
        await waiter.until(lists("a.csv"))
        async with Waiter(settings) as late:
            await late.until(lists("a.csv"))
    assert len(waiter.lines) == 1, "said once"
    assert late.lines == waiter.lines
    assert f"answered {status} to a websocket" in waiter.lines[0]
    assert sandbox_requests(wb).count(status) == 3
    assert set(sandbox_requests(wb)) == {status, 200}


@pytest.mark.usefixtures("impatient")
async def test_blocked_websockets_are_said_once_however_often_they_are_tried(
    wb: Sandbox, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{WATCHER}.FIRST_RETRIAL", 0.1)
    wb.websocket_refusal = 404
    async with Waiter(settings) as waiter:
        for number in range(5):
            deliver(wb, f"{number}.csv")
            await waiter.until(lists(f"{number}.csv"))
        await settled(lambda: sandbox_requests(wb).count(404) > 5)
    assert len(waiter.lines) == 1


async def test_who_joins_while_the_page_is_read_does_not_wait_for_the_poke_interval(
    wb: Sandbox, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{WATCHER}.FIRST_PAUSE", 0.01)
    monkeypatch.setattr(f"{WATCHER}.FIRST_POKE", 0.02)
    wb.websocket_refusal = 404
    async with Waiter(settings, poke_interval=60):
        # 0.02 + 0.04 + … seconds: the next pause is as long as all before
        await settled(lambda: sandbox_requests(wb).count(200) > 9)
        await asyncio.sleep(0.1)
        began = time.monotonic()
        async with Waiter(settings, poke_interval=60) as late:
            await late.until(lambda step: True)
    assert time.monotonic() - began < 0.6


@pytest.mark.usefixtures("impatient")
async def test_websocket_is_used_again_when_it_can_pass(
    wb: Sandbox, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{WATCHER}.FIRST_RETRIAL", 0.2)
    wb.websocket_refusal = 404
    async with Waiter(settings) as waiter:
        await settled(lambda: bool(waiter.lines))
        wb.websocket_refusal = None
        await settled(lambda: wb.open_websockets == 1)
        wb.clear_requests()
        deliver(wb)
        await waiter.until(lists("a.csv"))
        assert sandbox_requests(wb) == []
    assert len(waiter.lines) == 1


@pytest.mark.usefixtures("impatient")
async def test_polling_survives_trouble_and_ends_with_the_step(wb: Sandbox, settings: Settings) -> None:
    wb.websocket_refusal = 404
    async with Waiter(settings) as waiter:
        await settled(lambda: len(waiter.lines) == 1)
        wb.frontend_down = True
        await settled(lambda: len(waiter.lines) == 2)
        wb.frontend_down = False
        deliver(wb)
        await waiter.until(lists("a.csv"))
        wb.step.delete()
        error = await waiter.until_failed()
    assert type(error) is errors.StepGoneError
    assert "trying again: Could not connect" in waiter.lines[1]


@pytest.mark.usefixtures("short_lived")
async def test_no_secret_is_logged_or_raised(wb: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    step, private = wb.secret_step, wb.private_step
    link, cookie = step.secret_link, wb.session_cookie
    async with (
        Waiter(settings_of_step(step, secret_link=link)) as one,
        Waiter(settings_of_step(private, session_token=cookie)) as two,
    ):
        for waiter in (one, two):
            await waiter.until(lambda step: True)
        wb.frontend_down = True
        await settled(lambda: bool(one.lines and two.lines))
        wb.websocket_refusal = 400
        wb.frontend_down = False
        await settled(lambda: len(one.lines) > 1 and len(two.lines) > 1)
        step.workflow.reset_secret_link()
        private.workflow.delete()
        failures = [await waiter.until_failed() for waiter in (one, two)]
    told = "\n".join([caplog.text, *one.lines, *two.lines, *(f"{error!r} {vars(error)}" for error in failures)])
    for secret in (link, cookie, step.api_token or "", private.api_token or ""):
        assert secret not in told
    assert all(error.__context__ is None for error in failures)


async def test_fault_of_our_own_ends_every_wait_without_its_text(
    wb: Sandbox, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("s3cret")

    async with Waiter(settings) as one, Waiter(settings) as two:
        await one.until(lambda step: True)
        monkeypatch.setattr("airflow_provider_workbench.client.step_messages.WorkflowSteps.merge", broken)
        deliver(wb)
        failures = [await waiter.until_failed() for waiter in (one, two)]
    assert failures[0] is not failures[1]
    assert type(failures[0]) is errors.WaitingFailedError
    assert "RuntimeError in test_watch.py" in str(failures[0])
    assert "s3cret" not in str(failures[0])
