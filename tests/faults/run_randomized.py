"""Run random schedules of faults, several at once, and say what became of them.

    python tests/faults/run_randomized.py --runs 500          # seeds 1 to 500
    python tests/faults/run_randomized.py --seed 17           # that one again, with its story

Each process has a sandbox and a proxy of its own; a seed decides everything but the timing.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

from randomized import Run, make_plan, run_plan, totals

from airflow_provider_workbench.sandbox import Sandbox

WORKERS = 2 * (os.cpu_count() or 1)  # a run mostly waits
_sandbox: Sandbox | None = None


def _start() -> None:
    global _sandbox
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        os.environ.pop(name, None)
        os.environ.pop(name.upper(), None)
    # a server that answers on a connection that was cut is what this is about
    logging.getLogger("asyncio").setLevel(logging.ERROR)
    _sandbox = Sandbox().start()


def _run(seed: int) -> Run:
    if _sandbox is None:
        _start()
    assert _sandbox
    return run_plan(_sandbox, make_plan(seed))


def run_seeds(seeds: range, workers: int = WORKERS) -> Iterator[Run]:
    """Each seed's run, as it ends."""
    # spawned: a forked child of a process with threads may inherit their locks
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(seeds)), mp_context=context, initializer=_start) as pool:
        yield from pool.map(_run, seeds)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=WORKERS)
    parser.add_argument("--seed", type=int, help="run this one only, and tell its story")
    arguments = parser.parse_args()
    if arguments.seed is not None:
        print(make_plan(arguments.seed))
        run = _run(arguments.seed)
        print(run.kind, f"{run.seconds:.1f} s", run.wrong or "the claim is true")
        assert _sandbox
        _sandbox.stop()
        return bool(run.wrong)
    start = time.monotonic()
    runs = []
    for run in run_seeds(range(arguments.first_seed, arguments.first_seed + arguments.runs), arguments.workers):
        runs.append(run)
        if run.wrong:
            print(f"--- {make_plan(run.seed)}\n{run.wrong}", flush=True)
        if len(runs) % 50 == 0:
            print(f"{len(runs)} runs after {time.monotonic() - start:.0f} s", flush=True)
    print(totals(runs))
    return any(run.wrong for run in runs)


if __name__ == "__main__":
    sys.exit(main())
