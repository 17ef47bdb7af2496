from __future__ import annotations

import asyncio
import os
import threading
import traceback
from collections.abc import Callable
from typing import Any

import pytest
from client_servers import Authority, Peer, Wire, unused_port

from airflow_provider_workbench.client import errors
from airflow_provider_workbench.client.async_session import AsyncSession, _shared_ssl_context
from airflow_provider_workbench.client.settings import Settings
from airflow_provider_workbench.client.steps import PAGE_LIMIT, Step, step_of_page
from airflow_provider_workbench.client.upload import upload_file
from airflow_provider_workbench.sandbox import Sandbox

LINK = "wSecret123abcDEF456ghi"


def read(settings: Settings, times: int = 1) -> Step:
    async def run() -> Step:
        async with AsyncSession(settings) as session:
            for _ in range(times):
                step = await session.read_step()
            return step

    return asyncio.run(run())


def settings_for(server: Wire, **extra: Any) -> Settings:
    extra = {"secret_link": LINK, "session_token": "cook1e", **extra}
    return Settings.from_fields(server.create_file_url, "t0ken", extra)


def failing(kind: type[errors.WorkbenchError], settings: Settings) -> errors.WorkbenchError:
    """The error of reading, of that kind exactly, with nothing secret in it or behind it."""
    with pytest.raises(errors.WorkbenchError) as caught:
        read(settings)
    error = caught.value
    assert type(error) is kind, error
    assert error.__context__ is None
    text = "".join(traceback.format_exception(error)) + repr(vars(error)) + repr(error.args)
    assert not any(secret in text for secret in (LINK, "cook1e", "t0ken", "hunter2"))
    return error


def page(slug: str = "step-x") -> bytes:
    step = (
        f'{{"slug": "{slug}", "params": {{"file": null}}, "files": [], "output_status": "ok", "output_errors": [], '
        '"output_n_rows": 0, "output_columns": [], "cached_render_result_delta_id": 1, "last_relevant_delta_id": 1}'
    )
    return f'<script>window.initState = {{"steps": {{"1": {step}}}}}</script>'.encode()


def polite(peer: Peer) -> None:
    while peer.read_request()[0]:
        peer.answer("200 OK", page())


def answering(*answer: Any) -> Callable[[Peer], None]:
    def handler(peer: Peer) -> None:
        peer.read_request()
        peer.answer(*answer)

    return handler


def test_step_is_read_as_by_the_other_session(wb: Sandbox, settings: Settings) -> None:
    upload_file(settings, b"A\n1\n", filename="a.csv")
    wb.step.wait_until_rendered()
    step = read(settings)
    assert step.selected is not None
    assert (step.selected.name, step.rendered, step.n_rows) == ("a.csv", True, 1)
    assert "authorization" not in wb.requests[-1].headers


def test_cookie_and_secret_link_open_their_steps(wb: Sandbox) -> None:
    private, secret = wb.private_step, wb.secret_step
    cookie = {"session_token": wb.session_cookie}
    assert read(Settings.from_fields(private.create_file_url, private.api_token or "", cookie)).slug == private.slug
    link = {"secret_link": secret.secret_link_url}
    assert read(Settings.from_fields(secret.create_file_url, secret.api_token or "", link)).slug == secret.slug


def test_private_step_is_unreadable_and_a_deleted_one_gone(wb: Sandbox, settings: Settings) -> None:
    private = wb.private_step
    failing(errors.StepUnreadableError, Settings.from_fields(private.create_file_url, private.api_token or ""))
    wb.step.delete()
    failing(errors.StepGoneError, settings)


def test_connection_is_used_again() -> None:
    with Wire(polite) as server:
        assert read(settings_for(server), times=3).slug == "step-x"
        assert server.connections == 1


def test_redirect_within_the_host_is_followed_once_and_no_other() -> None:
    def handler(peer: Peer) -> None:
        while head := peer.read_request()[0]:
            if LINK.encode() in head:
                peer.answer("302 Found", b"", "Location: /workflows/7/")
            else:
                peer.answer("200 OK", page())

    with Wire(handler) as server:
        assert read(settings_for(server)).slug == "step-x"
    with (
        Wire(lambda peer: peer.answer()) as other,
        Wire(answering("302 Found", b"", f"Location: {other.url}/x")) as server,
    ):
        failing(errors.StepUnreadableError, settings_for(server))
        assert other.connections == 0


def test_no_cookie_of_the_server_is_kept() -> None:
    heads = []

    def handler(peer: Peer) -> None:
        while head := peer.read_request()[0]:
            heads.append(head)
            peer.answer("200 OK", page(), "Set-Cookie: sessionid=theirs")

    with Wire(handler) as server:
        read(settings_for(server, secret_link=None), times=2)
    assert [b"Cookie: sessionid=cook1e\r\n" in head for head in heads] == [True, True]
    assert b"theirs" not in heads[1]


