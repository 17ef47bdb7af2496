"""What a Workbench holds - Workflows, Steps, Files - and its rules. No HTTP in here.

Everything is guarded by one lock (:attr:`Workbench.changed`): the servers' thread and the tests' threads share it.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import secrets
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from .switches import Switches

OWNER = {"display_name": "Sandbox Owner", "email": "owner@example.org"}


class Refused(Exception):  # noqa: N818 - the field's word
    """Workbench's own answer to a request it does not grant: an HTTP status and one of its codes."""

    def __init__(self, status: int, code: str) -> None:
        super().__init__(code)
        self.status = status
        self.code = code

    @property
    def body(self) -> str:
        return json.dumps({"error": {"code": self.code}})


@dataclass(frozen=True)
class File:
    """A File of a Step; size in bytes, ``created_at`` the hook's clock in ISO form with microseconds and Z."""

    uuid: str
    name: str
    size: int
    created_at: str

    def as_json(self) -> dict[str, Any]:
        return {"uuid": self.uuid, "name": self.name, "size": self.size, "createdAt": self.created_at}


@dataclass(frozen=True)
class Output:
    """What a render produced: ``status`` is ``ok``, ``error`` or ``unreachable`` (nothing to show)."""

    status: str = "unreachable"
    n_rows: int = 0
    columns: tuple[dict[str, str], ...] = ()
    errors: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        return {
            "output_columns": [dict(column) for column in self.columns],
            "output_n_rows": self.n_rows,
            "output_status": self.status,
            "output_errors": [{"message": message, "quickFixes": []} for message in self.errors],
        }


@dataclass(eq=False)
class Step:
    """A Step of a Workflow. ``module`` is ``upload`` for one that takes Files; others have no file parameter."""

    id: int
    slug: str
    module: str
    tab_slug: str
    tab_name: str
    workflow: Workflow
    delta_id: int
    rendered_delta_id: int
    api_token: str | None = None
    deleted: bool = False
    output: Output = field(default_factory=Output)
    output_uuid: str | None = None
    selected_uuid: str | None = None
    _files: list[File] = field(default_factory=list)
    _last_token: str | None = None

    @property
    def _bench(self) -> Workbench:
        return self.workflow.bench

    @property
    def workflow_id(self) -> int:
        return self.workflow.id

    @property
    def create_file_url(self) -> str:
        """What Workbench shows as "Create-file URL"."""
        return f"{self._bench.frontend_url}/api/v1/workflows/{self.workflow.id}/steps/{self.slug}/files"

    @property
    def page_url(self) -> str:
        return self.workflow.page_url

    @property
    def secret_link(self) -> str:
        return self.workflow.secret_link

    @property
    def secret_link_url(self) -> str:
        return self.workflow.secret_link_url

    @property
    def files(self) -> list[File]:
        """The Step's Files, newest first."""
        with self._bench.changed:
            return list(self._files)

    @property
    def selected(self) -> File | None:
        """The File that the Step uses."""
        with self._bench.changed:
            return next((file for file in self._files if file.uuid == self.selected_uuid), None)

    @property
    def is_rendered(self) -> bool:
        return self.rendered_delta_id == self.delta_id

    def path(self, uuid: str) -> Path:
        """Where a File's bytes are kept, while it is one of the Step's Files."""
        with self._bench.changed:
            if not any(file.uuid == uuid for file in self._files):
                raise KeyError(uuid)
            return self._bench.directory / "files" / uuid

    def content(self, uuid: str) -> bytes:
        """A File's bytes."""
        return self.path(uuid).read_bytes()

    def wait_until_rendered(self, timeout: float = 10.0) -> Output:
        """Block until the selected File is rendered. ``TimeoutError`` after ``timeout`` seconds."""
        with self._bench.changed:
            if not self._bench.changed.wait_for(lambda: self.is_rendered, timeout):
                raise TimeoutError(f"{self.slug} was not rendered within {timeout} s")
            return self.output

    def reset_token(self, token: str | None = None) -> str:
        """Give the Step a new API token (or put ``token`` back) and return it. Uploads made with another one die."""
        with self._bench.changed:
            self.api_token = self._last_token = token or secrets.token_urlsafe(32)
            return self.api_token

    def disable_api(self) -> None:
        with self._bench.changed:
            self.api_token = None

    def enable_api(self) -> str:
        """Switch the file-upload API on again, with the token it had."""
        with self._bench.changed:
            return self.api_token or self.reset_token(self._last_token)

    def delete(self) -> None:
        self._set_deleted(True)

    def restore(self) -> None:
        """Undo the deletion."""
        self._set_deleted(False)

    def _set_deleted(self, deleted: bool) -> None:
        with self._bench.changed:
            self.deleted = deleted
            tabs = self.workflow.tabs_json()
            message: dict[str, Any] = {"updateWorkflow": self.workflow.touch(), "updateTabs": tabs}
            if deleted:
                message["clearStepIds"] = [str(self.id)]
            else:
                message["updateSteps"] = {str(self.id): self.as_json()}
            self._bench.push(self.workflow, message)

    def connection_uri(self, **extra: Any) -> str:
        """An Airflow connection to this Step in URI form; ``extra`` becomes the connection's extras."""
        parts = urlsplit(self.create_file_url)
        texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in extra.items()}
        query = f"?{urlencode(texts, quote_via=quote)}" if texts else ""
        return f"workbench://:{quote(self.api_token or '', safe='')}@{parts.netloc}{parts.path}{query}"

    def connection_json(self, **extra: Any) -> str:
        """The same connection as JSON text, with the create-file URL pasted whole as its host."""
        connection = {
            "conn_type": "workbench",
            "host": self.create_file_url,
            "password": self.api_token or "",
            "extra": extra,
        }
        return json.dumps(connection)

    def as_json(self) -> dict[str, Any]:
        """A complete Step as page and websocket carry it (``recorded/page_init_state.json``)."""
        upload = self.module == "upload"
        return {
            "id": self.id,
            "slug": self.slug,
            "module": self.module,
            "tab_slug": self.tab_slug,
            "is_busy": False,
            "last_relevant_delta_id": self.delta_id,
            "params": {"file": self.selected_uuid, "has_header": True}
            if upload
            else {"csv": "", "has_header_row": True},
            "secrets": {},
            "is_collapsed": False,
            "auto_update_data": False,
            "update_interval": 86400,
            "notifications": False,
            "cached_render_result_delta_id": self.rendered_delta_id,
            **self.output.as_json(),
            "files": [file.as_json() for file in self._files],
            "versions": {"versions": [], "selected": None},
        }


