from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_workbench.client.answers import Answer
from airflow_provider_workbench.client.tus import Meaning, by_tus_server, read_head, read_patch, upload_offset

SIZE = 12  # of every recorded file
REFUSED = json.dumps({"error": {"code": "authorization-bearer-token-invalid"}})
PAGE = "<html>a proxy's page</html>"
TUS = {"tus_resumable": "1.0.0"}


def answer(status: int, body: str = "", **headers: Any) -> Answer:
    return Answer(status, {name.replace("_", "-"): str(value) for name, value in headers.items()}, body.encode())


def meaning(found: Answer | None, offset: int = 0, length: int = SIZE, size: int = SIZE, unsent: int = 0) -> Meaning:
    return read_patch(found, offset=offset, length=length, size=size, unsent=unsent).meaning


def recorded_requests(exchanges: list[dict[str, Any]], method: str) -> list[tuple[str, dict[str, str], int, Answer]]:
    """Name, request's headers, body length and answer of each request of a method to the upload host."""
    found = []
    for exchange in exchanges:
        request, response = exchange["request"], exchange["response"]
        headers = {name.lower(): value for name, value in request["headers"]}
        answered = {name.lower(): value for name, value in response["headers"]}
        if request["method"] == method and "tus-resumable" in answered:
            got = Answer(response["status"], answered, (response["body"] or "").encode())
            found.append((exchange["name"], headers, len((request["body"] or "").encode()), got))
    return found


# ---- PATCH


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
    patches = [
        (name, int(headers["upload-offset"]), length, got)
        for name, headers, length, got in recorded_requests(recorded(file), "PATCH")
        if headers.get("upload-offset", "").isdecimal()
    ]
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
            expected = Meaning.ASK  # more bytes were sent than the server took
        elif got.text.startswith("{"):
            expected = Meaning.REFUSED
        elif got.status == 404:
            expected = Meaning.GONE
        elif got.status == 500:
            expected = Meaning.UNKNOWN
        else:
            assert got.status in (400, 409, 412, 413), name
            expected = Meaning.ASK
        reading = read_patch(got, offset=offset, length=length, size=SIZE)
        assert reading.meaning is expected, name
        assert reading.status == got.status


def test_recorded_refusals_carry_their_code(recorded: Callable[[str], Any]) -> None:
    codes = [
        read_patch(got, offset=int(headers["upload-offset"]), length=length, size=SIZE).code
        for file in ("token_reset_before_finish", "step_or_workflow_deleted")
        for _, headers, length, got in recorded_requests(recorded(file), "PATCH")
        if got.status in (403, 404)
    ]
    assert codes == [
        "authorization-bearer-token-invalid",
        "authorization-bearer-token-invalid",
        "step-has-no-api-token",
        "step-not-found",
        "workflow-not-found",
    ]


def test_recorded_override_of_the_method_is_answered_as_a_patch(recorded: Callable[[str], Any]) -> None:
    requests = recorded_requests(recorded("tus"), "POST")
    (found,) = [got for _, headers, _, got in requests if headers.get("x-http-method-override") == "PATCH"]
    assert meaning(found, offset=6, length=6) is Meaning.ACCEPTED


def test_recorded_empty_uploads_say_nothing_by_patch(recorded: Callable[[str], Any]) -> None:
    patches = recorded_requests(recorded("size_zero"), "PATCH")
    assert len(patches) == 3
    assert [meaning(got, length=0, size=0) for _, _, _, got in patches] == [Meaning.UNKNOWN] * 3


