"""Random schedules of 0 to 6 faults over 0 to 6 MiB; a failure prints its seed.

``FAULT_RUNS`` and ``FAULT_SEED`` (environment) say how many and which is the first.
"""

from __future__ import annotations

import os

from randomized import MOST_FAULTS, make_plan, totals
from run_randomized import run_seeds

RUNS = int(os.environ.get("FAULT_RUNS", "25"))
FIRST_SEED = int(os.environ.get("FAULT_SEED", "1"))


def test_seed_makes_the_same_plan() -> None:
    plans = [make_plan(seed) for seed in range(300)]
    assert plans == [make_plan(seed) for seed in range(300)]
    counts = {len(plan.faults) + len(plan.events) for plan in plans}
    assert counts == set(range(MOST_FAULTS + 1))
    assert {plan.size for plan in plans} >= {0, 1}


def test_random_faults_never_make_a_claim_untrue() -> None:
    runs = list(run_seeds(range(FIRST_SEED, FIRST_SEED + RUNS)))
    print(totals(runs))
    stories = [
        f"{make_plan(run.seed)}\n{run.wrong}\nagain: python tests/faults/run_randomized.py --seed {run.seed}"
        for run in runs
        if run.wrong
    ]
    assert not stories, "\n\n".join([*stories, totals(runs)])
