"""The same as :mod:`session` for asyncio, reading only: pages and websockets, for whoever waits."""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
import threading
from collections.abc import Mapping
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit
from weakref import WeakValueDictionary

import aiohttp

from airflow_provider_workbench.client import failures
from airflow_provider_workbench.client.answers import Answer
from airflow_provider_workbench.client.environment import proxy_for, ssl_context, trusted_authorities
from airflow_provider_workbench.client.errors import (
    ConnectError,
    UnexpectedAnswerError,
    WorkbenchError,
    printable,
)
from airflow_provider_workbench.client.settings import Settings
from airflow_provider_workbench.client.steps import (
    PAGE_LIMIT,
    Step,
    page_request,
    redirect_within,
    step_of_page,
    websocket_request,
)


class AsyncSession:
    """Reads one Workbench over connections that are kept. Use it as an ``async with`` block.

    :param settings: time limits, TLS, and what opens the page
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> AsyncSession:
        settings = self._settings
        context = await asyncio.to_thread(_shared_ssl_context, settings)
        redirects = aiohttp.TraceConfig()
        redirects.on_request_redirect.append(_refuse_redirect)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=context),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            headers={"Accept-Encoding": "identity"},
            timeout=aiohttp.ClientTimeout(
                total=None, sock_connect=settings.connect_timeout, sock_read=settings.stall_timeout
            ),
            trace_configs=[redirects],
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def read_step(self) -> Step:
        """Read the Step from its Workflow's page.

        :raises WorkbenchError: as for :func:`steps.read_step`
        """
        # a large page takes long to parse, and others share this event loop
        return await asyncio.to_thread(step_of_page, await self.read_page(), self._settings)

    async def read_page(self) -> Answer:
        """Read the Workflow's page, whatever it answers.

        :raises TransportError: no answer
        """
        url, headers = page_request(self._settings)
        answer = await self._get(url, headers)
        target = redirect_within(answer, url)
        return await self._get(target, headers) if target else answer

    async def open_websocket(self, message_limit: int) -> aiohttp.ClientWebSocketResponse[Any]:
        """Open the Workflow's websocket. Pings are left to be answered by the caller.

        :param message_limit: bytes; a longer message is an error
        :raises UnexpectedAnswerError: the handshake was answered with another status than 101
        :raises TransportError: no answer
        """
        assert self._session is not None, "use it as an async with block"
        url, headers = websocket_request(self._settings)
        failure: WorkbenchError | None = None
        try:
            async with asyncio.timeout(self._most_seconds) as limit:
                return await self._session.ws_connect(
                    url, headers=headers, proxy=proxy_for(url), autoping=False, max_msg_size=message_limit
                )
        except (aiohttp.WSServerHandshakeError, _RedirectedError) as error:
            host = printable(urlsplit(url).netloc, 100)
            failure = UnexpectedAnswerError(f"{host} answered {error.status} to a websocket.", status=error.status)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            failure = _transport_error(error, url, slow=limit.expired())
        raise failure

    @property
    def _most_seconds(self) -> float:
        """As :mod:`session` has it: connected, begun and ended, each in its time."""
        return self._settings.connect_timeout + 2 * self._settings.stall_timeout

    async def _get(self, url: str, headers: Mapping[str, str]) -> Answer:
        assert self._session is not None, "use it as an async with block"
        failure: WorkbenchError | None = None
        proxy = proxy_for(url)
        try:
            async with (
                asyncio.timeout(self._most_seconds) as limit,
                self._session.get(url, headers=headers, allow_redirects=False, proxy=proxy) as response,
            ):
                body = bytearray()
                async for block in response.content.iter_any():
                    body += block
                    if len(body) > PAGE_LIMIT:
                        break
                lowered = {name.lower(): value for name, value in response.headers.items()}
                whole = bytes(memoryview(body)[:PAGE_LIMIT])
                return Answer(response.status, lowered, whole, cut=len(body) > PAGE_LIMIT)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            failure = _transport_error(error, url, slow=limit.expired())
        raise failure


def _transport_error(error: BaseException, url: str, *, slow: bool) -> WorkbenchError:
    host = urlsplit(url).hostname or "the host"
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return ConnectError(
            f"The proxy on the way to {host} gave no connection: it answered {failures.status_words(error.status)}.",
            status=error.status,
        )
    if slow:
        return failures.slow_answer(host)
    if isinstance(error, aiohttp.ClientResponseError):
        return failures.unreadable_answer(host)
    return failures.transport_error(
        error,
        host,
        unconnected=isinstance(
            error,
            aiohttp.ClientConnectorError | aiohttp.ClientProxyConnectionError | aiohttp.ConnectionTimeoutError,
        ),
        silent=isinstance(error, TimeoutError),
    )


class _RedirectedError(Exception):
    def __init__(self, status: int) -> None:
        super().__init__()
        self.status = status


async def _refuse_redirect(_: Any, __: Any, params: aiohttp.TraceRequestRedirectParams) -> None:
    """aiohttp follows a handshake's redirects – with the secret link, to any host – and takes no word against it."""
    params.response.close()
    raise _RedirectedError(params.response.status)


# a context with the usual authorities is 0.7 MB and 30 ms (measured), and a triggerer may hold a hundred sockets
_CONTEXTS: WeakValueDictionary[tuple[Any, ...], ssl.SSLContext] = WeakValueDictionary()
_CONTEXTS_LOCK = threading.Lock()


def _shared_ssl_context(settings: Settings) -> ssl.SSLContext:
    """:func:`environment.ssl_context`, one for all who use it at the same time, until one of its files changes."""
    files = (trusted_authorities(settings), settings.client_cert, settings.client_key)
    key = (settings.verify_tls, *((file, _modified(file)) for file in files))
    with _CONTEXTS_LOCK:
        context = _CONTEXTS.get(key)
        if context is None:
            context = _CONTEXTS[key] = ssl_context(settings)
        return context


def _modified(file: str | None) -> float | None:
    with contextlib.suppress(OSError):
        return os.stat(file).st_mtime if file else None
    return None
