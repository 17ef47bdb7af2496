"""Create-file: the checks and their order, beyond the recorded requests."""

from __future__ import annotations

import json
import re
import threading
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sandbox_http import Client, call, create_file, new_upload, patch, settle

from airflow_provider_workbench.sandbox import Sandbox

LIMIT = 2147483648


@given(
    body=st.sampled_from(["ok", "not utf8", "not json", "not an object", "bad form"]),
    bearer=st.sampled_from(["ok", "missing", "two spaces"]),
    workflow=st.sampled_from(["ok", "unknown", "deleted"]),
    step=st.sampled_from(["ok", "unknown", "deleted", "no file parameter"]),
    token=st.sampled_from(["ok", "wrong", "disabled"]),
)
@settings(max_examples=100, deadline=None)
def test_the_first_failing_check_decides(
    running_sandbox: Sandbox, body: str, bearer: str, workflow: str, step: str, token: str
) -> None:
    running_sandbox.reset()
    host = running_sandbox.add_workflow("Checked")
    target = host.add_step("step-a_B-1", module="pastecsv" if step == "no file parameter" else "upload")
    sent_token = target.api_token
    url = target.create_file_url
    if step == "unknown":
        url = url.replace("step-a_B-1", "step-a_B-2")
    if step == "deleted":
        target.delete()
    if workflow == "unknown":
        url = url.replace(f"/{host.id}/", "/4711/")
    if workflow == "deleted":
        host.delete()
    if token == "wrong":
        target.reset_token()
    if token == "disabled":
        target.disable_api()
    authorization = {"ok": f"Bearer {sent_token}", "two spaces": f"Bearer  {sent_token}"}.get(bearer)
    content = {"not utf8": b'{"filename": "\xff"}', "not json": b"{'a': 1}", "not an object": b"[1]"}.get(body)
    if content is None:
        content = json.dumps({"filename": "x.csv", "size": -1 if body == "bad form" else 1}).encode()

    answer = call("POST", url, {"Authorization": authorization} if authorization else {}, content)

    expected = next(
        status_and_code
        for failed, status_and_code in [
            (body == "not utf8", (400, "body-not-utf8")),
            (body == "not json", (400, "body-not-json")),
            (body == "not an object", (500, None)),
            (body == "bad form", (400, "body-has-errors")),
            (bearer != "ok", (403, "authorization-bearer-token-not-provided")),
            (workflow != "ok", (404, "workflow-not-found")),
            (step in ("unknown", "deleted"), (404, "step-not-found")),
            (step == "no file parameter", (400, "step-has-no-file-param")),
            (token == "disabled", (403, "step-has-no-api-token")),
            (token == "wrong", (403, "authorization-bearer-token-invalid")),
            (True, (200, None)),
        ]
        if failed
    )
    code = answer.code if answer.status >= 400 and answer.headers["content-type"] == "application/json" else None
    assert (answer.status, code) == expected
    assert (b"tusUploadUrl" in answer.body) == (expected[0] == 200)


@given(filename=st.text(max_size=110))
@settings(max_examples=150, deadline=None)
def test_any_unicode_filename_is_kept_or_refused_by_the_rules(running_sandbox: Sandbox, filename: str) -> None:
    running_sandbox.reset()
    kept = filename.strip()
    answer = create_file(running_sandbox.step, filename, 0)
    if not kept:
        codes = ["required"]
    else:
        codes = ["max_length"] * (len(kept) > 100) + ["null_characters_not_allowed"] * ("\0" in kept)
    if codes:
        assert answer.status == 400
        assert [error["code"] for error in answer.json()["error"]["errors"]["filename"]] == codes
    elif any(ord(c) == 0x7F or (ord(c) < 0x20 and c not in "\t\r\n") for c in kept):
        assert answer.status == 500
        assert answer.headers["content-type"] == "text/html"
    else:
        assert answer.status == 200
        assert [file.name for file in running_sandbox.step.files] == [kept]


@given(size=st.integers() | st.integers(-5, 5) | st.integers(LIMIT - 5, LIMIT + 5))
@settings(max_examples=60, deadline=None)
def test_any_whole_size_up_to_two_gibibytes_is_accepted(running_sandbox: Sandbox, size: int) -> None:
    running_sandbox.reset()
    answer = create_file(running_sandbox.step, "f.csv", size)
    if 0 <= size <= LIMIT:
        assert answer.status == 200
        assert len(running_sandbox.step.files) == (1 if size == 0 else 0)
    else:
        code = "max_value" if size > 0 else "min_value"
        assert [error["code"] for error in answer.json()["error"]["errors"]["size"]] == [code]


@pytest.mark.parametrize(
    ("filename", "kept"),
    [
        (["a.csv"], "['a.csv']"),
        (12.5, "12.5"),
        (False, "False"),
        (" \t a b.csv\n", "a b.csv"),
        ("../../etc/passwd", "../../etc/passwd"),
        ('a"b\nc', 'a"b\nc'),
    ],
)
def test_a_filename_of_another_type_becomes_text(wb: Sandbox, filename: Any, kept: str) -> None:
    assert create_file(wb.step, filename, 0).status == 200
    assert wb.step.files[0].name == kept


@pytest.mark.parametrize("filename", ["\ud800.csv", "a\x01b", "a\x7f", "\x02"])
def test_a_filename_that_the_store_cannot_keep_gives_an_html_500(wb: Sandbox, filename: str) -> None:
    answer = create_file(wb.step, filename, 5)
    assert (answer.status, answer.headers["content-type"]) == (500, "text/html")


