"""``WorkbenchUploadOperator`` against the sandbox, and the table of bad inputs."""

from __future__ import annotations

import json
import os
import socket
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_workbench.client.errors import SourceMissingError
from airflow_provider_workbench.hooks.workbench import WorkbenchFatalError, WorkbenchHook
from airflow_provider_workbench.operators.workbench import WorkbenchUploadOperator


@pytest.fixture
def connection(monkeypatch, workbench_sandbox):
    """The connection's parts, to change; ``save()`` puts them in force."""
    parts = json.loads(workbench_sandbox.step.connection_json())

    def save():
        monkeypatch.setenv("AIRFLOW_CONN_WORKBENCH_DEFAULT", json.dumps(parts))

    save()
    return SimpleNamespace(parts=parts, save=save)


@pytest.fixture
def sales(tmp_path):
    path = tmp_path / "sales.csv"
    path.write_bytes(b"city,sold\nBergen,1\n")
    return path


def run(**kwargs):
    return WorkbenchUploadOperator(task_id="upload", **kwargs).execute({"ti": None})


def test_the_file_is_in_the_step_and_the_output_says_so_without_secrets(connection, sales, workbench_sandbox):
    output = run(filepath=str(sales))
    (file,) = workbench_sandbox.step.files
    assert workbench_sandbox.step.content(file.uuid) == sales.read_bytes()
    assert (output["filename"], output["size"], output["step_slug"]) == ("sales.csv", 19, workbench_sandbox.step.slug)
    text = json.dumps(output)
    assert workbench_sandbox.step.api_token not in text
    assert "/files/" not in text


def test_an_empty_file_is_delivered(connection, tmp_path, workbench_sandbox):
    path = tmp_path / "empty.csv"
    path.touch()
    assert run(filepath=path)["size"] == 0
    assert [(file.name, file.size) for file in workbench_sandbox.step.files] == [("empty.csv", 0)]
    # it is finished inside create-file; the look before tells it from an earlier one
    assert [seen.method for seen in workbench_sandbox.requests] == ["GET", "POST"]


def test_white_space_around_the_token_is_stripped(connection, sales, workbench_sandbox):
    connection.parts["password"] = f" \t{connection.parts['password']} \n"
    connection.save()
    run(filepath=sales)
    assert len(workbench_sandbox.step.files) == 1


def test_verify_tls_as_the_text_false_is_off_and_no_file(
    connection, sales, workbench_sandbox, monkeypatch, capsys, caplog
):
    monkeypatch.setenv("AIRFLOW_CONN_WORKBENCH_DEFAULT", workbench_sandbox.step.connection_uri(verify_tls="false"))
    assert WorkbenchHook().get_settings().verify_tls is False
    run(filepath=sales)
    out, err = capsys.readouterr()
    assert "verify_tls is off" in out + err + caplog.text
    assert len(workbench_sandbox.step.files) == 1


def test_an_unknown_extra_is_a_warning(connection, sales, workbench_sandbox, capsys, caplog):
    connection.parts["extra"]["colour"] = "red"
    connection.save()
    run(filepath=sales)
    out, err = capsys.readouterr()
    assert "unknown field 'colour'" in out + err + caplog.text
    assert len(workbench_sandbox.step.files) == 1


def test_a_missing_file_is_left_to_a_retry_on_another_worker(connection, tmp_path, workbench_sandbox):
    with pytest.raises(SourceMissingError, match=f"on {socket.gethostname()}. Workers share no disk") as caught:
        run(filepath=tmp_path / "gone.csv")
    assert not isinstance(caught.value, AirflowFailException)
    assert workbench_sandbox.requests == []


@pytest.fixture
def no_way_out(monkeypatch):
    """Every attempt to connect anywhere is noted and fails."""
    tried = []

    def refuse(self, address):
        tried.append(address)
        raise ConnectionRefusedError(111, "refused by the test")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    return tried


