"""The sandbox behind a fault proxy, and uploads through both that are judged."""

from __future__ import annotations

import dataclasses
import gc
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from fault_proxy import FaultProxy
from fault_script import Fault
from oracle import Outcome, judge, settle, watched

from airflow_provider_workbench.client.listener import Listener
from airflow_provider_workbench.client.patience import Patience
from airflow_provider_workbench.client.settings import Settings
from airflow_provider_workbench.client.sources import Source
from airflow_provider_workbench.client.upload import UploadResult, upload_file
from airflow_provider_workbench.sandbox import Sandbox, Step

IMPATIENT = Patience(
    first_pause=0.03, longest_pause=0.3, round_pause=0.03, lock=20.0, source=0.4, grace=0.25, look=0.05
)
LIMITS = {"connect_timeout": 2, "stall_timeout": 4, "finish_timeout": 8, "retry_budget": 20}
HANGING_SECONDS = 90.0


class Rig:
    """``rig.upload(content, Fault(…), …)``: the outcome, after the claim was found to be true.

    :ivar wb: the sandbox
    :ivar proxy: the fault proxy in front of its hosts
    :ivar outcome: of the last upload
    :ivar left_open: whether the last upload left a connection open
    """

    def __init__(self, wb: Sandbox) -> None:
        self.wb = wb
        self.proxy = FaultProxy(frontend=wb.frontend_url, upload=wb.upload_url)

    def __enter__(self) -> Rig:
        self.proxy.__enter__()
        self.wb.advertised_upload_url = self.proxy.url("upload")
        return self

    def __exit__(self, *_: object) -> None:
        self.proxy.__exit__()

    def settings(self, step: Step, **extra: Any) -> Settings:
        url = self.proxy.url("frontend") + urlsplit(step.create_file_url).path
        return Settings.from_fields(url, step.api_token or "", {**LIMITS, **extra})

    def upload(
        self,
        what: bytes | Path | Source,
        *faults: Fault,
        step: Step | None = None,
        content: bytes | None = None,
        filename: str = "file.dat",
        readable: bool | None = None,
        delivered: int = 0,
        during: Callable[[int], None] | None = None,
        patience: Patience = IMPATIENT,
        chunk_size: int | None = None,
        settings: Settings | None = None,
        known: frozenset[str] | None = None,
        **extra: Any,
    ) -> Outcome:
        """Upload through the proxy and judge the claim.

        :param content: what the File must have, if ``what`` is not bytes
        :param readable: whether the client can read the Step; by default, what its Workflow says
        :param delivered: Files of that name that somebody else delivers meanwhile
        :param during: called with the offset as it grows
        :param settings: made before something was changed
        :param known: uuids of the Files that the client has seen in the Step
        :param extra: of the connection; see :data:`LIMITS`
        """
        step = step or self.wb.step
        settings = settings or self.settings(step, **extra)
        self.proxy.script = faults
        before = step.files
        if content is None:
            assert isinstance(what, bytes)
            content = what
        if readable is None:
            readable = step.workflow.public or "secret_link" in extra

        def run(outcome: Outcome) -> UploadResult:
            listener = Listener(
                progress=lambda offset, _: during(offset) if during else None,
                log=outcome.log.append,
                warning=outcome.warnings.append,
                secret=outcome.secrets.append,
            )
            return upload_file(
                settings,
                what,
                filename=filename,
                chunk_size=chunk_size,
                known=known,
                listener=listener,
                patience=patience,
            )

        outcome = self.outcome = watched(run, HANGING_SECONDS)
        self.left_open = not self._is_idle_soon()
        gc.collect()
        settle(self.wb, lambda: self.proxy.is_idle)
        wrong = judge(outcome, step, before, filename, content, readable=readable, delivered=delivered)
        assert not wrong, "\n".join([*wrong, "  " + ", ".join(self.proxy.said())])
        return outcome

    def _is_idle_soon(self) -> bool:
        end = time.monotonic() + 0.3
        while time.monotonic() < end and not self.proxy.is_idle:
            time.sleep(0.005)
        return self.proxy.is_idle

    def files(self, step: Step | None = None) -> int:
        """How many Files the Step has."""
        return len((step or self.wb.step).files)

    @property
    def sent(self) -> int:
        """Bytes of the file that the proxy saw."""
        return self.proxy.body_bytes("upload")


def impatient(**changes: float) -> Patience:
    return dataclasses.replace(IMPATIENT, **changes)


def once(offset: int, act: Callable[[], object]) -> Callable[[int], None]:
    """Do something when the upload has come that far."""
    left = [act]

    def look(at: int) -> None:
        if at >= offset and left:
            left.pop()()

    return look
