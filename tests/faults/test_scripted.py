"""Trouble on the way: create-file, connections, proxies, the upload host. The rig holds each claim against the truth.

A cut PATCH that is not the last is one that cannot have finished the upload; hence the chunk sizes.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest
from fault_script import Fault
from rig import Rig, impatient, once

from airflow_provider_workbench.client import errors

pytestmark = pytest.mark.long

MIB = 1024 * 1024
CONTENT = os.urandom(3 * MIB)
HALF = len(CONTENT) // 2


def page(status: int, **more: Any) -> Fault:
    """A proxy's page instead of the upload host's answer to PATCH."""
    return Fault("answer", **{"host": "upload", "method": "PATCH", "status": status, **more})


def creations(rig: Rig) -> int:
    return sum(said.startswith("POST") for said in rig.proxy.said("frontend"))


# ---- create-file


@pytest.mark.parametrize("status", [500, 502, 503, 504, 429, 408])
@pytest.mark.parametrize("when", ["first", "instead", "after"])
def test_create_file_is_tried_again_after_a_proxys_page(rig: Rig, status: int, when: Any) -> None:
    outcome = rig.upload(CONTENT, Fault("answer", host="frontend", status=status, when=when, times=2))
    assert outcome.result
    assert (outcome.result.attempts, outcome.result.duplicate_possible, rig.sent) == (3, False, len(CONTENT))


@pytest.mark.parametrize("fault", ["cut", "lose"])
@pytest.mark.parametrize("rst", [False, True], ids=["FIN", "RST"])
def test_create_file_is_tried_again_after_a_lost_answer(rig: Rig, fault: Any, rst: bool) -> None:
    outcome = rig.upload(CONTENT, Fault(fault, host="frontend", rst=rst))
    assert outcome.result
    assert not outcome.result.duplicate_possible
    assert rig.files() == 1


@pytest.mark.parametrize("rst", [False, True], ids=["no listener", "RST"])
def test_create_file_waits_for_a_frontend_that_refuses_connections(rig: Rig, rst: bool) -> None:
    rig.proxy.refuse("frontend", 1.0, rst)
    assert rig.upload(CONTENT).result


def test_create_file_waits_as_long_as_it_is_asked_to(rig: Rig) -> None:
    outcome = rig.upload(CONTENT, Fault("answer", host="frontend", status=503, headers={"Retry-After": "1"}))
    assert outcome.result
    assert outcome.seconds >= 1


def test_create_file_on_a_busy_workflow_is_waited_for(rig: Rig) -> None:
    rig.wb.workflow.hold(1.0)
    assert rig.upload(CONTENT).result
    assert creations(rig) == 1


def test_create_file_that_never_works_is_an_error(rig: Rig) -> None:
    outcome = rig.upload(CONTENT, Fault("answer", host="frontend", times=None), retry_budget=1)
    assert type(outcome.error) is errors.ServerError
    assert outcome.seconds < 5
    assert rig.sent == 0


def test_page_in_place_of_create_files_answer_is_no_success(rig: Rig) -> None:
    outcome = rig.upload(CONTENT, Fault("answer", host="frontend", status=200, times=None), retry_budget=1)
    assert isinstance(outcome.error, errors.UnexpectedAnswerError)


@pytest.mark.parametrize(
    ("spoil", "kind"),
    [
        (lambda step: step.reset_token(), errors.TokenInvalidError),
        (lambda step: step.disable_api(), errors.ApiDisabledError),
        (lambda step: step.delete(), errors.StepNotFoundError),
        (lambda step: step.workflow.delete(), errors.WorkflowNotFoundError),
    ],
    ids=["token reset", "API disabled", "Step deleted", "Workflow deleted"],
)
def test_refused_create_file_is_not_tried_again(rig: Rig, spoil: Callable[..., object], kind: type) -> None:
    settings = rig.settings(rig.wb.step)
    spoil(rig.wb.step)
    outcome = rig.upload(CONTENT, settings=settings)
    assert type(outcome.error) is kind
    assert creations(rig) == 1


# ---- connections


@pytest.mark.parametrize("rst", [False, True], ids=["FIN", "RST"])
@pytest.mark.parametrize("at", [0, 1, HALF, len(CONTENT) - 1])
def test_cut_upload_goes_on_where_the_server_is(rig: Rig, at: int, rst: bool) -> None:
    outcome = rig.upload(CONTENT, Fault("cut", method="PATCH", at=at, rst=rst))
    assert outcome.result
    assert (outcome.result.attempts, outcome.result.duplicate_possible) == (1, False)
    if not rst:
        # every byte sent survives (recorded), so none is sent twice
        assert rig.sent == len(CONTENT)
        assert outcome.result.resumed_from == at


def test_twenty_cuts_cost_no_byte(rig: Rig) -> None:
    cuts = [Fault("cut", method="PATCH", at=100_000) for _ in range(20)]
    outcome = rig.upload(CONTENT, *cuts, patience=impatient(grace=0.05))
    assert outcome.result
    assert outcome.result.resumed_from == 2_000_000
    assert rig.sent == len(CONTENT)


def test_no_connection_stays_open_after_trouble(rig: Rig) -> None:
    rig.upload(CONTENT, Fault("cut", method="PATCH", at=HALF), Fault("lose", method="HEAD"))
    assert not rig.left_open


@pytest.mark.parametrize("rst", [False, True], ids=["no listener", "RST"])
def test_upload_host_that_refuses_connections_is_waited_for(rig: Rig, rst: bool) -> None:
    outcome = rig.upload(CONTENT, Fault("refuse", method="PATCH", at=HALF, seconds=1.0, rst=rst))
    assert outcome.result
    assert outcome.result.attempts == 1


def test_restarted_upload_host_goes_on_where_it_was(rig: Rig) -> None:
    outcome = rig.upload(CONTENT, Fault(rate=20e6), during=once(MIB, rig.wb.restart_tusd))
    assert outcome.result
    assert outcome.result.attempts == 1


@pytest.mark.parametrize("hold", [1.0, 3.0])
def test_lock_of_a_half_open_connection_is_waited_for(rig: Rig, hold: float) -> None:
    rig.wb.idle_limit = 60
    outcome = rig.upload(
        CONTENT,
        Fault("cut", method="PATCH", at=MIB // 2, hold=hold),
        chunk_size=MIB,
        retry_budget=2,
        patience=impatient(lock=10),
    )
    assert outcome.result
    assert outcome.seconds >= hold
    assert "HEAD 423" in rig.proxy.said()
    assert creations(rig) == 1


def test_lock_that_is_never_given_up_is_an_error(rig: Rig) -> None:
    rig.wb.idle_limit = 60
    fault = Fault("cut", method="PATCH", at=MIB // 2, hold=4)
    outcome = rig.upload(CONTENT, fault, chunk_size=MIB, retry_budget=1, patience=impatient(lock=2))
    assert type(outcome.error) is errors.UploadInterruptedError
    assert "locked" in str(outcome.error)


@pytest.mark.parametrize("status", [423, 409])
def test_upload_goes_on_after_the_servers_conflict(rig: Rig, status: int) -> None:
    tus = {"Tus-Resumable": "1.0.0", "Content-Type": "text/plain"}
    outcome = rig.upload(CONTENT, page(status, headers=tus, body=b"file currently locked\n", when="first", times=3))
    assert outcome.result
    assert creations(rig) == 1


def test_short_stall_is_no_trouble(rig: Rig) -> None:
    assert rig.upload(CONTENT, Fault("stall", method="PATCH", at=HALF, seconds=1.0)).result
    assert rig.sent == len(CONTENT)


def test_long_stall_while_sending_is_cut(rig: Rig) -> None:
    content = os.urandom(16 * MIB)  # more than the sockets take
    fault = Fault("stall", method="PATCH", at=HALF, seconds=2.5)
    outcome = rig.upload(content, fault, stall_timeout=1, connect_timeout=30)
    assert outcome.result
    # it asked again while the stalled connection still held the lock
    assert "HEAD 423" in rig.proxy.said()
    assert outcome.result.attempts == 1


def test_offset_that_goes_backwards_is_followed(rig: Rig) -> None:
    rig.wb.idle_limit = 0.3
    rig.wb.flush_size = MIB
    outcome = rig.upload(CONTENT, Fault("stall", method="PATCH", at=MIB + HALF // 2, seconds=1.0))
    assert outcome.result
    assert outcome.result.resumed_from == MIB
    assert (creations(rig), outcome.result.duplicate_possible) == (1, False)


def test_acknowledged_bytes_that_the_server_loses_are_sent_again(rig: Rig) -> None:
    rig.wb.idle_limit = 0.3  # and nothing was flushed: the offset goes back to 0
    fault = Fault("stall", method="PATCH", skip=1, at=MIB // 2, seconds=1.0)
    outcome = rig.upload(CONTENT, fault, chunk_size=MIB)
    assert outcome.result
    assert outcome.result.resumed_from == 0
    assert any("less than it had" in line for line in outcome.log)


def test_slow_link_is_no_trouble(rig: Rig) -> None:
    assert rig.upload(CONTENT, Fault(method="PATCH", rate=1.5e6), finish_timeout=8).result
    assert rig.sent == len(CONTENT)


def test_upload_host_that_never_takes_a_byte_ends_in_an_error(rig: Rig) -> None:
    outcome = rig.upload(CONTENT, Fault("cut", method="PATCH", at=0, times=None), retry_budget=2)
    assert type(outcome.error) is errors.UploadInterruptedError
    assert outcome.seconds < 10


def test_offset_that_never_moves_ends_in_an_error(rig: Rig) -> None:
    outcome = rig.upload(CONTENT, Fault("cut", method="PATCH", at=MIB // 2, buffer=True, times=None), retry_budget=2)
    assert type(outcome.error) is errors.UploadInterruptedError


# ---- proxies


@pytest.mark.parametrize("when", ["first", "instead"])
@pytest.mark.parametrize("status", [500, 502, 503, 504, 429, 408, 400, 403, 404, 301, 200])
def test_proxys_page_instead_of_progress_is_overcome(rig: Rig, status: int, when: Any) -> None:
    outcome = rig.upload(CONTENT, page(status, when=when, times=2), chunk_size=MIB)
    assert outcome.result
    assert not outcome.result.duplicate_possible


@pytest.mark.parametrize("status", [200, 500, 502, 504])
def test_proxys_page_for_a_patch_that_arrived_is_overcome(rig: Rig, status: int) -> None:
    outcome = rig.upload(CONTENT, page(status, when="after"), chunk_size=MIB)
    assert outcome.result
    assert (outcome.result.attempts, rig.sent) == (1, len(CONTENT))


def test_upload_waits_as_long_as_it_is_asked_to(rig: Rig) -> None:
    outcome = rig.upload(CONTENT, page(503, headers={"Retry-After": "1"}), chunk_size=MIB)
    assert outcome.result
    assert outcome.seconds >= 1


@pytest.mark.parametrize("status", [405, 501])
@pytest.mark.parametrize("when", ["first", "instead"])
def test_blocked_patch_becomes_a_post(rig: Rig, status: int, when: Any) -> None:
    outcome = rig.upload(CONTENT, page(status, when=when, times=None), chunk_size=MIB)
    assert outcome.result
    assert rig.proxy.said("upload").count("POST 204") == 3


def test_blocked_patch_becomes_a_post_after_cuts_too(rig: Rig) -> None:
    outcome = rig.upload(
        CONTENT, page(405, times=None), Fault("cut", host="upload", method="POST", at=MIB), Fault("lose", method="POST")
    )
    assert outcome.result
    assert rig.files() == 1


@pytest.mark.parametrize("when", ["first", "instead"])
@pytest.mark.parametrize("limit", [MIB, 2_500_000])
def test_refused_large_requests_become_smaller(rig: Rig, limit: int, when: Any) -> None:
    content = os.urandom(6 * MIB)
    outcome = rig.upload(content, page(413, over=limit, times=None, when=when))
    assert outcome.result
    assert outcome.result.attempts == 1
    taken = [seen.body_bytes for seen in rig.proxy.seen if seen.method == "PATCH" and seen.status == 204]
    assert sum(taken) == len(content)
    assert MIB // 2 < taken[0] <= limit


def test_refused_large_requests_become_smaller_though_the_answer_is_lost_in_a_reset(rig: Rig) -> None:
    content = os.urandom(6 * MIB)
    assert rig.upload(content, page(413, over=MIB, times=None, when="first", rst=True)).result


def test_limit_that_nothing_can_pass_is_an_error(rig: Rig) -> None:
    outcome = rig.upload(CONTENT, page(413, over=100_000, times=None))
    assert type(outcome.error) is errors.UploadInterruptedError
    assert outcome.seconds < 10


def test_limit_below_all_is_passed_with_a_chunk_size(rig: Rig) -> None:
    assert rig.upload(CONTENT, page(413, over=100_000, times=None), chunk_size=100_000).result


def test_buffering_proxy_that_loses_large_requests_gets_smaller_ones(rig: Rig) -> None:
    content = os.urandom(6 * MIB)
    outcome = rig.upload(content, Fault("cut", method="PATCH", over=2 * MIB, at=2 * MIB, buffer=True, times=None))
    assert outcome.result
    assert outcome.result.attempts == 1


def test_buffering_proxy_without_limits_is_no_trouble(rig: Rig) -> None:
    assert rig.upload(CONTENT, Fault(buffer=True, times=None), chunk_size=MIB).result
    assert rig.sent == len(CONTENT)


def test_portal_in_place_of_the_upload_host_is_no_success(rig: Rig) -> None:
    outcome = rig.upload(
        CONTENT, Fault("answer", host="upload", status=200, times=None), retry_budget=1, finish_timeout=1
    )
    assert outcome.error


# ---- HEAD


@pytest.mark.parametrize("status", [500, 502, 503, 200, 301, 403, 405])
def test_heads_trouble_is_no_lost_upload(rig: Rig, status: int) -> None:
    cut = Fault("cut", method="PATCH", at=HALF)
    outcome = rig.upload(CONTENT, cut, Fault("answer", method="HEAD", status=status, times=3))
    assert outcome.result
    assert outcome.result.attempts == 1
    assert rig.sent == len(CONTENT)


def test_lost_heads_are_asked_again(rig: Rig) -> None:
    cut = Fault("cut", method="PATCH", at=HALF)
    outcome = rig.upload(CONTENT, cut, Fault("lose", method="HEAD", times=3))
    assert outcome.result
    assert rig.sent == len(CONTENT)


@pytest.mark.parametrize(
    "headers",
    [
        {"Upload-Offset": str(len(CONTENT) + 1), "Upload-Length": str(len(CONTENT))},
        {"Upload-Offset": "0", "Upload-Length": str(len(CONTENT) + 1)},
        {"Upload-Offset": "-1", "Upload-Length": str(len(CONTENT))},
        {"Upload-Offset": "many", "Upload-Length": str(len(CONTENT))},
        {"Upload-Length": str(len(CONTENT))},
    ],
    ids=["beyond the size", "another length", "negative", "no number", "none"],
)
def test_senseless_offset_is_an_error_and_no_loop(rig: Rig, headers: dict[str, str]) -> None:
    lie = Fault("answer", method="HEAD", status=200, headers={"Tus-Resumable": "1.0.0", **headers}, times=None)
    outcome = rig.upload(CONTENT, Fault("cut", method="PATCH", at=1), lie, retry_budget=1, chunk_size=MIB)
    assert type(outcome.error) is errors.UploadInterruptedError
    assert outcome.seconds < 5


def test_offset_that_the_server_lies_about_ends_in_an_error(rig: Rig) -> None:
    tus = {"Tus-Resumable": "1.0.0", "Upload-Length": str(len(CONTENT)), "Upload-Offset": "0"}
    lie = Fault("answer", method="HEAD", status=200, headers=tus, times=None)
    outcome = rig.upload(CONTENT, Fault("cut", method="PATCH", at=1), lie, retry_budget=2, chunk_size=MIB)
    assert isinstance(outcome.error, errors.UploadInterruptedError)
    assert outcome.seconds < 15


# ---- uploads that the server has lost


def test_upload_that_is_gone_begins_anew(rig: Rig) -> None:
    forget = once(HALF, rig.wb.forget_uploads)
    outcome = rig.upload(CONTENT, Fault("cut", method="PATCH", at=HALF), during=forget)
    assert outcome.result
    assert (outcome.result.attempts, outcome.result.duplicate_possible) == (2, False)


def test_upload_that_is_gone_between_two_patches_begins_anew(rig: Rig) -> None:
    outcome = rig.upload(CONTENT, during=once(MIB + 1, rig.wb.forget_uploads), chunk_size=MIB)
    assert outcome.result
    assert outcome.result.attempts == 2


def test_upload_that_is_gone_every_time_is_an_error(rig: Rig) -> None:
    tus = {"Tus-Resumable": "1.0.0", "Content-Type": "text/plain"}
    gone = page(404, headers=tus, body=b"upload not found\n", times=None)
    outcome = rig.upload(CONTENT, gone, retry_budget=2)
    assert type(outcome.error) is errors.UploadGoneError
    assert outcome.seconds < 20


# ---- chunks


@pytest.mark.parametrize("at", [0, 1, 999_999, 1_000_000, None])
@pytest.mark.parametrize("skip", [0, 1])
def test_cut_at_a_chunks_edge_costs_no_byte(rig: Rig, at: int | None, skip: int) -> None:
    outcome = rig.upload(CONTENT, Fault("cut", method="PATCH", at=at, skip=skip), chunk_size=1_000_000)
    assert outcome.result
    assert rig.sent == len(CONTENT)


def test_lost_answer_to_a_chunk_costs_no_byte(rig: Rig) -> None:
    outcome = rig.upload(CONTENT, Fault("lose", method="PATCH", skip=1), chunk_size=1_000_000)
    assert outcome.result
    assert rig.sent == len(CONTENT)
    assert outcome.result.resumed_from == 2_000_000
