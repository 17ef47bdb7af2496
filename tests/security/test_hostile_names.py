"""File names that are more than names, ours and Workbench's: sent and returned as they are, and shown harmlessly."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest
from airflow.providers.common.compat.sdk import BaseOperator
from chromium import chromium

from airflow_provider_workbench.client.errors import SourceError, WorkbenchError
from airflow_provider_workbench.client.object_source import ObjectSource
from airflow_provider_workbench.hooks.workbench import WorkbenchFatalError, WorkbenchHook
from airflow_provider_workbench.links.workbench import link_of
from airflow_provider_workbench.operators.lineage import source_name
from airflow_provider_workbench.operators.outlets import StepOutlets
from airflow_provider_workbench.operators.workbench import WorkbenchUploadOperator
from airflow_provider_workbench.sandbox.state import File, Output, now
from airflow_provider_workbench.sensors.workbench import WorkbenchFileSensor
from airflow_provider_workbench.triggers.workbench import WorkbenchFileEventTrigger, WorkbenchFileTrigger

# what would do something if a log, a page or a terminal took it for its own
TAKEN = {
    "a new line": "a\n2026-01-01 ERROR faked line.csv",
    "a carriage return": "real.csv\rfaked.csv",
    "a tab": "a\tb.csv",
    "a terminal's escape of 8 bits": "a\x9b2J\x9d0;title\x9c.csv",
    "a next line": "a\x85b.csv",
    "a line separator": "a\u2028b\u2029c.csv",
    "right to left": "invoice\u202efdp.exe.csv",
    "isolates": "a\u2066b\u2069\u200f\u200e\u061c.csv",
    "what is not seen": "a\u200b\u200d\ufeff\u2060\u00adb.csv",
    "tags": "a\U000e0041\U000e007f.csv",
    "markup": "<img src=x onerror=alert(1)>&lt;b&gt;</script><script>alert(1)</script>.csv",
    "an attribute": "\" onmouseover='alert(1)' x=\".csv",
    "a parent": "../../etc/passwd",
    "a path": "/etc/cron.d/a.csv",
    "a path of Windows": "..\\..\\C:\\a.csv",
    "a template": "{{ var.value.secret }} {% raw %} ${x} %(name)s %s %n {0}.csv",
    "a formula": "=cmd|' /C calc'!A0.csv",
    "a shell's": "$(id) `id`; rm -rf ~ #.csv",
    "a URL": "https://user:pass@host/?x=1#y",
    "emoji": "🧨👩‍👩‍👧 e\u0301.csv",
    "a slash in disguise": "a\u2215b\uff0fc.csv",
    "a hundred characters": "\u202e" * 96 + ".csv",
}
REFUSED = {
    "a NUL": "a\0b.csv",
    "a terminal's escape": "a\x1b[2J\x1b]0;title\x07.csv",
    "a backspace": "a\x08b.csv",
    "a vertical tab": "a\x0bb.csv",
    "DEL": "a\x7f.csv",
    "half a character": "a\ud800.csv",
    "an undecodable byte": "caf\udce9.csv",
    "101 characters": "\u202e" * 97 + ".csv",
    "10,000 characters": "\x1b\n" * 5000,
    "10,000 letters": "x" * 10_000,
    "nothing": "",
    "blanks": "\u2003\n\t ",
}
CONTENT = b"A\n1\n"


OURS = (WorkbenchHook, WorkbenchUploadOperator, WorkbenchFileSensor, WorkbenchFileTrigger, WorkbenchFileEventTrigger)


class Lines:
    """A logger that keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def info(self, text: Any, *args: Any, **_: Any) -> None:
        self.lines.append(str(text) % args if args else str(text))

    debug = warning = error = exception = critical = info


@pytest.fixture(autouse=True)
def log(monkeypatch: pytest.MonkeyPatch) -> Iterator[Lines]:
    """All that ours log: at the end, each must be one line that changes nothing around it."""
    lines = Lines()
    ours = (
        WorkbenchHook,
        WorkbenchUploadOperator,
        WorkbenchFileSensor,
        WorkbenchFileTrigger,
        WorkbenchFileEventTrigger,
    )
    for cls in ours:
        monkeypatch.setattr(cls, "log", lines)
    yield lines
    for line in lines.lines:
        assert line.isprintable(), line
        assert len(line) < 3000


