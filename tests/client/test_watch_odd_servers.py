"""Waiting on a Step where the server, or something on the way to it, is no good Workbench."""

from __future__ import annotations

import asyncio
import json
import select
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from client_servers import Authority, Peer, Wire, unused_port
from watchers import LINK, Waiter, nothing_left, odd_server, settled
from websockets.sync.server import ServerConnection

from airflow_provider_workbench.client import errors
from airflow_provider_workbench.client.settings import Settings

WATCHER = "airflow_provider_workbench.client.watcher"
STEPS = "airflow_provider_workbench.client.steps"
WEBSOCKET = "airflow_provider_workbench.client.websocket"


@pytest.fixture(autouse=True)
async def _tidy() -> AsyncIterator[None]:
    async with nothing_left():
        yield


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{WATCHER}.FIRST_PAUSE", 0.01)
    monkeypatch.setattr(f"{WATCHER}.LONGEST_PAUSE", 0.02)
    monkeypatch.setattr(f"{WATCHER}.FIRST_POKE", 0.05)
    monkeypatch.setattr(f"{STEPS}.SECOND_LOOK", (0.05, 0.1))


def whole_step(*names: str) -> dict[str, Any]:
    files = [{"uuid": name, "name": name, "size": 1, "createdAt": "2026-11-22T12:00:00Z"} for name in names]
    return {
        "slug": "step-x",
        "params": {"file": names[0] if names else None},
        "files": files,
        "last_relevant_delta_id": 1,
        "cached_render_result_delta_id": 1,
        "output_status": "ok",
        "output_errors": [],
        "output_n_rows": 0,
        "output_columns": [],
    }


def delta(*names: str, **more: Any) -> str:
    return json.dumps({"type": "apply-delta", "data": {"updateSteps": {"1": whole_step(*names)}, **more}})


def complete(*names: str) -> str:
    return delta(*names, updateWorkflow={"id": 7})


def page(*names: str) -> bytes:
    return f"<script>window.initState = {json.dumps({'steps': {'1': whole_step(*names)}})}</script>".encode()


def saying(*messages: str | bytes) -> Callable[[ServerConnection], None]:
    """Sends these, and keeps the socket open."""

    def handler(connection: ServerConnection) -> None:
        for message in messages:
            connection.send(message)
        while True:
            connection.recv()

    return handler


def settings_for(server: Wire, **extra: Any) -> Settings:
    return Settings.from_fields(server.create_file_url, "t0ken", {"secret_link": LINK, **extra})


async def test_pings_are_answered_and_keep_a_quiet_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{WEBSOCKET}.SILENCE_LIMIT", 1.5)
    async with (
        odd_server(saying(complete("a")), page(), ping_interval=0.1, ping_timeout=1.5) as server,
        Waiter(server.settings) as waiter,
    ):
        await waiter.until(lambda step: True)
        # longer than either may be silent
        await asyncio.sleep(2.5)
    assert (server.sockets, server.pages, waiter.lines) == (1, 0, [])


async def test_socket_without_pings_is_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{WEBSOCKET}.SILENCE_LIMIT", 0.2)
    sockets = iter(["a", "b"])

    def handler(connection: ServerConnection) -> None:
        saying(complete(next(sockets, "c")))(connection)

    async with odd_server(handler, page(), ping_interval=None) as server, Waiter(server.settings) as waiter:
        await settled(lambda: waiter.names == ["c"])
    assert (server.pages, waiter.lines) == (0, [])


async def test_messages_of_other_kinds_are_skipped() -> None:
    odd = ["", "null", "{", "[" * 50_000, '{"type": "apply-delta", "data": 1}', '{"type": "other"}', b"\0binary"]
    async with (
        odd_server(saying(*odd, delta("early"), complete("a"), *odd, delta("b"), *odd), page()) as server,
        Waiter(server.settings) as waiter,
    ):
        await settled(lambda: waiter.names == ["b"])
    assert (server.sockets, server.pages, waiter.lines) == (1, 0, [])
    assert all(step.files[0].name != "early" for step in waiter.states)


async def test_step_that_cannot_be_read_is_logged_and_the_next_one_taken() -> None:
    odd = json.dumps({"type": "apply-delta", "data": {"updateSteps": {"1": {"files": "none"}}}})
    async with (
        odd_server(saying(complete("a"), odd, odd, delta("b")), page()) as server,
        Waiter(server.settings) as waiter,
    ):
        await settled(lambda: waiter.names == ["b"])
    assert server.sockets == 1
    assert waiter.lines == [
        "The Step could not be read, trying again: The Step's data is not as Workbench sends it (TypeError)."
    ]


