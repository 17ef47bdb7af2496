"""Random schedules of faults: a seed makes a plan, and a plan is run once against the sandbox and judged."""

from __future__ import annotations

import random
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fault_script import Fault
from oracle import Hang
from rig import Rig, impatient

from airflow_provider_workbench.client.errors import SourceChangedError
from airflow_provider_workbench.sandbox import Sandbox

MIB = 1024 * 1024
MOST_FAULTS = 6
LIMITS: dict[str, Any] = {"connect_timeout": 2, "stall_timeout": 1.5, "finish_timeout": 4, "retry_budget": 20}
PATIENCE = impatient(first_pause=0.02, longest_pause=0.2)

CREATE_STATUSES = (200, 408, 429, 500, 502, 503, 504)
"""What a proxy in trouble says instead of the frontend; others mean that the Create-file URL is wrong."""
STATUSES = (*CREATE_STATUSES, 204, 400, 403, 404, 409, 423)
EMPTY_ROUNDS = 4
"""So many create-file requests does an empty file get that surely did not deliver it; for others ``retry_budget``."""


@dataclass
class Event:
    """Something that happens at the server or to the file when the upload has come to byte ``at``."""

    name: str
    at: int
    again: int = 0


@dataclass
class Plan:
    """All that a seed decides. Sizes in bytes, times in seconds."""

    seed: int
    size: int
    step: str
    chunk_size: int | None
    faults: list[Fault] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    switches: dict[str, Any] = field(default_factory=dict)

    @property
    def content(self) -> bytes:
        return random.Random(self.seed).randbytes(self.size)

    @property
    def readable(self) -> bool:
        return self.step != "private_step"

    @property
    def survivable(self) -> bool:
        """Whether it should end in success: nothing in it lasts, and where it is unsure the Step can be read."""
        lasting = any(event.name in ("reset token", "rewrite file") for event in self.events)
        return self.readable and not lasting and (self.size > 0 or self._kept_back() < EMPTY_ROUNDS)

    def _kept_back(self) -> int:
        """How many create-file requests never arrive, since a proxy answers in the frontend's place (seed 1372)."""
        posts = [fault for fault in self.faults if (fault.host, fault.method) == ("frontend", "POST")]
        return sum(fault.times or 0 for fault in posts if fault.do == "answer" and fault.when != "after")

    def __str__(self) -> str:
        default = vars(Fault())
        faults = [{key: value for key, value in vars(fault).items() if value != default[key]} for fault in self.faults]
        lines = [f"seed {self.seed}: {self.size} bytes to {self.step}, chunk_size {self.chunk_size}, {self.switches}"]
        return "\n".join([*lines, *(f"  fault {fault}" for fault in faults), *(f"  {event}" for event in self.events)])


def make_plan(seed: int) -> Plan:
    """The same plan for the same seed."""
    rng = random.Random(f"plan {seed}")
    size = rng.choice((0, 1, rng.randrange(65536), rng.randrange(MIB), *(rng.randrange(6 * MIB) for _ in range(4))))
    plan = Plan(
        seed,
        size,
        rng.choice(("step", "step", "secret_step", "private_step")),
        rng.choice((None, None, rng.randrange(100_000, 2 * MIB))),
    )
    plan.switches = {
        "cut_seconds": rng.uniform(0, 0.4),
        "hook_delay": rng.choice((0, 0, 0, rng.uniform(0, 0.5))),
        "hook_retry_seconds": 0.05,
        "idle_limit": rng.choice((6.0, 0.3)),
        "flush_size": rng.choice((50 * MIB, MIB, 100_000)),
    }
    for _ in range(rng.randrange(MOST_FAULTS + 1)):
        if size and rng.random() < 0.2:
            plan.events.append(_event(rng, size))
        else:
            plan.faults.append(_fault(rng, size))
    return plan


def _event(rng: random.Random, size: int) -> Event:
    names = ("restart", "restart", "forget", "hook down", "hook 500", "store-then-500", "reset token", "rewrite file")
    return Event(rng.choice(names), rng.randrange(size + 1), rng.randrange(1, 3))


