"""Create the File: what may be asked for, the POST, and its answers turned into values and errors.

Protocol section 1; every answer in ``recorded/create_file.json``.
"""

from __future__ import annotations

import json
import re
from urllib.parse import urlsplit

from airflow_provider_workbench.client.answers import Answer, error_code, json_object, strangeness
from airflow_provider_workbench.client.backoff import retry_after_seconds
from airflow_provider_workbench.client.endpoint import Place, is_host, is_loopback, place_of
from airflow_provider_workbench.client.errors import (
    BusyError,
    ConfigurationError,
    FilenameError,
    ServerError,
    SizeError,
    UnexpectedAnswerError,
    WorkbenchError,
    printable,
    refusal,
)
from airflow_provider_workbench.client.session import Session
from airflow_provider_workbench.client.settings import Settings

MAX_FILENAME_CHARACTERS = 100
# Workbench says 2147483648, but finishing that always fails: the column is a 32-bit integer (recorded)
MAX_SIZE = 2_147_483_647
READABLE_EXTENSIONS = (".csv", ".tsv", ".txt", ".json", ".xls", ".xlsx")

_MAX_UPLOAD_URL = 4096
_BUSY = (408, 425, 429)
# the server keeps tabs and newlines and fails on the others (recorded: 400 for NUL, 500 for \x01 and \x7f)
_BAD_CHARACTERS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


def check_filename(filename: str) -> str:
    """The File's name as Workbench will keep it: without white space around it.

    :raises FilenameError: Workbench would refuse it: blank, over 100 characters, control characters; or it is no text
    """
    if not isinstance(filename, str):
        raise FilenameError(
            f"The File's name must be text, not {printable(repr(filename), 60)}: a template may make a number of it, "
            "unless the name has an extension. Set the parameter filename."
        )
    name = filename.strip()
    if not name:
        raise FilenameError("The File's name is blank. Set the parameter filename.")
    bad = _BAD_CHARACTERS.search(name)
    if bad:
        raise FilenameError(
            f"The File's name holds the control character {bad[0]!r} at position {bad.start() + 1}, "
            f"which Workbench does not take: {printable(name)!r}. Set the parameter filename."
        )
    try:
        name.encode()
    except UnicodeEncodeError:
        raise FilenameError(
            f"The File's name is not valid Unicode: {printable(name)!r}. Set the parameter filename."
        ) from None
    if len(name) > MAX_FILENAME_CHARACTERS:
        raise FilenameError(
            f"The File's name has {len(name)} characters, and Workbench takes at most {MAX_FILENAME_CHARACTERS}: "
            f"{printable(name)!r}. Set a shorter one with the parameter filename."
        )
    return name


def check_size(size: int) -> int:
    """The size in bytes, if a Step can take it.

    :raises SizeError: over 2147483647 bytes
    """
    if size > MAX_SIZE:
        raise SizeError(
            f"The file has {size} bytes, and a Workbench File can have at most {MAX_SIZE} "
            "(one byte less than 2 GiB). Split it, or leave out columns."
        )
    return size


def extension_warning(filename: str) -> str | None:
    """A warning in plain words if no Step can read a File of this name, else None."""
    if filename.lower().endswith(READABLE_EXTENSIONS):
        return None
    return (
        f"Workbench will store {printable(filename)!r}, but no Upload step can read it: "
        f"the name must end with one of {', '.join(READABLE_EXTENSIONS)}."
    )


def create_file(session: Session, settings: Settings, filename: str, size: int) -> tuple[str, Answer]:
    """Ask Workbench for a place to upload to.

    With ``size`` 0 the File is finished inside this request (``recorded/size_zero.json``).

    :param filename: as ``check_filename`` returns it
    :param size: bytes
    :return: the upload URL (secret), and the answer it came in
    :raises RefusedError: Workbench's code says why
    :raises ConfigurationError: the Create-file URL leads to another page, or the upload host is none for a frontend
        such as this
    :raises ServerError: 5xx
    :raises UnexpectedAnswerError: nothing that Workbench would say
    :raises TransportError: no answer
    """
    answer = session.request(
        "POST",
        settings.endpoint.create_file_url,
        headers={
            "Authorization": f"Bearer {settings.token}",
            "Content-Type": "application/json",
            "Accept": "application/json",
        },
        body=json.dumps({"filename": filename, "size": size}).encode(),
        # with size 0 the hook runs inside; another request on the Workflow makes this one wait (recorded)
        read_timeout=settings.finish_timeout,
    )
    if size == 0 and answer.status == 200 and isinstance(json_object(answer.text).get("tusUploadUrl"), str):
        # it is finished, and nothing will be sent there
        return "", answer
    return read_answer(answer, settings), answer


