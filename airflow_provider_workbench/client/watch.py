"""Waits on a Step: one websocket per Workflow, however many wait.

For asyncio. Whoever waits at the same time, in the same event loop, on Steps of the same Workflow with the same
credentials and TLS settings shares one :class:`~airflow_provider_workbench.client.watcher.Watcher`.
"""

from __future__ import annotations

import asyncio
import contextvars
import traceback
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from airflow_provider_workbench.client.errors import ConfigurationError, WaitingFailedError, WorkbenchError
from airflow_provider_workbench.client.settings import FINISH_TIMEOUT, RETRY_BUDGET, Settings
from airflow_provider_workbench.client.steps import Step
from airflow_provider_workbench.client.subscriptions import Subscription
from airflow_provider_workbench.client.watcher import Watcher


@asynccontextmanager
async def watch_step(
    settings: Settings, *, poke_interval: float, log: Callable[[str], None]
) -> AsyncIterator[AsyncIterator[Step]]:
    """Watch a Step. Gives an iterator of its present state, as soon as it is known, and then of every newer one.

    States that a slow reader did not take in time are skipped: it gets the newest. What another try may mend (a lost
    connection, a server that is down) is logged and overcome for as long as the iteration lasts; set a time limit
    around it. Where websockets cannot pass it reads the page, and says so once.

    The iteration raises :class:`~airflow_provider_workbench.client.errors.WorkbenchError` where there is nothing to
    wait for any more: the Step or its Workflow is gone (``StepGoneError``), access was lost (``StepUnreadableError``),
    no trusted connection is made (``TlsError``), or the settings cannot work (``ConfigurationError``). What only an
    HTTP status says of the first two, and a failed handshake, must come twice, 10 to 30 s apart.

    :param settings: which Step, and how it is read
    :param poke_interval: seconds between two looks at the page, at most, where websockets cannot pass
    :param log: takes a line for the log, without secrets; called by the iteration
    :raises ConfigurationError: ``poke_interval`` is not above 0
    """
    if not poke_interval > 0:
        raise ConfigurationError(f"poke_interval must be a number of seconds above 0, not {poke_interval}.")
    key = asyncio.get_running_loop(), _of_workflow(settings)
    watch = _WATCHES.get(key) or _Watch(key)
    subscription = Subscription(settings.endpoint, poke_interval, log)
    watch.watcher.join(subscription)
    try:
        yield subscription
    finally:
        watch.watcher.subscriptions.discard(subscription)
        if not watch.watcher.subscriptions:
            await watch.end()


def reads_alike(one: Settings, other: Settings) -> bool:
    """True if both read the same Step in the same way: what the one could not read, the other cannot."""
    return _of_workflow(one) == _of_workflow(other) and one.endpoint.step_slug == other.endpoint.step_slug


_Key = tuple[asyncio.AbstractEventLoop, Settings]
_WATCHES: dict[_Key, _Watch] = {}


def _of_workflow(settings: Settings) -> Settings:
    """The settings without what is of no use for reading: equal for all who can share a websocket."""
    return replace(
        settings,
        endpoint=replace(settings.endpoint, step_slug=""),
        token="",
        token_place="",
        chunk_size=None,
        finish_timeout=FINISH_TIMEOUT,
        retry_budget=RETRY_BUDGET,
        show_secret_link=False,
        warnings=(),
    )


class _Watch:
    """A watcher at work. It is found by its key as long as others can join."""

    def __init__(self, key: _Key) -> None:
        loop, settings = key
        self.watcher = Watcher(settings)
        self._key = key
        # in a context of its own: it outlives the first waiter, whose context holds that one's log
        self._task = loop.create_task(self.watcher.run(), context=contextvars.Context())
        self._task.add_done_callback(self._ended)
        _WATCHES[key] = self

    async def end(self) -> None:
        """Close the websocket. Whoever comes now gets another."""
        self._forget()
        self._task.cancel()
        await asyncio.wait((self._task,))

    def _forget(self) -> None:
        if _WATCHES.get(self._key) is self:
            del _WATCHES[self._key]

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._forget()
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        if not isinstance(error, WorkbenchError):
            error = _unexpected(error)
        self.watcher.subscriptions.fail(error)


def _unexpected(error: BaseException | None) -> WaitingFailedError:
    """Where it happened, but not its text, which may hold anything."""
    place = next(iter(traceback.extract_tb(error.__traceback__)[-1:]), None) if error else None
    where = f" in {Path(place.filename).name}, line {place.lineno}" if place else ""
    return WaitingFailedError(f"Watching the Step failed: {type(error).__name__}{where}.")
