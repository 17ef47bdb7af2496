"""Follows one Workflow for all who wait on its Steps: by its websocket, or where none can pass by its page."""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
from collections.abc import Mapping
from typing import Any

from airflow_provider_workbench.client.async_session import AsyncSession
from airflow_provider_workbench.client.backoff import Backoff
from airflow_provider_workbench.client.errors import ConnectError, TlsError, WorkbenchError
from airflow_provider_workbench.client.settings import Settings
from airflow_provider_workbench.client.step_messages import WorkflowSteps
from airflow_provider_workbench.client.steps import ends_a_wait, pause_before_next_look, steps_of_page
from airflow_provider_workbench.client.subscriptions import Subscription, Subscriptions, still_trying
from airflow_provider_workbench.client.websocket import WorkflowSocket

# seconds, about: a deleted Workflow leaves its socket open and silent, pings aside (protocol section 4)
SOCKET_AGE = 600.0

# seconds between two tries to connect: doubled from the first to the longest, by a socket that did not last so long
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 30.0
LASTING = 10.0

# so many handshakes fail in a row while the page answers, before it is said that websockets cannot pass; then a
# websocket is tried again after so many seconds, doubled up to the age at which one would be renewed
REFUSALS = 3
FIRST_RETRIAL = 120.0
# seconds that it may take to open, since nothing is seen meanwhile
RETRIAL_LIMIT = 10.0

# seconds between two looks at the page, doubled up to poke_interval: most Files are rendered within seconds
FIRST_POKE = 1.0


class Watcher:
    """One Workflow, read with one set of credentials.

    :param settings: of any Step of the Workflow; which one does not matter
    """

    def __init__(self, settings: Settings) -> None:
        self.subscriptions = Subscriptions()
        self._settings = settings
        self._steps = WorkflowSteps()
        self._is_live = False
        self._blocked = ""
        self._trouble = ""
        self._poke = FIRST_POKE
        self._joined = asyncio.Event()

    def join(self, subscription: Subscription) -> None:
        """Tell it the present state, at once if a websocket is open, and every newer one."""
        self.subscriptions.add(subscription)
        if self._is_live:
            self.subscriptions.publish(self._steps, subscription)
        for standing in filter(None, (self._blocked, self._trouble)):
            subscription.note(standing)
        self._joined.set()

    async def run(self) -> None:
        """Follow the Workflow until cancelled.

        :raises WorkbenchError: it is gone or unreadable, or the settings cannot work; no other try mends it
        """
        pauses = Backoff(math.inf, first=FIRST_PAUSE, longest=LONGEST_PAUSE)
        retrials = Backoff(math.inf, first=FIRST_RETRIAL, longest=SOCKET_AGE)
        refusals = 0
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            trouble = await self._follow()
            if self._is_live:
                self._is_live = False
                refusals = 0
                retrials.progress()
                if loop.time() - began >= LASTING:
                    pauses.progress()
            elif isinstance(trouble, ConnectError) and trouble.retryable:
                # the page is behind the same connection
                self._note_trouble(trouble)
            else:
                async with AsyncSession(self._settings) as session:
                    refusals += await self._look(session)
            if refusals < REFUSALS:
                await asyncio.sleep(pauses.pause() or 0)
            else:
                self._note_blocked(trouble)
                await self._poll(retrials.pause() or 0)

    async def _follow(self) -> WorkbenchError:
        """Open the websocket and pass on what it says until it ends. Returns what ended it."""
        loop = asyncio.get_running_loop()
        socket = WorkflowSocket(self._settings)
        try:
            self._take(await socket.open(within=RETRIAL_LIMIT if self._blocked else None))
            self._is_live = True
            self._blocked = ""
            while True:
                renewal = loop.time() + SOCKET_AGE * random.uniform(0.8, 1.2)
                while change := await socket.receive(renewal):
                    self._steps.merge(change)
                    self.subscriptions.publish(self._steps)
                # the old one stays open until then, so that nothing is late
                old, socket = socket, WorkflowSocket(self._settings)
                try:
                    # nobody listens to the old one meanwhile
                    steps = await socket.open(within=RETRIAL_LIMIT)
                finally:
                    await old.close()
                self._take(steps)
        except WorkbenchError as error:
            # of a handshake that fails the page decides, which is looked at twice
            if not error.retryable and not isinstance(error, TlsError):
                raise
            return error
        finally:
            await socket.close()

    async def _poll(self, seconds: float) -> None:
        """Read the page again and again for so long."""
        until = asyncio.get_running_loop().time() + seconds
        async with AsyncSession(self._settings) as session:
            while (left := until - asyncio.get_running_loop().time()) > 0:
                longest = self.subscriptions.poke_interval
                await self._pause(min(self._poke, longest, left))
                self._poke = min(2 * self._poke, longest)
                await self._look(session)

    async def _pause(self, seconds: float) -> None:
        """Wait, but no longer than the first pause if somebody joins: who has seen nothing yet looks soon."""
        await asyncio.sleep(min(seconds, FIRST_POKE))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds - FIRST_POKE):
                await self._joined.wait()
                self._poke = FIRST_POKE

    async def _look(self, session: AsyncSession, *, again: bool = False) -> bool:
        """Read the page and pass on what it says. False if it could not be read this time.

        Takes as long as the answer asks for, and looks twice before it is taken for the end.
        """
        self._joined.clear()
        try:
            # a large page takes long to parse, and other triggers share this event loop
            steps = await asyncio.to_thread(steps_of_page, await session.read_page(), self._settings)
        except WorkbenchError as error:
            if ends_a_wait(error, again=again):
                raise
            failure = error
        else:
            self._take(steps)
            return True
        self._note_trouble(failure)
        await asyncio.sleep(pause_before_next_look(failure))
        return not failure.retryable and await self._look(session, again=True)

    def _take(self, steps: Mapping[str, Any]) -> None:
        """Pass on a complete state."""
        self._trouble = ""
        self._steps.replace(steps)
        if self.subscriptions.publish(self._steps):
            self._poke = FIRST_POKE

    def _note_trouble(self, error: WorkbenchError) -> None:
        self._trouble = still_trying(error)
        self.subscriptions.note(self._trouble)

    def _note_blocked(self, error: WorkbenchError) -> None:
        if not self._blocked:
            self._blocked = (
                f"No websocket to Workbench: {error} The Workflow's page can be read, so it is read again and again "
                "instead, which sees a File later and costs requests. Let the proxies on the way pass websockets."
            )
            self.subscriptions.note(self._blocked)
