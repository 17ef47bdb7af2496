"""Where a hostile frontend would have the bytes go. Nothing is looked up: what a name leads to is not known here."""

from __future__ import annotations

import json
import socket

import pytest
from security.gates import chain_text
from security.hostile_cases import URLS, USABLE_URLS, UrlCase
from security.hostile_server import IDENTITY, SECRETS, TOKEN, HostileServer, created
from security.test_hostile_answers import upload

from airflow_provider_workbench.client import errors
from airflow_provider_workbench.client.answers import Answer
from airflow_provider_workbench.client.create_file import read_answer
from airflow_provider_workbench.client.settings import Settings

PATH = "/api/v1/workflows/7/steps/step-x/files"


def read(frontend: str, url: str) -> str:
    answer = Answer(200, {}, json.dumps({"tusUploadUrl": url}).encode())
    return read_answer(answer, Settings.from_fields(frontend + PATH, TOKEN))


@pytest.fixture
def _no_look_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(*_: object) -> None:
        raise AssertionError("a name was looked up")

    monkeypatch.setattr(socket, "getaddrinfo", asked)
    monkeypatch.setattr(socket, "gethostbyname", asked)


@pytest.mark.usefixtures("_no_look_up")
@pytest.mark.parametrize("case", URLS, ids=lambda case: (case.given or case.url)[:60])
def test_other_upload_addresses_are_refused_and_not_quoted(case: UrlCase) -> None:
    with pytest.raises(errors.WorkbenchError) as caught:
        read(case.frontend, case.url)
    error = caught.value
    assert (type(error), str(error)) == (case.error, case.words)
    # a wrong deployment stays wrong, a proxy's nonsense may pass
    assert error.retryable is (type(error) is errors.UnexpectedAnswerError)
    assert str(error).isprintable()
    assert error.__context__ is None
    assert not any(secret in chain_text(error) for secret in SECRETS)


@pytest.mark.usefixtures("_no_look_up")
@pytest.mark.parametrize(("frontend", "url"), USABLE_URLS)
def test_upload_addresses_that_a_workbench_can_have_are_taken(frontend: str, url: str) -> None:
    assert read(frontend, url) == url


def test_refused_address_ends_the_upload_at_once() -> None:
    with (
        HostileServer(CREATE=created(f"https://169.254.169.254/{IDENTITY}")) as server,
        pytest.raises(errors.ConfigurationError, match="where a cloud keeps"),
    ):
        upload(server, 20)
    assert server.asked == ["CREATE"]
