"""What the environment adds to a request, by every transport: a proxy if it names one, and nothing else."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from client.client_servers import unused_port
from gates import CONTENT, TRANSPORTS, Asked, Authority, Gate, Proxy, Rig, basic, chain_text

from airflow_provider_workbench.client import errors
from airflow_provider_workbench.client.upload import upload_file
from airflow_provider_workbench.sandbox import Sandbox

PROXY_VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
USER, PASSWORD = "proxy-user", "hunter2:@/%+ö"
CREDENTIALS = f"{USER}:{quote(PASSWORD, safe='')}"
# in every form in which they could show
PROXY_SECRETS = ("hunter2", quote(PASSWORD, safe=""), basic(f"{USER}:{PASSWORD}"), basic(CREDENTIALS))
by_transport = pytest.mark.parametrize("transport", TRANSPORTS)


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*PROXY_VARIABLES, "requests_ca_bundle", "curl_ca_bundle", "netrc", "request_method"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.make(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def plain(workbench_sandbox: Sandbox) -> Rig:
    """Over http, where a proxy sees everything."""
    return Rig(workbench_sandbox, workbench_sandbox.frontend_url, workbench_sandbox.upload_url)


@pytest.fixture
def encrypted(workbench_sandbox: Sandbox, authority: Authority) -> Iterator[Rig]:
    """Over https."""
    wb, context = workbench_sandbox, authority.server.server_context()
    with Gate(context, wb.frontend_url) as frontend, Gate(context, wb.upload_url) as upload:
        rig = Rig(wb, frontend.url, upload.url, {"ca_bundle": authority.ca.cert_file})
        rig.gates = (frontend, upload)
        yield rig


def failing(rig: Rig, transport: str, kind: type[errors.WorkbenchError]) -> errors.WorkbenchError:
    """The error of a transport, of that kind exactly, with no secret in it or behind it."""
    with pytest.raises(errors.WorkbenchError) as caught:
        rig.run(transport)
    error = caught.value
    assert type(error) is kind, error
    assert error.__context__ is None
    assert error.__cause__ is None
    assert_no_secret(chain_text(error), rig)
    return error


def assert_no_secret(text: str, rig: Rig) -> None:
    for secret in (*rig.secrets, *PROXY_SECRETS):
        assert secret not in text


# ---- .netrc


def entries(host: str) -> str:
    return f"machine {host} login me password hunter2\n"


@by_transport
@pytest.mark.parametrize("where", ["HOME/.netrc", "HOME/_netrc", "NETRC"])
def test_netrc_gives_nothing_to_any_request(
    transport: str, where: str, plain: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / where.rpartition("/")[2]
    file.write_text(f"{entries('127.0.0.1')}{entries('localhost')}default login me password hunter2\n")
    file.chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    if where == "NETRC":
        monkeypatch.setenv("NETRC", str(file))
    assert plain.run(transport)
    (request,) = plain.wb.requests
    expected = f"Bearer {plain.wb.step.api_token}" if transport == "create-file" else None
    assert request.headers.get("authorization") == expected
    assert not {"cookie", "proxy-authorization"} & set(request.headers)


@pytest.mark.parametrize("transport", ["create-file", "page (aiohttp)", "websocket"])
def test_netrc_gives_nothing_to_a_proxy(
    transport: str, encrypted: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / ".netrc"
    file.write_text(entries("127.0.0.1"))
    file.chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(file))
    with Proxy() as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        assert encrypted.run(transport)
    assert "proxy-authorization" not in proxy.asked[0].headers


@by_transport
def test_netrc_that_cannot_be_read_hurts_nobody(
    transport: str, plain: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / ".netrc"
    file.write_text('machine 127.0.0.1 login "\nnonsense')
    monkeypatch.setenv("NETRC", str(file))
    assert plain.run(transport)


# ---- which proxy


@by_transport
@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"])
def test_https_goes_through_the_proxy_of_each_variable(
    variable: str, transport: str, encrypted: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Proxy() as proxy:
        monkeypatch.setenv(variable, proxy.url)
        assert encrypted.run(transport)
        assert [asked.line.split()[0] for asked in proxy.asked] == ["CONNECT"]
    assert len(encrypted.wb.requests) == 1
    # the tunnel carries TLS: a proxy learns the host, and nothing else
    assert not any(secret.encode() in proxy.seen for secret in encrypted.secrets)


@by_transport
@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"])
def test_http_goes_through_the_proxy_of_each_variable(
    variable: str, transport: str, plain: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Proxy() as proxy:
        monkeypatch.setenv(variable, proxy.url)
        assert plain.run(transport)
        assert proxy.connections == 1
    assert len(plain.wb.requests) == 1


@by_transport
def test_a_schemes_own_proxy_and_lower_case_come_first(
    transport: str, encrypted: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    nobody = f"http://127.0.0.1:{unused_port()}"
    with Proxy() as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "HTTPS_PROXY"):
            monkeypatch.setenv(name, nobody)
        monkeypatch.setenv("https_proxy", proxy.url)
        assert encrypted.run(transport)
        assert proxy.connections == 1


@by_transport
@pytest.mark.parametrize(
    ("variable", "exempt"),
    [("NO_PROXY", "127.0.0.1"), ("no_proxy", "other.example, 127.0.0.1:{port}"), ("NO_PROXY", "*")],
)
def test_no_proxy_means_none(
    variable: str, exempt: str, transport: str, encrypted: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    origin = encrypted.upload if transport in ("PATCH", "HEAD") else encrypted.frontend
    with Proxy() as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        monkeypatch.setenv("ALL_PROXY", proxy.url)
        monkeypatch.setenv(variable, exempt.format(port=origin.rpartition(":")[2]))
        assert encrypted.run(transport)
        assert proxy.connections == 0


def test_one_host_may_need_a_proxy_and_the_other_none(encrypted: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    with Proxy() as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        monkeypatch.setenv("NO_PROXY", encrypted.frontend.removeprefix("https://"))
        upload_file(encrypted.settings, CONTENT, filename="a.csv")
        upload_host = encrypted.upload.removeprefix("https://")
        assert [asked.line.split()[:2] for asked in proxy.asked] == [["CONNECT", upload_host]]
    assert [file.name for file in encrypted.wb.step.files] == ["a.csv"]


# ---- a proxy's credentials


@by_transport
def test_proxys_credentials_go_to_the_proxy_only(
    transport: str, encrypted: Rig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with Proxy() as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url_with(f"{USER}:hunter2%3A%40"))
        assert encrypted.run(transport)
        assert [asked.headers["proxy-authorization"] for asked in proxy.asked] == [basic(f"{USER}:hunter2:@")]
    behind_it = b"".join(bytes(gate.seen) for gate in encrypted.gates)
    assert b"HTTP/1.1" in behind_it
    assert b"proxy-authorization" not in behind_it.lower()
    assert "proxy-authorization" not in encrypted.wb.requests[0].headers
    assert_no_secret(caplog.text, encrypted)


@by_transport
def test_proxys_credentials_open_the_way_for_http_too(
    transport: str, plain: Rig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with Proxy() as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url_with(f"{USER}:hunter2"))
        assert plain.run(transport)
        assert proxy.asked[0].headers["proxy-authorization"] == basic(f"{USER}:hunter2")
    assert_no_secret(caplog.text, plain)


# ---- a proxy that refuses


def page_that_echoes(status: str) -> bytes:
    """Its page shows the request; filled in by :func:`echoing`."""
    return f"HTTP/1.1 {status}\r\nContent-Length: %d\r\nConnection: close\r\n\r\n".encode()


def echoing(status: str, before: str = "<pre>", after: str = "</pre>"):
    def answer(asked: Asked) -> bytes:
        body = before.encode() + asked.raw + after.encode()
        return page_that_echoes(status) % len(body) + body

    return answer


@by_transport
@pytest.mark.parametrize("status", ["407 Proxy Authentication Required", "403 Forbidden", "502 Bad Gateway", "200"])
def test_refused_tunnel_is_no_connection_and_nothing_goes_round_it(
    status: str, transport: str, encrypted: Rig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with Proxy(echoing(status)) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url_with(CREDENTIALS.replace("%C3%B6", "")))
        error = failing(encrypted, transport, errors.ConnectError)
        assert error.retryable
        # with 200 it is a tunnel in words only, and what follows is no TLS
        if status != "200":
            assert status.split()[0] in str(error)
            assert "proxy on the way to 127.0.0.1" in str(error)
        assert not any(secret.encode() in proxy.seen for secret in encrypted.secrets)
    assert_no_secret(caplog.text, encrypted)
    assert encrypted.wb.requests == []
    assert all(gate.connections == 0 for gate in encrypted.gates)


@by_transport
def test_reason_that_echoes_the_credentials_is_not_quoted(
    transport: str, encrypted: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(asked: Asked) -> bytes:
        return f"HTTP/1.1 403 {asked.headers['proxy-authorization']}\r\nContent-Length: 0\r\n\r\n".encode()

    with Proxy(answer) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url_with("me:hunter2"))
        error = failing(encrypted, transport, errors.ConnectError)
    assert basic("me:hunter2").removeprefix("Basic ") not in chain_text(error)
    assert "it answered 403 Forbidden" in str(error)


@by_transport
@pytest.mark.parametrize("end", [b"", b"HTTP/1.1 200 Connection established\r\n\r\n", b"SSH-2.0-OpenSSH_9\r\n\r\n"])
def test_proxy_that_breaks_off_is_an_error_of_ours(
    end: bytes, transport: str, encrypted: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Proxy(lambda _: end) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url_with("me:hunter2"))
        with pytest.raises(errors.TransportError) as caught:
            encrypted.run(transport)
    assert_no_secret(chain_text(caught.value), encrypted)
    assert caught.value.retryable


# ---- a proxy that answers in the server's place, and shows what it was asked

BY_ERROR = ["create-file", "page", "page (aiohttp)", "websocket"]


@pytest.mark.parametrize("transport", BY_ERROR)
@pytest.mark.parametrize("status", ["200 OK", "400 Bad Request", "403 Forbidden", "404 Not Found", "502 Bad Gateway"])
def test_page_that_echoes_the_request_is_not_quoted(
    status: str, transport: str, plain: Rig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    plain.extra = {"session_token": "c00kie-of-the-owner"}
    with Proxy(echoing(status)) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url_with("me:hunter2"))
        with pytest.raises(errors.WorkbenchError) as caught:
            plain.run(transport)
        assert proxy.connections
    for text in (chain_text(caught.value), caplog.text):
        assert_no_secret(text, plain)
        assert "c00kie" not in text
    assert plain.wb.requests == []


def json_echo(status: str, form: str, *headers: str):
    """Workbench's JSON, with a header of the request in it."""

    def answer(asked: Asked) -> bytes:
        secret = asked.headers.get("authorization", asked.line.split()[1]).removeprefix("Bearer ").rpartition("/")[2]
        body = form.replace("SECRET", json.dumps(secret)).encode()
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers]
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + body

    return answer


