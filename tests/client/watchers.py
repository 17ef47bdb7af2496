"""Files that appear in the sandbox, and waiters that wait for them."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
from collections.abc import AsyncIterator, Callable, Container
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from websockets.datastructures import Headers
from websockets.http11 import Request, Response
from websockets.sync.server import Server, ServerConnection, serve

from airflow_provider_workbench.client.settings import Settings
from airflow_provider_workbench.client.steps import Step
from airflow_provider_workbench.client.watch import watch_step
from airflow_provider_workbench.sandbox import Sandbox
from airflow_provider_workbench.sandbox import Step as SandboxStep

LINK = "wSecret123abcDEF456ghi"
COOKIE = "c00kie0fTheOwner"


def deliver(wb: Sandbox, name: str = "a.csv", content: bytes = b"A\n1\n", step: SandboxStep | None = None) -> str:
    """Have the Step take a File, as the hook does after an upload. Returns its uuid."""
    step = step or wb.step
    path = wb.workbench.directory / "arriving"
    path.write_bytes(content)
    metadata = {
        "workflowId": str(step.workflow_id),
        "stepSlug": step.slug,
        "apiToken": step.api_token or "",
        "filename": name,
    }
    wb.workbench.accept(metadata, len(content), path)
    return step.files[0].uuid


def settings_of_step(step: SandboxStep, **extra: Any) -> Settings:
    return Settings.from_fields(step.create_file_url, step.api_token or "", extra)


async def first(states: AsyncIterator[Step], wanted: Callable[[Step], bool] = lambda _: True) -> Step:
    """The first state that is as wanted."""
    async with asyncio.timeout(10):
        async for step in states:
            if wanted(step):
                return step
    raise AssertionError("states ended")


def lists(name: str) -> Callable[[Step], bool]:
    return lambda step: any(file.name == name for file in step.files)


async def settled(predicate: Callable[[], bool]) -> None:
    """Wait until something is true."""
    async with asyncio.timeout(10):
        while not predicate():
            await asyncio.sleep(0.01)


@dataclass
class Waiter:
    """Waits in a task of its own, and keeps what it is told."""

    settings: Settings
    poke_interval: float = 0.05
    states: list[Step] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    error: Exception | None = None

    async def __aenter__(self) -> Waiter:
        self.task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self.task.cancel()
        await asyncio.wait([self.task])

    async def _run(self) -> None:
        try:
            async with watch_step(self.settings, poke_interval=self.poke_interval, log=self.lines.append) as states:
                async for step in states:
                    self.states.append(step)
        except Exception as error:
            self.error = error

    @property
    def names(self) -> list[str]:
        """Of the newest state's Files."""
        return [file.name for file in self.states[-1].files] if self.states else []

    async def until(self, predicate: Callable[[Step], bool]) -> Step:
        await settled(lambda: self.error is not None or any(map(predicate, self.states)))
        return next(filter(predicate, self.states))

    async def until_failed(self) -> Exception:
        await settled(lambda: self.error is not None)
        assert self.error is not None
        return self.error


@contextlib.asynccontextmanager
async def nothing_left() -> AsyncIterator[None]:
    """Fails if a task, a connection or a session is left when the block ends."""
    problems: list[str] = []
    loop = asyncio.get_running_loop()
    loop.set_debug(True)
    loop.set_exception_handler(lambda _, context: problems.append(context["message"]))
    yield
    gc.collect()
    await asyncio.sleep(0)
    assert problems == []
    await settled(lambda: asyncio.all_tasks() == {asyncio.current_task()})


def sandbox_requests(wb: Sandbox) -> list[int | None]:
    """101 for each websocket, 200 for each page, in order."""
    return [request.status for request in wb.requests if request.host == "frontend"]


@dataclass
class OddServer:
    """Serves websockets by a function, and pages to whoever asks for those."""

    server: Server
    sockets: int = 0
    pages: int = 0
    heads: list[Request] = field(default_factory=list)

    @property
    def settings(self) -> Settings:
        return self.settings_with()

    def settings_with(self, scheme: str = "http", **extra: Any) -> Settings:
        port = self.server.socket.getsockname()[1]
        url = f"{scheme}://127.0.0.1:{port}/api/v1/workflows/7/steps/step-x/files"
        return Settings.from_fields(url, "t0ken", {"secret_link": LINK, **extra})


@contextlib.asynccontextmanager
async def odd_server(
    handler: Callable[[ServerConnection], object],
    page: bytes,
    *,
    refusal: tuple[int, dict[str, str]] | None = None,
    refused: Container[int] | None = None,
    **options: Any,
) -> AsyncIterator[OddServer]:
    """A server that is no good Workbench.

    :param handler: what it does with a websocket
    :param page: what it shows where a page is asked for
    :param refusal: the status and headers with which it refuses a websocket's handshake
    :param refused: which ones, counted from 1; None for all
    :param options: for ``websockets``
    """

    def answer(_: ServerConnection, request: Request) -> Response | None:
        odd.heads.append(request)
        if request.path.endswith("/"):
            odd.pages += 1
            return Response(200, "OK", Headers({"Content-Length": str(len(page))}), page)
        odd.sockets += 1
        if refusal and (refused is None or odd.sockets in refused):
            status, headers = refusal
            return Response(status, HTTPStatus(status).phrase, Headers({"Content-Length": "0", **headers}), b"")
        return None

    def quiet(connection: ServerConnection) -> None:
        with contextlib.suppress(Exception):
            handler(connection)

    server = serve(quiet, "127.0.0.1", 0, process_request=answer, compression=None, **options)
    odd = OddServer(server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield odd
    finally:
        # it waits for its clients, which end in this thread
        await asyncio.to_thread(server.shutdown)
