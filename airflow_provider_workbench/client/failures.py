"""What went wrong on the network, in words that hold no URL.

HTTP libraries put the URL – here a secret – into their exceptions' texts, so only the operating system's and
OpenSSL's own words are taken from them.
"""

from __future__ import annotations

import os
import re
import socket
import ssl
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

from airflow_provider_workbench.client.errors import (
    ConfigurationError,
    ConnectError,
    ConnectionLostError,
    TlsError,
    TransportError,
)
from airflow_provider_workbench.client.settings import Settings


def transport_error(error: BaseException, host: str, *, unconnected: bool, silent: bool) -> TransportError:
    """Our error for a library's.

    :param host: for the message
    :param unconnected: True if no connection was made
    :param silent: True if the server did not answer in time
    """
    why = reason(error)
    if any(_is_tls_misfit(cause, unconnected) for cause in causes(error)):
        return TlsError(
            f"No trusted connection to {host}: {why}. If your Workbench has a certificate of your own authority, name "
            "its PEM file in the extra ca_bundle; if it asks for a client certificate, see client_cert."
        )
    if unconnected:
        return ConnectError(
            f"Could not connect to {host}: {why}. Can this machine reach it (firewall, proxy), and is the Create-file "
            "URL right?"
        )
    if silent:
        return ConnectionLostError(f"{host} fell silent: no answer in time.")
    return ConnectionLostError(f"The connection to {host} was lost: {why}.")


def unreadable_answer(host: str) -> ConnectionLostError:
    """Our error for an answer that is not as HTTP has them, or whose head is larger than any server's."""
    return ConnectionLostError(
        f"The answer of {host} cannot be read: it is not HTTP, or its headers are too many, too long or contradictory. "
        "Look at the proxies on the way, and whether the Create-file URL is a Workbench's."
    )


def slow_answer(host: str) -> ConnectionLostError:
    """Our error for an answer that came, bit by bit or on and on, and did not end in time."""
    return ConnectionLostError(
        f"{host} began an answer and did not end it in time: it comes too slowly, or never ends. If the network is "
        "that slow, set the extra stall_timeout higher."
    )


def unreadable_tls_file(settings: Settings) -> ConfigurationError:
    """Our error for a PEM file of the connection that cannot be read here."""
    paths = [path for path in (settings.ca_bundle, settings.client_cert, settings.client_key) if path]
    return ConfigurationError(
        "A PEM file cannot be read on this machine (extras ca_bundle, client_cert, client_key, or the environment's "
        f"REQUESTS_CA_BUNDLE): {', '.join(paths) or 'none is set in the connection'}."
    )


def causes(error: BaseException) -> Iterator[BaseException]:
    """The error and everything inside it: urllib3 wraps in arguments and ``reason``, not only in causes."""
    seen: set[int] = set()
    todo: list[Any] = [error]
    while todo:
        cause = todo.pop(0)
        if not isinstance(cause, BaseException) or id(cause) in seen:
            continue
        seen.add(id(cause))
        yield cause
        todo += [getattr(cause, "reason", None), cause.__cause__, cause.__context__, *cause.args]


def _is_tls_misfit(cause: BaseException, unconnected: bool) -> bool:
    """True if no retry mends it; False also for a connection that was cut, which over TLS is an SSLError too."""
    if not isinstance(cause, ssl.SSLError):
        return False
    if not unconnected:
        # TLS 1.3 tells of a refused client certificate only after the handshake
        words = getattr(cause, "reason", None) or ""
        return any(word in words for word in ("CERTIFICATE", "UNKNOWN_CA", "DECRYPT_ERROR", "ACCESS_DENIED"))
    cut = isinstance(cause, ssl.SSLEOFError | ssl.SSLZeroReturnError | ssl.SSLSyscallError)
    # nobody's certificate is meant: so speaks a server, or a balancer before it, that is not up yet
    passing = "ALERT_INTERNAL_ERROR" in (getattr(cause, "reason", None) or "")
    return not cut and not passing and bool(_words(cause))


def reason(error: BaseException) -> str:
    """The first words of the operating system or OpenSSL inside ``error``; else its kind."""
    # aiohttp gives OpenSSL's error number to an OSError of its own, where it would mean something else
    known = sorted(causes(error), key=lambda cause: not isinstance(cause, ssl.SSLError))
    return next((text for text in map(_words, known) if text), type(error).__name__)


_CLOSED = "it was closed without a complete answer"
# by name, so that this module needs no HTTP library
_KNOWN = {
    "RemoteDisconnected": _CLOSED,
    "IncompleteRead": _CLOSED,
    "ServerDisconnectedError": _CLOSED,
    "ClientPayloadError": _CLOSED,
    "BadStatusLine": "its answer is not HTTP",
}


def status_words(status: int) -> str:
    """An HTTP status in HTTP's own words: a proxy's may echo what it was sent."""
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def _words(cause: BaseException) -> str:
    if type(cause).__name__ in _KNOWN:
        return _KNOWN[type(cause).__name__]
    if isinstance(cause, ssl.SSLError):
        # aiohttp's errors are SSLErrors too, without OpenSSL's attributes; the one inside has them
        words = getattr(cause, "verify_message", None) or getattr(cause, "reason", None)
        return words.rstrip(".") if words else (_CLOSED if isinstance(cause, ssl.SSLEOFError) else "")
    if isinstance(cause, TimeoutError):
        return "timed out"
    if isinstance(cause, OSError) and (refusal := re.match(r"Tunnel connection failed: (\d{3})\b", str(cause))):
        return f"it answered {status_words(int(refusal[1]))}"
    if isinstance(cause, socket.gaierror):
        return str(cause.strerror or "")
    # by number: libraries put URLs into the texts of OSErrors
    if isinstance(cause, OSError) and isinstance(cause.errno, int) and cause.errno > 0:
        return os.strerror(cause.errno)
    return ""
