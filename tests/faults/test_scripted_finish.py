"""The last PATCH: accepted, refused or unknown, and whether the claim is true. The rig holds it against the sandbox."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from fault_script import Fault
from rig import Rig, impatient

from airflow_provider_workbench.client import errors
from airflow_provider_workbench.sandbox import Step

pytestmark = pytest.mark.long

CONTENT = os.urandom(1_000_000)
LOSSES = {
    "lost answer": Fault("lose", method="PATCH"),
    "lost in a reset": Fault("lose", method="PATCH", rst=True),
    "502 in its place": Fault("answer", method="PATCH", status=502, when="after"),
    "200 page in its place": Fault("answer", method="PATCH", status=200, when="after"),
    "204 without an offset": Fault("answer", method="PATCH", status=204, when="after", headers={}, body=b""),
    "cut after the last byte": Fault("cut", method="PATCH"),
}
lossy = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
STEPS = ("step", "private_step")


def readable_or_not(rig: Rig, which: str) -> tuple[Step, dict[str, Any]]:
    """A Step that is public, one that a secret link shows, or one that cannot be read."""
    step = getattr(rig.wb, which)
    return step, {"secret_link": step.secret_link} if which == "secret_step" else {}


# ---- accepted, and the answer is lost


@lossy
@pytest.mark.parametrize("which", ["step", "secret_step", "private_step"])
def test_accepted_file_whose_answer_was_lost_is_a_success_without_a_second_file(
    rig: Rig, which: str, loss: Fault
) -> None:
    step, extra = readable_or_not(rig, which)
    outcome = rig.upload(CONTENT, loss, step=step, **extra)
    assert outcome.result
    assert (rig.files(step), outcome.result.duplicate_possible, outcome.result.attempts) == (1, False, 1)


@pytest.mark.parametrize("which", STEPS)
def test_accepted_file_of_a_slow_hook_is_waited_for(rig: Rig, which: str) -> None:
    rig.wb.hook_delay = 1.5
    step, extra = readable_or_not(rig, which)
    outcome = rig.upload(CONTENT, Fault("cut", method="PATCH"), step=step, **extra)
    assert outcome.result
    assert rig.files(step) == 1


@pytest.mark.parametrize("which", STEPS)
def test_answer_that_does_not_come_in_time_is_no_failure(rig: Rig, which: str) -> None:
    step, extra = readable_or_not(rig, which)
    outcome = rig.upload(CONTENT, Fault("stall", method="PATCH", seconds=3), step=step, finish_timeout=1, **extra)
    assert outcome.result
    assert rig.files(step) == 1


def expire_once_it_is_taken(step: Step, rig: Rig) -> None:
    before = len(step.files)
    while len(step.files) == before:
        time.sleep(0.001)
    rig.wb.forget_uploads()


LATE_HEAD = Fault("stall", method="HEAD", seconds=0.5)


@lossy
@pytest.mark.parametrize("which", STEPS)
def test_accepted_upload_that_expired_before_its_evidence_was_seen_may_be_a_duplicate(
    rig: Rig, which: str, loss: Fault
) -> None:
    """So soon after create-file, the Step's File may be one that was there before."""
    step, extra = readable_or_not(rig, which)
    thread = threading.Thread(target=expire_once_it_is_taken, args=(step, rig))
    thread.start()
    outcome = rig.upload(CONTENT, loss, LATE_HEAD, step=step, **extra)
    thread.join(5)
    assert outcome.result
    assert (rig.files(step), outcome.result.duplicate_possible) == (2, True)


@pytest.mark.parametrize("loss", [LOSSES["lost answer"], LOSSES["502 in its place"]], ids=["lost", "502"])
def test_accepted_upload_that_expired_is_told_by_a_file_that_is_surely_new(rig: Rig, loss: Fault) -> None:
    rig.wb.hook_delay = 4
    thread = threading.Thread(target=expire_once_it_is_taken, args=(rig.wb.step, rig))
    thread.start()
    outcome = rig.upload(CONTENT, loss, LATE_HEAD)
    thread.join(5)
    assert outcome.result
    assert (rig.files(), outcome.result.duplicate_possible) == (1, False)


