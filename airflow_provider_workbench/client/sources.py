"""What can be uploaded: a local path, bytes, or an object in storage (:mod:`object_source`).

Each knows its name and size, and is opened once.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, cast, runtime_checkable

from airflow_provider_workbench.client.errors import SourceChangedError, SourceError, SourceReadError
from airflow_provider_workbench.client.local_files import open_regular, shown_path

if TYPE_CHECKING:
    from airflow_provider_workbench.client.allowed_roots import AllowedRoots


class Reader(Protocol):
    """Reads on from where it was opened."""

    def read(self, size: int, /) -> bytes:
        """At most ``size`` bytes; none at the end."""

    def close(self) -> None:
        """Let go of it."""


@runtime_checkable
class Source(Protocol):
    """An opened thing to upload.

    It may also have ``was_replaced``: True if its name leads to something else meanwhile, and what was opened is sent.
    """

    @property
    def name(self) -> str | None:
        """What the File would be called, or None if the user must say."""

    @property
    def size(self) -> int:
        """Bytes, when it was opened."""

    @property
    def stream(self) -> BinaryIO:
        """Reads and seeks within it; tuspy wants it, to know the size."""

    @property
    def fingerprint(self) -> str:
        """Changes when the bytes do; the same for another try on the same, unchanged source."""

    def open_at(self, offset: int) -> Reader:
        """Read from ``offset`` bytes on. Several readers do not disturb each other, also in other threads.

        :raises SourceReadError: it cannot be read any more (also from the reader)
        """

    def check_unchanged(self) -> None:
        """Compare with what it was when it was opened.

        :raises SourceChangedError: it is not the same any more
        :raises SourceReadError: it cannot be looked at, and another look may help
        """

    def close(self) -> None:
        """Let go of it."""


class PathSource:
    """A file on this machine's disk, opened here and never again: a path that is replaced meanwhile leaves the
    version that was opened.

    :param path: must be a regular file; a symbolic link is followed
    :param allowed: where it may be; None for anywhere
    :raises SourceMissingError: there is nothing at the path on this machine
    :raises SourceNotAllowedError: it is not where it may be
    :raises SourceError: it is a directory, a device, a pipe or the system's own (``/proc``, ``/sys``), or may not be
        read
    """

    def __init__(self, path: str | os.PathLike[str], allowed: AllowedRoots | None = None) -> None:
        self._path = os.fsdecode(path)
        self.name: str | None = os.path.basename(self._path)
        self.stream = open_regular(self._path, allowed)
        self._before = os.fstat(self.stream.fileno())
        self.size = self._before.st_size

    @property
    def fingerprint(self) -> str:
        """Path, inode, size, and modification and change time in nanoseconds."""
        status = self._before
        times = f"{status.st_mtime_ns}:{status.st_ctime_ns}"
        return f"{os.path.abspath(self._path)}:{status.st_dev}:{status.st_ino}:{status.st_size}:{times}"

    @property
    def was_replaced(self) -> bool:
        """True if the path now leads to another file, or to none."""
        try:
            now = os.stat(self._path)
        except OSError:
            return True
        return (now.st_dev, now.st_ino) != (self._before.st_dev, self._before.st_ino)

    def open_at(self, offset: int) -> Reader:
        """See :meth:`Source.open_at`."""
        return _PathReader(self.stream.fileno(), offset)

    def check_unchanged(self) -> None:
        """See :meth:`Source.check_unchanged`: by size, and modification and change time in nanoseconds.

        Removing, moving or replacing the path moves the opened version's change time, and no byte.
        """
        before = self._before
        problem = None
        stale = False
        try:
            after = os.fstat(self.stream.fileno())
        except OSError as error:
            problem, stale = error.strerror or type(error).__name__, error.errno == errno.ESTALE
        if stale:
            raise SourceChangedError(
                f"{shown_path(self._path)} was replaced or removed by another machine, and what was opened cannot be "
                "read any more."
            )
        if problem:
            raise SourceReadError(f"Cannot look at {shown_path(self._path)} any more: {problem}.")
        if (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
            what = f"{before.st_size} bytes when it was opened, {after.st_size} now"
        elif after.st_ctime_ns == before.st_ctime_ns or after.st_nlink != before.st_nlink or self.was_replaced:
            return
        else:
            what = "its mode, owner or times, and perhaps its bytes"
        raise SourceChangedError(
            f"{shown_path(self._path)} changed while it was being sent ({what}). Write to a temporary name, and rename "
            "it when it is complete."
        )

    def close(self) -> None:
        """Close the file."""
        self.stream.close()


class _PathReader:
    """Reads at positions of its own: a reader that was left in a stalled read must not move another's."""

    def __init__(self, descriptor: int, offset: int) -> None:
        self._offset = offset
        problem = None
        try:
            # a copy, so that a late read cannot hit a file that was opened meanwhile
            self._descriptor = os.dup(descriptor)
        except OSError as error:
            problem = error.strerror or type(error).__name__
        if problem:
            raise SourceReadError(f"Reading the file failed: {problem}.")

    def read(self, size: int, /) -> bytes:
        try:
            block = os.pread(self._descriptor, size, self._offset)
        except OSError as error:
            problem = error.strerror
        else:
            self._offset += len(block)
            return block
        raise SourceReadError(f"Reading the file failed: {problem}.")

    def close(self) -> None:
        os.close(self._descriptor)


class BytesSource:
    """Bytes in memory.

    :param content: never changes
    """

    def __init__(self, content: bytes) -> None:
        self.name: str | None = None
        self.size = len(content)
        self.stream: BinaryIO = io.BytesIO(content)
        self._content = content

    @property
    def fingerprint(self) -> str:
        """A digest of the bytes."""
        return f"sha256:{hashlib.sha256(self._content).hexdigest()}"

    def open_at(self, offset: int) -> Reader:
        """See :meth:`Source.open_at`."""
        reader = io.BytesIO(self._content)
        reader.seek(offset)
        return reader

    def check_unchanged(self) -> None:
        """Bytes never change."""

    def close(self) -> None:
        """Nothing to close."""


def open_source(what: Any, allowed: AllowedRoots | None = None) -> Source:
    """Open what should be uploaded.

    :param what: a path (text is one, whatever it looks like), an ``ObjectStoragePath`` or ``UPath``, bytes, or an
        opened source, which is returned as it is
    :param allowed: where a path or an object may be; None for anywhere
    :raises SourceNotAllowedError: it is not where it may be; nothing was read
    :raises SourceError: it cannot be read; nothing was sent
    """
    # by its type: isinstance() would ask for each of the source's properties, and a fingerprint takes long
    if hasattr(type(what), "open_at"):
        return cast(Source, what)
    if isinstance(what, bytes):
        return BytesSource(what)
    # before PathLike, which older ones of object storage are, too
    if hasattr(type(what), "fs") and hasattr(type(what), "path"):
        if _is_local(what):
            return PathSource(what.path, allowed)
        from airflow_provider_workbench.client.object_source import open_object

        return open_object(what, allowed)
    if isinstance(what, str | os.PathLike):
        return PathSource(what, allowed)
    if what is None:
        raise SourceError(
            "There is nothing to upload: filepath is None. Did the task that should give it return nothing, or was it "
            "skipped?"
        )
    raise SourceError(f"Cannot upload a {type(what).__name__}: give a path, an object-storage path, or bytes.")


def _is_local(path: Any) -> bool:
    return getattr(path, "protocol", None) in ("", "file", "local")
