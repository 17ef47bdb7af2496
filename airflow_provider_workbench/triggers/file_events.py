"""``WorkbenchFileEventTrigger``: tells an asset's watcher of every new File in a Step, so that DAGs start."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow.triggers.base import BaseTrigger, TriggerEvent

if TYPE_CHECKING:
    from airflow_provider_workbench.client.endpoint import Endpoint
    from airflow_provider_workbench.client.steps import Step
    from airflow_provider_workbench.triggers.seen_files import SeenFiles

try:
    from airflow.triggers.base import BaseEventTrigger as _EventTrigger
except ImportError:  # Airflow 2

    class _EventTrigger(BaseTrigger):  # type: ignore[no-redef]
        def __init__(self) -> None:
            from airflow.providers.common.compat.sdk import AirflowOptionalProviderFeatureException

            raise AirflowOptionalProviderFeatureException(
                "WorkbenchFileEventTrigger needs Airflow 3: Airflow 2 has no asset watchers. Let a DAG with a schedule "
                "wait for the File with WorkbenchFileSensor(filename=…, since=…, deferrable=True)."
            )


_FIRST_PAUSE = 15.0
_LONGEST_PAUSE = 600.0
# what could not be stored is tried again after so long, even if no File comes
_STORE_AGAIN = 30.0

# The triggerer collects events every second, and handles what a trigger asks of it strictly one after the other: what
# is stored so much later than the event was given is stored after the event (triggerer_job_runner, read in 3.3.2).
_UNTIL_EVENTS_ARE_STORED = 3.0

# The scheduler gives a run the events up to the one that queued it. Those that come after it, and before the scheduler
# has made the run, start none: they wait for the asset's next event (seen on 3.1.8, read in 3.3.2). So let it make one.
_BETWEEN_EVENTS = 10.0


class WorkbenchFileEventTrigger(_EventTrigger):
    """One event per new File in the Step, for an ``AssetWatcher``. Airflow 3 only::

        Asset("budgets", watchers=[AssetWatcher(name="new_file", trigger=WorkbenchFileEventTrigger(filename="*.xlsx"))])

    An event's payload is ``{"uuid", "name", "size", "created_at"}`` (bytes; ISO 8601); of several Files the oldest
    comes first, and the next ten seconds later, because the scheduler may forget events that are closer together until
    the next one. The Step is watched meanwhile, so a crowd of Files has its events, if late. Still a run
    can have several (after ``max_active_runs`` held it up, say): a DAG must look at all of
    its ``triggering_asset_events``. While every DAG that the asset starts is paused, Airflow does not run this trigger.

    **Which Files.** Those that come after the Step was read for the first time; what is there at that moment is not
    new. From Airflow 3.3 on, what has been seen is kept in the asset's ``asset_state_store``: Files that came while
    the triggerer was down, the DAG paused or the Step unreadable have their events afterwards (if the Step still lists
    them: it keeps 30), and no File has a second one – but if the triggerer ends within three seconds of an event, that
    event may come twice. Files that wait for their event are kept there, too, the oldest 200 or so of them. Airflow 3.0
    to 3.2 has no such store, and a restart cannot be told from a first start: every start of the trigger tells of all
    Files that the Step lists. Of those nothing is missed (a File that waited for its event and is no longer listed is),
    and the DAG must bear a File that comes again.

    **Trouble.** An event trigger has no task that could fail, and Airflow starts one that ends again at once. So this
    one never ends: what passes by itself is waited out; what does not (the Step was deleted, or cannot be read, or the
    connection is wrong) is an error in the triggerer's log, repeated every ten minutes at most. Each time the
    connection is read anew, so it goes on within ten minutes of somebody's mending it. (Otherwise a changed connection
    is noticed when the triggerer starts the next time.)

    Its arguments are kept in the database, and hold no secret. Assets with equal arguments share one trigger, and one
    memory with it: what one asset was told of while all DAGs of the other were paused, the other is not told of
    afterwards. Different ``poke_interval`` values (60 and 61, say) keep their triggers apart.

    :param workbench_conn_id: a connection of type ``workbench``; it must be able to read the Step
    :param filename: name or pattern (``budget-*.xlsx``) of the Files that count; case counts
    :param poke_interval: seconds, or a timedelta, between two looks at the page, where websockets do not get through
    :raises AirflowOptionalProviderFeatureException: this is Airflow 2
    :raises TypeError: ``filename`` or ``poke_interval`` cannot work
    """

    def __init__(
        self,
        workbench_conn_id: str = "workbench_default",
        filename: str = "*",
        poke_interval: float | timedelta = 60,
    ) -> None:
        super().__init__()
        # here, since no task of it could fail: whoever wrote the DAG would wait for ever. And no other kind of error,
        # which the triggerer would not survive (read in 3.3.2)
        if not isinstance(filename, str) or not filename.strip():
            raise TypeError(f"filename must be a File's name or a pattern, such as '*', not {filename!r:.60}.")
        if isinstance(poke_interval, timedelta):
            poke_interval = poke_interval.total_seconds()
        if isinstance(poke_interval, bool) or not isinstance(poke_interval, int | float):
            raise TypeError(f"poke_interval must be a number of seconds, or a timedelta, not {poke_interval!r:.60}.")
        self.workbench_conn_id = workbench_conn_id
        self.filename = filename
        self.poke_interval = poke_interval
        self._seen: SeenFiles | None = None
        self._stored: SeenFiles | None = None
        self._pause = _FIRST_PAUSE
        self._reading: asyncio.Task[None] | None = None

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Everything that another triggerer needs to go on; equal for triggers that do the same."""
        return (
            "airflow_provider_workbench.triggers.workbench.WorkbenchFileEventTrigger",
            {
                "workbench_conn_id": self.workbench_conn_id,
                "filename": self.filename,
                "poke_interval": self.poke_interval,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Yield an event per new File. Ends only when it is cancelled."""
        from airflow_provider_workbench.triggers.seen_files import payload

        news = asyncio.Event()
        # on its own: while events keep their distance, more Files may come than a Step lists
        self._reading = reading = asyncio.create_task(self._keep_reading(news))
        reading.add_done_callback(lambda _: news.set())
        next_event = 0.0
        try:
            while not reading.done():
                pending = self._seen.pending if self._seen else ()
                left = max(0.0, next_event - time.monotonic()) if pending else None
                if left == 0:
                    file = pending[0]
                    self.log.info("%s: new File %r, uuid %r", self._label, file.name, file.uuid)
                    yield TriggerEvent(payload(file))
                    next_event = time.monotonic() + _BETWEEN_EVENTS
                    if self._stores:
                        # stored before the event is, a File would be missed if the triggerer died in between
                        await asyncio.sleep(_UNTIL_EVENTS_ARE_STORED)
                    self._seen = self._seen and self._seen.with_told(file)
                    await self._store()
                else:
                    news.clear()
                    await self._store()
                    if self._stores and self._seen != self._stored:
                        left = _STORE_AGAIN if left is None else min(left, _STORE_AGAIN)
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(left):
                            await news.wait()
            reading.result()
        finally:
            await self._stop_reading()

    async def cleanup(self) -> None:
        """Stop watching. Called by Airflow when the trigger has ended, however it did."""
        await self._stop_reading()

    async def _stop_reading(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait([self._reading])

    async def _keep_reading(self, news: asyncio.Event) -> None:
        """Note new Files, and overcome whatever comes between."""
        from airflow.providers.common.compat.sdk import AirflowNotFoundException

        from airflow_provider_workbench.client.errors import WorkbenchError, where_from

        while True:
            try:
                await self._read(news)
                trouble = "Watching the Step ended."
            except (WorkbenchError, AirflowNotFoundException) as error:
                trouble = str(error)
            except Exception as error:
                trouble = where_from(error)
            self.log.error(
                "%s: new Files start no DAG at present. %s Trying again in %.0f s.", self._label, trouble, self._pause
            )
            await asyncio.sleep(self._pause)
            self._pause = min(2 * self._pause, _LONGEST_PAUSE)

    async def _read(self, news: asyncio.Event) -> None:
        from airflow_provider_workbench.client.watch import watch_step
        from airflow_provider_workbench.hooks.workbench import WorkbenchHook

        # fresh: the connection may have been mended meanwhile
        settings = await WorkbenchHook(self.workbench_conn_id).aget_settings(fresh=True)
        name = _name(settings.endpoint)
        async with watch_step(settings, poke_interval=max(1.0, self.poke_interval), log=self.log.info) as states:
            async for step in states:
                seen = self._seen
                if seen is None or seen.step != name:
                    seen = await self._at_start(settings.endpoint, step)
                self._seen = seen.with_new(step, self.filename)
                self._pause = _FIRST_PAUSE
                news.set()

    async def _at_start(self, endpoint: Endpoint, step: Step) -> SeenFiles:
        """What was seen of this Step before this trigger started, or looked at another one."""
        from airflow_provider_workbench.triggers.seen_files import SeenFiles

        name = _name(endpoint)
        # a trigger that several assets share has told all of them of a File that any of them remembers
        kept = [SeenFiles.from_stored(await store.aget(self._key)) for store in self._stores]
        known = [each for each in (self._seen, *kept) if each is not None]
        told = {uuid for each in known for uuid in each.uuids}
        elsewhere = {file.uuid for each in known if each.step != name for file in each.pending} - told
        if elsewhere:
            self.log.warning(
                "%s: the connection leads to another Step now. %s Files of the earlier one had no event yet, and have "
                "none any more.",
                self._label,
                len(elsewhere),
            )
        if not self._stores:
            self.log.warning(
                "%s: this Airflow has no asset_state_store, so all Files that the Step lists (%s) are told of, also "
                "those that an earlier start told of.",
                self._label,
                len(step.files),
            )
            return SeenFiles(name)
        mine = [each for each in known if each.step == name]
        if not mine:
            self.log.info("%s: waiting for new Files, beside the %s that are there.", self._label, len(step.files))
            return SeenFiles(name).with_all(step)
        self.log.info("%s: waiting for new Files, going on from what was seen before.", self._label)
        return mine[0].with_others(mine[1:])

    async def _store(self) -> None:
        seen = self._seen
        if seen is None or seen == self._stored:
            return
        failures = []
        for store in self._stores:
            try:
                await store.aset(self._key, seen.as_dict())
            except Exception as error:
                failures.append(f"{type(error).__name__}: {error}")
        if failures:
            self.log.warning(
                "%s: what was seen could not be kept (%s). If the triggerer restarts now, Files may be missed or come "
                "twice.",
                self._label,
                "; ".join(dict.fromkeys(failures)),
            )
        else:
            self._stored = seen

    @property
    def _stores(self) -> list[Any]:
        """The state stores of the assets that are watched; none below Airflow 3.3."""
        accessors = getattr(self, "asset_state_store", None)
        if accessors is None:
            return []
        # with more than one asset it wants them as keys, and does not tell the trigger which they are
        found = (*getattr(accessors, "_by_name", {}).values(), *getattr(accessors, "_by_uri", {}).values())
        return list(found) or [accessors]

    @property
    def _key(self) -> str:
        # an asset can have several of these triggers. 512 characters is what Airflow's table takes
        return f"workbench_files_seen/{self.workbench_conn_id}/{self.filename}"[:512]

    @property
    def _label(self) -> str:
        return f"Watching {self.workbench_conn_id} for {self.filename!r}"


def _name(endpoint: Endpoint) -> str:
    """Of a Step, among those of all Workbenches."""
    return f"{urlsplit(endpoint.origin).netloc}/{endpoint.workflow_id}/{endpoint.step_slug}"
