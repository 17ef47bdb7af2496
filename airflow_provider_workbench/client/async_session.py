"""The same as :mod:`session` for asyncio, reading only: pages, for whoever waits."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from types import TracebackType
from urllib.parse import urlsplit

import aiohttp

from airflow_provider_workbench.client import failures
from airflow_provider_workbench.client.answers import Answer
from airflow_provider_workbench.client.environment import proxy_for, ssl_context
from airflow_provider_workbench.client.errors import ConnectError, WorkbenchError, printable
from airflow_provider_workbench.client.settings import Settings
from airflow_provider_workbench.client.steps import PAGE_LIMIT, Step, page_request, redirect_within, step_of_page


class AsyncSession:
    """Reads pages of one Workbench over a connection that is kept. Use it as an ``async with`` block.

    :param settings: time limits, TLS, and what opens the page
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> AsyncSession:
        settings = self._settings
        context = await asyncio.to_thread(ssl_context, settings)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=context),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            headers={"Accept-Encoding": "identity"},
            timeout=aiohttp.ClientTimeout(
                total=None, sock_connect=settings.connect_timeout, sock_read=settings.stall_timeout
            ),
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
        url, headers = page_request(self._settings)
        answer = await self._get(url, headers)
        target = redirect_within(answer, url)
        if target:
            answer = await self._get(target, headers)
        return step_of_page(answer, self._settings)

    async def _get(self, url: str, headers: Mapping[str, str]) -> Answer:
        assert self._session is not None, "use it as an async with block"
        failure: WorkbenchError | None = None
        try:
            async with self._session.get(url, headers=headers, allow_redirects=False, proxy=proxy_for(url)) as response:
                body = bytearray()
                async for block in response.content.iter_any():
                    body += block
                    if len(body) > PAGE_LIMIT:
                        break
                lowered = {name.lower(): value for name, value in response.headers.items()}
                return Answer(response.status, lowered, bytes(body[:PAGE_LIMIT]))
        except aiohttp.ClientHttpProxyError as error:
            host = urlsplit(url).hostname
            failure = ConnectError(
                f"The proxy on the way to {host} gave no connection: it answered {error.status} "
                f"{printable(error.message, 100)}.",
                status=error.status,
            )
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            failure = failures.transport_error(
                error,
                urlsplit(url).hostname or "the host",
                unconnected=isinstance(
                    error,
                    aiohttp.ClientConnectorError | aiohttp.ClientProxyConnectionError | aiohttp.ConnectionTimeoutError,
                ),
                silent=isinstance(error, TimeoutError),
            )
        raise failure
