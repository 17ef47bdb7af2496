from __future__ import annotations

from collections.abc import Iterator

import pytest
from rig import Rig

from airflow_provider_workbench.sandbox import Sandbox


@pytest.fixture(autouse=True)
def _no_proxy_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture(scope="session")
def fault_sandbox() -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def rig(fault_sandbox: Sandbox) -> Iterator[Rig]:
    """The sandbox in its initial state, behind a fault proxy. What is uploaded is held against the truth."""
    fault_sandbox.reset()
    fault_sandbox.hook_retry_seconds = 0.02
    with Rig(fault_sandbox) as rig:
        yield rig