@pytest.mark.parametrize(
    ("got", "of_last", "of_others"),
    [
        (None, Meaning.UNKNOWN, Meaning.ASK),
        # 204 that is not quite right
        (answer(204), Meaning.UNKNOWN, Meaning.ASK),
        (answer(204, upload_offset=11), Meaning.UNKNOWN, Meaning.ASK),
        (answer(204, upload_offset="12, 12"), Meaning.UNKNOWN, Meaning.ASK),
        # refused, or somebody else's JSON
        (answer(403, REFUSED, upload_offset=SIZE), Meaning.REFUSED, Meaning.REFUSED),
        (answer(403, REFUSED), Meaning.REFUSED, Meaning.REFUSED),
        (answer(403, '{"error": {"code": "new-code"}}', upload_offset=SIZE), Meaning.REFUSED, Meaning.ASK),
        (answer(403, '{"error": {"code": "AccessDenied"}}'), Meaning.UNKNOWN, Meaning.ASK),
        (answer(429, '{"error": {"code": "TooManyRequests"}}'), Meaning.UNKNOWN, Meaning.ASK),
        (answer(500, REFUSED), Meaning.UNKNOWN, Meaning.ASK),
        # the finish answered, without a code
        (answer(400, "<html>hook's</html>", upload_offset=SIZE), Meaning.UNKNOWN, Meaning.ASK),
        (answer(404, "<html>hook's</html>", upload_offset=SIZE), Meaning.UNKNOWN, Meaning.ASK),
        (answer(423, upload_offset=SIZE), Meaning.UNKNOWN, Meaning.LOCKED),
        # tusd 1.6
        (answer(404, "upload not found", **TUS), Meaning.GONE, Meaning.GONE),
        (answer(409, "mismatched offset", **TUS), Meaning.ASK, Meaning.ASK),
        (answer(412, "unsupported version", **TUS), Meaning.ASK, Meaning.ASK),
        (answer(413, "resource's size exceeded", **TUS), Meaning.ASK, Meaning.ASK),
        (answer(423, "file currently locked", **TUS), Meaning.LOCKED, Meaning.LOCKED),
        (answer(500, "read tcp: i/o timeout", **TUS), Meaning.UNKNOWN, Meaning.ASK),
        (answer(400, "missing or invalid Content-Type header", **TUS), Meaning.ASK, Meaning.ASK),
        (answer(405, "Method Not Allowed", **TUS), Meaning.ASK, Meaning.ASK),
        (answer(501, **TUS), Meaning.ASK, Meaning.ASK),
        # tusd 2.x
        (answer(400, "ERR_UPLOAD_INTERRUPTED: upload has been interrupted", **TUS), Meaning.ASK, Meaning.ASK),
        (answer(400, "ERR_UNEXPECTED_EOF: server expected to receive more bytes", **TUS), Meaning.ASK, Meaning.ASK),
        (answer(404, "ERR_UPLOAD_NOT_FOUND: upload not found", **TUS), Meaning.GONE, Meaning.GONE),
        (answer(409, "ERR_MISMATCHED_OFFSET: mismatched offset", **TUS), Meaning.ASK, Meaning.ASK),
        (answer(423, "ERR_FILE_LOCKED: file currently locked", **TUS), Meaning.LOCKED, Meaning.LOCKED),
        (answer(500, "ERR_LOCK_TIMEOUT: failed to acquire lock", **TUS), Meaning.LOCKED, Meaning.LOCKED),
        (answer(503, "ERR_SERVER_SHUTDOWN: server is shutting down", **TUS), Meaning.UNKNOWN, Meaning.ASK),
        (answer(500, "ERR_INTERNAL_SERVER_ERROR: internal server error", **TUS), Meaning.UNKNOWN, Meaning.ASK),
        # proxies
        (answer(200, upload_offset=SIZE), Meaning.UNKNOWN, Meaning.ASK),
        (answer(200, "<html>log in</html>"), Meaning.UNKNOWN, Meaning.ASK),
        (answer(302, location="https://login.example"), Meaning.UNKNOWN, Meaning.ASK),
        (answer(403, PAGE), Meaning.UNKNOWN, Meaning.ASK),
        (answer(408), Meaning.UNKNOWN, Meaning.ASK),
        (answer(404, PAGE), Meaning.UNKNOWN, Meaning.ASK),
        (answer(410), Meaning.UNKNOWN, Meaning.ASK),
        (answer(410, **TUS), Meaning.GONE, Meaning.GONE),
        (answer(405, PAGE), Meaning.BLOCKED, Meaning.BLOCKED),
        (answer(501), Meaning.BLOCKED, Meaning.BLOCKED),
        (answer(413, PAGE), Meaning.TOO_LARGE, Meaning.TOO_LARGE),
        (answer(502, PAGE), Meaning.UNKNOWN, Meaning.ASK),
        (answer(503, PAGE), Meaning.UNKNOWN, Meaning.ASK),
        (answer(504), Meaning.UNKNOWN, Meaning.ASK),
    ],
)
def test_other_answers_by_place_in_the_file(got: Answer | None, of_last: Meaning, of_others: Meaning) -> None:
    assert meaning(got, offset=4, length=8) is of_last
    assert meaning(got, offset=0, length=4) is of_others


def test_progress_is_the_exact_offset() -> None:
    assert meaning(answer(204, upload_offset=8), offset=4, length=4) is Meaning.PROGRESS