def test_accepted_upload_that_expired_is_told_by_what_the_step_had_before(rig: Rig) -> None:
    rig.upload(CONTENT)
    known = frozenset(file.uuid for file in rig.wb.step.files)
    thread = threading.Thread(target=expire_once_it_is_taken, args=(rig.wb.step, rig))
    thread.start()
    outcome = rig.upload(CONTENT, LOSSES["lost answer"], LATE_HEAD, known=known)
    thread.join(5)
    assert outcome.result
    assert (rig.files(), outcome.result.duplicate_possible) == (2, False)


def test_upload_that_expired_before_it_was_taken_begins_anew(rig: Rig) -> None:
    rig.wb.hook_delay = 0.5
    timer = threading.Timer(0.3, rig.wb.forget_uploads)
    timer.start()
    outcome = rig.upload(CONTENT, Fault("cut", method="PATCH"))
    assert outcome.result
    assert rig.files() == 1


@pytest.mark.parametrize("which", STEPS)
@pytest.mark.parametrize("status", [404, 405, 502])
def test_unknown_outcome_where_get_is_not_routed(rig: Rig, which: str, status: int) -> None:
    step, extra = readable_or_not(rig, which)
    unrouted = Fault("answer", host="upload", method="GET", status=status, times=None)
    outcome = rig.upload(CONTENT, Fault("lose", method="PATCH"), unrouted, step=step, **extra)
    assert outcome.result
    # a File of the first seconds may have been there before
    assert outcome.result.duplicate_possible
    known = frozenset(file.uuid for file in step.files)
    outcome = rig.upload(CONTENT, Fault("lose", method="PATCH"), unrouted, step=step, known=known, **extra)
    assert outcome.result
    assert outcome.result.duplicate_possible == (which == "private_step")


@pytest.mark.parametrize("status", [404, 410, 403, 200])
def test_proxys_page_in_place_of_head_is_no_evidence_while_the_hook_is_at_work(rig: Rig, status: int) -> None:
    rig.wb.hook_delay = 1.5
    pages = Fault("answer", method="HEAD", status=status, times=2)
    outcome = rig.upload(CONTENT, Fault("cut", method="PATCH", hold=1.5), pages)
    assert outcome.result
    assert rig.files() == 1


@pytest.mark.parametrize("status", [403, 404, 410])
def test_proxys_page_in_place_of_the_last_answer_is_no_lost_upload(rig: Rig, status: int) -> None:
    outcome = rig.upload(CONTENT, Fault("answer", method="PATCH", status=status, when="after"))
    assert outcome.result
    assert (rig.files(), outcome.result.duplicate_possible) == (1, False)


def test_evidence_is_asked_for_again_when_the_page_fails(rig: Rig) -> None:
    pages = Fault("answer", host="frontend", method="GET", times=3)
    outcome = rig.upload(CONTENT, Fault("lose", method="PATCH"), pages)
    assert outcome.result
    assert rig.files() == 1


def test_evidence_is_asked_for_again_when_head_fails(rig: Rig) -> None:
    outcome = rig.upload(CONTENT, Fault("lose", method="PATCH"), Fault("answer", method="HEAD", times=3))
    assert outcome.result
    assert rig.files() == 1


def test_step_full_of_files_still_shows_the_new_one(rig: Rig) -> None:
    rig.wb.step_file_limit = 2
    for number in range(3):
        rig.upload(CONTENT, filename=f"{number}.dat")
    outcome = rig.upload(CONTENT, Fault("lose", method="PATCH"))
    assert outcome.result
    assert not outcome.result.duplicate_possible


# ---- refused


SPOILS: dict[str, tuple[Callable[[Step], object], type, str]] = {
    "token reset": (lambda step: step.reset_token(), errors.TokenInvalidError, "API token"),
    "API disabled": (lambda step: step.disable_api(), errors.ApiDisabledError, "switched off"),
    "Step deleted": (lambda step: step.delete(), errors.StepNotFoundError, "no such Step"),
    "Workflow deleted": (lambda step: step.workflow.delete(), errors.WorkflowNotFoundError, "no such Workflow"),
}


