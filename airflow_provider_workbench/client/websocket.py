"""One websocket of a Workflow: opened, listened to, closed."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from airflow_provider_workbench.client.answers import MOST_VALUES, values_in
from airflow_provider_workbench.client.async_session import AsyncSession
from airflow_provider_workbench.client.errors import ConnectionLostError, UnexpectedAnswerError
from airflow_provider_workbench.client.settings import Settings
from airflow_provider_workbench.client.step_messages import change_of, is_complete
from airflow_provider_workbench.client.steps import PAGE_LIMIT

# the server pings every 20 s (protocol section 4)
SILENCE_LIMIT = 60.0

# the complete state comes at once (protocol section 4), so this is for what pretends to be a Workbench
FIRST_MESSAGE_LIMIT = 20.0

# bytes, as of a page, which says the same; parsing so many takes some 0.1 s, in which no other trigger of the process
# moves
MESSAGE_LIMIT = PAGE_LIMIT

# bytes and JSON values that one socket may say in all, each message counted with some overhead: a watcher merges them,
# and reads on between other triggers. A Workflow in use says some KB now and then, and sockets are renewed anyway
FLOOD = 2 * MESSAGE_LIMIT
FLOOD_VALUES = 2 * MOST_VALUES
_OVERHEAD = 256

# seconds for the server to take a pong
PONG_LIMIT = 10.0


class WorkflowSocket:
    """A Workflow's websocket, over a connection of its own. Close it in any case.

    :param settings: time limits, TLS, and what opens the Workflow
    """

    def __init__(self, settings: Settings) -> None:
        self._host = urlsplit(settings.endpoint.origin).hostname or "the host"
        self._session = AsyncSession(settings)
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._raw: socket.socket | None = None
        self._heard = 0.0
        self._bytes = 0
        self._values = 0

    async def open(self, within: float | None = None) -> dict[str, Any]:
        """Connect. Returns every Step's complete JSON by its number.

        :param within: seconds for all of it; None: the settings' limits for each part
        :raises UnexpectedAnswerError: the handshake was refused, or no complete state came
        :raises ConnectError: no connection
        :raises ConnectionLostError: it ended, or time was over, before the complete state came
        """
        try:
            async with asyncio.timeout(within):
                return await self._open()
        except TimeoutError:
            # raised outside, so that nothing is chained
            pass
        raise ConnectionLostError(f"The websocket of {self._host} did not open within {within:g} s.")

    async def _open(self) -> dict[str, Any]:
        await self._session.__aenter__()
        self._socket = await self._session.open_websocket(MESSAGE_LIMIT)
        self._raw = self._socket.get_extra_info("socket")
        loop = asyncio.get_running_loop()
        self._heard = loop.time()
        until = self._heard + FIRST_MESSAGE_LIMIT
        while change := await self.receive(until):
            if is_complete(change):
                return dict(change["updateSteps"])
        raise UnexpectedAnswerError(
            f"The websocket of {self._host} did not begin with the Workflow's state, as Workbench's does."
        )

    async def receive(self, until: float) -> dict[str, Any] | None:
        """The next change; None if there was none by ``until`` (the event loop's time).

        Messages that Workbench does not send are skipped.

        :raises ConnectionLostError: the socket was closed, or is so silent that it must be dead
        :raises UnexpectedAnswerError: it broke the websocket protocol, or a message, or all of them together, are more
            than any of Workbench's
        """
        assert self._socket is not None, "open it first"
        loop = asyncio.get_running_loop()
        while (now := loop.time()) < until:
            silent_at = self._heard + SILENCE_LIMIT
            if now >= silent_at:
                raise ConnectionLostError(f"The websocket of {self._host} fell silent: not even a ping.")
            try:
                message = await self._socket.receive(min(until, silent_at) - now)
            except TimeoutError:
                continue
            self._heard = loop.time()
            self._count(message.data)
            # what is there already is received without a pause, and others share this event loop
            await asyncio.sleep(0)
            if message.type is aiohttp.WSMsgType.TEXT:
                if change := change_of(message.data, counted=True):
                    return change
            elif message.type is aiohttp.WSMsgType.PING:
                await self._pong(message.data)
            elif message.type is aiohttp.WSMsgType.ERROR:
                raise UnexpectedAnswerError(f"The websocket of {self._host} sent too much, or what cannot be read.")
            elif message.type not in (aiohttp.WSMsgType.PONG, aiohttp.WSMsgType.BINARY):
                raise ConnectionLostError(f"The websocket of {self._host} was closed.")
        return None

    def _count(self, data: Any) -> None:
        if isinstance(data, str | bytes):
            self._bytes += len(data)
        self._bytes += _OVERHEAD
        values = values_in(data) if isinstance(data, str) else 0
        self._values += values
        # one that is not parsed may have held what is waited for: the next socket begins with all of it
        if self._bytes > FLOOD or self._values > FLOOD_VALUES or values > MOST_VALUES:
            raise UnexpectedAnswerError(f"The websocket of {self._host} says more than any Workbench's.")

    async def close(self) -> None:
        """Close it, without waiting for the server."""
        try:
            if self._socket is not None:
                # aiohttp would wait for the server's word, for as long as it says anything else
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0):
                        await self._socket.close()
        finally:
            try:
                if self._raw is not None:
                    # what the server does not take would keep the connection; uvloop's sockets cannot
                    with contextlib.suppress(OSError, TypeError):
                        self._raw.shutdown(socket.SHUT_RDWR)
            finally:
                await self._session.__aexit__(None, None, None)

    async def _pong(self, data: bytes) -> None:
        assert self._socket is not None
        # sent by hand: what answers pings of itself keeps them from us, and they are the sign of life
        try:
            async with asyncio.timeout(PONG_LIMIT):
                await self._socket.pong(data)
        except (aiohttp.ClientError, OSError):
            lost = True
        else:
            lost = False
        if lost:
            raise ConnectionLostError(f"The websocket of {self._host} was closed.")
