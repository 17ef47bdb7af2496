from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_workbench.client.endpoint import Endpoint, is_host, is_loopback
from airflow_provider_workbench.client.errors import ConfigurationError

URL = "https://app.workbench.example/api/v1/workflows/123/steps/step-aB_-9/files"


def test_url_is_taken_apart_and_put_together_again() -> None:
    endpoint = Endpoint.parse(URL)
    assert endpoint == Endpoint("https://app.workbench.example", 123, "step-aB_-9")
    assert endpoint.create_file_url == URL
    assert endpoint.step_url == endpoint.page_url() == "https://app.workbench.example/workflows/123/"
    assert endpoint.page_url("wSecret1") == "https://app.workbench.example/workflows/wSecret1/"


def test_white_space_around_the_url_is_ignored() -> None:
    assert Endpoint.parse(f" \n{URL}\t ") == Endpoint.parse(URL)


@pytest.mark.parametrize(
    ("given_host", "origin"),
    [
        ("https://APP.example", "https://app.example"),
        ("https://app.example:443", "https://app.example"),
        ("https://app.example:", "https://app.example"),
        ("https://app.example:8443", "https://app.example:8443"),
        ("http://127.0.0.1:80", "http://127.0.0.1"),
        ("http://[::1]:8000", "http://[::1]:8000"),
        ("http://localhost:443", "http://localhost:443"),
        ("app.example", "https://app.example"),
        ("127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("https://wörk.example", "https://wörk.example"),
    ],
)
def test_origin_is_written_in_one_way(given_host: str, origin: str) -> None:
    assert Endpoint.parse(f"{given_host}/api/v1/workflows/1/steps/step-a/files").origin == origin


def test_address_without_scheme_is_http_only_where_that_is_allowed() -> None:
    bare = URL.removeprefix("https://")
    assert Endpoint.parse(bare).origin == "https://app.workbench.example"
    assert Endpoint.parse(bare, allow_http=True).origin == "http://app.workbench.example"


def test_unencrypted_address_outside_this_machine_needs_allow_http() -> None:
    url = URL.replace("https:", "http:")
    with pytest.raises(ConfigurationError, match=r"anybody .* could read the API token.*allow_http"):
        Endpoint.parse(url)
    assert Endpoint.parse(url, allow_http=True).origin == "http://app.workbench.example"


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("", "is empty"),
        ("   ", "is empty"),
        (f"{URL}/", "ends with a slash"),
        (f"{URL}?a=1", "something after"),
        (f"{URL}#top", "something after"),
        ("https://app.workbench.example/workflows/123/", "Workflow's page"),
        ("https://app.workbench.example/api/v1/workflows/wAbc/steps/step-a/files", "secret link's id"),
        ("https://app.workbench.example/", "not a Create-file URL"),
        ("https://app.workbench.example/api/v1/workflows/1/steps/step%20a/files", "not a Create-file URL"),
        (URL.replace("123", "9" * 19), "not a Create-file URL"),
        (URL.replace("https:", "ftp:"), "not a Create-file URL"),
        (URL.replace("app.workbench.example", "app..example"), "not a Create-file URL"),
        (URL.replace("app.workbench.example", "-app.example"), "not a Create-file URL"),
        (URL.replace("app.workbench.example", "a" * 64 + ".example"), "not a Create-file URL"),
        (URL.replace("app.workbench.example", "app\\.example"), "not a Create-file URL"),
        (URL.replace("app.workbench.example", "app.example:99999"), "not a Create-file URL"),
        (URL.replace("workflows", "work\tflows"), "not a Create-file URL"),
        (URL.replace("app.workbench", "app workbench"), "not a Create-file URL"),
        ("https://[::1/api/v1/workflows/1/steps/step-a/files", "not a Create-file URL"),
    ],
)
def test_other_addresses_are_refused_with_what_is_wrong(url: str, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says) as caught:
        Endpoint.parse(url)
    assert "File-upload API" in str(caught.value)


