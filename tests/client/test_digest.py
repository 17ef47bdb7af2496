"""SHA-256 computed from what is read for sending."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from uploads import DEFAULT, QUICK, SECRET, Call, Told, Workbench, cut, failing, settings_of, upload

from airflow_provider_workbench.client import errors
from airflow_provider_workbench.client.digest import DigestingSource
from airflow_provider_workbench.client.listener import Kept
from airflow_provider_workbench.client.session import Session
from airflow_provider_workbench.client.settings import Settings
from airflow_provider_workbench.client.sources import BytesSource, PathSource, Source
from airflow_provider_workbench.sandbox import Sandbox

CONTENT = os.urandom(3_000_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Counting(BytesSource):
    """Counts the bytes that are read of it."""

    def __init__(self, content: bytes = CONTENT) -> None:
        super().__init__(content)
        self.read = 0
        self.checked = 0

    def open_at(self, offset: int) -> Any:
        return _CountingReader(self, super().open_at(offset))

    def check_unchanged(self) -> None:
        self.checked += 1


class _CountingReader:
    def __init__(self, source: Counting, reader: Any) -> None:
        self.source, self.reader = source, reader

    def read(self, size: int) -> bytes:
        block = bytes(self.reader.read(size))
        self.source.read += len(block)
        return block

    def close(self) -> None:
        self.reader.close()


def test_it_is_a_source_like_the_one_in_it(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"A\n")
    inner = PathSource(path)
    source = DigestingSource(inner)
    assert isinstance(source, Source)
    assert (source.name, source.size, source.fingerprint) == ("a.csv", 2, inner.fingerprint)
    assert source.stream is inner.stream
    assert not source.was_replaced
    path.write_bytes(b"AB\n")
    with pytest.raises(errors.SourceChangedError):
        source.check_unchanged()
    path.unlink()
    assert source.was_replaced
    source.close()
    assert inner.stream.closed
    assert not DigestingSource(BytesSource(b"")).was_replaced


# ---- the digest


@given(
    st.lists(st.tuples(st.integers(0, 999), st.lists(st.integers(1, 300), max_size=8)), max_size=6),
    st.integers(0, 1000),
)
def test_any_reading_gives_the_digest_of_the_whole(readings: list[tuple[int, list[int]]], size: int) -> None:
    content = CONTENT[:size]
    source = DigestingSource(BytesSource(content))
    for offset, sizes in readings:
        reader = source.open_at(min(offset, size))
        read = b"".join(reader.read(count) for count in sizes)
        assert content[offset:].startswith(read)
        reader.close()
    assert source.sha256() == hashlib.sha256(content).hexdigest()


def test_nothing_is_read_twice_that_was_read_for_sending() -> None:
    inner = Counting()
    source = DigestingSource(inner)
    reader = source.open_at(0)
    while reader.read(65536):
        pass
    assert source.sha256() == SHA256
    assert inner.read == len(CONTENT)
    assert not inner.checked, "what changes after Workbench took it is nobody's business"


def test_gap_is_filled_before_reading_goes_on() -> None:
    inner = Counting()
    source = DigestingSource(inner)
    reader = source.open_at(2_500_000)
    assert inner.read == 2_500_000
    while reader.read(65536):
        pass
    assert source.sha256() == SHA256
    assert inner.read == len(CONTENT)


def test_what_nobody_read_is_read_at_the_end_and_seen_to_be_unchanged() -> None:
    inner = Counting()
    source = DigestingSource(inner)
    source.open_at(0).read(1000)
    assert source.sha256() == SHA256
    assert inner.checked == 1


def test_reader_that_comes_late_from_a_stalled_read_spoils_nothing() -> None:
    class Stalling(Counting):
        def open_at(self, offset: int) -> Any:
            reader = super().open_at(offset)
            return _Stalled(reader, release) if not self.read else reader

    class _Stalled:
        def __init__(self, reader: Any, release: threading.Event) -> None:
            self.reader, self.release = reader, release

        def read(self, size: int) -> bytes:
            block: bytes = self.reader.read(size)
            self.release.wait(10)
            return block

        def close(self) -> None: ...

    release = threading.Event()
    source = DigestingSource(Stalling())
    late = source.open_at(0)
    thread = threading.Thread(target=late.read, args=(1_000_000,))
    thread.start()
    reader = source.open_at(0)
    for _ in range(3):
        reader.read(123_457)
    release.set()
    thread.join()
    while reader.read(65536):
        pass
    assert source.sha256() == SHA256


def test_many_readers_at_once_spoil_nothing() -> None:
    source = DigestingSource(BytesSource(CONTENT))

    def run(offset: int) -> None:
        reader = source.open_at(offset)
        while reader.read(7919):
            pass

    threads = [threading.Thread(target=run, args=(offset,)) for offset in (0, 500_000, 0, 2_000_000)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert source.sha256() == SHA256


def test_bytes_behind_a_gap_are_left_for_later() -> None:
    source = DigestingSource(BytesSource(b"abcdef"))
    for offset, block in ((3, b"def"), (0, b"ab"), (4, b"ef"), (1, b"bc"), (0, b"")):
        source.feed(offset, block)
    assert source.sha256() == hashlib.sha256(b"abcdef").hexdigest()


def test_source_that_gives_less_than_before_has_no_digest() -> None:
    inner = Counting()
    inner.size += 1
    with pytest.raises(errors.SourceReadError):
        DigestingSource(inner).sha256()


# ---- in uploads


@pytest.mark.parametrize(
    ("size", "chunk_size"),
    [(0, None), (1, None), (100, None), (100, 7), (len(CONTENT), None), (len(CONTENT), 1_000_000)],
)
def test_upload_says_the_files_digest(wb: Sandbox, settings: Settings, size: int, chunk_size: int | None) -> None:
    result = upload(settings, CONTENT[:size], sha256=True, chunk_size=chunk_size)
    assert result.sha256 == hashlib.sha256(wb.step.content(wb.step.files[0].uuid)).hexdigest()
    assert result.as_dict()["sha256"] == result.sha256


def test_upload_computes_none_that_was_not_asked_for(settings: Settings) -> None:
    assert upload(settings, b"A\n1\n").sha256 is None


def uploaded(server: Workbench, told: Told | None = None, **options: Any) -> Any:
    inner = Counting()
    result = upload(server.settings, inner, told, filename="a.csv", sha256=True, **options)
    assert result.sha256 == SHA256
    assert server.files[-1][3] == CONTENT
    return result, inner


def test_cuts_do_not_spoil_it() -> None:
    with Workbench() as server:
        server.script["PATCH"] = [cut(1_000_000), cut(700_000, rst=False)]
        result, _ = uploaded(server)
        assert result.resumed_from == 1_700_000


def test_offset_that_goes_backwards_does_not_spoil_it() -> None:
    def forget(call: Call) -> None:
        call.read(1_500_000)
        call.peer.reset()

    with Workbench() as server:
        server.script["PATCH"] = [cut(1_000_000), forget]
        uploaded(server, chunk_size=1_600_000)


def unfinished(server: Workbench, offset: int) -> Kept:
    """What an earlier try left: so much has arrived."""
    server.name, server.size, server.created = "a.csv", len(CONTENT), 1
    server.content += CONTENT[:offset]
    now = datetime.now(UTC)
    return Kept(f"{server.url}/files/{SECRET}1+id{SECRET}", now - timedelta(seconds=9), now)


def test_resume_of_an_earlier_try_reads_again_what_that_one_sent() -> None:
    with Workbench() as server:
        kept = unfinished(server, 2_000_000)
        result, inner = uploaded(server, kept=kept)
        assert (result.resumed_from, result.bytes_sent) == (2_000_000, 1_000_000)
        assert inner.read == len(CONTENT)


class Dripping(Counting):
    """Gives slowly what an earlier try has sent."""

    def pause(self) -> float:
        """Seconds before the next read of it."""
        return 0.1

    def open_at(self, offset: int) -> Any:
        reader = super().open_at(offset)
        if offset:
            return reader
        plain = reader.read

        def read(size: int) -> bytes:
            threading.Event().wait(self.pause())
            return plain(min(size, 100_000))

        reader.read = read
        return reader


def resumed(server: Workbench, source: Counting, told: Told) -> Any:
    return upload(server.settings, source, told, filename="a.csv", sha256=True, kept=unfinished(server, 2_000_000))


def test_reading_again_what_an_earlier_try_sent_may_take_longer_than_the_budget() -> None:
    told = Told()
    with Workbench(retry_budget=1) as server:
        result = resumed(server, Dripping(), told)
        assert (result.resumed_from, result.sha256) == (2_000_000, SHA256)
        assert server.files[-1][3] == CONTENT
    assert "Reading the first 1.9 MiB again, for the SHA-256." in told.log


def test_and_takes_none_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    request, failures = Session.request, [errors.ConnectError("No way there."), errors.ConnectError("No way there.")]

    def unreachable_twice(self: Session, method: str, *args: Any, **options: Any) -> Any:
        if method == "PATCH" and failures:
            raise failures.pop()
        return request(self, method, *args, **options)

    monkeypatch.setattr(Session, "request", unreachable_twice)
    with Workbench(retry_budget=1) as server:
        assert resumed(server, Dripping(), Told()).sha256 == SHA256
    assert not failures


def test_reading_again_that_stops_is_an_error() -> None:
    class Stuck(Dripping):
        def pause(self) -> float:
            return 5 if self.read else 0

    with Workbench(retry_budget=0.5) as server:
        options = {"filename": "a.csv", "sha256": True, "kept": unfinished(server, 2_000_000)}
        error = failing(errors.SourceReadError, server.settings, Stuck(), **options)
        assert "gave no bytes for" in str(error)
        assert server.count("PATCH") == 0


def test_reading_at_the_end_can_be_stopped() -> None:
    def stop() -> None:
        raise errors.UploadStoppedError("stop")

    source = DigestingSource(Counting(CONTENT))
    with pytest.raises(errors.UploadStoppedError):
        source.sha256(stop)
    assert source.digested == 0


def finished(server: Workbench, what: Any) -> Kept:
    """What an earlier try left that was killed right before the last answer."""
    told = Told()
    upload(server.settings, what, told, filename="a.csv")
    return told.kept[-1]


def test_upload_that_an_earlier_try_finished_is_read_for_it() -> None:
    with Workbench(readable=True) as server:
        result, inner = uploaded(server, kept=finished(server, CONTENT))
        assert result.bytes_sent == 0
        assert inner.read == len(CONTENT)
        assert server.created == 1


@pytest.mark.parametrize("act", [lambda path: path.write_bytes(CONTENT[::-1]), lambda path: os.truncate(path, 5)])
def test_file_that_changes_before_its_digest_is_complete_has_none(
    tmp_path: Path, act: Callable[[Path], object]
) -> None:
    """Workbench has the File: that is no reason to fail."""
    path = tmp_path / "a.csv"
    path.write_bytes(CONTENT)
    with Workbench(readable=True) as server:
        kept = finished(server, path)
        told = Told()
        server.script["PAGE"] = [lambda call: (act(path), DEFAULT["PAGE"](call)), ...]
        result = upload(server.settings, path, told, sha256=True, kept=kept)
        assert result.sha256 is None
        assert "its SHA-256 is not known" in "\n".join(told.warnings)
        assert server.created == 1


def test_source_that_stalls_does_not_spoil_it(wb: Sandbox) -> None:
    class Slow(Counting):
        stalled = False

        def open_at(self, offset: int) -> Any:
            reader = super().open_at(offset)
            plain = reader.read

            def read(size: int) -> bytes:
                block = plain(min(size, 65536))
                if not self.stalled and self.read > 1_500_000:
                    self.stalled = True
                    threading.Event().wait(1.2)
                return block

            reader.read = read
            return reader

    result = upload(settings_of(wb), Slow(), told := Told(), filename="a.csv", sha256=True)
    assert "gave no bytes for a while" in told.log
    assert result.sha256 == SHA256
    assert wb.step.content(wb.step.files[0].uuid) == CONTENT


def test_changed_source_is_as_before(wb: Sandbox, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(CONTENT)
    told = Told(at_half=lambda: path.write_bytes(CONTENT[::-1]))
    failing(errors.SourceChangedError, settings_of(wb), path, told, sha256=True)
    assert wb.step.files == []


def test_replaced_path_is_told_with_a_digest_too(wb: Sandbox, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(CONTENT)
    (tmp_path / "new").write_bytes(b"new")
    told = Told(at_half=lambda: (tmp_path / "new").replace(path))
    result = upload(settings_of(wb), path, told, sha256=True, patience=QUICK)
    assert result.sha256 == SHA256
    assert "replaced" in told.log