def test_answer_before_the_last_byte_was_sent_leaves_nothing_unknown() -> None:
    for got in (None, answer(204, upload_offset=SIZE), answer(502), answer(500, upload_offset=SIZE)):
        assert meaning(got, unsent=1) is Meaning.ASK


def test_empty_patch_at_full_offset_is_not_acceptance() -> None:
    assert meaning(answer(204, upload_offset=SIZE), offset=SIZE, length=0) is Meaning.UNKNOWN


def test_retry_after_is_read() -> None:
    busy = answer(503, retry_after="7")
    assert read_patch(busy, offset=0, length=4, size=SIZE).retry_after == 7
    assert read_head(busy, size=SIZE).retry_after == 7
    assert read_patch(answer(503), offset=0, length=4, size=SIZE).retry_after is None


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


# ---- HEAD


@pytest.mark.parametrize(
    ("file", "least"),
    [
        ("tus", 20),
        ("token_reset_before_finish", 5),
        ("hook_server_down", 3),
        ("step_or_workflow_deleted", 3),
        ("size_zero", 1),
    ],
)
def test_recorded_heads_tell_the_offset_or_that_it_is_gone(
    recorded: Callable[[str], Any], file: str, least: int
) -> None:
    heads = recorded_requests(recorded(file), "HEAD")
    assert len(heads) >= least
    for name, _, _, got in heads:
        reading = read_head(got, size=0 if file == "size_zero" else SIZE)
        if got.status == 200:
            assert (reading.meaning, reading.offset) == (Meaning.AT, int(got.headers["upload-offset"])), name
        else:
            assert reading.meaning is {404: Meaning.GONE, 412: Meaning.AGAIN}[got.status], name
        assert reading.status == got.status


def test_head_at_full_offset_is_not_acceptance(recorded: Callable[[str], Any]) -> None:
    """It says the same after a refused finish as after an accepted one."""
    refused = recorded_requests(recorded("token_reset_before_finish"), "HEAD")
    accepted = recorded_requests(recorded("tus"), "HEAD")
    after_refusal = next(got for name, _, _, got in refused if name == "HEAD after the failed finish")
    after_acceptance = next(got for name, _, _, got in accepted if name == "HEAD right after completion")
    readings = [read_head(got, size=SIZE) for got in (after_refusal, after_acceptance)]
    assert readings[0] == readings[1]
    assert readings[0].meaning is Meaning.AT


@pytest.mark.parametrize(
    ("got", "expected"),
    [
        (None, Meaning.AGAIN),
        (answer(200, upload_offset=0), Meaning.AT),
        (answer(200, upload_offset=12, upload_length=12), Meaning.AT),
        (answer(200, upload_offset=13), Meaning.WRONG),
        (answer(200, upload_offset=4, upload_length=13), Meaning.WRONG),
        (answer(200, upload_offset=4, upload_length=""), Meaning.WRONG),
        (answer(200), Meaning.AGAIN),
        (answer(200, PAGE, upload_offset="-1"), Meaning.AGAIN),
        (answer(204, upload_offset=4), Meaning.AT),
        (answer(302), Meaning.AGAIN),
        (answer(400), Meaning.AGAIN),
        (answer(403), Meaning.AGAIN),
        (answer(404), Meaning.AGAIN),
        (answer(410), Meaning.AGAIN),
        (answer(404, **TUS), Meaning.GONE),
        (answer(410, **TUS), Meaning.GONE),
        (answer(412), Meaning.AGAIN),
        (answer(423), Meaning.LOCKED),
        (answer(429), Meaning.AGAIN),
        (answer(500), Meaning.AGAIN),
        (answer(502), Meaning.AGAIN),
        (answer(503), Meaning.AGAIN),
    ],
)
def test_other_answers_to_head(got: Answer | None, expected: Meaning) -> None:
    assert read_head(got, size=SIZE).meaning is expected


# ---- headers


def test_tus_server_is_told_from_a_proxy_by_its_header() -> None:
    assert by_tus_server(answer(500, **TUS))
    assert not by_tus_server(answer(500))


@given(st.text(max_size=25))
def test_any_offset_header_gives_a_number_or_none(text: str) -> None:
    offset = upload_offset(Answer(204, {"upload-offset": text}, b""))
    assert offset is None or offset >= 0


def test_missing_offset_is_none() -> None:
    assert upload_offset(Answer(204, {}, b"")) is None
    assert upload_offset(answer(204, upload_offset=2**31)) == 2**31
