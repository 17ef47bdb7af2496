"""Secrets of nobody's, leaked on purpose: one in each place, each to be found there."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from needles import BASE64, IN_JSON, QUOTED, RAW, Secret

TASK = "REST: /api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}"
LOGS = ("log of a task", f"{TASK}/logs/{{try_number}}")


@dataclass(frozen=True)
class Plant:
    """A planted leak.

    :ivar form: in which it is found
    :ivar places: the kinds of places where it must be found
    """

    secret: Secret
    form: str
    places: tuple[str, ...]

    @property
    def text(self) -> str:
        # it is the place that escapes it
        return self.secret.written(RAW if self.form == IN_JSON else self.form)


# place: kind of secret, form, where it must be found
_PLANTED = {
    "log of a task": ("API token", RAW, LOGS),
    "log of a task, root": ("API token", QUOTED, LOGS),
    "log of a task, told to the masker": ("API token", RAW, LOGS),
    "output of a task": ("API token", BASE64[0], LOGS),
    "output of http.client": ("API token", RAW, LOGS),
    "urllib3's log": ("upload path", RAW, LOGS),
    "traceback of a task": ("upload URL", RAW, LOGS),
    "log of a trigger": ("upload id", QUOTED, ("log of a trigger", LOGS[1])),
    "log of the DAG processor": ("session cookie", BASE64[1], ("log of the DAG processor",)),
    "output of the components": ("secret link", RAW, ("output of the components",)),
    "XCom": ("API token", BASE64[2], ("database: xcom", f"{TASK}/xcomEntries/{{xcom_key}}")),
    "extra link": ("secret link", RAW, ("database: xcom", f"{TASK}/links")),
    "rendered field": ("Upload-Metadata", RAW, ("database: rendered_task_instance_fields", TASK)),
    "task state store": (
        "API token",
        IN_JSON,
        ("database: task_state_store", f"{TASK}/state-store", "database while tasks run: task_state_store"),
    ),
    "asset event": ("secret link", BASE64[0], ("database: asset_event", "REST: /api/v2/assets/events")),
    "asset": ("half of an upload id", RAW, ("database: asset", "REST: /api/v2/assets/{asset_id}")),
    "trigger": ("upload URL", QUOTED, ("database while tasks run: trigger",)),
    "deferred task": ("upload id", BASE64[1], ("database while tasks run: task_instance",)),
    "serialized DAG": ("upload id", RAW, ("database: serialized_dag",)),
    "source of a DAG": ("session cookie", RAW, ("database: dag_code", "REST: /api/v2/dagSources/{dag_id}")),
    "import error": ("upload path", QUOTED, ("database: import_error", "REST: /api/v2/importErrors")),
    "OpenLineage event": ("session cookie", QUOTED, ("OpenLineage events",)),
    "argument of a process": ("API token", RAW, ("argument of a process",)),
    "environment of a process": ("upload URL", RAW, ("environment variable of a process",)),
    "temporary file": ("Upload-Metadata", BASE64[2], ("temporary file",)),
    "file of AIRFLOW_HOME": ("secret link", BASE64[1], ("other file of AIRFLOW_HOME",)),
    "configuration of a run": (
        "session cookie",
        BASE64[2],
        ("database: dag_run", "REST: /api/v2/dags/{dag_id}/dagRuns", "database: log", "REST: /api/v2/eventLogs"),
    ),
    "note": ("API token", QUOTED, ("database: dag_run_note", "database: log")),
    "description of a connection": (
        "API token",
        RAW,
        ("database: connection", "REST: /api/v2/connections/{connection_id}"),
    ),
    "variable": ("upload id", BASE64[2], ("database: variable, unsealed", "REST: /api/v2/variables/{variable_key}")),
    "row that was deleted": ("secret link", RAW, ("file of the database",)),
}


def make_plants() -> dict[str, Plant]:
    """New ones, by the place in which they are planted."""
    return {
        place: Plant(Secret(kind, place, _value(kind, form)), form, kinds)
        for place, (kind, form, kinds) in _PLANTED.items()
    }


def _value(kind: str, form: str) -> str:
    """Such as a secret of this kind could be, and looking different in that form."""
    odd = f"""{secrets.token_urlsafe(16)}/+~{'"' if form == IN_JSON else ""}{secrets.token_urlsafe(16)}"""
    identity = f"{secrets.token_hex(16)}+{secrets.token_urlsafe(48)}"
    return {
        "API token": odd,
        "session cookie": f"{secrets.token_hex(8)}/+={secrets.token_hex(8)}",
        "secret link": f"w{secrets.token_urlsafe(16)}",
        "upload URL": f"http://127.0.0.1:9/files/{identity}",
        "upload path": f"/files/{identity}",
        "upload id": identity,
        "half of an upload id": secrets.token_urlsafe(48),
        "Upload-Metadata": f"apiToken {secrets.token_urlsafe(32)}",
    }[kind]
