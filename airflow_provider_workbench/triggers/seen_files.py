"""Which Files of a Step an event trigger has seen, and which of them it has yet to tell of. No I/O."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

from airflow_provider_workbench.client.errors import ConfigurationError
from airflow_provider_workbench.client.steps import File, Step
from airflow_provider_workbench.client.waiting import matches_name, parse_time

# A Step lists 30 Files. Some that it listed before are remembered, should a page that lags behind show them again.
_REMEMBERED = 90

# Bytes of JSON: room for some 200 Files with plain names that have no event yet. Airflow's limit is 64 KB by default
# ([state_store] max_value_storage_bytes, read in 3.3.2).
_STORED_LIMIT = 52_000


@dataclass(frozen=True, slots=True)
class SeenFiles:
    """What a trigger knows of a Step's Files.

    :ivar step: the Step, as ``{host}/{workflow id}/{slug}``: a connection may be pointed to another one
    :ivar uuids: Files that need no event any more, newest first
    :ivar pending: Files that have no event yet, oldest first
    """

    step: str
    uuids: tuple[str, ...] = ()
    pending: tuple[File, ...] = ()

    def with_all(self, step: Step) -> SeenFiles:
        """These and all that ``step`` lists, which need no event."""
        return self._remembering([file.uuid for file in step.files])

    def with_new(self, step: Step, pattern: str) -> SeenFiles:
        """These and what ``step`` lists beyond them: it is pending if its name matches ``pattern``."""
        known = {*self.uuids, *(file.uuid for file in self.pending)}
        new = sorted(
            (file for file in reversed(step.files) if file.uuid not in known and matches_name(file.name, pattern)),
            key=lambda file: file.created_at,
        )
        pending = self.pending + tuple(new)
        untold = {file.uuid for file in pending}
        return replace(
            self._remembering([file.uuid for file in step.files if file.uuid not in untold]), pending=pending
        )

    def with_told(self, file: File) -> SeenFiles:
        """These, where ``file`` has had its event."""
        pending = tuple(each for each in self.pending if each.uuid != file.uuid)
        return replace(self, uuids=(file.uuid, *self.uuids), pending=pending)

    def with_others(self, others: list[SeenFiles]) -> SeenFiles:
        """What these and others of the same Step know: a File that any of them has told of is not pending."""
        all_of_them = [self, *others]
        uuids = tuple(dict.fromkeys(uuid for each in all_of_them for uuid in each.uuids))
        pending = {file.uuid: file for each in all_of_them for file in each.pending if file.uuid not in set(uuids)}
        return SeenFiles(self.step, uuids, tuple(sorted(pending.values(), key=lambda file: file.created_at)))

    def as_dict(self) -> dict[str, Any]:
        """For the asset's state store: JSON values only, under 64 KB.

        Of very many pending Files the newest are left out: the Step lists those for longest.
        """
        pending: list[dict[str, Any]] = []
        left = _STORED_LIMIT - len(json.dumps(self.uuids))
        for file in self.pending:
            one = payload(file)
            left -= len(json.dumps(one)) + 2
            if left < 0:
                break
            pending.append(one)
        return {"step": self.step, "uuids": list(self.uuids), "pending": pending}

    @classmethod
    def from_stored(cls, value: Any) -> SeenFiles | None:
        """From :meth:`as_dict`; None if it is something else: people can edit the store."""
        try:
            step, uuids = value["step"], value["uuids"]
            pending = tuple(_file(each) for each in value["pending"])
        except (TypeError, KeyError, ValueError, AttributeError, ConfigurationError):
            return None
        if not isinstance(step, str) or not isinstance(uuids, list):
            return None
        return cls(step, tuple(uuid for uuid in uuids if isinstance(uuid, str)), pending)

    def _remembering(self, uuids: list[str]) -> SeenFiles:
        earlier = tuple(uuid for uuid in self.uuids if uuid not in set(uuids))
        # all that are listed now, however many: one that is forgotten would be new
        return replace(self, uuids=(*uuids, *earlier)[: max(_REMEMBERED, len(uuids))])


def payload(file: File) -> dict[str, Any]:
    """What an event says of a File."""
    return {"uuid": file.uuid, "name": file.name, "size": file.size, "created_at": file.created_at.isoformat()}


def _file(data: dict[str, Any]) -> File:
    return File(str(data["uuid"]), str(data["name"]), int(data["size"]), parse_time(data["created_at"]))
