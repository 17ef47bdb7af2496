"""Who waits on the Steps of a Workflow, and what each has yet to be told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

from airflow_provider_workbench.client.endpoint import Endpoint
from airflow_provider_workbench.client.errors import UnexpectedAnswerError, WorkbenchError, error_from_dict
from airflow_provider_workbench.client.step_messages import WorkflowSteps
from airflow_provider_workbench.client.steps import Step, missing_step

# of what went wrong while nobody read; the newest say enough
_MOST_NOTES = 5


class Subscription(AsyncIterator[Step]):
    """What one waiter is told: the newest state of its Step, notes for its log, and an error that ends it.

    A waiter that is slow gets the newest state only. Its log is written in its own task: a triggerer finds a log
    line's trigger by the task's context.

    :param endpoint: which Step
    :param poke_interval: seconds between two looks at the page, where websockets cannot pass
    :param log: takes a line that says what is overcome, without secrets
    """

    __slots__ = ("_error", "_log", "_note", "_notes", "_reader", "_step", "endpoint", "poke_interval", "told")

    def __init__(self, endpoint: Endpoint, poke_interval: float, log: Callable[[str], None]) -> None:
        self.endpoint = endpoint
        self.poke_interval = poke_interval
        self.told: Step | None = None
        self._log = log
        # a tuple and a future: thousands wait at a time, and a deque or an event is 0.7 KB
        self._notes: tuple[str, ...] = ()
        self._note = ""
        self._reader: asyncio.Future[None] | None = None
        self._step: Step | None = None
        self._error: WorkbenchError | None = None

    def tell(self, step: Step) -> bool:
        """Hand over a state. False if it is the one that was handed over last."""
        if step is self.told:
            return False
        self.told = self._step = step
        self._note = ""
        self._wake()
        return True

    def note(self, text: str) -> None:
        """Have something logged, once in a row. Afterwards even a state that did not change is news again."""
        if text != self._note:
            self._note = text
            self.told = None
            self._notes = (*self._notes, text)[-_MOST_NOTES:]
            self._wake()

    def fail(self, error: WorkbenchError) -> None:
        """End it, once all that was handed over before is read."""
        # one of its own: raising writes into it
        self._error = self._error or error_from_dict(error.as_dict())
        self._wake()

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    async def __anext__(self) -> Step:
        while True:
            notes, self._notes = self._notes, ()
            for note in notes:
                self._log(note)
            step, self._step = self._step, None
            if step is not None:
                return step
            if self._error is not None:
                raise self._error
            self._reader = asyncio.get_running_loop().create_future()
            await self._reader


class Subscriptions:
    """All who wait on one Workflow."""

    def __init__(self) -> None:
        self._all: set[Subscription] = set()

    def __bool__(self) -> bool:
        return bool(self._all)

    def add(self, subscription: Subscription) -> None:
        """Tell it from now on."""
        self._all.add(subscription)

    def discard(self, subscription: Subscription) -> None:
        """Tell it no more."""
        self._all.discard(subscription)

    @property
    def poke_interval(self) -> float:
        """Seconds: the most impatient one's."""
        return min((each.poke_interval for each in self._all), default=1.0)

    def publish(self, steps: WorkflowSteps, only: Subscription | None = None) -> bool:
        """Tell each the state of its Step, or that there is no such Step.

        :param only: tell no other
        :return: True if that was news to any
        """
        news = False
        for each in self._all if only is None else (only,):
            try:
                step = steps.get(each.endpoint.step_slug)
            except UnexpectedAnswerError as error:
                each.note(still_trying(error))
                continue
            if step is None:
                each.fail(missing_step(each.endpoint))
            elif each.tell(step):
                news = True
        return news

    def note(self, text: str) -> None:
        """Have something logged by each."""
        for each in self._all:
            each.note(text)

    def fail(self, error: WorkbenchError) -> None:
        """End it for each."""
        for each in self._all:
            each.fail(error)


def still_trying(error: WorkbenchError) -> str:
    """What to log about trouble that another try may mend."""
    return f"The Step could not be read, trying again: {error}"