def test_user_and_password_in_the_url_are_refused_and_not_quoted() -> None:
    with pytest.raises(ConfigurationError, match="must not hold a user name") as caught:
        Endpoint.parse(URL.replace("https://", "https://me:hunter2@"))
    assert "hunter2" not in str(caught.value)


@given(st.text(max_size=40), st.sampled_from(["", "https://", "http://", "https://app.example", URL]))
def test_any_text_gives_an_endpoint_or_a_configuration_error(text: str, start: str) -> None:
    try:
        endpoint = Endpoint.parse(start + text)
    except ConfigurationError as error:
        assert error.__context__ is None
    else:
        assert Endpoint.parse(endpoint.create_file_url) == endpoint


@given(
    st.from_regex(r"[a-z][a-z0-9]{0,8}(\.[a-z]{2,5}){1,2}", fullmatch=True),
    st.integers(0, 10**18 - 1),
    st.from_regex(r"step-[-A-Za-z0-9_]{1,20}", fullmatch=True),
)
def test_parsing_its_own_url_changes_nothing(host: str, workflow: int, slug: str) -> None:
    endpoint = Endpoint(f"https://{host}", workflow, slug)
    assert Endpoint.parse(endpoint.create_file_url) == endpoint


@pytest.mark.parametrize(
    "text",
    [
        "wSecret123abcDEF456ghi",
        " wSecret123abcDEF456ghi ",
        "https://app.workbench.example/workflows/wSecret123abcDEF456ghi/",
        "https://app.workbench.example/workflows/wSecret123abcDEF456ghi",
        "https://APP.workbench.example:443/workflows/wSecret123abcDEF456ghi/report",
    ],
)
def test_secret_link_is_its_id_or_its_url(text: str) -> None:
    assert Endpoint.parse(URL).secret_link_id(text) == "wSecret123abcDEF456ghi"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("https://other.example/workflows/wSecret123abcDEF456ghi/", r"another host \(other\.example\)"),
        ("https://app.workbench.example:444/workflows/wSecret123abcDEF456ghi/", "another host"),
        ("https://app.workbench.example/workflows/123/", "not a Workflow's secret link"),
        ("https://app.workbench.example/lessons/wSecret123abcDEF456ghi/", "not a Workflow's secret link"),
        ("/workflows/wSecret123abcDEF456ghi/", "not a URL"),
        ("https://[/wSecret123abcDEF456ghi", "not a URL"),
        ("123", "not a Workflow's secret link"),
        ("w", "not a Workflow's secret link"),
        ("wSecret123abcDEF456ghi\u00e4", "not a Workflow's secret link"),
    ],
)
def test_other_secret_links_are_refused_and_not_quoted(text: str, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says) as caught:
        Endpoint.parse(URL).secret_link_id(text)
    assert "wSecret123" not in str(caught.value)


@given(st.text(max_size=60))
def test_any_secret_link_gives_an_id_or_a_configuration_error(text: str) -> None:
    try:
        found = Endpoint.parse(URL).secret_link_id(text)
    except ConfigurationError:
        return
    assert found.startswith("w")
    assert found.isascii()


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "127.0.0.1", "127.9.9.9", "::1"])
def test_loopback_is_this_machine(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["", "localhost.example", "10.0.0.1", "::2", "127.0.0.1.example", "0.0.0.0"])
def test_no_other_host_is_this_machine(host: str) -> None:
    assert not is_loopback(host)


@pytest.mark.parametrize(
    ("host", "can_be"),
    [
        ("app.example", True),
        ("app.example.", True),
        ("a", True),
        ("my_host-1", True),
        ("192.0.2.1", True),
        ("2001:db8::1", True),
        ("", False),
        (".example", False),
        ("a..b", False),
        ("app-.example", False),
        ("a*b", False),
        (".".join(["a" * 60] * 5), False),
    ],
)
def test_host_can_be_a_name_or_an_address(host: str, can_be: bool) -> None:
    assert is_host(host) is can_be
