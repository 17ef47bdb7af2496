"""An object in storage as a source: read by ranges, each of the version that was there when it was opened.

Through fsspec, whose file systems Airflow's ``ObjectStoragePath`` and ``UPath`` bring along; nothing of it is imported.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import io
import logging
import os
import re
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar, cast
from urllib.parse import unquote

from airflow_provider_workbench.client.errors import (
    SourceChangedError,
    SourceError,
    SourceMissingError,
    SourceReadError,
    printable,
)
from airflow_provider_workbench.client.object_failures import no_ranges, source_error
from airflow_provider_workbench.client.sources import Reader
from airflow_provider_workbench.client.unpicklable import Unpicklable

if TYPE_CHECKING:
    from airflow_provider_workbench.client.allowed_roots import AllowedRoots

_T = TypeVar("_T")

_WEB = ("http", "https")
_OBJECTS = ("s3", "s3a", "s3n", "gs", "gcs", "abfs", "abfss", "adl", "az", "wasb", "wasbs")
_AZURE_HOSTS = (
    ".core.windows.net",
    ".core.chinacloudapi.cn",
    ".core.usgovcloudapi.net",
    ".core.cloudapi.de",
    ".storage.azure.net",
    ".azuredatalakestore.net",
    ".fabric.microsoft.com",
)
# user and password, also where the password has a / that was not quoted, as many a secret key has
_CREDENTIALS = re.compile(r"[^/]*:(?!\d+(/|$)).*@", re.DOTALL)
_OBJECT_CREDENTIALS = re.compile(r"[^/]*:.*@", re.DOTALL)
# a name or an IPv6 address, with a port; or one of AWS's access points
_HOST = re.compile(r"(\[[^\[\]]*\]|[^:\[\]]*)(:[0-9]*)?|arn:[\w:-]+")

# characters: keys have 1,024 bytes, signed URLs a few times as many; some searches take time by the square of it
_LONGEST_ADDRESS = 8192

SMALLEST_RANGE = 512 * 1024
LARGEST_RANGE = 4 * 1024 * 1024
# seconds; a range should take about as long, so that it neither holds up the upload nor costs a request too many
_RANGE_SECONDS = 0.5
# seconds between two tries of a request
PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0)
# a look is also taken while the server waits for the last byte, and it does not wait long
PAUSES_OF_A_LOOK = PAUSES[:2]
# seconds; s3fs and botocore try for a minute or two by themselves before they give up, so once more must do
LONG_ENOUGH = 30.0

# what tells one version from another, as file systems call it in their ``info()``, without - and _, the best first
_VERSIONS = ("generation", "etag", "versionid", "contentmd5", "md5hash", "digest")
_TIMES = ("lastmodified", "mtime", "updated", "modified", "modificationtime", "modify", "lastwritetime")


class ObjectSource(Unpicklable):
    """An object that an fsspec file system reaches.

    :param fs: the file system
    :param path: of the object, as the file system has it
    :param conn_id: the Airflow connection that it is read with, for messages
    :raises SourceMissingError: there is no such object
    :raises SourceError: it is a folder, may not be read, or nobody says how large it is
    :raises SourceReadError: the storage cannot be reached
    """

    def __init__(self, fs: Any, path: str, *, conn_id: str | None = None) -> None:
        if getattr(fs, "_pid", os.getpid()) != os.getpid():
            # an asynchronous file system's thread does not survive a fork
            fs = copy.copy(fs)
        self._fs = fs
        self._path = path
        self._address = _address(fs, path)
        self._shown = shown_address(self._address, conn_id)
        self._is_web = _is_web(self._address.partition("://")[0])
        if self._is_web:
            for name in ("fsspec", "fsspec.http"):
                logging.getLogger(name).addFilter(_UNLOGGED)
        self.name: str | None = _name(self._address)
        self._closed = threading.Event()
        self._idle: _ObjectReader | None = None
        self._lock = threading.Lock()
        info, self._version = self.patiently(self._look, PAUSES_OF_A_LOOK)
        if info.get("type") == "directory":
            raise SourceError(f"{self._shown} is a folder, and only an object can be uploaded.")
        size = info.get("size")
        if not isinstance(size, int):
            raise SourceError(f"The storage does not say how large {self._shown} is, and an upload begins with that.")
        self.size = size
        self.stream = cast(BinaryIO, _Extent(size))

    @property
    def fingerprint(self) -> str:
        """A digest of address, size, and version: the etag, or the like; the modification time where there is none.

        Where there is neither, another each time: nothing would tell that the object is another.
        """
        version = self._version or uuid.uuid4().hex
        return f"object:{hashlib.sha256(repr((self._address, self.size, version)).encode()).hexdigest()}"

    def open_at(self, offset: int) -> Reader:
        """See :meth:`Source.open_at`."""
        idle = self._take_idle()
        if idle is not None and idle.offset == offset:
            return idle
        if idle is not None:
            idle.let_go()
        return _ObjectReader(self, offset)

    def check_unchanged(self) -> None:
        """See :meth:`Source.check_unchanged`: by a fresh look at the storage."""
        missing = False
        try:
            info, version = self.patiently(self._look, PAUSES_OF_A_LOOK)
        except SourceMissingError:
            missing = True
        if missing:
            raise self._deleted()
        self._compare(info, version)

    def close(self) -> None:
        """End the pauses of readers that still try."""
        self._closed.set()
        if (idle := self._take_idle()) is not None:
            idle.let_go()

    # ---- for its readers

    def open_version(self) -> Any:
        """A file of the file system's: of the version that was there when the source was opened, where it can tell."""
        self._forget_listings()
        try:
            # its own caches would hold more, and read more, than is wanted
            file = self._fs.open(self._path, "rb", block_size=LARGEST_RANGE, cache_type="none")
        except TypeError:
            file = self._fs.open(self._path, "rb")
        # s3fs will read with If-Match of what it found now
        details = getattr(file, "details", None)
        if isinstance(details, Mapping) and _strong(details):
            self._compare(details, _strong(details))
        return file

    def patiently(self, run: Callable[[], _T], pauses: tuple[float, ...]) -> _T:
        """What ``run`` returns, tried again after failures that can pass.

        :raises SourceError: it failed for good, or too often
        """
        failure: SourceError | None = None
        began = time.monotonic()
        for number, pause in enumerate((*pauses, None)):
            try:
                return run()
            except SourceError as error:
                failure = error
            except Exception as error:
                failure = source_error(error, self._shown)
            if not isinstance(failure, SourceReadError) or pause is None:
                break
            if (number and time.monotonic() - began > LONG_ENOUGH) or self._closed.wait(pause):
                break
        assert failure is not None
        raise failure

    def explain(self, error: Exception) -> SourceError:
        """The reason of a reader's failure: perhaps that the object is another now."""
        failure = error if isinstance(error, SourceError) else source_error(error, self._shown)
        if self._is_web and type(error) is ValueError:
            # fsspec asked for a range and got all
            failure = no_ranges(self._shown)
        if isinstance(failure, SourceReadError):
            # it is tried again; a failed If-Match is among these, and the next opening finds why
            return failure
        try:
            self._compare(*self._look())
        except SourceChangedError as change:
            return change
        except FileNotFoundError:
            return self._deleted()
        except Exception:
            return failure
        return failure

    def _deleted(self) -> SourceChangedError:
        return SourceChangedError(f"{self._shown} was deleted while it was being sent.")

    def keep(self, reader: _ObjectReader) -> None:
        """Keep a reader for who goes on where it is: it may have more in hand than was wanted."""
        with self._lock:
            before, self._idle = self._idle, reader
        if before is not None:
            before.let_go()
        if self._closed.is_set():
            self.close()

    def _take_idle(self) -> _ObjectReader | None:
        with self._lock:
            idle, self._idle = self._idle, None
        return idle

    # ---- versions

    def _look(self) -> tuple[Mapping[str, Any], str]:
        """What the storage says of it now, and of which version that is."""
        self._forget_listings()
        info: Mapping[str, Any] = self._fs.info(self._path)
        if info.get("type") == "directory":
            return info, ""
        if strong := _strong(info):
            return info, strong
        found = [str(value) for value in _values(info, ("etag", *_TIMES))]
        if not found:
            try:
                found.append(str(self._fs.modified(self._path)))
            except NotImplementedError:
                # an object in memory, for one, knows when it was made
                found += map(str, _values(info, ("created",)))
        return info, " ".join(found)

    def _forget_listings(self) -> None:
        # an etag of an earlier listing proves nothing; some file systems forget only what they are told by name
        for path in (self._path, self._path.rpartition("/")[0]):
            if path:
                self._fs.invalidate_cache(path)

    def _compare(self, info: Mapping[str, Any], version: str) -> None:
        if (info.get("size"), version) != (self.size, self._version):
            now = info.get("size")
            raise SourceChangedError(
                f"{self._shown} changed while it was being sent ({self.size} bytes when it was opened, {now} now). "
                "Another try sends it as it is then; write new content under a new name."
            )


