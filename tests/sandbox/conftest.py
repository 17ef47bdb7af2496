from __future__ import annotations

from collections.abc import Iterator

import pytest

from airflow_provider_workbench.sandbox import Sandbox


@pytest.fixture(scope="session")
def running_sandbox() -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def wb(running_sandbox: Sandbox) -> Sandbox:
    """The sandbox in its initial state. (The plugin's fixture has tests of its own.)"""
    running_sandbox.reset()
    return running_sandbox
