from __future__ import annotations

import errno
import os
import socket
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_workbench.client.errors import (
    SourceChangedError,
    SourceError,
    SourceMissingError,
    SourceReadError,
)
from airflow_provider_workbench.client.sources import BytesSource, PathSource, open_source


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "a.csv"
    path.write_bytes(b"A\n1\n")
    return path


def test_path_has_a_name_a_size_and_bytes(path: Path) -> None:
    for what in (path, str(path)):
        source = open_source(what)
        assert (source.name, source.size) == ("a.csv", 4)
        assert source.stream.read() == b"A\n1\n"
        source.check_unchanged()
        source.close()
        assert source.stream.closed


def test_path_like_of_bytes_is_a_path(path: Path) -> None:
    class Odd:
        def __fspath__(self) -> bytes:
            return os.fsencode(path)

    source = open_source(Odd())  # type: ignore[arg-type]
    assert source.name == "a.csv"
    source.close()


def test_symbolic_link_is_followed_and_gives_the_name(path: Path, tmp_path: Path) -> None:
    (tmp_path / "latest.csv").symlink_to(path)
    source = open_source(tmp_path / "latest.csv")
    assert (source.name, source.size) == ("latest.csv", 4)
    source.close()


def test_bytes_have_a_size_and_no_name() -> None:
    source = open_source(b"abc")
    assert isinstance(source, BytesSource)
    assert (source.name, source.size, source.stream.read()) == (None, 3, b"abc")
    source.check_unchanged()
    source.close()


@pytest.mark.parametrize("what", [bytearray(b"x"), 5, ["a"]])
def test_other_things_are_refused(what: Any) -> None:
    with pytest.raises(SourceError, match=f"Cannot upload a {type(what).__name__}"):
        open_source(what)


def test_nothing_is_refused_with_the_likely_reason() -> None:
    with pytest.raises(SourceError, match="filepath is None.*skipped"):
        open_source(None)


def test_missing_file_names_path_and_machine_and_may_be_retried(tmp_path: Path) -> None:
    for missing in (tmp_path / "nö.csv", tmp_path / "no" / "a.csv"):
        with pytest.raises(SourceMissingError, match="Workers share no disk.*object storage") as caught:
            open_source(missing)
        assert str(missing) in str(caught.value)
        assert socket.gethostname() in str(caught.value)
        assert caught.value.retryable


def test_file_in_place_of_a_folder_is_missing_too(path: Path) -> None:
    with pytest.raises(SourceMissingError):
        open_source(path / "a.csv")


def test_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="is a directory"):
        open_source(tmp_path)


def test_pipe_is_refused_without_waiting_for_a_writer(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SourceError, match="is no regular file"):
        open_source(tmp_path / "pipe")


def test_device_is_refused() -> None:
    with pytest.raises(SourceError, match="is no regular file"):
        open_source("/dev/null")


