"""A source that changes, stalls or fails while it is being sent. The rig holds each claim against the sandbox."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from fault_script import Fault
from rig import Rig, impatient, once

from airflow_provider_workbench.client import errors
from airflow_provider_workbench.client.sources import PathSource, Reader

MIB = 1024 * 1024
OLD = os.urandom(24 * MIB)  # more than is read ahead and than the sockets hold
EDGE = 8 * MIB


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "file.dat"
    path.write_bytes(OLD)
    time.sleep(0.02)  # past the file system's clock tick
    return path


def rewrite(path: Path) -> None:
    """Other bytes, of the same number."""
    with path.open("r+b") as file:
        file.write(b"\0" * len(OLD))


def rewrite_and_hide(path: Path) -> None:
    """The same, with the old modification time."""
    before = path.stat()
    rewrite(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def touch_last_block(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(len(OLD) - 1)
        file.write(b"\0")


def truncate(path: Path) -> None:
    os.truncate(path, EDGE)


def empty(path: Path) -> None:
    os.truncate(path, 0)


def append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


CHANGES = (rewrite, rewrite_and_hide, touch_last_block, truncate, empty, append)
changing = pytest.mark.parametrize("change", CHANGES, ids=[change.__name__ for change in CHANGES])


@changing
@pytest.mark.parametrize("chunk_size", [None, 5_000_000])
@pytest.mark.parametrize("at", [1, EDGE, len(OLD) - MIB])
def test_file_that_changes_in_place_is_an_error_and_no_file(
    rig: Rig, path: Path, change: Callable[[Path], None], chunk_size: int | None, at: int
) -> None:
    outcome = rig.upload(path, content=OLD, during=once(at, lambda: change(path)), chunk_size=chunk_size)
    assert type(outcome.error) is errors.SourceChangedError
    assert rig.files() == 0
    assert not rig.wb.uploads.uploads, "the upload was not terminated"


@changing
def test_file_that_changes_while_the_upload_is_cut_is_an_error_and_no_file(
    rig: Rig, path: Path, change: Callable[[Path], None]
) -> None:
    cut = Fault("cut", method="PATCH", at=EDGE)
    stall = Fault("stall", method="HEAD", seconds=0.3)
    outcome = rig.upload(path, cut, stall, content=OLD, during=once(EDGE, lambda: change(path)))
    assert type(outcome.error) is errors.SourceChangedError
    assert rig.files() == 0


@changing
def test_file_that_changes_before_the_last_answer_was_lost_is_an_error_or_the_old_file(
    rig: Rig, path: Path, change: Callable[[Path], None]
) -> None:
    """All its bytes have left, so Workbench may take it; a second round must not send the new ones."""
    rig.wb.hook = "500"
    during = once(len(OLD), lambda: change(path))
    outcome = rig.upload(path, Fault("lose", method="PATCH"), content=OLD, during=during)
    assert outcome.error
    assert rig.files() == 0


def test_replaced_path_leaves_the_version_that_was_opened(rig: Rig, path: Path) -> None:
    def replace() -> None:
        new = path.with_name("new")
        new.write_bytes(b"new")
        new.replace(path)

    outcome = rig.upload(path, content=OLD, during=once(EDGE, replace))
    assert outcome.result
    assert any("replaced" in line for line in (*outcome.log, *outcome.warnings))


def test_removed_path_leaves_the_version_that_was_opened(rig: Rig, path: Path) -> None:
    outcome = rig.upload(path, Fault("cut", method="PATCH", at=EDGE), content=OLD, during=once(1, path.unlink))
    assert outcome.result
    assert any("replaced" in line for line in (*outcome.log, *outcome.warnings))


def test_new_link_to_the_file_is_no_change(rig: Rig, path: Path) -> None:
    assert rig.upload(path, content=OLD, during=once(EDGE, lambda: os.link(path, path.with_name("second")))).result


class _Slow:
    """A file whose reading stalls, or fails, once, at a byte."""

    def __init__(self, reader: Reader, offset: int, trouble: _Trouble) -> None:
        self._reader = reader
        self._offset = offset
        self._trouble = trouble

    def read(self, size: int, /) -> bytes:
        if self._trouble.left and self._offset + size > self._trouble.at:
            self._trouble.left -= 1
            time.sleep(self._trouble.seconds)
            if self._trouble.error:
                raise self._trouble.error
        block = self._reader.read(size)
        self._offset += len(block)
        return block

    def close(self) -> None:
        self._reader.close()


class _Trouble:
    """A source with trouble at a byte. (A slow pipe would be one, but only regular files are taken.)"""

    def __init__(
        self, path: Path, at: int, *, seconds: float = 0, error: Exception | None = None, times: int = 1
    ) -> None:
        self._source = PathSource(path)
        self.at = at
        self.seconds = seconds
        self.error = error
        self.left = times

    @property
    def name(self) -> str | None:
        return self._source.name

    @property
    def size(self) -> int:
        return self._source.size

    @property
    def stream(self) -> BinaryIO:
        return self._source.stream

    @property
    def fingerprint(self) -> str:
        return self._source.fingerprint

    def open_at(self, offset: int) -> Any:
        return _Slow(self._source.open_at(offset), offset, self)

    def check_unchanged(self) -> None:
        self._source.check_unchanged()

    def close(self) -> None:
        self._source.close()


def test_source_that_stalls_is_cut_and_loses_nothing(rig: Rig, path: Path) -> None:
    rig.wb.idle_limit = 1.0  # what the server then does not keep, a cut connection does (recorded)
    outcome = rig.upload(_Trouble(path, EDGE, seconds=2.0), content=OLD, patience=impatient(source=0.4))
    assert outcome.result
    assert outcome.result.attempts == 1
    assert rig.sent == len(OLD)
    assert outcome.result.resumed_from > EDGE - MIB
    assert any("gave no bytes" in line for line in outcome.log)


def test_source_that_stalls_again_and_again_is_no_failure(rig: Rig, path: Path) -> None:
    rig.wb.idle_limit = 1.0
    outcome = rig.upload(_Trouble(path, EDGE, seconds=0.7, times=5), content=OLD, patience=impatient(source=0.4))
    assert outcome.result
    assert rig.sent == len(OLD)


def test_source_that_stalls_at_the_first_byte_is_waited_for(rig: Rig, path: Path) -> None:
    rig.wb.idle_limit = 0.5
    assert rig.upload(_Trouble(path, 0, seconds=1.5), content=OLD, patience=impatient(source=0.4)).result


def test_source_that_never_gives_a_byte_is_an_error(rig: Rig, path: Path) -> None:
    outcome = rig.upload(_Trouble(path, EDGE, seconds=5, times=9), content=OLD, retry_budget=2)
    assert isinstance(outcome.error, errors.SourceReadError | errors.UploadInterruptedError)
    assert outcome.seconds < 15


def test_source_that_cannot_be_read_any_more_is_an_error(rig: Rig, path: Path) -> None:
    broken = errors.SourceReadError("Reading the file failed: Input/output error.")
    outcome = rig.upload(_Trouble(path, EDGE, error=broken, times=99), content=OLD, retry_budget=2)
    assert type(outcome.error) is errors.SourceReadError
    assert rig.files() == 0


@pytest.mark.parametrize("kind", ["pipe", "directory", "device"])
def test_what_is_no_regular_file_is_refused_before_anything_is_sent(rig: Rig, tmp_path: Path, kind: str) -> None:
    path = {"pipe": tmp_path / "pipe", "directory": tmp_path, "device": Path("/dev/zero")}[kind]
    if kind == "pipe":
        os.mkfifo(path)
    outcome = rig.upload(path, content=b"")
    assert type(outcome.error) is errors.SourceError
    assert rig.proxy.seen == []
