from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from client_servers import Peer, Wire
from hypothesis import given
from hypothesis import strategies as st
from uploads import settings_of

from airflow_provider_workbench.client import errors
from airflow_provider_workbench.client.answers import Answer
from airflow_provider_workbench.client.create_file import (
    MAX_SIZE,
    check_filename,
    check_size,
    create_file,
    error_of,
    extension_warning,
    read_answer,
)
from airflow_provider_workbench.client.session import Session
from airflow_provider_workbench.client.settings import Settings
from airflow_provider_workbench.sandbox import Sandbox

SETTINGS = Settings.from_fields(
    "https://app.workbench.example/api/v1/workflows/1/steps/step-a/files", "token", token_place="the vault"
)
KINDS = {cls.known_code: cls for cls in errors.RefusedError.__subclasses__()}


def answer_of(response: dict[str, Any]) -> Answer:
    headers = {name.lower(): value for name, value in response["headers"]}
    return Answer(response["status"], headers, response["body"].encode())


def json_answer(status: int, value: Any) -> Answer:
    return Answer(status, {}, json.dumps(value).encode())


def test_every_recorded_answer_becomes_a_url_or_the_right_error(recorded: Callable[[str], Any]) -> None:
    seen = set()
    for exchange in recorded("create_file"):
        answer = answer_of(exchange["response"])
        body = answer.text.replace("{upload_id}", "abc+def")
        answer = Answer(answer.status, answer.headers, body.encode())
        if answer.status == 200:
            url = read_answer(answer, SETTINGS)
            assert url == json.loads(body)["tusUploadUrl"], exchange["name"]
            continue
        with pytest.raises(errors.WorkbenchError) as caught:
            read_answer(answer, SETTINGS)
        error = caught.value
        assert error.status == answer.status
        assert error.__context__ is None
        if body.startswith("{"):
            code = json.loads(body)["error"]["code"]
            assert type(error) is KINDS[code], exchange["name"]
            assert error.code == code
        else:
            kind = {
                404: errors.ConfigurationError,
                500: errors.ServerError,
                400: errors.UnexpectedAnswerError,
            }[answer.status]
            assert type(error) is kind, exchange["name"]
            assert "app.workbench.example" in str(error)
        seen.add(error.code)
    # the tenth, step-module-deleted, is known but was not recorded
    assert seen - {None} == set(KINDS) - {"step-module-deleted"}


def test_recorded_field_codes_are_in_the_error(recorded: Callable[[str], Any]) -> None:
    response = next(e["response"] for e in recorded("create_file") if e["name"] == "both filename and size bad")
    error = error_of(answer_of(response), SETTINGS)
    assert isinstance(error, errors.BodyHasErrorsError)
    assert set(error.fields) == {"filename", "size"}
    assert "filename: required" in str(error)


@pytest.mark.parametrize(
    ("status", "kind", "retryable"),
    [
        (500, errors.ServerError, True),
        (502, errors.ServerError, True),
        (504, errors.ServerError, True),
        (408, errors.BusyError, True),
        (425, errors.BusyError, True),
        (429, errors.BusyError, True),
        (301, errors.ConfigurationError, False),
        (302, errors.ConfigurationError, False),
        (307, errors.ConfigurationError, False),
        (404, errors.ConfigurationError, False),
        (401, errors.UnexpectedAnswerError, True),
        (403, errors.UnexpectedAnswerError, True),
        (201, errors.UnexpectedAnswerError, True),
    ],
)
def test_proxies_pages_have_kinds_of_their_own(status: int, kind: type[errors.WorkbenchError], retryable: bool) -> None:
    error = error_of(Answer(status, {}, b"<html>page with secret</html>"), SETTINGS)
    assert type(error) is kind
    assert error.retryable is retryable
    assert error.status == status
    assert "secret" not in str(error)


@pytest.mark.parametrize(("status", "kind"), [(503, errors.ServerError), (429, errors.BusyError)])
def test_gateways_error_codes_are_not_workbenchs(status: int, kind: type[errors.WorkbenchError]) -> None:
    error = error_of(json_answer(status, {"error": {"code": "ServiceUnavailable"}}), SETTINGS)
    assert type(error) is kind
    assert error.retryable