@pytest.mark.parametrize("bad", ["", "a\0b", "a\ud800b"])
def test_path_that_can_be_none_is_refused(bad: str) -> None:
    with pytest.raises(SourceError, match="names no file"):
        open_source(bad)


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.EACCES, SourceError),
        (errno.ELOOP, SourceError),
        (errno.ESTALE, SourceReadError),
        (errno.EMFILE, SourceReadError),
        (errno.EIO, SourceReadError),
    ],
)
def test_what_a_machine_gets_over_is_retryable(
    path: Path, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[SourceError]
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(SourceError, match=os.strerror(number)) as caught:
        open_source(path)
    assert type(caught.value) is kind


def test_path_shown_in_an_error_is_printable(tmp_path: Path) -> None:
    with pytest.raises(SourceMissingError) as caught:
        open_source(tmp_path / "a\x1b[2J\n.csv")
    assert str(caught.value).isprintable()


@given(st.text(max_size=30))
def test_any_text_is_a_file_or_a_source_error(text: str) -> None:
    with pytest.raises(SourceError) as caught:
        open_source(f"/nowhere-at-all/{text}")
    assert str(caught.value).isprintable()


def changed(source: PathSource) -> str:
    with pytest.raises(SourceChangedError) as caught:
        source.check_unchanged()
    return str(caught.value)


def test_file_that_another_machine_replaced_is_not_asked_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """NFS says so of every descriptor of the old file, for ever."""

    def stale(descriptor: int) -> os.stat_result:
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    source = open_source(path)
    monkeypatch.setattr(os, "fstat", stale)
    with pytest.raises(SourceChangedError, match="by another machine") as caught:
        source.check_unchanged()
    monkeypatch.undo()
    source.close()
    assert caught.value.retryable


def test_grown_and_cut_files_have_changed(path: Path) -> None:
    source = PathSource(path)
    with path.open("ab") as file:
        file.write(b"2\n")
    assert "(4 bytes when it was opened, 6 now)" in changed(source)
    os.truncate(path, 4)
    os.utime(path, ns=(0, source._before.st_mtime_ns))
    assert "rename it when it is complete" in changed(source)
    source.close()


def test_rewritten_file_with_its_old_time_has_changed(path: Path) -> None:
    source = PathSource(path)
    before = path.stat()
    os.utime(path, ns=(1, 1))  # leave the tick of the clock in which the file was made
    path.write_bytes(b"B\n2\n")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    while path.stat().st_ctime_ns == before.st_ctime_ns:
        path.chmod(0o600)
    assert "changed while it was being sent" in changed(source)
    source.close()


def test_replaced_path_leaves_the_opened_version(path: Path, tmp_path: Path) -> None:
    source = PathSource(path)
    (tmp_path / "new").write_bytes(b"other bytes")
    os.replace(tmp_path / "new", path)
    source.check_unchanged()
    assert source.stream.read() == b"A\n1\n"
    source.close()


def test_moved_file_can_still_be_sent(path: Path, tmp_path: Path) -> None:
    source = PathSource(path)
    before = path.stat()
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # leave the tick of the clock in which it was made
    path.rename(tmp_path / "archive.csv")
    source.check_unchanged()
    assert source.stream.read() == b"A\n1\n"
    (tmp_path / "archive.csv").write_bytes(b"B\n2\n3\n")
    assert "(4 bytes when it was opened, 6 now)" in changed(source)
    source.close()


def test_mode_that_changes_is_said_to_have(path: Path) -> None:
    source = PathSource(path)
    before = path.stat()
    while path.stat().st_ctime_ns == before.st_ctime_ns:
        path.chmod(0o600)
    assert "(its mode, owner or times, and perhaps its bytes)" in changed(source)
    source.close()


def test_opened_source_is_taken_as_it_is_and_nothing_of_it_read() -> None:
    class Unread(BytesSource):
        @property
        def fingerprint(self) -> str:
            raise AssertionError("it may take long")

    source = Unread(b"abc")
    assert open_source(source) is source


def test_deleted_file_can_still_be_sent(path: Path) -> None:
    source = PathSource(path)
    path.unlink()
    source.check_unchanged()
    assert source.stream.read() == b"A\n1\n"
    source.close()


def test_file_that_cannot_be_looked_at_is_a_read_error(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> os.stat_result:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    source = PathSource(path)
    monkeypatch.setattr(os, "fstat", fail)
    with pytest.raises(SourceReadError, match="Input.output error"):
        source.check_unchanged()
    monkeypatch.undo()
    source.close()


# ---- readers


def test_readers_do_not_disturb_each_other(path: Path) -> None:
    path.write_bytes(b"0123456789")
    for source in (PathSource(path), BytesSource(b"0123456789")):
        one, two = source.open_at(2), source.open_at(5)
        assert [one.read(2), two.read(2), one.read(2), two.read(9), two.read(1)] == [b"23", b"56", b"45", b"789", b""]
        one.close()
        two.close()
        source.close()


def test_reader_outlives_its_source(path: Path) -> None:
    """A read that stalled is left to end by itself."""
    source = PathSource(path)
    reader = source.open_at(1)
    source.close()
    assert reader.read(10) == b"\n1\n"
    reader.close()


def test_reader_reads_the_version_that_was_opened(path: Path, tmp_path: Path) -> None:
    source = PathSource(path)
    (tmp_path / "new").write_bytes(b"other bytes")
    os.replace(tmp_path / "new", path)
    reader = source.open_at(0)
    assert reader.read(100) == b"A\n1\n"
    reader.close()
    source.close()


@pytest.mark.parametrize("function", ["pread", "dup"])
def test_read_that_fails_is_a_read_error(path: Path, monkeypatch: pytest.MonkeyPatch, function: str) -> None:
    def fail(*_: object) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    source = PathSource(path)
    monkeypatch.setattr(os, function, fail)
    with pytest.raises(SourceReadError, match="Reading the file failed: Input/output error"):
        source.open_at(0).read(1)
    monkeypatch.undo()
    source.close()


def test_fingerprint_changes_with_the_file_and_not_with_the_try(path: Path, tmp_path: Path) -> None:
    def fingerprint(what: Any) -> str:
        source = open_source(what)
        source.close()
        return source.fingerprint

    first = fingerprint(path)
    assert fingerprint(path) == first
    os.utime(path, ns=(1, 1))
    second = fingerprint(path)
    (tmp_path / "b.csv").write_bytes(b"A\n1\n")
    assert len({first, second, fingerprint(tmp_path / "b.csv")}) == 3
    assert fingerprint(b"x") == fingerprint(b"x") != fingerprint(b"y")
    assert "x" * 40 not in fingerprint(b"x" * 40)


def test_path_that_leads_elsewhere_or_nowhere_was_replaced(path: Path, tmp_path: Path) -> None:
    source = PathSource(path)
    assert not source.was_replaced
    (tmp_path / "new").write_bytes(b"A\n1\n")
    os.replace(tmp_path / "new", path)
    assert source.was_replaced
    path.unlink()
    assert source.was_replaced
    source.close()
