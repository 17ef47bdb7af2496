"""What the server keeps of an interrupted PATCH (protocol, section 2), and how a finish can fail (section 3)."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from sandbox_http import (
    PATCH,
    TUS,
    Answer,
    Client,
    call,
    create_file,
    head,
    head_when_free,
    new_upload,
    patch,
    settle,
    upload,
)
from starlette.types import Message, Receive, Scope, Send

from airflow_provider_workbench.sandbox import Request, Sandbox
from airflow_provider_workbench.sandbox.switches import Switches
from airflow_provider_workbench.sandbox.traffic import Record


def begin(url: str, offset: int, length: int, sent: bytes) -> Client:
    """Start a PATCH of ``length`` bytes and send some of them."""
    client = Client(url)
    headers = {**PATCH, "Upload-Offset": str(offset), "Content-Length": str(length)}
    client.start("PATCH", urlsplit(url).path, headers.items())
    client.connection.send(sent)
    return client


def close(client: Client, *, reset: bool) -> None:
    if reset:
        client.connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.connection.sock.close()


def arrived(wb: Sandbox, number: int, count: int) -> None:
    """Wait until request ``number`` is there and ``count`` bytes of its body were read."""
    settle(lambda: len(wb.requests) == number and wb.requests[-1].body_bytes >= count)


def in_background(work, *arguments) -> Iterator[Answer]:
    """Run a request in a thread; next() waits for its answer."""
    answers: list[Answer] = []
    thread = threading.Thread(target=lambda: answers.append(work(*arguments)))
    thread.start()

    def wait() -> Iterator[Answer]:
        thread.join(30)
        yield answers[0]

    return wait()


def test_the_defaults_are_the_recorded_ones() -> None:
    wb = Sandbox()
    assert wb.idle_limit == 6
    assert wb.flush_size == 50 * 1024 * 1024
    assert 0.06 <= wb.cut_seconds <= 0.55
    assert wb.hook_retry_seconds == 1
    assert (wb.hook, wb.hook_delay, wb.render_delay, wb.render_error) == ("ok", 0, 0, None)
    assert wb.max_file_size == 2147483647


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("sent", [b"", b"x", b"1234567", b"y" * 300_000])
def test_a_cut_connection_loses_no_byte(wb: Sandbox, reset: bool, sent: bytes) -> None:
    url = new_upload(wb.step, 1_000_000, "f.bin")
    patch(url, 0, b"abc")
    client = begin(url, 3, 999_997, sent)
    arrived(wb, 3, len(sent))
    close(client, reset=reset)
    answer = head_when_free(url)
    assert (answer.status, answer.headers["upload-offset"]) == (200, str(3 + len(sent)))
    rest = b"z" * (999_997 - len(sent))
    assert patch(url, 3 + len(sent), rest).status == 204
    assert wb.step.content(wb.step.files[0].uuid) == b"abc" + sent + rest


@pytest.mark.parametrize("reset", [False, True])
def test_a_cut_connection_holds_the_upload_for_a_while(wb: Sandbox, reset: bool) -> None:
    wb.cut_seconds = 1
    url = new_upload(wb.step, 6)
    client = begin(url, 0, 6, b"A\n")
    arrived(wb, 2, 2)
    close(client, reset=reset)
    settle(lambda: head(url).status == 423)
    assert call("DELETE", url, TUS).text == "file currently locked\n"
    assert head_when_free(url).headers["upload-offset"] == "2"


def test_bytes_that_wait_in_the_server_survive_a_cut_too(wb: Sandbox) -> None:
    """The body and the FIN arrive together: nothing of it may be dropped."""
    for size in (1, 1000, 200_000):
        url = new_upload(wb.step, size + 1)
        begin(url, 0, size + 1, b"x" * size).connection.close()
        settle(lambda url=url, size=size: head(url).headers.get("upload-offset") == str(size))


def test_what_uvicorn_had_read_of_a_lost_connection_is_handed_on() -> None:
    """Which depends on the event loop's order, so it is not left to a socket to bring about."""
    received: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        received.extend([await receive(), await receive()])

    async def lost() -> Message:
        return {"type": "http.disconnect"}

    scope = {"type": "http", "method": "PATCH", "raw_path": b"/", "query_string": b"", "headers": [], "client": None}
    scope["state"] = {"connection": {"unread": (b"rest", True)}}
    requests: list[Request] = []
    asyncio.run(Record(app, "upload", requests, frozen_date=False)(scope, lost, None))
    assert (received[0]["body"], received[0]["more_body"]) == (b"rest", True)
    assert received[1] == {"type": "http.disconnect"}
    assert requests[0].body_bytes == 4


