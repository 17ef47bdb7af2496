"""On the way, against a server that does what a script says."""

from __future__ import annotations

import itertools
import json
import os
import threading
import time
from base64 import b64encode
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from client_servers import Authority, Peer, Wire, small_send_buffers
from uploads import (
    PAGE,
    QUICK,
    SECRET,
    TOKEN,
    TUS,
    Call,
    Told,
    Workbench,
    cut,
    early,
    failing,
    patch,
    says,
    settings_of,
    swallow,
    unanswered,
    upload,
)

from airflow_provider_workbench.client import errors, patch_body, transfer
from airflow_provider_workbench.client.patch_body import LAST_PIECE, SMALLEST_PIECE
from airflow_provider_workbench.client.read_ahead import BLOCK
from airflow_provider_workbench.client.session import Session
from airflow_provider_workbench.client.transfer import terminate_upload
from airflow_provider_workbench.sandbox import Sandbox

CONTENT = os.urandom(100_000)
# does not fit into the sockets, so a cut leaves bytes that surely never left
MUCH = os.urandom(1_000_000) * 20


def delivered(server: Workbench) -> list[bytes]:
    return [content for _, _, _, content in server.files]


# ---- cuts


@pytest.mark.parametrize("rst", [True, False])
def test_cut_is_resumed_at_the_servers_offset(rst: bool) -> None:
    with Workbench() as server:
        server.script["PATCH"] = [cut(1_000_000, rst=rst), cut(2_000_000, rst=rst)]
        result = upload(server.settings, MUCH, told := Told())
        assert delivered(server) == [MUCH]
        assert (result.resumed_from, result.attempts) == (3_000_000, 1)
        assert server.methods == ["CREATE", "PATCH", "HEAD", "PATCH", "HEAD", "PATCH"]
        assert "Going on from byte 1000000 of 20000000" in told.log


def test_cut_in_the_last_block_leaves_no_doubt_that_bytes_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the last piece is in doubt, and that is small."""
    small_send_buffers(monkeypatch)
    content = os.urandom(4 * BLOCK)
    with Workbench(receive_buffer=16384) as server:
        server.script["PATCH"] = [cut(3 * BLOCK + 100_000)]
        upload(server.settings, content, told := Told())
        assert delivered(server) == [content]
    assert "Looking whether Workbench took the File" not in told.log
    assert f"Going on from byte {3 * BLOCK + 100_000}" in told.log


@pytest.mark.parametrize(("seconds", "largest"), [(0.0, SMALLEST_PIECE), (1000.0, BLOCK)])
def test_pieces_are_small_where_they_leave_slowly_and_at_the_end(
    seconds: float, largest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As often comes word of progress, and a look whether to stop."""
    monkeypatch.setattr(patch_body, "_LONG_FOR_A_PIECE", seconds)
    with Workbench() as server:
        upload(server.settings, MUCH[: 10 * BLOCK], told := Told())
    ends = [sent for sent, _ in told.progress]
    pieces = [after - before for before, after in itertools.pairwise([0, *ends])]
    assert sum(pieces) == 10 * BLOCK
    assert max(pieces) == largest
    assert pieces[-1] == min(largest, LAST_PIECE)