def test_netrc_is_not_used(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password hunter2\n")
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    heads = []

    def handler(peer: Peer) -> None:
        heads.append(peer.read_request()[0])
        peer.answer("200 OK", page())

    with Wire(handler) as server:
        read(settings_for(server))
    assert b"Authorization" not in heads[0]


def test_huge_page_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airflow_provider_workbench.client.async_session.PAGE_LIMIT", 1000)
    assert PAGE_LIMIT > 1000
    with Wire(answering("200 OK", b" " * 1000 + page())) as server:
        failing(errors.UnexpectedAnswerError, settings_for(server))


@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", b"SSH-2.0-OpenSSH\r\n\r\n"])
def test_answer_that_breaks_off_is_a_lost_connection(sent: bytes) -> None:
    with Wire(lambda peer: (peer.read_request(), peer.send(sent))) as server:
        failing(errors.ConnectionLostError, settings_for(server))


def test_silent_server_is_given_up() -> None:
    wait = threading.Event()
    with Wire(lambda peer: (peer.read_request(), wait.wait(30))) as server:
        error = failing(errors.ConnectionLostError, settings_for(server, stall_timeout=0.1))
    wait.set()
    assert "fell silent" in str(error)


def test_refused_connection_is_no_connection() -> None:
    url = f"http://127.0.0.1:{unused_port()}/api/v1/workflows/1/steps/step-a/files"
    assert "Connection refused" in str(failing(errors.ConnectError, Settings.from_fields(url, "t")))


def test_own_authority_is_trusted_and_others_are_not(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", authority.client.cert_file)
    own = {"ca_bundle": authority.ca.cert_file}
    with Wire(polite, authority.server.server_context()) as server:
        assert read(settings_for(server, **own)).slug == "step-x"
        assert read(settings_for(server, verify_tls="false")).slug == "step-x"
        failing(errors.TlsError, settings_for(server))
        failing(errors.ConfigurationError, settings_for(server, ca_bundle="/missing.pem"))
    with Wire(polite, authority.wrong_host.server_context()) as server:
        error = failing(errors.TlsError, settings_for(server, **own))
        assert "is not valid for '127.0.0.1'" in str(error)
    with Wire(polite, authority.server.server_context(client_authority=authority.ca)) as server:
        assert read(settings_for(server, **own, client_cert=authority.client.both_file)).slug == "step-x"


def test_tls_context_is_shared_until_a_file_of_it_changes(authority: Authority) -> None:
    """One is 0.7 MB, and a process may watch a hundred Workflows."""

    def settings(**extra: Any) -> Settings:
        return Settings.from_fields("https://app.example/api/v1/workflows/7/steps/step-x/files", "t", extra)

    mine = {"ca_bundle": authority.ca.cert_file, "client_cert": authority.client.both_file}
    first = _shared_ssl_context(settings(**mine))
    assert _shared_ssl_context(settings(**mine, chunk_size=5)) is first
    others = [
        _shared_ssl_context(settings(**extra)) for extra in ({}, {"verify_tls": False}, {**mine, "ca_bundle": ""})
    ]
    assert len({id(context) for context in (first, *others)}) == 4
    os.utime(authority.client.both_file, (1, 1))
    assert _shared_ssl_context(settings(**mine)) is not first


def test_page_is_parsed_beside_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """A large one takes seconds, in which no trigger of the process would move."""
    threads: list[int] = []

    def parse(*args: Any) -> Any:
        threads.append(threading.get_ident())
        return step_of_page(*args)

    monkeypatch.setattr("airflow_provider_workbench.client.async_session.step_of_page", parse)
    with Wire(polite) as server:
        assert read(settings_for(server)).slug == "step-x"
    assert len(threads) == 1
    assert threads[0] != threading.get_ident()


def test_plain_server_behind_https_is_a_tls_fault() -> None:
    with Wire(lambda peer: (peer.sock.recv(100), peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n"))) as server:
        url = server.create_file_url.replace("http:", "https:")
        failing(errors.TlsError, Settings.from_fields(url, "t"))


def test_proxy_is_used_and_its_refusal_told(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    with Wire(answering("200 OK", page())) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        assert (
            read(Settings.from_fields("http://127.0.0.1:1/api/v1/workflows/7/steps/step-x/files", "t")).slug == "step-x"
        )
    with Wire(answering("407 Proxy Authentication Required")) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url.replace("//", "//me:hunter2@"))
        url = "https://127.0.0.1:1/api/v1/workflows/7/steps/step-x/files"
        error = failing(errors.ConnectError, Settings.from_fields(url, "t"))
        assert error.status == 407
        assert "it answered 407" in str(error)
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{unused_port()}")
    failing(errors.ConnectError, Settings.from_fields(url, "t"))
    monkeypatch.setenv("HTTPS_PROXY", "socks5://127.0.0.1:1")
    failing(errors.ConfigurationError, Settings.from_fields(url, "t"))
