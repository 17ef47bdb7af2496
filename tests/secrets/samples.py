"""What is there only for a while: processes with their arguments and environment, triggers, kept uploads."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from pathlib import Path

from cryptography.fernet import Fernet
from places import Place, files_in, values_of

PAUSE = 0.15
# seconds between two looks into the database
DATABASE_PAUSE = 0.6
FLEETING = ("trigger", "task_state_store", "asset_state_store", "task_instance", "callback")

PROCESS_ARGUMENT = "argument of a process"
PROCESS_ENVIRONMENT = "environment variable of a process"
TEMPORARY_FILE = "temporary file"
SAMPLED = "database while tasks run: "


class Sampler:
    """Looks again and again, as a ``with`` block, and keeps all that it saw.

    :param database: Airflow's
    :param key: Airflow's Fernet key
    :param temporary: the folder of temporary files
    :ivar processes: that were seen
    """

    def __init__(self, database: Path, key: Fernet, temporary: Path) -> None:
        self._database = database
        self._key = key
        self._temporary = temporary
        self._places: set[Place] = set()
        self._ended = threading.Event()
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.processes: set[int] = set()

    def __enter__(self) -> Sampler:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        if self._failure:
            raise self._failure

    @property
    def places(self) -> list[Place]:
        """What was seen, each once."""
        return sorted(self._places.copy(), key=lambda place: (place.kind, place.name))

    def _look_at_database(self) -> None:
        for table in FLEETING:
            with contextlib.suppress(sqlite3.OperationalError):
                self._places.update(values_of(self._database, self._key, [table], f"{SAMPLED}{table}"))

    def _run(self) -> None:
        try:
            self._look()
        except Exception as failure:
            self._failure = failure

    def _look(self) -> None:
        last = 0.0
        while not self._ended.wait(PAUSE):
            self._look_at_processes()
            self._places.update(files_in(self._temporary, lambda _: TEMPORARY_FILE))
            if time.monotonic() - last > DATABASE_PAUSE:
                self._look_at_database()
                last = time.monotonic()

    def _look_at_processes(self) -> None:
        ours = {pid for pid in _pids() if _parent(pid) == os.getpid()}
        for pid in _pids():
            # processes end at any time
            with contextlib.suppress(OSError):
                if os.getsid(pid) in ours:
                    self.processes.add(pid)
                    self._add(PROCESS_ARGUMENT, pid, Path(f"/proc/{pid}/cmdline").read_bytes())
                    self._add(PROCESS_ENVIRONMENT, pid, Path(f"/proc/{pid}/environ").read_bytes())

    def _add(self, kind: str, pid: int, data: bytes) -> None:
        for each in data.split(b"\0"):
            name = each.partition(b"=")[0].decode(errors="replace") if kind == PROCESS_ENVIRONMENT else str(pid)
            self._places.add(Place(kind, name, each))


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdecimal()]


def _parent(pid: int) -> int | None:
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return None
