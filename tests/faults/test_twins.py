"""Two uploads of one name and size to one Step at the same time: is each claim true, and whose File is whose?"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fault_script import Fault
from rig import IMPATIENT, Rig

from airflow_provider_workbench.client.listener import Listener
from airflow_provider_workbench.client.upload import UploadResult, upload_file

NAME = "twin.csv"
OURS, OTHERS = b"a\n1\n", b"a\n2\n"
BIG = 3_000_000


def upload(rig: Rig, content: bytes, listener: Listener | None = None, **options: Any) -> UploadResult:
    settings = rig.settings(rig.wb.step)
    options = {"filename": NAME, "patience": IMPATIENT, "read_step_after": True, **options}
    return upload_file(settings, content, listener=listener or Listener(), **options)


def once_told(words: str, act: Callable[[], object], lines: list[str]) -> Listener:
    """Do something at the first line of the log that says so."""
    left = [act]

    def log(line: str) -> None:
        lines.append(line)
        if words in line and left:
            left.pop()()

    return Listener(log=log)


def contents(rig: Rig) -> list[bytes]:
    """Of the Step's Files, sorted."""
    return sorted(rig.wb.step.content(file.uuid) for file in rig.wb.step.files)


def mend_and_deliver_a_twin(rig: Rig) -> None:
    rig.wb.hook = "ok"
    upload(rig, OTHERS)


@pytest.mark.parametrize("words", ["Looking whether Workbench took the File", "Uploading the file again"])
def test_twin_of_an_upload_that_was_not_taken_does_not_pass_for_it(rig: Rig, words: str) -> None:
    rig.wb.hook = "down"
    lines: list[str] = []
    result = upload(rig, OURS, once_told(words, lambda: mend_and_deliver_a_twin(rig), lines))
    assert contents(rig) == [OURS, OTHERS], "\n".join(lines)
    assert (result.attempts, result.uuid) == (2, None)


@pytest.mark.parametrize("known", [None, frozenset()], ids=["not-looked-before", "looked-before"])
@pytest.mark.parametrize("hook", ["ok", "down"])
def test_lost_answer_while_a_twin_finishes(rig: Rig, hook: str, known: frozenset[str] | None) -> None:
    rig.wb.hook = hook
    rig.proxy.script = [Fault("lose", method="PATCH")]
    lines: list[str] = []
    listener = once_told("Looking whether Workbench took the File", lambda: mend_and_deliver_a_twin(rig), lines)
    result = upload(rig, OURS, listener, known=known)
    assert contents(rig) == [OURS, OTHERS], "\n".join(lines)
    assert (result.attempts, result.uuid) == (1 if hook == "ok" else 2, None)


def test_twin_that_is_listed_while_the_hook_is_at_work_on_ours_proves_nothing(rig: Rig, tmp_path: Path) -> None:
    step, twin = rig.wb.step, tmp_path / "twin"
    twin.write_bytes(OTHERS)

    def list_the_twin() -> None:
        # at once: the slow hook is ours
        metadata = {"workflowId": str(step.workflow_id), "stepSlug": step.slug, "apiToken": step.api_token or ""}
        rig.wb.workbench.accept({**metadata, "filename": NAME}, len(OTHERS), twin)

    rig.wb.hook_delay = 1
    rig.proxy.script = [Fault("cut", method="PATCH")]
    lines: list[str] = []
    result = upload(rig, OURS, once_told("Looking whether", list_the_twin, lines), known=frozenset())
    assert contents(rig) == [OURS, OTHERS], "\n".join(lines)
    assert (result.attempts, result.uuid) == (1, None)


def test_of_two_that_finish_out_of_order_each_is_taken_and_no_uuid_is_anothers(rig: Rig) -> None:
    first_content, second_content = b"1" * BIG, b"2" * BIG
    at_half, go_on = threading.Event(), threading.Event()
    results: dict[str, UploadResult] = {}

    def wait_at_half(sent: int, size: int) -> None:
        if sent > size // 2 and not at_half.is_set():
            at_half.set()
            assert go_on.wait(20)

    def run() -> None:
        results["first"] = upload(rig, first_content, Listener(progress=wait_at_half))

    thread = threading.Thread(target=run)
    thread.start()
    assert at_half.wait(20)
    results["second"] = upload(rig, second_content)
    (second,) = rig.wb.step.files
    go_on.set()
    thread.join(20)
    first = rig.wb.step.selected
    assert first
    assert rig.wb.step.content(first.uuid) == first_content
    assert rig.wb.step.content(second.uuid) == second_content
    assert results["second"].uuid == second.uuid
    # both are as new as it can be
    assert results["first"].uuid is None
    assert [result.attempts for result in results.values()] == [1, 1]
