from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_workbench.client.errors import SourceReadError, UploadStoppedError
from airflow_provider_workbench.client.read_ahead import BLOCK, BLOCKS_AHEAD, ReadAhead, SourceStalledError
from airflow_provider_workbench.client.sources import BytesSource


def go_on() -> None:
    return


def threads() -> int:
    return sum(thread.name == "workbench-read-ahead" for thread in threading.enumerate())


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not true() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert true()


def read_all(blocks: ReadAhead, length: int) -> bytes:
    content = b""
    while len(content) < length and (block := blocks.next_block(5, go_on)):
        content += block
    return content


@pytest.mark.parametrize(("offset", "length"), [(0, 10), (3, 4), (9, 1), (0, 3 * BLOCK + 5), (BLOCK - 1, 2 * BLOCK)])
def test_bytes_come_in_order_from_the_offset(offset: int, length: int) -> None:
    content = bytes(range(256)) * (4 * BLOCK // 256)
    blocks = ReadAhead(BytesSource(content).open_at, offset, length)
    assert read_all(blocks, length) == content[offset : offset + length]
    blocks.close()


def test_end_of_a_source_that_became_shorter_is_an_empty_block() -> None:
    blocks = ReadAhead(BytesSource(b"abc").open_at, 0, 10)
    assert blocks.next_block(5, go_on) == b"abc"
    assert blocks.next_block(5, go_on) == b""
    blocks.close()


class Endless:
    """Counts the blocks that were read; stalls while it may not go on."""

    def __init__(self) -> None:
        self.blocks = 0
        self.closed = 0
        self.may = threading.Event()
        self.may.set()

    def open_at(self, offset: int) -> Any:
        return self

    def read(self, size: int) -> bytes:
        self.may.wait(5)
        self.blocks += 1
        return bytes(size)

    def close(self) -> None:
        self.closed += 1


def test_no_more_is_read_than_a_few_blocks_ahead() -> None:
    source = Endless()
    blocks = ReadAhead(source.open_at, 0, 100 * BLOCK)
    time.sleep(0.2)
    assert source.blocks == BLOCKS_AHEAD + 1
    blocks.close()
    wait_until(lambda: source.closed == 1)


def test_stalled_source_is_left_and_its_thread_ends_with_the_read() -> None:
    source = Endless()
    source.may.clear()
    before = threads()
    blocks = ReadAhead(source.open_at, 0, BLOCK)
    began = time.monotonic()
    with pytest.raises(SourceStalledError):
        blocks.next_block(0.3, go_on)
    assert 0.3 <= time.monotonic() - began < 1
    blocks.close()
    source.may.set()
    wait_until(lambda: source.closed == 1 and threads() == before)


def test_waiting_for_a_stalled_source_can_be_ended() -> None:
    source = Endless()
    source.may.clear()
    blocks = ReadAhead(source.open_at, 0, BLOCK)

    def stop() -> None:
        raise UploadStoppedError("mine")

    began = time.monotonic()
    with pytest.raises(UploadStoppedError):
        blocks.next_block(60, stop)
    assert time.monotonic() - began < 1
    source.may.set()
    blocks.close()


def test_readers_error_comes_through_after_what_was_read() -> None:
    class Failing(Endless):
        def read(self, size: int) -> bytes:
            if self.blocks:
                raise SourceReadError("mine")
            return super().read(size)

    source = Failing()
    blocks = ReadAhead(source.open_at, 0, 2 * BLOCK)
    assert blocks.next_block(5, go_on) == bytes(BLOCK)
    with pytest.raises(SourceReadError, match="mine"):
        blocks.next_block(5, go_on)
    assert source.closed == 1
    blocks.close()


def test_error_of_opening_comes_through() -> None:
    def fail(offset: int) -> Any:
        raise SourceReadError("mine")

    blocks = ReadAhead(fail, 0, 1)
    with pytest.raises(SourceReadError, match="mine"):
        blocks.next_block(5, go_on)
    blocks.close()