async def test_huge_message_ends_in_reading_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{WEBSOCKET}.MESSAGE_LIMIT", 1000)
    async with odd_server(saying(complete("a" * 1000)), page("b")) as server, Waiter(server.settings) as waiter:
        await waiter.until(lambda step: True)
        await settled(lambda: server.pages > 5)
    assert (waiter.names, server.sockets, len(waiter.lines)) == (["b"], 3, 1)
    assert "sent too much" in waiter.lines[0]


@pytest.mark.parametrize("first_messages", [(), (delta("a"),), ('{"type": "hello"}',)])
async def test_socket_that_does_not_begin_with_a_state_ends_in_reading_the_page(
    monkeypatch: pytest.MonkeyPatch, first_messages: tuple[str, ...]
) -> None:
    monkeypatch.setattr(f"{WEBSOCKET}.FIRST_MESSAGE_LIMIT", 0.1)
    async with odd_server(saying(*first_messages), page("b")) as server, Waiter(server.settings) as waiter:
        await waiter.until(lambda step: True)
        await settled(lambda: server.pages > 5)
    assert (waiter.names, server.sockets, len(waiter.lines)) == (["b"], 3, 1)
    assert "did not begin with the Workflow's state" in waiter.lines[0]


async def test_server_that_only_chatters_does_not_hold_the_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{WEBSOCKET}.FIRST_MESSAGE_LIMIT", 0.1)
    # or what it says in all would end it
    monkeypatch.setattr(f"{WEBSOCKET}.FLOOD", 2**40)
    monkeypatch.setattr(f"{WEBSOCKET}.FLOOD_VALUES", 2**40)

    def chatter(connection: ServerConnection) -> None:
        while True:
            connection.send(delta("a"))

    async with odd_server(chatter, page("b")) as server, Waiter(server.settings) as waiter:
        await waiter.until(lambda step: True)
    assert waiter.names == ["b"]


async def test_socket_that_is_closed_at_once_ends_in_reading_the_page() -> None:
    async with (
        odd_server(lambda connection: connection.close(), page("b")) as server,
        Waiter(server.settings) as waiter,
    ):
        await waiter.until(lambda step: True)
        await settled(lambda: server.pages > 5)
    assert (server.sockets, len(waiter.lines)) == (3, 1)
    assert "was closed" in waiter.lines[0]


async def test_socket_that_is_closed_after_its_state_is_opened_again_with_pauses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It works after a fashion, but must not become a busy loop."""
    monkeypatch.setattr(f"{WATCHER}.FIRST_PAUSE", 0.1)
    monkeypatch.setattr(f"{WATCHER}.LONGEST_PAUSE", 10)
    async with (
        odd_server(lambda connection: connection.send(complete("a")), page()) as server,
        Waiter(server.settings) as waiter,
    ):
        await asyncio.sleep(1)
    assert (waiter.names, server.pages, waiter.lines) == (["a"], 0, [])
    assert server.sockets < 15


async def test_refusals_count_in_a_row_only() -> None:
    """Now and then one fails, and that is no reason to give websockets up."""

    def handler(connection: ServerConnection) -> None:
        connection.send(complete("a"))
        if server.sockets == 6:
            saying(complete("b"))(connection)

    async with (
        odd_server(handler, page("a"), refusal=(502, {}), refused={1, 2, 4, 5}) as server,
        Waiter(server.settings) as waiter,
    ):
        await settled(lambda: waiter.names == ["b"])
    assert (server.sockets, server.pages, waiter.lines) == (6, 4, [])


async def test_handshake_is_not_redirected() -> None:
    """A proxy that takes the upgrade away gets Workbench's redirect to the page, and others may lead anywhere."""
    with Wire(lambda peer: peer.answer()) as other:
        refusal = (302, {"Location": f"{other.url}/workflows/x/"})
        async with (
            odd_server(saying(complete("a")), page("b"), refusal=refusal) as server,
            Waiter(server.settings) as waiter,
        ):
            await settled(lambda: bool(waiter.lines))
        assert other.connections == 0
    assert waiter.names == ["b"]
    assert "answered 302 to a websocket" in waiter.lines[0]
    assert LINK not in waiter.lines[0]


