"""Subjects measured in turn: the machine's moods hit all of them alike."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass


@dataclass
class Run:
    """What one run took.

    :ivar seconds: of the clock
    :ivar cpu: seconds of this process, its threads and the children that have ended
    """

    seconds: float
    cpu: float


Subject = Callable[[], float | None]


def interleave(subjects: Mapping[str, Subject], rounds: int) -> dict[str, list[Run]]:
    """Run each subject once per round, after a round that does not count.

    :param subjects: each may return the seconds that it took by its own clock, where starting it does not count
    """
    runs: dict[str, list[Run]] = {name: [] for name in subjects}
    for number in range(rounds + 1):
        for name, subject in subjects.items():
            cpu, began = _cpu_seconds(), time.perf_counter()
            own = subject()
            took = time.perf_counter() - began
            if number:
                runs[name].append(Run(own or took, _cpu_seconds() - cpu))
    return runs


def ratios(runs: Sequence[Run], others: Sequence[Run]) -> list[float]:
    """Round by round."""
    return [run.seconds / other.seconds for run, other in zip(runs, others, strict=True)]


def spread(values: Sequence[float], form: str = ".2f") -> str:
    """The least and the most."""
    return f"{min(values):{form}}–{max(values):{form}}"


def median(values: Sequence[float], form: str = ".2f") -> str:
    return f"{statistics.median(values):{form}}"


def _cpu_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system
