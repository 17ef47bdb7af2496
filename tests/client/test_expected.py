from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from airflow_provider_workbench.client.errors import ConfigurationError, UnexpectedTableError
from airflow_provider_workbench.client.expected import Expected
from airflow_provider_workbench.client.steps import File


def table(n_rows: int | None, n_columns: int | None) -> File:
    return File("u", "a.csv", 5, datetime(2026, 1, 1, tzinfo=UTC), n_rows, n_columns)


@pytest.mark.parametrize(("rows", "columns"), [(None, None), (3, None), (None, 2), (3, 2), ("3", " 2 ")])
def test_what_is_as_expected_passes(rows: Any, columns: Any) -> None:
    Expected.parse(rows, columns).check(table(3, 2))


def test_an_empty_table_can_be_expected() -> None:
    Expected.parse(0, "0").check(table(0, 0))
    with pytest.raises(UnexpectedTableError, match="expected 0 rows, Workbench rendered 1 row and 1 column"):
        Expected.parse(0, None).check(table(1, 1))


@pytest.mark.parametrize(
    ("rows", "columns", "says"),
    [
        (1000, 5, "expected 1,000 rows and 5 columns, Workbench rendered 998 rows and 5 columns"),
        (998, 1, "expected 998 rows and 1 column, Workbench rendered 998 rows and 5 columns"),
        (1, None, "expected 1 row, Workbench rendered 998 rows and 5 columns"),
        (None, 6, "expected 6 columns, Workbench rendered 998 rows and 5 columns"),
    ],
)
def test_a_difference_names_both_sides(rows: Any, columns: Any, says: str) -> None:
    with pytest.raises(UnexpectedTableError) as caught:
        Expected.parse(rows, columns).check(table(998, 5), "Workbench notes: cut.")
    assert says in str(caught.value)
    assert str(caught.value).endswith("Workbench notes: cut.")
    assert not caught.value.retryable


def test_a_table_that_is_not_known_is_not_as_expected() -> None:
    with pytest.raises(UnexpectedTableError):
        Expected.parse(3, None).check(table(None, None))


def test_nothing_expected_is_false_and_zero_is_something() -> None:
    assert not Expected()
    assert Expected(rows=0)
    assert Expected(columns=0)


class Whole:
    """As NumPy's integers."""

    def __index__(self) -> int:
        return 7


def test_other_whole_numbers_will_do() -> None:
    assert Expected.parse(Whole(), None) == Expected(7, None)


@pytest.mark.parametrize("value", ["", "None", "1e3", "1,000", "-1", -1, 2.0, True, "9" * 30, [], "٣"], ids=repr)
def test_anything_else_is_refused_by_name(value: Any) -> None:
    with pytest.raises(ConfigurationError, match="expected_rows must be a whole number"):
        Expected.parse(value, None)
    with pytest.raises(ConfigurationError, match="expected_columns must be a whole number"):
        Expected.parse(None, value)