async def test_handshake_that_is_no_websockets_is_refused() -> None:
    def handler(peer: Peer) -> None:
        while head := peer.read_request()[0]:
            if b"pgrade: websocket" in head:
                peer.send(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n")
            else:
                peer.answer("200 OK", page("b"))

    with Wire(handler) as server:
        async with Waiter(settings_for(server)) as waiter:
            await settled(lambda: bool(waiter.lines))
    assert waiter.names == ["b"]


async def test_own_authority_is_trusted_and_others_are_not(authority: Authority) -> None:
    context = authority.server.server_context(client_authority=authority.ca)
    async with odd_server(saying(complete("a")), page("b"), ssl=context) as server:
        own = {"ca_bundle": authority.ca.cert_file, "client_cert": authority.client.both_file}
        for extra in (own, {**own, "ca_bundle": None, "verify_tls": False}):
            async with Waiter(server.settings_with("https", **extra)) as waiter:
                await waiter.until(lambda step: True)
            assert waiter.names == ["a"]
        for extra in ({}, {"client_cert": authority.client.both_file}):
            async with Waiter(server.settings_with("https", **extra)) as waiter:
                assert type(await waiter.until_failed()) is errors.TlsError
        async with Waiter(server.settings_with("https", ca_bundle="/missing.pem")) as waiter:
            assert type(await waiter.until_failed()) is errors.ConfigurationError


def half_dead(context: ssl.SSLContext, plain: int) -> Callable[[Peer], None]:
    """A balancer's TLS port: the first connections get plain HTTP, the others the page "b", and no websocket."""
    answers = Page("200 OK", page("b"))

    def handler(peer: Peer) -> None:
        if peer.number <= plain:
            peer.sock.recv(1)
            peer.answer("503 Service Unavailable")
            return
        with context.wrap_socket(peer.sock, server_side=True) as sock:
            answers(Peer(sock, peer.number))

    return handler


# of the websocket, the page, and the page again
@pytest.mark.parametrize("plain", [1, 2])
async def test_handshake_that_fails_for_a_moment_does_not_end_the_wait(authority: Authority, plain: int) -> None:
    with Wire(half_dead(authority.server.server_context(), plain)) as server:
        url = server.create_file_url.replace("http:", "https:")
        async with Waiter(Settings.from_fields(url, "t0ken", {"ca_bundle": authority.ca.cert_file})) as waiter:
            await waiter.until(lambda step: True)
    assert (waiter.names, waiter.error) == (["b"], None)


async def test_handshake_that_fails_on_and_on_ends_the_wait(authority: Authority) -> None:
    with Wire(half_dead(authority.server.server_context(), 1000)) as server:
        url = server.create_file_url.replace("http:", "https:")
        async with Waiter(Settings.from_fields(url, "t0ken", {"ca_bundle": authority.ca.cert_file})) as waiter:
            assert type(await waiter.until_failed()) is errors.TlsError
        assert server.connections == 3
    assert len(waiter.lines) == 1
    assert "No trusted connection" in waiter.lines[0]


async def test_renewal_that_is_swallowed_does_not_hold_up_the_news(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody listens to the old socket meanwhile."""
    monkeypatch.setattr(f"{WATCHER}.SOCKET_AGE", 0.2)
    monkeypatch.setattr(f"{WATCHER}.RETRIAL_LIMIT", 0.3)

    def handler(connection: ServerConnection) -> None:
        saying(*((), (complete("a"),), (), (complete("b"),))[min(server.sockets, 3)])(connection)

    async with odd_server(handler, page()) as server, Waiter(server.settings) as waiter:
        await settled(lambda: waiter.names == ["b"])
    assert (server.pages, waiter.lines) == (0, [])


def tunnel(peer: Peer) -> None:
    """A proxy's CONNECT."""
    host, port = peer.read_head().split()[1].decode().split(":")
    with socket.create_connection((host, int(port))) as onward:
        peer.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
        ends = {peer.sock: onward, onward: peer.sock}
        while True:
            for end in select.select(list(ends), [], [])[0]:
                data = end.recv(65536)
                if not data:
                    return
                ends[end].sendall(data)


async def test_proxy_is_used_and_no_proxy_heeded(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    context = authority.server.server_context()
    async with odd_server(saying(complete("a")), page(), ssl=context) as server:
        settings = server.settings_with("https", ca_bundle=authority.ca.cert_file)
        with Wire(tunnel) as proxy:
            monkeypatch.setenv("HTTPS_PROXY", proxy.url)
            async with Waiter(settings) as waiter:
                await waiter.until(lambda step: True)
            assert proxy.connections == 1
        monkeypatch.setenv("HTTPS_PROXY", f"http://me:hunter2@127.0.0.1:{unused_port()}")
        async with Waiter(settings) as waiter:
            await settled(lambda: bool(waiter.lines))
        assert "hunter2" not in waiter.lines[0]
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        async with Waiter(settings) as waiter:
            await waiter.until(lambda step: True)
    monkeypatch.delenv("NO_PROXY")
    monkeypatch.setenv("HTTPS_PROXY", "socks5://127.0.0.1:1")
    async with Waiter(settings) as waiter:
        assert type(await waiter.until_failed()) is errors.ConfigurationError


async def test_server_that_never_answers_a_handshake_is_given_up_for_the_page() -> None:
    def handler(peer: Peer) -> None:
        while head := peer.read_request()[0]:
            if b"pgrade: websocket" in head:
                time.sleep(1)
            else:
                peer.answer("200 OK", page("b"))

    with Wire(handler) as server:
        async with Waiter(settings_for(server, stall_timeout=0.1)) as waiter:
            await settled(lambda: bool(waiter.lines))
    assert waiter.names == ["b"]
    assert "fell silent" in waiter.lines[0]


async def test_websocket_that_is_tried_again_and_swallowed_does_not_hold_up_the_page(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(f"{WATCHER}.FIRST_RETRIAL", 0.1)
    monkeypatch.setattr(f"{WATCHER}.RETRIAL_LIMIT", 1.0)
    shown = ["a"]
    swallowed: list[int] = []
    handshakes: list[int] = []

    def handler(peer: Peer) -> None:
        while head := peer.read_request()[0]:
            if b"pgrade: websocket" not in head:
                peer.answer("200 OK", page(*shown))
                continue
            handshakes.append(1)
            if len(handshakes) <= 3:
                peer.answer("502 Bad Gateway")
            else:
                swallowed.append(1)
                peer.sock.recv(1)

    with Wire(handler) as server:
        async with Waiter(settings_for(server)) as waiter:
            await settled(lambda: bool(swallowed))
            shown[:] = ["b"]
            await settled(lambda: waiter.names == ["b"])
    assert len(waiter.lines) == 1
    assert "answered 502 to a websocket" in waiter.lines[0]


class Page:
    """Refuses websockets; the page is what it is set to."""

    def __init__(self, *answer: Any) -> None:
        self.answer = answer
        self.looks = 0

    def __call__(self, peer: Peer) -> None:
        while head := peer.read_request()[0]:
            if b"pgrade: websocket" in head:
                peer.answer("404 Not Found")
            else:
                self.looks += 1
                peer.answer(*self.answer)


async def test_retry_after_of_the_page_is_heeded(monkeypatch: pytest.MonkeyPatch) -> None:
    busy = ("503 Service Unavailable", b"", "Retry-After: 600")
    answers = Page(*busy)
    with Wire(answers) as server:
        async with Waiter(settings_for(server)) as waiter:
            await settled(lambda: bool(waiter.lines))
            await asyncio.sleep(0.5)
        assert answers.looks == 1
        monkeypatch.setattr(f"{STEPS}.LONGEST_RETRY_AFTER", 0.05)
        async with Waiter(settings_for(server)) as waiter:
            await settled(lambda: answers.looks > 3)
            answers.answer = ("200 OK", page("b"))
            await waiter.until(lambda step: True)


async def test_404_of_a_proxy_is_waited_out_however_often_it_comes() -> None:
    answers = Page("404 Not Found", b"default backend - 404", "Content-Type: text/plain")
    with Wire(answers) as server:
        async with Waiter(settings_for(server)) as waiter:
            await settled(lambda: answers.looks > 5)
            answers.answer = ("200 OK", page("b"))
            await waiter.until(lambda step: True)
    assert waiter.error is None


@pytest.mark.parametrize(
    ("status", "kind"), [("404 Not Found", errors.StepGoneError), ("302 Found", errors.StepUnreadableError)]
)
async def test_page_that_says_no_twice_ends_the_wait(status: str, kind: type[errors.WorkbenchError]) -> None:
    answers = Page(status, b"<html>", "Location: /login")
    with Wire(answers) as server:
        async with Waiter(settings_for(server)) as waiter:
            assert type(await waiter.until_failed()) is kind
    assert (answers.looks, len(waiter.lines)) == (2, 1)
