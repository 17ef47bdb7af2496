"""Reads a source in a thread of its own, a few blocks ahead, so that a source that stalls can be left.

A blocked read cannot be cut from its own thread, and a PATCH that waits for one loses on the server what a cut
connection keeps (protocol section 2, "Interruptions").
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable

from airflow_provider_workbench.client.sources import Reader

BLOCK = 512 * 1024
BLOCKS_AHEAD = 1
# seconds
_LOOK = 0.2


class SourceStalledError(Exception):
    """The source gave nothing for a while. Not an outcome: the upload goes on when it gives again."""


class ReadAhead:
    """``length`` bytes of a source from ``offset``.

    :param open_at: opens a reader at an offset in bytes; called in the thread
    :param offset: bytes
    :param length: bytes
    """

    def __init__(self, open_at: Callable[[int], Reader], offset: int, length: int) -> None:
        self._open_at = open_at
        self._offset = offset
        self._left = length
        # SimpleQueue hands over faster than Queue, by hundredths of an upload over TLS (benchmarks/transfer.py). It
        # has no limit, so room for a block is handed back when one is taken
        self._blocks: queue.SimpleQueue[bytes | BaseException] = queue.SimpleQueue()
        self._room: queue.SimpleQueue[None] = queue.SimpleQueue()
        for _ in range(BLOCKS_AHEAD + 1):
            self._room.put(None)
        self._closed = False
        self._thread = threading.Thread(target=self._fill, name="workbench-read-ahead", daemon=True)
        self._thread.start()

    def next_block(self, timeout: float, check: Callable[[], None]) -> bytes:
        """The next block; empty at the end of the source.

        :param timeout: seconds
        :param check: called again and again while waiting; what it raises ends the waiting
        :raises SourceStalledError: none came in time
        :raises BaseException: what the reader raised
        """
        deadline = time.monotonic() + timeout
        block: bytes | BaseException = SourceStalledError()
        while (left := deadline - time.monotonic()) > 0:
            with contextlib.suppress(queue.Empty):
                block = self._blocks.get(timeout=min(left, _LOOK))
                self._room.put(None)
                break
            check()
        if isinstance(block, BaseException):
            raise block
        return block

    def close(self) -> None:
        """Stop reading. A read that is under way is left to end by itself."""
        self._closed = True
        self._room.put(None)

    def _fill(self) -> None:
        try:
            reader = self._open_at(self._offset)
            try:
                while self._left and self._has_room():
                    block = reader.read(min(BLOCK, self._left))
                    self._left -= len(block)
                    self._blocks.put(block)
                    if not block:
                        break
            finally:
                reader.close()
        except BaseException as error:
            self._blocks.put(error)

    def _has_room(self) -> bool:
        """Wait for it. False if nobody wants more."""
        self._room.get()
        return not self._closed
