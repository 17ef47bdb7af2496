"""What the README promises is held by tests, which exist, and its figures are those of ``benchmarks/RESULTS.md``."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
HEADING = "\n### What can happen on the way, and what the provider does\n"


def fault_lines() -> list[int]:
    section = (ROOT / "README.md").read_text(encoding="utf-8").partition(HEADING)[2].partition("\n##")[0]
    return [int(number) for number in re.findall(r"^\| (\d+) \|", section, flags=re.MULTILINE)]


def named_by_line() -> dict[int, list[str]]:
    """The tests that ``docs/fault-tests.md`` names, as ``path::name``, by the table's line that they hold."""
    text = (ROOT / "docs/fault-tests.md").read_text(encoding="utf-8")
    items = re.findall(r"^(\d+)\. (.+(?:\n   .+)*)", text, flags=re.MULTILINE)
    return {int(number): re.findall(r"`([^`]+)`", item) for number, item in items}


def exists(test: str) -> bool:
    path, _, name = test.partition("::")
    if not (ROOT / path).is_file():
        return False
    module = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    functions = (node for node in module.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return name.startswith("test_") and name in {function.name for function in functions}


def test_every_line_of_the_fault_table_names_tests_that_exist() -> None:
    lines = fault_lines()
    tests = named_by_line()
    assert lines
    assert list(tests) == lines == list(range(1, len(lines) + 1))
    assert all(tests.values())
    assert [test for names in tests.values() for test in names if not exists(test)] == []


def test_every_line_of_the_performance_table_is_a_result() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    results = (ROOT / "benchmarks/RESULTS.md").read_text(encoding="utf-8").splitlines()
    section = readme.partition("\n## How fast\n")[2].partition("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("|")]
    assert len(rows) > 10
    assert [row for row in rows if row not in results] == []
