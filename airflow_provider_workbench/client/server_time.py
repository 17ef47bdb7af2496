"""What time it is on the server, from its answers' ``Date``.

The frontend's is frozen at a connection's first answer; the upload host's is fresh (protocol section 4).
"""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from airflow_provider_workbench.client.answers import Answer
from airflow_provider_workbench.client.errors import WorkbenchError
from airflow_provider_workbench.client.session import Session
from airflow_provider_workbench.client.settings import Settings


def answer_time(answer: Answer | None) -> datetime | None:
    """The ``Date`` of an answer; None without a usable one."""
    try:
        date = parsedate_to_datetime(answer.headers["date"]) if answer else None
        if date is None or not 2000 < date.year < 3000:
            return None
        return date.astimezone(UTC) if date.tzinfo else date.replace(tzinfo=UTC)
    except (KeyError, ValueError, OverflowError):
        return None


def server_time(session: Session, settings: Settings) -> datetime | None:
    """The frontend's time now: any answer of its has it. None if there is none. One request.

    :param session: without a kept connection to the frontend
    """
    try:
        return answer_time(session.request("HEAD", settings.endpoint.step_url))
    except WorkbenchError:
        return None
