from __future__ import annotations

import contextlib
import copy
import json
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_workbench.client import errors
from airflow_provider_workbench.client.step_messages import WorkflowSteps, change_of, is_complete

Recorded = Callable[[str], Any]
SOCKETS = ["public-anonymous", "secret-anonymous", "private-owner", "public-empty-file", "public-unknown-ext"]


def changes(recorded: Recorded, socket: str) -> list[dict[str, Any]]:
    found = [change_of(json.dumps(message)) for message in recorded("websocket_messages")[socket]]
    return [change for change in found if change is not None]


def started(change: dict[str, Any]) -> WorkflowSteps:
    steps = WorkflowSteps()
    steps.replace(change["updateSteps"])
    return steps


@pytest.mark.parametrize("socket", SOCKETS)
def test_only_the_first_recorded_message_is_complete(recorded: Recorded, socket: str) -> None:
    assert [is_complete(change) for change in changes(recorded, socket)] == [True, False, False]


def test_recorded_upload_is_listed_and_then_rendered(recorded: Recorded) -> None:
    start, uploaded, rendered = changes(recorded, "public-anonymous")
    steps = started(start)
    before = steps.get("step-pubUp_-01")
    steps.merge(uploaded)
    listed = steps.get("step-pubUp_-01")
    steps.merge(rendered)
    done = steps.get("step-pubUp_-01")
    assert before is not None
    assert listed is not None
    assert done is not None
    assert len(listed.files) == len(before.files) + 1
    assert (listed.selected_uuid, listed.rendered) == (listed.files[0].uuid, False)
    # a partial Step has neither slug nor Files: they stay
    assert (done.files, done.rendered, done.output_status) == (listed.files, True, "ok")
    assert (done.n_rows, done.n_columns) == (2, 2)


def test_recorded_render_error_is_kept_in_workbenchs_words(recorded: Recorded) -> None:
    start, *later = changes(recorded, "public-unknown-ext")
    steps = started(start)
    for change in later:
        steps.merge(change)
    step = steps.get("step-pubUp_-01")
    assert step is not None
    assert step.output_status == "error"
    assert step.output_errors == ("Unknown file extension .xyz. Please try a different file.",)


def test_step_that_did_not_change_stays_the_same_object(recorded: Recorded) -> None:
    start, uploaded, _ = changes(recorded, "public-anonymous")
    steps = started(start)
    step, other = steps.get("step-pubUp_-01"), steps.get("step-pubNoApi1")
    steps.replace(copy.deepcopy(start["updateSteps"]))
    assert steps.get("step-pubUp_-01") is step
    steps.merge(uploaded)
    assert steps.get("step-pubUp_-01") is not step
    assert steps.get("step-pubNoApi1") is other


@pytest.mark.parametrize("number", [1, "1"])
def test_cleared_step_is_gone_until_it_is_restored(recorded: Recorded, number: int | str) -> None:
    start, uploaded, _ = changes(recorded, "public-anonymous")
    steps = started(start)
    steps.merge({"clearStepIds": [number]})
    assert steps.get("step-pubUp_-01") is None
    assert steps.get("step-pubNoApi1") is not None
    steps.merge(uploaded)
    assert steps.get("step-pubUp_-01") is not None


def test_complete_state_forgets_steps_that_are_not_in_it(recorded: Recorded) -> None:
    start, *_ = changes(recorded, "public-anonymous")
    steps = started(start)
    steps.replace({"2": start["updateSteps"]["2"]})
    assert steps.get("step-pubUp_-01") is None


def test_part_of_an_unknown_step_is_no_step(recorded: Recorded) -> None:
    *_, rendered = changes(recorded, "public-anonymous")
    steps = WorkflowSteps()
    steps.merge(rendered)
    assert steps.get("step-pubUp_-01") is None


def test_step_that_is_none_of_workbenchs_is_an_error_that_another_try_may_mend(recorded: Recorded) -> None:
    start, *_ = changes(recorded, "public-anonymous")
    steps = started(start)
    steps.merge({"updateSteps": {"1": {"files": "none"}}})
    with pytest.raises(errors.UnexpectedAnswerError):
        steps.get("step-pubUp_-01")
    assert steps.get("step-pubNoApi1") is not None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "[" * 100_000,
        "{",
        '{"type": "pong"}',
        '{"type": "apply-delta"}',
        '{"type": "apply-delta", "data": []}',
        '{"data": {}}',
    ],
)
def test_message_of_another_kind_is_no_change(text: str) -> None:
    assert change_of(text) is None


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["1", "slug", "files"]), inner),
    max_leaves=8,
)


@given(change=st.dictionaries(st.sampled_from(["updateSteps", "clearStepIds", "updateWorkflow"]), values))
@settings(deadline=None)
def test_no_message_breaks_the_merging(change: dict[str, Any]) -> None:
    steps = WorkflowSteps()
    steps.merge(change)
    is_complete(change)
    with contextlib.suppress(errors.UnexpectedAnswerError):
        steps.get("1")


def test_table_that_was_pasted_into_a_step_is_not_kept(recorded: Recorded) -> None:
    """A triggerer holds as many Workflows as are waited for."""
    (start, *_) = changes(recorded, "public-anonymous")
    state = copy.deepcopy(start["updateSteps"])
    for step in state.values():
        step["params"]["csv"] = "a,b\n" * 1_000_000
    steps = WorkflowSteps()
    steps.replace(state)
    steps.merge({"updateSteps": {"1": {"params": {**state["1"]["params"], "csv": "a,b\n" * 1_000_000}}}})
    assert steps.get("step-pubUp_-01") == started(start).get("step-pubUp_-01")
    assert len(pickle.dumps(steps)) < 100_000


def test_slug_that_two_steps_had_for_a_while_is_still_found(recorded: Recorded) -> None:
    """No Workbench sends such; fuzzing did."""
    (start, *_) = changes(recorded, "public-anonymous")
    step = start["updateSteps"]["1"]
    steps = started(start)
    steps.merge({"updateSteps": {"7": {**step, "slug": "step-x"}}})
    steps.merge({"updateSteps": {"1": {"slug": "step-x"}}})
    steps.merge({"updateSteps": {"1": {"slug": step["slug"]}}})
    assert steps.get("step-x") is not None
    assert steps.get(step["slug"]) is not None
