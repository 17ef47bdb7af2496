"""What a connection says, checked: one Step, its token, and how to reach it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_workbench.client.endpoint import Endpoint
from airflow_provider_workbench.client.errors import ConfigurationError, printable
from airflow_provider_workbench.client.unpicklable import Unpicklable

CONNECT_TIMEOUT = 10.0
STALL_TIMEOUT = 60.0
FINISH_TIMEOUT = 600.0
RETRY_BUDGET = 900.0

# eleven days; sockets take no more than 24
_MOST_SECONDS = 1_000_000


@dataclass(frozen=True, slots=True)
class Settings(Unpicklable):
    """All that is needed to talk to one Step. ``repr()`` shows no secret.

    :ivar endpoint: the Step's address
    :ivar token: the Step's API token (secret)
    :ivar token_place: where the user keeps the token, for errors' advice
    :ivar secret_link: the id of the Workflow's secret link (secret), to read a Step that is not public
    :ivar session_token: a ``sessionid`` cookie (secret), where there is no secret link
    :ivar verify_tls: False switches certificate checks off, for every request
    :ivar ca_bundle: path of a PEM file with the authorities to trust instead of the usual ones
    :ivar client_cert: path of a PEM file with our certificate (and the key, unless ``client_key`` has it)
    :ivar client_key: path of a PEM file with our certificate's key
    :ivar chunk_size: bytes per PATCH; None sends the whole rest in one
    :ivar connect_timeout: seconds until a connection is made
    :ivar stall_timeout: seconds without a byte moving in either direction
    :ivar finish_timeout: seconds that the last PATCH may take to answer (S3 parts and the hook)
    :ivar retry_budget: seconds since the last confirmed progress
    :ivar allow_http: True lets bytes and secrets go unencrypted to hosts that are not this machine
    :ivar show_secret_link: True lets links shown to people be the secret link
    :ivar warnings: what was odd but could be used, in plain words, without secrets
    """

    endpoint: Endpoint
    token: str = field(repr=False)
    token_place: str = "the connection's password"
    secret_link: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)
    verify_tls: bool = True
    ca_bundle: str | None = None
    client_cert: str | None = None
    client_key: str | None = None
    chunk_size: int | None = None
    connect_timeout: float = CONNECT_TIMEOUT
    stall_timeout: float = STALL_TIMEOUT
    finish_timeout: float = FINISH_TIMEOUT
    retry_budget: float = RETRY_BUDGET
    allow_http: bool = False
    show_secret_link: bool = False
    warnings: tuple[str, ...] = ()

    @classmethod
    def from_fields(
        cls,
        create_file_url: str,
        token: str,
        extra: Mapping[str, Any] | None = None,
        *,
        token_place: str = "the connection's password",
    ) -> Settings:
        """Check and convert what a person typed.

        :param create_file_url: as Workbench shows it
        :param token: the API token; white space around it is ignored
        :param extra: the other fields by name; values may be strings, as they come from a URI
        :param token_place: where the token is kept, for errors' advice
        :raises ConfigurationError: names the field and what to put there; never quotes a secret
        """
        given = {key: value for key, value in (extra or {}).items() if value is not None and value != ""}
        warnings = [
            f"The connection's extra has an unknown field {printable(str(key), 60)!r}: ignored. "
            f"Known are {', '.join(sorted(_FIELDS))}."
            for key in given
            if key not in _FIELDS
        ]
        values: dict[str, Any] = {key: convert(key, given[key]) for key, convert in _FIELDS.items() if key in given}
        endpoint = Endpoint.parse(create_file_url, allow_http=values.get("allow_http", False))
        if "secret_link" in values:
            values["secret_link"] = endpoint.secret_link_id(values["secret_link"])
        if not _is_token(values.get("session_token", "-")):
            raise ConfigurationError(
                "The extra session_token holds characters that no cookie has. "
                "Copy the value of the cookie sessionid alone."
            )
        if "client_key" in values and "client_cert" not in values:
            raise ConfigurationError("The extra client_key needs client_cert beside it.")
        if values.get("verify_tls") is False:
            warnings.append("verify_tls is off: nothing checks that this is your Workbench.")
        return cls(endpoint, _token(token, token_place), token_place, **values, warnings=tuple(warnings))


def _token(text: str, place: str) -> str:
    token = (text or "").strip()
    if not token:
        raise ConfigurationError(
            "The API token is empty. In Workbench open the Upload step → File-upload API, "
            f"copy the API token, and put it into {place}."
        )
    if not _is_token(token):
        raise ConfigurationError(
            f"The API token holds characters that no API token has (in {place}). Copy it again from "
            "Workbench: Upload step → File-upload API."
        )
    return token


def _is_token(text: str) -> bool:
    """True if it can stand in a header as one word."""
    return bool(text) and text.isascii() and text.isprintable() and not set(text) & set(' ;,"\\')


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str) or not value.strip().isprintable():
        raise ConfigurationError(f"The extra {name} must be plain text on one line.")
    return value.strip()


def _boolean(name: str, value: Any) -> bool:
    if isinstance(value, bool):
        return value
    word = value.strip().lower() if isinstance(value, str) else "true" if value == 1 else "false" if value == 0 else ""
    if word in ("true", "1", "yes", "on"):
        return True
    if word in ("false", "0", "no", "off"):
        return False
    raise ConfigurationError(f"The extra {name} must be true or false, not {_shown(value)}.")


def _seconds(name: str, value: Any) -> float:
    try:
        number = float(value) if not isinstance(value, bool) else math.nan
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not 0 < number <= _MOST_SECONDS:
        raise ConfigurationError(
            f"The extra {name} must be a number of seconds above 0, at most {_MOST_SECONDS}, not {_shown(value)}."
        )
    return number


def byte_count(name: str, value: Any, *, least: int = 1) -> int:
    """A whole number of bytes, also from text.

    :raises ConfigurationError: it is not one, or below ``least``; the error calls it ``name``
    """
    try:
        number = int(value) if isinstance(value, str) else value
    except ValueError:
        number = None
    if isinstance(number, bool) or not isinstance(number, int) or number < least:
        raise ConfigurationError(f"{name} must be a whole number of bytes, at least {least}, not {_shown(value)}.")
    return number


def _shown(value: Any) -> str:
    """A wrong value, for an error, if it is short: a long one may be a secret that was put into the wrong field."""
    long = "the long value that is there"
    if isinstance(value, int) and abs(value) > 10**15:
        return long
    if not isinstance(value, str | int | float):
        return f"a {type(value).__name__}"
    text = printable(repr(value), 40)
    return text if len(text) <= 18 else long


def _bytes(name: str, value: Any) -> int:
    return byte_count(f"The extra {name}", value)


_FIELDS: dict[str, Any] = {
    "secret_link": _text,
    "session_token": _text,
    "verify_tls": _boolean,
    "ca_bundle": _text,
    "client_cert": _text,
    "client_key": _text,
    "chunk_size": _bytes,
    "connect_timeout": _seconds,
    "stall_timeout": _seconds,
    "finish_timeout": _seconds,
    "retry_budget": _seconds,
    "allow_http": _boolean,
    "show_secret_link": _boolean,
}