def test_new_code_of_workbench_is_a_refusal() -> None:
    error = error_of(json_answer(403, {"error": {"code": "step-on-holiday"}}), SETTINGS)
    assert type(error) is errors.RefusedError
    assert error.code == "step-on-holiday"


@pytest.mark.parametrize(
    ("url", "says"),
    [
        (None, "has no tusUploadUrl"),
        (5, "has no tusUploadUrl"),
        ("", "no plain http"),
        ("/files/abc", "no plain http"),
        ("ftp://upload.example/secret", "no plain http"),
        ("https://me:pw@upload.example/secret", "no plain http"),
        ("https://upload..example/secret", "no plain http"),
        ("https://upload.example/sec ret", "is no URL"),
        ("https://upload.example/sec\r\nret", "is no URL"),
        ("https://upload.example/s\u00e9cret", "is no URL"),
        ("https://upload.example/" + "x" * 5000, "is no URL"),
        ("https://upload.example:port/secret", "is no URL"),
        ("https://[upload/secret", "is no URL"),
        ("http://upload.example/secret", "not encrypted"),
    ],
)
def test_other_upload_urls_are_refused_and_not_quoted(url: Any, says: str) -> None:
    with pytest.raises(errors.UnexpectedAnswerError, match=says) as caught:
        read_answer(json_answer(200, {"tusUploadUrl": url}), SETTINGS)
    assert "secret" not in str(caught.value)
    assert caught.value.__context__ is None


def test_unencrypted_upload_host_elsewhere_needs_allow_http() -> None:
    answer = json_answer(200, {"tusUploadUrl": "http://upload.example/files/a"})
    local = "http://127.0.0.1:8000/api/v1/workflows/1/steps/step-a/files"
    with pytest.raises(errors.UnexpectedAnswerError, match="extra allow_http is not set"):
        read_answer(answer, Settings.from_fields(local, "t"))
    assert (
        read_answer(answer, Settings.from_fields(local, "t", {"allow_http": True})) == "http://upload.example/files/a"
    )


@given(
    st.integers(100, 599),
    st.binary(max_size=60) | st.text(max_size=30).map(lambda t: json.dumps({"tusUploadUrl": t}).encode()),
)
def test_any_answer_gives_a_url_or_our_error(status: int, body: bytes) -> None:
    try:
        url = read_answer(Answer(status, {}, body), SETTINGS)
    except errors.WorkbenchError as error:
        assert error.status == status
    else:
        assert url.startswith("https://")


# ---- what is refused before any byte moves


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("a.csv", "a.csv"),
        ("  a.csv\n", "a.csv"),
        ("x" * 100, "x" * 100),
        (" " + "x" * 100 + " ", "x" * 100),
        ("\U0001f600" * 100, "\U0001f600" * 100),
        ('../"a"/b\\c.csv', '../"a"/b\\c.csv'),
        ("a\tb\nc\r.csv", "a\tb\nc\r.csv"),
    ],
)
def test_names_that_workbench_keeps_are_kept(name: str, kept: str) -> None:
    assert check_filename(name) == kept


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("", "is blank"),
        (" \u2003\n", "is blank"),
        ("x" * 101, "has 101 characters"),
        ("a\x00b", r"control character '\\x00' at position 2"),
        ("a\x01", r"'\\x01' at position 2"),
        ("\x7fa", r"'\\x7f' at position 1"),
        ("a\x1b[2J", "control character"),
        ("a\ud800.csv", "not valid Unicode"),
    ],
)
def test_names_that_workbench_refuses_are_refused(name: str, says: str) -> None:
    with pytest.raises(errors.FilenameError, match=says) as caught:
        check_filename(name)
    assert "parameter filename" in str(caught.value)
    assert str(caught.value).isprintable()


@given(st.text(max_size=120))
def test_any_name_is_kept_or_refused_in_one_printable_line(name: str) -> None:
    try:
        kept = check_filename(name)
    except errors.FilenameError as error:
        assert str(error).isprintable()
    else:
        assert kept == name.strip()
        assert 0 < len(kept) <= 100


