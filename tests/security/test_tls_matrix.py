"""Every transport against every kind of certificate: what is trusted, what is not, and what was said to whom.

The TLS matrix: a row of ``RIGHT`` or ``WRONG`` for each column of ``TRANSPORTS``.
"""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from gates import CONTENT, TRANSPORTS, Authority, Certificate, Gate, Rig, chain_text, signed

from airflow_provider_workbench.client import errors
from airflow_provider_workbench.client.listener import Listener
from airflow_provider_workbench.client.upload import upload_file
from airflow_provider_workbench.sandbox import Sandbox

pytestmark = pytest.mark.filterwarnings("ignore:Unverified HTTPS request")

HERE = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "requests_ca_bundle", "curl_ca_bundle"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@dataclass(frozen=True)
class Papers:
    """All certificates of the matrix."""

    ours: Authority
    their_server: Certificate
    """Of an authority that nobody here trusts."""
    their_client: Certificate
    impostor: Certificate
    """Of such a one that has the name of ours."""
    namesakes_client: Certificate
    self_signed: Certificate
    expired: Certificate
    not_yet: Certificate
    without_names: Certificate
    middle_missing: Certificate


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Papers:
    folder = tmp_path_factory.mktemp("papers")
    ours = Authority.make(folder)
    middle = signed(folder, "middle", ours.ca, is_authority=True)
    theirs = signed(folder, "their-ca", is_authority=True)
    namesake = signed(tmp_path_factory.mktemp("namesake"), "ca", is_authority=True)
    return Papers(
        ours,
        signed(folder, "their-server", theirs, hosts=(HERE,)),
        signed(folder, "their-client", theirs),
        signed(folder, "impostor", namesake, hosts=(HERE,)),
        signed(folder, "namesakes-client", namesake),
        signed(folder, "self-signed", hosts=(HERE,)),
        signed(folder, "expired", ours.ca, hosts=(HERE,), days=(-20, -10)),
        signed(folder, "not-yet", ours.ca, hosts=(HERE,), days=(10, 20)),
        # what the common name says has not counted for years
        signed(folder, "127.0.0.1", ours.ca),
        signed(folder, "middle-missing", middle, hosts=(HERE,)),
    )


def gate_context(papers: Papers, server: str, client_wanted: bool, version: str) -> ssl.SSLContext:
    certificate = {
        "good": papers.ours.server,
        "wrong host": papers.ours.wrong_host,
        "their authority": papers.their_server,
    }.get(server) or getattr(papers, server.replace(" ", "_").replace("-", "_"))
    context = certificate.server_context(papers.ours.ca if client_wanted else None)
    if version == "1.2":
        context.maximum_version = ssl.TLSVersion.TLSv1_2
    return context


def extras(papers: Papers, names: tuple[str, ...]) -> dict[str, Any]:
    ours = papers.ours
    known: dict[str, dict[str, Any]] = {
        "ca": {"ca_bundle": ours.ca.cert_file},
        "self-signed as ca": {"ca_bundle": papers.self_signed.cert_file},
        "unchecked": {"verify_tls": "false"},
        "client, one file": {"client_cert": ours.client.both_file},
        "client, two files": {"client_cert": ours.client.cert_file, "client_key": ours.client.key_file},
        "client of another authority": {"client_cert": papers.their_client.both_file},
        "client with another key": {"client_cert": ours.client.cert_file, "client_key": ours.server.key_file},
        "client without a key": {"client_cert": ours.client.cert_file},
    }
    return {key: value for name in names for key, value in known[name].items()}


@dataclass(frozen=True)
class Case:
    """The server's certificate, whether it wants one of ours, and the connection's extras."""

    server: str
    extras: tuple[str, ...]
    client_wanted: bool = False
    version: str = "1.3"

    def __str__(self) -> str:
        wanted = f" wants a client's (TLS {self.version})" if self.client_wanted else ""
        return f"{self.server}{wanted} | {' + '.join(self.extras) or 'nothing set'}"


