"""Folders and prefixes of storages that a file may come from, whatever a template says.

A path is judged by what was opened, and not by its text: between a look at a path and its opening, a link can change.
A hard link is a file of the folder that it is in: nothing tells which of its names came first.

An address is judged by its text, and by what the file system made of it. Where a web server redirects to, and which
links an SFTP server follows, is up to that server.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final
from unicodedata import normalize
from urllib.parse import unquote

from airflow_provider_workbench.client.errors import (
    ConfigurationError,
    SourceNotAllowedError,
    SourceReadError,
    printable,
)
from airflow_provider_workbench.client.local_files import PASSING, may_be_address, shown_path

_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)
_LOCAL = ("file", "local")
_WEB = ("http", "https")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
# servers and libraries part and unquote paths in several ways
_PARTING = re.compile(r"[/\\?#;]")
_UNQUOTED_TIMES = 4
_SHOWN_ROOTS = 5
# macOS, <sys/fcntl.h>
_F_GETPATH: Final = 50
_DO = "Put the file into one of them, or let who owns the DAG add its place to allowed_roots."


@dataclass(frozen=True, slots=True)
class _Place:
    """A prefix of a storage.

    :ivar conn_id: of the only connection that may read it; None for the task's own
    """

    conn_id: str | None
    scheme: str
    host: str
    segments: tuple[str, ...]

    def holds(self, other: _Place, own_conn_id: str | None) -> bool:
        readers = (self.conn_id,) if self.conn_id else (None, own_conn_id)
        return self.is_around(other) and other.conn_id in readers

    def is_around(self, other: _Place) -> bool:
        """The same for whoever reads it."""
        same_storage = (self.scheme, self.host) == (other.scheme, other.host)
        return same_storage and other.segments[: len(self.segments)] == self.segments


@dataclass(frozen=True, slots=True)
class AllowedRoots:
    """What a file may come from; of anything else, nothing is read.

    :ivar folders: absolute paths on the worker; each is followed, if it is a symbolic link, when a file is opened
    :ivar places: prefixes of storages
    :ivar shown: all of them, for people
    :ivar conn_id: the connection with which the task reads what names none
    """

    folders: tuple[str, ...]
    places: tuple[_Place, ...]
    shown: str
    conn_id: str | None = None

    @classmethod
    def parse(cls, roots: Any, conn_id: str | None = None) -> AllowedRoots:
        """From a parameter.

        :param roots: folders (text or ``pathlib.Path``, absolute), and addresses such as ``s3://bucket/prefix`` or
            ``s3://conn_id@bucket/prefix`` (or an ``ObjectStoragePath``); one of them, or a list. Of an empty list,
            nothing is allowed
        :param conn_id: the connection with which the task reads what names none; a root without a connection allows no
            other
        :raises ConfigurationError: one of them is neither; the error quotes no credentials
        """
        given = [roots] if isinstance(roots, str | os.PathLike) or _is_storage(roots) else roots
        if not isinstance(given, Iterable) or isinstance(given, bytes | dict):
            raise ConfigurationError(
                f"allowed_roots must be a list of folders and addresses, not a {type(roots).__name__}."
            )
        folders, places, shown = [], [], []
        for number, root in enumerate(given, 1):
            found = _root(root, f"Root {number} of allowed_roots")
            if isinstance(found, str):
                folders.append(found)
                shown.append(printable(found, 120))
            else:
                places.append(found)
                shown.append(_shown_place(found))
        if len(shown) > _SHOWN_ROOTS:
            shown[_SHOWN_ROOTS:] = [f"and {len(shown) - _SHOWN_ROOTS} more"]
        return cls(tuple(folders), tuple(places), ", ".join(shown) or "an empty list", conn_id)

    def check_path(self, path: str, shown: str) -> None:
        """Look where a path leads, before anything is opened. What counts is :meth:`check_opened`.

        :param shown: the path for people
        :raises SourceNotAllowedError: not to one of the folders
        """
        try:
            leads_to, folders = os.path.realpath(path), [os.path.realpath(folder) for folder in self.folders]
        except (OSError, ValueError):
            # whoever opens it says why
            return
        self._check(leads_to, folders, path, shown)

    def check_opened(self, descriptor: int, path: str, shown: str) -> None:
        """Judge an opened file by where it really is.

        :param path: with which it was opened
        :param shown: the same for people
        :raises SourceNotAllowedError: in none of the folders, or the system does not tell
        :raises SourceReadError: a folder's disk, or its network drive, failed
        """
        found = path_of(descriptor)
        if found is None:
            raise SourceNotAllowedError(
                f"{shown} is not uploaded: this system ({socket.gethostname()}) does not tell where an opened file is "
                "(on Linux, /proc does), and allowed_roots needs that."
            )
        self._check(found, [real for folder in self.folders if (real := _real_folder(folder))], path, shown)

    def check_address(self, address: str, conn_id: str | None, shown: str) -> None:
        """Judge an address by its text.

        :param conn_id: of the connection that it is read with
        :param shown: the address for people
        :raises SourceNotAllowedError: it is in none of the places, or can be read in several ways
        """
        place, problem = _parse(address, conn_id)
        if place is None or problem:
            raise SourceNotAllowedError(f"{shown} {problem}, and allowed_roots takes no such address. {_DO}")
        if not any(root.holds(place, self.conn_id) for root in self.places):
            raise SourceNotAllowedError(f"{shown} is not in the allowed_roots ({self.shown}).{self._hint(place)} {_DO}")

    def check_reached(self, address: str, path: str, shown: str) -> None:
        """Compare what the file system made of an address with what was judged.

        :param path: of the object, as the file system has it
        :raises SourceNotAllowedError: it is another
        """
        rest = address.partition("://")[2]
        host, _, key = rest.partition("/")
        bucket = host.rpartition("@")[2]
        if path != address and path.strip("/") not in (f"{bucket}/{key}".strip("/"), key.strip("/")):
            raise SourceNotAllowedError(
                f"{shown} is not uploaded: its file system takes the address for another one, and allowed_roots cannot "
                "judge it."
            )

    def _check(self, found: str, folders: list[str], path: str, shown: str) -> None:
        """
        :param found: where it really is
        :param folders: where the roots are
        """
        if any(_is_in(found, folder) for folder in folders):
            return
        # where a link leads is worth telling; what a path is normalized to is not
        leads = "" if found == os.path.abspath(path) or may_be_address(path) else f" (it leads to {shown_path(found)})"
        raise SourceNotAllowedError(
            f"{shown}{leads} on {socket.gethostname()} is not in the allowed_roots ({self.shown}). {_DO}"
        )

    def _hint(self, place: _Place) -> str:
        if not any(root.is_around(place) for root in self.places):
            return ""
        reader = f"connection {printable(place.conn_id)!r}" if place.conn_id else "no connection"
        return (
            f" It would be read with {reader}, and a root allows the connection that it names, as "
            "s3://conn_id@bucket/prefix does, or else the task's source_conn_id."
        )


def path_of(descriptor: int) -> str | None:
    """Where an opened file is; None where the system does not tell. " (deleted)" may follow."""
    try:
        found = os.readlink(f"/proc/self/fd/{descriptor}")
    except OSError:
        found = _path_on_macos(descriptor)
    return found if found.startswith("/") else None


def _path_on_macos(descriptor: int) -> str:
    import fcntl
    import sys

    if sys.platform != "darwin":
        return ""
    try:
        return os.fsdecode(fcntl.fcntl(descriptor, _F_GETPATH, bytes(1024)).rstrip(b"\0"))
    except OSError:
        return ""


def _real_folder(folder: str) -> str | None:
    problem = None
    try:
        descriptor = os.open(folder, os.O_DIRECTORY | os.O_CLOEXEC | getattr(os, "O_PATH", os.O_RDONLY))
    except OSError as error:
        if error.errno not in PASSING:
            return None
        problem = error.strerror
    except ValueError:
        return None
    if problem:
        raise SourceReadError(
            f"Cannot look at {printable(folder, 120)} of the allowed_roots on {socket.gethostname()}: {problem}."
        )
    try:
        # of a deleted one, the name is another's
        return path_of(descriptor) if os.fstat(descriptor).st_nlink else None
    finally:
        os.close(descriptor)


def _is_in(path: str, folder: str) -> bool:
    return path.startswith(folder.rstrip("/") + "/")


def _is_storage(value: Any) -> bool:
    return hasattr(type(value), "fs") and hasattr(type(value), "path")


def _root(root: Any, label: str) -> str | _Place:
    """A folder's absolute path, or a prefix of a storage.

    :raises ConfigurationError: it is neither
    """
    from airflow_provider_workbench.client.object_source import connection_of, holds_credentials

    conn_id = None
    if _is_storage(root):
        conn_id = connection_of(root)
        text = root.path if root.protocol in ("", *_LOCAL) else str(root)
    elif isinstance(root, str | os.PathLike):
        text = os.fsdecode(root)
    else:
        raise ConfigurationError(f"{label} must be a folder or an address, not a {type(root).__name__}.")
    match = _ADDRESS.fullmatch(text)
    if match is None or match[1].lower() in _LOCAL:
        path = match[2] if match else text
        if not path.startswith("/") or "\0" in path or ":/" in path:
            raise ConfigurationError(
                f"{label} must be the absolute path of a folder, or an address such as s3://bucket/prefix."
            )
        return path
    host = match[2].partition("/")[0]
    user = host.rpartition("@")[0]
    if ":" in user or (user and match[1].lower() in _WEB) or holds_credentials(text):
        raise ConfigurationError(f"{label} must not hold a user or a password: name an Airflow connection.")
    place, problem = _parse(text.rstrip("/"), user or conn_id)
    if place is None or problem or "?" in text or "#" in text:
        raise ConfigurationError(f"{label} {problem or 'holds a query'}: write it like s3://bucket/prefix.")
    return place


def _parse(address: str, conn_id: str | None) -> tuple[_Place | None, str]:
    """An address taken apart, or what is wrong with it. Whatever two programs might read in two ways is wrong."""
    match = _ADDRESS.fullmatch(address)
    if match is None:
        return None, "is no address"
    scheme, rest = match[1].lower(), match[2]
    place, _, path = rest.partition("/")
    user, _, host = place.rpartition("@")
    if scheme in _WEB:
        host = host.lower()
        path = re.split("[?#]", path, maxsplit=1)[0]
    if not host or re.search(r"[?#%\\\s]", host) or re.search(r"[?#\\]", user):
        return None, "names no host or bucket"
    if _CONTROL.search(rest):
        return None, "holds control characters"
    if "::" in rest[len(place) :] or ("::" in place and not host.startswith("[")):
        # fsspec chains file systems by ::
        return None, "holds ::"
    segments = path.split("/") if path else []
    if any(map(_is_step, segments)):
        return None, "holds the step . or .."
    return _Place(conn_id or None, scheme, host, tuple(segments)), ""


def _is_step(segment: str) -> bool:
    """True for ``.`` and ``..``, also if they are hidden."""
    for _ in range(_UNQUOTED_TIMES):
        # some servers take a full-width dot for a dot
        segment = normalize("NFKC", segment)
        if any(part.strip() in (".", "..") for part in _PARTING.split(segment)):
            return True
        segment = unquote(segment)
    return "%" in segment and any(part in segment.lower() for part in ("%2e", "%25"))


def _shown_place(place: _Place) -> str:
    conn_id = f"{place.conn_id}@" if place.conn_id else ""
    return printable(f"{place.scheme}://{conn_id}{'/'.join((place.host, *place.segments))}", 120)
