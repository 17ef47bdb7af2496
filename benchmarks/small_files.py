"""50 small files over HTTPS, with round trips of 100 ms: requests, connections and time of each upload.

A new hook is one in a fork, as Airflow runs tasks: of this process, which has imported all that an upload needs, and of
one that has not (``cold_uploads.py``; fewer of these). What TCP, TLS 1.3 and two requests need is the least; the
frontend and the upload host are two hosts, so that a fresh process connects twice. ``FILES`` can make it shorter. Run
it with ``make bench-small_files``.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cold_uploads import hook, timed, tuspy
from delay_proxy import DelayProxy, slow_handshakes
from forks import Worker, in_fork
from report import Table
from rounds import Run, Subject, interleave, median, spread
from sink import TOKEN, Sink
from surroundings import airflow_home, connection, large_file

FILES = int(os.environ.get("FILES", "50"))
FEW = min(FILES, 5)
SIZE = 10 * 1024
ROUND_TRIP = 0.1


def least_round_trips(connections: int) -> int:
    """Two requests, and before them TCP and TLS of each connection."""
    return 2 + 2 * connections


def subjects(sink: Sink, file: Path) -> dict[str, Subject]:
    from airflow_provider_workbench.client.session import Session
    from airflow_provider_workbench.client.settings import Settings
    from airflow_provider_workbench.client.upload import upload_file
    from airflow_provider_workbench.hooks.workbench import WorkbenchHook

    conn_id = connection(sink)
    one = WorkbenchHook(conn_id)
    settings = Settings.from_fields(sink.create_file_url, TOKEN)
    session = Session(settings)
    # what is imported with the first upload is not what is measured here
    hook(conn_id, file)
    return {
        "this provider, a new hook for each": lambda: in_fork(lambda: timed(lambda: hook(conn_id, file))),
        "this provider, one hook for all": Worker(lambda: timed(lambda: one.upload_file(file))),
        "this provider, one `Session` for all": lambda: timed(lambda: upload_file(settings, file, session=session)),
    }


@contextmanager
def cold_subjects(sink: Sink, file: Path) -> Iterator[dict[str, Subject]]:
    script = Path(__file__).with_name("cold_uploads.py")
    arguments = (connection(sink), sink.create_file_url, str(file), str(ROUND_TRIP))
    process = subprocess.Popen(
        [sys.executable, str(script), *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    # it ends when its input does
    with process:
        assert process.stdin
        assert process.stdout
        asking, answers = process.stdin, process.stdout

        def upload(kind: str) -> float:
            print(kind, file=asking, flush=True)
            return float(answers.readline())

        yield {
            "this provider, a new hook for each, imports and all": lambda: upload("hook"),
            "tuspy, imports and all": lambda: upload("tuspy"),
        }


def counted(sink: Sink, seen: list[tuple[str, int]], upload: Subject) -> Subject:
    """Note each upload's requests and connections."""

    def subject() -> float | None:
        seconds = upload()
        counts = sink.take_counts()
        requests = f"{counts.requests.total()} ({', '.join(counts.requests.elements())})"
        seen.append((requests, counts.connections))
        return seconds

    return subject


def main() -> None:
    table = Table(
        f"{FILES} uploads of 10 KiB over HTTPS, with round trips of {1000 * ROUND_TRIP:.0f} ms",
        *("subject", "uploads", "requests", "connections", "round trips needed"),
        *("ms per upload", "min–max", "× needed"),
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
        seen: dict[str, list[tuple[str, int]]] = defaultdict(list)

        def measured(uploads: dict[str, Subject], rounds: int) -> dict[str, list[Run]]:
            return interleave({name: counted(sink, seen[name], uploads[name]) for name in uploads}, rounds)

        runs = measured(subjects(sink, file), FILES)
        with cold_subjects(sink, file) as uploads:
            runs |= measured({"tuspy": lambda: tuspy(sink.create_file_url, file), **uploads}, FEW)
    for name in runs:
        # the first round does not count
        (each,) = set(seen[name][1:])
        _row(table, name, runs[name], *each)
    table.save(
        "small_files",
        "Requests and connections of one upload after the first. Needed are the round trips of TCP, TLS 1.3 and two "
        "requests over as many connections (two at most: one for each host). "
        "A new TLS context reads the usual authorities in some 40 ms; this provider does it while it connects.",
        "Imports and all: in a fork of a process that has Airflow and the operator's module, and neither requests nor "
        "tuspy, as a task's first upload in Airflow 3. The others have imported all that they need before.",
    )


def _row(table: Table, name: str, runs: list[Run], requests: str, connections: int) -> None:
    trips = least_round_trips(min(connections, 2))
    seconds = [run.seconds for run in runs]
    times = [each / (trips * ROUND_TRIP) for each in seconds]
    table.row(
        name,
        len(runs),
        requests,
        connections,
        trips,
        median([1000 * each for each in seconds], ".0f"),
        spread([1000 * each for each in seconds], ".0f"),
        median(times),
    )


if __name__ == "__main__":
    main()