def test_largest_size_is_one_byte_less_than_2_gib() -> None:
    assert check_size(MAX_SIZE) == MAX_SIZE == 2**31 - 1
    with pytest.raises(errors.SizeError, match="2147483648 bytes.*at most 2147483647"):
        check_size(2**31)


@pytest.mark.parametrize("name", ["a.csv", "A.CSV", "b.tar.tsv", ".txt", "c.json", "d.xls", "e.XlsX"])
def test_extensions_that_a_step_reads_give_no_warning(name: str) -> None:
    assert extension_warning(name) is None


@pytest.mark.parametrize("name", ["a", "a.parquet", "a.csv.gz", "csv"])
def test_other_extensions_give_a_warning(name: str) -> None:
    warning = extension_warning(name)
    assert warning
    assert repr(name) in warning


# ---- against a server


def test_create_file_returns_the_upload_url(wb: Sandbox, settings: Settings) -> None:
    with Session(settings) as session:
        url, answer = create_file(session, settings, "ünïcode \U0001f600.csv", 5)
    assert url.startswith(f"{wb.upload_url}/files/")
    assert answer.status == 200
    assert "date" in answer.headers
    (request,) = wb.requests
    assert (request.method, request.status) == ("POST", 200)
    assert request.headers["authorization"] == f"Bearer {wb.step.api_token}"


def test_wrong_token_is_refused_with_advice(wb: Sandbox) -> None:
    settings = Settings.from_fields(wb.step.create_file_url, "wrong", token_place="the vault")
    with Session(settings) as session, pytest.raises(errors.TokenInvalidError, match="put it into the vault") as caught:
        create_file(session, settings, "a.csv", 5)
    assert caught.value.status == 403
    assert not caught.value.at_finish


def test_another_steps_token_and_a_disabled_api_are_told_apart(wb: Sandbox, settings: Settings) -> None:
    other = Settings.from_fields(wb.step.create_file_url, wb.secret_step.api_token or "")
    with Session(settings) as session:
        with pytest.raises(errors.TokenInvalidError):
            create_file(session, other, "a.csv", 5)
        wb.step.disable_api()
        with pytest.raises(errors.ApiDisabledError):
            create_file(session, settings, "a.csv", 5)
        wb.step.delete()
        with pytest.raises(errors.StepNotFoundError):
            create_file(session, settings, "a.csv", 5)
        wb.workflow.delete()
        with pytest.raises(errors.WorkflowNotFoundError):
            create_file(session, settings, "a.csv", 5)


def test_tusd_down_is_a_server_error(wb: Sandbox, settings: Settings) -> None:
    wb.tusd_down = True
    with Session(settings) as session, pytest.raises(errors.ServerError, match="answered 500 to create-file"):
        create_file(session, settings, "a.csv", 5)


def test_busy_workflow_is_waited_for(wb: Sandbox) -> None:
    settings = settings_of(wb, stall_timeout=0.05)
    wb.workflow.hold(0.5)
    with Session(settings) as session:
        assert create_file(session, settings, "a.csv", 5)[1].status == 200


def test_token_does_not_travel_with_a_redirect() -> None:
    def elsewhere(peer: Peer) -> None:
        heads.append(peer.read_request()[0])
        peer.answer("307 Temporary Redirect", b"", f"Location: {other.url}/x")

    heads: list[bytes] = []
    with Wire(lambda peer: peer.answer()) as other, Wire(elsewhere) as server:
        settings = Settings.from_fields(server.create_file_url, "token")
        with Session(settings) as session, pytest.raises(errors.ConfigurationError, match="redirects .* not followed"):
            create_file(session, settings, "a.csv", 5)
        assert other.connections == 0
    assert b"Bearer token" in heads[0]


def test_netrc_does_not_replace_the_token(
    wb: Sandbox, settings: Settings, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password hunter2\n")
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    with Session(settings) as session:
        create_file(session, settings, "a.csv", 5)
    authorization = wb.requests[-1].headers["authorization"]
    assert base64.b64encode(b"me:hunter2").decode() not in authorization
    assert authorization == f"Bearer {wb.step.api_token}"