RIGHT = [
    Case("good", ("ca",)),
    Case("good", ("ca",), version="1.2"),
    Case("good", ("ca", "client, one file"), client_wanted=True),
    Case("good", ("ca", "client, one file"), client_wanted=True, version="1.2"),
    Case("good", ("ca", "client, two files"), client_wanted=True),
    Case("good", ("ca", "client, one file")),
    Case("self-signed", ("self-signed as ca",)),
    Case("self-signed", ("unchecked",)),
    Case("expired", ("unchecked",)),
    Case("wrong host", ("unchecked",)),
    Case("good", ("unchecked", "client, one file"), client_wanted=True),
]
WRONG = {
    Case("good", ()): "unable to get local issuer certificate",
    Case("their authority", ("ca",)): "unable to get local issuer certificate",
    Case("impostor", ("ca",)): "certificate signature failure",
    Case("self-signed", ("ca",)): "self-signed certificate",
    Case("self-signed", ()): "self-signed certificate",
    Case("expired", ("ca",)): "certificate has expired",
    Case("not-yet", ("ca",)): "certificate is not yet valid",
    Case("wrong host", ("ca",)): "is not valid for '127.0.0.1'",
    Case("without names", ("ca",)): "is not valid for '127.0.0.1'",
    Case("middle missing", ("ca",)): "unable to get local issuer certificate",
    Case("expired", ("ca",), version="1.2"): "certificate has expired",
    Case("good", (), client_wanted=True): "self-signed certificate in certificate chain",
}
CLIENT_REFUSED = [
    Case("good", names, client_wanted=True, version=version)
    for names in (("ca",), ("ca", "client of another authority"), ("unchecked",))
    for version in ("1.2", "1.3")
]
UNUSABLE = [
    Case("good", ("ca", "client with another key"), client_wanted=True),
    Case("good", ("ca", "client without a key"), client_wanted=True),
]
by_transport = pytest.mark.parametrize("transport", TRANSPORTS)


@contextlib.contextmanager
def behind(case: Case, papers: Papers, wb: Sandbox) -> Iterator[tuple[Rig, Gate, Gate]]:
    """The sandbox with both hosts behind gates."""
    context = gate_context(papers, case.server, case.client_wanted, case.version)
    with Gate(context, wb.frontend_url) as frontend, Gate(context, wb.upload_url) as upload:
        yield Rig(wb, frontend.url, upload.url, extras(papers, case.extras)), frontend, upload


def failing(rig: Rig, transport: str, kind: type[errors.WorkbenchError]) -> errors.WorkbenchError:
    with pytest.raises(errors.WorkbenchError) as caught:
        rig.run(transport)
    error = caught.value
    assert type(error) is kind, error
    assert error.__context__ is None
    assert error.__cause__ is None
    assert not any(secret in chain_text(error) for secret in rig.secrets)
    return error


@by_transport
@pytest.mark.parametrize("case", RIGHT, ids=str)
def test_right_certificates_are_trusted(case: Case, transport: str, papers: Papers, workbench_sandbox: Sandbox) -> None:
    with behind(case, papers, workbench_sandbox) as (rig, frontend, upload):
        assert rig.run(transport) is True
        assert frontend.connections + upload.connections == 1
    assert len(workbench_sandbox.requests) == 1


@by_transport
@pytest.mark.parametrize("case", WRONG, ids=str)
def test_wrong_certificate_is_a_tls_error_and_nothing_is_sent(
    case: Case, transport: str, papers: Papers, workbench_sandbox: Sandbox
) -> None:
    with behind(case, papers, workbench_sandbox) as (rig, frontend, upload):
        error = failing(rig, transport, errors.TlsError)
        assert "No trusted connection to 127.0.0.1: " in str(error)
        assert WRONG[case] in str(error)
        assert not error.retryable
        assert frontend.connections + upload.connections == 1
        assert frontend.seen == upload.seen == b""
    assert workbench_sandbox.requests == []


@by_transport
@pytest.mark.parametrize("case", CLIENT_REFUSED, ids=str)
def test_missing_or_foreign_client_certificate_is_a_tls_error_and_nothing_is_read(
    case: Case, transport: str, papers: Papers, workbench_sandbox: Sandbox
) -> None:
    with behind(case, papers, workbench_sandbox) as (rig, frontend, upload):
        error = failing(rig, transport, errors.TlsError)
        assert "see client_cert" in str(error)
        assert not error.retryable
        # aiohttp asks a second time
        assert frontend.connections + upload.connections in (1, 2)
        assert frontend.seen == upload.seen == b""
    assert workbench_sandbox.requests == []


@by_transport
@pytest.mark.parametrize("case", UNUSABLE, ids=str)
def test_client_certificate_without_its_key_is_found_before_any_connection(
    case: Case, transport: str, papers: Papers, workbench_sandbox: Sandbox
) -> None:
    with behind(case, papers, workbench_sandbox) as (rig, frontend, upload):
        error = failing(rig, transport, errors.ConfigurationError)
        assert papers.ours.client.cert_file in str(error)
        assert frontend.connections == upload.connections == 0


@by_transport
def test_client_certificate_of_an_authority_that_was_made_anew_is_a_tls_error(
    transport: str, papers: Papers, workbench_sandbox: Sandbox
) -> None:
    """It has the old one's name, so the server sees a signature that does not fit, and says "decrypt error"."""
    with behind(RIGHT[2], papers, workbench_sandbox) as (rig, frontend, upload):
        rig.extra = {**rig.extra, "client_cert": papers.namesakes_client.both_file}
        error = failing(rig, transport, errors.TlsError)
        assert "DECRYPT_ERROR" in str(error)
        assert frontend.seen == upload.seen == b""


