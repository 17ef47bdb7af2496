"""Tables as CSV: each library's own, in a temporary file without a name."""

from __future__ import annotations

import io
import os
import resource
import signal
import subprocess
import sys
import tempfile

import pandas
import polars
import pyarrow
import pyarrow.csv
import pytest

from airflow_provider_workbench.client.errors import SourceReadError
from airflow_provider_workbench.client.sources import Source, open_source
from airflow_provider_workbench.client.tables import TableSource, csv_name_warning, is_table

VALUES = {"city": ["Bergen", "São Paulo", 'a "b", c', None], "sold": [1, 2, 3, 4], "price": [0.1, 2.5, None, 1e21]}


def csv_of(table):
    source = TableSource(table)
    try:
        return read(source)
    finally:
        source.close()


def read(source, offset=0):
    reader = source.open_at(offset)
    try:
        return b"".join(iter(lambda: reader.read(7), b""))
    finally:
        reader.close()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where temporary files go."""
    folder = tmp_path / "tmpdir"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def open_in(folder):
    """Descriptors of files in the folder, also of such that have no name any more."""
    found = {}
    for descriptor in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{descriptor}")
        except FileNotFoundError:  # the listing's own
            continue
        if target.startswith(f"{folder}/"):
            found[int(descriptor)] = target
    return found


class TestWriters:
    def test_pandas(self):
        frame = pandas.DataFrame(VALUES)
        assert csv_of(frame) == frame.to_csv(index=False).encode()

    def test_polars(self):
        frame = polars.DataFrame(VALUES)
        assert csv_of(frame) == frame.write_csv().encode()

    def test_a_lazy_polars_frame(self):
        frame = polars.DataFrame(VALUES)
        assert csv_of(frame.lazy().filter(polars.col("sold") > 1)) == frame[1:].write_csv().encode()

    @pytest.mark.parametrize("table", [pyarrow.table(VALUES), pyarrow.RecordBatch.from_pydict(VALUES)], ids=type)
    def test_pyarrow(self, table):
        expected = io.BytesIO()
        pyarrow.csv.write_csv(table, expected)
        assert csv_of(table) == expected.getvalue()

    @pytest.mark.parametrize(
        "make", [pandas.DataFrame, polars.DataFrame, pyarrow.table], ids=lambda make: make.__module__
    )
    def test_utf_8_without_a_mark_newlines_and_a_header(self, make):
        written = csv_of(make({"città": ["ø", "b"]}))
        assert written.replace(b'"', b"").decode() == "città\nø\nb\n"

    def test_a_subclass_of_a_frame_is_written_like_it(self):
        class Ours(pandas.DataFrame):
            pass

        assert csv_of(Ours({"a": [1]})) == b"a\n1\n"


class TestPandasIndex:
    """It is written where it holds data."""

    def test_row_numbers_are_left_out(self):
        frame = pandas.DataFrame({"a": [1, 2, 3]})
        assert csv_of(frame) == b"a\n1\n2\n3\n"
        assert csv_of(frame[frame["a"] > 1]) == b"a\n2\n3\n"

    @pytest.mark.parametrize("frame", [pandas.DataFrame({"a": []}), pandas.DataFrame({"a": []}, index=[])], ids=str)
    def test_no_rows_have_no_index(self, frame):
        assert csv_of(frame) == b"a\n"

    def test_what_a_group_is_named_by_is_written(self):
        frame = pandas.DataFrame({"city": ["b", "a", "b"], "year": [1, 1, 2], "sold": [1, 2, 3]})
        assert csv_of(frame.groupby("city").sum()[["sold"]]) == b"city,sold\na,2\nb,4\n"
        assert csv_of(frame.groupby(["city", "year"]).sum()) == b"city,year,sold\na,1,2\nb,1,1\nb,2,3\n"
        assert csv_of(frame.set_index("year")[["sold"]]) == b"year,sold\n1,1\n1,2\n2,3\n"

    def test_dates_are_written_though_they_have_no_name(self):
        frame = pandas.DataFrame({"sold": [1, 2]}, index=pandas.date_range("2026-01-01", periods=2))
        assert csv_of(frame) == b",sold\n2026-01-01,1\n2026-01-02,2\n"


class TestRecognition:
    @pytest.mark.parametrize(
        "value",
        [
            None,
            "a,b\n",
            b"a,b\n",
            [VALUES],
            VALUES,
            pandas.Series([1]),
            polars.Series([1]),
            pyarrow.array([1]),
            pandas.DataFrame,
        ],
        ids=lambda value: type(value).__name__,
    )
    def test_other_things_are_no_tables(self, value):
        assert not is_table(value)
        with pytest.raises(TypeError, match=f"A {type(value).__name__} is no table"):
            TableSource(value)

    def test_a_class_of_the_same_name_is_no_table(self):
        assert not is_table(type("DataFrame", (), {})())

    def test_no_library_is_imported_to_tell(self):
        script = """