def test_a_connection_made_just_before_the_host_goes_down_is_closed(wb: Sandbox) -> None:
    for _ in range(10):
        client = begin(wb.upload_url + "/files/x", 0, 5, b"12")
        wb.restart_tusd()
        client.connection.sock.settimeout(5)
        with contextlib.suppress(ConnectionResetError):
            while client.connection.sock.recv(1000):
                pass


@pytest.mark.parametrize(("acknowledged", "sent", "kept"), [(4, 3, 0), (55, 2, 50), (0, 149, 100), (100, 0, 100)])
def test_silence_loses_what_was_not_flushed_and_the_offset_goes_backwards(
    wb: Sandbox, acknowledged: int, sent: int, kept: int
) -> None:
    wb.idle_limit = 0.4
    wb.flush_size = 50
    content = bytes(range(200))
    url = new_upload(wb.step, 200, "f.bin")
    if acknowledged:
        assert patch(url, 0, content[:acknowledged]).status == 204
    start = time.monotonic()
    client = begin(url, acknowledged, 200 - acknowledged, content[acknowledged : acknowledged + sent])
    settle(lambda: head(url).status == 423)
    answer = client.finish()
    assert 0.35 < time.monotonic() - start < 3
    assert answer.status == 500
    assert "i/o timeout" in answer.text
    assert "upload-offset" not in answer.headers
    assert head(url).headers["upload-offset"] == str(kept)
    assert patch(url, kept, content[kept:]).status == 204
    assert wb.step.content(wb.step.files[0].uuid) == content


def test_a_slow_sender_is_not_silent(wb: Sandbox) -> None:
    wb.idle_limit = 2
    url = new_upload(wb.step, 6)
    client = begin(url, 0, 6, b"")
    # longer than the limit in all
    for byte in b"A\n1234":
        time.sleep(0.4)
        client.connection.send(bytes([byte]))
    assert client.finish().status == 204


def test_of_two_patches_at_once_one_gets_423(wb: Sandbox) -> None:
    url = new_upload(wb.step, 6)
    first = begin(url, 0, 6, b"A\n")
    settle(lambda: head(url).status == 423)
    second = patch(url, 0, b"A\n1234")
    assert (second.status, second.text) == (423, "file currently locked\n")
    first.connection.send(b"1234")
    assert first.finish().status == 204
    assert len(wb.step.files) == 1


def test_a_file_lands_when_its_sender_leaves_after_the_last_byte(wb: Sandbox) -> None:
    wb.hook_delay = 60
    url = new_upload(wb.step, 6)
    begin(url, 0, 6, b"A\n1234").connection.close()
    settle(lambda: head(url).status == 423)
    wb.hook_delay = 0
    assert head_when_free(url).headers["upload-offset"] == "6"
    assert [file.size for file in wb.step.files] == [6]
    assert wb.requests[1].status is None or wb.requests[1].status == 204


def test_offsets_survive_a_restart_of_the_upload_host(wb: Sandbox) -> None:
    url = new_upload(wb.step, 9)
    patch(url, 0, b"123")
    client = begin(url, 3, 6, b"45")
    arrived(wb, 3, 2)
    wb.restart_tusd()
    with pytest.raises((ConnectionError, OSError)):
        client.finish()
    assert head_when_free(url).headers["upload-offset"] == "5"
    assert patch(url, 5, b"6789").status == 204


def test_a_frontend_that_is_down_comes_back_with_everything(wb: Sandbox) -> None:
    upload(wb.step, b"A\n1")
    wb.frontend_down = True
    with pytest.raises(ConnectionRefusedError):
        call("GET", wb.step.page_url)
    wb.frontend_down = False
    assert call("GET", wb.step.page_url).status == 200
    assert len(wb.step.files) == 1


def test_the_finish_waits_for_a_slow_hook_under_lock(wb: Sandbox) -> None:
    wb.hook_delay = 60
    url = new_upload(wb.step, 6)
    answer = in_background(patch, url, 0, b"A\n1234")
    settle(lambda: head(url).status == 423)
    assert call("GET", url).status == 423
    assert wb.step.files == []
    wb.hook_delay = 0
    assert next(answer).status == 204
    assert len(wb.step.files) == 1


