from __future__ import annotations

import contextlib
import logging
import queue
import socket
import ssl
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import urllib3
from client_servers import Authority, Peer, Wire, small_send_buffers, unused_port

from airflow_provider_workbench.client import errors
from airflow_provider_workbench.client.answers import Answer
from airflow_provider_workbench.client.environment import ssl_context
from airflow_provider_workbench.client.session import ANSWER_LIMIT, BLOCK_SIZE, Session
from airflow_provider_workbench.client.settings import Settings

SECRET = "secret+upload_id"

pytestmark = pytest.mark.filterwarnings("ignore:Unverified HTTPS request")


class Zeros:
    """A body of zeros; ``on_read`` sees the size of each block that is asked for."""

    def __init__(self, size: int, on_read: Callable[[int], None] | None = None) -> None:
        self.size = self.left = size
        self.on_read = on_read

    def __len__(self) -> int:
        return self.size

    def read(self, size: int = -1, /) -> bytes:
        if self.on_read:
            self.on_read(size)
        count = min(size, self.left)
        self.left -= count
        return bytes(count)


def settings_for(server: Wire, **extra: Any) -> Settings:
    return Settings.from_fields(server.create_file_url, "token", extra)


def send(server: Wire, method: str = "GET", body: Any = None, *, limit: int = ANSWER_LIMIT, **extra: Any) -> Answer:
    with Session(settings_for(server, **extra)) as session:
        return session.request(method, f"{server.url}/files/{SECRET}", body=body, limit=limit)


def failing(kind: type[errors.WorkbenchError], run: Callable[[], object]) -> errors.WorkbenchError:
    """The error of ``run``, of that kind exactly, with nothing secret in it or behind it."""
    with pytest.raises(errors.WorkbenchError) as caught:
        run()
    error = caught.value
    assert type(error) is kind, error
    assert error.__context__ is None
    assert error.__cause__ is None
    assert SECRET not in "".join(traceback.format_exception(error)) + repr(vars(error)) + repr(error.args)
    return error


def polite(peer: Peer) -> None:
    while peer.read_request()[0]:
        peer.answer("200 OK", b"hello")


# ---- answers


def test_answer_has_status_lower_case_headers_and_body() -> None:
    with Wire(lambda peer: (peer.read_request(), peer.answer("418 Teapot", b"x\xff", "X-Some: Thing"))) as server:
        answer = send(server)
    assert (answer.status, answer.body, answer.headers["x-some"]) == (418, b"x\xff", "Thing")


def test_connection_is_used_again() -> None:
    with Wire(polite) as server, Session(settings_for(server)) as session:
        for method in ("GET", "HEAD", "POST", "DELETE"):
            assert session.request(method, server.url, body=b"x" if method == "POST" else None).status == 200
            if method == "HEAD":
                # HEAD's answer announces a body that never comes: our server sends it all the same
                session.close()
        assert server.connections == 2


def test_chunked_answer_is_whole_and_keeps_the_connection() -> None:
    def handler(peer: Peer) -> None:
        while peer.read_request()[0]:
            peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
            peer.send(b"2\r\nde\r\n0\r\n\r\n")

    with Wire(handler) as server, Session(settings_for(server)) as session:
        assert session.request("GET", server.url).body == b"abcde"
        assert session.request("GET", server.url).body == b"abcde"
        assert server.connections == 1


def test_answer_that_ends_with_the_connection_is_whole() -> None:
    with Wire(lambda peer: (peer.read_request(), peer.send(b"HTTP/1.0 200 OK\r\n\r\nabc"))) as server:
        assert send(server).body == b"abc"


@pytest.mark.parametrize(
    "sent",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n",
        b"HTTP/1.1 200 OK\r\nContent-",
        b"",
    ],
)
def test_answer_that_breaks_off_is_a_lost_connection(sent: bytes) -> None:
    with Wire(lambda peer: (peer.read_request(), peer.send(sent))) as server:
        try:
            answer = send(server)
        except errors.ConnectionLostError as error:
            assert "closed without a complete answer" in str(error)
        else:
            # headers that break off are headers that end
            assert sent.endswith(b"Content-")
            assert answer.body == b""


