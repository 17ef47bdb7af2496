"""Uploads by processes that have yet to import what they need for it, as a task's first upload has in Airflow 3.

A task runs in a fork of a process that has Airflow, and the operator's module when the DAG is parsed. Run by
``small_files.py``: ``python cold_uploads.py CONN_ID CREATE_FILE_URL FILE ROUND_TRIP`` makes an upload in a fork for
each line, ``hook`` or ``tuspy``, and prints its seconds, those of the imports among them.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from delay_proxy import slow_handshakes
from forks import in_fork
from sink import TOKEN


def hook(conn_id: str, file: Path) -> None:
    """With a new hook."""
    from airflow_provider_workbench.hooks.workbench import WorkbenchHook

    WorkbenchHook(conn_id).upload_file(file)


def tuspy(create_file_url: str, file: Path) -> None:
    """As Workbench's own cron job does it: create-file with requests, the bytes with tuspy."""
    import requests
    from tusclient.client import TusClient

    asked = {"filename": file.name, "size": file.stat().st_size}
    answer = requests.post(create_file_url, json=asked, headers={"Authorization": f"Bearer {TOKEN}"})
    TusClient("").uploader(str(file), url=answer.json()["tusUploadUrl"]).upload()


def timed(upload: Callable[[], object]) -> float:
    """Seconds."""
    began = time.perf_counter()
    upload()
    return time.perf_counter() - began


def main(conn_id: str, create_file_url: str, path: str, round_trip: str) -> None:
    import airflow.sdk  # noqa: F401

    import airflow_provider_workbench.operators.workbench  # noqa: F401

    if found := {"requests", "urllib3", "aiohttp", "tusclient"} & sys.modules.keys():
        raise RuntimeError(f"Imported already: {found}")
    slow_handshakes(float(round_trip))
    file = Path(path)
    uploads = {"hook": partial(hook, conn_id, file), "tuspy": partial(tuspy, create_file_url, file)}
    for line in sys.stdin:
        print(in_fork(partial(timed, uploads[line.strip()])), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