@pytest.mark.parametrize("size", ["7", " 7 ", "7.0", 7.0, "7.000"])
def test_a_size_in_another_form_counts(wb: Sandbox, size: Any) -> None:
    url = create_file(wb.step, "f.csv", size).json()["tusUploadUrl"]
    assert patch(url, 0, b"A\n12345").status == 204
    assert wb.step.files[0].size == 7


@pytest.mark.parametrize("size", [True, [7], {"a": 1}, "7,5", 7.5, "", [], {}, None])
def test_a_size_that_is_no_whole_number_is_refused(wb: Sandbox, size: Any) -> None:
    assert create_file(wb.step, "f.csv", size).code == "body-has-errors"


def test_every_upload_gets_its_own_url_with_a_plus_in_it(wb: Sandbox) -> None:
    urls = [new_upload(wb.step, 5) for _ in range(20)]
    assert len(set(urls)) == 20
    assert all(re.fullmatch(re.escape(wb.upload_url) + r"/files/[0-9a-f]{32}\+[-\w]+", url) for url in urls)


def test_the_upload_url_can_name_a_proxy(wb: Sandbox) -> None:
    wb.advertised_upload_url = "http://127.0.0.1:9/proxy"
    assert new_upload(wb.step, 5).startswith("http://127.0.0.1:9/proxy/files/")
    wb.reset()
    assert new_upload(wb.step, 5).startswith(wb.upload_url)


def test_a_held_workflow_makes_create_file_wait_until_it_is_free(wb: Sandbox) -> None:
    wb.workflow.hold(30)
    answers: list[int] = []
    thread = threading.Thread(target=lambda: answers.append(create_file(wb.step, "f.csv", 5).status))
    thread.start()
    time.sleep(0.3)
    assert answers == []
    assert create_file(wb.secret_step, "f.csv", 5).status == 200  # other Workflows are not held
    wb.workflow.release()
    thread.join(5)
    assert answers == [200]


def test_a_hold_ends_by_itself(wb: Sandbox) -> None:
    wb.workflow.hold(0.3)
    start = time.monotonic()
    assert create_file(wb.step, "f.csv", 5).status == 200
    assert 0.2 < time.monotonic() - start < 2


def test_tusd_down_gives_an_html_500_and_refuses_connections(wb: Sandbox) -> None:
    url = new_upload(wb.step, 5)
    wb.tusd_down = True
    assert create_file(wb.step, "f.csv", 5).headers["content-type"] == "text/html"
    with pytest.raises(ConnectionRefusedError):
        patch(url, 0, b"12345")
    wb.tusd_down = False
    assert patch(url, 0, b"12345").status == 204


@pytest.mark.parametrize("slug", ["step-", "other-x", "step-x.y", "step-é", "xstep-a"])
def test_a_bad_slug_is_an_html_404(wb: Sandbox, slug: str) -> None:
    url = wb.step.create_file_url.replace("step-upload", slug.replace("é", "%C3%A9"))
    answer = call("POST", url, {"Authorization": f"Bearer {wb.step.api_token}"}, b'{"filename": "f.csv", "size": 1}')
    assert (answer.status, answer.headers["content-type"]) == (404, "text/html; charset=utf-8")


def test_expect_100_continue_is_answered_before_the_body(wb: Sandbox) -> None:
    body = b'{"filename": "f.csv", "size": 1}'
    with Client(wb.frontend_url) as client:
        headers = {"Authorization": f"Bearer {wb.step.api_token}", "Content-Length": str(len(body))}
        client.start(
            "POST", wb.step.create_file_url[len(wb.frontend_url) :], {**headers, "Expect": "100-continue"}.items()
        )
        assert client.connection.sock.recv(100).startswith(b"HTTP/1.1 100 ")
        client.connection.send(body)
        assert client.finish().status == 200


def test_idle_connections_are_closed(wb: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """The recorded limits are 5 s and 6 s, and too long to wait for."""
    for host, recorded in ((wb._frontend, 5), (wb._tusd, 6)):
        assert host._config.timeout_keep_alive == recorded
        monkeypatch.setattr(host._config, "timeout_keep_alive", 1)
    start = time.monotonic()
    with Client(wb.frontend_url) as frontend, Client(wb.upload_url) as upload:
        for client, method, path in ((frontend, "GET", "/workflows/1/"), (upload, "OPTIONS", "/files/")):
            client.send(method, path)
        for client in (frontend, upload):
            assert client.connection.sock.recv(1) == b""
            assert 1 <= time.monotonic() - start < 5


def test_the_frontends_date_is_that_of_a_connections_first_answer_and_the_upload_hosts_is_fresh(wb: Sandbox) -> None:
    with Client(wb.frontend_url) as frontend, Client(wb.upload_url) as upload:
        dates = []
        for pause in (1.1, 0):
            page, options = frontend.send("GET", "/workflows/1/"), upload.send("OPTIONS", "/files/")
            dates.append((page.headers["date"], options.headers["date"]))
            time.sleep(pause)
    (page_date, upload_date), (later_page_date, later_upload_date) = dates
    assert page_date == later_page_date
    assert upload_date != later_upload_date
    assert call("GET", wb.step.page_url).headers["date"] != page_date


def test_requests_are_recorded_with_their_bytes_and_connections(wb: Sandbox) -> None:
    url = new_upload(wb.step, 9)
    patch(url, 0, b"1234")
    patch(url, 5, b"56789")
    settle(lambda: [request.status for request in wb.requests] == [200, 204, 409])
    first, second, third = wb.requests
    assert (first.host, first.method, first.path) == ("frontend", "POST", "/api/v1/workflows/1/steps/step-upload/files")
    assert (second.host, second.method, second.body_bytes, third.body_bytes) == ("upload", "PATCH", 4, 5)
    assert second.client != third.client
    assert second.headers["upload-offset"] == "0"
    assert first.time <= second.time <= third.time <= time.time()