@pytest.fixture
def wb(workbench_sandbox: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("AIRFLOW_CONN_WORKBENCH_DEFAULT", workbench_sandbox.step.connection_json())
    return workbench_sandbox


def task(**options: Any) -> BaseOperator:
    return WorkbenchUploadOperator(task_id="upload", workbench_conn_id="workbench_default", **options)


def run(**options: Any) -> dict[str, Any]:
    return task(**options).execute({"ti": None})  # type: ignore[arg-type]


# ---- ours


@pytest.mark.parametrize("name", TAKEN.values(), ids=TAKEN)
def test_name_that_workbench_takes_arrives_as_it_is(wb: Any, tmp_path: Path, log: Lines, name: str) -> None:
    (tmp_path / "a").write_bytes(CONTENT)
    output = run(filepath=tmp_path / "a", filename=name, wait_until="selected", poke_interval=0.1)
    (file,) = wb.step.files
    assert file.name == output["filename"] == output["file"]["name"] == name
    assert wb.step.content(file.uuid) == CONTENT
    assert json.loads(json.dumps(output)) == output
    # an event's value is true, too; its address is the Step's, whatever the File is called
    hook = WorkbenchHook()
    outlets = StepOutlets([], {}, hook.get_settings().endpoint, "c")  # type: ignore[typeddict-item]
    for address in (outlets._uri, link_of(hook.get_settings()), output["step_url"]):
        assert address.isascii()
        assert address.isprintable()
        assert urlsplit(address).path.startswith("/workflows/")
    assert any("accepted" in line for line in log.lines)


@pytest.mark.parametrize("name", [name for name in TAKEN.values() if "/" not in name])
def test_name_of_a_file_on_disk_arrives_as_it_is(wb: Any, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    try:
        path.write_bytes(CONTENT)
    except OSError:
        pytest.skip("no disk takes so many bytes as a name")
    WorkbenchHook().upload_file(path)
    assert [file.name for file in wb.step.files] == [name]
    # lineage is JSON with the true name in it
    dataset = source_name(path)
    assert dataset is None or dataset == {"namespace": f"file://{socket.gethostname()}", "name": str(path)}


@pytest.mark.parametrize("name", REFUSED.values(), ids=REFUSED)
def test_name_that_workbench_does_not_take_is_refused_before_anything_moves(wb: Any, tmp_path: Path, name: str) -> None:
    (tmp_path / "a").write_bytes(CONTENT)
    with pytest.raises(WorkbenchFatalError) as caught:
        run(filepath=tmp_path / "a", filename=name)
    assert caught.value.kind == "FilenameError"
    assert_harmless(caught.value)
    assert wb.requests == []


def test_name_on_disk_that_is_no_unicode_is_refused_before_anything_moves(wb: Any, tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/caf\xe9.csv"
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_WRONLY)
    except OSError:
        pytest.skip("this disk takes Unicode only")
    os.close(descriptor)
    with pytest.raises(WorkbenchFatalError) as caught:
        run(filepath=os.fsdecode(path))
    assert caught.value.kind == "FilenameError"
    assert_harmless(caught.value)
    assert wb.requests == []
    # with a name of its own it can be sent
    assert run(filepath=os.fsdecode(path), filename="café.csv")["filename"] == "café.csv"


@pytest.mark.parametrize("name", [*TAKEN.values(), *REFUSED.values()])
def test_path_that_leads_nowhere_is_shown_harmlessly(wb: Any, tmp_path: Path, name: str) -> None:
    for what in (
        f"{tmp_path}/none/{name}",
        f"file://{tmp_path}/none/{name}",
        f"memory://none/{name}",
        f"s3://u@b/{name}",
    ):
        with pytest.raises(WorkbenchError) as caught:
            WorkbenchHook().upload_file(what, allowed_roots="s3://other/x" if what.startswith("s3") else None)
        assert_harmless(caught.value)
    for roots in (f"/none/{name}", f"s3://bucket/{name}"):
        with pytest.raises(WorkbenchError) as caught:
            WorkbenchHook().upload_file(str(tmp_path / "none"), allowed_roots=roots)
        assert_harmless(caught.value)
    assert wb.requests == []


@pytest.mark.parametrize("name", [name for name in TAKEN.values() if "/" not in name and "\\" not in name])
def test_key_of_an_object_arrives_as_it_is(wb: Any, name: str) -> None:
    from fsspec.implementations.memory import MemoryFileSystem

    fs = MemoryFileSystem(skip_instance_cache=True)
    fs.pipe_file(f"/folder/{name}", CONTENT)
    WorkbenchHook().upload_file(ObjectSource(fs, f"/folder/{name}"))
    assert [file.name for file in wb.step.files] == [name.strip()]
    with pytest.raises(SourceError) as caught:
        ObjectSource(fs, f"/none/{name}")
    assert_harmless(caught.value)


def assert_harmless(error: BaseException) -> None:
    assert str(error).isprintable()
    assert repr(error).isprintable()
    assert len(str(error)) < 2500


# ---- Workbench's


# a server that is not ours may send anything that JSON can hold
ANY = {**TAKEN, **{key: name[:1000] for key, name in REFUSED.items() if name.strip()}}
HOSTILE = "\x1b[2J\x1b]0;title\x07\n2026-01-01 ERROR faked line\u202e<script>alert(1)</script>\ud800"


def plant(wb: Any, name: str, *, selected: bool = True, status: str = "ok", words: str = "") -> File:
    """A File as a Workbench might show it that checks nothing."""
    step = wb.step
    with wb.workbench.changed:
        file = File(f"uuid-{len(step._files)}", name, len(CONTENT), now())
        (wb.workbench.directory / "files" / file.uuid).write_bytes(CONTENT)
        step._files.insert(0, file)
        if selected:
            step.selected_uuid = file.uuid
            step.delta_id = wb.workbench.next_delta_id()
            columns = ({"name": name, "type": "text"},) if status == "ok" else ()
            output = Output(status, 1 if columns else 0, columns, (words,) if words else ())
            step.output, step.rendered_delta_id, step.output_uuid = output, step.delta_id, file.uuid
        update = {"updateWorkflow": step.workflow.touch(), "updateSteps": {str(step.id): step.as_json()}}
        wb.workbench.push(step.workflow, update)
    return file


def wait(**options: Any) -> Any:
    sensor = WorkbenchFileSensor(task_id="wait", since="any", poke_interval=0.1, timeout=20, **options)
    return sensor.execute(context())


def context() -> Any:
    return {"ti": SimpleNamespace(start_date=datetime.now(UTC), try_number=1, max_tries=0, xcom_push=lambda **_: None)}


def event_of(trigger: Any) -> Any:
    async def first() -> Any:
        async for event in trigger.run():
            return event.payload
        return None

    return asyncio.run(first())


def trigger(**wanted: Any) -> WorkbenchFileTrigger:
    deadline = datetime.now(UTC) + timedelta(seconds=20)
    wanted = {"until": "listed", "name": "*", "is_pattern": True, **wanted}
    return WorkbenchFileTrigger("workbench_default", wanted, deadline.isoformat(), poke_interval=0.1)


@pytest.mark.parametrize("name", ANY.values(), ids=ANY)
def test_name_that_workbench_shows_is_returned_as_it_is_and_shown_harmlessly(wb: Any, name: str, log: Lines) -> None:
    plant(wb, name)
    assert wait(filename="*", until="rendered")["name"] == name
    event = event_of(trigger(until="rendered"))
    assert (event["state"], event["file"]["name"]) == ("seen", name)
    assert event["message"].isprintable()
    assert json.loads(json.dumps(event)) == event
    assert log.lines


def test_later_file_with_a_hostile_name_is_told_of_harmlessly(wb: Any, log: Lines) -> None:
    output = run(filepath=__file__, filename="a.csv")
    plant(wb, HOSTILE)
    sensor = WorkbenchFileSensor(task_id="wait", upload=output, until="selected", on_superseded="fail")
    with pytest.raises(WorkbenchFatalError, match="superseded") as caught:
        sensor.execute(context())
    assert_harmless(caught.value)
    sensor = WorkbenchFileSensor(task_id="wait", upload=output, until="selected")
    sensor.execute(context())
    assert any("superseded" in line for line in log.lines)


def test_words_of_a_render_error_are_shown_harmlessly(wb: Any) -> None:
    plant(wb, "a.csv", status="error", words=HOSTILE * 100)
    with pytest.raises(WorkbenchFatalError, match="could not render") as caught:
        wait(filename="a.csv", until="rendered")
    assert_harmless(caught.value)
    event = event_of(trigger(until="rendered"))
    assert event["state"] == "render-error"
    assert event["message"].isprintable()
    assert len(event["message"]) < 2500


def test_new_file_with_a_hostile_name_has_its_event(wb: Any, log: Lines) -> None:
    async def first_event() -> Any:
        events = WorkbenchFileEventTrigger(filename="*").run()
        next_event = asyncio.ensure_future(anext(events))
        while not any("waiting" in line or "all Files" in line for line in log.lines):
            await asyncio.sleep(0.02)
        await asyncio.to_thread(plant, wb, HOSTILE)
        try:
            return (await asyncio.wait_for(next_event, 20)).payload
        finally:
            await events.aclose()

    try:
        payload = asyncio.run(first_event())
    except Exception as error:
        if "Airflow 3" in str(error):
            pytest.skip("Airflow 2 has no asset watchers")
        raise
    assert payload["name"] == HOSTILE


def test_step_with_hostile_names_is_shown_harmlessly(wb: Any) -> None:
    plant(wb, HOSTILE)
    step = WorkbenchHook().get_step()
    assert step.files[0].name == HOSTILE
    assert repr(step).isprintable()
    assert repr(replace(step, output_errors=(HOSTILE,))).isprintable()


# ---- the sandbox's page


def test_page_injects_nothing_and_shows_what_would_not_be_seen(
    workbench_sandbox: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    wb = workbench_sandbox
    names = [
        *(name[:120] for name in ANY.values()),
        "</script><script>alert(1)</script>",
        "<!--<script>",
        "{{init_state}}",
        "\\u003cb>",
    ]
    wb.workflow.name = HOSTILE
    for name in names[:15]:
        plant(wb, name)
    dialogs = "window.hurt = 0; window.alert = () => { window.hurt++ }"
    with chromium(tmp_path_factory.mktemp("chromium")) as tab:
        tab.open(wb.step.page_url)
        tab.wait_until("document.getElementById('live').textContent.includes('live')")
        tab.evaluate(dialogs)
        clean = _elements(tab)
        # by the websocket
        for name in names[15:]:
            plant(wb, name)
        plant(wb, HOSTILE, status="error", words=HOSTILE)
        shown = "[...document.querySelectorAll('td.name bdi')].map(each => each.textContent)"
        tab.wait_until(f"({shown}).length === {min(len(names) + 1, 30)} || {len(names)} > 29")
        assert _elements(tab) == clean, "no element came with a name"
        assert tab.evaluate("window.hurt") == 0
        assert (
            tab.evaluate("document.querySelectorAll('#steps script, #steps img, [onerror], [onmouseover]').length") == 0
        )
        # each name is in an element of its own, out of which it cannot turn the line around
        seen = tab.evaluate(shown)
        text = "\n".join([*seen, tab.text(), tab.evaluate("document.title")])
        assert {each for each in text if not each.isprintable()} <= {"\n", "\t"}
        assert all(each.isprintable() for each in seen)
        assert not any("\ud800" <= each <= "\udfff" for each in text)
        for odd in ("U+202E", "U+001B", "U+E0041", "U+00AD", "U+D800", "\\n"):
            assert any(odd in each for each in seen), odd


def _elements(tab: Any) -> list[str]:
    """The kinds of elements on the page."""
    kinds = "[...new Set([...document.querySelectorAll('*')].map(each => each.localName))].sort()"
    found = tab.evaluate(kinds)
    return [each for each in found if each not in ("p",)]