# ---- two hosts


class Told:
    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.listener = Listener(warning=self.warnings.append)


def test_upload_through_two_trusted_hosts_arrives(papers: Papers, workbench_sandbox: Sandbox) -> None:
    with behind(RIGHT[0], papers, workbench_sandbox) as (rig, frontend, upload):
        upload_file(rig.settings, CONTENT, filename="a.csv")
    assert [file.name for file in workbench_sandbox.step.files] == ["a.csv"]
    token = (workbench_sandbox.step.api_token or "").encode()
    assert token in frontend.seen
    assert token not in upload.seen


@pytest.mark.parametrize("case", [case for case in WRONG if case.extras == ("ca",)], ids=str)
def test_upload_host_with_a_bad_certificate_gets_no_byte_of_the_file(
    case: Case, papers: Papers, workbench_sandbox: Sandbox
) -> None:
    wb = workbench_sandbox
    good = gate_context(papers, "good", False, "1.3")
    bad = gate_context(papers, case.server, False, case.version)
    with Gate(good, wb.frontend_url) as frontend, Gate(bad, wb.upload_url) as upload:
        rig = Rig(wb, frontend.url, upload.url, extras(papers, ("ca",)))
        with pytest.raises(errors.TlsError) as caught:
            upload_file(rig.settings, CONTENT, filename="a.csv")
        assert upload.seen == b""
        assert upload.connections == 1
    assert not any(secret in chain_text(caught.value) for secret in rig.secrets)
    # no certificate mends itself, so create-file is asked once
    assert [(request.host, request.method) for request in wb.requests] == [("frontend", "POST")]
    assert wb.step.files == []


def test_frontend_with_a_bad_certificate_gets_no_token_and_the_upload_host_nothing(
    papers: Papers, workbench_sandbox: Sandbox
) -> None:
    wb = workbench_sandbox
    good = gate_context(papers, "good", False, "1.3")
    bad = gate_context(papers, "wrong host", False, "1.3")
    with Gate(bad, wb.frontend_url) as frontend, Gate(good, wb.upload_url) as upload:
        rig = Rig(wb, frontend.url, upload.url, extras(papers, ("ca",)))
        with pytest.raises(errors.TlsError):
            upload_file(rig.settings, CONTENT, filename="a.csv")
        assert frontend.seen == b""
        assert frontend.connections == 1
        assert upload.connections == 0
    assert wb.requests == []


# ---- checks that are switched off


def test_upload_without_checks_warns(papers: Papers, workbench_sandbox: Sandbox) -> None:
    told = Told()
    with behind(Case("expired", ("unchecked",)), papers, workbench_sandbox) as (rig, _, _):
        upload_file(rig.settings, CONTENT, filename="a.csv", listener=told.listener)
    assert told.warnings == ["verify_tls is off: nothing checks that this is your Workbench."]


@pytest.mark.parametrize("word", ["true", True, None])
def test_checks_are_on_whatever_else_the_field_says(
    word: Any, papers: Papers, workbench_sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    # what switches them off for other programs
    monkeypatch.setenv("PYTHONHTTPSVERIFY", "0")
    monkeypatch.setenv("NODE_TLS_REJECT_UNAUTHORIZED", "0")
    monkeypatch.setenv("CURL_CA_BUNDLE", "")
    with behind(Case("self-signed", ()), papers, workbench_sandbox) as (rig, *_):
        rig.extra = {"verify_tls": word}
        for transport in TRANSPORTS:
            failing(rig, transport, errors.TlsError)
    assert workbench_sandbox.requests == []


def test_authority_of_the_environment_is_trusted_by_every_transport_alike(
    papers: Papers, workbench_sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with behind(Case("good", ()), papers, workbench_sandbox) as (rig, *_):
        for variable, trusted in (("REQUESTS_CA_BUNDLE", True), ("CURL_CA_BUNDLE", True), ("SSL_CERT_FILE", False)):
            with monkeypatch.context() as patch:
                patch.setenv(variable, papers.ours.ca.cert_file)
                for transport in ("create-file", "HEAD", "page", "page (aiohttp)", "websocket", "PATCH"):
                    if trusted:
                        if transport != "PATCH":
                            assert rig.run(transport), (variable, transport)
                    else:
                        failing(rig, transport, errors.TlsError)


def test_no_log_of_a_failed_handshake_shows_a_secret(
    papers: Papers, workbench_sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with behind(Case("expired", ("ca",)), papers, workbench_sandbox) as (rig, *_):
        for transport in TRANSPORTS:
            failing(rig, transport, errors.TlsError)
    assert not any(secret in caplog.text for secret in rig.secrets)
