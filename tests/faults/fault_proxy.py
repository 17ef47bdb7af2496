"""A proxy that does harm by a script, between a client and the two hosts of a Workbench.

It passes bytes on as they come, and knows only where heads and bodies end. One thread per connection of the client,
and one connection to the host for each.
"""

from __future__ import annotations

import contextlib
import math
import select
import socket
import struct
import threading
import time
from collections.abc import Iterable
from dataclasses import replace
from http import HTTPStatus
from urllib.parse import urlsplit

from fault_script import Fault, Seen
from http_framing import AnswerOnItsWay, Body, is_chunked, parse_head

BLOCK = 64 * 1024
LINGER_SECONDS = 0.5


class _Wire:
    """A connection, and what was read from it too early."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.early = b""
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def read(self, size: int = BLOCK) -> bytes:
        if self.early:
            data, self.early = self.early[:size], self.early[size:]
            return data
        return self.sock.recv(size)

    def read_head(self) -> bytes:
        """The next message's head; empty if the connection ends first."""
        head = b""
        while b"\r\n\r\n" not in head:
            data = self.read()
            if not data:
                return b""
            head += data
        head, end, rest = head.partition(b"\r\n\r\n")
        self.early = rest + self.early
        return head + end

    def end(self, rst: bool = False) -> None:
        with contextlib.suppress(OSError):
            if rst:
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            else:
                # closing with unread bytes would be a RST
                self.sock.shutdown(socket.SHUT_WR)
                self.sock.setblocking(False)
                for _ in range(64):
                    self.sock.recv(BLOCK)
        self.sock.close()

    def end_when_read(self) -> None:
        """Close when the other side has read what was sent and closed too; or after a while."""
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_WR)
            self.sock.settimeout(LINGER_SECONDS)
            end = time.monotonic() + LINGER_SECONDS
            while time.monotonic() < end and self.sock.recv(BLOCK):
                pass
        self.sock.close()


class FaultProxy:
    """``FaultProxy(frontend=url, upload=url)``: a port on loopback for each host, until the end of the ``with``."""

    def __init__(self, **targets: str) -> None:
        self._targets = targets
        self._lock = threading.Lock()
        self._script: list[Fault] = []
        self._wires: set[_Wire] = set()
        self.stopping = threading.Event()
        self.seen: list[Seen] = []
        self.connections = 0

    def __enter__(self) -> FaultProxy:
        self._listeners = {name: _Listener(self, name, target) for name, target in self._targets.items()}
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        for listener in self._listeners.values():
            listener.wake()
            listener.thread.join(5)
        with self._lock:
            for wire in self._wires:
                with contextlib.suppress(OSError):
                    wire.sock.shutdown(socket.SHUT_RDWR)

    @property
    def script(self) -> list[Fault]:
        """The faults that are still to come."""
        with self._lock:
            return list(self._script)

    @script.setter
    def script(self, faults: Iterable[Fault]) -> None:
        with self._lock:
            self._script = [replace(fault) for fault in faults]

    @property
    def is_idle(self) -> bool:
        """Whether no connection is open."""
        with self._lock:
            return not self._wires

    def url(self, host: str) -> str:
        return f"http://127.0.0.1:{self._listeners[host].port}"

    def body_bytes(self, host: str | None = None) -> int:
        """Bytes of requests' bodies that clients sent."""
        return sum(seen.body_bytes for seen in self.seen if host in (None, seen.host))

    def said(self, host: str | None = None) -> list[str]:
        """``["POST 200", "PATCH None", …]``: each request's method and the status that the client got."""
        return [f"{seen.method} {seen.status}" for seen in self.seen if host in (None, seen.host)]

    def refuse(self, host: str, seconds: float, rst: bool = False) -> None:
        """Let nobody connect for a while: nobody listens, or (``rst``) a RST is what everybody gets."""
        self._listeners[host].refuse(seconds, rst)

    def fault_for(self, seen: Seen) -> Fault:
        with self._lock:
            self.seen.append(seen)
            for fault in self._script:
                if not fault.fits(seen):
                    continue
                if fault.skip:
                    fault.skip -= 1
                    continue
                fault.used += 1
                if fault.used == fault.times:
                    self._script.remove(fault)
                seen.fault = fault
                return fault
        return Fault()

    def open(self, sock: socket.socket) -> _Wire:
        wire = _Wire(sock)
        with self._lock:
            self._wires.add(wire)
        return wire

    def forget(self, wire: _Wire) -> None:
        with self._lock:
            self._wires.discard(wire)


