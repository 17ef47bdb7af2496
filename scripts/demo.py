"""``make demo``: an example DAG delivers a file to a sandbox Workbench, in a real Airflow, and we look at the Step."""

from __future__ import annotations

import argparse
import json
import re
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote
from urllib.request import urlopen

from airflow_standalone import AirflowStandalone
from processes import until

from airflow_provider_workbench.client.settings import Settings
from airflow_provider_workbench.client.upload import upload_file
from airflow_provider_workbench.sandbox import Sandbox, Step

EXAMPLE_DAGS = Path(__file__).resolve().parent.parent / "example_dags"
ON_NEW_FILE = "example_workbench_on_new_file"
PRICES = b"product,price\napples,1.2\npears,1.9\n"


def main() -> int:
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("dag_id", nargs="?", default="example_workbench_upload")
    parser.add_argument("--keep", action="store_true", help="leave the sandbox and Airflow running until Ctrl-C")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))

    home = Path(tempfile.mkdtemp(prefix="airflow-workbench-demo-"))
    try:
        succeeded = run(options.dag_id, home, keep=options.keep)
    except KeyboardInterrupt:
        print("\nStopped.")
        shutil.rmtree(home, ignore_errors=True)
        # with --keep this is how it is meant to end
        return 0 if options.keep else 130
    except (OSError, RuntimeError) as error:
        print(f"\nThe demo could not run: {error}\n\nAirflow's output is in {home}", file=sys.stderr)
        return 1
    if not succeeded:
        print(f"\nThe DAG run failed. Airflow's output is in {home}", file=sys.stderr)
        return 1
    shutil.rmtree(home, ignore_errors=True)
    say("The sandbox and Airflow have stopped, and that page with them: make demo KEEP=1 leaves both running.")
    return 0


def run(dag_id: str, home: Path, *, keep: bool) -> bool:
    begin = time.monotonic()
    with Sandbox() as workbench:
        step = workbench.step
        say(f"A sandbox Workbench is running: {step.page_url}")
        say("Starting Airflow: API server, scheduler, DAG processor, triggerer (half a minute) …")
        with AirflowStandalone(
            home=home,
            dags_folder=EXAMPLE_DAGS,
            env={
                "AIRFLOW_CONN_WORKBENCH_DEFAULT": step.connection_json(),
                "WORKBENCH_CREATE_FILE_URL": step.create_file_url,
            },
            wait_for=("scheduler",),  # the others come up while the first task runs
        ) as airflow:
            say(f"Running the DAG {dag_id} …")
            run_id = started_by_a_file(airflow, dag_id, step) if dag_id == ON_NEW_FILE else airflow.trigger(dag_id)
            succeeded = str(airflow.wait_for_run(dag_id, run_id)["state"]) == "success"
            show_tasks(airflow, dag_id, run_id)
            if succeeded:
                show_step(step.page_url, step.slug)
                say(f"\nDone in {time.monotonic() - begin:.0f} seconds.")
            if keep:
                say(
                    f"\nStill running until you press Ctrl-C:\n"
                    f"  Airflow    {airflow.url}/dags/{quote(dag_id)}/runs/{quote(run_id, safe='')}\n"
                    f"  Workbench  {step.page_url}\n"
                    f"  logs       {airflow.log_file}"
                )
                signal.pause()
    return succeeded


def started_by_a_file(airflow: AirflowStandalone, dag_id: str, step: Step) -> str:
    """Upload a File without Airflow, as a person would. Returns the id of the run that it starts."""
    airflow.unpause(dag_id)
    # only a DAG that is not paused has its watchers, from when it is read the next time: now, not in 30 s
    token = airflow.get(f"/api/v2/dags/{quote(dag_id)}")["file_token"]
    airflow.request("PUT", f"/api/v2/parseDagFile/{token}")
    for _ in until(120):
        if "waiting for new Files" in airflow.log_file.read_text():
            break
    else:
        raise RuntimeError(f"Nothing watches the Step.\n{airflow.log_tail()}")
    say("  The Step is watched. Somebody uploads prices.csv …")
    upload_file(Settings.from_fields(step.create_file_url, step.api_token or ""), PRICES, filename="prices.csv")
    for _ in until(120):
        if runs := airflow.get(f"/api/v2/dags/{quote(dag_id)}/dagRuns")["dag_runs"]:
            return str(runs[0]["dag_run_id"])
    raise RuntimeError(f"The File started no run of {dag_id}.\n{airflow.log_tail()}")


def show_tasks(airflow: AirflowStandalone, dag_id: str, run_id: str) -> None:
    instances = airflow.task_instances(dag_id, run_id)
    for instance in sorted(instances, key=lambda each: each["start_date"] or "9"):
        where = f"[{instance['map_index']}]" if instance["map_index"] >= 0 else ""
        say(f"  {instance['task_id'] + where:24} {instance['state']}")
    for instance in instances:
        if instance["state"] == "failed":
            say(f"\nThe log of {instance['task_id']}:")
            say(airflow.task_log(dag_id, run_id, instance["task_id"], instance["try_number"], instance["map_index"]))


def show_step(page_url: str, slug: str) -> None:
    """Tell what anybody sees who opens the page: nothing here comes from Airflow or from the sandbox's memory."""
    page = fetch(page_url)
    found = re.search(r"window\.initState = (\{.*\})", page)
    if found is None:
        raise RuntimeError(f"{page_url} holds no initState")
    [step] = [each for each in json.loads(found[1])["steps"].values() if each["slug"] == slug]
    say(f"\nWhat the Step shows at {page_url}")
    for file in step["files"]:
        mark = "  (selected)" if file["uuid"] == step["params"]["file"] else ""
        say(f"  {file['name']}  {file['size']} bytes  {file['uuid']}{mark}")
    columns = [column["name"] for column in step["output_columns"]]
    say(f"  rendered: {step['output_n_rows']} rows, {len(columns)} columns")
    rows = json.loads(fetch(f"{page_url}steps/{slug}/current-result-table.json"))
    show_table(columns, rows[:5])
    if len(rows) > 5:
        say("    …")


def show_table(columns: list[str], rows: list[dict[str, Any]]) -> None:
    cells = [columns, *([str(row[column]) for column in columns] for row in rows)]
    widths = [max(len(line[number]) for line in cells) for number in range(len(columns))]
    for line in cells:
        say("    " + "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)))


def fetch(url: str) -> str:
    with urlopen(url, timeout=30) as response:
        return str(response.read().decode())


def say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
