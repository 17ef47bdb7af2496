"""The one place that makes HTTP requests: time limits, TLS, proxies, block size, and errors without secrets."""

from __future__ import annotations

import contextlib
import http.client
import io
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from http.cookiejar import DefaultCookiePolicy
from types import TracebackType
from typing import Any, Protocol
from urllib.parse import urlsplit
from weakref import ref

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from airflow_provider_workbench.client import failures
from airflow_provider_workbench.client.answers import Answer
from airflow_provider_workbench.client.environment import proxy_for, ssl_context
from airflow_provider_workbench.client.errors import ConfigurationError, ConnectError, WorkbenchError
from airflow_provider_workbench.client.settings import Settings
from airflow_provider_workbench.client.unpicklable import Unpicklable

# each block costs a hand-over between threads: 512 KiB is twice as fast as 64 KiB (benchmarks/transfer.py)
BLOCK_SIZE = 512 * 1024
ANSWER_LIMIT = 256 * 1024
# bytes of an answer that are read at once: http.client keeps each chunk by itself, and one can be of a single byte
_PIECE = 64 * 1024


class Body(Protocol):
    """What can be sent: a file-like object that knows how many bytes it will give."""

    def __len__(self) -> int: ...

    def read(self, size: int = -1, /) -> bytes | memoryview: ...


class Session(Unpicklable):
    """Requests to the two hosts of one Workbench, over connections that are kept and used again.

    Redirects are never followed: the token must not travel, and a redirected PATCH would become a GET.

    :param settings: time limits and TLS
    :ivar settings: the same
    :raises ConfigurationError: a TLS file of the connection cannot be read
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._opened = time.monotonic()
        tls = _Tls(settings)
        if settings.ca_bundle or settings.client_cert:
            # a bad file is found before anything is asked for
            tls.context()
        self._session = _Session()
        self._session.trust_env = False
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=()))
        self._connections: set[ref[HTTPConnection]] = set()
        adapter = _Adapter(settings.stall_timeout, self._connections, tls)
        self._session.mount("http://", adapter)
        self._session.mount("https://", adapter)

    def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | Body | None = None,
        read_timeout: float | None = None,
        limit: int = ANSWER_LIMIT,
    ) -> Answer:
        """Send one request and read its answer.

        :param url: may be a secret; no error shows more of it than the host
        :param read_timeout: seconds of silence until the answer begins, and within it; ``stall_timeout`` if None. All
            of the answer has to be there ``stall_timeout`` seconds later
        :param limit: bytes of the body to keep; the rest is not read
        :raises ConnectError: nothing was sent
        :raises TlsError: a certificate was not accepted; nothing was sent
        :raises ConnectionLostError: the request may have been acted on
        :raises ConfigurationError: the environment's proxy or TLS file cannot be used
        """
        settings = self.settings
        proxy = proxy_for(url)
        response: requests.Response | None = None
        failure: WorkbenchError | None = None
        content = bytearray()
        complete = False
        unlogged = _UNLOGGED.set(True)
        try:
            response = self._session.request(
                method,
                url,
                data=body,  # type: ignore[arg-type]  # the stubs know no reader of memoryviews
                headers={"Accept-Encoding": "identity", **(headers or {})},
                timeout=(settings.connect_timeout, read_timeout or settings.stall_timeout),
                verify=settings.verify_tls,
                proxies={"http": proxy, "https": proxy} if proxy else {},
                allow_redirects=False,
                stream=True,
            )
            # one read may end early without an error; the next one raises it
            while (left := limit + 1 - len(content)) > 0 and (more := _read(response, min(left, _PIECE))):
                content += more
            complete = len(content) <= limit
        except (requests.RequestException, urllib3.exceptions.HTTPError, http.client.HTTPException, OSError) as error:
            failure = _translate(error, urlsplit(url).hostname or "the host")
        finally:
            _UNLOGGED.reset(unlogged)
            # a connection with an unread rest cannot serve the next request
            if response is not None and not complete:
                response.close()
        # raised outside the except: __context__ would carry the URL even past `from None`
        if failure is not None:
            raise failure
        assert response is not None
        lowered = {name.lower(): value for name, value in response.headers.items()}
        return Answer(response.status_code, lowered, bytes(memoryview(content)[:limit]), cut=len(content) > limit)

    def close(self) -> None:
        """Close every connection."""
        self._session.close()
        # urllib3 only forgets its pools; the server would see the connections until they are collected
        for connection in self._living():
            connection.close()
        self._opened = time.monotonic()

    def cut(self) -> None:
        """Cut every connection, also in the middle of a request of another thread. Returns at once."""
        for connection in self._living():
            # one that is being made has no socket yet
            connection.is_cut = True  # type: ignore[attr-defined]
            # what TLS is spoken with through a proxy that speaks it, too, is no socket but has one
            sock = getattr(connection.sock, "socket", connection.sock)
            if isinstance(sock, socket.socket):
                with contextlib.suppress(OSError):
                    # past ssl, whose shutdown would first talk to the server
                    socket.socket.shutdown(sock, socket.SHUT_RDWR)

    @property
    def age(self) -> float:
        """Seconds; no connection has been open for longer."""
        return time.monotonic() - self._opened

    def _living(self) -> list[HTTPConnection]:
        return [connection for reference in list(self._connections) if (connection := reference())]

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


# urllib3 logs every request's path (DEBUG), and URLs whose answer has odd headers (WARNING): ours are secrets
_UNLOGGED: ContextVar[bool] = ContextVar("_UNLOGGED", default=False)


def _is_loggable(record: logging.LogRecord) -> bool:
    return not _UNLOGGED.get()


for _name in ("urllib3.connection", "urllib3.connectionpool"):
    logging.getLogger(_name).addFilter(_is_loggable)


class _Session(requests.Session):
    def get_redirect_target(self, resp: requests.Response) -> None:
        """Follow nothing: even with ``allow_redirects=False`` requests would read the whole body, and the target."""


class _Tls:
    """One context for all connections, read in a thread while the first of them is made.

    The usual authorities take some 40 ms, which is a round trip.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._context: ssl.SSLContext | None = None
        self._error: WorkbenchError | None = None
        self._thread: threading.Thread | None = None
        if settings.endpoint.origin.startswith("https:"):
            self._start()

    def context(self) -> ssl.SSLContext:
        """Wait for it.

        :raises ConfigurationError: a file cannot be read
        """
        (self._thread or self._start()).join()
        if self._error:
            raise self._error
        assert self._context
        return self._context

    def _start(self) -> threading.Thread:
        self._thread = threading.Thread(target=self._read, name="workbench-tls", daemon=True)
        self._thread.start()
        return self._thread

    def _read(self) -> None:
        try:
            self._context = ssl_context(self._settings)
        except WorkbenchError as error:
            self._error = error


