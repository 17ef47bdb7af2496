from __future__ import annotations

import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_workbench.client.errors import ConfigurationError
from airflow_provider_workbench.client.settings import Settings, byte_count

URL = "https://app.workbench.example/api/v1/workflows/123/steps/step-a/files"
LINK = "wSecret123abcDEF456ghi"
FIELDS = [
    "secret_link",
    "session_token",
    "verify_tls",
    "ca_bundle",
    "client_cert",
    "client_key",
    "chunk_size",
    "connect_timeout",
    "stall_timeout",
    "finish_timeout",
    "retry_budget",
    "allow_http",
    "show_secret_link",
]


def make(**extra: Any) -> Settings:
    return Settings.from_fields(URL, "tok-en_1", extra)


def test_defaults_are_those_of_the_design() -> None:
    settings = make()
    assert (settings.connect_timeout, settings.stall_timeout) == (10, 60)
    assert (settings.finish_timeout, settings.retry_budget) == (600, 900)
    assert settings.verify_tls
    assert settings.chunk_size is None
    assert not settings.allow_http
    assert settings.warnings == ()


def test_extras_may_be_text_as_in_a_uri() -> None:
    settings = make(
        verify_tls="False ", chunk_size=" 1048576", stall_timeout="2.5", allow_http="yes", ca_bundle=" /a b "
    )
    assert settings.verify_tls is False
    assert settings.chunk_size == 1048576
    assert settings.stall_timeout == 2.5
    assert settings.allow_http is True
    assert settings.ca_bundle == "/a b"


def test_empty_extras_are_as_good_as_missing() -> None:
    assert make(**dict.fromkeys(FIELDS, "")) == make(**dict.fromkeys(FIELDS)) == make()


def test_white_space_around_the_token_is_ignored() -> None:
    assert Settings.from_fields(URL, " \ttok\n").token == "tok"


@pytest.mark.parametrize("token", ["", "  ", None])
def test_missing_token_says_where_to_get_it_and_where_to_put_it(token: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"is empty\. In Workbench open .* put it into the vault"):
        Settings.from_fields(URL, token, token_place="the vault")


@pytest.mark.parametrize("token", ["sec ret", "secr\u00e9t", "sec\x00ret", "sec\r\nX-Evil: 1", "sec;ret"])
def test_token_that_no_header_can_hold_is_refused_and_not_quoted(token: str) -> None:
    with pytest.raises(ConfigurationError, match="holds characters that no API token has") as caught:
        Settings.from_fields(URL, token)
    assert "ret" not in str(caught.value)


@pytest.mark.parametrize("cookie", ["se cret", "secr\u00e9t", "\u2192secret", "secret; other=1", "se\\cret"])
def test_session_token_that_no_header_can_hold_is_refused_and_not_quoted(cookie: str) -> None:
    with pytest.raises(ConfigurationError, match="session_token holds characters") as caught:
        make(session_token=cookie)
    assert "cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("extra", "says"),
    [
        ({"verify_tls": "maybe"}, "verify_tls must be true or false"),
        ({"verify_tls": "/etc/ca.pem"}, "verify_tls must be true or false"),
        ({"chunk_size": -1}, "chunk_size must be a whole number of bytes, at least 1"),
        ({"chunk_size": 0}, "chunk_size must be"),
        ({"chunk_size": "5 MiB"}, "chunk_size must be"),
        ({"chunk_size": 1.5}, "chunk_size must be"),
        ({"chunk_size": True}, "chunk_size must be"),
        ({"stall_timeout": 0}, "stall_timeout must be a number of seconds"),
        ({"stall_timeout": "nan"}, "stall_timeout must be"),
        ({"stall_timeout": "inf"}, "stall_timeout must be"),
        ({"connect_timeout": 1e10}, "connect_timeout must be .* at most 1000000"),
        ({"connect_timeout": True}, "connect_timeout must be"),
        ({"connect_timeout": [1]}, "connect_timeout must be"),
        ({"ca_bundle": 5}, "ca_bundle must be plain text"),
        ({"ca_bundle": "/a\n/b"}, "ca_bundle must be plain text"),
        ({"client_key": "/key.pem"}, "client_key needs client_cert"),
        ({"secret_link": " "}, "secret_link is not a Workflow's secret link"),
        ({"secret_link": "https://other.example/workflows/wAbc/"}, "secret_link is of another host"),
    ],
)
def test_wrong_extras_are_named(extra: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        make(**extra)


def test_unknown_extras_are_a_warning_that_names_the_known_ones() -> None:
    (warning,) = make(chunksize=5, **{"\x1b[31m": None}).warnings
    assert "'chunksize'" in warning
    assert "chunk_size" in warning


def test_switched_off_tls_checks_are_a_warning() -> None:
    assert "verify_tls is off" in make(verify_tls=False).warnings[0]


def test_allow_http_is_known_where_the_address_is_checked() -> None:
    url = URL.replace("https:", "http:")
    with pytest.raises(ConfigurationError):
        Settings.from_fields(url, "t", {"allow_http": "false"})
    assert Settings.from_fields(url, "t", {"allow_http": "true"}).allow_http


def test_repr_shows_no_secret_and_pickling_is_refused() -> None:
    settings = make(secret_link=LINK, session_token="cook1e")
    shown = repr(settings)
    assert "tok-en_1" not in shown
    assert LINK not in shown
    assert "cook1e" not in shown
    with pytest.raises(TypeError, match="holds secrets"):
        pickle.dumps(settings)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=10), JSON, max_size=5), st.text(max_size=20))
def test_any_fields_give_settings_or_a_configuration_error(extra: dict[str, Any], token: str) -> None:
    try:
        settings = Settings.from_fields(URL, token, extra)
    except ConfigurationError as error:
        assert len(str(error)) < 600
    else:
        assert 0 < settings.stall_timeout <= 1_000_000
        assert settings.token.isascii()


@given(st.sampled_from(["secret_link", "session_token"]), st.text("0123456789", min_size=6, max_size=20))
def test_errors_never_quote_a_secret(name: str, secret: str) -> None:
    try:
        Settings.from_fields(URL, "t", {name: secret + " \u2192"})
    except ConfigurationError as error:
        assert secret not in str(error)
    else:
        pytest.fail("an arrow is in no secret")


def test_byte_count_is_named_as_the_caller_says() -> None:
    assert byte_count("size", "12") == 12
    with pytest.raises(ConfigurationError, match="^size must be a whole number of bytes, at least 0"):
        byte_count("size", -1, least=0)
