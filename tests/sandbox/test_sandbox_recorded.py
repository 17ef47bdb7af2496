"""Replays what was recorded of a genuine Workbench, in order, and compares the answers."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from sandbox_http import Answer, Client, fill_as_recorded, new_upload
from websockets.sync.client import connect

from airflow_provider_workbench.sandbox import Sandbox, Step

RECORDED = Path(__file__).parent.parent / "recorded"
FILE = b"A,B\n1,x\n2,yz"
UNKNOWN = "/files/00000000000000000000000000000000+unknown"

EXCEPTIONS = {
    ("hook_server_down", "final PATCH while the hook server is down (connection refused)", "content-length"): (
        "the recording's addresses were replaced afterwards, its Content-Length was not"
    ),
}
"""What is not compared: (recording, exchange, header) -> why."""

COMPARED = re.compile(
    r"tus-|upload-|access-control-|content-|location|allow|cache-control|x-frame|x-content|referrer|vary|retry-after"
)


class Replay:
    """Plays one recording. ``before`` says what to do ahead of an exchange, by its position."""

    def __init__(self, wb: Sandbox, recording: str) -> None:
        fill_as_recorded(wb)
        wb.hook_retry_seconds = 0.02
        self.wb = wb
        self.recording = recording
        self.exchanges = json.loads((RECORDED / f"{recording}.json").read_text())
        self.upload_path = UNKNOWN
        self.token: str | None = None
        self.step = wb.workflows[0].step("step-pubUp_-01")

    def run(self, before: dict[int, Callable[[], Any]]) -> None:
        for index, exchange in enumerate(self.exchanges):
            before.get(index, lambda: None)()
            answer = self.send(exchange["name"], exchange["request"])
            if answer.status == 200 and b"tusUploadUrl" in answer.body:
                self.upload_path = urlsplit(answer.json()["tusUploadUrl"]).path
            self.compare(exchange["name"], exchange["response"], answer)

    def upload(self, size: int = 12, filename: str = "f.csv", step: Step | None = None) -> None:
        """Create the file that the following exchanges upload; remember the token it was created with."""
        step = step or self.step
        self.upload_path = urlsplit(new_upload(step, size, filename)).path
        self.token = step.api_token

    def token_for(self, name: str, path: str) -> str:
        if "another step" in name:
            return self.wb.workflows[0].step("step-pubNoFile").api_token or ""
        if "old token" in name:
            return self.token or ""
        steps = (step for workflow in self.wb.workflows for step in workflow._steps if f"/{step.slug}/" in path)
        step = next(steps, self.step)
        return step.api_token or ""

    def send(self, name: str, request: dict[str, Any]) -> Answer:
        path = request["path"].replace("/files/{upload_id}", self.upload_path)
        if "written %2B" in name:
            path = path.replace("+", "%2B")
        token = self.token_for(name, path)
        headers = []
        for key, value in request["headers"]:
            if key.startswith("<"):  # a remark of the recorder
                continue
            value = value.replace("{api_token}", token).replace("{session_cookie}", self.wb.session_cookie)
            headers.append((key, value))
        host = self.wb.upload_url if path.startswith("/files") else self.wb.frontend_url
        with Client(host) as client:
            if ("Transfer-Encoding", "chunked") in headers:
                body = FILE if host == self.wb.upload_url else b'{"filename": "f.csv", "size": 12}'
                body += b"EXTRA" if "more than" in name else b""
                return client.send(request["method"], path, headers, chunks=[body[:5], body[5:]])
            return client.send(request["method"], path, headers, recorded_body(request))

    def compare(self, name: str, recorded: dict[str, Any], answer: Answer) -> None:
        assert answer.status == recorded["status"], f"{name}: {answer}"
        html = recorded["body"] == "(an HTML error page)"
        skip = {header for file, exchange, header in EXCEPTIONS if (file, exchange) == (self.recording, name)}
        if html:
            assert b"<h1>" in answer.body, name
            skip.add("content-length")  # their page, our page
        elif "{upload_id}" in recorded["body"]:
            match = re.fullmatch(r'\{"tusUploadUrl": "(.*)/files/[0-9a-f]{32}\+[-\w.]+"\}', answer.text)
            assert match, name
            assert match[1] == self.wb.upload_url
            assert answer.headers["content-length"] == str(len(answer.body))
            skip.add("content-length")
        else:
            # The recorder stripped white space from the ends of bodies; Content-Length proves the rest.
            assert answer.text.strip() == recorded["body"].strip(), name
        theirs = {key.lower(): value for key, value in recorded["headers"]}
        for header in set(theirs) | set(answer.headers):
            if COMPARED.match(header) and header not in skip:
                assert header in theirs, f"{name}: {header} is not recorded"
                assert header in answer.headers, f"{name}: {header} is missing"
                self.compare_header(f"{name}: {header}", header, theirs[header], answer.headers[header])

    def compare_header(self, where: str, header: str, theirs: str, ours: str) -> None:
        if header == "upload-metadata":
            token = base64.b64encode((self.token or self.step.api_token or "").encode()).decode()
            assert set(ours.split(",")) == set(theirs.replace("{base64_api_token}", token).split(",")), where
        elif header in ("allow", "access-control-allow-headers"):
            assert set(ours.split(", ")) == set(theirs.split(", ")), where
        elif header == "location":
            assert re.fullmatch(re.escape(self.wb.upload_url) + r"/files/[0-9a-f]{32}\+[-\w.]+", ours), where
        else:
            assert ours == theirs, where


def recorded_body(request: dict[str, Any]) -> bytes:
    """The bytes that were sent, from a recording that shortened, escaped or stripped them."""
    headers = dict(request["headers"])
    length = int(headers.get("Content-Length", 0))
    text = request["body"]
    if "[truncated" in text:
        start = b'{"filename":"f.csv","size":12,"x":"'
        return start + b"x" * (length - len(start) - 2) + b'"}'
    if len(text.encode()) > length:
        return re.sub(rb"\\x([0-9a-f]{2})", lambda match: bytes.fromhex(match[1].decode()), text.encode())
    body = text.encode()
    if not body and length == len(FILE):
        return FILE
    return body + b"\n" * (length - len(body))


def test_recorded_create_file(wb: Sandbox) -> None:
    Replay(wb, "create_file").run({})


def test_recorded_tus(wb: Sandbox) -> None:
    replay = Replay(wb, "tus")

    def unknown() -> None:
        replay.upload_path = UNKNOWN

    new = dict.fromkeys((0, 13, 20, 42, 43, 44, 46, 48, 49, 54, 61), replay.upload)
    replay.run({**new, 57: unknown})


def test_recorded_token_reset_before_finish(wb: Sandbox) -> None:
    replay = Replay(wb, "token_reset_before_finish")

    def reset() -> None:
        replay.upload(filename="reset.csv")
        replay.step.reset_token()

    def disable() -> None:
        replay.upload(filename="disabled.csv")
        replay.step.disable_api()

    replay.run(
        {
            0: reset,
            6: lambda: replay.upload(filename="reset-mid.csv"),
            7: replay.step.reset_token,
            15: disable,
            18: replay.step.enable_api,
        }
    )


def test_recorded_hook_server_down(wb: Sandbox) -> None:
    replay = Replay(wb, "hook_server_down")

    def down() -> None:
        replay.upload(filename="hookdown.csv")
        wb.hook = "down"

    def up() -> None:
        wb.hook = "ok"

    def created_while_down() -> None:
        wb.hook = "down"
        replay.upload()
        wb.hook = "ok"

    def crashing() -> None:  # the hook chokes on a workflow id that is no number
        pairs = {"filename": "x.csv", "stepSlug": replay.step.slug, "workflowId": "abc", "apiToken": replay.token}
        metadata = ",".join(f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in pairs.items())
        with Client(wb.upload_url) as client:
            headers = {"Tus-Resumable": "1.0.0", "Upload-Length": "12", "Upload-Metadata": metadata}
            answer = client.send("POST", "/files/", {**headers, "Content-Length": "0"})
        replay.upload_path = urlsplit(answer.headers["location"]).path

    replay.run({0: down, 3: up, 7: created_while_down, 8: crashing})


def test_recorded_step_or_workflow_deleted(wb: Sandbox) -> None:
    replay = Replay(wb, "step_or_workflow_deleted")
    public = wb.workflows[0]
    deleted = public.add_step("step-tmp800690")
    restored = public.add_step("step-tmp463190")
    doomed = wb.add_workflow("Doomed").add_step("step-tmp24614")

    def undo() -> None:
        replay.upload(step=restored)
        restored.delete()
        restored.restore()

    def delete_workflow() -> None:
        replay.upload(step=doomed)
        doomed.workflow.delete()

    replay.run({0: lambda: replay.upload(step=deleted), 1: deleted.delete, 6: undo, 8: delete_workflow})


def test_recorded_size_zero(wb: Sandbox) -> None:
    Replay(wb, "size_zero").run({})


OWNER = ("display_name", "email", "owner_email", "owner_name")


def normal(value: Any, uuids: dict[str, str]) -> Any:
    """A message without what differs from run to run: File uuids (numbered instead), times, the owner's name."""
    if isinstance(value, dict):
        return {
            key: f"({key})" if key in (*OWNER, "createdAt", "last_update") else normal(part, uuids)
            for key, part in value.items()
        }
    if isinstance(value, list):
        return [normal(part, uuids) for part in value]
    if isinstance(value, str) and re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", value):
        return uuids.setdefault(value, f"uuid {len(uuids)}")
    if isinstance(value, str) and value.startswith("Unknown file extension .xyz"):
        return "Unknown file extension .xyz"  # the sandbox has its own words for the rest
    return value


