"""The page in a real browser: it takes uploads by hand, and shows what happens without being reloaded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from chromium import Tab, chromium
from sandbox_http import upload

from airflow_provider_workbench.sandbox import Sandbox

NAMES = "[...document.querySelectorAll('td.name bdi')].map(each => each.textContent)"
SELECTED = "document.querySelector('tr.selected td.name bdi')?.textContent"
LIVE = "document.getElementById('live').textContent.includes('live')"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    with chromium(tmp_path_factory.mktemp("chromium")) as tab:
        yield tab


@pytest.fixture
def page(wb: Sandbox, browser: Tab) -> Iterator[Tab]:
    """The Step's page, connected; at the end it must still be the one that was opened."""
    browser.open("about:blank#")
    wb.clear_requests()
    browser.open(wb.step.page_url)
    browser.wait_until(LIVE)
    browser.evaluate("window.neverReloaded = true")
    yield browser
    assert browser.evaluate("window.neverReloaded === true")
    assert [each.path for each in wb.requests].count(f"/workflows/{wb.workflow.id}/") == 1


def test_a_file_appears_on_the_open_page(wb: Sandbox, page: Tab) -> None:
    assert page.evaluate(NAMES) == []
    upload(wb.step, b"A,B\n1,x\n", "from-airflow.csv")
    page.wait_until(f"{SELECTED} === 'from-airflow.csv'")
    page.wait_until("document.body.innerText.includes('1 rows, 2 columns')")
    upload(wb.step, b"A\n1\n", "later.csv")
    page.wait_until(f"{SELECTED} === 'later.csv'")
    assert page.evaluate(NAMES) == ["later.csv", "from-airflow.csv"]


def test_what_came_while_the_websocket_was_broken_appears_too(wb: Sandbox, page: Tab) -> None:
    upload(wb.step, b"A\n1\n", "before.csv")
    page.wait_until(f"{SELECTED} === 'before.csv'")
    page.evaluate("window.connect = watch; window.watch = () => {}; 1")  # no new socket, until we say so
    wb.drop_websockets()
    page.wait_until(f"!({LIVE})")
    upload(wb.step, b"A\n1\n", "in-between.csv")
    page.evaluate("new Promise(done => setTimeout(done, 700))")
    assert page.evaluate(NAMES) == ["before.csv"]
    page.evaluate("connect(); 1")
    page.wait_until(f"{SELECTED} === 'in-between.csv'")


def test_nothing_but_the_websocket_brings_a_file(wb: Sandbox, page: Tab) -> None:
    """So the page shows what a client of the websocket sees."""
    page.evaluate("window.WebSocket = function () { throw new Error('no websockets') }; 1")
    wb.drop_websockets()
    page.wait_until(f"!({LIVE})")
    upload(wb.step, b"A\n1\n", "unseen.csv")
    page.evaluate("refresh()")
    assert page.evaluate(NAMES) == []


def test_a_file_is_uploaded_by_hand(wb: Sandbox, page: Tab, tmp_path: Path) -> None:
    path = tmp_path / "by hand, ü.csv"
    path.write_bytes(b"A\n1\n2\n")
    page.wait_until("document.querySelector('input[type=file]') !== null")
    page.choose_file("input[type=file]", path)
    page.wait_until(f"{SELECTED} === 'by hand, ü.csv'")
    page.wait_until("document.body.innerText.includes('Uploaded.')")
    (file,) = wb.step.files
    assert wb.step.content(file.uuid) == b"A\n1\n2\n"


def test_a_refused_upload_is_told(wb: Sandbox, page: Tab, tmp_path: Path) -> None:
    path = tmp_path / "refused.csv"
    path.write_bytes(b"A\n1\n")
    page.wait_until("document.querySelector('input[type=file]') !== null")
    wb.hook, wb.hook_retry_seconds = "down", 0.01
    page.choose_file("input[type=file]", path)
    page.wait_until("document.body.innerText.includes('Not uploaded: the upload host answered 500')")
    assert wb.step.files == []
