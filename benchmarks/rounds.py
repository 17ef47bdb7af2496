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


def interleave(
    subjects: Mapping[str, Subject], rounds: int, warm_up: Mapping[str, Subject] | None = None
) -> dict[str, list[Run]]:
    """Run each subject once per round, in another order each time, after a round that does not count.

    :param subjects: each may return the seconds that it took by its own clock, where starting it does not count
    :param warm_up: what runs in the round that does not count, if not the subjects
    """
    runs: dict[str, list[Run]] = {name: [] for name in subjects}
    for warm in (warm_up or subjects).values():
        warm()
    order = list(subjects)
    for number in range(rounds):
        # each round begins with the next, every other goes backwards: else each would always follow the same other one
        for name in reversed(order) if number % 2 else order:
            cpu, began = _cpu_seconds(), time.perf_counter()
            own = subjects[name]()
            took = time.perf_counter() - began
            runs[name].append(Run(own or took, _cpu_seconds() - cpu))
        order.append(order.pop(0))
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
