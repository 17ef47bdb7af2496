"""How costs grow: time and memory with the file's size, requests with the number of waiters.

Run it with ``make bench-growth``.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from contextlib import ExitStack
from datetime import datetime

from memory import Upload, in_fresh_process
from report import Table
from rounds import spread
from sink import Sink
from surroundings import MIB, large_file

from airflow_provider_workbench.client.settings import Settings
from airflow_provider_workbench.client.upload import upload_file
from airflow_provider_workbench.client.watch import watch_step
from airflow_provider_workbench.sandbox import Sandbox, Step

SIZES = (MIB, 4 * MIB, 16 * MIB, 64 * MIB, 256 * MIB, 1024 * MIB, 2147483647)
WAITERS = (1, 10, 100, 1000)
ROUNDS = int(os.environ.get("ROUNDS", "9"))
# below, the first milliseconds are a large part of the time
STRAIGHT_FROM = 256 * MIB
# below, the file may not fill all buffers: of 512 KiB each, one is read ahead, one is sent and one is being read
FLAT_FROM = 16 * MIB


def measure_sizes() -> None:
    table = Table(
        f"Growth with the file's size, HTTP, {ROUNDS} rounds",
        *("MiB", "seconds", "min–max", "seconds per GiB beyond the smallest", "peak growth in MiB"),
    )
    uploads: dict[int, list[Upload]] = {size: [] for size in SIZES}
    with Sink() as sink, ExitStack() as stack:
        files = {size: stack.enter_context(large_file(size, sparse=True)) for size in SIZES}
        for number in range(ROUNDS + 1):
            for size, file in files.items():
                upload = in_fresh_process(sink, file)
                # the first finds nothing in the page cache
                if number:
                    uploads[size].append(upload)
    first = statistics.median(each.seconds for each in uploads[MIB])
    slopes, growths = {}, {}
    for size, ones in uploads.items():
        seconds = [one.seconds for one in ones]
        middle = statistics.median(seconds)
        growths[size] = statistics.median(one.grown for one in ones) / MIB
        if size > MIB:
            slopes[size] = (middle - first) / (size - MIB) * 2**30
        slope = f"{slopes[size]:.2f}" if size > MIB else "–"
        table.row(f"{size / MIB:,.0f}", f"{middle:.3f}", spread(seconds, ".3f"), slope, f"{growths[size]:.1f}")
    long = [slope for size, slope in slopes.items() if size >= STRAIGHT_FROM]
    full = [growth for size, growth in growths.items() if size >= FLAT_FROM]
    last = slopes[SIZES[-1]]
    straight = f"{'no steeper' if last < 1.25 * min(long) else 'steeper'} than a straight line"
    flat = "flat" if max(full) < 8 and max(full) - min(full) < 1 else "not flat"
    table.save(
        "growth",
        f"Time: {straight}. From {STRAIGHT_FROM // MIB} MiB on, where sending is most of it, each GiB beyond the "
        f"smallest file takes {spread(long)} s, of the largest file {last:.2f} s (no steeper: less than 1.25 times "
        "the least).",
        f"Memory: {flat}. From {FLAT_FROM // MIB} MiB on, where the file fills all buffers, as one of 1 MiB does not, "
        f"{spread(full, '.1f')} MiB (flat: below 8, and less than 1 apart).",
    )


def measure_waiters() -> None:
    table = Table(
        "Growth with the number of waiters on one Workflow",
        *("waiters", "websockets", "other requests of the waiters", "all were told in ms"),
    )
    requests = set()
    with Sandbox() as wb:
        for waiters in WAITERS:
            wb.reset()
            step = wb.add_workflow("Workflow", public=True).add_step()
            wb.clear_requests()
            seconds = asyncio.run(_wait(step, waiters))
            gets = [request for request in wb.requests if request.host == "frontend" and request.method == "GET"]
            sockets = sum(request.status == 101 for request in gets)
            requests.add(len(gets))
            table.row(f"{waiters:,}", sockets, len(gets) - sockets, f"{1000 * seconds:.0f}")
    flat = "flat" if len(requests) == 1 else "not flat"
    table.save(
        "growth-waiters",
        f"Requests: {flat}. Times are of one File each, from its `createdAt` to when the last waiter has seen it.",
    )


async def _wait(step: Step, waiters: int) -> float:
    """Seconds from the File's ``createdAt`` to the moment when the last one knows."""
    settings = Settings.from_fields(step.create_file_url, step.api_token or "")
    ready = asyncio.Semaphore(0)

    async def wait() -> None:
        async with watch_step(settings, poke_interval=60, log=print) as states:
            ready.release()
            async for state in states:
                if state.files:
                    return

    tasks = [asyncio.create_task(wait()) for _ in range(waiters)]
    for _ in range(waiters):
        await ready.acquire()
    await asyncio.sleep(1)
    await asyncio.to_thread(upload_file, settings, b"a\n1\n", filename="a.csv")
    async with asyncio.timeout(60):
        await asyncio.gather(*tasks)
    return time.time() - datetime.fromisoformat(step.files[0].created_at).timestamp()


if __name__ == "__main__":
    measure_sizes()
    measure_waiters()
