"""Step and File: read from the Workflow's page, and which File is the one that is waited for.

Protocol section 4; ``recorded/page_init_state.json`` and ``recorded/websocket_messages.json``.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

from airflow_provider_workbench.client.answers import Answer, json_value, strangeness
from airflow_provider_workbench.client.backoff import retry_after_seconds
from airflow_provider_workbench.client.endpoint import Endpoint
from airflow_provider_workbench.client.errors import (
    ServerError,
    StepGoneError,
    StepUnreadableError,
    TlsError,
    UnexpectedAnswerError,
    WorkbenchError,
    printable,
)
from airflow_provider_workbench.client.settings import Settings

if TYPE_CHECKING:
    from airflow_provider_workbench.client.session import Session

# bytes; recorded pages have 22 KB, a large workflow's may have some megabytes
PAGE_LIMIT = 8 * 1024 * 1024
_MARK = "window.initState = "

# characters; Workbench's own uuids have 36, and names that come by the API at most 100
_MOST_CHARACTERS = 1000
# Workbench keeps 30 Files, and has a few words about a render
_MOST_FILES = 1000
_MOST_WORDS = 20

# seconds, from and to: so much later an answer that would end a wait must have come again
SECOND_LOOK = (10.0, 30.0)
# seconds: no Retry-After is heeded for longer
LONGEST_RETRY_AFTER = 600.0


@dataclass(frozen=True, slots=True)
class File:
    """A File of a Step.

    :ivar uuid: Workbench's id of it
    :ivar name: as Workbench keeps it
    :ivar size: bytes
    :ivar created_at: when Workbench took it, by its hook's clock
    :ivar n_rows: rows of the table that the Step rendered from it; None until then
    :ivar n_columns: columns, likewise
    """

    uuid: str
    name: str
    size: int
    created_at: datetime
    n_rows: int | None = None
    n_columns: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """For XCom: JSON values only."""
        return {**asdict(self), "created_at": self.created_at.isoformat()}


@dataclass(frozen=True, slots=True)
class Step:
    """A Step as its page shows it.

    :ivar slug: the Step's slug
    :ivar files: newest first, at most 30
    :ivar selected_uuid: the File that the Step uses, or None
    :ivar rendered: False while the output is still that of an earlier File or setting
    :ivar output_status: ``ok``, ``error``, ``unreachable`` (also: an empty File), or ``busy`` until rendered
    :ivar output_errors: Workbench's words about the output
    :ivar n_rows: rows of the rendered table
    :ivar n_columns: columns of the rendered table
    """

    slug: str
    files: tuple[File, ...]
    selected_uuid: str | None
    rendered: bool
    output_status: str
    output_errors: tuple[str, ...]
    n_rows: int
    n_columns: int

    @property
    def selected(self) -> File | None:
        """The File that the Step uses; None if it uses none."""
        return next((file for file in self.files if file.uuid == self.selected_uuid), None)


def page_request(settings: Settings) -> tuple[str, dict[str, str]]:
    """URL (secret if there is a secret link) and headers to read the Step's page with."""
    url = settings.endpoint.page_url(settings.secret_link)
    # logged in, Workbench redirects the secret link to the numeric page: one credential is enough
    if settings.session_token and not settings.secret_link:
        return url, {"Cookie": f"sessionid={settings.session_token}"}
    return url, {}


def websocket_request(settings: Settings) -> tuple[str, dict[str, str]]:
    """URL (secret if there is a secret link) and headers to open the Workflow's websocket with.

    The scheme stays http or https, which asks proxies on the way as for a page; with the page's last slash Workbench
    answers 500 (protocol section 4).
    """
    url, headers = page_request(settings)
    return url.removesuffix("/"), headers


def redirect_within(answer: Answer, url: str) -> str | None:
    """Where a page's redirect leads, if that is a Workflow's page on the same host; else None."""
    if answer.status not in (301, 302, 303, 307, 308):
        return None
    try:
        target = urljoin(url, answer.headers.get("location", ""))
        parts = urlsplit(target)
    except ValueError:
        return None
    same = parts[:2] == urlsplit(url)[:2] and target.isascii() and target.isprintable()
    return target if same and parts.path.startswith("/workflows/") and target != url else None


