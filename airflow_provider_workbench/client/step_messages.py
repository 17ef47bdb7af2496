"""The messages of a Workflow's websocket, merged into its Steps as they are now. No I/O.

Protocol section 4; ``recorded/websocket_messages.json``. The first message holds every Step complete. Later ones hold
what changed: an upload sends the whole Step, a render only what it made (no slug, no Files), and a deletion the
numbers of the Steps that are gone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_provider_workbench.client.answers import json_object
from airflow_provider_workbench.client.steps import Step, parse_step, what_is_read


def change_of(text: str, *, counted: bool = False) -> dict[str, Any] | None:
    """What a message says has changed; None if it says nothing of the kind (then it can be ignored).

    :param counted: True if the caller has counted its values
    """
    message = json_object(text, counted=counted)
    if message.get("type") != "apply-delta":
        return None
    data = message.get("data")
    return data if isinstance(data, dict) else None


def is_complete(change: Mapping[str, Any]) -> bool:
    """True for a first message: it alone says which Workflow it is of."""
    workflow = change.get("updateWorkflow")
    return isinstance(workflow, dict) and "id" in workflow and isinstance(change.get("updateSteps"), dict)


class WorkflowSteps:
    """Every Step of a Workflow, as the messages so far have it."""

    def __init__(self) -> None:
        self._data: dict[str, dict[str, Any]] = {}
        self._parsed: dict[str, tuple[dict[str, Any], Step]] = {}

    def replace(self, steps: Mapping[str, Any]) -> None:
        """Take a complete state: Steps that are not in it are gone.

        :param steps: complete JSON by the Step's number, from a first message or a page
        """
        self._data = {}
        for key, step in steps.items():
            if isinstance(step, dict):
                self._put(key, step)

    def merge(self, change: Mapping[str, Any]) -> None:
        """Take a change of :func:`change_of`, as Workbench's own page does: what it does not name stays."""
        steps = change.get("updateSteps")
        for key, step in steps.items() if isinstance(steps, dict) else ():
            if isinstance(step, dict):
                self._put(key, {**self._data.get(key, {}), **step})
        gone = change.get("clearStepIds")
        for key in gone if isinstance(gone, list) else ():
            self._data.pop(str(key), None)

    def _put(self, key: str, step: dict[str, Any]) -> None:
        # the rest may be large: a table that somebody pasted is a parameter
        self._data[key] = what_is_read(step)

    def get(self, slug: str) -> Step | None:
        """The Step; None if the Workflow has no such. The same object as before if nothing in it has changed.

        :raises UnexpectedAnswerError: it is not a Step as Workbench sends it
        """
        data = next((step for step in self._data.values() if step.get("slug") == slug), None)
        if data is None:
            self._parsed.pop(slug, None)
            return None
        before, step = self._parsed.get(slug, (None, None))
        if step is None or before is not data:
            new = parse_step(data)
            step = step if step == new else new
            self._parsed[slug] = (data, step or new)
        return step