class _Adapter(HTTPAdapter):
    def __init__(self, stall_timeout: float, connections: set[ref[HTTPConnection]], tls: _Tls) -> None:
        self._pool_classes = _pool_classes(stall_timeout, connections, tls)
        self._tls = tls
        super().__init__(max_retries=0)

    def cert_verify(self, *args: Any, **kwargs: Any) -> None:
        """Leave it to the context: requests would have each connection read the authorities again."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, blocksize=BLOCK_SIZE, **kwargs)
        self.poolmanager.pool_classes_by_scheme = self._pool_classes

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        if proxy.lower().startswith("https:"):
            kwargs["proxy_ssl_context"] = self._tls.context()
        manager = super().proxy_manager_for(proxy, blocksize=BLOCK_SIZE, **kwargs)
        manager.pool_classes_by_scheme = self._pool_classes
        return manager


def _pool_classes(
    stall_timeout: float, connections: set[ref[HTTPConnection]], tls: _Tls
) -> dict[str, type[HTTPConnectionPool]]:
    """Pools whose connections stop sending after ``stall_timeout`` seconds without room for a byte, and stop reading
    an answer that does not end.

    requests has no such limit: it sends under the connect timeout (protocol section 5, measured). The socket's
    own timeout is the seam; it is set once the headers are out, and urllib3 sets the read timeout after the body.

    TLS holds all that it is given at once against the limit. To give it records of 16 KiB only would cost a fifth of
    its speed, so a :class:`Body` has to give less where it leaves slowly.
    """

    class Response(http.client.HTTPResponse):
        def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
            super().__init__(sock, *args, **kwargs)
            self.fp = io.BufferedReader(_Hurried(self.fp.detach(), sock, stall_timeout))

        def begin(self) -> None:
            super().begin()
            # http.client passes by 100 only; what a 102 or 103 announces would answer the next request
            while self.status < 200 and self.status != 101:
                self.headers = None  # type: ignore[assignment]
                super().begin()
            # nobody asked to switch protocols
            self.will_close |= self.status == 101
            # nobody looks at them, and requests would parse them
            for name in ("Set-Cookie", "Set-Cookie2"):
                del self.headers[name]

    def noted(connection: Any, connect: Callable[[], None]) -> None:
        connection.is_cut = False
        connections.add(ref(connection, connections.discard))
        connect()
        if connection.is_cut:
            raise urllib3.exceptions.NewConnectionError(connection, "cut")

    class Plain(HTTPConnection):
        response_class = Response
        # http.client prints heads of requests and answers wherever somebody has set its own class's
        debuglevel = 0

        def connect(self) -> None:
            noted(self, super().connect)

        def send(self, data: Any) -> None:
            if self.sock is None:
                self.connect()
            # `sendall` has one time limit for all
            left = memoryview(data)
            while left:
                left = left[self.sock.send(left) :]

        def endheaders(self, *args: Any, **kwargs: Any) -> None:
            super().endheaders(*args, **kwargs)
            self.sock.settimeout(stall_timeout)

    class Encrypted(HTTPSConnection):
        response_class = Response
        debuglevel = 0

        @property
        def ssl_context(self) -> ssl.SSLContext:
            """urllib3 asks for it when TCP is connected."""
            return tls.context()

        @ssl_context.setter
        def ssl_context(self, _: ssl.SSLContext | None) -> None:
            """Leave it as it is: urllib3 has none."""

        def connect(self) -> None:
            try:
                noted(self, super().connect)
            except (ssl.SSLError, TimeoutError, ConnectionError) as error:
                # urllib3 does not tell a failed handshake from a connection that failed after the request
                raise urllib3.exceptions.NewConnectionError(self, "no TLS connection") from error

        def send(self, data: Any) -> None:
            try:
                super().send(data)
            except ssl.SSLEOFError:
                # urllib3 goes on to read an answer that came before the body was through, but knows only this error
                raise BrokenPipeError from None

        def endheaders(self, *args: Any, **kwargs: Any) -> None:
            super().endheaders(*args, **kwargs)
            self.sock.settimeout(stall_timeout)

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain

    class EncryptedPool(HTTPSConnectionPool):
        ConnectionCls = Encrypted

    return {"http": PlainPool, "https": EncryptedPool}


class _TooSlowError(TimeoutError):
    """An answer that came, but did not end in time."""


class _Hurried(io.RawIOBase):
    """An answer's bytes. Each may keep us waiting for the socket's time limit, and all of them ``grace`` s longer."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket, grace: float) -> None:
        self._raw = raw
        self._sock = sock
        self._until = time.monotonic() + (sock.gettimeout() or 0.0) + grace

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int | None:
        left = self._until - time.monotonic()
        if left <= 0:
            raise _TooSlowError
        if left >= (self._sock.gettimeout() or 0.0):
            return self._raw.readinto(buffer)
        self._sock.settimeout(left)
        try:
            return self._raw.readinto(buffer)
        except TimeoutError:
            raise _TooSlowError from None

    def readall(self) -> bytes:
        """Refuse: a chunk that claims to have -1 bytes has http.client read to the end, which may never come."""
        raise http.client.HTTPException

    def close(self) -> None:
        self._raw.close()
        super().close()


