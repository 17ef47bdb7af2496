"""A websocket that says too much, too little or nonsense: it is given up, and whoever else waits does not notice."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from security.hostile_cases import SOCKETS, SocketCase, began, new_steps, on_and_on
from security.hostile_server import LINK, PING, TEXT, HostileServer, change, complete, frame, socket
from security.test_hostile_answers import check

from airflow_provider_workbench.client import errors, websocket
from airflow_provider_workbench.client.settings import Settings
from airflow_provider_workbench.client.step_messages import change_of
from airflow_provider_workbench.client.watch import watch_step
from airflow_provider_workbench.client.websocket import WorkflowSocket

WATCHER = "airflow_provider_workbench.client.watcher"
# for what must not hang, not for what must be fast
SOON = 60


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket, "SILENCE_LIMIT", 1.0)
    monkeypatch.setattr(websocket, "PONG_LIMIT", 1.0)


async def listen(settings: Settings) -> None:
    """Until it is given up."""
    opened = WorkflowSocket(settings)
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(SOON):
            await opened.open()
            while await opened.receive(loop.time() + SOON):
                pass
    finally:
        async with asyncio.timeout(SOON):
            await opened.close()


async def error_of(server: HostileServer) -> errors.WorkbenchError:
    with pytest.raises(errors.WorkbenchError) as caught:
        await listen(server.settings())
    return caught.value


@pytest.mark.parametrize("case", SOCKETS, ids=lambda case: case.given)
async def test_websocket_that_is_hostile_is_given_up(case: SocketCase, monkeypatch: pytest.MonkeyPatch) -> None:
    if case.error is not errors.ConnectionLostError:
        # a busy machine's server is no silent one
        monkeypatch.setattr(websocket, "SILENCE_LIMIT", 30.0)
    with HostileServer(SOCKET=socket(case.frames, *case.headers)) as server:
        check(await error_of(server), (case.error, case.words), server)
    assert case.error is errors.ConnectionLostError or server.sent < 48_000_000


async def test_server_that_pings_and_takes_no_pongs_is_given_up() -> None:
    server = HostileServer(SOCKET=socket(on_and_on(frame(bytes(125), PING))))
    # it never reads again: what fits into the systems' buffers is soon full
    server.receive_buffer = 4096
    with server:
        error = await error_of(server)
    assert str(error) == "The websocket of 127.0.0.1 was closed."


async def test_closing_waits_for_no_word_of_the_server() -> None:
    """aiohttp reads on until the server closes too, whatever else it says."""
    with HostileServer(SOCKET=socket(on_and_on(frame(change("1", "a"))))) as server:
        opened = WorkflowSocket(server.settings())
        await opened.open()
        async with asyncio.timeout(SOON):
            await opened.close()
        assert opened._raw is not None
        await asyncio.sleep(0)
        assert opened._raw.fileno() == -1


async def test_flood_lets_others_run_between_two_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    """What aiohttp has buffered is received without a pause: a thousand small messages, if we do not make one."""
    since_others_ran = most = messages = 0
    ended = False

    def count(text: str, **kwargs: Any) -> Any:
        nonlocal since_others_ran, most, messages
        messages += 1
        since_others_ran += 1
        most = max(most, since_others_ran)
        return change_of(text, **kwargs)

    async def others() -> None:
        nonlocal since_others_ran
        while not ended:
            since_others_ran = 0
            await asyncio.sleep(0)

    monkeypatch.setattr(websocket, "change_of", count)
    monkeypatch.setattr(websocket, "FLOOD", 2_000_000)
    running = asyncio.create_task(others())
    with HostileServer(SOCKET=socket(on_and_on(frame(b"{")))) as server:
        await error_of(server)
    ended = True
    await running
    assert messages > 1000
    assert most <= 2


async def test_others_get_their_news_while_one_server_floods(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{WATCHER}.FIRST_PAUSE", 0.01)
    monkeypatch.setattr(f"{WATCHER}.LONGEST_PAUSE", 0.02)
    # long enough to be in the midst of it
    monkeypatch.setattr(websocket, "FLOOD", 2**40)
    monkeypatch.setattr(websocket, "FLOOD_VALUES", 2**40)

    def news(server: HostileServer) -> Any:
        yield frame(complete("0"))
        for number in range(1, 21):
            server.ended.wait(0.05)
            yield frame(change("1", str(number)))

    with (
        HostileServer(SOCKET=socket(on_and_on(frame(change("1", "x"))))) as flood,
        HostileServer(SOCKET=socket(news)) as good,
    ):
        told: list[str] = []

        async def wait(server: HostileServer, until: str) -> None:
            async with watch_step(server.settings(), poke_interval=60, log=lambda _: None) as states:
                async for step in states:
                    # a handshake that fails on a busy machine is followed by a look at the page, which has no File
                    name = step.files[0].name if step.files else ""
                    if server is good and name:
                        told.append(name)
                    if name == until:
                        return

        flooded = asyncio.create_task(wait(flood, "never"))
        async with asyncio.timeout(SOON):
            while not flood.sent:
                await asyncio.sleep(0.01)
            await wait(good, "20")
        assert not flooded.done()
        flooded.cancel()
        await asyncio.wait([flooded])
    # a slow reader may miss some, and sees them in order
    assert told[-1] == "20"
    assert told == sorted(told, key=int)
    assert LINK not in "".join(told)


async def test_watcher_asks_for_the_state_again_after_a_flood(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Workflow with very much going on is no enemy."""
    monkeypatch.setattr(f"{WATCHER}.FIRST_PAUSE", 0.01)
    monkeypatch.setattr(f"{WATCHER}.LONGEST_PAUSE", 0.02)
    sockets = iter([new_steps, began(frame(change("1", "news")))])
    with HostileServer(SOCKET=lambda server: socket(next(sockets))(server)) as server:
        async with (
            asyncio.timeout(SOON),
            watch_step(server.settings(), poke_interval=60, log=lambda _: None) as states,
        ):
            async for step in states:
                if step.files[0].name == "news":
                    break
    assert server.asked == ["SOCKET", "SOCKET"]


def test_frames_are_as_websockets_have_them() -> None:
    assert frame(b"abc") == b"\x81\x03abc"
    assert frame(b"x" * 200)[:4] == b"\x81\x7e\x00\xc8"
    assert frame(b"x" * 70_000, TEXT, last=False)[:10] == b"\x01\x7f" + (70_000).to_bytes(8)
