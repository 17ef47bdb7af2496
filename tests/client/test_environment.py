from __future__ import annotations

import ssl
from pathlib import Path

import certifi
import pytest
from client_servers import Authority

from airflow_provider_workbench.client.environment import proxy_for, proxy_passwords, ssl_context, trusted_authorities
from airflow_provider_workbench.client.errors import ConfigurationError
from airflow_provider_workbench.client.settings import Settings

URL = "https://app.workbench.example/api/v1/workflows/123/steps/step-a/files"


def make(**extra: object) -> Settings:
    return Settings.from_fields(URL, "t", extra)


def test_without_a_proxy_the_way_is_direct() -> None:
    assert proxy_for(URL) is None


def test_proxy_is_that_of_the_scheme(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://secure.example:3128")
    monkeypatch.setenv("http_proxy", "plain.example:3128")
    assert proxy_for("https://app.example/") == proxy_for("wss://app.example/") == "http://secure.example:3128"
    assert proxy_for("http://app.example/") == proxy_for("ws://app.example/") == "http://plain.example:3128"


def test_all_proxy_is_for_the_schemes_without_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://all.example:1")
    assert proxy_for(URL) == "http://all.example:1"


@pytest.mark.parametrize("exempt", ["app.workbench.example", ".workbench.example", "other, workbench.example", "*"])
def test_no_proxy_exempts_hosts_and_domains(monkeypatch: pytest.MonkeyPatch, exempt: str) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", exempt)
    assert proxy_for(URL) is None
    if exempt != "*":
        assert proxy_for("https://elsewhere.example/") == "http://proxy.example:3128"


def test_socks_proxy_is_refused_and_never_passed_by(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5h://me:hunter2@proxy.example:1080")
    with pytest.raises(ConfigurationError, match=r"a socks5h:// proxy for app\.workbench\.example.*NO_PROXY") as caught:
        proxy_for(URL)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("proxy", "passwords"),
    [
        ("http://proxy.example:3128", ()),
        ("http://me@proxy.example:3128", ()),
        ("http://me:@proxy.example:3128", ()),
        ("http://me:hunter2@proxy.example:3128", ("hunter2",)),
        ("me:hunter2@proxy.example", ("hunter2",)),
        ("http://me:a%40b@proxy.example", ("a%40b", "a@b")),
        ("http://me:a@b:c/d@proxy.example:none", ("a@b:c/d",)),
        ("socks5://me:hunter2@[proxy.example", ("hunter2",)),
    ],
)
def test_passwords_of_proxies_are_known_also_where_the_address_cannot_be_used(
    monkeypatch: pytest.MonkeyPatch, proxy: str, passwords: tuple[str, ...]
) -> None:
    assert proxy_passwords() == ()
    for name in ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, proxy)
        assert proxy_passwords() == passwords
        monkeypatch.delenv(name)


def test_connections_own_authority_wins_over_the_environments(monkeypatch: pytest.MonkeyPatch) -> None:
    assert trusted_authorities(make()) == certifi.where()
    monkeypatch.setenv("CURL_CA_BUNDLE", "/curl.pem")
    assert trusted_authorities(make()) == "/curl.pem"
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/requests.pem")
    assert trusted_authorities(make()) == "/requests.pem"
    assert trusted_authorities(make(ca_bundle="/own.pem")) == "/own.pem"


def test_context_trusts_the_connections_authority_alone(authority: Authority) -> None:
    context = ssl_context(make(ca_bundle=authority.ca.cert_file))
    assert [dict(pair[0] for pair in one["subject"]) for one in context.get_ca_certs()] == [{"commonName": "ca"}]  # type: ignore[misc]
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname


def test_context_without_checks_checks_nothing() -> None:
    context = ssl_context(make(verify_tls=False, ca_bundle="/missing.pem"))
    assert context.verify_mode is ssl.CERT_NONE
    assert not context.check_hostname


def test_folder_of_authorities_can_be_named(tmp_path: Path) -> None:
    assert ssl_context(make(ca_bundle=str(tmp_path))).verify_mode is ssl.CERT_REQUIRED


def test_client_certificate_may_be_one_file_or_two(authority: Authority) -> None:
    client = authority.client
    assert ssl_context(make(client_cert=client.both_file))
    assert ssl_context(make(client_cert=client.cert_file, client_key=client.key_file))


def test_unreadable_tls_files_are_named(authority: Authority, tmp_path: Path) -> None:
    junk = tmp_path / "junk.pem"
    junk.write_text("nothing")
    client = authority.client
    for extra in (
        {"ca_bundle": "/missing.pem"},
        {"ca_bundle": str(junk)},
        {"client_cert": str(junk)},
        {"client_cert": client.cert_file},
        {"client_cert": client.cert_file, "client_key": authority.server.key_file},
        {"client_cert": client.cert_file, "client_key": client.locked_key_file},
    ):
        with pytest.raises(ConfigurationError, match="A PEM file cannot be read") as caught:
            ssl_context(make(**extra))
        assert caught.value.__context__ is None
        assert all(path in str(caught.value) for path in extra.values())


def test_unreadable_authorities_of_the_environment_are_hinted_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/missing.pem")
    with pytest.raises(ConfigurationError, match="REQUESTS_CA_BUNDLE.*none is set in the connection"):
        ssl_context(make())