ECHOES = [
    '{"error": {"code": SECRET}}',
    '{"error": {"code": "body-has-errors", "errors": {SECRET: [{"code": "required"}]}}}',
    '{"error": {"code": "body-has-errors", "errors": {"filename": [{"code": SECRET}]}}}',
    '{"error": {"code": "authorization-bearer-token-invalid", "message": SECRET}}',
]


@pytest.mark.parametrize("form", ECHOES)
def test_code_that_echoes_the_token_is_not_quoted(
    form: str, plain: Rig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with Proxy(json_echo("403 Forbidden", form)) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        with pytest.raises(errors.RefusedError) as caught:
            plain.run("create-file")
    error = caught.value
    for text in (chain_text(error), json.dumps(error.as_dict()), caplog.text):
        assert_no_secret(text, plain)


@pytest.mark.parametrize("form", ECHOES)
def test_code_that_echoes_the_upload_is_not_quoted(form: str, plain: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the upload host, at the finish, where a code of any kind is a refusal."""
    seen: list[Asked] = []
    echo = json_echo("403 Forbidden", form, f"Upload-Offset: {len(CONTENT)}", "Tus-Resumable: 1.0.0")

    def answer(asked: Asked) -> bytes | None:
        if not asked.line.startswith("PATCH"):
            return None
        seen.append(asked)
        return echo(asked)

    with Proxy(answer) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        with pytest.raises(errors.WorkbenchError) as caught:
            upload_file(plain.settings, CONTENT, filename="a.csv")
    identity = seen[0].line.split()[1].rpartition("/")[2]
    text = chain_text(caught.value)
    assert identity not in text
    assert identity.partition("+")[0] not in text
    assert_no_secret(text, plain)


# ---- addresses of proxies that cannot be used


@by_transport
@pytest.mark.parametrize(
    "address",
    [
        "http:///",
        "http://me:hunter2@[bad",
        "http://me:hunter2@127.0.0.1:99999",
        "http://me:hunter2@127.0.0.1:port",
        "http://me:hunter2@127.0.0.1:1 2",
        "http://me:hunter2@a..b:1",
        "socks5://me:hunter2@127.0.0.1:1",
        "ftp://me:hunter2@127.0.0.1:1",
        "://me:hunter2@127.0.0.1:1",
        "http://me:hunter2%E2%86%92@127.0.0.1:1",
        "http://me:hunter2\u2192@127.0.0.1:1",
    ],
)
def test_malformed_proxy_is_an_error_of_ours_and_not_quoted(
    address: str, transport: str, encrypted: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", address)
    with pytest.raises(errors.WorkbenchError) as caught:
        encrypted.run(transport)
    assert isinstance(caught.value, errors.ConfigurationError | errors.ConnectError)
    assert_no_secret(chain_text(caught.value), encrypted)
    assert encrypted.wb.requests == []


# ---- a proxy that is itself reached by TLS


@by_transport
def test_proxy_can_be_reached_by_tls(
    transport: str, encrypted: Rig, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Proxy(tls=authority.server.server_context()) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url_with("me:hunter2"))
        assert encrypted.run(transport)
        assert proxy.asked[0].headers["proxy-authorization"] == basic("me:hunter2")


@by_transport
def test_proxy_of_an_unknown_authority_gets_no_credentials(
    transport: str, encrypted: Rig, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Proxy(tls=authority.wrong_host.server_context()) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url_with("me:hunter2"))
        with pytest.raises(errors.ConnectError) as caught:
            encrypted.run(transport)
        assert proxy.seen == b""
    assert_no_secret(chain_text(caught.value), encrypted)
    assert encrypted.wb.requests == []
