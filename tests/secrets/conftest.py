"""The audit is a test of its own: ``make test-secrets``. What it found out is printed at the end."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import pytest

HERE = Path(__file__).parent
LINES = pytest.StashKey[list[str]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[LINES] = []


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    old = tuple(int(part) for part in version("apache-airflow").split(".")[:2]) < (3, 3)
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.secrets)
            if old:
                item.add_marker(pytest.mark.skip(reason="made for Airflow 3.3"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if lines := config.stash.get(LINES, []):
        terminalreporter.section("audit")
        for line in lines:
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def report(pytestconfig: pytest.Config) -> list[str]:
    """Lines for the end of the run."""
    return pytestconfig.stash[LINES]
