"""The ``workbench_sandbox`` fixture. Every pytest run imports this module, so it imports nothing heavy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .server import Sandbox


@pytest.fixture(scope="session")
def _workbench_sandbox_server() -> Iterator[Sandbox]:
    try:
        from .server import Sandbox
    except ImportError as error:
        pytest.fail(
            f"workbench_sandbox needs the sandbox extra ({error}; in a clone: pip install '.[sandbox]').",
            pytrace=False,
        )
    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def workbench_sandbox(_workbench_sandbox_server: Sandbox) -> Sandbox:
    """A running :class:`~airflow_provider_workbench.sandbox.Sandbox` in its initial state.

    One server serves the whole session; it is reset before each test that uses it.
    """
    _workbench_sandbox_server.reset()
    return _workbench_sandbox_server