def test_huge_answer_is_cut_and_its_connection_given_up() -> None:
    def handler(peer: Peer) -> None:
        while peer.read_request()[0]:
            peer.answer("200 OK", bytes(1_000_000))

    with Wire(handler) as server, Session(settings_for(server)) as session:
        assert len(session.request("GET", server.url, limit=1000).body) == 1000
        assert len(session.request("GET", server.url, limit=1_000_000).body) == 1_000_000
        assert session.request("GET", server.url, limit=0).body == b""
        assert session.request("GET", server.url).status == 200
        assert server.connections == 3


@pytest.mark.parametrize("location", ["/elsewhere", "http://[bad", "\xff", "ftp://x", "//", "http://a..b/"])
def test_redirect_is_an_answer_whatever_its_target(location: str) -> None:
    with Wire(
        lambda peer: (peer.read_request(), peer.answer("302 Found", b"moved", f"Location: {location}"))
    ) as server:
        answer = send(server)
        assert server.connections == 1
    assert (answer.status, answer.body) == (302, b"moved")


def test_body_of_a_redirect_is_limited_too() -> None:
    def handler(peer: Peer) -> None:
        peer.read_request()
        peer.answer("302 Found", bytes(10_000_000), "Location: /x")

    with Wire(handler) as server:
        assert len(send(server, limit=1000).body) == 1000


def test_compressed_answers_are_neither_asked_for_nor_unpacked() -> None:
    heads = []

    def handler(peer: Peer) -> None:
        heads.append(peer.read_request()[0])
        peer.answer("200 OK", b"\x1f\x8bnot gzip", "Content-Encoding: gzip")

    with Wire(handler) as server:
        assert send(server).body == b"\x1f\x8bnot gzip"
    assert b"Accept-Encoding: identity\r\n" in heads[0]


# ---- bodies


def test_body_is_sent_whole_with_its_length_in_large_blocks() -> None:
    got, asked = [], []

    def handler(peer: Peer) -> None:
        got.append(peer.read_request())
        peer.answer("204 No Content")

    with Wire(handler) as server:
        assert send(server, "PATCH", Zeros(2_000_000, asked.append)).status == 204
    head, body = got[0]
    assert b"Content-Length: 2000000\r\n" in head
    assert b"Transfer-Encoding" not in head
    assert body == bytes(2_000_000)
    assert set(asked) == {BLOCK_SIZE}


def test_error_of_the_source_comes_through_and_the_connection_is_cut() -> None:
    ends: list[bytes] = []
    ended = threading.Event()

    def handler(peer: Peer) -> None:
        ends.append(peer.read_request()[1])
        ended.set()

    def fail(_: int) -> None:
        if body.left < body.size:
            raise errors.SourceReadError("disk broke")

    body = Zeros(200_000 + BLOCK_SIZE, fail)
    with Wire(handler) as server:
        error = failing(errors.SourceReadError, lambda: send(server, "PATCH", body))
        assert ended.wait(10)
    assert str(error) == "disk broke"
    assert len(ends[0]) == BLOCK_SIZE


@pytest.mark.parametrize("encrypted", [False, True])
def test_answer_in_mid_body_comes_through(encrypted: bool, authority: Authority) -> None:
    def handler(peer: Peer) -> None:
        peer.read_head()
        peer.answer("413 Too Large", b"too much", "Connection: close")
        if encrypted:
            # over TLS, an answer is lost if a reset follows it at once; servers read on for a while, as here
            while peer.sock.recv(1_000_000):
                pass

    body = Zeros(20_000_000)
    context = authority.server.server_context() if encrypted else None
    with Wire(handler, context) as server:
        answer = send(server, "PATCH", body, ca_bundle=authority.ca.cert_file)
    assert (answer.status, answer.body) == (413, b"too much")
    assert encrypted or body.left > 0


@pytest.mark.parametrize("encrypted", [False, True])
def test_connection_cut_in_mid_body_is_lost_and_not_a_tls_fault(encrypted: bool, authority: Authority) -> None:
    context = authority.server.server_context() if encrypted else None
    # a reset before the first byte could end the connecting
    for cut in (Peer.read_head, lambda peer: (peer.sock.recv(1), peer.reset())):
        with Wire(cut, context) as server:  # type: ignore[arg-type]
            body = Zeros(50_000_000)
            failing(
                errors.ConnectionLostError,
                lambda body=body, server=server: send(server, "PATCH", body, ca_bundle=authority.ca.cert_file),
            )
            assert body.left > 0


