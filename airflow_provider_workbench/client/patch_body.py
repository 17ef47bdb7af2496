"""The bytes of one PATCH, as requests wants them."""

from __future__ import annotations

import contextlib
import time

from airflow_provider_workbench.client.errors import SourceChangedError, SourceReadError
from airflow_provider_workbench.client.job import Job
from airflow_provider_workbench.client.read_ahead import BLOCK, ReadAhead, SourceStalledError
from airflow_provider_workbench.client.sources import Source

# bytes given to the connection at once, first and where they leave slowly: a TLS record
SMALLEST_PIECE = 16 * 1024
# bytes given at once at the end of a PATCH: when they are cut, nobody knows whether they arrived
LAST_PIECE = 64 * 1024
# seconds
_LONG_FOR_A_PIECE = 0.5


class PatchBody:
    """Reads blocks of a source, and gives pieces of them to a connection.

    :param blocks: of ``length`` bytes, from ``offset`` on
    :param offset: bytes
    :param length: bytes
    :ivar unsent: bytes that were not given to the connection
    """

    def __init__(self, job: Job, source: Source, blocks: ReadAhead, *, offset: int, length: int) -> None:
        self._job = job
        self._source = source
        self._blocks = blocks
        self._length = length
        self._end = offset + length
        self._block = memoryview(b"")
        self._piece = SMALLEST_PIECE
        self._given = time.monotonic()
        self.unsent = length

    def __len__(self) -> int:
        return self._length

    def prepare(self, timeout: float) -> None:
        """Wait for the first block.

        :param timeout: seconds in which bytes must come, also such as are only read for a digest
        :raises SourceReadError: none came
        """
        before = -1
        while not self._block and (now := digested(self._source)) > before:
            before = now
            with contextlib.suppress(SourceStalledError):
                self._block = self._next_block(timeout)
        if not self._block:
            raise SourceReadError(f"The file gave no bytes for {timeout:.0f} s.")

    def read(self, size: int = -1, /) -> memoryview:
        """At most ``size`` bytes; none when all were given. Where they leave slowly fewer, to hear of each soon.

        :raises SourceStalledError: the source gives none, or changed before the last ones; they are held back
        :raises SourceError: it cannot be sent
        """
        if not self.unsent:
            return memoryview(b"")
        slow = time.monotonic() - self._given > _LONG_FOR_A_PIECE
        self._piece = SMALLEST_PIECE if slow else min(BLOCK, 2 * self._piece)
        self._job.control.check()
        if not self._block:
            self._block = self._next_block(self._job.patience.source)
        most = min(self._piece, size) if size >= 0 else self._piece
        if self.unsent > LAST_PIECE:
            most = min(most, self.unsent - LAST_PIECE)
        piece, self._block = self._block[:most], self._block[most:]
        left = self.unsent - len(piece)
        if not left and self._end == self._source.size:
            # Workbench takes the File when its last byte arrives: this is the last moment to hold it back
            self._check_unchanged()
        self._job.listener.progress(self._end - left, self._source.size)
        # only now: a piece that is held back never leaves
        self.unsent = left
        self._given = time.monotonic()
        return piece

    def _check_unchanged(self) -> None:
        """Without patience, since the server waits."""
        said = ""
        try:
            self._source.check_unchanged()
        except SourceReadError as error:
            said = str(error)
        if said:
            raise SourceStalledError(f"{said} The connection was cut before the last bytes.")

    def _next_block(self, timeout: float) -> memoryview:
        block = self._blocks.next_block(timeout, self._job.control.check)
        if not block:
            self._source.check_unchanged()
            raise SourceChangedError("The file became shorter while it was being sent.")
        return memoryview(block)


def digested(source: Source) -> int:
    """Bytes that a source with a digest has read for it; all, where there is none."""
    return int(getattr(source, "digested", source.size))
