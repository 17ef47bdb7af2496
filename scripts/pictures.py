"""Makes the pictures in ``docs/`` anew, from a real Airflow: its own form for a Workbench connection, filled in and not
saved; and a finished upload, its log, and its button.

Needs Chromium and its driver (on Debian: ``apt-get install chromium chromium-driver``), and selenium beside Airflow::

    .venv/bin/python -m uv pip install selenium
    .venv/bin/python scripts/pictures.py
"""

from __future__ import annotations

import base64
import shutil
import sys
import tempfile
from pathlib import Path
from urllib.parse import quote

from airflow_standalone import AirflowStandalone
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.wait import WebDriverWait

from airflow_provider_workbench.sandbox import Sandbox

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))
from slow_link import SlowLink  # noqa: E402

DOCS = ROOT / "docs"
CREATE_FILE_URL = "https://app.workbenchdata.com/api/v1/workflows/123/steps/step-abc/files"
LAST_FIELD = "element_ca_bundle"  # the form goes on below it with fields that few people need

DIALOG = "[role=dialog]"
ACCORDION = f"{DIALOG} [data-scope=accordion][data-part=root]"
LAST_ROW = f"[data-scope=field][data-part=root]:has([name={LAST_FIELD}])"

FRAMES = """
    body { position: absolute; margin: 0; padding: 8px; display: grid; gap: 16px; justify-items: center }
    img { border: 1px solid #ccc; border-radius: 8px }
"""


# slow enough for a few lines of progress
SIZE = 60_000_000
BYTES_PER_SECOND = 1_200_000
DAG = """
from pathlib import Path
from airflow.sdk import dag, task
from airflow_provider_workbench.operators.workbench import WorkbenchUploadOperator

@dag(schedule=None)
def sales_to_workbench():
    @task
    def write_sales() -> str:
        path = Path({folder!r}) / "sales.csv"
        path.write_bytes(b"city,product,sold\\n" + b"Bergen,apples,12\\n" * ({size} // 17))
        return str(path)

    WorkbenchUploadOperator(task_id="upload", filepath=write_sales(), wait_until="listed")

sales_to_workbench()
"""


def main() -> int:
    with tempfile.TemporaryDirectory() as name, Sandbox() as workbench:
        folder = Path(name)
        (folder / "dags").mkdir()
        (folder / "dags" / "sales_to_workbench.py").write_text(DAG.format(folder=name, size=SIZE))
        link = SlowLink(workbench.upload_url, BYTES_PER_SECOND)
        workbench.advertised_upload_url = link.url
        env = {"AIRFLOW_CONN_WORKBENCH_DEFAULT": workbench.step.connection_json()}
        with AirflowStandalone(home=folder / "airflow", dags_folder=folder / "dags", env=env) as airflow:
            run_id = airflow.trigger("sales_to_workbench")
            run = airflow.wait_for_run("sales_to_workbench", run_id)
            page = f"{airflow.url}/dags/sales_to_workbench/runs/{quote(run_id, safe='')}/tasks/upload"
            browser = chromium(folder / "profile")
            try:
                save("connection-form.png", photograph_form(browser, f"{airflow.url}/connections"))
                save("task-log.png", photograph_page(browser, page, "//*[contains(text(), 'Workbench accepted')]"))
                button = "//*[self::a or self::button][contains(., 'Open in Workbench')]"
                save("open-in-workbench.png", photograph_page(browser, f"{page}/details", button))
            finally:
                browser.quit()
        link.close()
    return 0 if run["state"] == "success" else 1


def save(name: str, picture: bytes) -> None:
    (DOCS / name).write_bytes(picture)
    print(f"docs/{name}: {len(picture)} bytes")


def chromium(profile: Path) -> webdriver.Chrome:
    options = webdriver.ChromeOptions()
    for flag in (
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--window-size=1230,2400",  # the whole form without scrolling
        f"--user-data-dir={profile}",
    ):
        options.add_argument(flag)
    # named, so that selenium does not look for one on the internet
    browser = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    browser.implicitly_wait(30)
    return browser


def photograph_form(browser: webdriver.Chrome, connections: str) -> bytes:
    """The form with its two fields filled in, and below it the first extras: Airflow opens one group at a time."""
    browser.get(connections)
    browser.find_element(By.XPATH, "//button[contains(., 'Add Connection')]").click()
    browser.find_element(By.NAME, "connection_id").send_keys("workbench_default")
    kind = browser.find_element(By.CSS_SELECTOR, f"{DIALOG} input[role=combobox]")
    kind.send_keys("Workbench")
    browser.find_element(By.CSS_SELECTOR, "[role=option]")
    kind.send_keys(Keys.ENTER)
    browser.find_element(By.NAME, "host").send_keys(CREATE_FILE_URL)
    browser.find_element(By.NAME, "password").send_keys("an-API-token-as-Workbench-shows-it")
    form = photograph(browser, DIALOG, DIALOG)
    browser.find_element(By.XPATH, "//button[normalize-space() = 'Extra Fields']").click()
    extras = photograph(browser, ACCORDION, LAST_ROW)
    return one_above_the_other(browser, form, extras)


def photograph_page(browser: webdriver.Chrome, page: str, what: str) -> bytes:
    """A page on which ``what``, an XPath, must be seen."""
    browser.set_window_size(1400, 760)
    browser.get(page)
    browser.find_element(By.XPATH, what)
    WebDriverWait(browser, 30).until(lambda _: not is_moving(browser))
    return base64.b64decode(browser.get_screenshot_as_base64())


def photograph(browser: webdriver.Chrome, first: str, last: str) -> str:
    """What is between the top of ``first`` and the bottom of ``last``, as wide as ``first``: PNG in base64."""
    last_element = browser.find_element(By.CSS_SELECTOR, last)
    browser.execute_script("document.activeElement.blur()")  # no text cursor
    WebDriverWait(browser, 30).until(lambda _: last_element.is_displayed() and not is_moving(browser))
    clip = browser.execute_script(
        """
        const [first, last] = Array.from(arguments, each => document.querySelector(each).getBoundingClientRect());
        return {x: first.x, y: first.y, width: first.width, height: last.bottom - first.y, scale: 1};
        """,
        first,
        last,
    )
    shot = browser.execute_cdp_cmd("Page.captureScreenshot", {"format": "png", "clip": clip})
    return str(shot["data"])


def is_moving(browser: webdriver.Chrome) -> bool:
    """True while something opens or closes. A progress bar, which moves for ever, does not count."""
    return bool(
        browser.execute_script(
            "return document.getAnimations().some("
            "each => each.playState === 'running' && Number.isFinite(each.effect.getComputedTiming().endTime))"
        )
    )


def one_above_the_other(browser: webdriver.Chrome, *pngs: str) -> bytes:
    images = "".join(f'<img src="data:image/png;base64,{png}">' for png in pngs)
    browser.get("about:blank")
    browser.execute_script("document.body.innerHTML = arguments[0]", f"<style>{FRAMES}</style>{images}")
    WebDriverWait(browser, 30).until(
        lambda _: browser.execute_script("return [...document.images].every(each => each.complete)")
    )
    return base64.b64decode(photograph(browser, "body", "body"))


if __name__ == "__main__":
    sys.exit(main())
