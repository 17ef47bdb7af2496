"""The fault proxy itself, between ``http.client`` and a plain server that remembers what reached it."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import pytest
from fault_proxy import FaultProxy
from fault_script import Fault

BIG = bytes(range(256)) * 12_000  # 3 MB: more than the sockets hold


@dataclass
class Arrived:
    """A request as it reached the host; ``complete`` is False if its connection ended before its body did."""

    method: str
    headers: dict[str, str]
    body: bytearray = field(default_factory=bytearray)
    complete: bool = False
    ending: str = ""


class Host(ThreadingHTTPServer):
    """Answers each request with its body, or by the function ``act``."""

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        self.arrived: list[Arrived] = []
        self.act: Callable[[_Handler], None] = _Handler.echo
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Cut connections are what this is about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Host

    def _handle(self) -> None:
        self.arrived = Arrived(self.command, {name.lower(): value for name, value in self.headers.items()})
        self.server.arrived.append(self.arrived)
        self.server.act(self)

    do_GET = do_HEAD = do_POST = do_PATCH = _handle  # noqa: N815

    def echo(self) -> None:
        self.read_body()
        self.answer(200, bytes(self.arrived.body))

    def read_body(self) -> None:
        try:
            if "chunked" in self.headers.get("Transfer-Encoding", ""):
                while size := int(self.rfile.readline().split(b";")[0], 16):
                    self.arrived.body += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
            else:
                left = int(self.headers.get("Content-Length", 0))
                while left:
                    data = self.rfile.read1(min(left, 65536))
                    if not data:
                        raise EOFError
                    self.arrived.body += data
                    left -= len(data)
            self.arrived.complete = True
        except ConnectionResetError:
            self.arrived.ending = "RST"
            raise
        except (EOFError, ValueError):
            self.arrived.ending = "FIN"
            raise

    def answer(self, status: int, body: bytes, chunked: bool = False, *, length: bool = True) -> None:
        self.send_response(status)
        if chunked:
            self.send_header("Transfer-Encoding", "chunked")
        elif length:
            self.send_header("Content-Length", str(len(body)))
        else:
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()
        if self.command == "HEAD":
            return
        if chunked:
            half = len(body) // 2
            for piece in (body[:half], body[half:]):
                self.wfile.write(b"%x;note=1\r\n%s\r\n" % (len(piece), piece))
            self.wfile.write(b"0\r\nX-Trailer: 1\r\n\r\n")
        else:
            self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def host() -> Iterator[Host]:
    with Host() as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def proxy(host: Host) -> Iterator[FaultProxy]:
    with FaultProxy(upload=host.url) as proxy:
        yield proxy


class Client(http.client.HTTPConnection):
    def __init__(self, proxy: FaultProxy) -> None:
        super().__init__("127.0.0.1", urlsplit(proxy.url("upload")).port, timeout=20)

    def call(self, method: str, body: Any = None, **kwargs: Any) -> tuple[int, bytes]:
        self.request(method, "/files/1", body, **kwargs)
        response = self.getresponse()
        return response.status, response.read()


LOST = (ConnectionError, http.client.RemoteDisconnected, BrokenPipeError)


def wait_for(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.01)


# ---- without a fault


@pytest.mark.parametrize("body", [b"", b"x", BIG])
def test_requests_pass_unchanged_on_one_connection(host: Host, proxy: FaultProxy, body: bytes) -> None:
    client = Client(proxy)
    assert [client.call("PATCH", body) for _ in range(3)] == [(200, body)] * 3
    assert proxy.connections == 1
    assert proxy.body_bytes("upload") == 3 * len(body)
    assert proxy.said() == ["PATCH 200"] * 3
    assert [bytes(arrived.body) for arrived in host.arrived] == [body] * 3


def test_chunked_requests_and_answers_pass_unchanged(host: Host, proxy: FaultProxy) -> None:
    def chunked(handler: _Handler) -> None:
        handler.read_body()
        handler.answer(200, bytes(handler.arrived.body), chunked=True)

    host.act = chunked
    client = Client(proxy)
    pieces = [b"a" * 7, b"b", BIG]
    assert client.call("POST", iter(pieces), encode_chunked=True) == (200, b"".join(pieces))
    assert client.call("POST", b"next") == (200, b"next")
    assert proxy.connections == 1
    assert proxy.body_bytes() == 8 + len(BIG) + 4


def test_heads_answer_has_no_body_though_it_announces_one(proxy: FaultProxy) -> None:
    client = Client(proxy)
    client.request("HEAD", "/files/1", b"12345")
    response = client.getresponse()
    assert (response.read(), response.getheader("Content-Length")) == (b"", "5")
    assert client.call("GET") == (200, b"")
    assert proxy.connections == 1


def test_answer_that_ends_with_the_connection_passes(host: Host, proxy: FaultProxy) -> None:
    host.act = lambda handler: handler.answer(200, BIG, length=False)
    assert Client(proxy).call("GET") == (200, BIG)


def test_body_waits_for_continue(host: Host, proxy: FaultProxy) -> None:
    with socket.create_connection(("127.0.0.1", urlsplit(proxy.url("upload")).port), timeout=10) as sock:
        sock.sendall(b"PATCH / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
        assert sock.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(b"abc")
        assert b" 200 " in sock.recv(1000)
    assert host.arrived[0].body == b"abc"


def test_early_answer_arrives_before_the_body_was_sent(host: Host, proxy: FaultProxy) -> None:
    host.act = lambda handler: handler.answer(409, b"mismatched offset")
    with socket.create_connection(("127.0.0.1", urlsplit(proxy.url("upload")).port), timeout=10) as sock:
        sock.sendall(b"PATCH / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
        assert b"409" in sock.recv(1000)


def test_host_that_ends_an_idle_connection_ends_the_clients(host: Host, proxy: FaultProxy) -> None:
    def once(handler: _Handler) -> None:
        handler.answer(200, b"")
        handler.close_connection = True

    host.act = once
    client = Client(proxy)
    client.call("GET")
    assert client.sock.recv(1) == b""


def test_client_that_gives_up_waiting_ends_the_hosts_connection(host: Host, proxy: FaultProxy) -> None:
    ended = threading.Event()

    def silent(handler: _Handler) -> None:
        if handler.connection.recv(1) == b"":
            ended.set()

    host.act = silent
    client = Client(proxy)
    client.request("GET", "/")
    client.close()
    assert ended.wait(5)


# ---- which request


def test_first_fault_that_fits_takes_the_request(proxy: FaultProxy) -> None:
    proxy.script = [
        Fault("answer", method="PATCH", skip=1, status=503),
        Fault("answer", method="PATCH", status=502),
        Fault("answer", host="elsewhere", status=500),
        Fault("answer", over=3, times=None, status=413),
    ]
    client = Client(proxy)
    bodies = [("GET", b""), ("PATCH", b"1"), ("PATCH", b"2"), ("PATCH", b"3"), ("POST", b"1234"), ("PATCH", b"12345")]
    statuses = [client.call(method, body)[0] for method, body in bodies]
    assert statuses == [200, 502, 503, 200, 413, 413]
    assert [fault.status for fault in proxy.script] == [500, 413]


# ---- cuts


@pytest.mark.parametrize("rst", [False, True], ids=["FIN", "RST"])
@pytest.mark.parametrize("at", [0, 1, 1_000_000, len(BIG) - 1])
def test_cut_reaches_the_host_at_that_byte(host: Host, proxy: FaultProxy, at: int, rst: bool) -> None:
    proxy.script = [Fault("cut", at=at, rst=rst)]
    with pytest.raises(LOST):
        Client(proxy).call("PATCH", BIG)
    wait_for(lambda: host.arrived and host.arrived[0].ending)
    if not rst:  # a RST may overtake bytes
        assert (len(host.arrived[0].body), host.arrived[0].ending) == (at, "FIN")
    assert bytes(host.arrived[0].body) == BIG[: len(host.arrived[0].body)]
    assert len(host.arrived[0].body) <= at
    assert proxy.body_bytes() == at
    assert Client(proxy).call("PATCH", BIG) == (200, BIG)


@pytest.mark.parametrize(("rst", "ending"), [(False, "FIN"), (True, "RST")])
def test_client_sees_how_it_was_cut(proxy: FaultProxy, rst: bool, ending: str) -> None:
    proxy.script = [Fault("cut", rst=rst)]
    client = Client(proxy)
    client.request("PATCH", "/", b"abc")
    try:
        seen = "FIN" if client.sock.recv(1) == b"" else "bytes"
    except ConnectionResetError:
        seen = "RST"
    assert seen == ending


def test_cut_counts_the_content_of_a_chunked_body(host: Host, proxy: FaultProxy) -> None:
    proxy.script = [Fault("cut", at=10)]
    with pytest.raises(LOST):
        Client(proxy).call("POST", iter([b"1234567", b"1234567"]), encode_chunked=True)
    wait_for(lambda: host.arrived and host.arrived[0].ending)
    assert host.arrived[0].body[:7] == b"1234567"
    assert proxy.body_bytes() == 10


def test_cut_after_the_whole_request_leaves_it_whole(host: Host, proxy: FaultProxy) -> None:
    proxy.script = [Fault("cut")]
    with pytest.raises(LOST):
        Client(proxy).call("PATCH", BIG)
    wait_for(lambda: host.arrived and host.arrived[0].complete)
    assert host.arrived[0].body == BIG


def test_half_open_cut_leaves_the_host_waiting(host: Host, proxy: FaultProxy) -> None:
    proxy.script = [Fault("cut", at=5, hold=0.5)]
    start = time.monotonic()
    with pytest.raises(LOST):
        Client(proxy).call("PATCH", b"1234567890")
    assert time.monotonic() - start < 0.4
    wait_for(lambda: host.arrived and host.arrived[0].ending)
    assert time.monotonic() - start > 0.4


def test_lost_answer_was_given_by_the_host(host: Host, proxy: FaultProxy) -> None:
    proxy.script = [Fault("lose")]
    with pytest.raises(LOST):
        Client(proxy).call("PATCH", BIG)
    assert host.arrived[0].complete
    assert proxy.said() == ["PATCH None"]


# ---- answers of its own


@pytest.mark.parametrize(("when", "reached"), [("first", False), ("instead", False), ("after", True)])
@pytest.mark.parametrize("body", [b"", b"abc", BIG])
def test_own_answer_keeps_the_request_from_the_host_or_its_answer_from_the_client(
    host: Host, proxy: FaultProxy, when: Any, reached: bool, body: bytes
) -> None:
    proxy.script = [Fault("answer", status=503, headers={"Retry-After": "1"}, body=b"later", when=when)]
    client = Client(proxy)
    client.putrequest("PATCH", "/")
    client.putheader("Content-Length", str(len(body)))
    client.endheaders()
    try:
        client.send(body)
    except OSError:
        assert when == "first"
    response = client.getresponse()
    assert (response.status, response.getheader("Retry-After"), response.read()) == (503, "1", b"later")
    assert [arrived.complete for arrived in host.arrived] == ([True] if reached else [])
    assert client.call("PATCH", body) == (200, body)
    assert proxy.connections == (2 if when == "first" and body else 1)


def test_own_answer_to_head_has_no_body(proxy: FaultProxy) -> None:
    proxy.script = [Fault("answer", method="HEAD", status=502)]
    client = Client(proxy)
    assert client.call("HEAD") == (502, b"")
    assert client.call("GET") == (200, b"")
    assert proxy.connections == 1


# ---- time


def test_stall_moves_nothing_and_then_goes_on(host: Host, proxy: FaultProxy) -> None:
    proxy.script = [Fault("stall", at=1000, seconds=0.4)]
    start = time.monotonic()
    answers: list[tuple[int, bytes]] = []
    thread = threading.Thread(target=lambda: answers.append(Client(proxy).call("PATCH", BIG)))
    thread.start()
    wait_for(lambda: host.arrived and len(host.arrived[0].body) == 1000)
    time.sleep(0.2)
    assert len(host.arrived[0].body) == 1000
    thread.join(10)
    assert answers == [(200, BIG)]
    assert time.monotonic() - start >= 0.4


def test_stall_after_the_request_makes_the_answer_late(proxy: FaultProxy) -> None:
    proxy.script = [Fault("stall", seconds=0.3)]
    start = time.monotonic()
    assert Client(proxy).call("PATCH", b"abc") == (200, b"abc")
    assert time.monotonic() - start >= 0.3


def test_rate_slows_a_body_down(proxy: FaultProxy) -> None:
    proxy.script = [Fault(rate=100_000)]
    start = time.monotonic()
    assert Client(proxy).call("PATCH", bytes(50_000)) == (200, bytes(50_000))
    assert 0.4 < time.monotonic() - start < 2


@pytest.mark.parametrize("rst", [False, True], ids=["no listener", "RST"])
def test_nobody_can_connect_for_a_while(proxy: FaultProxy, rst: bool) -> None:
    proxy.script = [Fault("refuse", at=1, seconds=0.4, rst=rst)]
    start = time.monotonic()
    failures = 0
    while True:
        try:
            assert Client(proxy).call("PATCH", b"abc") == (200, b"abc")
            break
        except LOST:
            failures += 1
            time.sleep(0.05)
    assert time.monotonic() - start >= 0.4
    assert failures > 2


# ---- buffering


def test_buffering_proxy_forwards_nothing_of_a_cut_request(host: Host, proxy: FaultProxy) -> None:
    proxy.script = [Fault("cut", buffer=True, at=len(BIG) - 1)]
    with pytest.raises(LOST):
        Client(proxy).call("PATCH", BIG)
    assert host.arrived == []
    assert proxy.body_bytes() == len(BIG) - 1


def test_buffering_proxy_forwards_a_whole_request(host: Host, proxy: FaultProxy) -> None:
    proxy.script = [Fault(buffer=True), Fault("stall", at=2, seconds=0.1, buffer=True)]
    client = Client(proxy)
    assert client.call("PATCH", BIG) == (200, BIG)
    assert client.call("POST", iter([b"abc", b"de"]), encode_chunked=True) == (200, b"abcde")


def test_buffering_proxy_lets_a_body_come_that_waits_for_continue(host: Host, proxy: FaultProxy) -> None:
    proxy.script = [Fault(buffer=True)]
    with socket.create_connection(("127.0.0.1", urlsplit(proxy.url("upload")).port), timeout=10) as sock:
        sock.sendall(b"PATCH / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
        assert sock.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert host.arrived == []
        sock.sendall(b"abc")
        assert b" 200 " in sock.recv(1000)
    assert "expect" not in host.arrived[0].headers
