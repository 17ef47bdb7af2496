"""``POST /api/v2/connections/test`` of a running API server: what the UI's Test button asks."""

from __future__ import annotations

import json
import socket
import time

import pytest

WHERE = 'put it into the field Password ("API token").'


def body_for(step, **changed):
    connection = json.loads(step.connection_json()) | changed
    connection["extra"] = json.dumps(connection["extra"])
    return {"connection_id": "workbench_tested", **connection}


@pytest.fixture
def ask(airflow_standalone):
    """What the test of a connection to ``step`` says: yes or no, and the message."""

    def ask(step, **changed):
        answer = airflow_standalone.post("/api/v2/connections/test", body_for(step, **changed))
        return answer["status"], answer["message"]

    return ask


@pytest.fixture
def step(standalone_sandbox):
    """The public Step. Afterwards its token is what it was: other tests use it."""
    step = standalone_sandbox.step
    token = step.api_token
    yield step
    step.reset_token(token)


@pytest.fixture
def received(standalone_sandbox):
    """The requests that reach the sandbox during the test, as (host, method, status)."""
    before = len(standalone_sandbox.requests)
    return lambda: [(each.host, each.method, each.status) for each in standalone_sandbox.requests[before:]]


@pytest.fixture
def closed_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        yield probe.getsockname()[1]  # bound, but nobody listens


def test_a_good_token_is_proved_and_the_step_left_untouched(ask, step, received):
    files, selected = step.files, step.selected
    assert ask(step) == (True, f"The API token is good. The Step can be read: it has {len(files)} Files.")
    assert received() == [("frontend", "POST", 200), ("upload", "DELETE", 204), ("frontend", "GET", 200)]
    assert (step.files, step.selected) == (files, selected)


def test_a_good_token_for_a_step_that_cannot_be_read_is_good(ask, standalone_sandbox):
    step = standalone_sandbox.private_step
    good, message = ask(step)
    assert good
    assert message.startswith(
        "The API token is good. The Step cannot be read, so uploads work, but waiting for Files does not: "
    )
    assert f"does not show Workflow {step.workflow_id}: it is private" in message
    assert "secret_link" in message
    assert step.files == []


def test_a_secret_link_makes_a_private_step_readable(ask, standalone_sandbox):
    step = standalone_sandbox.secret_step
    good, message = ask(step, extra={"secret_link": step.secret_link_url})
    assert (good, message) == (True, "The API token is good. The Step can be read: it has 0 Files.")


def test_a_wrong_token(ask, step):
    good, message = ask(step, password="a-wrong-token")
    assert not good
    assert message.startswith("The API token is not this Step's current one.")
    assert message.endswith(WHERE)
    assert "a-wrong-token" not in message


def test_the_api_is_disabled(ask, step):
    connection = {"password": step.api_token}
    step.disable_api()
    good, message = ask(step, **connection)
    assert not good
    assert message.startswith("The File-upload API is switched off on this Step.")
    assert "enable it" in message


def test_an_unknown_step(ask, step):
    good, message = ask(step, host=step.create_file_url.replace(step.slug, "step-nowhere"))
    assert not good
    assert message.startswith("The Workflow has no such Step: it was deleted, or the Create-file URL is wrong.")


def test_an_unreachable_host(ask, step, closed_port):
    good, message = ask(step, host=f"http://127.0.0.1:{closed_port}/api/v1/workflows/1/steps/step-upload/files")
    assert not good
    assert message.startswith("Could not connect to 127.0.0.1")
    assert "Connection refused" in message


def test_the_pages_address_instead_of_the_create_file_url(ask, step, received):
    good, message = ask(step, host=step.page_url)
    assert not good
    assert message.startswith("This is the address of a Workflow's page, not the Create-file URL.")
    assert "…/api/v1/workflows/123/steps/step-…/files" in message
    assert received() == []


def test_a_saved_connection_is_tested_with_its_own_token(airflow_standalone, step):
    """The UI never has the token: it sends ``***``, and Airflow takes the saved one."""
    airflow_standalone.post("/api/v2/connections", body_for(step))
    try:
        body = body_for(step, password="***")
        answer = airflow_standalone.post("/api/v2/connections/test", body)
    finally:
        airflow_standalone.request("DELETE", f"/api/v2/connections/{body_for(step)['connection_id']}")
    assert answer["status"], answer["message"]


def test_the_api_servers_log_has_no_secret(ask, airflow_standalone, standalone_sandbox, step):
    def tests_in(log):
        # Airflow 3.3 logs path=…, earlier ones the request line
        return log.count("path=/api/v2/connections/test") + log.count("POST /api/v2/connections/test")

    before = tests_in(airflow_standalone.log_file.read_text())
    secret_step = standalone_sandbox.secret_step
    ask(step)
    ask(step, password="another-token")
    ask(secret_step, extra={"secret_link": secret_step.secret_link_url, "session_token": "a-session-cookie"})
    ask(standalone_sandbox.private_step, host="no create-file URL")

    deadline = time.monotonic() + 20
    while tests_in(log := airflow_standalone.log_file.read_text()) < before + 4:
        assert time.monotonic() < deadline, "the API server does not log these requests"
        time.sleep(0.1)
    upload_ids = {each.path.rpartition("/")[2] for each in standalone_sandbox.requests if each.host == "upload"}
    assert len(upload_ids) >= 2
    steps = (step, secret_step, standalone_sandbox.private_step)
    secrets = {each.api_token for each in steps} | upload_ids
    secrets |= {"another-token", "a-session-cookie", secret_step.secret_link}
    assert [secret for secret in secrets if secret in log] == []