@pytest.mark.parametrize("loss", [None, *LOSSES.values()], ids=["answered", *LOSSES])
@pytest.mark.parametrize(("spoil", "kind", "words"), SPOILS.values(), ids=SPOILS)
@pytest.mark.parametrize("which", STEPS)
def test_refused_finish_is_a_failure_that_names_the_reason(
    rig: Rig, which: str, spoil: Callable[[Step], object], kind: type, words: str, loss: Fault | None
) -> None:
    step, extra = readable_or_not(rig, which)
    left = [spoil]

    def during(offset: int) -> None:
        if left:
            left.pop()(step)

    outcome = rig.upload(CONTENT, *([loss] if loss else []), step=step, during=during, **extra)
    assert type(outcome.error) is kind
    assert words in str(outcome.error)
    assert not outcome.error.retryable
    assert rig.files(step) == 0


@pytest.mark.parametrize("loss", [None, *LOSSES.values()], ids=["answered", *LOSSES])
@pytest.mark.parametrize("hook", ["down", "500"])
@pytest.mark.parametrize("which", STEPS)
def test_failing_hook_is_a_failure_that_names_the_reason(rig: Rig, which: str, hook: str, loss: Fault | None) -> None:
    rig.wb.hook = hook
    step, extra = readable_or_not(rig, which)
    faults = [] if loss is None else [Fault(**{**vars(loss), "times": None})]
    outcome = rig.upload(CONTENT, *faults, step=step, retry_budget=3, **extra)
    assert isinstance(outcome.error, errors.WorkbenchError)
    assert outcome.error.retryable
    assert "did not take" in str(outcome.error) or "did not confirm" in str(outcome.error)
    if loss is None:
        assert "500" in str(outcome.error)
    assert rig.files(step) == 0


@lossy
@pytest.mark.parametrize("which", STEPS)
def test_file_that_was_there_before_is_no_evidence(rig: Rig, which: str, loss: Fault) -> None:
    step, extra = readable_or_not(rig, which)
    rig.upload(CONTENT, step=step, **extra)
    rig.wb.hook = "500"
    outcome = rig.upload(CONTENT, Fault(**{**vars(loss), "times": None}), step=step, retry_budget=3, **extra)
    assert outcome.error


@pytest.mark.parametrize("which", STEPS)
def test_file_that_was_there_before_is_no_evidence_when_the_upload_is_gone(rig: Rig, which: str) -> None:
    step, extra = readable_or_not(rig, which)
    rig.upload(CONTENT, step=step, **extra)
    rig.wb.hook_delay = 0.5
    rig.wb.hook = "500"
    timer = threading.Timer(0.3, rig.wb.forget_uploads)
    timer.start()
    recovery = threading.Timer(0.8, lambda: setattr(rig.wb, "hook", "ok"))
    recovery.start()
    outcome = rig.upload(CONTENT, Fault("cut", method="PATCH"), step=step, **extra)
    assert outcome.result
    assert rig.files(step) >= 2


# ---- a hook that fails for a while, or half-way


@pytest.mark.parametrize("hook", ["down", "500"])
@pytest.mark.parametrize("which", STEPS)
@pytest.mark.parametrize("loss", [None, LOSSES["lost answer"]], ids=["answered", "lost"])
def test_hook_that_works_again_gets_the_file(rig: Rig, which: str, hook: str, loss: Fault | None) -> None:
    rig.wb.hook = hook
    step, extra = readable_or_not(rig, which)
    during = [lambda: threading.Timer(0.2, lambda: setattr(rig.wb, "hook", "ok")).start()]
    outcome = rig.upload(
        CONTENT,
        *([loss] if loss else []),
        step=step,
        during=lambda _: during.pop()() if during else None,
        patience=impatient(first_pause=0.5, longest_pause=1.0),
        **extra,
    )
    assert outcome.result
    assert rig.files(step) == 1


@pytest.mark.parametrize("loss", [None, *LOSSES.values()], ids=["answered", *LOSSES])
@pytest.mark.parametrize("which", ["step", "secret_step"])
def test_file_that_the_hook_stored_before_it_failed_is_delivered_once(rig: Rig, which: str, loss: Fault | None) -> None:
    rig.wb.hook = "store-then-500"
    step, extra = readable_or_not(rig, which)
    outcome = rig.upload(CONTENT, *([loss] if loss else []), step=step, **extra)
    assert outcome.result
    assert (rig.files(step), outcome.result.duplicate_possible) == (1, False)