def read_step(session: Session, settings: Settings) -> Step:
    """Read the Step from its Workflow's page. One request.

    :raises StepUnreadableError: the Workflow is private, and nothing in the connection opens it
    :raises StepGoneError: no such Workflow or Step (any more)
    :raises ServerError: 5xx
    :raises UnexpectedAnswerError: not a Workbench page
    :raises TransportError: no answer
    """
    url, headers = page_request(settings)
    answer = session.request("GET", url, headers=headers, limit=PAGE_LIMIT)
    target = redirect_within(answer, url)
    if target:
        answer = session.request("GET", target, headers=headers, limit=PAGE_LIMIT)
    return step_of_page(answer, settings)


def step_of_page(answer: Answer, settings: Settings) -> Step:
    """The Step that a page's answer shows.

    :raises WorkbenchError: as for :func:`read_step`
    """
    steps = steps_of_page(answer, settings)
    data = next((step for step in steps.values() if step.get("slug") == settings.endpoint.step_slug), None)
    if data is None:
        raise missing_step(settings.endpoint)
    return parse_step(data)


def steps_of_page(answer: Answer, settings: Settings) -> dict[str, dict[str, Any]]:
    """The complete JSON of every Step that a page's answer shows, by the Step's number.

    :raises WorkbenchError: as for :func:`read_step`
    """
    if answer.status != 200:
        error = _page_error(answer, settings)
        error.retry_after = retry_after_seconds(answer.headers)
        raise error
    state = init_state(answer.text)
    steps = state.get("steps") if state else None
    if not isinstance(steps, dict):
        raise UnexpectedAnswerError(
            f"{_host(settings.endpoint)} answered with a page that is no Workflow's{strangeness(answer)}. Look at the "
            "proxies on the way."
        )
    return {key: step for key, step in steps.items() if isinstance(step, dict)}


def ends_a_wait(error: WorkbenchError, *, again: bool) -> bool:
    """True if the Step need not be looked at any more after an error of :func:`read_step`.

    That the Workflow is gone or closed (404, 403, a redirect) is also what a proxy or a server says for a moment, while
    it is restarted, and so is a handshake that fails: it counts when it comes ``again``. That a page shows other Steps
    only is Workbench's own word.
    """
    return not error.retryable and (again or not _may_pass(error))


def pause_before_next_look(error: WorkbenchError) -> float:
    """Seconds to wait at least after an error of :func:`read_step` that does not end the wait."""
    if _may_pass(error):
        return random.uniform(*SECOND_LOOK)
    return min(error.retry_after or 0.0, LONGEST_RETRY_AFTER)


def _may_pass(error: WorkbenchError) -> bool:
    if isinstance(error, TlsError):
        return True
    return isinstance(error, StepGoneError | StepUnreadableError) and error.status is not None


def missing_step(endpoint: Endpoint) -> StepGoneError:
    """The error for a Workflow that can be read and has no such Step."""
    return StepGoneError(
        f"The Workflow has no Step {endpoint.step_slug} (any more): it was deleted, or the secret link is another "
        "Workflow's."
    )


def init_state(html: str) -> dict[str, Any] | None:
    """The JSON object that a Workflow's page carries; None if there is none, or one larger than any Workflow's."""
    start = html.find(_MARK)
    if start < 0:
        return None
    try:
        state = json_value(html, start + len(_MARK))
    except ValueError:
        return None
    return state if isinstance(state, dict) else None


