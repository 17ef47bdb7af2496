"""A connection that switches certificate checks off says so in the log of every task and trigger that uses it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from gates import CONTENT, Authority, Gate

from airflow_provider_workbench.client.waiting import Wanted
from airflow_provider_workbench.hooks.workbench import WorkbenchHook
from airflow_provider_workbench.sandbox import Sandbox
from airflow_provider_workbench.triggers.workbench import WorkbenchFileTrigger

WARNING = "verify_tls is off: nothing checks that this is your Workbench."

pytestmark = pytest.mark.filterwarnings("ignore:Unverified HTTPS request")


@pytest.fixture
def connection(
    workbench_sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str], None]]:
    """``connection(conn_id)`` makes one without checks, to hosts of an authority that nobody knows."""
    wb, context = workbench_sandbox, Authority.make(tmp_path).wrong_host.server_context()
    with Gate(context, wb.frontend_url) as frontend, Gate(context, wb.upload_url) as upload:
        wb.advertised_upload_url = upload.url

        def connect(conn_id: str) -> None:
            text = wb.step.connection_json(verify_tls="false").replace(wb.frontend_url, frontend.url)
            monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", text)

        yield connect


@pytest.fixture
def logged(capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> Callable[[], str]:
    """What was logged: Airflow 3 writes to stdout, Airflow 2 through ``logging``."""
    caplog.set_level(logging.INFO)

    def logged() -> str:
        out, err = capsys.readouterr()
        text = out + err or caplog.text
        caplog.clear()
        return text

    return logged


def test_upload_and_reading_warn_once_each(
    connection: Callable[[str], None], logged: Callable[[], str], workbench_sandbox: Sandbox
) -> None:
    connection("unchecked_1")
    hook = WorkbenchHook("unchecked_1")
    hook.upload_file(CONTENT, filename="a.csv")
    hook.get_step()
    assert logged().count(WARNING) == 1
    WorkbenchHook("unchecked_1").get_step()
    assert logged().count(WARNING) == 1
    asyncio.run(WorkbenchHook("unchecked_1").aget_step())
    assert logged().count(WARNING) == 1
    assert [file.name for file in workbench_sandbox.step.files] == ["a.csv"]


def test_connection_test_warns(connection: Callable[[str], None]) -> None:
    connection("unchecked_2")
    assert WARNING in WorkbenchHook("unchecked_2").test_connection()[1]


def test_each_trigger_warns_though_they_share_a_look_up(
    connection: Callable[[str], None], logged: Callable[[], str]
) -> None:
    connection("unchecked_3")
    WorkbenchHook("unchecked_3").upload_file(CONTENT, filename="a.csv")
    logged()
    wanted = Wanted(until="listed", name="a.csv").as_dict()

    async def fire() -> dict[str, Any]:
        trigger = WorkbenchFileTrigger("unchecked_3", wanted, "2100-01-01T00:00:00+00:00", 5)
        return (await anext(trigger.run())).payload

    async def both() -> list[dict[str, Any]]:
        return await asyncio.gather(fire(), fire())

    assert [event["state"] for event in asyncio.run(both())] == ["seen", "seen"]
    assert logged().count(WARNING) == 2