@pytest.mark.parametrize("encrypted", [False, True])
def test_connection_cut_after_the_body_is_lost_and_not_a_tls_fault(encrypted: bool, authority: Authority) -> None:
    context = authority.server.server_context() if encrypted else None
    with Wire(lambda peer: (peer.read_request(), peer.reset()), context) as server:
        body = Zeros(100_000)
        failing(errors.ConnectionLostError, lambda: send(server, "PATCH", body, ca_bundle=authority.ca.cert_file))
        assert body.left == 0


def stop_reading(peer: Peer) -> None:
    """Answer the first request; of the second one take the head and then nothing."""
    if peer.read_head().startswith(b"GET"):
        peer.answer()
        peer.read_head()
    wait.wait(30)


wait = threading.Event()


@pytest.mark.parametrize("encrypted", [False, True])
@pytest.mark.parametrize("reused", [False, True])
def test_server_that_takes_no_more_bytes_stalls_for_the_stall_timeout_only(
    encrypted: bool, reused: bool, authority: Authority
) -> None:
    # with requests' own rules, this send would stall for the connect timeout: the test would hang
    wait.clear()
    context = authority.server.server_context() if encrypted else None
    with Wire(stop_reading, context) as server:
        extra = {"connect_timeout": 10_000, "finish_timeout": 10_000, "stall_timeout": 0.2}
        with Session(settings_for(server, ca_bundle=authority.ca.cert_file, **extra)) as session:
            if reused:
                session.request("GET", server.url)
            error = failing(
                errors.ConnectionLostError,
                lambda: session.request("PATCH", server.url, body=Zeros(500_000_000), read_timeout=10_000),
            )
        assert server.connections == 1
    wait.set()
    assert "timed out" in str(error)


def test_block_that_leaves_slowly_is_no_stall(monkeypatch: pytest.MonkeyPatch) -> None:
    """``sendall`` would hold the whole block against the time limit."""

    def handler(peer: Peer) -> None:
        length = int(peer.read_head().partition(b"Content-Length: ")[2].split()[0])
        while length and (data := peer.sock.recv(16384)):
            length -= len(data)
            time.sleep(0.05)
        peer.answer("204 No Content")

    small_send_buffers(monkeypatch)
    with Wire(handler, receive_buffer=16384) as server:
        assert send(server, "PATCH", Zeros(2 * BLOCK_SIZE), stall_timeout=1).status == 204


def test_silent_server_is_given_up_after_the_read_timeout() -> None:
    wait.clear()
    with Wire(lambda peer: (peer.read_request(), wait.wait(30))) as server:
        error = failing(errors.ConnectionLostError, lambda: send(server, stall_timeout=0.1))
    wait.set()
    assert str(error) == "127.0.0.1 fell silent: no answer in time."


def test_answer_that_falls_silent_is_given_up() -> None:
    wait.clear()
    sent = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"
    with Wire(lambda peer: (peer.read_request(), peer.send(sent), wait.wait(30))) as server:
        error = failing(errors.ConnectionLostError, lambda: send(server, stall_timeout=0.1))
    wait.set()
    assert "fell silent" in str(error)


def test_connection_that_the_server_closed_while_idle_is_not_used() -> None:
    def handler(peer: Peer) -> None:
        peer.read_request()
        peer.answer()
        peer.sock.close()
        closed.set()

    closed = threading.Event()
    with Wire(handler) as server, Session(settings_for(server)) as session:
        for number in (1, 2, 3):
            closed.clear()
            assert session.request("GET", server.url).status == 200
            assert closed.wait(10)
            assert server.connections == number


def test_interrupting_signal_in_mid_answer_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    """Airflow's execution_timeout raises wherever the task is."""

    class TimeIsUp(BaseException):
        pass

    def interrupted(*_: object, **__: object) -> bytes:
        raise TimeIsUp

    with Wire(polite) as server, Session(settings_for(server)) as session:
        with monkeypatch.context() as patch:
            patch.setattr("urllib3.response.HTTPResponse.read", interrupted)
            with pytest.raises(TimeIsUp):
                session.request("GET", server.url)
        # and the connection with the unread rest is not used again
        assert session.request("GET", server.url).body == b"hello"
        assert server.connections == 2


