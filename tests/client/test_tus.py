from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_workbench.client.answers import Answer
from airflow_provider_workbench.client.tus import Meaning, read_patch, upload_offset

SIZE = 12  # of every recorded file
REFUSED = json.dumps({"error": {"code": "authorization-bearer-token-invalid"}})


def answer(status: int, body: str = "", **headers: Any) -> Answer:
    return Answer(status, {name.replace("_", "-"): str(value) for name, value in headers.items()}, body.encode())


def meaning(found: Answer | None, offset: int = 0, length: int = SIZE, size: int = SIZE, unsent: int = 0) -> Meaning:
    return read_patch(found, offset=offset, length=length, size=size, unsent=unsent).meaning


def recorded_patches(exchanges: list[dict[str, Any]]) -> list[tuple[str, int, int, Answer]]:
    """Name, offset, body length and answer of each PATCH whose offset is a number."""
    found = []
    for exchange in exchanges:
        request, response = exchange["request"], exchange["response"]
        headers = {name.lower(): value for name, value in request["headers"]}
        offset = headers.get("upload-offset", "")
        if request["method"] == "PATCH" and offset.isdecimal():
            length = len((request["body"] or "").encode())
            answered = {name.lower(): value for name, value in response["headers"]}
            got = Answer(response["status"], answered, response["body"].encode())
            found.append((exchange["name"], int(offset), length, got))
    return found


@pytest.mark.parametrize(
    ("file", "least"),
    [
        ("tus", 25),
        ("token_reset_before_finish", 8),
        ("hook_server_down", 6),
        ("step_or_workflow_deleted", 5),
    ],
)
def test_recorded_answers_mean_what_happened_to_the_file(recorded: Callable[[str], Any], file: str, least: int) -> None:
    patches = recorded_patches(recorded(file))
    assert len(patches) >= least
    for name, offset, length, got in patches:
        last = offset + length == SIZE and length > 0
        if got.status == 204 and last and got.headers["upload-offset"] == "12":
            expected = Meaning.ACCEPTED
        elif got.status == 204 and offset == SIZE and length == 0:
            expected = Meaning.UNKNOWN  # also answered after a refused finish
        elif got.status == 204 and int(got.headers["upload-offset"]) == offset + length:
            expected = Meaning.PROGRESS
        elif got.status == 204:
            expected = Meaning.INTERRUPTED  # more bytes were sent than the server took
        elif got.text.startswith("{"):
            expected = Meaning.REFUSED
        elif got.status == 404:
            expected = Meaning.GONE
        elif got.status == 500:
            expected = Meaning.UNKNOWN
        else:
            assert got.status in (400, 409, 412, 413), name
            expected = Meaning.INTERRUPTED
        reading = read_patch(got, offset=offset, length=length, size=SIZE)
        assert reading.meaning is expected, name
        assert reading.status == got.status


def test_recorded_refusals_carry_their_code(recorded: Callable[[str], Any]) -> None:
    codes = [
        read_patch(got, offset=offset, length=length, size=SIZE).code
        for file in ("token_reset_before_finish", "step_or_workflow_deleted")
        for _, offset, length, got in recorded_patches(recorded(file))
        if got.status in (403, 404)
    ]
    assert codes == [
        "authorization-bearer-token-invalid",
        "authorization-bearer-token-invalid",
        "step-has-no-api-token",
        "step-not-found",
        "workflow-not-found",
    ]


