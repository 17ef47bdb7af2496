"""Reading a Step: access, pages, websockets, rendered tables (protocol, section 4)."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sandbox_http import call, create_file, new_upload, patch, settle, upload
from websockets.exceptions import ConnectionClosedError, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from airflow_provider_workbench.sandbox import Sandbox, Workflow
from airflow_provider_workbench.sandbox.state import Output

READERS = ["anonymous", "owner", "wrong cookie"]


def cookie(wb: Sandbox, reader: str) -> dict[str, str]:
    return {
        "anonymous": {},
        "owner": {"Cookie": f"csrftoken=x; sessionid={wb.session_cookie}"},
        "wrong cookie": {"Cookie": "sessionid=wrong"},
    }[reader]


def websocket_status(wb: Sandbox, path: str, headers: dict[str, str]) -> int:
    try:
        with connect(wb.frontend_url.replace("http", "ws") + path, additional_headers=headers):
            return 101
    except InvalidStatus as refused:
        return refused.response.status_code


@contextmanager
def watching(wb: Sandbox, workflow: Workflow) -> Iterator[ClientConnection]:
    """A websocket of the Workflow, its first message taken."""
    key = workflow.secret_link or workflow.id
    with connect(f"{wb.frontend_url.replace('http', 'ws')}/workflows/{key}") as socket:
        assert "updateWorkflow" in receive(socket)
        yield socket


def receive(socket: ClientConnection) -> dict[str, Any]:
    message = json.loads(socket.recv(10))
    assert message["type"] == "apply-delta"
    return message["data"]


def init_state(page: str) -> dict[str, Any]:
    line = next(line for line in page.splitlines() if line.startswith("window.initState = "))
    return json.loads(line.removeprefix("window.initState = "))


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    ("workflow", "page", "websocket"),
    [
        (
            "1",
            {"anonymous": 200, "owner": 200, "wrong cookie": 200},
            {"anonymous": 101, "owner": 101, "wrong cookie": 101},
        ),
        (
            "2",
            {"anonymous": 403, "owner": 200, "wrong cookie": 403},
            {"anonymous": 403, "owner": 101, "wrong cookie": 403},
        ),
        (
            "link",
            {"anonymous": 200, "owner": 302, "wrong cookie": 200},
            {"anonymous": 101, "owner": 101, "wrong cookie": 101},
        ),
        (
            "3",
            {"anonymous": 403, "owner": 200, "wrong cookie": 403},
            {"anonymous": 403, "owner": 101, "wrong cookie": 403},
        ),
        ("wrong link", dict.fromkeys(READERS, 404), dict.fromkeys(READERS, 403)),
        ("99", dict.fromkeys(READERS, 404), dict.fromkeys(READERS, 403)),
        ("deleted", dict.fromkeys(READERS, 404), dict.fromkeys(READERS, 403)),
        ("nonsense", dict.fromkeys(READERS, 404), dict.fromkeys(READERS, 403)),
    ],
)
def test_who_may_read(wb: Sandbox, workflow: str, page: dict[str, int], websocket: dict[str, int], reader: str) -> None:
    if workflow == "deleted":
        wb.workflow.delete()
    keys = {"link": wb.secret_step.secret_link, "wrong link": "wNoSuchLink", "deleted": "1"}
    path = f"/workflows/{keys.get(workflow, workflow)}"
    headers = cookie(wb, reader)
    answer = call("GET", f"{wb.frontend_url}{path}/", headers)
    assert answer.status == page[reader]
    assert websocket_status(wb, path, headers) == websocket[reader]
    if answer.status == 302:
        assert answer.headers["location"] == "/workflows/2/"
    if answer.status == 200:
        user = init_state(answer.text)["loggedInUser"]
        assert (user is not None) == (reader == "owner")
    tables = call("GET", f"{wb.frontend_url}{path}/steps/step-none/current-result-table.json", headers)
    assert tables.status == (403 if answer.status == 403 else 404)


def test_the_slash_matters(wb: Sandbox) -> None:
    for key in ("1", "3", "99"):
        answer = call("GET", f"{wb.frontend_url}/workflows/{key}")
        assert (answer.status, answer.headers["location"]) == (301, f"/workflows/{key}/")
        assert websocket_status(wb, f"/workflows/{key}/", {}) == 500


def test_a_reset_secret_link_kills_the_old_one(wb: Sandbox) -> None:
    old = wb.secret_step.secret_link_url
    assert call("GET", old).status == 200
    new = wb.secret_step.workflow.reset_secret_link()
    assert new.startswith("w")
    assert call("GET", old).status == 404
    assert call("GET", wb.secret_step.secret_link_url).status == 200


def test_the_root_leads_to_the_first_workflow(wb: Sandbox) -> None:
    assert call("GET", wb.frontend_url + "/").headers["location"] == "/workflows/1/"
    assert call("GET", wb.frontend_url + "/nothing/here").status == 404


def test_a_foreign_origin_may_open_a_websocket(wb: Sandbox) -> None:
    assert websocket_status(wb, "/workflows/1", {"Origin": "http://elsewhere.example"}) == 101


def test_the_owner_is_told_who_he_is(wb: Sandbox) -> None:
    with connect(
        wb.frontend_url.replace("http", "ws") + "/workflows/3", additional_headers=cookie(wb, "owner")
    ) as socket:
        assert receive(socket)["updateUser"]["email"] == "owner@example.org"


def test_an_upload_pushes_the_whole_step_and_a_render_a_part(wb: Sandbox) -> None:
    step = wb.secret_step
    with (
        watching(wb, step.workflow) as socket,
        watching(wb, step.workflow) as other,
        watching(wb, wb.workflow) as third,
    ):
        upload(step, b"A,B\n1,x\n", "a.csv")
        whole = receive(socket)["updateSteps"][str(step.id)]
        assert whole["slug"] == step.slug
        assert [file["name"] for file in whole["files"]] == ["a.csv"]
        assert whole["params"]["file"] == whole["files"][0]["uuid"] == step.selected.uuid
        assert whole["last_relevant_delta_id"] > whole["cached_render_result_delta_id"]
        part = receive(socket)["updateSteps"][str(step.id)]
        assert part["cached_render_result_delta_id"] == whole["last_relevant_delta_id"]
        assert (part["output_status"], part["output_n_rows"]) == ("ok", 1)
        assert not {"slug", "files"} & set(part)
        assert receive(other)["updateSteps"][str(step.id)] == whole
        with pytest.raises(TimeoutError):
            third.recv(0.1)


def test_the_page_has_the_file_at_once_and_the_old_output_until_rendered(wb: Sandbox) -> None:
    upload(wb.step, b"A\n1\n2\n", "old.csv")
    wb.step.wait_until_rendered()
    wb.render_delay = 60
    upload(wb.step, b"A,B\n1,2\n", "new.csv")
    for _ in range(2):
        shown = init_state(call("GET", wb.step.page_url).text)["steps"]["1"]
        assert [file["name"] for file in shown["files"]] == ["new.csv", "old.csv"]
        assert shown["cached_render_result_delta_id"] < shown["last_relevant_delta_id"]
        assert shown["output_n_rows"] == 2
    table = wb.step.page_url + "steps/step-upload/current-result-table.json"
    answer = call("GET", table)
    assert (answer.status, answer.headers["retry-after"]) == (503, "30")
    wb.render_delay = 0
    assert wb.step.wait_until_rendered().n_rows == 1
    assert call("GET", table).json() == [{"A": 1, "B": 2}]
    assert call("GET", table.replace(".json", ".csv")).text == "A,B\n1.0,2.0\n"


def test_a_superseded_file_is_never_rendered(wb: Sandbox) -> None:
    wb.render_delay = 60
    with watching(wb, wb.workflow) as socket:
        upload(wb.step, b"A\n1\n", "first.csv")
        upload(wb.step, b"A\n1\n2\n", "second.csv")
        assert [len(receive(socket)["updateSteps"]["1"]["files"]) for _ in range(2)] == [1, 2]
        wb.render_delay = 0
        assert receive(socket)["updateSteps"]["1"]["output_n_rows"] == 2
        with pytest.raises(TimeoutError):
            socket.recv(0.2)


def test_a_render_that_ends_after_the_next_upload_changes_nothing(wb: Sandbox) -> None:
    wb.render_delay = 60
    upload(wb.step, b"A\n1\n", "first.csv")
    obsolete, first = wb.step.delta_id, wb.step.files[0]
    upload(wb.step, b"A\n1\n2\n", "second.csv")
    with watching(wb, wb.workflow) as socket:
        wb.workbench.rendered(wb.step, obsolete, first.uuid, Output("ok", 1))
        assert not wb.step.is_rendered
        with pytest.raises(TimeoutError):
            socket.recv(0.1)


def test_a_file_that_was_stored_but_not_selected_is_on_the_page_only(wb: Sandbox) -> None:
    wb.hook_retry_seconds = 0.01
    wb.hook = "store-then-500"
    with watching(wb, wb.workflow) as socket:
        assert patch(new_upload(wb.step, 3, "odd.csv"), 0, b"A\n1").status == 500
        shown = init_state(call("GET", wb.step.page_url).text)["steps"]["1"]
        assert [file["name"] for file in shown["files"]] == ["odd.csv"]
        assert shown["params"]["file"] is None
        with pytest.raises(TimeoutError):
            socket.recv(0.1)


def test_a_render_can_be_made_to_fail(wb: Sandbox) -> None:
    wb.render_error = "No <b>luck</b>"
    upload(wb.step, b"A\n1\n")
    output = wb.step.wait_until_rendered()
    assert (output.status, output.errors, output.n_rows) == ("error", ("No <b>luck</b>",), 0)


def test_deleting_a_step_is_pushed_and_deleting_a_workflow_is_not(wb: Sandbox) -> None:
    with watching(wb, wb.workflow) as socket:
        step = wb.workflow.add_step()
        assert receive(socket)["updateSteps"][str(step.id)]["slug"] == step.slug
        step.delete()
        assert receive(socket)["clearStepIds"] == [str(step.id)]
        step.restore()
        assert receive(socket)["updateSteps"][str(step.id)]["slug"] == step.slug
        wb.workflow.delete()
        with pytest.raises(TimeoutError):
            socket.recv(0.2)
        socket.ping().wait(5)  # open, and silent


def test_a_server_shutdown_closes_websockets_without_a_close_frame(wb: Sandbox) -> None:
    with watching(wb, wb.workflow) as socket:
        wb.drop_websockets()
        with pytest.raises(ConnectionClosedError) as closed:
            socket.recv(5)
        assert closed.value.rcvd is None
    assert call("GET", wb.step.page_url).status == 200
    settle(lambda: [(request.method, request.status) for request in wb.requests] == [("GET", 101), ("GET", 200)])


def test_the_server_pings_every_twenty_seconds(wb: Sandbox) -> None:
    assert wb._frontend._config.ws_ping_interval == 20


NASTY = "</script><script>alert(1)</script>&amp;<!--\n\u202egnp.csv\u2028\"'`${x}"


@given(name=st.text(max_size=60) | st.just(NASTY))
@settings(max_examples=40, deadline=None)
def test_no_name_breaks_out_of_the_page(running_sandbox: Sandbox, name: str) -> None:
    running_sandbox.reset()
    if create_file(running_sandbox.step, name, 0).status != 200:
        return
    page = call("GET", running_sandbox.step.page_url).text
    assert init_state(page)["steps"]["1"]["files"][0]["name"] == name.strip()
    line = next(line for line in page.splitlines() if line.startswith("window.initState = "))
    assert line.isascii()
    assert not set(line) & set("<>&")
    running_sandbox.reset()
    empty = call("GET", running_sandbox.step.page_url).text
    assert page.count("<") == empty.count("<")


def test_the_page_needs_nothing_from_elsewhere(wb: Sandbox) -> None:
    page = call("GET", wb.step.page_url).text
    assert "http://" not in page.replace("http://127.0.0.1", "")
    assert "https://" not in page
    assert "innerHTML" not in page


def test_created_at_is_utc_with_microseconds(wb: Sandbox) -> None:
    before = time.time()
    upload(wb.step, b"A\n1")
    text = wb.step.files[0].created_at
    assert len(text) == 27
    assert text.endswith("Z")
    assert before - 0.01 <= datetime.fromisoformat(text).timestamp() <= time.time()
