"""50 small files over HTTPS, with round trips of 100 ms: requests, connections and time of each upload.

A new hook is one in a fork of this process, as Airflow runs tasks. What TCP, TLS 1.3 and two requests need is the
least; the frontend and the upload host are two hosts, so that a fresh process connects twice. ``FILES`` can make it
shorter. Run it with ``make bench-small_files``.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import requests
from delay_proxy import DelayProxy, slow_handshakes
from forks import Worker, in_fork
from report import Table
from rounds import Run, Subject, interleave, median, spread
from sink import TOKEN, Sink
from surroundings import airflow_home, connection, large_file
from tusclient.client import TusClient

if TYPE_CHECKING:
    from airflow_provider_workbench.hooks.workbench import WorkbenchHook

FILES = int(os.environ.get("FILES", "50"))
SIZE = 10 * 1024
ROUND_TRIP = 0.1


def tuspy(create_file_url: str, file: Path) -> None:
    """As Workbench's own cron job does it: create-file with requests, the bytes with tuspy."""
    asked = {"filename": file.name, "size": file.stat().st_size}
    answer = requests.post(create_file_url, json=asked, headers={"Authorization": f"Bearer {TOKEN}"})
    TusClient("").uploader(str(file), url=answer.json()["tusUploadUrl"]).upload()


def least_round_trips(connections: int) -> int:
    """Two requests, and before them TCP and TLS of each connection."""
    return 2 + 2 * connections


def subjects(sink: Sink, file: Path) -> dict[str, Subject]:
    from airflow_provider_workbench.client.session import Session
    from airflow_provider_workbench.client.settings import Settings
    from airflow_provider_workbench.client.upload import upload_file
    from airflow_provider_workbench.hooks.workbench import WorkbenchHook

    conn_id = connection(sink)
    hook = WorkbenchHook(conn_id)
    settings = Settings.from_fields(sink.create_file_url, TOKEN)
    session = Session(settings)
    # what is imported with the first upload is not what is measured here
    WorkbenchHook(conn_id).upload_file(file)
    return {
        "this provider, a new hook for each": lambda: in_fork(lambda: timed(WorkbenchHook(conn_id), file)),
        "this provider, one hook for all": Worker(lambda: timed(hook, file)),
        "this provider, one `Session` for all": lambda: upload_file(settings, file, session=session) and None,
        "tuspy": lambda: tuspy(sink.create_file_url, file),
    }


def timed(hook: WorkbenchHook, file: Path) -> float:
    began = time.perf_counter()
    hook.upload_file(file)
    return time.perf_counter() - began


def counted(sink: Sink, seen: list[tuple[int, int]], upload: Subject) -> Subject:
    """Note each upload's requests and connections."""

    def subject() -> float | None:
        seconds = upload()
        counts = sink.take_counts()
        seen.append((counts.requests.total(), counts.connections))
        return seconds

    return subject


def main() -> None:
    table = Table(
        f"{FILES} uploads of 10 KiB over HTTPS, with round trips of {1000 * ROUND_TRIP:.0f} ms",
        *("subject", "requests", "connections", "round trips needed", "ms per upload", "min–max", "× needed"),
    )
    with (
        airflow_home(),
        large_file(SIZE) as file,
        Sink(tls=True) as sink,
        DelayProxy((sink.frontend_port, sink.upload_port), ROUND_TRIP) as proxy,
    ):
        os.environ["REQUESTS_CA_BUNDLE"] = str(sink.authorities)
        sink.send_to(*proxy.ports)
        slow_handshakes(ROUND_TRIP)
        uploads = subjects(sink, file)
        seen: dict[str, list[tuple[int, int]]] = {name: [] for name in uploads}
        runs = interleave({name: counted(sink, seen[name], uploads[name]) for name in uploads}, FILES)
    for name in runs:
        # the first round does not count
        (each,) = set(seen[name][1:])
        _row(table, name, runs[name], *each)
    table.save(
        "small_files",
        "Requests and connections of one upload after the first. Needed are the round trips of TCP, TLS 1.3 and two "
        "requests over as many connections (two at most: one for each host). "
        "A new TLS context reads the usual authorities in some 40 ms; this provider does it while it connects.",
    )


def _row(table: Table, name: str, runs: list[Run], requests_: int, connections: int) -> None:
    trips = least_round_trips(min(connections, 2))
    seconds = [run.seconds for run in runs]
    times = [each / (trips * ROUND_TRIP) for each in seconds]
    table.row(
        name,
        requests_,
        connections,
        trips,
        median([1000 * each for each in seconds], ".0f"),
        spread([1000 * each for each in seconds], ".0f"),
        median(times),
    )


if __name__ == "__main__":
    main()
