"""A file on this machine's disk, opened so that it is what it should be: a regular file, and where it may be.

Decided by what was opened. The looks before that spare others a surprise: a pipe's writer would go on, and a device may
do something, when somebody opens it.
"""

from __future__ import annotations

import errno
import os
import re
import socket
import stat
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import unquote

from airflow_provider_workbench.client.errors import (
    SourceError,
    SourceMissingError,
    SourceReadError,
    printable,
)

if TYPE_CHECKING:
    from airflow_provider_workbench.client.allowed_roots import AllowedRoots

# what a machine or a network drive gets over, unlike a missing permission
PASSING = (
    *(errno.EIO, errno.ESTALE, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ETIMEDOUT, errno.EINTR),
    *(errno.ENOTCONN, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ECONNRESET),
    # another machine has a lease on it
    errno.EAGAIN,
)
_KINDS = (
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)

# the system's own: a process's memory and environment, files that it has open
_SYSTEM_PATHS = ("/proc", "/sys", "/dev/fd", "/dev/stdin", "/dev/stdout", "/dev/stderr")
_SYSTEM_TYPES = ("proc", "sysfs", "cgroup", "cgroup2", "debugfs", "tracefs", "securityfs", "configfs", "bpf", "pstore")
_SYSTEM = "leads to the system's own files (/proc, /sys, or what a process has open), and those are never uploaded"
_MOST_LINKS = 40

# characters; Linux opens no path of more bytes, and some searches below take time by the square of it
_LONGEST_PATH = 4096

# what addresses have and paths hardly ever: a scheme, somebody@, a query
_LIKE_ADDRESS = re.compile(r":[/\\]|:[^/]*@|^[^/].*:.*@|^\s*//|//.*@|^\W*https?\W.*@|^[^/]*::|[?&#][^/]*=", re.DOTALL)
_HIDDEN = "(a path that looks like an address with a password or a signature in it: not shown)"


def open_regular(path: str, allowed: AllowedRoots | None = None) -> BinaryIO:
    """Open a regular file for reading, without waiting for anybody.

    :param allowed: where it may be; None for anywhere
    :raises SourceMissingError: there is nothing at the path
    :raises SourceNotAllowedError: it is not where it may be
    :raises SourceReadError: the disk, or the network drive, failed
    :raises SourceError: it is something else than a regular file, or may not be read
    """
    if len(path) > _LONGEST_PATH:
        raise SourceError(
            f"What should be a path is {len(path)} characters long, and no path has more than {_LONGEST_PATH}. It is "
            "not shown. Look at what gave it: the file's content in place of its path?"
        )
    shown = shown_path(path)
    if not path or "\0" in path:
        raise SourceError(f"The path {shown!r} names no file.")
    system = _system_devices()
    if _leads_through_system(path, system):
        raise SourceError(f"{shown} on {socket.gethostname()} {_SYSTEM}.")
    if allowed is not None:
        allowed.check_path(path, shown)
    failure: SourceError | None = None
    try:
        _check_kind(os.stat(path), shown)
        # what was opened is what is checked
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except OSError as error:
        failure = _failure(error, path, shown)
    except UnicodeError:
        failure = SourceError(f"The path {shown!r} names no file.")
    if failure:
        raise failure
    try:
        status = os.fstat(descriptor)
        _check_kind(status, shown)
        if status.st_dev in system:
            raise SourceError(f"{shown} on {socket.gethostname()} {_SYSTEM}.")
        if allowed is not None:
            allowed.check_opened(descriptor, path, shown)
        os.set_blocking(descriptor, True)
        return os.fdopen(descriptor, "rb", buffering=0)
    except BaseException:
        os.close(descriptor)
        raise


def shown_path(path: str) -> str:
    """A path for people; text that may be a misspelled address is not shown, since it may hold secrets."""
    return _HIDDEN if may_be_address(path) else printable(path)


def may_be_address(path: str) -> bool:
    """True for a path that looks like an address with a password or a signature in it, only not spelled right.

    What is too long for a path may be anything.
    """
    return len(path) > _LONGEST_PATH or any(_LIKE_ADDRESS.search(form) for form in (path, unquote(path)))


def _failure(error: OSError, path: str, shown: str) -> SourceError:
    host = socket.gethostname()
    if error.errno not in (errno.ENOENT, errno.ENOTDIR):
        kind_of = SourceReadError if error.errno in PASSING else SourceError
        return kind_of(f"Cannot read {shown} on {host}: {error.strerror}.")
    if shown == _HIDDEN:
        return SourceMissingError(
            f"What should be uploaded is neither a file on {host} nor an address that can be read{_misspelling(path)}. "
            "It is not shown, since it may hold a password or a signature. An address looks like s3://bucket/key."
        )
    return SourceMissingError(
        f"There is no file {shown} on {host}. Workers share no disk: if another task wrote it, it may be on another "
        "machine; pass such files through object storage."
    )


def _misspelling(path: str) -> str:
    if path != path.strip():
        return ": there is white space around it"
    if "::" in path:
        return ": it has :: in it, and chained file systems are not read"
    return ""


def _check_kind(status: os.stat_result, shown: str) -> None:
    """
    :raises SourceError: it is no regular file
    """
    mode = status.st_mode
    if stat.S_ISREG(mode):
        return
    host = socket.gethostname()
    if stat.S_ISDIR(mode):
        raise SourceError(f"{shown} on {host} is a directory, and only a file can be uploaded.")
    kind = next((name for is_kind, name in _KINDS if is_kind(mode)), "something else")
    raise SourceError(f"{shown} on {host} is no regular file but {kind}, and only a file can be uploaded.")


def _leads_through_system(path: str, system: frozenset[int]) -> bool:
    """True if a step of the path, or of a link in it, is the system's own.

    Its links lead to files that have other names, too (``/proc/self/fd/3``), so what was opened does not show this.
    """
    try:
        whole = path if os.path.isabs(path) else os.path.join(os.getcwd(), path)
    except OSError:
        return False
    todo, at, links = whole.split("/")[::-1], "/", 0
    while todo and links < _MOST_LINKS:
        step = todo.pop()
        if step in ("", "."):
            continue
        at = os.path.dirname(at) if step == ".." else os.path.join(at, step)
        try:
            status = os.lstat(at)
            if at in _SYSTEM_PATHS or status.st_dev in system:
                return True
            target = os.readlink(at) if stat.S_ISLNK(status.st_mode) else None
        except (OSError, ValueError):
            return at in _SYSTEM_PATHS
        if target is not None:
            links += 1
            at = "/" if target.startswith("/") else os.path.dirname(at)
            todo += target.split("/")[::-1]
    return False


def _system_devices() -> frozenset[int]:
    """Of mounted file systems that are the system's own, wherever they are mounted; none where it does not tell."""
    try:
        with open("/proc/self/mountinfo", "rb") as mounts:
            lines = mounts.read().splitlines()
    except OSError:
        return frozenset()
    devices = set()
    for line in lines:
        fields, _, rest = line.partition(b" - ")
        if rest.split(b" ")[0].decode("ascii", "replace") in _SYSTEM_TYPES:
            major, _, minor = fields.split(b" ")[2].partition(b":")
            devices.add(os.makedev(int(major), int(minor)))
    return frozenset(devices)