import sys
from airflow_provider_workbench.client.tables import is_table
assert not is_table({})
print(sorted({"pandas", "polars", "pyarrow", "numpy"} & set(sys.modules)))
"""
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
        assert done.stdout == "[]\n", done.stderr


class TestTemporaryFile:
    def test_it_is_in_the_folder_for_such_private_and_without_a_name(self, folder):
        source = TableSource(pandas.DataFrame(VALUES))
        (descriptor,) = open_in(folder)
        assert os.fstat(descriptor).st_mode & 0o777 == 0o600
        assert list(folder.iterdir()) == []
        source.close()
        assert open_in(folder) == {}
        source.close()

    def test_a_library_that_cannot_write_the_table_says_so_itself(self, folder):
        with pytest.raises(polars.exceptions.ComputeError, match="nested"):
            TableSource(polars.DataFrame({"a": [[1, 2]]}))
        assert open_in(folder) == {}

    def test_a_lazy_frame_of_a_missing_file_is_no_fault_of_the_disk(self, folder):
        with pytest.raises(FileNotFoundError):
            TableSource(polars.scan_csv(folder / "gone.csv"))
        assert open_in(folder) == {}

    def test_a_missing_temporary_folder_is_named(self, folder):
        folder.rmdir()
        with pytest.raises(SourceReadError, match="TMPDIR"):
            TableSource(pandas.DataFrame(VALUES))

    @pytest.mark.parametrize(
        "make", [pandas.DataFrame, polars.DataFrame, polars.LazyFrame, pyarrow.table], ids=lambda make: make.__module__
    )
    def test_a_disk_without_room_is_left_to_a_retry(self, folder, make):
        table = make({"a": list(range(200_000))})
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
        try:
            with pytest.raises(SourceReadError, match=f"to {folder} on .* failed: File too large.*TMPDIR") as caught:
                TableSource(table)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            signal.signal(signal.SIGXFSZ, handler)
        assert caught.value.retryable
        assert open_in(folder) == {}


class TestSource:
    def test_readers_do_not_disturb_each_other(self):
        source = TableSource(pandas.DataFrame({"a": range(1000)}))
        assert isinstance(source, Source)
        assert open_source(source) is source
        whole = read(source)
        first, second = source.open_at(0), source.open_at(100)
        assert (first.read(5), second.read(5), first.read(5)) == (whole[:5], whole[100:105], whole[5:10])
        first.close()
        second.close()
        assert (source.size, source.name) == (len(whole), None)
        source.check_unchanged()
        source.close()

    def test_the_fingerprint_is_the_contents(self):
        one, same, other = (TableSource(pandas.DataFrame({"a": values})) for values in ([1, 2], [1, 2], [2, 1]))
        assert one.fingerprint == same.fingerprint != other.fingerprint
        assert open_source(b"a\n1\n2\n").fingerprint == one.fingerprint
        for source in (one, same, other):
            source.close()


@pytest.mark.parametrize("name", ["a.csv", "a.CSV", "a.txt"])
def test_workbench_reads_csv_by_these_names(name):
    assert csv_name_warning(name) is None


@pytest.mark.parametrize("name", ["a.tsv", "a.json", "a.xlsx", "a", "a.csv.gz"])
def test_other_names_are_a_warning(name):
    assert f"{name!r} does not end with .csv" in csv_name_warning(name)
