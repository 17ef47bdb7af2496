"""A link with long round trips: a proxy on loopback that passes each byte on after half a round trip.

TCP's handshake cannot be slowed down from outside of the kernel, so clients are held up for a round trip when they have
connected.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import socket
import threading
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any


class DelayProxy:
    """``with DelayProxy(targets, round_trip) as proxy: connect to proxy.ports``.

    :param targets: ports on this machine
    :param round_trip: seconds
    """

    def __init__(self, targets: Sequence[int], round_trip: float) -> None:
        self._pipe, theirs = multiprocessing.Pipe()
        arguments = (theirs, targets, round_trip)
        self._process = multiprocessing.get_context("spawn").Process(target=_run, args=arguments, daemon=True)
        self.ports: list[int] = []

    def __enter__(self) -> DelayProxy:
        self._process.start()
        self.ports = self._pipe.recv()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.join()


# threads, since asyncio's timers are late by a millisecond


def _run(pipe: Connection, targets: Sequence[int], round_trip: float) -> None:
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in targets]
    for listener, target in zip(listeners, targets, strict=True):
        _start(_accept, listener, target, round_trip)
    pipe.send([listener.getsockname()[1] for listener in listeners])
    threading.Event().wait()


def _start(function: Callable[..., None], *arguments: object) -> None:
    threading.Thread(target=function, args=arguments, daemon=True).start()


def _accept(listener: socket.socket, target: int, round_trip: float) -> None:
    while True:
        here, _ = listener.accept()
        there = socket.create_connection(("127.0.0.1", target))
        for each in (here, there):
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for source, sink in ((here, there), (there, here)):
            under_way: SimpleQueue[tuple[float, bytes]] = SimpleQueue()
            _start(_take, source, under_way, round_trip / 2)
            _start(_deliver, under_way, sink)


def _take(source: socket.socket, under_way: SimpleQueue[tuple[float, bytes]], delay: float) -> None:
    data = b"more"
    while data:
        try:
            data = source.recv(65536)
        except OSError:
            data = b""
        under_way.put((time.monotonic() + delay, data))


def _deliver(under_way: SimpleQueue[tuple[float, bytes]], sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while True:
            due, data = under_way.get()
            time.sleep(max(0.0, due - time.monotonic()))
            if not data:
                break
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)


def slow_handshakes(round_trip: float) -> None:
    """Let all that this process and its forks connect to be as far away.

    :param round_trip: seconds
    """
    connect = socket.socket.connect

    def far(self: socket.socket, address: Any) -> None:
        connect(self, address)
        time.sleep(round_trip)

    # not in urllib3, which some processes are yet to import
    socket.socket.connect = far  # type: ignore[method-assign, assignment]
