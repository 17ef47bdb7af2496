"""The control API, for tests in other processes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sandbox_http import Answer, call, create_file, head, new_upload, patch, upload

from airflow_provider_workbench.sandbox import Sandbox


def control(wb: Sandbox, method: str, path: str, body: Any = None, **headers: str) -> Answer:
    content = None if body is None else json.dumps(body).encode()
    return call(method, f"{wb.frontend_url}/sandbox{path}", headers, content)


def test_the_state_names_what_a_client_needs(wb: Sandbox) -> None:
    upload(wb.step, b"A\n1", "a.csv")
    state = control(wb, "GET", "/").json()
    assert (state["frontend_url"], state["upload_url"]) == (wb.frontend_url, wb.upload_url)
    step = state["workflows"][0]["steps"][0]
    assert step["create_file_url"] == wb.step.create_file_url
    assert step["api_token"] == wb.step.api_token
    assert [file["name"] for file in step["files"]] == ["a.csv"]
    assert step["selected"] == step["files"][0]["uuid"]
    assert state["workflows"][1]["secret_link_url"] == wb.secret_step.secret_link_url
    assert state["session_cookie"] == wb.session_cookie


def test_switches_are_read_and_set(wb: Sandbox) -> None:
    assert control(wb, "GET", "/switches").json()["idle_limit"] == 6
    answer = control(wb, "POST", "/switches", {"hook": "down", "hook_delay": 0.1, "idle_limit": 2, "tusd_down": True})
    assert answer.json()["hook"] == "down"
    assert (wb.hook, wb.hook_delay, wb.idle_limit, wb.tusd_down) == ("down", 0.1, 2, True)
    control(wb, "POST", "/switches", {"tusd_down": False})
    assert not wb.tusd_down


@pytest.mark.parametrize("body", [{"hook": "sideways"}, {"nonsense": 1}, [1]])
def test_a_wrong_switch_is_refused(wb: Sandbox, body: Any) -> None:
    answer = control(wb, "POST", "/switches", body)
    assert answer.status == 400
    assert answer.json()["error"]


def test_what_happened_is_told_without_headers(wb: Sandbox) -> None:
    url = new_upload(wb.step, 5)
    patch(url, 0, b"12")
    first, second = control(wb, "GET", "/requests").json()
    assert (first["host"], first["method"], first["status"]) == ("frontend", "POST", 200)
    assert (second["host"], second["method"], second["body_bytes"]) == ("upload", "PATCH", 2)
    assert wb.step.api_token not in json.dumps([first, second])
    control(wb, "DELETE", "/requests")
    assert wb.requests == []


def test_steps_are_changed_by_http(wb: Sandbox) -> None:
    token = wb.step.api_token
    step = "/workflows/1/steps/step-upload"
    fresh = control(wb, "POST", f"{step}/reset-token").json()["api_token"]
    assert fresh == wb.step.api_token != token
    assert control(wb, "POST", f"{step}/reset-token", {"token": token}).json()["api_token"] == token
    control(wb, "POST", f"{step}/disable-api")
    assert create_file(wb.step, "f", 1, "x").code == "step-has-no-api-token"
    assert control(wb, "POST", f"{step}/enable-api").json()["api_token"] == token
    control(wb, "POST", f"{step}/delete")
    assert create_file(wb.step, "f", 1).code == "step-not-found"
    control(wb, "POST", f"{step}/restore")
    assert create_file(wb.step, "f", 1).status == 200


def test_workflows_are_made_and_changed_by_http(wb: Sandbox) -> None:
    made = control(wb, "POST", "/workflows", {"name": "Mine", "secret_link": True}).json()
    step = control(wb, "POST", f"/workflows/{made['id']}/steps", {"slug": "step-mine", "module": "upload"}).json()
    assert call("GET", made["secret_link_url"]).status == 200
    changed = control(wb, "POST", f"/workflows/{made['id']}/reset-secret-link").json()
    assert changed["secret_link"] != made["secret_link"]
    control(wb, "POST", f"/workflows/{made['id']}/hold", {"seconds": 0.1})
    body = b'{"filename": "f.csv", "size": 0}'
    bearer = {"Authorization": f"Bearer {step['api_token']}"}
    assert call("POST", step["create_file_url"], bearer, body).status == 200
    control(wb, "POST", f"/workflows/{made['id']}/delete")
    assert call("POST", step["create_file_url"], bearer, body).code == "workflow-not-found"


def test_a_files_bytes_are_read_by_http(wb: Sandbox) -> None:
    upload(wb.step, b"A\n\x00\xff", "a.csv")
    path = f"/workflows/1/steps/step-upload/files/{wb.step.files[0].uuid}"
    assert control(wb, "GET", path).body == b"A\n\x00\xff"
    assert control(wb, "GET", path[:-1]).status == 404


def test_uploads_are_forgotten_and_everything_is_reset_by_http(wb: Sandbox) -> None:
    url = new_upload(wb.step, 5)
    control(wb, "POST", "/forget-uploads")
    assert head(url).status == 404
    upload(wb.step, b"A\n1")
    token = wb.step.api_token
    wb.step.reset_token()
    wb.hook = "down"
    state = control(wb, "POST", "/reset").json()
    assert state["workflows"][0]["steps"][0]["api_token"] == token
    assert state["workflows"][0]["steps"][0]["files"] == []
    assert state["switches"]["hook"] == "ok"
    assert wb.requests == []
    assert control(wb, "POST", "/reset", {"empty": True}).json()["workflows"] == []


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/workflows/99/delete", 404),
        ("POST", "/workflows/1/explode", 404),
        ("POST", "/workflows/1/steps/step-none/delete", 404),
        ("GET", "/reset", 405),
        ("GET", "/nothing", 404),
    ],
)
def test_what_is_not_there_is_an_error(wb: Sandbox, method: str, path: str, status: int) -> None:
    assert control(wb, method, path).status == status


def test_another_sites_page_may_not_control_the_sandbox(wb: Sandbox) -> None:
    upload(wb.step, b"A\n1")
    assert control(wb, "POST", "/reset", Origin="http://elsewhere.example").status == 403
    assert len(wb.step.files) == 1
    assert control(wb, "POST", "/reset", Origin=wb.frontend_url).status == 200


def test_a_reset_drops_what_a_test_added(wb: Sandbox) -> None:
    before = json.dumps(control(wb, "GET", "/").json())
    wb.add_workflow("Another").add_step()
    wb.step.delete()
    wb.secret_step.workflow.reset_secret_link()
    wb.max_file_size = 1
    wb.tusd_down = True
    wb.reset()
    assert json.dumps(control(wb, "GET", "/").json()) == before
