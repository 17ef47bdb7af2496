"""What the benchmarks run in: a throw-away Airflow home, connections to the sink, and files to send."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sink import Sink

ROOT = Path(__file__).resolve().parent.parent
MIB = 1024 * 1024


@contextmanager
def airflow_home() -> Iterator[Path]:
    """For hooks in this process. Their log lines are left out."""
    sys.path.insert(0, str(ROOT / "scripts"))
    from airflow_standalone import airflow_environment

    with tempfile.TemporaryDirectory(prefix="workbench-benchmark-") as home:
        os.environ.update(airflow_environment(Path(home), Path(home)))
        os.environ["AIRFLOW__LOGGING__LOGGING_LEVEL"] = "ERROR"
        yield Path(home)


def connection(sink: Sink) -> str:
    """The id of an Airflow connection to the sink."""
    os.environ["AIRFLOW_CONN_SINK"] = sink.connection_json()
    return "sink"


@contextmanager
def large_file(size: int, *, sparse: bool = False) -> Iterator[Path]:
    """A file of ``size`` bytes, in the page cache and, unless it is all holes, on the disk."""
    with tempfile.TemporaryDirectory(prefix="workbench-benchmark-") as directory:
        path = Path(directory) / "large.csv"
        with path.open("wb") as file:
            block = os.urandom(MIB)
            for _ in range(0 if sparse else size // MIB):
                file.write(block)
            file.truncate(size)
            file.flush()
            # or writing it back would disturb what is measured
            os.fsync(file.fileno())
        yield path
