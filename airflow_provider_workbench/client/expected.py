"""What a DAG meant to deliver, held against the table that Workbench made of it. No I/O."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Any

from airflow_provider_workbench.client.errors import ConfigurationError, UnexpectedTableError, printable
from airflow_provider_workbench.client.steps import File


@dataclass(frozen=True, slots=True)
class Expected:
    """How large the rendered table should be.

    :ivar rows: without the header; None for any number
    :ivar columns: None for any number
    """

    rows: int | None = None
    columns: int | None = None

    @classmethod
    def parse(cls, rows: Any, columns: Any) -> Expected:
        """From the parameters ``expected_rows`` and ``expected_columns``: whole numbers, also as text from a template.

        :raises ConfigurationError: one of them is something else; the error names it
        """
        return cls(_count("expected_rows", rows), _count("expected_columns", columns))

    def __bool__(self) -> bool:
        """True if anything is expected at all."""
        return self.rows is not None or self.columns is not None

    def check(self, file: File, said: str = "") -> None:
        """Compare.

        :param file: a File that the Step has rendered
        :param said: what else there is to say about it, such as Workbench's notes
        :raises UnexpectedTableError: names both sides
        """
        wrong_rows = self.rows is not None and self.rows != file.n_rows
        wrong_columns = self.columns is not None and self.columns != file.n_columns
        if wrong_rows or wrong_columns:
            expected = _size(self.rows, self.columns)
            rendered = _size(file.n_rows, file.n_columns)
            raise UnexpectedTableError(
                f"The table is not what was meant to be delivered: expected {expected}, Workbench rendered {rendered}. "
                f"Compare the file with what the Step shows. {said}".rstrip()
            )


def _count(name: str, value: Any) -> int | None:
    if value is None:
        return None
    number = -1
    if isinstance(value, str) and value.strip().isascii() and value.strip().isdecimal() and len(value) < 20:
        number = int(value)
    elif not isinstance(value, bool | str):
        try:
            # whatever is a whole number, such as NumPy's
            number = operator.index(value)
        except TypeError:
            number = -1
    if number < 0:
        raise ConfigurationError(f"{name} must be a whole number, at least 0, not {printable(repr(value), 60)}.")
    return number


def _size(rows: int | None, columns: int | None) -> str:
    counts = ((rows, "row"), (columns, "column"))
    return " and ".join(f"{number:,} {one}{'' if number == 1 else 's'}" for number, one in counts if number is not None)
