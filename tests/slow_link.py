"""A slow way to a host."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from urllib.parse import urlsplit

BLOCK = 64 * 1024


class SlowLink:
    """Passes bytes on to a host, at a rate; counts those that went there."""

    def __init__(self, target: str, bytes_per_second: int) -> None:
        parts = urlsplit(target)
        self._rate = bytes_per_second
        self._target = (parts.hostname, parts.port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.passed = 0
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                host = socket.create_connection(self._target)
                threading.Thread(target=self._pass, args=(client, host, self._rate), daemon=True).start()
                threading.Thread(target=self._pass, args=(host, client, None), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket, rate: int | None) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(BLOCK):
                if rate:
                    time.sleep(len(data) / rate)
                    self.passed += len(data)
                sink.sendall(data)
        for each in (source, sink):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listener.close()