def test_slow_link_is_no_stall_over_tls(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenSSL holds all that it is given at once against the time limit; 512 KiB would take 1.6 s here."""

    def slow(call: Call) -> None:
        for _ in range(63):
            call.keep(16384)
            time.sleep(0.05)
        call.headers["upload-offset"] = str(len(call.server.content))
        patch(call)

    monkeypatch.setattr(patch_body, "_LONG_FOR_A_PIECE", 0.2)
    small_send_buffers(monkeypatch)
    context = authority.server.server_context()
    with Workbench(tls=context, receive_buffer=16384, ca_bundle=authority.ca.cert_file, stall_timeout=1) as server:
        server.script["PATCH"] = [slow]
        upload(server.settings, MUCH[: 2 * BLOCK], told := Told())
        assert server.count("PATCH") == 1, told.log


def test_cut_of_a_chunk_is_resumed_within_it() -> None:
    with Workbench() as server:
        server.script["PATCH"] = [patch, cut(20_000)]
        upload(server.settings, CONTENT, chunk_size=40_000)
        assert delivered(server) == [CONTENT]
        assert [call.offset for call in server.calls if call.method == "PATCH"] == [0, 40_000, 60_000]


def test_chunk_whose_answer_was_lost_is_not_sent_again() -> None:
    with Workbench() as server:
        server.script["PATCH"] = [unanswered(patch)]
        result = upload(server.settings, CONTENT, chunk_size=60_000)
        assert delivered(server) == [CONTENT]
        assert result.bytes_sent == len(CONTENT)


def test_upload_that_takes_longer_than_the_budget_is_resumed_after_a_cut() -> None:
    """The budget counts from the loss: while bytes flow, only the server knows how far they got."""

    def slow(call: Call) -> None:
        for _ in range(8):
            call.keep(10_000)
            time.sleep(0.1)
        call.peer.reset()

    with Workbench(retry_budget=0.5) as server:
        server.script["PATCH"] = [slow]
        server.script["HEAD"] = [says("502 Bad Gateway")]
        upload(server.settings, CONTENT)
        assert delivered(server) == [CONTENT]


def test_budget_starts_anew_with_progress() -> None:
    def crawl(call: Call) -> None:
        time.sleep(0.3)
        call.keep(10_000)
        call.peer.reset()

    with Workbench(retry_budget=0.8) as server:
        server.script["PATCH"] = [crawl] * 4
        upload(server.settings, CONTENT)
        assert delivered(server) == [CONTENT]


# ---- no progress


@pytest.mark.parametrize("length", [1000, 5_000_000])
def test_no_progress_ends_with_the_budget(length: int) -> None:
    with Workbench(retry_budget=0.5) as server:
        server.script["PATCH"] = [cut(0), ...]
        told = Told()
        error = failing(errors.UploadInterruptedError, server.settings, bytes(length), told)
        assert error.retryable
        assert "No progress within 0 s (retry_budget). The Step has nothing of it" in str(error)
        assert server.created == 1
        # a later try can go on with it
        assert "settled" not in told.events


@pytest.mark.parametrize("act", [swallow, says("502 Bad Gateway", PAGE), says("503 Service Unavailable", PAGE)])
def test_proxy_that_takes_all_and_passes_nothing_on_is_no_endless_loop(act: Any) -> None:
    with Workbench(retry_budget=0.5) as server:
        server.script["PATCH"] = [act, ...]
        error = failing(errors.UploadInterruptedError, server.settings, CONTENT)
        assert "No progress within 0 s (retry_budget). The Step has nothing of it" in str(error)
        assert server.created == 1


@pytest.mark.parametrize(
    "act",
    [cut(0), swallow, says("503 Service Unavailable", PAGE), says("500 Internal Server Error", b"no disk\n", TUS)],
)
def test_trouble_of_many_rounds_within_the_budget_is_overcome(act: Any) -> None:
    """However small what is sent."""
    with Workbench(retry_budget=60) as server:
        server.script["PATCH"] = [act] * 15
        upload(server.settings, b"a,b\n1,2\n")
        assert delivered(server) == [b"a,b\n1,2\n"]
        assert server.count("PATCH") == 16


def test_offset_that_goes_back_and_forth_is_no_progress() -> None:
    def back_and_forth(call: Call) -> None:
        call.keep(50_000)
        call.server.content.clear()
        call.answer("500 Internal Server Error", b"read tcp: i/o timeout\n", TUS)

    with Workbench(retry_budget=0.5) as server:
        server.script["PATCH"] = [patch, back_and_forth] * 4000
        with pytest.raises((errors.UploadInterruptedError, errors.OutcomeUnknownError), match="No progress within"):
            upload(server.settings, CONTENT, chunk_size=60_000)


def test_locked_upload_is_waited_for() -> None:
    locked = says("423 Locked", b"file currently locked\n", TUS)
    with Workbench() as server:
        server.script["PATCH"] = [cut(10), locked]
        server.script["HEAD"] = [locked] * 4
        upload(server.settings, MUCH, patience=replace(QUICK, lock=10))
        assert delivered(server) == [MUCH]
        assert server.methods == ["CREATE", "PATCH", *["HEAD"] * 5, "PATCH", "HEAD", "PATCH"]


@pytest.mark.parametrize(
    "locked",
    [
        says("423 Locked", b"ERR_FILE_LOCKED: file currently locked\n", TUS),
        says("500 Internal Server Error", b"ERR_LOCK_TIMEOUT: failed to acquire lock\n", TUS),
    ],
)
def test_lock_that_is_never_let_go_is_an_error(locked: Any) -> None:
    with Workbench(retry_budget=0.2) as server:
        server.script["PATCH"] = [locked, ...]
        began = time.monotonic()
        patience = replace(QUICK, lock=0.6)
        error = failing(errors.UploadInterruptedError, server.settings, CONTENT, patience=patience, chunk_size=1000)
        assert 0.6 < time.monotonic() - began < 3
    assert "has been locked for" in str(error)


@pytest.mark.parametrize(("lock_unsaid", "times"), [(0.0, 1), (60.0, 0)])
def test_lock_that_lasts_is_said_once(lock_unsaid: float, times: int) -> None:
    locked = says("423 Locked", b"ERR_FILE_LOCKED: file currently locked\n", TUS)
    with Workbench() as server:
        server.script["PATCH"] = [cut(50_000)]
        server.script["HEAD"] = [locked] * 5
        upload(server.settings, MUCH, told := Told(), patience=replace(QUICK, lock_unsaid=lock_unsaid))
        assert delivered(server) == [MUCH]
    assert told.log.count("Another request holds the upload") == times


def test_head_5xx_is_waited_for_and_not_restarted() -> None:
    with Workbench() as server:
        server.script["PATCH"] = [cut(50_000)]
        server.script["HEAD"] = [
            says("500 Internal Server Error", b"", TUS),
            says("502 Bad Gateway"),
            says("503 Service Unavailable"),
            lambda call: call.peer.reset(),
        ]
        result = upload(server.settings, MUCH)
        assert delivered(server) == [MUCH]
        assert (server.created, result.resumed_from) == (1, 50_000)


def test_head_5xx_for_long_ends_with_the_budget() -> None:
    with Workbench(retry_budget=0.4) as server:
        server.script["PATCH"] = [cut(50_000)]
        server.script["HEAD"] = [says("502 Bad Gateway"), ...]
        error = failing(errors.UploadInterruptedError, server.settings, MUCH)
    assert "answered 502 when asked for the offset. No progress within 0 s (retry_budget)." in str(error)


@pytest.mark.parametrize(
    "headers", [("Upload-Offset: 20000001", "Upload-Length: 20000000"), ("Upload-Offset: 5", "Upload-Length: 7")]
)
def test_head_that_is_not_ours_is_an_error(headers: tuple[str, ...]) -> None:
    with Workbench() as server:
        server.script["PATCH"] = [cut(5)]
        server.script["HEAD"] = [says("200 OK", b"", TUS, *headers)]
        error = failing(errors.UploadInterruptedError, server.settings, MUCH)
    assert "this is not our upload. The Step has nothing of it" in str(error)


# ---- Retry-After


def test_retry_after_is_obeyed() -> None:
    with Workbench() as server:
        server.script["PATCH"] = [says("503 Service Unavailable", PAGE, "Retry-After: 1")]
        began = time.monotonic()
        upload(server.settings, CONTENT, chunk_size=60_000)
        assert time.monotonic() - began >= 1
        assert delivered(server) == [CONTENT]


def test_retry_after_beyond_the_budget_ends_at_once() -> None:
    with Workbench(retry_budget=5) as server:
        server.script["PATCH"] = [says("503 Service Unavailable", PAGE, "Retry-After: 60")]
        began = time.monotonic()
        error = failing(errors.UploadInterruptedError, server.settings, CONTENT, chunk_size=60_000)
        assert time.monotonic() - began < 3
    assert "answered 503 to the upload. It asks to wait longer than retry_budget (5 s) lasts." in str(error)


# ---- proxies with limits


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "LARGEST_SMALLER_PATCH", 64_000)
    monkeypatch.setattr(transfer, "SMALLEST_PATCH", 1000)


def over(limit: int, act: Callable[[Call], object]) -> Callable[[Call], object]:
    return lambda call: act(call) if call.left > limit else patch(call)


def lengths(server: Workbench) -> list[int]:
    return [int(call.headers["content-length"]) for call in server.calls if call.method == "PATCH"]


def test_halving_goes_from_64_mib_down_to_1_mib() -> None:
    assert (transfer.LARGEST_SMALLER_PATCH, transfer.SMALLEST_PATCH) == (64 * 2**20, 2**20)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("answer", [says, early])
def test_413_is_answered_by_smaller_patches(answer: Any) -> None:
    with Workbench() as server:
        server.script["PATCH"] = [over(10_000, answer("413 Request Entity Too Large", PAGE)), ...]
        upload(server.settings, CONTENT, told := Told())
        assert delivered(server) == [CONTENT]
        assert lengths(server)[:4] == [100_000, 50_000, 25_000, 12_500]
        assert set(lengths(server)[4:-1]) == {6250}
    assert "Trying smaller requests, of 6.1 KiB." in told.log


@pytest.mark.usefixtures("small")
def test_413_to_the_smallest_patch_is_an_error() -> None:
    with Workbench() as server:
        server.script["PATCH"] = [says("413 Request Entity Too Large", PAGE), ...]
        error = failing(errors.UploadInterruptedError, server.settings, CONTENT)
        assert lengths(server)[-1] == 1000
    assert "answered 413 to the upload. Not even 1000 B get through." in str(error)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("act", [swallow, says("504 Gateway Timeout", PAGE)])
def test_proxy_that_buffers_gets_smaller_patches(act: Any) -> None:
    with Workbench(retry_budget=60) as server:
        server.script["PATCH"] = [over(30_000, act), ...]
        upload(server.settings, CONTENT)
        assert delivered(server) == [CONTENT]
        assert lengths(server)[:6] == [100_000] * 3 + [50_000] * 3


@pytest.mark.usefixtures("small")
def test_trouble_of_the_tus_server_itself_makes_no_smaller_patches() -> None:
    with Workbench(retry_budget=60) as server:
        server.script["PATCH"] = [says("500 Internal Server Error", b"no disk\n", TUS)] * 12
        upload(server.settings, CONTENT)
        assert delivered(server) == [CONTENT]
        assert lengths(server) == [100_000] * 13


@pytest.mark.parametrize("status", ["405 Method Not Allowed", "501 Not Implemented"])
def test_blocked_patch_becomes_a_post_that_says_so(status: str) -> None:
    with Workbench() as server:
        server.script["PATCH"] = [says(status, PAGE), ...]
        upload(server.settings, CONTENT, chunk_size=60_000)
        assert delivered(server) == [CONTENT]
        assert server.methods == ["CREATE", "PATCH", "HEAD", "POST", "POST"]
        assert server.calls[-1].headers["x-http-method-override"] == "PATCH"


def test_post_that_is_blocked_too_is_an_error() -> None:
    with Workbench(retry_budget=60) as server:
        server.script["PATCH"] = server.script["POST"] = [says("405 Method Not Allowed", PAGE), ...]
        error = failing(errors.UploadInterruptedError, server.settings, CONTENT)
        assert server.count("POST") < 30
    assert "answered 405 to the upload. Not even" in str(error)


def test_answer_before_the_body_was_read_is_not_taken_for_a_finish() -> None:
    """The last PATCH is the only one here, but most of it never left."""
    content = bytes(20_000_000)
    with Workbench() as server:
        server.script["PATCH"] = [early("502 Bad Gateway")]
        result = upload(server.settings, content)
        assert delivered(server) == [content]
        assert "GET" not in server.methods
        assert result.attempts == 1


# ---- the finish


@pytest.mark.parametrize("readable", [True, False])
@pytest.mark.parametrize(
    "instead",
    [
        None,
        says("502 Bad Gateway", PAGE),
        says("200 OK", PAGE),
        says("302 Found", PAGE, f"Location: https://login.example/{SECRET}"),
        says("204 No Content", b"", "Upload-Offset: 5"),
        says("403 Forbidden", f"{SECRET}1+id{SECRET}".encode()),
        says("423 Locked", PAGE),
        says("409 Conflict", b"mismatched offset\n", TUS),
    ],
)
def test_lost_answer_to_an_accepted_finish_is_success_once(instead: Any, readable: bool) -> None:
    """Also where a proxy answers, or tried the PATCH again by itself and passes on the second answer."""

    def finish(call: Call) -> None:
        unread = replace(call, left=call.left)
        call.keep()
        call.server.files.append((server.name, server.size, now(), bytes(server.content)))
        server.finished = True
        if instead is None:
            call.peer.reset()
        else:
            instead(replace(unread, left=0))

    with Workbench(readable=readable) as server:
        server.script["PATCH"] = [finish]
        result = upload(server.settings, CONTENT)
        assert delivered(server) == [CONTENT]
        assert (result.attempts, result.duplicate_possible, result.bytes_sent) == (1, False, len(CONTENT))


def now(after: float = 0) -> str:
    return (datetime.now(UTC) + timedelta(seconds=after)).isoformat()


def refuse(call: Call) -> None:
    """Take the bytes, and fail to reach the hook."""
    call.keep()
    call.answer("500 Internal Server Error", b"pre-finish hook failed\n", TUS, f"Upload-Offset: {call.server.size}")


@pytest.mark.parametrize("readable", [True, False])
@pytest.mark.parametrize("lost", [True, False])
def test_finish_that_was_not_taken_is_made_again_without_a_duplicate(readable: bool, lost: bool) -> None:
    """HEAD at full offset is never acceptance: GET 200 says that the object is still there."""
    with Workbench(readable=readable) as server:
        server.script["PATCH"] = [unanswered(refuse) if lost else refuse]
        result = upload(server.settings, CONTENT, told := Told())
        assert delivered(server) == [CONTENT]
        assert (result.attempts, result.duplicate_possible) == (2, False)
    assert "Workbench did not take it." in told.log
    urls = [kept.upload_url for kept in told.kept]
    assert len(set(urls)) == 2
    assert [kept.finish_failed for kept in told.kept if kept.upload_url == urls[0]] == (
        [False] if lost else [False, True]
    )
    assert "settled" not in told.events


def gone_after_all(call: Call) -> None:
    call.keep()
    call.server.gone = True
    call.peer.reset()


@pytest.mark.parametrize("seconds", [4, 0])
def test_gone_after_all_bytes_left_is_settled_by_a_file_that_is_surely_new(seconds: int) -> None:
    """A Date has whole seconds, so one of the first seconds may have been there before."""

    def accept(call: Call) -> None:
        call.server.files.append((server.name, server.size, now(seconds), CONTENT))
        gone_after_all(call)

    with Workbench(readable=True) as server:
        server.script["PATCH"] = [accept]
        result = upload(server.settings, CONTENT)
        assert (result.attempts, result.duplicate_possible) == ((1, False) if seconds else (2, True))
        assert delivered(server) == [CONTENT] * result.attempts


def test_second_round_knows_what_the_step_had_before() -> None:
    def accept(call: Call) -> None:
        call.server.files.append((server.name, server.size, now(), CONTENT))
        gone_after_all(call)

    with Workbench(readable=True) as server:
        server.script["PATCH"] = [gone_after_all, accept]
        result = upload(server.settings, CONTENT)
        assert (result.attempts, result.duplicate_possible) == (2, False)
        assert delivered(server) == [CONTENT]


def test_gone_after_all_bytes_left_is_made_again_if_the_step_does_not_show_it() -> None:
    with Workbench(readable=True) as server:
        server.script["PATCH"] = [gone_after_all]
        result = upload(server.settings, CONTENT)
        assert (result.attempts, result.duplicate_possible) == (2, False)


def test_gone_after_all_bytes_left_in_an_unreadable_step_may_be_a_duplicate() -> None:
    with Workbench() as server:
        server.script["PATCH"] = [gone_after_all]
        result = upload(server.settings, CONTENT, told := Told())
        assert (result.attempts, result.duplicate_possible) == (2, True)
    assert "Nothing tells whether Workbench took it." in told.log


def test_409_after_all_bytes_left_and_then_gone_is_not_taken_for_never_there() -> None:
    """A proxy that tried again by itself hides that the first time went through."""

    def twice(call: Call) -> None:
        call.keep()
        call.server.gone = True
        call.answer("409 Conflict", b"mismatched offset\n", TUS)

    with Workbench() as server:
        server.script["PATCH"] = [twice]
        assert upload(server.settings, CONTENT).duplicate_possible


def test_budget_that_ends_after_all_bytes_left_claims_nothing() -> None:
    with Workbench(retry_budget=0.3) as server:
        server.script["PATCH"] = [lambda call: (call.keep(), call.answer("409 Conflict", b"mismatched offset\n", TUS))]
        server.script["HEAD"] = [says("502 Bad Gateway"), ...]
        error = failing(errors.OutcomeUnknownError, server.settings, CONTENT, told := Told())
    assert "nothing of it" not in str(error)
    assert "settled" not in told.events


def test_undecided_twice_is_unknown() -> None:
    with Workbench() as server:
        server.script["PATCH"] = [gone_after_all, ...]
        error = failing(errors.OutcomeUnknownError, server.settings, CONTENT)
        assert server.created == 2
    assert "may or may not have it" in str(error)


REFUSAL = says("403 Forbidden", b'{"error": {"code": "authorization-bearer-token-invalid"}}')


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        ({"PATCH": [gone_after_all], "CREATE": [None, REFUSAL]}, errors.TokenInvalidError),
        ({"PATCH": [gone_after_all, says("413 Too Large", PAGE), ...]}, errors.OutcomeUnknownError),
        ({"PATCH": [gone_after_all, *[refuse] * 4]}, errors.OutcomeUnknownError),
        (
            {"PATCH": [gone_after_all, *[says("404 Not Found", b"upload not found\n", TUS)] * 4]},
            errors.OutcomeUnknownError,
        ),
    ],
)
def test_error_after_an_undecided_round_does_not_claim_that_the_step_has_nothing(
    script: dict[str, list[Any]], kind: type[errors.WorkbenchError]
) -> None:
    with Workbench() as server:
        if script["PATCH"][-1] is ...:
            del script["PATCH"][-1]
            script["PATCH"] += [script["PATCH"][-1]] * 30
        server.script = script
        error = failing(kind, server.settings, CONTENT)
    assert "nothing of it" not in str(error)
    assert "does not have it" not in str(error)
    assert "may or may not have" in str(error)


def test_refusal_before_the_finish_does_not_claim_that_all_was_sent() -> None:
    with Workbench() as server:
        server.script["PATCH"] = [says("404 Not Found", b'{"error": {"code": "step-not-found"}}')]
        error = failing(errors.StepNotFoundError, server.settings, CONTENT, told := Told(), chunk_size=500)
    assert not error.at_finish
    assert "All bytes" not in str(error)
    assert told.events[-1] == "settled"


# ---- create-file


@pytest.mark.parametrize(
    "act",
    [
        says("500 Internal Server Error", PAGE),
        says("502 Bad Gateway", PAGE),
        says("503 Service Unavailable", PAGE),
        says("429 Too Many Requests", b'{"error": {"code": "TooManyRequests"}}'),
        says("408 Request Timeout"),
        swallow,
    ],
)
def test_create_file_is_asked_again(act: Any) -> None:
    with Workbench() as server:
        server.script["CREATE"] = [act, act]
        result = upload(server.settings, CONTENT, told := Told())
        assert delivered(server) == [CONTENT]
        assert (result.attempts, result.duplicate_possible) == (3, False)
    assert "Trying again in" in told.log


def test_create_file_is_asked_again_when_nobody_listens(wb: Sandbox) -> None:
    wb.frontend_down = True
    threading.Timer(0.4, setattr, (wb, "frontend_down", False)).start()
    result = upload(settings_of(wb, retry_budget=10), b"A\n1\n")
    assert result.attempts > 1


def test_create_file_obeys_retry_after_and_ends_if_it_is_beyond_the_budget() -> None:
    with Workbench(retry_budget=3) as server:
        server.script["CREATE"] = [
            says("503 Service Unavailable", PAGE, "Retry-After: 1"),
            says("429 Too Many Requests", PAGE, "Retry-After: 600"),
        ]
        began = time.monotonic()
        failing(errors.BusyError, server.settings, CONTENT)
        assert 1 <= time.monotonic() - began < 2.5


@pytest.mark.parametrize(
    ("act", "kind"),
    [
        (REFUSAL, errors.TokenInvalidError),
        (says("400 Bad Request", b'{"error": {"code": "body-has-errors"}}'), errors.BodyHasErrorsError),
        (says("404 Not Found", b'{"error": {"code": "step-not-found"}}'), errors.StepNotFoundError),
    ],
)
def test_create_file_that_was_refused_is_not_asked_again(act: Any, kind: type[errors.WorkbenchError]) -> None:
    with Workbench() as server:
        server.script["CREATE"] = [act, ...]
        failing(kind, server.settings, CONTENT)
        assert server.methods == ["CREATE"]


@pytest.mark.parametrize("act", [says("404 Not Found", b"default backend - 404"), says("302 Found", PAGE)])
def test_proxys_word_that_there_is_no_such_place_counts_when_it_comes_again(act: Any) -> None:
    """So it speaks for a moment while the frontend is restarted."""
    with Workbench(readable=True) as server:
        server.script["CREATE"] = [act]
        result = upload(server.settings, b"A\n1\n")
        assert delivered(server) == [b"A\n1\n"]
        assert (result.attempts, result.duplicate_possible) == (2, False)
    with Workbench(readable=True) as server:
        server.script["CREATE"] = [act, says("503 Service Unavailable", PAGE), act, act, act]
        failing(errors.ConfigurationError, server.settings, b"A\n1\n")
        assert server.methods == ["CREATE"] * 4


def test_upload_url_of_an_empty_file_is_not_needed() -> None:
    """Nothing is sent there, and the File is finished."""

    def create(call: Call) -> None:
        call.read()
        server.files.append(("a.csv", 0, now(), b""))
        call.answer("200 OK", b'{"tusUploadUrl": "http://upload.example/files/x"}')

    with Workbench() as server:
        server.script["CREATE"] = [create]
        upload(server.settings, b"")
        assert server.methods.count("CREATE") == 1


def test_create_file_of_an_empty_file_whose_answer_was_lost_is_settled_by_the_step() -> None:
    def create(call: Call) -> None:
        call.read()
        server.files.append(("a.csv", 0, now(), b""))
        call.peer.reset()

    with Workbench(readable=True) as server:
        server.script["CREATE"] = [create]
        server.script["PAGE-HEAD"] = [says("200 OK"), ...]
        result = upload(server.settings, b"")
        assert delivered(server) == [b""]
        assert (result.attempts, result.duplicate_possible) == (1, False)


def test_create_file_of_an_empty_file_is_asked_again_when_nobody_listens(wb: Sandbox) -> None:
    """Nothing can have happened, so there is nothing to settle."""
    wb.frontend_down = True
    threading.Timer(0.4, setattr, (wb, "frontend_down", False)).start()
    result = upload(settings_of(wb, retry_budget=10), b"")
    assert len(wb.step.files) == 1
    assert not result.duplicate_possible


def test_create_file_of_an_empty_file_that_a_proxy_answered_is_settled_first() -> None:
    """It may have passed the request on."""
    with Workbench(readable=True) as server:
        server.script["CREATE"] = [says("502 Bad Gateway", PAGE)]
        result = upload(server.settings, b"")
        assert delivered(server) == [b""]
        assert (result.attempts, result.duplicate_possible) == (2, True)


def test_empty_file_that_the_first_round_left_is_found_by_the_second() -> None:
    """The hook is slower than create-file and the grace together."""

    def late(call: Call) -> None:
        call.read()
        server.files.append(("a.csv", 0, now(), b""))
        call.answer("500 Internal Server Error", PAGE)

    with Workbench(readable=True) as server:
        server.script["CREATE"] = [says("500 Internal Server Error", PAGE), late]
        result = upload(server.settings, b"")
        assert (result.attempts, result.duplicate_possible) == (2, True)


@pytest.mark.parametrize(("readable", "rounds"), [(True, 4), (False, 2)])
def test_create_file_of_an_empty_file_that_stays_lost_is_unknown(readable: bool, rounds: int) -> None:
    with Workbench(readable=readable) as server:
        server.script["CREATE"] = [swallow, ...]
        failing(errors.OutcomeUnknownError, server.settings, b"")
        assert server.count("CREATE") == rounds


def test_empty_file_is_settled_although_the_page_was_in_trouble_before() -> None:
    def create(call: Call) -> None:
        call.read()
        server.files.append(("a.csv", 0, now(), b""))
        call.peer.reset()

    with Workbench(readable=True) as server:
        server.script["PAGE"] = [says("502 Bad Gateway", PAGE), swallow, swallow]
        server.script["CREATE"] = [create]
        assert upload(server.settings, b"").attempts == 1


def test_page_that_stays_in_trouble_does_not_keep_an_empty_file_back() -> None:
    with Workbench(readable=True, retry_budget=0.3) as server:
        server.script["PAGE"] = [says("502 Bad Gateway", PAGE), ...]
        assert upload(server.settings, b"").attempts == 1
        assert delivered(server) == [b""]


# ---- TLS, and letting go


def test_untrusted_upload_host_is_for_good() -> None:
    def handler(peer: Peer) -> None:
        peer.read_request()
        url = f"https://127.0.0.1:{plain.port}/files/{SECRET}+id{SECRET}"
        peer.answer("200 OK", json.dumps({"tusUploadUrl": url}).encode())

    with Wire(lambda peer: (peer.sock.recv(100), peer.send(b"not TLS at all"))) as plain, Wire(handler) as server:
        from airflow_provider_workbench.client.settings import Settings

        settings = Settings.from_fields(server.create_file_url, TOKEN)
        error = failing(errors.TlsError, settings, b"x")
    assert not error.retryable


def test_host_whose_certificate_changes_on_the_way_is_not_asked_for_the_offset(authority: Authority) -> None:
    context = authority.server.server_context()

    def swap(call: Call) -> None:
        call.keep(10_000)
        context.load_cert_chain(authority.wrong_host.both_file)
        call.peer.sock.close()

    with Workbench(tls=context, ca_bundle=authority.ca.cert_file) as server:
        server.script["PATCH"] = [swap]
        failing(errors.TlsError, server.settings, CONTENT)


def test_upload_over_tls_survives_cuts(authority: Authority) -> None:
    content = os.urandom(3_000_000)
    with Workbench(tls=authority.server.server_context(), ca_bundle=authority.ca.cert_file) as server:
        server.script["PATCH"] = [cut(1_000_000, rst=False), cut(500_000)]
        upload(server.settings, content)
        assert delivered(server) == [content]


def test_terminated_upload_is_gone() -> None:
    with Workbench() as server:
        server.script["PATCH"] = [cut(0), ...]
        told = Told()
        failing(errors.UploadInterruptedError, server.settings, b"x", told)
        server.script["DELETE"] = [says("423 Locked", b"file currently locked\n", TUS)] * 2
        assert terminate_upload(server.settings, told.kept[0].upload_url, within=3)
        assert server.methods[-3:] == ["DELETE"] * 3


def test_termination_that_fails_or_takes_too_long_is_given_up() -> None:
    with Workbench() as server:
        url = f"{server.url}/files/x+y"
        server.script["DELETE"] = [lambda call: call.peer.reset()]
        assert not terminate_upload(server.settings, url, within=3)
        server.script["DELETE"] = [says("423 Locked", b"file currently locked\n", TUS), ...]
        began = time.monotonic()
        assert not terminate_upload(server.settings, url, within=0.5)
        assert time.monotonic() - began < 2
        server.script["DELETE"] = [says("404 Not Found", b"upload not found\n", TUS)]
        assert not terminate_upload(server.settings, url, within=3)


# ---- secrets


@pytest.mark.parametrize("plus", ["+", "%2B"])
@pytest.mark.parametrize(
    "echo",
    [
        f"PATCH /files/{SECRET}1+id{SECRET} failed",
        f"no route to /files/{SECRET}1%2Bid{SECRET}",
        f"no route to /files/{SECRET}1%2bid{SECRET}",
        f"no object {SECRET}1",
        f"NoSuchUpload: id{SECRET}",
        f"<html>/files/{SECRET}1+id{SECRET}</html>",
        f"Bearer {TOKEN}",
    ],
)
@pytest.mark.parametrize("header", [TUS, "Server: proxy"])
def test_page_that_echoes_the_request_shows_no_secret(echo: str, header: str, plus: str) -> None:
    """``failing`` looks into the error, those behind it, and the log."""
    with Workbench(retry_budget=0.1, plus=plus) as server:
        server.script["PATCH"] = [says("500 Internal Server Error", echo.encode(), header), ...]
        failing(errors.UploadInterruptedError, server.settings, CONTENT, Told(), chunk_size=1000)


RECORDED = Path(__file__).parent.parent / "recorded"
RECORDED_WORDS = sorted(
    {
        recorded["response"]["body"].strip()
        for name in ("tus", "hook_server_down")
        for recorded in json.loads((RECORDED / f"{name}.json").read_text("utf-8"))
        if recorded["response"]["status"] >= 400 and "Tus-Resumable" in dict(recorded["response"]["headers"])
    }
    - {"", "(an HTML error page)"}
)


def words_for(said: str, **extra: Any) -> str:
    """What is made of a TUS server's words."""
    with Workbench(retry_budget=0.1, **extra) as server:
        server.script["PATCH"] = [says("500 Internal Server Error", said.encode(), TUS), ...]
        error = failing(errors.UploadInterruptedError, server.settings, CONTENT, chunk_size=1000)
    return str(error).partition(" answered 500 to the upload")[2].partition(". ")[0]


@pytest.mark.parametrize("before", ["1", "12"])
def test_token_within_longer_base64_is_not_quoted(before: str) -> None:
    """There it is in another form than by itself."""
    said = b64encode(f"{before}apiToken {TOKEN}".encode()).decode()
    assert words_for(f"Upload-Metadata: x {said}; no\n") == ": Upload-Metadata: x …; no"


def test_short_secret_is_not_quoted() -> None:
    assert words_for("The cookie cook-ie is not known.", session_token="cook-ie") == ""


@pytest.mark.parametrize(
    "said",
    [
        "read tcp 10.0.0.12:55204->10.0.0.9:9000: i/o timeout",
        "ERR_UPLOAD_NOT_FOUND: upload not found",
        "pre-finish hook failed: Internal Server Error",
        *RECORDED_WORDS,
    ],
)
def test_servers_own_words_are_quoted(said: str) -> None:
    assert words_for(f"{said}\n") == f": {said}"


@pytest.mark.parametrize("word", ["no ", "no"])
def test_much_that_a_server_says_is_cut(word: str) -> None:
    assert words_for(word * 80_000) == f": {(word * 100)[:199]}…"


def test_lost_connections_show_no_secret() -> None:
    with Workbench(retry_budget=0.3) as server:
        server.script["PATCH"] = [lambda call: call.peer.send(b"HTTP/1.1 garbage\r\n\r\n"), ...]
        failing(errors.UploadInterruptedError, server.settings, CONTENT, chunk_size=1000)


def test_session_is_used_for_both_and_left_open() -> None:
    with Workbench() as server, Session(server.settings) as session:
        for _ in range(2):
            upload(server.settings, CONTENT, session=session)
        assert server._wire.connections == 1
