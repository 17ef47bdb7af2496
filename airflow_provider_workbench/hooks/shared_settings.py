"""Settings that the triggers of one process share.

In a triggerer, looking up a connection and masking its secrets are round trips to another process that take tens of
milliseconds (measured on Airflow 3.3.2), one after the other: a thousand triggers would wait a minute for theirs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from airflow_provider_workbench.client.errors import WaitingFailedError
from airflow_provider_workbench.client.settings import Settings

# seconds; triggers that start later look up anew, so that a mended connection counts at once for whoever tries again
LIFETIME = 5.0
LIMIT = 60.0

_SHARED: dict[tuple[asyncio.AbstractEventLoop, str], asyncio.Task[Settings]] = {}


async def shared_settings(conn_id: str, look_up: Callable[[], Awaitable[Settings]]) -> Settings:
    """What ``look_up`` returns, or returned within the last seconds to another who asked for ``conn_id``.

    :raises Exception: what ``look_up`` raises; the next one looks up again
    """
    loop = asyncio.get_running_loop()
    key = loop, conn_id
    task = _SHARED.get(key)
    if task is None:

        async def run() -> Settings:
            try:
                async with asyncio.timeout(LIMIT):
                    return await look_up()
            except TimeoutError:
                # raised outside, so that nothing is chained
                pass
            raise WaitingFailedError(f"Airflow gave no connection {conn_id!r} within {LIMIT:.0f} s.")

        for other in [other for other in _SHARED if other[0].is_closed()]:
            del _SHARED[other]
        task = _SHARED[key] = loop.create_task(run())
        task.add_done_callback(lambda done: _forget_later(key, done))
    # whoever asked first may be cancelled while others wait
    return await asyncio.shield(task)


def forget_shared_settings(conn_id: str, settings: Settings) -> None:
    """Have the next one who asks look up anew, unless another look-up was begun already.

    :param settings: what was of no use
    """
    key = asyncio.get_running_loop(), conn_id
    task = _SHARED.get(key)
    if task is None or not task.done() or task.cancelled() or task.exception() is not None:
        return
    if task.result() is settings:
        del _SHARED[key]


def _forget_later(key: tuple[asyncio.AbstractEventLoop, str], task: asyncio.Task[Settings]) -> None:
    if task.cancelled() or task.exception():
        _forget(key, task)
    else:
        key[0].call_later(LIFETIME, _forget, key, task)


def _forget(key: tuple[asyncio.AbstractEventLoop, str], task: asyncio.Task[Settings]) -> None:
    if _SHARED.get(key) is task:
        del _SHARED[key]
