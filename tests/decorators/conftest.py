from __future__ import annotations

import contextlib
import os
import tempfile
import time
from pathlib import Path

import pytest


@pytest.fixture
def connected(monkeypatch, workbench_sandbox):
    """The sandbox, and the default connection to it."""
    monkeypatch.setenv("AIRFLOW_CONN_WORKBENCH_DEFAULT", workbench_sandbox.step.connection_json())
    return workbench_sandbox


class TemporaryFolder:
    """Where temporary files go.

    :ivar held: for each upload, how many files in the folder the process held open while it was made
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.held: list[int] = []

    def open_files(self) -> int:
        """Also those without a name."""
        count = 0
        for descriptor in os.listdir("/proc/self/fd"):
            # closed by another thread meanwhile, and that which listed the folder
            with contextlib.suppress(FileNotFoundError):
                count += os.readlink(f"/proc/self/fd/{descriptor}").startswith(f"{self.path}/")
        return count

    @property
    def is_clean(self) -> bool:
        # the thread that reads ahead may still be about to close its own
        deadline = time.monotonic() + 10
        while self.open_files() and time.monotonic() < deadline:
            time.sleep(0.01)
        return self.open_files() == 0 and os.listdir(self.path) == []


@pytest.fixture
def tmpdir_of_task(tmp_path, monkeypatch):
    # here, since Airflow must not be imported before tests/conftest.py has made its environment
    from airflow_provider_workbench.hooks.workbench import WorkbenchHook

    folder = TemporaryFolder(tmp_path / "tmpdir-of-task")
    folder.path.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder.path))
    upload_file = WorkbenchHook.upload_file

    def noted(*args, **kwargs):
        folder.held.append(folder.open_files())
        return upload_file(*args, **kwargs)

    monkeypatch.setattr(WorkbenchHook, "upload_file", noted)
    return folder