def may_pass(error: WorkbenchError) -> bool:
    """True if a proxy in front of a Workbench that is being restarted may say so for a moment, though as an answer of
    Workbench's nothing mends it: 404 or a redirect, without one of its codes. It counts when it comes again."""
    return isinstance(error, ConfigurationError) and error.status is not None and 300 <= error.status < 500


def read_answer(answer: Answer, settings: Settings) -> str:
    """The upload URL (secret) in a create-file answer.

    :raises WorkbenchError: as for :func:`create_file`
    """
    if answer.status == 200:
        return _upload_url(answer, settings)
    raise error_of(answer, settings)


def error_of(answer: Answer, settings: Settings) -> WorkbenchError:
    """The error that a create-file answer other than 200 means."""
    error = _error_of(answer, settings)
    error.retry_after = retry_after_seconds(answer.headers)
    return error


def _error_of(answer: Answer, settings: Settings) -> WorkbenchError:
    host = urlsplit(settings.endpoint.origin).netloc
    status = answer.status
    found = error_code(answer.text)
    # gateways send the same JSON with 429 and 5xx, and Workbench never does
    if found and 400 <= status < 500 and status not in _BUSY:
        code, fields = found
        return refusal(code, token_place=settings.token_place, status=status, fields=fields)
    if status >= 500:
        return ServerError(
            f"{host} answered {status} to create-file. Workbench, or its upload server, is in trouble: "
            "try again later.",
            status=status,
        )
    if status in _BUSY:
        return BusyError(f"{host} answered {status} to create-file: it asks to try again later.", status=status)
    if status == 404:
        return ConfigurationError(
            f"{host} has no such Create-file URL (404). In Workbench open the Upload step → File-upload API, "
            "copy the Create-file URL again, and paste it whole into the connection.",
            status=status,
        )
    if 300 <= status < 400:
        return ConfigurationError(
            f"{host} redirects create-file elsewhere ({status}); this is not followed, because the API token goes to "
            "the Create-file URL's host only. Paste the Create-file URL as Workbench shows it now.",
            status=status,
        )
    return UnexpectedAnswerError(
        f"{host} answered {status} to create-file, and no Workbench does. Look at the proxies on the way.",
        status=status,
    )


def _upload_url(answer: Answer, settings: Settings) -> str:
    url = json_object(answer.text).get("tusUploadUrl")
    problem = _url_problem(url, settings) if isinstance(url, str) else f"has no tusUploadUrl{strangeness(answer)}"
    if problem:
        raise UnexpectedAnswerError(
            f"The answer to create-file {problem}. Is the Create-file URL that of a Workbench?", status=answer.status
        )
    assert isinstance(url, str)
    _check_place(urlsplit(url).hostname or "", settings)
    return url


def _check_place(host: str, settings: Settings) -> None:
    """
    :raises ConfigurationError: no upload host of this frontend's can be there
    """
    frontend = urlsplit(settings.endpoint.origin)
    place, own = place_of(host), place_of(frontend.hostname or "")
    advice = ""
    if host == frontend.hostname:
        # the token went there
        return
    if place is Place.METADATA:
        what = "where a cloud keeps its machines' credentials"
    elif place is Place.NOWHERE:
        what = "no single machine's address"
    elif place is Place.LINK_LOCAL:
        what = "a link-local address"
    elif place is Place.LOOPBACK and own is not Place.LOOPBACK:
        what = "this machine itself"
        advice = " If all of it runs here, have localhost or 127.0.0.1 in the Create-file URL, too."
    elif place is Place.PRIVATE and own is Place.PUBLIC:
        what = "an address of a private network, and the Create-file URL has a public one"
    else:
        return
    raise ConfigurationError(
        f"{frontend.netloc} names {printable(host, 100)} as its upload host, which is {what}: nothing is sent there. "
        f"Ask whoever runs this Workbench to have it name the upload server's own address.{advice}",
        status=200,
    )


def _url_problem(url: str, settings: Settings) -> str | None:
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - urlsplit checks the port only when it is asked for
    except ValueError:
        return "has a tusUploadUrl that is no URL"
    if len(url) > _MAX_UPLOAD_URL or not url.isascii() or not url.isprintable() or " " in url:
        return "has a tusUploadUrl that is no URL"
    host = parts.hostname or ""
    if parts.scheme not in ("http", "https") or not is_host(host) or parts.username is not None:
        return "has a tusUploadUrl that is no plain http(s) address"
    if parts.scheme == "http" and settings.endpoint.origin.startswith("https:"):
        return "has a tusUploadUrl that is not encrypted (http://), though the Create-file URL is"
    if parts.scheme == "http" and not settings.allow_http and not is_loopback(host):
        return "has a tusUploadUrl that is not encrypted (http://), and the extra allow_http is not set"
    return None
