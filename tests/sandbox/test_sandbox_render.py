"""What becomes of a File: the table, or why there is none."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_workbench.sandbox.render import render, table

NUMBER = {"type": "number", "format": "{:,}"}
TEXT = {"type": "text"}


def column(name: str, kind: dict[str, str]) -> dict[str, str]:
    return {"name": name, **kind}


def rendered(tmp_path: Path, name: str, content: bytes | str):
    path = tmp_path / "stored"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return render(path, name)


@pytest.mark.parametrize(
    ("name", "content", "n_rows", "columns"),
    [
        ("a.csv", "A,B\n1,x\n2,yz", 2, [column("A", NUMBER), column("B", TEXT)]),
        ("a.CSV", "A\n1.5\n\n-2e3\n", 3, [column("A", NUMBER)]),
        ("a.b.tsv", "A\tB\n1\t\n2\t\n", 2, [column("A", NUMBER), column("B", TEXT)]),
        ("a.txt", "A;B\n1;x\n2;y\n", 2, [column("A", NUMBER), column("B", TEXT)]),
        ("a.txt", "one column\nof text\n", 1, [column("one column", TEXT)]),
        ("only header.csv", "A,B\n", 0, [column("A", TEXT), column("B", TEXT)]),
        ("quoted.csv", 'A,B\n"1,000","x\ny"\n', 1, [column("A", TEXT), column("B", TEXT)]),
        ("ragged.csv", "A,B\n1\n2,3,4\n", 2, [column("A", NUMBER), column("B", NUMBER)]),
        ("latin1.csv", b"A\n\xe4\n", 1, [column("A", TEXT)]),
        (
            "a.json",
            '[{"A": 1, "B": "x"}, {"A": null, "C": [1]}]',
            2,
            [column("A", NUMBER), column("B", TEXT), column("C", TEXT)],
        ),
    ],
)
def test_a_file_becomes_a_table(
    tmp_path: Path, name: str, content: bytes | str, n_rows: int, columns: list[dict[str, str]]
) -> None:
    output = rendered(tmp_path, name, content)
    assert output.errors == ()
    assert (output.status, output.n_rows, list(output.columns)) == ("ok", n_rows, columns)


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.txt", "a.json"])
def test_an_empty_file_is_unreachable_without_errors(tmp_path: Path, name: str) -> None:
    output = rendered(tmp_path, name, b"")
    assert (output.status, output.n_rows, output.columns, output.errors) == ("unreachable", 0, (), ())


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.xyz", "x", "Unknown file extension .xyz"),
        ("a.csv.gz", "x", "Unknown file extension .gz"),
        ("no suffix", "x", "Unknown file extension"),
        ("a.XLSX", "x", "Excel"),
        ("a.xls", "", "Excel"),
        ("a.json", "{", "not JSON"),
        ("a.json", '{"A": 1}', "array of objects"),
        ("a.json", b"\xff\xff", "not JSON"),
    ],
)
def test_what_cannot_be_read_is_an_error_that_says_why(
    tmp_path: Path, name: str, content: bytes | str, words: str
) -> None:
    output = rendered(tmp_path, name, content)
    assert (output.status, output.n_rows, output.columns) == ("error", 0, ())
    assert words in output.errors[0]


@given(content=st.binary(max_size=200), name=st.sampled_from(["a.csv", "a.tsv", "a.txt", "a.json"]))
@settings(max_examples=60, deadline=None)
def test_no_bytes_break_the_renderer(tmp_path_factory: pytest.TempPathFactory, content: bytes, name: str) -> None:
    output = rendered(tmp_path_factory.mktemp("bytes"), name, content)
    assert output.status in ("ok", "error", "unreachable")
    json.dumps(output.as_json())


def test_a_column_with_one_word_in_it_is_text(tmp_path: Path) -> None:
    content = "A\n" + "1\n" * 20_000 + "x\n"
    output = rendered(tmp_path, "a.csv", content)
    assert (output.n_rows, output.columns) == (20_001, (column("A", TEXT),))


def test_the_rows_come_as_json_and_csv(tmp_path: Path) -> None:
    path = tmp_path / "stored"
    path.write_text("A,B\n1,x\n2.5,\n,z\n")
    rows = [{"A": 1, "B": "x"}, {"A": 2.5, "B": None}, {"A": None, "B": "z"}]
    assert json.loads(table(path, "a.csv", "json", None)) == rows
    assert json.loads(table(path, "a.csv", "json", 2)) == rows[:2]
    assert table(path, "a.csv", "csv", 1) == "A,B\n1.0,x\n"
    assert table(None, "", "json", None) == "[]"


def test_rendering_a_large_file_takes_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "large.csv"
    with path.open("w") as file:
        file.write("A,B\n")
        for _ in range(40):
            file.write("12345,some text here\n" * 50_000)
    import resource

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert render(path, "large.csv").n_rows == 2_000_000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300 * 1024  # KiB; the File has 42 MB
    os.unlink(path)