@pytest.mark.parametrize(
    ("hook", "text", "listed", "left"),
    [
        ("down", "pre-finish hook failed: ", 0, 200),
        ("500", "<!doctype html>", 0, 200),
        ("store-then-500", "<!doctype html>", 1, 404),
    ],
)
def test_a_failing_hook_gives_500_and_is_never_called_again(
    wb: Sandbox, hook: str, text: str, listed: int, left: int
) -> None:
    wb.hook_retry_seconds = 0.1
    upload(wb.step, b"A\n1", "before.csv")
    wb.hook = hook
    url = new_upload(wb.step, 6)
    start = time.monotonic()
    answer = patch(url, 0, b"A\n1234")
    assert 0.18 < time.monotonic() - start < 2  # three calls
    assert (answer.status, answer.headers["upload-offset"]) == (500, "6")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.text.startswith(text)
    wb.hook = "ok"
    assert head(url).headers["upload-offset"] == "6"
    assert patch(url, 6, b"").status == 204
    assert patch(url, 0, b"A\n1234").status == 409
    assert call("GET", url).status == left
    assert len(wb.step.files) == 1 + listed
    assert wb.step.selected.name == "before.csv"


def test_a_hook_that_is_back_for_the_third_call_accepts(wb: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    async def pause(switches: Switches, name: str) -> None:
        calls.append(name)
        if calls.count("hook_delay") == 3:
            switches.hook = "ok"

    # before each call
    monkeypatch.setattr(Switches, "pause", pause)
    wb.hook_retry_seconds = 0.01
    wb.hook = "down"
    assert patch(new_upload(wb.step, 3), 0, b"A\n1").status == 204
    assert len(wb.step.files) == 1


@pytest.mark.parametrize("size", [0, 6])
def test_a_hook_that_is_down_takes_about_two_seconds(wb: Sandbox, size: int) -> None:
    wb.hook = "down"
    start = time.monotonic()
    answer = patch(new_upload(wb.step, 6), 0, b"A\n1234") if size else create_file(wb.step, "f.csv", 0)
    assert answer.status == 500
    assert 1.9 < time.monotonic() - start < 3


def test_size_zero_with_a_slow_hook_gives_500_and_the_file_may_land(wb: Sandbox) -> None:
    wb.create_timeout = 0.2
    wb.hook_delay = 60
    answer = create_file(wb.step, "empty.csv", 0)
    assert (answer.status, answer.headers["content-type"]) == (500, "text/html")
    assert wb.step.files == []
    wb.hook_delay = 0
    settle(lambda: len(wb.step.files) == 1)


def test_a_file_beyond_the_column_is_accepted_at_create_and_always_fails_at_the_finish(wb: Sandbox) -> None:
    assert create_file(wb.step, "f.csv", 2147483648).status == 200
    wb.hook_retry_seconds = 0.01
    wb.max_file_size = 5
    assert patch(new_upload(wb.step, 6), 0, b"A\n1234").status == 500
    assert wb.step.files == []
    assert patch(new_upload(wb.step, 5), 0, b"A\n123").status == 204


@pytest.mark.parametrize(
    ("act", "status", "code"),
    [
        (lambda step: step.reset_token(), 403, "authorization-bearer-token-invalid"),
        (lambda step: step.disable_api(), 403, "step-has-no-api-token"),
        (lambda step: step.delete(), 404, "step-not-found"),
        (lambda step: step.workflow.delete(), 404, "workflow-not-found"),
    ],
)
def test_a_refused_finish_stays_refused(wb: Sandbox, act, status: int, code: str) -> None:
    step = wb.step
    token = step.api_token
    url = new_upload(step, 6)
    patch(url, 0, b"A\n")
    act(step)
    start = time.monotonic()
    answer = patch(url, 2, b"1234")
    assert time.monotonic() - start < 1  # a refusal is not tried again
    assert (answer.status, answer.code, answer.headers["upload-offset"]) == (status, code, "6")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    step.reset_token(token)
    step.restore()
    step.workflow.deleted = False
    assert patch(url, 6, b"").status == 204
    assert step.files == []
    assert patch(new_upload(step, 6), 0, b"A\n1234").status == 204


def test_a_token_that_is_put_back_in_time_is_as_good_as_before(wb: Sandbox) -> None:
    token = wb.step.api_token
    url = new_upload(wb.step, 3)
    assert wb.step.reset_token() != token
    assert wb.step.reset_token(token) == token
    wb.step.disable_api()
    assert wb.step.enable_api() == token
    assert patch(url, 0, b"A\n1").status == 204


def test_a_reset_in_mid_upload_leaves_no_file_behind(wb: Sandbox) -> None:
    wb.hook_delay = 60
    url = new_upload(wb.step, 3)
    answer = in_background(patch, url, 0, b"A\n1")
    settle(lambda: head(url).status == 423)
    wb.hook_retry_seconds = 0.01
    wb.reset()
    next(answer)
    assert wb.step.files == []