def upload_file(step: Step, filename: str, content: bytes) -> None:
    url = urlsplit(new_upload(step, len(content), filename))
    if content:
        headers = {"Tus-Resumable": "1.0.0", "Content-Type": "application/offset+octet-stream", "Upload-Offset": "0"}
        with Client(url.geturl()) as client:
            assert (
                client.send("PATCH", url.path, {**headers, "Content-Length": str(len(content))}, content).status == 204
            )


def page_state(wb: Sandbox, path: str) -> Any:
    with Client(wb.frontend_url) as client:
        answer = client.send("GET", path)
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    lines = [line for line in answer.text.splitlines() if line.strip().startswith("window.initState = ")]
    assert len(lines) == 1
    text = lines[0].strip().removeprefix("window.initState = ")
    assert "<" not in text
    assert "&" not in text
    return json.loads(text)


def test_recorded_pages_and_websocket_messages(wb: Sandbox) -> None:
    fill_as_recorded(wb)
    pages = json.loads((RECORDED / "page_init_state.json").read_text())
    theirs: dict[str, str] = {}
    ours: dict[str, str] = {}

    def compare_page(name: str, path: str) -> None:
        assert normal(page_state(wb, path), ours) == normal(pages[name], theirs), name

    public, secret, private = (workflow.steps[0] for workflow in wb.workflows)
    compare_page("public-after", "/workflows/1/")
    compare_page("secret-before", "/workflows/wSecret123abcDEF456ghi/")
    wb.render_delay = 60
    upload_file(secret, "after.csv", FILE)
    compare_page("secret-after-immediately", "/workflows/wSecret123abcDEF456ghi/")
    wb.render_delay = 0
    secret.wait_until_rendered()
    compare_page("secret-after", "/workflows/wSecret123abcDEF456ghi/")

    upload_file(public, "poll.csv", b"X,Y\n1,a\n2,b\n3,cdefg\n"[:20])
    public.wait_until_rendered()
    messages = json.loads((RECORDED / "websocket_messages.json").read_text())
    for name, path, step, filename, content in (
        ("public-anonymous", "/workflows/1", public, "ws-public.csv", FILE),
        ("secret-anonymous", "/workflows/wSecret123abcDEF456ghi", secret, "ws-secret.csv", b"X,Y\n3,a\n4,b\n5,c\n"),
        ("private-owner", "/workflows/3", private, "ws-private.csv", FILE),
        ("public-empty-file", "/workflows/1", public, "empty.csv", b""),
        ("public-unknown-ext", "/workflows/1", public, "thing.xyz", b"some text"),
    ):
        cookie = {"Cookie": f"sessionid={wb.session_cookie}"} if "owner" in name else {}
        with connect(wb.frontend_url.replace("http", "ws") + path, additional_headers=cookie) as socket:
            received = [json.loads(socket.recv(10))]
            upload_file(step, filename, content)
            received += [json.loads(socket.recv(10)), json.loads(socket.recv(10))]
        for ours_message, theirs_message in zip(received, messages[name], strict=True):
            assert normal(ours_message, ours) == normal(theirs_message, theirs), name


def test_fewer_than_five_exceptions_and_each_exists() -> None:
    assert len(EXCEPTIONS) < 5
    for recording, name, _ in EXCEPTIONS:
        exchanges = json.loads((RECORDED / f"{recording}.json").read_text())
        assert name in [exchange["name"] for exchange in exchanges]


@pytest.mark.parametrize("recording", sorted(path.stem for path in RECORDED.glob("*.json")))
def test_every_recording_is_replayed(recording: str) -> None:
    source = Path(__file__).read_text()
    assert f'"{recording}"' in source or f"{recording}.json" in source