def parse_step(data: Mapping[str, Any]) -> Step:
    """A Step from its complete JSON, as page and websocket have it.

    :raises UnexpectedAnswerError: it is not a Step as Workbench sends it
    """
    try:
        done = data["cached_render_result_delta_id"]
        rendered = done is not None and done == data["last_relevant_delta_id"]
        selected = data["params"].get("file")
        return Step(
            slug=str(data["slug"]),
            files=_files(data["files"]),
            selected_uuid=selected if isinstance(selected, str) else None,
            rendered=rendered,
            output_status=str(data["output_status"]) if rendered else "busy",
            output_errors=_errors(data["output_errors"] or ()) if rendered else (),
            n_rows=_count(data["output_n_rows"] or 0) if rendered else 0,
            n_columns=len(data["output_columns"] or ()) if rendered else 0,
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        problem = type(error).__name__
    raise UnexpectedAnswerError(f"The Step's data is not as Workbench sends it ({problem}).")


_READ = (
    "slug",
    "files",
    "params",
    "last_relevant_delta_id",
    "cached_render_result_delta_id",
    "output_status",
    "output_errors",
    "output_n_rows",
    "output_columns",
)


def what_is_read(data: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a Step's JSON, complete or not, that :func:`parse_step` reads."""
    kept = {key: data[key] for key in _READ if key in data}
    params = kept.get("params")
    if isinstance(params, dict):
        kept["params"] = {"file": params["file"]} if "file" in params else {}
    return kept


def _files(items: Any) -> tuple[File, ...]:
    # each message of a websocket has them parsed anew
    if len(items) > _MOST_FILES:
        raise ValueError
    return tuple(_file(item) for item in items)


def _file(data: Mapping[str, Any]) -> File:
    created_at = datetime.fromisoformat(data["createdAt"])
    if created_at.tzinfo is None:
        created_at = created_at.replace(tzinfo=UTC)
    return File(_short(data["uuid"]), _short(data["name"]), _count(data["size"]), created_at)


def _short(value: Any) -> str:
    text = str(value)
    # logs, XComs and their tables take it as it is
    if len(text) > _MOST_CHARACTERS:
        raise ValueError
    return text


def _count(value: Any) -> int:
    number = int(value)
    # Python does not print numbers of any length
    if not 0 <= number < 2**63:
        raise ValueError
    return number


def _errors(items: Any) -> tuple[str, ...]:
    return tuple(_words(item) for item in islice(items, _MOST_WORDS))


def _words(item: Any) -> str:
    words = item.get("message") if isinstance(item, dict) else item
    return words if isinstance(words, str) else "(Workbench's words cannot be read)"


def _page_error(answer: Answer, settings: Settings) -> WorkbenchError:
    host, status = _host(settings.endpoint), answer.status
    if status >= 500 or status in (408, 425, 429):
        return ServerError(f"{host} answered {status} to the Workflow's page: try again later.", status=status)
    if status == 404 and _is_html(answer):
        what = "It was deleted" + (", or its secret link was reset" if settings.secret_link else "")
        return StepGoneError(f"{host} shows no such Workflow. {what}.", status=status)
    if 300 <= status < 400:
        return StepUnreadableError(
            f"{host} redirects the Workflow's page elsewhere ({status}), which is not followed. Open the Workflow in a "
            "browser: if its address begins differently now, paste the Create-file URL as Workbench shows it there; if "
            "you are asked to log in first, the Step cannot be read from here.",
            status=status,
        )
    if status not in (401, 403):
        return UnexpectedAnswerError(
            f"{host} answered {status} to the Workflow's page, and no Workbench does. Look at the proxies on the way.",
            status=status,
        )
    tried = "The session_token opens it no more. " if settings.session_token else ""
    return StepUnreadableError(
        f"{host} does not show Workflow {settings.endpoint.workflow_id}: it is private, and the API token allows "
        f"uploading only. {tried}In Workbench open Share, make a secret link, and put it into the connection's extra "
        "secret_link (or make the Workflow public).",
        status=status,
    )


def _is_html(answer: Answer) -> bool:
    """Workbench's own refusals are HTML (protocol section 4); a router that knows no server says so in plain text."""
    return "html" in answer.headers.get("content-type", "").lower() or answer.body.lstrip()[:1] == b"<"


def _host(endpoint: Endpoint) -> str:
    return printable(urlsplit(endpoint.origin).netloc, 100)