# ---- no connection


def test_refused_connection_and_unknown_host_are_no_connection() -> None:
    port = unused_port()
    url = f"http://127.0.0.1:{port}/api/v1/workflows/1/steps/step-a/files"
    with Session(Settings.from_fields(url, "t")) as session:
        error = failing(errors.ConnectError, lambda: session.request("GET", f"http://127.0.0.1:{port}/{SECRET}"))
        assert "Could not connect to 127.0.0.1: Connection refused." in str(error)
        error = failing(errors.ConnectError, lambda: session.request("GET", f"http://no-such-host.invalid/{SECRET}"))
        assert "no-such-host.invalid" in str(error)


def test_address_that_is_none_is_a_configuration_error() -> None:
    with Wire(polite) as server, Session(settings_for(server)) as session:
        for bad in (f"http://a..b/{SECRET}", f"http://*/{SECRET}", f"gopher://x/{SECRET}"):
            failing(errors.ConfigurationError, lambda bad=bad: session.request("GET", bad))


def test_another_protocols_server_is_a_lost_connection() -> None:
    with Wire(lambda peer: (peer.read_request(), peer.send(b"SSH-2.0-OpenSSH\r\n\r\n"))) as server:
        assert "not HTTP" in str(failing(errors.ConnectionLostError, lambda: send(server)))


# ---- TLS


