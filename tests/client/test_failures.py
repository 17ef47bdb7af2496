from __future__ import annotations

import http.client
import socket
import ssl
from pathlib import Path

import aiohttp
import pytest
import requests
import urllib3
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_workbench.client import errors
from airflow_provider_workbench.client.failures import causes, reason, transport_error

SECRET = "https://upload.example/files/secret+id"


def openssl_error(kind: type[ssl.SSLError], reason: str) -> ssl.SSLError:
    """As OpenSSL's own come: with attributes that no constructor sets."""
    error = kind(1, f"[SSL: {reason}] text (_ssl.c:1000)")
    error.reason = reason
    return error


def test_causes_are_found_in_arguments_reasons_and_chains() -> None:
    first, second, third = OSError(1, "a"), ValueError("b"), KeyError("c")
    error = requests.ConnectionError(urllib3.exceptions.MaxRetryError(None, SECRET, first))  # type: ignore[arg-type]
    first.__cause__ = second
    second.__context__ = third
    third.__cause__ = error  # a circle
    assert {first, second, third} <= set(causes(error))


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ConnectionResetError(104, "Connection reset by peer"), "Connection reset by peer"),
        (socket.gaierror(-2, "Name or service not known"), "Name or service not known"),
        (TimeoutError("timed out"), "timed out"),
        (OSError("Tunnel connection failed: 407 Auth\x1b"), "it answered 407 Proxy Authentication Required"),
        (OSError("Tunnel connection failed: 599 secret"), "it answered 599"),
        (OSError(f"no bundle at {SECRET}"), "OSError"),
        (http.client.RemoteDisconnected(SECRET), "it was closed without a complete answer"),
        (http.client.IncompleteRead(b"secret", 5), "it was closed without a complete answer"),
        (http.client.BadStatusLine(SECRET), "its answer is not HTTP"),
        (aiohttp.ServerDisconnectedError(SECRET), "it was closed without a complete answer"),
        (aiohttp.ClientPayloadError(SECRET), "it was closed without a complete answer"),
        (openssl_error(ssl.SSLError, "WRONG_VERSION_NUMBER"), "WRONG_VERSION_NUMBER"),
        (ssl.SSLEOFError(8, SECRET), "it was closed without a complete answer"),
        (ssl.SSLError(SECRET), "SSLError"),
        (ssl.SSLCertVerificationError(SECRET), "SSLCertVerificationError"),
        (ValueError(SECRET), "ValueError"),
    ],
)
def test_reason_is_the_systems_words_and_never_a_librarys(error: Exception, words: str) -> None:
    wrapped = requests.ConnectionError(urllib3.exceptions.ProtocolError(f"for {SECRET}", error), request=SECRET)
    assert reason(error) == words
    assert reason(wrapped) == (words if words != type(error).__name__ else "ConnectionError")


def kind_of(error: Exception, *, unconnected: bool = False, silent: bool = False) -> type[errors.TransportError]:
    return type(transport_error(error, "app.example", unconnected=unconnected, silent=silent))


def test_tls_that_does_not_fit_is_for_good() -> None:
    for name in ("CERTIFICATE_VERIFY_FAILED", "WRONG_VERSION_NUMBER", "SSLV3_ALERT_HANDSHAKE_FAILURE"):
        assert kind_of(openssl_error(ssl.SSLError, name), unconnected=True) is errors.TlsError
    # TLS 1.3 tells so only when the first answer is read
    assert kind_of(openssl_error(ssl.SSLError, "TLSV13_ALERT_CERTIFICATE_REQUIRED")) is errors.TlsError
    assert kind_of(openssl_error(ssl.SSLError, "TLSV1_ALERT_UNKNOWN_CA")) is errors.TlsError


def test_tls_connection_that_was_cut_is_a_lost_connection() -> None:
    cut = openssl_error(ssl.SSLEOFError, "UNEXPECTED_EOF_WHILE_READING")
    assert kind_of(cut) is errors.ConnectionLostError
    assert kind_of(cut, unconnected=True) is errors.ConnectError
    assert kind_of(ssl.SSLZeroReturnError(6, "closed")) is errors.ConnectionLostError
    assert kind_of(openssl_error(ssl.SSLError, "DECRYPTION_FAILED_OR_BAD_RECORD_MAC")) is errors.ConnectionLostError


def test_silence_and_loss_are_told_apart() -> None:
    silent = transport_error(TimeoutError(), "app.example", unconnected=False, silent=True)
    assert str(silent) == "app.example fell silent: no answer in time."
    lost = transport_error(ConnectionResetError(104, "Connection reset by peer"), "h", unconnected=False, silent=False)
    assert str(lost) == "The connection to h was lost: Connection reset by peer."


MAKERS = (ValueError, OSError, requests.ConnectionError, aiohttp.ClientError, ssl.SSLError, KeyError, TimeoutError)


@given(st.lists(st.sampled_from(MAKERS), min_size=1, max_size=4), st.booleans(), st.booleans())
def test_no_librarys_text_gets_into_the_error(makers: list[type[Exception]], unconnected: bool, silent: bool) -> None:
    error: Exception = ValueError(SECRET)
    for make in makers:
        outer = make(f"at {SECRET}", error)
        outer.__context__ = error
        error = outer
    text = str(transport_error(error, "app.example", unconnected=unconnected, silent=silent))
    assert "secret" not in text


def test_unreadable_tls_files_need_no_library(tmp_path: Path) -> None:
    with pytest.raises(ssl.SSLError) as caught:
        ssl.create_default_context(cafile=__file__)
    assert kind_of(caught.value, unconnected=True) is errors.TlsError
