"""Tables for people: printed, and kept in ``benchmarks/RESULTS.md``, a section each."""

from __future__ import annotations

import os
import platform
import re
import ssl
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).with_name("RESULTS.md")
_HEAD = "# Results\n\nRatios count; times are those of a small, noisy machine. `make bench` makes them anew.\n"


class Table:
    """Rows under a title.

    :param title: what was measured
    :param columns: their heads
    """

    def __init__(self, title: str, *columns: str) -> None:
        self._title = title
        self._lines = [_line(columns), _line("---" for _ in columns)]

    def row(self, *cells: Any) -> None:
        """Add a row, and print it."""
        self._lines.append(_line(cells))
        print(self._lines[-1], flush=True)

    def save(self, section: str, *notes: str) -> None:
        """Print the whole, and put it in place of the section of the same name.

        :param notes: lines below the table
        """
        made = f"{datetime.now(UTC):%Y-%m-%d}, {_machine()}"
        text = "\n".join([f"## {self._title}", "", *self._lines, "", *(f"{note}  " for note in notes), made, ""])
        print(f"\n{text}")
        marked = f"<!-- {section} -->\n{text}<!-- /{section} -->\n"
        old = RESULTS.read_text() if RESULTS.exists() else _HEAD
        pattern = re.compile(rf"<!-- {section} -->\n.*?<!-- /{section} -->\n", re.DOTALL)
        new, found = pattern.subn(lambda _: marked, old)
        RESULTS.write_text(new if found else f"{old}\n{marked}")


def _line(cells: Any) -> str:
    return f"| {' | '.join(str(cell) for cell in cells)} |"


def _machine() -> str:
    names = ("apache-airflow", "requests", "urllib3", "tuspy", "aiohttp")
    openssl = " ".join(ssl.OPENSSL_VERSION.split()[:2])
    python = f"Python {platform.python_version()} with {openssl}"
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    machine = f"{os.cpu_count()} cores, {memory:.0f} GiB of memory, {platform.system()} {platform.machine()}"
    return ", ".join([machine, python, *(f"{name} {version(name)}" for name in names)])
