"""What went wrong on the network, in words that hold no URL.

HTTP libraries put the URL – here a secret – into their exceptions' texts, so only the operating system's and
OpenSSL's own words are taken from them.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
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
    if any(isinstance(cause, ssl.SSLError) for cause in causes(error)):
        return TlsError(
            f"No trusted connection to {host}: {why}. If your Workbench has a certificate of your own authority, name "
            "its PEM file in the extra ca_bundle; if it asks for a client certificate, see client_cert."
        )
    if unconnected:
        return ConnectError(
            f"Could not connect to {host}: {why}. Is the Create-file URL right, and can this machine reach it?"
        )
    if silent:
        return ConnectionLostError(f"{host} fell silent: no answer in time.")
    return ConnectionLostError(f"The connection to {host} was lost: {why}.")


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


def reason(error: BaseException) -> str:
    """The first words of the operating system or OpenSSL inside ``error``; else its kind."""
    return next((text for text in map(_words, causes(error)) if text), type(error).__name__)


def _words(cause: BaseException) -> str:
    if isinstance(cause, ssl.SSLCertVerificationError):
        return cause.verify_message
    if isinstance(cause, ssl.SSLError):
        return cause.reason or "the TLS handshake failed"
    if isinstance(cause, TimeoutError):
        return "timed out"
    # libraries derive their own errors from OSError, and put URLs there
    if isinstance(cause, OSError) and type(cause).__module__ in ("builtins", "socket"):
        return cause.strerror or ""
    return ""