def test_own_authority_is_trusted_whatever_the_environment_says(
    authority: Authority, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with Wire(polite, authority.server.server_context()) as server:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/missing.pem")
        assert send(server, ca_bundle=authority.ca.cert_file).status == 200
        assert send(server, verify_tls=False).status == 200
        assert "REQUESTS_CA_BUNDLE" in str(failing(errors.ConfigurationError, lambda: send(server)))
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", authority.ca.cert_file)
        assert send(server).status == 200
        other = Authority.make(tmp_path).ca.cert_file
        failing(errors.TlsError, lambda: send(server, ca_bundle=other))


def test_unknown_authority_is_not_trusted(authority: Authority) -> None:
    with Wire(polite, authority.server.server_context()) as server:
        error = failing(errors.TlsError, lambda: send(server))
        assert "unable to get local issuer certificate. If your Workbench" in str(error)
        assert not error.retryable


def test_certificate_of_another_host_is_not_accepted(authority: Authority) -> None:
    with Wire(polite, authority.wrong_host.server_context()) as server:
        failing(errors.TlsError, lambda: send(server, ca_bundle=authority.ca.cert_file))
        assert send(server, verify_tls=False, ca_bundle=authority.ca.cert_file).status == 200


def test_client_certificate_is_shown_to_a_server_that_asks(authority: Authority) -> None:
    client, ca = authority.client, authority.ca
    with Wire(polite, authority.server.server_context(client_authority=ca)) as server:
        assert send(server, ca_bundle=ca.cert_file, client_cert=client.both_file).status == 200
        two = {"client_cert": client.cert_file, "client_key": client.key_file}
        assert send(server, ca_bundle=ca.cert_file, **two).status == 200
        with pytest.raises(errors.TransportError):
            send(server, ca_bundle=ca.cert_file)


def test_client_certificate_is_shown_to_a_server_that_asks_after_the_request(authority: Authority) -> None:
    """As servers do that want it for some of their pages only."""
    client, ca = authority.client, authority.ca

    def handler(peer: Peer) -> None:
        assert isinstance(peer.sock, ssl.SSLSocket)
        peer.read_request()
        peer.sock.verify_client_post_handshake()
        peer.answer("200 OK", b"hello")
        peer.read_request()
        shown.put(peer.sock.getpeercert())

    shown: queue.Queue[object] = queue.Queue()
    context = authority.server.server_context(client_authority=ca)
    context.verify_mode = ssl.CERT_OPTIONAL
    context.post_handshake_auth = True
    with (
        Wire(handler, context) as server,
        Session(settings_for(server, ca_bundle=ca.cert_file, client_cert=client.both_file)) as session,
    ):
        assert session.request("GET", server.url).body == b"hello"
        # what the client shows is seen with its next bytes; where the server's tickets came late, urllib3 takes the
        # kept connection for a dropped one, and makes another
        for _ in range(20):
            with contextlib.suppress(errors.ConnectionLostError):
                session.request("GET", server.url)
            if not shown.empty():
                break
        assert shown.get_nowait()


def test_authorities_are_read_once_for_all_connections_and_not_for_plain_http(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Settings] = []

    def counted(settings: Settings) -> ssl.SSLContext:
        read.append(settings)
        return ssl_context(settings)

    monkeypatch.setattr("airflow_provider_workbench.client.session.ssl_context", counted)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", authority.ca.cert_file)
    context = authority.server.server_context()
    with (
        Wire(polite) as plain,
        Wire(polite, context) as one,
        Wire(polite, context) as other,
        Session(settings_for(plain)) as session,
    ):
        assert session.request("GET", plain.url).status == 200
        assert not read
        for server in (one, other, one):
            assert session.request("GET", server.url).status == 200
        session.close()
        assert session.request("GET", one.url).status == 200
    assert (one.connections, other.connections) == (2, 1)
    assert len(read) == 1


def test_plain_server_behind_https_is_a_tls_fault(authority: Authority) -> None:
    with Wire(lambda peer: (peer.sock.recv(100), peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n"))) as server:
        server.tls = None
        url = server.url.replace("http:", "https:")
        with Session(settings_for(server)) as session:
            error = failing(errors.TlsError, lambda: session.request("GET", f"{url}/{SECRET}"))
    assert "No trusted connection to 127.0.0.1" in str(error)


def test_connection_cut_in_the_handshake_is_no_connection() -> None:
    with Wire(lambda peer: peer.sock.recv(1)) as server:
        url = server.url.replace("http:", "https:")
        with Session(settings_for(server)) as session:
            failing(errors.ConnectError, lambda: session.request("GET", f"{url}/{SECRET}"))


def test_server_that_is_not_up_yet_when_hands_are_shaken_is_no_connection() -> None:
    """Nobody's certificate is meant by "internal error"."""
    alert = bytes((21, 3, 3, 0, 2, 2, 80))
    with Wire(lambda peer: (peer.sock.recv(65536), peer.send(alert))) as server:
        url = server.url.replace("http:", "https:")
        with Session(settings_for(server)) as session:
            error = failing(errors.ConnectError, lambda: session.request("GET", f"{url}/{SECRET}"))
    assert "internal error" in str(error).lower().replace("_", " ")


def test_silence_in_the_handshake_is_no_connection() -> None:
    wait.clear()
    with Wire(lambda peer: wait.wait(30)) as server:
        url = server.url.replace("http:", "https:")
        with Session(settings_for(server, connect_timeout=0.1)) as session:
            error = failing(errors.ConnectError, lambda: session.request("GET", f"{url}/{SECRET}"))
    wait.set()
    assert "timed out" in str(error)


def test_bad_tls_file_of_the_connection_is_found_before_any_connection(tmp_path: Path) -> None:
    (tmp_path / "junk.pem").write_text("junk")
    with Wire(polite) as server:
        for name in ("ca_bundle", "client_cert"):
            error = failing(
                errors.ConfigurationError, lambda name=name: send(server, **{name: str(tmp_path / "junk.pem")})
            )
            assert "junk.pem" in str(error)
        assert server.connections == 0


# ---- proxies


def tunnel(peer: Peer) -> None:
    """An HTTP proxy that opens a tunnel to the target that CONNECT names, for one request and answer."""
    host, _, port = peer.read_head().split()[1].decode().rpartition(":")
    with socket.create_connection((host, int(port))) as target:
        peer.send(b"HTTP/1.1 200 Connection established\r\n\r\n")

        def back() -> None:
            with contextlib.suppress(OSError):
                while data := target.recv(65536):
                    peer.send(data)

        thread = threading.Thread(target=back, daemon=True)
        thread.start()
        while data := peer.sock.recv(65536):
            target.sendall(data)


def test_tls_goes_through_a_proxys_tunnel_and_stalls_are_noticed_there(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    wait.clear()
    with Wire(tunnel) as proxy, Wire(stop_reading, authority.server.server_context()) as server:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        extra = {"ca_bundle": authority.ca.cert_file, "connect_timeout": 10_000, "stall_timeout": 0.3}
        with Session(settings_for(server, **extra)) as session:
            assert session.request("GET", server.url).status == 200
            failing(
                errors.ConnectionLostError,
                lambda: session.request("PATCH", server.url, body=Zeros(500_000_000), read_timeout=10_000),
            )
        assert proxy.connections == 1
    wait.set()


def test_plain_request_goes_through_a_proxy_with_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    heads = []

    def handler(peer: Peer) -> None:
        heads.append(peer.read_request()[0])
        peer.answer("200 OK", b"by proxy")

    with Wire(handler) as proxy, Wire(polite) as server:
        monkeypatch.setenv("HTTP_PROXY", proxy.url.replace("//", "//me:hunter2@"))
        assert send(server).body == b"by proxy"
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        assert send(server).body == b"hello"
    assert heads[0].startswith(f"GET {server.url}/files/".encode())
    assert b"Proxy-Authorization: Basic " in heads[0]


def test_proxy_that_refuses_is_no_connection(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse = lambda peer: (peer.read_head(), peer.answer("407 Proxy Authentication Required"))  # noqa: E731
    with Wire(refuse) as proxy, Wire(polite, authority.server.server_context()) as server:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url.replace("//", "//me:hunter2@"))
        error = failing(errors.ConnectError, lambda: send(server, ca_bundle=authority.ca.cert_file))
        assert "407 Proxy Authentication Required" in str(error)
        assert "hunter2" not in str(error)
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{unused_port()}")
        error = failing(errors.ConnectError, lambda: send(server, ca_bundle=authority.ca.cert_file))
        assert "The proxy on the way to 127.0.0.1 gave no connection: Connection refused." in str(error)


def test_certificate_of_a_proxy_is_checked_like_the_servers(
    authority: Authority, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    trusted = authority.ca.cert_file
    context = authority.server.server_context()
    with Wire(polite, context) as server:
        with Wire(tunnel, context) as proxy:
            monkeypatch.setenv("HTTPS_PROXY", proxy.url)
            assert send(server, ca_bundle=trusted).body == b"hello"
        with Wire(tunnel, Authority.make(tmp_path).server.server_context()) as proxy:
            monkeypatch.setenv("HTTPS_PROXY", proxy.url)
            with pytest.raises(errors.TransportError):
                send(server, ca_bundle=trusted)
            assert server.connections == 1
            assert send(server, verify_tls=False).body == b"hello"


def test_malformed_proxy_is_a_configuration_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with Wire(polite) as server:
        monkeypatch.setenv("HTTP_PROXY", "http:///")
        failing(errors.ConfigurationError, lambda: send(server))
        monkeypatch.setenv("HTTP_PROXY", "socks5://127.0.0.1:1")
        failing(errors.ConfigurationError, lambda: send(server))
        assert server.connections == 0


def test_answer_lost_by_a_proxy_is_not_taken_for_no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """urllib3 calls it a proxy error; but the request may have gone on."""
    for end in (lambda peer: peer.sock.close(), Peer.reset):
        with Wire(lambda peer, end=end: (peer.read_request(), end(peer))) as proxy, Wire(polite) as server:
            monkeypatch.setenv("HTTP_PROXY", proxy.url)
            failing(errors.ConnectionLostError, lambda: send(server))


# ---- cut from another thread


@pytest.mark.parametrize("encrypted", [False, True])
@pytest.mark.parametrize("sending", [False, True])
def test_cut_ends_a_request_of_another_thread(encrypted: bool, sending: bool, authority: Authority) -> None:
    began, release = threading.Event(), threading.Event()

    def silent(peer: Peer) -> None:
        peer.read_head()
        began.set()
        release.wait(20)

    body = Zeros(50_000_000) if sending else None
    with Wire(silent, authority.server.server_context() if encrypted else None) as server:
        settings = Settings.from_fields(server.create_file_url, "t", {"ca_bundle": authority.ca.cert_file})
        with Session(settings) as session:

            def cut() -> None:
                began.wait(10)
                time.sleep(0.2)
                session.cut()
                ended.append(time.monotonic())

            ended: list[float] = []
            thread = threading.Thread(target=cut)
            thread.start()
            url = f"{server.url}/files/{SECRET}"
            failing(errors.ConnectionLostError, lambda: session.request("POST", url, body=body))
            thread.join()
            assert time.monotonic() - ended[0] < 1
        release.set()


@pytest.mark.parametrize("encrypted", [False, True])
def test_cut_ends_a_connection_that_is_being_made(
    encrypted: bool, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_connection = urllib3.util.connection.create_connection

    def create(*args: Any, **kwargs: Any) -> socket.socket:
        session.cut()
        return create_connection(*args, **kwargs)

    with Wire(polite, authority.server.server_context() if encrypted else None) as server:
        settings = Settings.from_fields(server.create_file_url, "t", {"ca_bundle": authority.ca.cert_file})
        with Session(settings) as session:
            monkeypatch.setattr(urllib3.util.connection, "create_connection", create)
            failing(errors.ConnectError, lambda: session.request("GET", f"{server.url}/files/{SECRET}"))
            monkeypatch.undo()
            assert server.heads == []
            assert session.request("GET", server.url).status == 200


def test_cut_ends_a_request_through_a_proxy_that_speaks_tls(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, ended = threading.Event(), threading.Event()
    wait.clear()

    def silent(peer: Peer) -> None:
        peer.read_head()
        began.set()
        wait.wait(20)

    def cut() -> None:
        began.wait(10)
        session.cut()
        ended.wait(10)
        wait.set()

    context = authority.server.server_context()
    with Wire(silent, context) as server, Wire(tunnel, context) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        settings = Settings.from_fields(server.create_file_url, "t", {"ca_bundle": authority.ca.cert_file})
        with Session(settings) as session:
            thread = threading.Thread(target=cut)
            thread.start()
            failing(errors.ConnectionLostError, lambda: session.request("GET", f"{server.url}/files/{SECRET}"))
            # else it ended because the server did
            assert not wait.is_set()
            ended.set()
            thread.join()


def test_session_can_be_used_after_a_cut() -> None:
    with Wire(polite) as server, Session(Settings.from_fields(server.create_file_url, "t")) as session:
        session.cut()
        assert session.request("GET", server.url).status == 200
        session.cut()
        assert session.request("GET", server.url).status == 200


def test_cut_of_a_connection_that_was_closed_does_nothing() -> None:
    """urllib3 keeps connections without a socket for the next request."""
    closing = lambda peer: (peer.read_request(), peer.answer("200 OK", b"", "Connection: close"))  # noqa: E731
    with Wire(closing) as server, Session(Settings.from_fields(server.create_file_url, "t")) as session:
        session.request("GET", server.url)
        session.cut()


# ---- logs


def test_no_log_record_shows_the_url(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)

    def odd_headers(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n no: header\r\n: x\r\n\r\n")

    for handler in (polite, odd_headers, Peer.read_head):
        with Wire(handler) as server:  # type: ignore[arg-type]
            try:
                send(server)
            except errors.ConnectionLostError:
                assert handler is Peer.read_head
    assert SECRET not in caplog.text


@pytest.mark.parametrize("encrypted", [False, True], ids=["http", "https"])
def test_http_clients_own_debugging_prints_nothing_of_ours(
    encrypted: bool, authority: Authority, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import http.client

    monkeypatch.setattr(http.client.HTTPConnection, "debuglevel", 1)
    answering = lambda peer: (peer.read_request(), peer.answer("200 OK", b"", f"Upload-Metadata: {SECRET}"))  # noqa: E731
    with Wire(answering, authority.server.server_context() if encrypted else None) as server:
        assert send(server, ca_bundle=authority.ca.cert_file).status == 200
    assert "".join(capsys.readouterr()) == ""


def test_other_requests_are_logged_as_ever(caplog: pytest.LogCaptureFixture) -> None:
    import requests

    caplog.set_level(logging.DEBUG)
    with Wire(polite) as server:
        send(server)
        requests.get(f"{server.url}/not-ours", timeout=10)
    assert "/not-ours" in caplog.text