@pytest.mark.parametrize("loss", [None, *LOSSES.values()], ids=["answered", *LOSSES])
def test_file_that_the_hook_stored_unseen_is_delivered_again_and_said_so(rig: Rig, loss: Fault | None) -> None:
    rig.wb.hook = "store-then-500"
    started = []

    def during(offset: int) -> None:
        if offset == len(CONTENT):
            started.append(offset)
            if len(started) == 2:
                rig.wb.hook = "ok"

    outcome = rig.upload(CONTENT, *([loss] if loss else []), step=rig.wb.private_step, during=during)
    assert outcome.result
    if rig.files(rig.wb.private_step) == 2:
        assert outcome.result.duplicate_possible


def test_unseen_outcome_that_stays_unknown_says_so(rig: Rig) -> None:
    rig.wb.hook = "store-then-500"
    outcome = rig.upload(CONTENT, step=rig.wb.private_step)
    assert type(outcome.error) is errors.OutcomeUnknownError


# ---- empty files: finished inside create-file


@pytest.mark.parametrize("which", STEPS)
def test_empty_file_arrives(rig: Rig, which: str) -> None:
    step, extra = readable_or_not(rig, which)
    outcome = rig.upload(b"", step=step, **extra)
    assert outcome.result
    assert rig.files(step) == 1


@pytest.mark.parametrize("do", ["lose", "cut", "answer"])
@pytest.mark.parametrize("which", STEPS)
def test_empty_file_whose_answer_was_lost(rig: Rig, which: str, do: Any) -> None:
    step, extra = readable_or_not(rig, which)
    outcome = rig.upload(b"", Fault(do, host="frontend", method="POST", when="after"), step=step, **extra)
    assert outcome.result
    assert outcome.result.duplicate_possible == (which == "private_step")
    assert rig.files(step) == 1 + (which == "private_step")


@pytest.mark.parametrize("status", [200, 408, 429, 500, 504])
def test_empty_file_whose_answer_was_replaced_by_a_page(rig: Rig, status: int) -> None:
    outcome = rig.upload(b"", Fault("answer", host="frontend", method="POST", status=status, when="after"))
    assert outcome.result
    assert (rig.files(), outcome.result.duplicate_possible) == (1, False)


def test_empty_file_is_looked_for_until_the_frontend_is_back(rig: Rig) -> None:
    away = Fault("refuse", host="frontend", method="POST", seconds=0.5)
    outcome = rig.upload(b"", away)
    assert outcome.result
    assert (rig.files(), outcome.result.duplicate_possible) == (1, False)


def test_file_is_looked_for_until_the_frontend_is_back(rig: Rig) -> None:
    left = [lambda: rig.proxy.refuse("frontend", 2.0)]
    outcome = rig.upload(CONTENT, Fault("lose", method="PATCH"), during=lambda _: left.pop()() if left else None)
    assert outcome.result
    assert (rig.files(), outcome.result.duplicate_possible) == (1, False)


@pytest.mark.parametrize("which", STEPS)
@pytest.mark.parametrize("status", [502, 503, 504])
def test_empty_file_that_never_left_the_proxy(rig: Rig, which: str, status: int) -> None:
    step, extra = readable_or_not(rig, which)
    outcome = rig.upload(b"", Fault("answer", host="frontend", method="POST", status=status), step=step, **extra)
    assert outcome.result
    assert rig.files(step) == 1


def test_empty_file_that_was_there_before_is_no_evidence(rig: Rig) -> None:
    rig.upload(b"")
    outcome = rig.upload(b"", Fault("answer", host="frontend", method="POST", times=None), retry_budget=2)
    assert outcome.error
    assert rig.files() == 1


def test_empty_file_that_lands_after_create_file_has_failed_is_found(rig: Rig) -> None:
    rig.wb.create_timeout = 0.2
    rig.wb.hook_delay = 0.5  # the answer is 500 while the File still lands (recorded)
    outcome = rig.upload(b"", patience=impatient(grace=1.5))
    assert outcome.result
    assert (rig.files(), outcome.result.duplicate_possible) == (1, False)


@pytest.mark.parametrize("which", STEPS)
@pytest.mark.parametrize("hook", ["down", "500"])
def test_empty_file_that_the_hook_does_not_take_is_a_failure(rig: Rig, which: str, hook: str) -> None:
    rig.wb.hook = hook
    step, extra = readable_or_not(rig, which)
    outcome = rig.upload(b"", step=step, retry_budget=2, **extra)
    assert isinstance(outcome.error, errors.WorkbenchError)
    assert outcome.error.retryable