@pytest.mark.parametrize(
    ("got", "of_last", "of_others"),
    [
        (None, Meaning.UNKNOWN, Meaning.INTERRUPTED),
        (answer(204), Meaning.UNKNOWN, Meaning.INTERRUPTED),
        (answer(204, upload_offset=11), Meaning.UNKNOWN, Meaning.INTERRUPTED),
        (answer(204, upload_offset="12, 12"), Meaning.UNKNOWN, Meaning.INTERRUPTED),
        (answer(200, upload_offset=SIZE), Meaning.UNKNOWN, Meaning.INTERRUPTED),
        (answer(200, "<html>log in</html>"), Meaning.UNKNOWN, Meaning.INTERRUPTED),
        (answer(302, location="https://login.example"), Meaning.UNKNOWN, Meaning.INTERRUPTED),
        (answer(403, "<html>forbidden</html>"), Meaning.UNKNOWN, Meaning.INTERRUPTED),
        (answer(408), Meaning.UNKNOWN, Meaning.INTERRUPTED),
        (answer(429, '{"error": {"code": "TooManyRequests"}}'), Meaning.UNKNOWN, Meaning.INTERRUPTED),
        (answer(500, "read tcp: i/o timeout"), Meaning.UNKNOWN, Meaning.INTERRUPTED),
        (answer(502, "<html>bad gateway</html>"), Meaning.UNKNOWN, Meaning.INTERRUPTED),
        (answer(504), Meaning.UNKNOWN, Meaning.INTERRUPTED),
        (answer(500, REFUSED), Meaning.UNKNOWN, Meaning.INTERRUPTED),
        (answer(403, REFUSED, upload_offset=SIZE), Meaning.REFUSED, Meaning.REFUSED),
        (answer(403, REFUSED), Meaning.REFUSED, Meaning.REFUSED),
        (answer(403, '{"error": {"code": "new-code"}}', upload_offset=SIZE), Meaning.REFUSED, Meaning.INTERRUPTED),
        (answer(403, '{"error": {"code": "AccessDenied"}}'), Meaning.UNKNOWN, Meaning.INTERRUPTED),
        (answer(400, "<html>hook's</html>", upload_offset=SIZE), Meaning.UNKNOWN, Meaning.INTERRUPTED),
        (answer(404, "<html>hook's</html>", upload_offset=SIZE), Meaning.UNKNOWN, Meaning.GONE),
        (answer(404, "upload not found"), Meaning.GONE, Meaning.GONE),
        (answer(410), Meaning.GONE, Meaning.GONE),
        (answer(400, "ERR_UPLOAD_INTERRUPTED: upload has been interrupted"), Meaning.INTERRUPTED, Meaning.INTERRUPTED),
        (answer(405, "<html>no PATCH</html>"), Meaning.INTERRUPTED, Meaning.INTERRUPTED),
        (answer(409, "mismatched offset"), Meaning.INTERRUPTED, Meaning.INTERRUPTED),
        (answer(412), Meaning.INTERRUPTED, Meaning.INTERRUPTED),
        (answer(413, "<html>too large</html>"), Meaning.INTERRUPTED, Meaning.INTERRUPTED),
        (answer(423, "file currently locked"), Meaning.INTERRUPTED, Meaning.INTERRUPTED),
        (answer(501), Meaning.INTERRUPTED, Meaning.INTERRUPTED),
    ],
)
def test_other_answers_by_place_in_the_file(got: Answer | None, of_last: Meaning, of_others: Meaning) -> None:
    assert meaning(got, offset=4, length=8) is of_last
    assert meaning(got, offset=0, length=4) is of_others


def test_progress_is_the_exact_offset() -> None:
    assert meaning(answer(204, upload_offset=8), offset=4, length=4) is Meaning.PROGRESS


def test_answer_before_the_last_byte_was_sent_leaves_nothing_unknown() -> None:
    for got in (None, answer(204, upload_offset=SIZE), answer(502), answer(500, upload_offset=SIZE)):
        assert meaning(got, unsent=1) is Meaning.INTERRUPTED


def test_empty_patch_at_full_offset_is_not_acceptance() -> None:
    assert meaning(answer(204, upload_offset=SIZE), offset=SIZE, length=0) is Meaning.UNKNOWN


BODIES = st.sampled_from(["", "upload not found", REFUSED, '{"error": {"code": "x"}}', "<html>"]) | st.text(max_size=20)
OFFSETS = st.sampled_from(["", "0", "12", "7", "-1", "\u0663", "1" * 30]) | st.text(max_size=5)


@given(st.integers(100, 599), BODIES, OFFSETS, st.integers(0, 12), st.integers(0, 12), st.integers(0, 3))
def test_only_a_204_to_the_last_byte_is_acceptance(
    status: int, body: str, said: str, offset: int, length: int, unsent: int
) -> None:
    got = Answer(status, {"upload-offset": said}, body.encode())
    reading = read_patch(got, offset=offset, length=length, size=SIZE, unsent=unsent)
    if reading.meaning is Meaning.ACCEPTED:
        assert status == 204
        assert said == "12"
        assert offset + length == SIZE
        assert length > 0
        assert unsent == 0
    if reading.meaning is Meaning.REFUSED:
        assert reading.code
        assert 400 <= status < 500
    if reading.meaning is Meaning.UNKNOWN:
        assert offset + length == SIZE


@given(st.text(max_size=25))
def test_any_offset_header_gives_a_number_or_none(text: str) -> None:
    offset = upload_offset(Answer(204, {"upload-offset": text}, b""))
    assert offset is None or offset >= 0


def test_missing_offset_is_none() -> None:
    assert upload_offset(Answer(204, {}, b"")) is None
    assert upload_offset(answer(204, upload_offset=2**31)) == 2**31