def _read(response: requests.Response, count: int) -> bytes:
    try:
        data: bytes = response.raw.read(count, decode_content=False)
    except ValueError:
        # http.client reads as many bytes as a chunk claims to have, even if that is below 0
        data = b""
    else:
        return data
    raise http.client.HTTPException


def _is_unreadable(cause: BaseException) -> bool:
    """True for an answer whose head, or chunks, are not as HTTP has them or larger than any server's."""
    if isinstance(cause, urllib3.exceptions.InvalidHeader | urllib3.exceptions.DecodeError):
        return True
    known = (http.client.RemoteDisconnected, http.client.IncompleteRead)
    return isinstance(cause, http.client.HTTPException) and not isinstance(cause, known)


def _translate(error: BaseException, host: str) -> WorkbenchError:
    invalid = (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema, urllib3.exceptions.LocationValueError)
    if isinstance(error, invalid):
        return ConfigurationError(f"The address of {host}, or of the proxy on the way to it, cannot be used.")
    causes = tuple(failures.causes(error))
    # urllib3 forgets that it was connected when the proxy closes without an answer: the request may have gone on
    lost = (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError)
    if isinstance(error, requests.exceptions.ProxyError) and not any(isinstance(cause, lost) for cause in causes):
        return ConnectError(f"The proxy on the way to {host} gave no connection: {failures.reason(error)}.")
    if any(_is_unreadable(cause) for cause in causes):
        return failures.unreadable_answer(host)
    if any(isinstance(cause, _TooSlowError) for cause in causes):
        return failures.slow_answer(host)
    unconnected = (urllib3.exceptions.NewConnectionError, urllib3.exceptions.ConnectTimeoutError)
    silent = (requests.exceptions.ReadTimeout, urllib3.exceptions.ReadTimeoutError)
    return failures.transport_error(
        error,
        host,
        unconnected=any(isinstance(cause, unconnected) for cause in causes),
        silent=any(isinstance(cause, silent) for cause in causes),
    )