class _Listener:
    """The proxy's port for one host."""

    def __init__(self, proxy: FaultProxy, name: str, target: str) -> None:
        parts = urlsplit(target)
        self.name = name
        self.target = (parts.hostname or "127.0.0.1", parts.port or 80)
        self._proxy = proxy
        self._refuse_until = 0.0
        self._rst = False
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self._socket.getsockname()[1]
        self.thread = threading.Thread(target=self._accept, name=f"fault-proxy-{name}", daemon=True)
        self.thread.start()

    def refuse(self, seconds: float, rst: bool) -> None:
        self._rst = rst
        self._refuse_until = time.monotonic() + seconds
        if not rst:
            self.wake()

    def wake(self) -> None:
        """End the listening, and with it a call of accept."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while not self._proxy.stopping.is_set():
            try:
                sock, _ = self._socket.accept()
            except OSError:
                self._socket.close()
                if self._proxy.stopping.wait(max(self._refuse_until - time.monotonic(), 0)):
                    return
                self._socket = socket.create_server(("127.0.0.1", self.port), backlog=64)
                continue
            if self._rst and time.monotonic() < self._refuse_until:
                _Wire(sock).end(rst=True)
                continue
            self._proxy.connections += 1
            connection = _Connection(self._proxy, self, sock, self._proxy.connections)
            threading.Thread(target=connection.run, name="fault-proxy-connection", daemon=True).start()
        self._socket.close()


class _Connection:
    """One of the client's connections."""

    def __init__(self, proxy: FaultProxy, listener: _Listener, sock: socket.socket, number: int) -> None:
        self._proxy = proxy
        self._listener = listener
        self._number = number
        self._client = proxy.open(sock)
        self._host: _Wire | None = None

    def run(self) -> None:
        # whatever goes wrong on one side, the other side sees its connection end
        with contextlib.suppress(OSError, ValueError):
            while self._serve_one():
                pass
        for wire in (self._client, self._host):
            if wire:
                wire.end()
                self._proxy.forget(wire)

    def _serve_one(self) -> bool:
        """Pass on one request and its answer, and do harm to them. False if the connection has ended."""
        if not self._client.early and self._client not in self._readable(self._client, self._host):
            return False  # the host has closed it while it was idle
        head = self._client.read_head()
        if not head:
            return False
        (method, path, _), headers = parse_head(head)
        length = None if is_chunked(headers) else int(headers.get("content-length", 0))
        body = Body(length, is_chunked(headers))
        seen = Seen(self._listener.name, method, path, headers, length, self._number)
        fault = self._proxy.fault_for(seen)
        if fault.do == "answer" and fault.when == "first":
            return self._answer(seen, fault, unread=not body.done)
        if fault.buffer or (fault.do == "answer" and fault.when == "instead"):
            return self._buffer(head, seen, fault, body)
        return self._pass_on(head, seen, fault, body)

    def _buffer(self, head: bytes, seen: Seen, fault: Fault, body: Body) -> bool:
        if "expect" in seen.headers:
            self._client.sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            head = b"\r\n".join(line for line in head.split(b"\r\n") if not line.lower().startswith(b"expect:"))
        kept = b""
        while True:
            if self._is_due(seen, fault, body):
                if not self._harm(fault):
                    return False
                fault = replace(fault, do="pass")
            if body.done:
                break
            kept += self._piece(seen, fault, body)
        return self._answer(seen, fault) if fault.do == "answer" else self._pass_on(head + kept, seen, fault, body)

    def _pass_on(self, head: bytes, seen: Seen, fault: Fault, body: Body) -> bool:
        if self._host is None:
            self._host = self._proxy.open(socket.create_connection(self._listener.target, timeout=10))
            self._host.sock.settimeout(None)
        host = self._host
        host.sock.sendall(head)
        answer = AnswerOnItsWay(seen.method)
        silent = fault.do == "lose" or fault.do == "answer"
        while True:
            if self._is_due(seen, fault, body):
                if not self._harm(fault):
                    return False
                fault = replace(fault, do="pass")
            if body.done and answer.done:
                break
            # the client's connection is watched to its end: it may give up waiting
            watched = (host,) if body.done and self._client.early else (self._client, host)
            if host in self._readable(*watched):
                data = answer.take(host.read())
                if not silent:
                    seen.status = answer.status
                    self._client.sock.sendall(data)
                if answer.done and answer.closes and not body.done and not silent:
                    self._client.end_when_read()
                    return False
            elif body.done:
                self._client.early = self._client.sock.recv(BLOCK)
                if not self._client.early:
                    raise ConnectionError
            else:
                piece = self._piece(seen, fault, body)
                # a host that reads no more may have answered all the same
                with contextlib.suppress(OSError):
                    host.sock.sendall(piece)
        if fault.do == "lose":
            return self._end(fault)
        if fault.do == "answer":
            return self._answer(seen, fault)
        return not answer.closes

    def _readable(self, *wires: _Wire | None) -> list[_Wire]:
        """Wait until one of these has something, or has ended."""
        there = [wire for wire in wires if wire]
        while not self._proxy.stopping.is_set():
            early = [wire for wire in there if wire.early]
            ready, _, _ = select.select([wire.sock for wire in there], [], [], 0 if early else 0.5)
            if ready or early:
                return [wire for wire in there if wire.early or wire.sock in ready]
        raise ConnectionError

    def _piece(self, seen: Seen, fault: Fault, body: Body) -> bytes:
        """The next bytes of the client's body, up to the byte where harm is due."""
        data = self._client.read(max(int(fault.rate / 20), 1) if fault.rate else BLOCK)
        if not data:
            raise ConnectionError
        bound = fault.waits_for_a_byte and fault.at is not None
        raw, content = body.take(data, (fault.at or 0) - seen.body_bytes if bound else math.inf)
        self._client.early = data[raw:] + self._client.early
        seen.body_bytes += content
        if fault.rate:
            self._proxy.stopping.wait(content / fault.rate)
        return data[:raw]

    @staticmethod
    def _is_due(seen: Seen, fault: Fault, body: Body) -> bool:
        return fault.waits_for_a_byte and (body.done if fault.at is None else seen.body_bytes >= fault.at)

    def _harm(self, fault: Fault) -> bool:
        """Do it; True if it goes on."""
        if fault.do != "stall":
            return self._end(fault)
        self._proxy.stopping.wait(fault.seconds)
        return True

    def _end(self, fault: Fault) -> bool:
        if fault.do == "refuse":
            self._listener.refuse(fault.seconds, fault.rst)
        self._client.end(fault.rst)
        self._proxy.stopping.wait(fault.hold)
        if self._host:
            self._host.end(fault.rst)
        return False

    def _answer(self, seen: Seen, fault: Fault, unread: bool = False) -> bool:
        end = "close" if unread else "keep-alive"
        headers = {**fault.headers, "Content-Length": len(fault.body), "Connection": end}
        lines = [f"{name}: {value}" for name, value in headers.items()]
        head = "\r\n".join([f"HTTP/1.1 {fault.status} {HTTPStatus(fault.status).phrase}", *lines, "", ""])
        seen.status = fault.status
        self._client.sock.sendall(head.encode("latin-1") + (b"" if seen.method == "HEAD" else fault.body))
        if unread and not fault.rst:
            self._client.end_when_read()
        return not unread
