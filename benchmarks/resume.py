"""1 GiB whose connection is cut again and again: bytes sent and time, beside those of the same client without cuts.

The cuts are off the boundaries of chunks, or chunked clients would look better than they are. ``SIZE_MIB`` and
``ROUNDS`` can change it. Run it with ``make bench-resume``.
"""

from __future__ import annotations

import os
import time
from collections import defaultdict
from functools import partial
from pathlib import Path

import peers
from report import Table
from rounds import Subject, interleave, median, ratios, spread
from sink import TOKEN, Counts, Sink
from surroundings import MIB, large_file

SIZE = int(os.environ.get("SIZE_MIB", "1024")) * MIB
ROUNDS = int(os.environ.get("ROUNDS", "9"))
CUT_EVERY = 64 * MIB + 1234567
# what the kernel holds for a sink that dies was sent in vain: without a bound it is megabytes, on loopback only
RECEIVE_BUFFER = 256 * 1024
SUBJECTS = ("this provider", "tuspy, chunks of 8 MiB, retries without a pause", "tus-js-client")


def subjects(whole: Sink, cutting: Sink, file: Path, seen: dict[str, list[Counts]]) -> dict[str, Subject]:
    """Each with and without cuts.

    :param seen: what the sink saw, added to by each upload
    """
    both = _subjects(whole, file, seen, "") | _subjects(cutting, file, seen, ", cut")
    # each after the one that it is compared with: the machine's speed changes from second to second
    return dict(sorted(both.items()))


def _subjects(sink: Sink, file: Path, seen: dict[str, list[Counts]], label: str) -> dict[str, Subject]:
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
            counts = sink.take_counts()
            if counts.wire < file.stat().st_size:
                raise RuntimeError("This kernel does not say how many bytes a connection received.")
            seen[name].append(counts)
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
    seen: dict[str, list[Counts]] = defaultdict(list)
    with (
        large_file(CUT_EVERY + 32 * MIB) as small,
        large_file(SIZE) as file,
        Sink(receive_buffer=RECEIVE_BUFFER) as whole,
        Sink(cut_every=CUT_EVERY, receive_buffer=RECEIVE_BUFFER) as cutting,
    ):
        warm_up = subjects(whole, cutting, small, defaultdict(list))
        runs = interleave(subjects(whole, cutting, file, seen), ROUNDS, warm_up)
    for name in sorted(runs):
        uncut = runs[name.removesuffix(", cut")]
        shares = [each.wire / SIZE for each in seen[name]]
        times = ratios(runs[name], uncut)
        cuts = "–".join(map(str, sorted({each.cuts for each in seen[name]})))
        seconds = [run.seconds for run in runs[name]]
        table.row(
            name, cuts, median(shares, ".4f"), spread(shares, ".4f"), median(seconds), median(times), spread(times)
        )
    table.save(
        "resume",
        "On the wire: heads of requests, and what arrived but was lost with the connection, count too. "
        f"The sink's receive buffer is small, {RECEIVE_BUFFER // 1024} KiB: what the kernel holds in it is lost at a "
        "cut. Left to itself it grows to megabytes over loopback, which each cut would cost any client.",
        peers.versions(),
    )


if __name__ == "__main__":
    main()
