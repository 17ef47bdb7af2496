"""What an upload claimed, held against what the sandbox has. It shares no code with the client but its names."""

from __future__ import annotations

import faulthandler
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field

from airflow_provider_workbench.client.errors import (
    OutcomeUnknownError,
    RefusedError,
    UploadStoppedError,
    WorkbenchError,
)
from airflow_provider_workbench.client.upload import UploadResult
from airflow_provider_workbench.sandbox import File, Sandbox, Step


class Hang(AssertionError):  # noqa: N818
    """An upload did not end."""


@dataclass
class Outcome:
    """How an upload ended: with a result or an error."""

    result: UploadResult | None = None
    error: BaseException | None = None
    log: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    secrets: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def kind(self) -> str:
        return type(self.error).__name__ if self.error else "success"

    def __str__(self) -> str:
        story = [f"  log: {line}" for line in self.log] + [f"  warning: {line}" for line in self.warnings]
        return "\n".join([f"{self.kind}: {self.error or self.result}", *story])


def watched(upload: Callable[[Outcome], UploadResult], limit: float) -> Outcome:
    """Run an upload in a thread.

    :param limit: seconds
    :raises Hang: it did not end by then; every thread's stack is on stderr
    """
    outcome = Outcome()

    def run() -> None:
        try:
            outcome.result = upload(outcome)
        except BaseException as error:
            outcome.error = error

    start = time.monotonic()
    thread = threading.Thread(target=run, name="upload", daemon=True)
    thread.start()
    thread.join(limit)
    if thread.is_alive():
        faulthandler.dump_traceback(sys.__stderr__)
        raise Hang(f"no end within {limit} s\n{outcome}")
    outcome.seconds = time.monotonic() - start
    return outcome


def settle(sandbox: Sandbox, is_idle: Callable[[], bool], limit: float = 15.0) -> None:
    """Wait until nothing moves any more: what a server was doing when its client left goes on."""
    end = time.monotonic() + limit
    quiet_since = time.monotonic()
    while time.monotonic() - quiet_since < 0.1:
        assert time.monotonic() < end, "the sandbox has not come to rest"
        if not is_idle() or any(upload.locked for upload in list(sandbox.uploads.uploads.values())):
            quiet_since = time.monotonic()
        time.sleep(0.01)


def judge(
    outcome: Outcome, step: Step, before: list[File], name: str, content: bytes, *, readable: bool, delivered: int = 0
) -> list[str]:
    """What is wrong with the claim; empty if it is true.

    :param before: the Step's Files before the upload
    :param content: what a File of it must have
    :param readable: whether the client could read the Step
    :param delivered: Files of that name that somebody else delivered meanwhile
    """
    known = {file.uuid for file in before}
    files = [file for file in step.files if file.name == name and file.uuid not in known]
    count = len(files) - delivered
    wrong = [f"{problem}: {outcome}" for problem in _leaks(outcome, step)]
    mixed = [file for file in files if step.content(file.uuid) != content]
    if mixed:
        wrong.append(f"mixed File: {mixed[0].size} bytes are not those of the source ({len(content)}): {outcome}")
    error = outcome.error
    if outcome.result is not None:
        if count < 1:
            wrong.append(f"false success: the Step has no such File: {outcome}")
        if count > 1 and not outcome.result.duplicate_possible:
            wrong.append(f"false success: the Step has {count} such Files, and the result says one: {outcome}")
        if outcome.result.uuid not in (None, *(file.uuid for file in files)):
            wrong.append(f"false success: the result's uuid is another File's: {outcome}")
    elif not isinstance(error, WorkbenchError):
        stack = "".join(traceback.format_exception(error)) if error else "nothing came back"
        wrong.append(f"crash: {stack}")
    elif count > 0 and isinstance(error, RefusedError):
        wrong.append(f"false refusal: the Step has {count} of it: {outcome}")
    elif count > 0 and not isinstance(error, UploadStoppedError):
        honest = isinstance(error, OutcomeUnknownError) and not readable
        if not honest:
            wrong.append(f"false failure: the Step has {count} of it: {outcome}")
    return wrong


def _leaks(outcome: Outcome, step: Step) -> list[str]:
    """Secrets in what is logged or raised."""
    secrets = [*outcome.secrets, *(url.rpartition("/")[2] for url in outcome.secrets)]
    secrets += [step.api_token] if step.api_token else []
    texts = [*outcome.log, *outcome.warnings, repr(outcome.result)]
    error = outcome.error
    while error is not None:
        texts += [str(error), repr(error), repr(error.__dict__)]
        error = error.__cause__ or error.__context__
    return ["leaked secret" for secret in secrets if any(secret in text for text in texts)][:1]
