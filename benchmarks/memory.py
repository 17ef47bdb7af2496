"""How much a process grows by uploading a file, for files of 1 MiB to 2 GiB, each in a fresh process.

Counted is the peak above what the process held before, with everything imported. Run it with ``make bench-memory``.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from report import Table
from rounds import median, spread
from sink import TOKEN, Sink
from surroundings import MIB, large_file

SIZES = {"1 MiB": MIB, "256 MiB": 256 * MIB, "1 GiB": 1024 * MIB, "2147483647 bytes": 2147483647}
ROUNDS = int(os.environ.get("ROUNDS", "2"))
OURS = "this provider"

# VmHWM and not ru_maxrss: that one is inherited, and would begin with the peak of the process that started this one
_CHILD = """
import json, re, sys, time

def kib(name):
    with open("/proc/self/status") as status:
        return int(re.search(name + r":\\s+(\\d+) kB", status.read())[1])

kind, url, token, path = sys.argv[1:]
if kind == "ours":
    from airflow_provider_workbench.client import transfer  # else imported with the upload
    from airflow_provider_workbench.client.settings import Settings
    from airflow_provider_workbench.client.upload import upload_file
    settings = Settings.from_fields(url, token, {})
    send = lambda: upload_file(settings, path)
else:
    from tusclient.client import TusClient
    uploader = TusClient("").uploader(path, **json.loads(kind))
    uploader.set_url(url)
    send = uploader.upload
before, began = kib("VmRSS"), time.perf_counter()
send()
print(json.dumps({"seconds": time.perf_counter() - began, "grown": (kib("VmHWM") - before) * 1024}))
"""


@dataclass
class Upload:
    """What an upload took.

    :ivar seconds: without the start of the process
    :ivar grown: bytes
    """

    seconds: float
    grown: int


def in_fresh_process(sink: Sink, file: Path, kind: str = "ours") -> Upload:
    """Upload with this provider's client, or with tuspy: then ``kind`` is the JSON of its uploader's options."""
    url = sink.create_file_url if kind == "ours" else sink.upload_url(file.stat().st_size)
    done = subprocess.run(
        [sys.executable, "-c", _CHILD, kind, url, TOKEN, str(file)],
        env={**os.environ, "REQUESTS_CA_BUNDLE": str(sink.authorities)},
        stdout=subprocess.PIPE,
        check=True,
    )
    return Upload(**json.loads(done.stdout))


def main() -> None:
    table = Table(
        f"Memory: growth of a fresh process by one upload, {ROUNDS} rounds",
        *("subject", "scheme", "file", "peak growth in MiB", "min–max", f"× {OURS} over HTTP, same file"),
    )
    chunks = json.dumps({"chunk_size": 8 * MIB})
    with Sink() as plain, Sink(tls=True) as encrypted, ExitStack() as stack:
        files = {words: stack.enter_context(large_file(size, sparse=True)) for words, size in SIZES.items()}
        subjects = (
            (OURS, "ours", plain),
            (OURS, "ours", encrypted),
            ("tuspy, chunks of 8 MiB", chunks, plain),
            ("tuspy", "{}", plain),
        )
        grown: dict[tuple[str, str, str], list[float]] = {}
        for _ in range(ROUNDS):
            for (name, kind, sink), words in product(subjects, files):
                if kind == "{}" and SIZES[words] > 1024 * MIB:
                    # by then it is plain, and takes its time
                    continue
                upload = in_fresh_process(sink, files[words], kind)
                grown.setdefault((name, sink.scheme, words), []).append(upload.grown / MIB)
    for (name, scheme, words), ones in grown.items():
        times = statistics.median(ones) / statistics.median(grown[OURS, "http", words])
        table.row(name, scheme, words, median(ones, ".1f"), spread(ones, ".1f"), f"{times:.1f}")
    table.save("memory", "Sparse files. Medians, and ratios of them.")


if __name__ == "__main__":
    main()
