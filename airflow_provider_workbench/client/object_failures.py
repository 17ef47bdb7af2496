"""What failed in a file system of fsspec, in our own errors: by type, status and code, never by its own words.

Those words may hold what nobody should read: aiohttp's carry the whole of a signed URL, S3's the access key's id.
"""

from __future__ import annotations

import errno
import os
import re
from typing import Any

from airflow_provider_workbench.client.errors import SourceError, SourceMissingError, SourceReadError

_NO_CREDENTIALS = ("NoCredentialsError", "PartialCredentialsError", "DefaultCredentialsError")
# the next try gets new ones
_EXPIRED = ("ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired")
_BUSY = (408, 425, 429)
_FOR_GOOD = (IsADirectoryError, NotADirectoryError, ImportError, NotImplementedError, ValueError, TypeError)
_STATUS = ("status", "status_code", "code")
_CODE = re.compile(r"[A-Za-z][A-Za-z0-9.]{2,60}")


def source_error(error: Exception, shown: str) -> SourceError:
    """The same failure as an error of ours.

    :param shown: the object's address as a person may see it
    """
    cause = error.__cause__
    if isinstance(error, FileNotFoundError) and isinstance(cause, Exception) and _is_network(cause):
        return source_error(cause, shown)
    if isinstance(error, FileNotFoundError) and isinstance(cause, ValueError):
        return SourceError(f"{shown} cannot be read: its address is no URL. Is it spelled right?")
    status, words = _status(error), _words(error)
    if _code(error) in _EXPIRED:
        return SourceReadError(f"{shown} cannot be read any more: {words}.")
    if isinstance(error, PermissionError) or status in (401, 403, 407) or type(error).__name__ in _NO_CREDENTIALS:
        return SourceError(
            f"{shown} may not be read: {words}. Some storages say so of an object that is missing, too, to who may not "
            "list the others."
        )
    # fsspec's HTTP calls any failure a missing file
    if status in (404, 410) if status else isinstance(error, FileNotFoundError):
        return SourceMissingError(
            f"There is no object {shown}. If another task writes it, that task must run first; another try looks again."
        )
    if isinstance(error, _FOR_GOOD) or (status is not None and 400 <= status < 500 and status not in _BUSY):
        return SourceError(f"{shown} cannot be read: {words}.")
    return SourceReadError(f"Reading {shown} failed: {words}.")


def no_ranges(shown: str) -> SourceError:
    """A web server gives its files as a whole only.

    :param shown: the object's address as a person may see it
    """
    return SourceError(
        f"{shown} cannot be read: its server gives no ranges (pieces) of a file, and an upload reads by ranges. "
        "Download it in a task and upload the file from there, or put it into an object storage."
    )


def _status(error: BaseException) -> int | None:
    """The HTTP status: aiohttp's, Azure's, Google's or botocore's."""
    for one in (error, error.__cause__):
        answer = _mapping(_mapping(getattr(one, "response", None)).get("ResponseMetadata"))
        for status in (answer.get("HTTPStatusCode"), *(vars(one).get(name) for name in _STATUS if one is not None)):
            if isinstance(status, int) and 100 <= status < 600:
                return status
    return None


def _code(error: BaseException) -> str | None:
    """S3's error code, such as ``AccessDenied``."""
    for one in (error, error.__cause__):
        code = _mapping(_mapping(getattr(one, "response", None)).get("Error")).get("Code")
        if isinstance(code, str) and _CODE.fullmatch(code):
            return code
    return None


def _words(error: Exception) -> str:
    if code := _code(error):
        return code
    if status := _status(error):
        return f"HTTP {status}"
    if type(error) is OSError and error.errno and error.errno in errno.errorcode:
        return os.strerror(error.errno)
    return type(error).__name__


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _is_network(error: Exception) -> bool:
    return not isinstance(error, FileNotFoundError) and (
        isinstance(error, OSError) or type(error).__module__.startswith("aiohttp")
    )
