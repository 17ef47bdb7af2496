"""What importing a provider's modules costs whoever parses a DAG: milliseconds, modules and memory.

Each import runs in a child that is forked from a process which has ``airflow`` and ``airflow.sdk``, and from one which
also has what nearly every DAG imports. Run it with ``make bench-parse_cost``.
"""

from __future__ import annotations

import json
import os
import pkgutil
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from forks import in_fork

# make installs other providers there; last, so that they change nothing else
sys.path.append(str(Path(__file__).resolve().parent.parent / ".venv-peers"))

ROUNDS = int(os.environ.get("ROUNDS", "7"))
_OURS = "airflow_provider_workbench"
_ALL = "this provider: all of these"
_AIRFLOWS = "Airflow's own base classes of all of these"
_COMPAT = "airflow.providers.common.compat.sdk"
_SUBJECTS = {
    "this provider: operator": [f"{_OURS}.operators.workbench"],
    "this provider: sensor": [f"{_OURS}.sensors.workbench"],
    "this provider: triggers": [f"{_OURS}.triggers.workbench"],
    "this provider: decorator": [f"{_OURS}.decorators.workbench"],
    _ALL: [f"{_OURS}.{kind}.workbench" for kind in ("operators", "sensors", "triggers")],
    # what every provider has of Airflow that has these four kinds
    _AIRFLOWS: [
        *(f"{_COMPAT}:{name}" for name in ("BaseOperator", "BaseOperatorLink", "BaseSensorOperator")),
        *("airflow.triggers.base", f"{_COMPAT}:DecoratedOperator"),
    ],
    "Airflow's FileSensor": ["airflow.providers.standard.sensors.filesystem"],
    "Airflow's FileSensor and its trigger": [
        "airflow.providers.standard.sensors.filesystem",
        "airflow.providers.standard.triggers.file",
    ],
    "HTTP: operator, sensor, trigger": [
        f"airflow.providers.http.{each}.http" for each in ("operators", "sensors", "triggers")
    ],
    "SFTP: operator, sensor, trigger": [
        f"airflow.providers.sftp.{each}.sftp" for each in ("operators", "sensors", "triggers")
    ],
    "S3: transfer, sensor, trigger": [
        "airflow.providers.amazon.aws.transfers.local_to_s3",
        "airflow.providers.amazon.aws.sensors.s3",
        "airflow.providers.amazon.aws.triggers.s3",
    ],
    "GCS: transfer, sensor, trigger": [
        "airflow.providers.google.cloud.transfers.local_to_gcs",
        "airflow.providers.google.cloud.sensors.gcs",
        "airflow.providers.google.cloud.triggers.gcs",
    ],
}
_BASES = {
    "`airflow`, `airflow.sdk`": ["import airflow", "import airflow.sdk"],
    "the same, with `DAG`, `task`, base classes": [
        "from airflow.sdk import DAG, BaseHook, BaseOperator, BaseSensorOperator, Variable, task",
        "import airflow.triggers.base",
    ],
}


def subjects() -> dict[str, list[str]]:
    """Those whose packages are installed."""
    everything = dict(_SUBJECTS)
    decorator = everything["this provider: decorator"]
    if _is_there(decorator[0]):
        everything[_ALL] = everything[_ALL] + decorator
    return {name: modules for name, modules in everything.items() if all(map(_is_there, modules))}


def _is_there(name: str) -> bool:
    try:
        return find_spec(name.partition(":")[0]) is not None
    except ModuleNotFoundError:
        return False


def cost_of(names: list[str]) -> dict[str, float]:
    """
    :param names: modules, or ``module:name``
    """
    before, memory, began = set(sys.modules), _anonymous_bytes(), time.perf_counter()
    for name in names:
        pkgutil.resolve_name(name)
    seconds = time.perf_counter() - began
    new = set(sys.modules) - before
    return {"ms": 1000 * seconds, "modules": len(new), "MiB": (_anonymous_bytes() - memory) / 2**20}


def _anonymous_bytes() -> int:
    """Memory that no file stands behind. It counts what was inherited, so that only what is new makes it grow."""
    with open("/proc/self/status") as status:
        found = re.search(r"RssAnon:\s+(\d+) kB", status.read())
    assert found
    return int(found[1]) * 1024


def measure(base: str) -> dict[str, list[dict[str, float]]]:
    """In this process, which must be a fresh one."""
    for each in _BASES:
        for line in _BASES[each]:
            exec(line, {})
        if each == base:
            break
    # looking for them imports the packages that they are in
    found = in_fork(subjects)
    seen: dict[str, list[dict[str, float]]] = {name: [] for name in found}
    for number in range(ROUNDS + 1):
        for name, modules in found.items():
            one = in_fork(partial(cost_of, modules))
            # the first may compile
            if number:
                seen[name].append(one)
    return seen


def main() -> None:
    from report import Table
    from rounds import median, spread
    from surroundings import airflow_home

    table = Table(
        f"Parsing: what importing adds to a process that has Airflow, {ROUNDS} rounds",
        *("what it had", "imported", "ms", "min–max", f"× {_ALL}", "modules", "MiB"),
    )
    notes = []
    with airflow_home():
        for base in _BASES:
            done = subprocess.run([sys.executable, __file__, base], stdout=subprocess.PIPE, check=True, text=True)
            seen: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
            for name, ones in seen.items():
                times = [one["ms"] for one in ones]
                shares = [one["ms"] / ours["ms"] for one, ours in zip(ones, seen[_ALL], strict=True)]
                memory = statistics.median(one["MiB"] for one in ones)
                table.row(
                    *(base, name, median(times, ".1f"), spread(times, ".1f"), median(shares)),
                    *(ones[0]["modules"], f"{memory:.1f}"),
                )
            ours, airflows = (median([one["ms"] for one in seen[name]], ".1f") for name in (_ALL, _AIRFLOWS))
            notes.append(
                f"Where the process had {base}: of this provider's {ours} ms, {airflows} are Airflow's own base "
                "classes, which every provider with these four kinds imports."
            )
    notes += [
        "MiB: only memory that no file stands behind. Pages of the parent, which are copied when the child writes to "
        "them, are not counted.",
        f"Medians; × is of the same round. Providers: {', '.join(_versions(seen))}.",
    ]
    missing = sorted(set(_SUBJECTS) - set(seen))
    if missing:
        notes.append(f"Not installed, so left out: {'; '.join(missing)}.")
    table.save("parse_cost", *notes)


def _versions(measured: Iterable[str]) -> list[str]:
    """Of Airflow's own providers among the subjects."""
    modules = [name.split(".") for subject in measured for name in _SUBJECTS[subject]]
    names = {parts[2] for parts in modules if parts[:2] == ["airflow", "providers"]} - {"common"}
    return [f"{name} {version(f'apache-airflow-providers-{name}')}" for name in sorted(names)]


if __name__ == "__main__":
    if len(sys.argv) == 2:
        print(json.dumps(measure(sys.argv[1])))
    else:
        main()