class _ObjectReader:
    """Reads ranges, and goes on at its position after a failure.

    :ivar offset: bytes; where it is
    """

    def __init__(self, source: ObjectSource, offset: int) -> None:
        self.offset = offset
        self._source = source
        self._file: Any = None
        self._block = memoryview(b"")
        self._range = SMALLEST_RANGE

    def read(self, size: int, /) -> bytes:
        if not self._block and self.offset < self._source.size:
            self._block = memoryview(self._source.patiently(self._fetch, PAUSES))
        piece, self._block = bytes(self._block[:size]), self._block[size:]
        self.offset += len(piece)
        return piece

    def close(self) -> None:
        self._source.keep(self)

    def let_go(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            with contextlib.suppress(Exception):
                file.close()

    def _fetch(self) -> bytes:
        length = min(self._range, self._source.size - self.offset)
        began = time.monotonic()
        caught = None
        try:
            if self._file is None:
                self._file = self._source.open_version()
            # also where it should be there already: a file in memory is one for all who opened it
            self._file.seek(self.offset)
            block: bytes = self._file.read(length)
        except Exception as error:
            caught = error
        if caught is not None:
            self.let_go()
            raise self._source.explain(caught)
        took = time.monotonic() - began
        if took < _RANGE_SECONDS:
            self._range = min(2 * self._range, LARGEST_RANGE)
        elif took > 2 * _RANGE_SECONDS:
            self._range = max(self._range // 2, SMALLEST_RANGE)
        return block


class _Extent(io.RawIOBase):
    """Seeks and tells, and has no bytes: tuspy only asks how long it is."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._position = 0

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = start + offset
        return self._position

    def tell(self) -> int:
        return self._position


def open_object(path: Any, allowed: AllowedRoots | None = None) -> ObjectSource:
    """What a path of ``ObjectStoragePath`` or ``UPath`` leads to.

    :param allowed: where it may be; None for anywhere
    :raises SourceNotAllowedError: it is not there; nothing was asked of the storage
    :raises SourceError: it cannot be read, or its file system cannot be used
    """
    address, conn_id = str(path), connection_of(path)
    check_length(address)
    shown = shown_address(address, conn_id)
    if allowed is not None:
        allowed.check_address(address, conn_id, shown)
    failure = None
    try:
        fs = path.fs
    except Exception as error:
        failure = source_error(error, shown)
    if failure:
        raise failure
    if allowed is not None:
        allowed.check_reached(address, path.path, shown)
    return ObjectSource(fs, path.path, conn_id=conn_id)


def check_length(address: str) -> None:
    """
    :raises SourceError: no storage has so long an address
    """
    if len(address) > _LONGEST_ADDRESS:
        raise SourceError(
            f"What should be an address is {len(address)} characters long, and no object's has more than "
            f"{_LONGEST_ADDRESS}. It is not shown. Look at what gave it: the object's content in place of its address?"
        )


def connection_of(path: Any) -> str | None:
    """The id of the Airflow connection that an ``ObjectStoragePath`` is read with; None for its default."""
    options = getattr(path, "storage_options", None)
    found = getattr(path, "conn_id", None) or (options.get("conn_id") if isinstance(options, Mapping) else None)
    return found if isinstance(found, str) else None


def shown_address(address: str, conn_id: str | None = None) -> str:
    """An address for people: see :func:`without_secrets`; no more than its scheme where that finds nothing to show.

    :param conn_id: of the connection that it is read with
    """
    scheme, separator, _ = address.partition("://")
    if not separator:
        return printable(address)
    text = printable(without_secrets(address) or f"{scheme}://…")
    return f"{text} (connection {printable(conn_id)!r})" if conn_id else text


def without_secrets(address: str) -> str | None:
    """An address without user and password, and without a URL's query, which may be a signature.

    :return: None where it can be read in two ways, since by one of them a piece of a password might be left
    """
    scheme, separator, rest = address.partition("://")
    if not separator:
        return address
    place = re.split("[/?#]", rest, maxsplit=1)[0]
    host, path = place.rpartition("@")[2], rest[len(place) :]
    # user:pass/word@host and host:80/a@b look alike
    if "@" in path and (":" in place or (_is_web(scheme) and not place)):
        return None
    if not _HOST.fullmatch(host):
        return None
    if _is_web(scheme):
        path = re.split("[?#]", path, maxsplit=1)[0]
    elif "=" in path.partition("?")[2]:
        # an object's key may hold a ?
        path = path.partition("?")[0]
    return f"{scheme}://{host}{path}"


def holds_credentials(address: str) -> bool:
    """True if there is a user with a password in it, or what may be one: a storage of objects has no port.

    What is too long for an address may hold anything.
    """
    scheme, _, rest = address.partition("://")
    pattern = _OBJECT_CREDENTIALS if scheme.lower() in _OBJECTS else _CREDENTIALS
    return len(address) > _LONGEST_ADDRESS or any(pattern.match(form) for form in (rest, unquote(rest)))


def secrets_of(address: str) -> tuple[str, ...]:
    """What of an address must not be logged: user and password, query and fragment, as written and unquoted."""
    rest = address.partition("://")[2]
    place = re.split("[/?#]", rest, maxsplit=1)[0]
    before = rest if without_secrets(address) is None else place
    user = before.rpartition("@")[0]
    found = (user, user.partition(":")[2], rest.partition("?")[2], *re.split("[?#]", rest)[1:])
    return tuple(dict.fromkeys(form for text in found for form in (text, unquote(text)) if form))


def is_azure_account(host: str) -> bool:
    """True for the host of an Azure storage account, as in ``abfss://container@account.dfs.core.windows.net``."""
    return host.lower().partition(":")[0].rstrip(".").endswith(_AZURE_HOSTS)


def _is_web(scheme: str) -> bool:
    # fsspec chains file systems by ::
    return scheme.lower().rpartition("::")[2] in _WEB


class _Unlogged(logging.Filter):
    """fsspec logs every URL as it is, signed or not."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno > logging.DEBUG


_UNLOGGED = _Unlogged()


def _address(fs: Any, path: str) -> str:
    protocol = fs.protocol if isinstance(fs.protocol, str) else fs.protocol[0]
    return path if "://" in path else f"{protocol}://{path}"


def _name(address: str) -> str | None:
    scheme, _, rest = address.partition("://")
    if _is_web(scheme):
        # not urlsplit, which fails on what the file system may be asked for
        path = re.split("[?#]", rest, maxsplit=1)[0].partition("/")[2]
        return unquote(path.rpartition("/")[2]) or None
    return address.rpartition("/")[2] or None


def _strong(info: Mapping[str, Any]) -> str:
    """What changes with every byte; empty if there is nothing of that kind."""
    return next((str(value) for value in _values(info, _VERSIONS) if not str(value).startswith("W/")), "")


def _values(info: Mapping[str, Any], names: tuple[str, ...]) -> list[Any]:
    known = {key.lower().replace("-", "").replace("_", ""): value for key, value in info.items()}
    return [known[name] for name in names if known.get(name)]
