"""1 GiB whose connection is cut again and again: bytes sent and time, beside those of the same client without cuts.

The cuts are off the boundaries of chunks, or chunked clients would look better than they are. ``SIZE_MIB`` and
``ROUNDS`` can change it. Run it with ``make bench-resume``.
"""

from __future__ import annotations

import os
import time
from functools import partial
from pathlib import Path

import peers
from report import Table
from rounds import Subject, interleave, median, ratios, spread
from sink import TOKEN, Sink
from surroundings import MIB, large_file

SIZE = int(os.environ.get("SIZE_MIB", "1024")) * MIB
ROUNDS = int(os.environ.get("ROUNDS", "5"))
CUT_EVERY = 64 * MIB + 1234567
# what the kernel holds for a sink that dies was sent in vain: without a bound it is megabytes, on loopback only
RECEIVE_BUFFER = 256 * 1024
SUBJECTS = ("this provider", "tuspy, chunks of 8 MiB, retries without a pause", "tus-js-client")


def subjects(sink: Sink, file: Path, wire: dict[str, list[int]], label: str) -> dict[str, Subject]:
    from airflow_provider_workbench.client.settings import Settings
    from airflow_provider_workbench.client.upload import upload_file

    settings = Settings.from_fields(sink.create_file_url, TOKEN)
    sends = (
        lambda: upload_file(settings, file) and None,
        partial(peers.tuspy, sink, file, 8 * MIB, 5),
        partial(peers.tus_js, sink, file),
    )

    def counted(name: str, send: Subject) -> Subject:
        def subject() -> float | None:
            sink.take_counts()
            began = time.perf_counter()
            seconds = send() or time.perf_counter() - began
            # until the sink has seen the end of the last connection
            time.sleep(0.2)
            wire.setdefault(name, []).append(sink.take_counts().wire)
            return seconds

        return subject

    named = {f"{name}{label}": send for name, send in zip(SUBJECTS, sends, strict=True)}
    if not peers.has_tus_js():
        named.popitem()
    return {name: counted(name, send) for name, send in named.items()}


def main() -> None:
    table = Table(
        f"Resuming: {SIZE // MIB:,} MiB over HTTP, cut every {CUT_EVERY:,} bytes, {ROUNDS} rounds",
        *("subject", "cuts", "bytes on the wire / size", "min–max", "seconds", "× uncut", "min–max"),
    )
    wire: dict[str, list[int]] = {}
    with (
        large_file(SIZE) as file,
        Sink(receive_buffer=RECEIVE_BUFFER) as whole,
        Sink(cut_every=CUT_EVERY, receive_buffer=RECEIVE_BUFFER) as cutting,
    ):
        both = subjects(whole, file, wire, "") | subjects(cutting, file, wire, ", cut")
        runs = interleave(dict(sorted(both.items())), ROUNDS)
    for name in runs:
        uncut = runs[name.removesuffix(", cut")]
        # the first round does not count
        shares = [each / SIZE for each in wire[name][1:]]
        times = ratios(runs[name], uncut)
        cuts = (SIZE - 1) // CUT_EVERY if name.endswith(", cut") else 0
        seconds = [run.seconds for run in runs[name]]
        table.row(
            name, cuts, median(shares, ".4f"), spread(shares, ".4f"), median(seconds), median(times), spread(times)
        )
    table.save(
        "resume",
        "On the wire: heads of requests, and what arrived but was lost with the connection, count too. "
        "What is lost at a cut is what the kernel still holds for the sink: its receive buffer is set to "
        f"{RECEIVE_BUFFER // 1024} KiB, since over loopback it grows to megabytes, which a cut would cost any client.",
        peers.versions(),
    )


if __name__ == "__main__":
    main()
