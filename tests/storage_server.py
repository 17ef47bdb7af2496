"""An S3 in a process of its own (moto's server), and a gate in front of it that can be shut."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from typing import Any

KEY_ID, SECRET_KEY = "AKIATESTTESTTESTTEST", "s3cret/of+the+storage"
_SERVE = """
import sys
from moto.s3.models import FakeKey
from moto.server import ThreadedMotoServer

# by itself it reads an object anew for each range of it
read = FakeKey.value.fget

def value(key):
    if "_whole" not in vars(key):
        key._whole = read(key)
    return key._whole

FakeKey.value = FakeKey.value.getter(value)
server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
"""


class Storage:
    """``storage.put("key", b"…")``, read through ``storage.fs()`` or the connection ``storage.connection``.

    :ivar bucket: a bucket of its own
    """

    bucket = "lake"

    def __enter__(self) -> Storage:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _SERVE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._process.stdout
        self.port = int(self._process.stdout.readline())
        self.url = f"http://127.0.0.1:{self.port}"
        import boto3

        self.client = boto3.client(
            "s3", "eu-north-1", endpoint_url=self.url, aws_access_key_id=KEY_ID, aws_secret_access_key=SECRET_KEY
        )
        self.client.create_bucket(Bucket=self.bucket, CreateBucketConfiguration={"LocationConstraint": "eu-north-1"})
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait(30)

    def put(self, key: str, content: bytes) -> None:
        self.client.put_object(Bucket=self.bucket, Key=key, Body=content)

    def connection(self, url: str = "") -> str:
        """An Airflow connection to it, as JSON."""
        extra = {"endpoint_url": url or self.url, "region_name": "eu-north-1"}
        return json.dumps({"conn_type": "aws", "login": KEY_ID, "password": SECRET_KEY, "extra": extra})

    def fs(self, url: str = "", **options: Any) -> Any:
        """A file system of its own."""
        from s3fs import S3FileSystem

        client = {"endpoint_url": url or self.url, "region_name": "eu-north-1"}
        return S3FileSystem(
            key=KEY_ID, secret=SECRET_KEY, client_kwargs=client, skip_instance_cache=True, use_ssl=False, **options
        )

    @contextlib.contextmanager
    def refusing(self) -> Iterator[None]:
        """Nobody may do anything."""
        self._allow(0)
        try:
            yield
        finally:
            self._allow(1_000_000)

    def _allow(self, requests: int) -> None:
        url = f"{self.url}/moto-api/reset-auth"
        request = urllib.request.Request(url, str(requests).encode(), {"Content-Type": "text/plain"}, method="POST")
        urllib.request.urlopen(request).close()


class Gate:
    """Passes connections on to a port; shut, it cuts those it has, and takes no other.

    :ivar passed: bytes that came through from there
    """

    def __init__(self, port: int) -> None:
        self._to = ("127.0.0.1", port)
        self._open = True
        self._sockets: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.passed = 0
        self.shut_at: int | None = None
        """Shut by itself when so many bytes came through."""

    def __enter__(self) -> Gate:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shut()
        self._listener.close()

    def shut(self) -> None:
        self._open = False
        for one in list(self._sockets):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def open(self) -> None:
        self.shut_at = None
        self._open = True

    @property
    def is_open(self) -> bool:
        return self._open

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                if not self._open:
                    near.close()
                    continue
                far = socket.create_connection(self._to)
                self._sockets |= {near, far}
                threading.Thread(target=self._pass, args=(near, far, False), daemon=True).start()
                threading.Thread(target=self._pass, args=(far, near, True), daemon=True).start()

    def _pass(self, here: socket.socket, there: socket.socket, counted: bool) -> None:
        with contextlib.suppress(OSError):
            while block := here.recv(65536):
                there.sendall(block)
                self.passed += len(block) * counted
                if self.shut_at is not None and self.passed >= self.shut_at:
                    self.shut()
        for one in (here, there):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        self._sockets.discard(here)