@dataclass(eq=False)
class Workflow:
    """A Workflow: public, readable by its secret link, or private to the owner."""

    bench: Workbench
    id: int
    name: str
    public: bool = False
    secret_link: str = ""
    """The id (``w…``) in the secret link, empty if there is none."""
    deleted: bool = False
    last_update: str = ""
    _steps: list[Step] = field(default_factory=list)
    _held_until: float = 0.0

    @property
    def steps(self) -> list[Step]:
        """The Steps that are not deleted, in the order in which they were added."""
        with self.bench.changed:
            return [step for step in self._steps if not step.deleted]

    @property
    def page_url(self) -> str:
        return f"{self.bench.frontend_url}/workflows/{self.id}/"

    @property
    def secret_link_url(self) -> str:
        return f"{self.bench.frontend_url}/workflows/{self.secret_link}/" if self.secret_link else ""

    def add_step(
        self,
        slug: str | None = None,
        *,
        module: str = "upload",
        api_token: str | None = None,
        api_enabled: bool = True,
        tab_slug: str | None = None,
        tab_name: str | None = None,
    ) -> Step:
        """Add a Step in a Tab of its own. With ``api_enabled=False`` it has no API token."""
        with self.bench.changed:
            slug = slug or f"step-{secrets.token_urlsafe(8)}"
            if not SLUG.fullmatch(slug):
                raise ValueError(f"not a Step's slug: {slug!r}")
            if any(step.slug == slug for step in self._steps):
                raise ValueError(f"workflow {self.id} has a Step {slug} already")
            if self._steps:
                self.bench.next_delta_id()  # recorded: every Tab but the first takes a delta of its own
            position = len(self._steps) + 1
            delta_id = self.bench.next_delta_id()
            step = Step(
                id=self.bench.next_step_id(),
                slug=slug,
                module=module,
                tab_slug=tab_slug or f"tab-{position}",
                tab_name=tab_name or f"Tab {position}",
                workflow=self,
                delta_id=delta_id,
                rendered_delta_id=delta_id,
            )
            if api_enabled:
                step.reset_token(api_token)
            self._steps.append(step)
            message = {"updateWorkflow": self.touch(), "updateTabs": self.tabs_json()}
            message["updateSteps"] = {str(step.id): step.as_json()}
            self.bench.push(self, message)
            return step

    def step(self, slug: str) -> Step:
        """The Step of that slug, deleted or not."""
        with self.bench.changed:
            return {step.slug: step for step in self._steps}[slug]

    def delete(self) -> None:
        """Delete the Workflow. Its websockets stay open and silent (protocol, section 4)."""
        with self.bench.changed:
            self.deleted = True

    def reset_secret_link(self) -> str:
        """Replace the secret link's id and return the new one; the old link answers 404 from now on."""
        with self.bench.changed:
            self.secret_link = "w" + secrets.token_urlsafe(16)
            return self.secret_link

    def hold(self, seconds: float) -> None:
        """Be busy: create-file and the hook wait until ``seconds`` have passed or :meth:`release` is called."""
        self._held_until = time.monotonic() + seconds

    def release(self) -> None:
        self._held_until = 0.0

    @property
    def is_held(self) -> bool:
        return time.monotonic() < self._held_until

    def touch(self) -> dict[str, Any]:
        self.last_update = now()
        return {"last_update": self.last_update}

    def as_json(self) -> dict[str, Any]:
        slugs = [step.tab_slug for step in self.steps]
        return {
            "id": self.id,
            "secret_id": self.secret_link,
            "name": self.name,
            "tab_slugs": slugs,
            "public": self.public,
            "selected_tab_position": max(len(slugs) - 1, 0),
            "hasCustomReport": False,
            "blockSlugs": [],
            "fetchesPerDay": 0.0,
            "last_update": self.last_update,
            "acl": [],
        }

    def steps_json(self) -> dict[str, Any]:
        return {str(step.id): step.as_json() for step in self.steps}

    def tabs_json(self) -> dict[str, Any]:
        return {
            step.tab_slug: {
                "slug": step.tab_slug,
                "name": step.tab_name,
                "step_ids": [step.id],
                "selected_step_position": 0,
            }
            for step in self.steps
        }