def _fault(rng: random.Random, size: int) -> Fault:
    on_frontend = (("frontend", "POST"), ("frontend", "GET"))
    host, method = rng.choice(
        (*on_frontend, *[("upload", "PATCH")] * 5, ("upload", "HEAD"), ("upload", "GET")) if size else on_frontend
    )
    fault = Fault(
        rng.choice(("cut", "cut", "cut", "lose", "lose", "stall", "refuse", "answer", "answer", "pass")),
        host=host,
        method=method,
        skip=rng.choice((0, 0, 1, 2)),
        times=rng.choice((1, 1, 1, 2, 3)),
        rst=rng.random() < 0.4,
    )
    if method == "PATCH":
        fault.at = rng.choice((None, 0, max(size - 1, 0), size, rng.randrange(size + 1), rng.randrange(size + 1)))
        fault.buffer = rng.random() < 0.15
        fault.rate = rng.choice((None, None, None, None, rng.uniform(3e6, 20e6)))
    if fault.do == "cut":
        fault.hold = rng.choice((0, 0, 0, rng.uniform(0, 1)))
    elif fault.do in ("stall", "refuse"):
        fault.seconds = rng.choice((rng.uniform(0, 0.6), rng.uniform(0, 0.6), 2.0))
    elif fault.do == "answer":
        # a proxy's pages: none has a word of TUS in it
        fault.status = rng.choice(CREATE_STATUSES if host == "frontend" else STATUSES)
        fault.when = rng.choice(("first", "instead", "after"))
        if rng.random() < 0.2:
            fault.headers = {**fault.headers, "Retry-After": "1"}
        if method == "PATCH" and rng.random() < 0.3:
            # what a proxy does not let through, it never lets through
            fault.status = rng.choice((405, 501, 413))
            fault.over = rng.randrange(MIB, 2 * MIB) if fault.status == 413 else -1
            fault.when = rng.choice(("first", "instead"))
            fault.skip, fault.times = 0, None
    return fault


class _Events:
    """Makes a plan's events happen, in the uploading thread."""

    def __init__(self, rig: Rig, plan: Plan, rewrite: Callable[[], None]) -> None:
        self._rig = rig
        self._plan = plan
        self._rewrite = rewrite
        self._left = list(plan.events)
        self._finishes = self._bad_finishes = 0

    def __call__(self, offset: int) -> None:
        for event in [event for event in self._left if offset >= event.at]:
            self._left.remove(event)
            self._happen(event)
        if offset == self._plan.size:
            self._finishes += 1
            if self._finishes > self._bad_finishes:
                self._rig.wb.hook = "ok"

    def _happen(self, event: Event) -> None:
        wb = self._rig.wb
        if event.name == "restart":
            wb.restart_tusd()
        elif event.name == "forget":
            wb.forget_uploads()
        elif event.name == "reset token":
            getattr(wb, self._plan.step).reset_token()
        elif event.name == "rewrite file":
            self._rewrite()
        else:
            wb.hook = event.name.removeprefix("hook ")
            self._bad_finishes = self._finishes + event.again


@dataclass
class Run:
    """What became of a plan. ``wrong`` is empty if the claim was true."""

    seed: int
    kind: str
    wrong: str = ""
    seconds: float = 0.0
    duplicate_possible: bool = False
    survivable: bool = True


def run_plan(wb: Sandbox, plan: Plan) -> Run:
    """Run it in a sandbox that nobody else uses, and judge the claim."""
    wb.reset()
    for name, value in plan.switches.items():
        setattr(wb, name, value)
    step = getattr(wb, plan.step)
    secret_link = {"secret_link": step.secret_link} if plan.step == "secret_step" else {}
    with tempfile.TemporaryDirectory() as folder, Rig(wb) as rig:
        path = Path(folder) / "file.dat"
        path.write_bytes(plan.content)
        events = _Events(rig, plan, lambda: path.write_bytes(bytes(plan.size)))
        wrong = ""
        try:
            rig.upload(
                path,
                *plan.faults,
                step=step,
                content=plan.content,
                during=events,
                patience=PATIENCE,
                chunk_size=plan.chunk_size,
                **LIMITS,
                **secret_link,
            )
        except Hang as hang:
            return Run(plan.seed, "hang", f"hang: {hang}", survivable=plan.survivable)
        except AssertionError as error:
            wrong = str(error)
        except Exception:
            return Run(plan.seed, "crash of the harness", traceback.format_exc(), survivable=plan.survivable)
        outcome = rig.outcome
        if not wrong and outcome.error and plan.survivable and not isinstance(outcome.error, SourceChangedError):
            wrong = f"needless failure: {outcome}\n  {', '.join(rig.proxy.said())}"
        possible = bool(outcome.result and outcome.result.duplicate_possible)
        return Run(plan.seed, outcome.kind, wrong, outcome.seconds, possible, plan.survivable)


def totals(runs: list[Run]) -> str:
    """The table that the runs end in."""
    kinds = Counter(run.kind for run in runs)
    wrongs = Counter(run.wrong.split(":")[0] for run in runs if run.wrong)
    names = ("false success", "false failure", "false refusal", "mixed File", "leaked secret", "crash", "hang")
    lines = [f"{len(runs)} runs, of which {sum(run.survivable for run in runs)} should succeed"]
    lines += [f"  {count:4d} {kind}" for kind, count in kinds.most_common()]
    lines.append(
        f"  {sum(run.duplicate_possible for run in runs):4d} of the successes say that a duplicate is possible"
    )
    lines += [f"  {wrongs.pop(name, 0):4d} {name}" for name in (*names, "needless failure")]
    lines += [f"  {count:4d} {name}" for name, count in wrongs.items()]
    lines.append(f"slowest: {max((run.seconds for run in runs), default=0):.1f} s")
    return "\n".join(lines)
