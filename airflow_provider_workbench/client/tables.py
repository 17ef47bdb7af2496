"""Tables, each written by its own library's CSV writer. No such library is imported here before a table of it comes."""

from __future__ import annotations

import hashlib
import os
import socket
import tempfile
from collections.abc import Callable
from contextlib import suppress
from functools import cached_property
from typing import Any, BinaryIO

from airflow_provider_workbench.client.errors import SourceReadError, printable
from airflow_provider_workbench.client.sources import Reader, _PathReader

_BLOCK = 1024 * 1024
# Workbench reads a File by the end of its name: .tsv by tabs, .txt by what it finds (protocol section 1)
_CSV_EXTENSIONS = (".csv", ".txt")

_NO_DISK = (
    "Writing the table as CSV to {} on {} failed: {}. If that disk is full, let TMPDIR name a folder with more room."
)


def is_table(value: Any) -> bool:
    """True for a pandas or polars ``DataFrame``, a polars ``LazyFrame``, a pyarrow ``Table`` or ``RecordBatch``."""
    return _writer_of(value) is not None


def csv_name_warning(filename: str) -> str | None:
    """A warning in plain words if Workbench would not read a File of this name as CSV, else None."""
    if filename.lower().endswith(_CSV_EXTENSIONS):
        return None
    return (
        f"The table is written as CSV, but Workbench tells by the File's name how to read it, and "
        f"{printable(filename)!r} does not end with .csv."
    )


class TableSource:
    """A table as CSV (UTF-8, with a header, lines ended by ``\\n``), for :func:`~.upload.upload_file`.

    It lies in a temporary file in ``TMPDIR`` that no other user may read and that has no name: whatever ends the
    process, nothing of it is left. Memory does not grow with the CSV; a ``LazyFrame`` is streamed into it.

    A pandas index is written if it holds data: an unnamed one of whole numbers, which only counts rows, is left out:
    name the index to keep it.

    :param table: see :func:`is_table`; not needed any more once this is made
    :raises SourceReadError: the disk with ``TMPDIR`` failed or is full
    :raises Exception: the library's own, where it cannot write the table
    """

    name: str | None = None

    def __init__(self, table: Any) -> None:
        write = _writer_of(table)
        if write is None:
            raise TypeError(f"A {type(table).__name__} is no table.")
        problem = None
        try:
            self.stream: BinaryIO = tempfile.TemporaryFile()  # noqa: SIM115  (until close)
        except OSError as error:
            problem = error.strerror
        if problem:
            raise SourceReadError(_NO_DISK.format("the temporary folder (TMPDIR)", socket.gethostname(), problem))
        try:
            write(table, self.stream)
            self.stream.flush()
            self.size = os.fstat(self.stream.fileno()).st_size
        except BaseException as error:
            self.close()
            # its subclasses are of what a lazy frame reads
            if type(error) is not OSError:
                raise
            problem = error.strerror or printable(str(error))
        if problem:
            folder = printable(tempfile.gettempdir())
            raise SourceReadError(_NO_DISK.format(folder, socket.gethostname(), problem))

    @cached_property
    def fingerprint(self) -> str:
        """A digest of the CSV, so that another try that makes the same table goes on with the upload."""
        digest = hashlib.sha256()
        reader = self.open_at(0)
        try:
            while block := reader.read(_BLOCK):
                digest.update(block)
        finally:
            reader.close()
        return f"sha256:{digest.hexdigest()}"

    def open_at(self, offset: int) -> Reader:
        """See :meth:`Source.open_at`."""
        return _PathReader(self.stream.fileno(), offset)

    def check_unchanged(self) -> None:
        """Nobody else can get at it."""

    def close(self) -> None:
        """Close the file, which is its end."""
        # what could not be written was not sent, either
        with suppress(OSError):
            self.stream.close()


def _write_pandas(table: Any, file: BinaryIO) -> None:
    index = table.index
    only_counts = index.nlevels == 1 and index.name is None and index.inferred_type in ("integer", "empty")
    table.to_csv(file, mode="wb", index=not only_counts, encoding="utf-8", lineterminator="\n")


def _write_polars(table: Any, file: BinaryIO) -> None:
    table.write_csv(file)


def _stream_polars(table: Any, file: BinaryIO) -> None:
    table.sink_csv(file)


def _write_pyarrow(table: Any, file: BinaryIO) -> None:
    from pyarrow import csv

    csv.write_csv(table, file)


_WRITERS: dict[tuple[str, str], Callable[[Any, BinaryIO], None]] = {
    ("pandas", "DataFrame"): _write_pandas,
    ("polars", "DataFrame"): _write_polars,
    ("polars", "LazyFrame"): _stream_polars,
    ("pyarrow", "Table"): _write_pyarrow,
    ("pyarrow", "RecordBatch"): _write_pyarrow,
}


def _writer_of(value: Any) -> Callable[[Any, BinaryIO], None] | None:
    """By the type's name and library, also those of its bases: whoever made a table has imported its library."""
    for cls in type(value).__mro__:
        writer = _WRITERS.get((cls.__module__.partition(".")[0], cls.__name__))
        if writer:
            return writer
    return None
