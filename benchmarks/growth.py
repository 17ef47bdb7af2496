"""How costs grow: time and memory with the file's size, requests with the number of waiters.

Run it with ``make bench-growth``.
"""

from __future__ import annotations

import asyncio
import os
import statistics
from contextlib import ExitStack

from memory import Upload, in_fresh_process
from report import Table
from rounds import spread
from sink import Sink
from surroundings import MIB, large_file

from airflow_provider_workbench.client.settings import Settings
from airflow_provider_workbench.client.upload import upload_file
from airflow_provider_workbench.client.watch import watch_step
from airflow_provider_workbench.sandbox import Sandbox

SIZES = (MIB, 4 * MIB, 16 * MIB, 64 * MIB, 256 * MIB, 1024 * MIB, 2147483647)
WAITERS = (1, 10, 100, 1000)
ROUNDS = int(os.environ.get("ROUNDS", "2"))


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
    slopes, growths = [], []
    for size, ones in uploads.items():
        seconds = [one.seconds for one in ones]
        middle = statistics.median(seconds)
        slope = (middle - first) / (size - MIB) * 2**30 if size > MIB else None
        # below, the first milliseconds are most of the time
        if size >= 64 * MIB and slope is not None:
            slopes.append(slope)
        growths.append(statistics.median(one.grown for one in ones) / MIB)
        shown = "–" if slope is None else f"{slope:.2f}"
        table.row(f"{size / MIB:,.0f}", f"{middle:.3f}", spread(seconds, ".3f"), shown, f"{growths[-1]:.1f}")
    straight = "a straight line" if max(slopes) < 1.5 * min(slopes) else "no straight line"
    # a file of 1 MiB does not fill the buffers
    flat = "flat" if max(growths) < 8 and max(growths) - min(growths) < 2 else "not flat"
    table.save(
        "growth",
        f"Time: {straight}, from 64 MiB on {spread(slopes)} s per GiB beyond the smallest.",
        f"Memory: {flat}, {spread(growths, '.1f')} MiB from the smallest to the largest (flat: below 8, and 2 apart).",
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
            settings = Settings.from_fields(step.create_file_url, step.api_token or "")
            wb.clear_requests()
            seconds = asyncio.run(_wait(settings, waiters))
            gets = [request for request in wb.requests if request.host == "frontend" and request.method == "GET"]
            sockets = sum(request.status == 101 for request in gets)
            requests.add(len(gets))
            table.row(f"{waiters:,}", sockets, len(gets) - sockets, f"{1000 * seconds:.0f}")
    flat = "flat" if len(requests) == 1 else "not flat"
    table.save(
        "growth-waiters",
        f"Requests: {flat}. Times are from the end of the upload to the moment when the last waiter has seen the File.",
    )


async def _wait(settings: Settings, waiters: int) -> float:
    """Seconds from the upload to the moment when the last one knows."""
    ready = asyncio.Semaphore(0)

    async def wait() -> None:
        async with watch_step(settings, poke_interval=60, log=print) as states:
            ready.release()
            async for step in states:
                if step.files:
                    return

    tasks = [asyncio.create_task(wait()) for _ in range(waiters)]
    for _ in range(waiters):
        await ready.acquire()
    await asyncio.sleep(1)
    await asyncio.to_thread(upload_file, settings, b"a\n1\n", filename="a.csv")
    began = asyncio.get_running_loop().time()
    async with asyncio.timeout(60):
        await asyncio.gather(*tasks)
    return asyncio.get_running_loop().time() - began


if __name__ == "__main__":
    measure_sizes()
    measure_waiters()