@contextmanager
def not_as_root():
    """Root may read everything: be somebody else meanwhile."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


def test_an_unreadable_file_is_refused_before_a_byte_moves(connection, sales, no_way_out):
    sales.chmod(0)
    with not_as_root(), pytest.raises(WorkbenchFatalError, match="Cannot read .*Permission denied"):
        run(filepath=sales)
    assert no_way_out == []


FRONTEND = "https://workbench.invalid"
FILES = "/api/v1/workflows/1/steps/step-x/files"

# what is put in: the operator's parameters or the connection's fields; and what the error says
BAD = {
    "a directory": ({"filepath": "{folder}"}, {}, "is a directory"),
    "a device": ({"filepath": "/dev/null"}, {}, "no regular file"),
    "an empty path": ({"filepath": ""}, {}, "names no file"),
    "a path with a NUL": ({"filepath": "a\0b"}, {}, "names no file"),
    "a 101-character name": (
        {"filename": "x" * 97 + ".csv"},
        {},
        "has 101 characters, and Workbench takes at most 100",
    ),
    "an empty name": ({"filename": ""}, {}, "name is blank"),
    "a blank name": ({"filename": " \t "}, {}, "name is blank"),
    "a NUL in the name": ({"filename": "a\0.csv"}, {}, "control character '\\\\x00' at position 2"),
    "a control character in the name": ({"filename": "a\x01.csv"}, {}, "control character '\\\\x01'"),
    "DEL in the name": ({"filename": "a\x7f.csv"}, {}, "control character '\\\\x7f'"),
    "half a character in the name": ({"filename": "a\ud800.csv"}, {}, "not valid Unicode"),
    "2147483648 bytes": (
        {"filepath": "{folder}/huge.csv"},
        {},
        "has 2147483648 bytes, and a Workbench File can have at most 2147483647",
    ),
    "a negative chunk size": ({"chunk_size": -1}, {}, "chunk_size must be a whole number of bytes, at least 1, not -1"),
    "chunk size zero": ({"chunk_size": 0}, {}, "chunk_size must be a whole number of bytes"),
    "an empty Create-file URL": ({}, {"host": ""}, "The Create-file URL is empty"),
    "the page instead": ({}, {"host": f"{FRONTEND}/workflows/1/"}, "a Workflow's page, not the Create-file URL"),
    "a trailing slash": ({}, {"host": f"{FRONTEND}{FILES}/"}, "ends with a slash, and Workbench's does not"),
    "a query": ({}, {"host": f"{FRONTEND}{FILES}?a=1"}, "something after …/files"),
    "a secret id": (
        {},
        {"host": f"{FRONTEND}/api/v1/workflows/wAbc/steps/step-x/files"},
        "where the Create-file URL has",
    ),
    "another scheme": ({}, {"host": f"ftp://workbench.invalid{FILES}"}, "not a Create-file URL"),
    "a password in the URL": (
        {},
        {"host": f"https://:x@workbench.invalid{FILES}"},
        "must not hold a user name or password",
    ),
    "unencrypted http": ({}, {"host": f"http://workbench.invalid{FILES}"}, "is http://, so anybody between"),
    "an empty token": ({}, {"password": " "}, "The API token is empty"),
    "a token with a line break inside": ({}, {"password": "abc\ndef"}, "characters that no API token has"),
    "a secret link of another host": (
        {},
        {"extra": {"secret_link": "https://elsewhere.invalid/workflows/wSecret/"}},
        "secret_link is of another host",
    ),
    "a secret link that is none": ({}, {"extra": {"secret_link": "123"}}, "not a Workflow's secret link"),
    "verify_tls as a path": ({}, {"extra": {"verify_tls": "/etc/ca.pem"}}, "verify_tls must be true or false"),
    "a negative chunk_size in the connection": (
        {},
        {"extra": {"chunk_size": "-5"}},
        "chunk_size must be a whole number",
    ),
    "a time limit in words": ({}, {"extra": {"stall_timeout": "soon"}}, "stall_timeout must be a number of seconds"),
    "a time limit without end": (
        {},
        {"extra": {"finish_timeout": "inf"}},
        "finish_timeout must be a number of seconds",
    ),
    "a key without a certificate": ({}, {"extra": {"client_key": "/k.pem"}}, "client_key needs client_cert"),
}


@pytest.mark.parametrize(("parameters", "fields", "says"), BAD.values(), ids=BAD)
def test_bad_input_is_refused_before_a_byte_moves(
    connection, sales, tmp_path, workbench_sandbox, no_way_out, parameters, fields, says
):
    connection.parts.update(fields)
    connection.save()
    with (tmp_path / "huge.csv").open("wb") as file:
        file.truncate(2147483648)
    parameters = {"filepath": str(sales), **parameters}
    parameters["filepath"] = parameters["filepath"].replace("{folder}", str(tmp_path))
    with pytest.raises(WorkbenchFatalError, match=says) as caught:
        run(**parameters)
    assert no_way_out == []
    assert workbench_sandbox.requests == []
    for secret in ("wSecret", workbench_sandbox.step.api_token):
        assert secret not in str(caught.value)


def test_an_unencrypted_address_is_possible_on_request(connection, sales):
    connection.parts.update(host=f"http://workbench.invalid{FILES}", extra={"allow_http": "true"})
    connection.save()
    assert WorkbenchHook().get_settings().endpoint.create_file_url == f"http://workbench.invalid{FILES}"


def test_constructing_it_checks_nothing():
    operator = WorkbenchUploadOperator(task_id="upload", filepath="{{ ti.xcom_pull('write') }}", chunk_size=-1)
    assert operator.filepath == "{{ ti.xcom_pull('write') }}"
    assert {"filepath", "filename", "workbench_conn_id"} <= set(operator.template_fields)
