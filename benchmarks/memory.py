"""How much a process grows by uploading a file, for files of 1 MiB to 2 GiB, each in a fresh process.

Counted is the peak above what the process held before, with everything imported; in one row, before it imported
anything. Run it with ``make bench-memory``.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass
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
before = kib("VmRSS")
if kind in ("ours", "imports"):
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
if kind != "imports":
    before = kib("VmRSS")
began = time.perf_counter()
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
    """Upload in a new process.

    :param kind: ``ours``; ``imports``, which counts what that imports too; for tuspy, its uploader's options in JSON
    """
    url = sink.upload_url(file.stat().st_size) if kind.startswith("{") else sink.create_file_url
    done = subprocess.run(
        [sys.executable, "-c", _CHILD, kind, url, TOKEN, str(file)],
        env={**os.environ, "REQUESTS_CA_BUNDLE": str(sink.authorities)},
        stdout=subprocess.PIPE,
        check=True,
    )
    return Upload(**json.loads(done.stdout))


def main() -> None:
    table = Table(
        f"Memory: growth of a fresh process, with everything imported, by one upload, {ROUNDS} rounds",
        *("subject", "scheme", "file", "peak growth in MiB", "min–max", f"× {OURS} over HTTP, same file"),
    )
    chunks = json.dumps({"chunk_size": 8 * MIB})
    with Sink() as plain, Sink(tls=True) as encrypted, ExitStack() as stack:
        files = {words: stack.enter_context(large_file(size, sparse=True)) for words, size in SIZES.items()}
        subjects = (
            (OURS, "ours", plain, [*files]),
            (OURS, "ours", encrypted, [*files]),
            (f"{OURS}, imports and all", "imports", plain, ["256 MiB"]),
            ("tuspy, chunks of 8 MiB", chunks, plain, [*files]),
            # by 1 GiB it is plain
            ("tuspy", "{}", plain, [*files][:-1]),
        )
        grown: dict[tuple[str, str, str], list[float]] = {}
        for _ in range(ROUNDS):
            for name, kind, sink, sizes in subjects:
                for words in sizes:
                    upload = in_fresh_process(sink, files[words], kind)
                    grown.setdefault((name, sink.scheme, words), []).append(upload.grown / MIB)
    for (name, scheme, words), ones in grown.items():
        times = statistics.median(ones) / statistics.median(grown[OURS, "http", words])
        table.row(name, scheme, words, median(ones, ".1f"), spread(ones, ".1f"), f"{times:.1f}")
    table.save(
        "memory",
        "Sparse files. Medians, and ratios of them. Airflow is in none of these processes; imports and all is from a "
        "Python that has imported nothing for the upload.",
    )


if __name__ == "__main__":
    main()
