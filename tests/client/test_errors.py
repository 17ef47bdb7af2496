from __future__ import annotations

import json
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_workbench.client import errors
from airflow_provider_workbench.client.errors import RefusedError, WorkbenchError, error_from_dict, printable, refusal

CODES = {
    "authorization-bearer-token-not-provided": errors.TokenNotProvidedError,
    "authorization-bearer-token-invalid": errors.TokenInvalidError,
    "step-has-no-api-token": errors.ApiDisabledError,
    "step-not-found": errors.StepNotFoundError,
    "workflow-not-found": errors.WorkflowNotFoundError,
    "step-has-no-file-param": errors.StepHasNoFileParamError,
    "step-module-deleted": errors.StepModuleDeletedError,
    "body-not-json": errors.BodyNotJsonError,
    "body-not-utf8": errors.BodyNotUtf8Error,
    "body-has-errors": errors.BodyHasErrorsError,
}


@pytest.mark.parametrize(("code", "kind"), CODES.items())
def test_each_code_has_its_kind_and_says_what_to_do(code: str, kind: type[RefusedError]) -> None:
    error = refusal(code, token_place="the vault", status=403)
    assert type(error) is kind
    assert kind.problem in str(error)
    assert f"[{code}]" in str(error)
    assert len(kind.advice) > 20
    assert not error.retryable
    assert (error.code, error.status, error.at_finish) == (code, 403, False)
    assert "{" not in str(error)
    assert errors.is_known_code(code)


def test_advice_names_the_place_of_the_token() -> None:
    text = str(refusal("authorization-bearer-token-invalid", token_place="the password of connection 'wb'"))
    assert "copy the API token, and put it into the password of connection 'wb'." in text


def test_unknown_code_is_a_plain_refusal_that_quotes_it() -> None:
    error = refusal("step-on-holiday\n", token_place="x")
    assert type(error) is RefusedError
    assert r"[step-on-holiday\n]" in str(error)
    assert not errors.is_known_code("step-on-holiday")


def test_refused_finish_says_that_all_bytes_were_sent() -> None:
    error = refusal("step-not-found", token_place="x", at_finish=True)
    assert error.at_finish
    assert str(error).startswith("All bytes were sent, but Workbench did not take the File. ")


def test_field_codes_are_in_the_text_and_in_the_error() -> None:
    error = refusal("body-has-errors", token_place="x", fields={"filename": ("max_length",), "size": ("a", "b")})
    assert "filename: max_length size: a, b" in str(error)
    assert error.fields == {"filename": ("max_length",), "size": ("a", "b")}


def every_kind(cls: type[WorkbenchError] = WorkbenchError) -> list[type[WorkbenchError]]:
    inside = (kind for sub in cls.__subclasses__() if sub.__module__ == errors.__name__ for kind in every_kind(sub))
    return [cls, *inside]


@pytest.mark.parametrize("kind", every_kind(), ids=lambda kind: kind.__name__)
def test_every_kind_survives_pickling_and_a_trigger_event(kind: type[WorkbenchError]) -> None:
    error = kind("what happened", code="c", status=500)
    for other in (pickle.loads(pickle.dumps(error)), error_from_dict(json.loads(json.dumps(error.as_dict())))):
        assert type(other) is kind
        assert (str(other), other.code, other.status) == ("what happened", "c", 500)
        assert other.retryable is error.retryable


def test_pickled_refusal_keeps_its_facts() -> None:
    error = pickle.loads(pickle.dumps(refusal("c", token_place="x", at_finish=True, fields={"a": ("b",)})))
    assert error.at_finish
    assert error.fields == {"a": ("b",)}


def test_unknown_kind_becomes_the_plain_error() -> None:
    assert type(error_from_dict({"kind": "SystemExit", "message": "x"})) is WorkbenchError
    assert str(error_from_dict({})) == ""


RETRYABLE = {
    "SourceMissingError",
    "SourceReadError",
    "SourceChangedError",
    "TransportError",
    "ConnectError",
    "ConnectionLostError",
    "UnexpectedAnswerError",
    "ServerError",
    "BusyError",
    "UploadInterruptedError",
    "UploadNotTakenError",
    "UploadStoppedError",
    "UploadGoneError",
    "OutcomeUnknownError",
    "WaitTimeoutError",
    "WaitingFailedError",
}


def test_only_what_time_can_mend_is_retryable() -> None:
    assert {kind.__name__ for kind in every_kind() if kind.retryable} == RETRYABLE


@given(st.text(), st.integers(1, 50))
def test_printable_text_is_one_short_line(text: str, limit: int) -> None:
    shown = printable(text, limit)
    assert shown.isprintable()
    assert len(shown) <= limit * len("\\U0001f600")
    if text.isprintable() and len(text) <= limit:
        assert shown == text


def test_printable_escapes_what_a_terminal_would_obey() -> None:
    assert printable("a\x1b[2J\u202eb\ud800\n") == r"a\x1b[2J\u202eb\ud800\n"
