"""The Workbenches of the audit, what stands before them, and Airflow's connections to them."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from client.client_servers import Authority, Certificate
from echoing import CODE, PAGE, REDIRECT, Echoing, echo_of
from needles import Secret, secrets_of_upload
from security.gates import Gate, Proxy
from slow_link import SlowLink

from airflow_provider_workbench.sandbox import Sandbox
from airflow_provider_workbench.sandbox.state import Step

BYTES_PER_SECOND = 2_500_000
MISFILLED = "secret in a wrong field"


@dataclass
class Issued:
    """An upload, as the sandbox made it."""

    sandbox: str
    url: str
    metadata_pairs: list[str]


class Scene:
    """All of it, and every secret that it ever had.

    :param stack: ends it
    :param folder: for certificates
    :ivar connections: as they are posted to Airflow's API, by id
    """

    def __init__(self, stack: contextlib.ExitStack, folder: Path) -> None:
        self._stack = stack
        self.issued: list[Issued] = []
        self.secrets: dict[str, Secret] = {}
        self.connections: dict[str, dict[str, Any]] = {}
        self.sandboxes: dict[str, Sandbox] = {}
        self.echoes: dict[str, Echoing] = {}

        good = self.good = self.sandbox("good")
        late = self.late = self.sandbox("late", render_delay=600)
        slow = self.slow = self.sandbox("slow")
        self.connect("secret_link", good.secret_step, secret_link=good.secret_step.secret_link_url)
        self.connect("watched", late.secret_step, secret_link=late.secret_step.secret_link_url)
        self.connect("late_secret_link", late.secret_step, secret_link=late.secret_step.secret_link)
        self.connect("late_cookie", late.private_step, session_token=late.session_cookie)
        self.connect("refused", good.workflow.add_step("step-refused"))
        self.connect("wrong_token", good.step, token=f"wrong-{os.urandom(16).hex()}")
        # of which no two forms are the same
        self.connect("odd_token", good.step, token=f"odd-~/+='%{os.urandom(16).hex()}")
        self.connect(
            "unknown", self.sandbox("unknown", hook="500", hook_retry_seconds=0.1).private_step, retry_budget=3
        )
        self.connect("evidence", self.sandbox("evidence", hook="store-then-500", hook_retry_seconds=0.1).step)
        self.connect("unrendered", self.sandbox("unrendered", render_error="This file has no table.").step)
        slow.advertised_upload_url = self._slow_link(slow.upload_url)
        self.connect("killed", slow.step)
        self.connect("slow", slow.private_step)
        misfilled = os.urandom(16).hex()
        self.keep(MISFILLED, "misfilled_number", misfilled)
        self.connect("misfilled_number", good.step, stall_timeout=misfilled)
        self.connect("misfilled_cookie", good.step, session_token=f"{good.step.api_token} and more")
        elsewhere = f"https://elsewhere.example/{good.secret_step.secret_link}/{good.step.api_token}"
        self.connect("misfilled_link", good.step, secret_link=elsewhere)
        self._behind_tls(folder)
        self._behind_echoes()

    def sandbox(self, name: str, **switches: Any) -> Sandbox:
        sandbox = self.sandboxes[name] = self._stack.enter_context(Sandbox())
        for switch, value in switches.items():
            setattr(sandbox, switch, value)
        create = sandbox.uploads.create

        async def recording(size: int, metadata: Any) -> Any:
            made, problem = await create(size, metadata)
            self.issued.append(Issued(name, f"{sandbox.advertised_upload_url}/files/{made.id}", made.metadata_pairs))
            if metadata["stepSlug"] == "step-refused":
                # the finish of this upload will be refused
                sandbox.workflow.step("step-refused").reset_token()
            return made, problem

        sandbox.uploads.create = recording  # type: ignore[method-assign]
        return sandbox

    def connect(self, conn_id: str, step: Step, *, at: str = "", token: str = "", **extra: Any) -> None:
        """A connection, as it is posted to Airflow's API."""
        connection = json.loads(step.connection_json())
        if at:
            connection["host"] = at + urlsplit(connection["host"]).path
        connection["password"] = token or connection["password"]
        self.connections[conn_id] = {"connection_id": conn_id, **connection, "extra": json.dumps(extra)}
        self.keep("API token", conn_id, connection["password"])

    def keep(self, kind: str, owner: str, value: str | None) -> None:
        """As a secret, once."""
        if value:
            self.secrets.setdefault(value, Secret(kind, owner, value))

    def all_secrets(self) -> list[Secret]:
        """Of all that was ever made."""
        for name, sandbox in self.sandboxes.items():
            self.keep("session cookie", name, sandbox.session_cookie)
            for workflow in sandbox.workflows:
                self.keep("secret link", name, workflow.secret_link)
                for step in workflow.steps:
                    self.keep("API token", f"{name}, {step.slug}", step.api_token)
        for each in self.issued:
            for secret in secrets_of_upload(each.url, each.metadata_pairs, each.sandbox):
                self.secrets.setdefault(secret.value, secret)
        return list(self.secrets.values())

    def _slow_link(self, target: str) -> str:
        link = SlowLink(target, BYTES_PER_SECOND)
        self._stack.callback(link.close)
        return link.url

    def _behind_tls(self, folder: Path) -> None:
        wb = self.sandbox("tls")
        authority = Authority.make(folder)
        context = authority.server.server_context()
        frontend = self._stack.enter_context(Gate(context, wb.frontend_url))
        wb.advertised_upload_url = self._stack.enter_context(Gate(context, wb.upload_url)).url
        link = wb.secret_step.secret_link
        self.connect("tls", wb.secret_step, at=frontend.url, secret_link=link, ca_bundle=authority.ca.cert_file)
        alone = Certificate.make(folder, "alone", None, ("127.0.0.1",)).server_context()
        unknown = self._stack.enter_context(Gate(alone, wb.frontend_url))
        self.connect("self_signed", wb.secret_step, at=unknown.url, secret_link=link, retry_budget=2)

    def _behind_echoes(self) -> None:
        def echoes(
            name: str, refuses: Callable[[str], bool], how: str = PAGE, *, upload_host: bool = False, **switches: Any
        ) -> None:
            wb = self.sandbox(name, **switches)
            target = wb.upload_url if upload_host else wb.frontend_url
            echo = self.echoes[name] = self._stack.enter_context(Echoing(target, refuses, how))
            if upload_host:
                wb.advertised_upload_url = echo.url
            step = wb.secret_step
            at = "" if upload_host else echo.url
            self.connect(
                name, step, at=at, secret_link=step.secret_link, session_token=wb.session_cookie, retry_budget=2
            )

        def is_create(head: str) -> bool:
            return head.startswith("POST ")

        echoes("create_echoed", is_create)
        echoes("create_echoed_as_code", is_create, CODE)
        echoes("create_echoed_in_redirect", is_create, REDIRECT)
        heads = iter(range(3))
        echoes(
            "patch_echoed",
            # for ever it would ask for ten minutes what became of its bytes
            lambda head: head.startswith("PATCH ") or (head.startswith("HEAD ") and next(heads, None) is not None),
            upload_host=True,
        )
        echoes("page_echoed", lambda head: head.startswith("GET "))
        password = f"{os.urandom(8).hex()}-proxy-{os.urandom(8).hex()}"
        self.proxy = self._stack.enter_context(Proxy(lambda asked: echo_of(asked.raw.decode("latin-1"))))
        self.proxy_url = self.proxy.url_with(f"user:{password}")
        self.keep("proxy's password", "forward proxy", password)
        self.connect("behind_a_proxy", self.good.step, retry_budget=2)
        echoes("websocket_echoed", lambda head: "upgrade: websocket" in head.lower(), render_delay=600)