SLUG = re.compile(r"step-[-_A-Za-z0-9]+")


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


class Workbench:
    """All Workflows, and the two things done to them: a File is accepted, and a render is recorded."""

    def __init__(self, directory: Path, switches: Switches) -> None:
        self.changed = threading.Condition(threading.RLock())
        """The lock of all state, notified after every change."""
        self.directory = directory
        self.switches = switches
        self.frontend_url = ""
        self.session_cookie = secrets.token_hex(16)
        """The value of the owner's ``sessionid`` cookie."""
        self.workflows: dict[int, Workflow] = {}
        self.push: Callable[[Workflow, dict[str, Any]], None] = lambda workflow, data: None
        """Told of every change that a websocket carries."""
        self.render: Callable[[Step], None] = lambda step: None
        """Told of every Step that wants rendering."""
        self._deltas = self._steps = 0
        (directory / "files").mkdir(exist_ok=True)

    def clear(self) -> None:
        """Forget every Workflow and File."""
        with self.changed:
            self.workflows.clear()
            self._deltas = self._steps = 0
            for path in (self.directory / "files").iterdir():
                path.unlink(missing_ok=True)

    def next_delta_id(self) -> int:
        self._deltas += 1
        return self._deltas

    def next_step_id(self) -> int:
        self._steps += 1
        return self._steps

    def add_workflow(
        self, name: str = "Workflow", *, public: bool = False, secret_link: str | bool = False
    ) -> Workflow:
        """Add a Workflow: public, with a secret link (an id, or True for a new one), or else private."""
        with self.changed:
            workflow = Workflow(self, max(self.workflows, default=0) + 1, name, public, last_update=now())
            if secret_link is True:
                workflow.reset_secret_link()
            elif secret_link:
                workflow.secret_link = secret_link
            self.workflows[workflow.id] = workflow
            return workflow

    def workflow(self, workflow_id: int) -> Workflow:
        """The Workflow of that id, or Refused."""
        workflow = self.workflows.get(workflow_id)
        if workflow is None or workflow.deleted:
            raise Refused(404, "workflow-not-found")
        return workflow

    def readable_workflow(self, key: str, session_cookie: str | None) -> Workflow:
        """The Workflow that a page or websocket address names, if this reader may see it (protocol, section 4)."""
        with self.changed:
            if key.startswith("w"):
                for workflow in self.workflows.values():
                    if workflow.secret_link == key and not workflow.deleted:
                        return workflow
                raise Refused(404, "workflow-not-found")
            workflow = self.workflow(int(key) if key.isdecimal() else 0)
            if not workflow.public and not self.is_owner(session_cookie):
                raise Refused(403, "workflow-not-readable")
            return workflow

    def is_owner(self, session_cookie: str | None) -> bool:
        return session_cookie == self.session_cookie

    async def wait_for_workflow(self, workflow_id: int) -> None:
        """Wait while another request holds the Workflow (recorded: create-file blocks for seconds, then 200)."""
        while (workflow := self.workflows.get(workflow_id)) and workflow.is_held:
            await asyncio.sleep(0.02)

    def step_for_upload(self, workflow_id: int, slug: str, token: str) -> Step:
        """The Step that this token may upload to. The order of the checks is recorded."""
        with self.changed:
            workflow = self.workflow(workflow_id)
            step = next((step for step in workflow.steps if step.slug == slug), None)
            if step is None:
                raise Refused(404, "step-not-found")
            if step.module != "upload":
                raise Refused(400, "step-has-no-file-param")
            if step.api_token is None:
                raise Refused(403, "step-has-no-api-token")
            if not secrets.compare_digest(step.api_token.encode(), token.encode()):
                raise Refused(403, "authorization-bearer-token-invalid")
            return step

    def accept(self, metadata: Mapping[str, str], size: int, path: Path) -> None:
        """The hook: move an upload's bytes into its Step, list the File, select it, have it rendered.

        Raises Refused, or any other exception where the real hook crashes.
        """
        with self.changed:
            step = self.step_for_upload(int(metadata["workflowId"]), metadata["stepSlug"], metadata["apiToken"])
            if size > self.switches.max_file_size:
                raise OverflowError("integer out of range")
            file = File(str(uuid.uuid4()), metadata["filename"], size, now())
            os.replace(path, self.directory / "files" / file.uuid)
            step._files.insert(0, file)
            self._drop_old_files(step)
            self.changed.notify_all()
            if self.switches.hook == "store-then-500":
                raise RuntimeError("crashed between storing the File and selecting it")
            step.selected_uuid = file.uuid
            step.delta_id = self.next_delta_id()
            message = {"updateWorkflow": step.workflow.touch(), "updateSteps": {str(step.id): step.as_json()}}
            self.push(step.workflow, message)
            self.render(step)

    def _drop_old_files(self, step: Step) -> None:
        limits = self.switches
        while len(step._files) > 1 and (
            len(step._files) > limits.step_file_limit or sum(file.size for file in step._files) > limits.step_byte_limit
        ):
            (self.directory / "files" / step._files.pop().uuid).unlink(missing_ok=True)

    def rendered(self, step: Step, delta_id: int, file_uuid: str | None, output: Output) -> None:
        """Record a render's result, unless a later File has made it obsolete."""
        with self.changed:
            if step.delta_id != delta_id:
                return
            step.rendered_delta_id, step.output, step.output_uuid = delta_id, output, file_uuid
            part = {"module": step.module, "cached_render_result_delta_id": delta_id, **output.as_json()}
            self.push(step.workflow, {"updateSteps": {str(step.id): part}})
            self.changed.notify_all()

    def complete_update(self, workflow: Workflow, owner: bool) -> dict[str, Any]:
        """What a websocket's first message carries (``recorded/websocket_messages.json``)."""
        with self.changed:
            return {
                **({"updateUser": _user_json()} if owner else {}),
                "updateWorkflow": workflow.as_json(),
                "updateSteps": workflow.steps_json(),
                "updateTabs": workflow.tabs_json(),
            }

    def init_state(self, workflow: Workflow, owner: bool) -> dict[str, Any]:
        """What a page carries (``recorded/page_init_state.json``)."""
        with self.changed:
            people = {"owner_email": OWNER["email"], "owner_name": OWNER["display_name"]}
            return {
                "loggedInUser": _user_json() if owner else None,
                "modules": {},
                "tabs": workflow.tabs_json(),
                "steps": workflow.steps_json(),
                "blocks": {},
                "workflowId": workflow.id,
                "workflow": {**workflow.as_json(), **people},
                "settings": {"bigTableRowsPerTile": 100, "bigTableColumnsPerTile": 20},
            }


def _user_json() -> dict[str, Any]:
    return {
        **OWNER,
        "is_staff": False,
        "stripeCustomerId": None,
        "limits": {"max_fetches_per_day": 5, "max_delta_age_in_days": 3, "can_create_secret_link": False},
        "subscribedStripeProductIds": [],
        "usage": {"fetchesPerDay": 0.0},
    }
