"""SHA-256 of a source, computed from what is read for sending: it costs no second reading."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from typing import BinaryIO

from airflow_provider_workbench.client.errors import SourceReadError
from airflow_provider_workbench.client.sources import Reader, Source

_BLOCK = 1024 * 1024


class DigestingSource:
    """Another source, whose readers feed a digest with what they read.

    The digest goes from the first byte on without a gap. What is read again, after a loss, it has already; what an
    earlier try has sent, a reader catches up with before it goes on; and what nobody read is read at the end.

    :param source: closed with this
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._digest = hashlib.sha256()
        self._position = 0
        self._lock = threading.Lock()
        self._closed = False

    @property
    def name(self) -> str | None:
        """See :attr:`Source.name`."""
        return self._source.name

    @property
    def size(self) -> int:
        """See :attr:`Source.size`."""
        return self._source.size

    @property
    def stream(self) -> BinaryIO:
        """See :attr:`Source.stream`."""
        return self._source.stream

    @property
    def fingerprint(self) -> str:
        """See :attr:`Source.fingerprint`."""
        return self._source.fingerprint

    @property
    def was_replaced(self) -> bool:
        """See :class:`Source`."""
        return bool(getattr(self._source, "was_replaced", False))

    @property
    def digested(self) -> int:
        """Bytes, from the first on, that the digest has."""
        return self._position

    def open_at(self, offset: int) -> Reader:
        """See :meth:`Source.open_at`. Reads first what the digest lacks, which may take long."""
        self._catch_up(offset)
        return _DigestingReader(self, self._source.open_at(offset), offset)

    def check_unchanged(self) -> None:
        """See :meth:`Source.check_unchanged`."""
        self._source.check_unchanged()

    def close(self) -> None:
        """See :meth:`Source.close`."""
        self._closed = True
        self._source.close()

    def sha256(self, check: Callable[[], None] = lambda: None) -> str:
        """The digest of all bytes, in hex. Reads those that were not read for sending.

        :param check: called between two blocks; what it raises ends the reading
        :raises SourceError: they cannot be read, or are not those that were there at first
        """
        # what was sent was seen to be unchanged before its last byte left
        if self._position < self.size:
            self._catch_up(self.size, check)
            self._source.check_unchanged()
        with self._lock:
            if self._position == self.size:
                return self._digest.hexdigest()
        raise SourceReadError("Reading the file again for its SHA-256 gave fewer bytes than before.")

    def feed(self, offset: int, block: bytes) -> None:
        """Take a block that was read at ``offset``, of which it may have some or all already."""
        with self._lock:
            # a reader that was left in a stalled read comes late
            skip = self._position - offset
            if 0 <= skip < len(block):
                self._digest.update(memoryview(block)[skip:])
                self._position += len(block) - skip

    def _catch_up(self, offset: int, check: Callable[[], None] = lambda: None) -> None:
        position = self._position
        if position >= offset:
            return
        reader = self._source.open_at(position)
        try:
            while position < offset and not self._closed:
                check()
                block = reader.read(min(_BLOCK, offset - position))
                if not block:
                    # it became shorter, which is found when it is looked at
                    return
                self.feed(position, block)
                position += len(block)
        finally:
            reader.close()


class _DigestingReader:
    def __init__(self, source: DigestingSource, reader: Reader, offset: int) -> None:
        self._source = source
        self._reader = reader
        self._offset = offset

    def read(self, size: int, /) -> bytes:
        block = self._reader.read(size)
        self._source.feed(self._offset, block)
        self._offset += len(block)
        return block

    def close(self) -> None:
        self._reader.close()
