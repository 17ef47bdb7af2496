"""The Sandbox: both servers in a background thread, and what tests need to drive them."""

from __future__ import annotations

import asyncio
import socket
import tempfile
import threading
from collections.abc import Callable, Coroutine
from dataclasses import fields
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, TypeVar, cast, overload

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.auto import AutoHTTPProtocol
from uvicorn.server import ServerState

from .control import routes
from .frontend import CreateFile, Pages, Pushes, make_app
from .render import Renderer
from .state import Step, Workbench, Workflow
from .switches import Switches
from .traffic import Record, Request
from .tusd import UploadHost

T = TypeVar("T")


class _Protocol(AutoHTTPProtocol):  # type: ignore[valid-type, misc]
    """uvicorn's HTTP protocol; it also remembers things per connection, and keeps what a lost one had received."""

    def __init__(self, *args: Any, app_state: dict[str, Any], **kwargs: Any) -> None:
        self._connection: dict[str, Any] = {}
        super().__init__(*args, app_state={**app_state, "connection": self._connection}, **kwargs)
        # uvicorn asks the logger, which Airflow sets up anew: upload URLs would get into the log
        self.access_log = False

    def connection_lost(self, exc: Exception | None) -> None:
        if self.cycle and not self.cycle.response_complete:
            self._connection["unread"] = (bytes(self.cycle.body), self.cycle.more_body)
        super().connection_lost(exc)


class _Host:
    """One listening port on loopback that can be taken down and up again."""

    def __init__(self, app: ASGIApp, port: int, keep_alive: int) -> None:
        self._config = uvicorn.Config(
            app,
            http=_Protocol,
            lifespan="off",
            log_config=None,
            access_log=False,
            log_level="warning",  # at INFO it logs a websocket's path, which may be a secret link
            date_header=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=keep_alive,
            ws_ping_interval=20,
        )
        self._config.load()
        self.port = port
        self.state = ServerState()
        self._server: asyncio.Server | None = None
        self._listener: socket.socket | None = None

    def _make_protocol(self) -> asyncio.Protocol:
        loop = asyncio.get_running_loop()
        return _Protocol(config=self._config, server_state=self.state, app_state={}, _loop=loop)

    def _bind(self) -> socket.socket:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self.port))
        self.port = listener.getsockname()[1]
        return listener

    async def up(self) -> None:
        self._listener = self._listener or self._bind()
        self._server = await asyncio.get_running_loop().create_server(self._make_protocol, sock=self._listener)

    async def down(self) -> None:
        if self._server and self._listener:
            # asyncio forgets, unclosed, a connection that it accepts just before its server is closed.
            asyncio.get_running_loop().remove_reader(self._listener)
            for _ in range(3):
                await asyncio.sleep(0)
            self._server.close()
            self._server = None
            # bound, and deaf: connections are refused, and no other program takes the port meanwhile
            self._listener = self._bind()
        self.cut_connections()

    def close(self) -> None:
        """Let go of the port for good, once it is down."""
        if self._listener:
            self._listener.close()

    @property
    def is_up(self) -> bool:
        return self._server is not None

    @property
    def websockets(self) -> list[Any]:
        return [connection for connection in list(self.state.connections) if not isinstance(connection, _Protocol)]

    def cut_connections(self, only_websockets: bool = False) -> None:
        """Close TCP connections without a word of HTTP or websocket."""
        for connection in self.websockets if only_websockets else list(self.state.connections):
            connection.transport.close()


class _Switch(Generic[T]):
    """Makes a field of Switches an attribute of the Sandbox."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, sandbox: None, owner: type) -> T: ...
    @overload
    def __get__(self, sandbox: Sandbox, owner: type) -> T: ...
    def __get__(self, sandbox: Sandbox | None, owner: type) -> T:
        return cast(T, getattr(sandbox.switches if sandbox else Switches(), self._name))

    def __set__(self, sandbox: Sandbox, value: T) -> None:
        setattr(sandbox.switches, self._name, value)


class Sandbox:
    """A small Workbench on two loopback ports, in a background thread of this process.

    Port 0 takes a free one. ``api_token`` is that of the default Step (default: a new one). A Sandbox can be
    started once. Its attributes may be used from any thread.
    """

    hook = _Switch[str]()
    hook_delay = _Switch[float]()
    hook_retry_seconds = _Switch[float]()
    render_delay = _Switch[float]()
    render_error = _Switch["str | None"]()
    idle_limit = _Switch[float]()
    flush_size = _Switch[int]()
    cut_seconds = _Switch[float]()
    create_timeout = _Switch[float]()
    max_file_size = _Switch[int]()
    websocket_refusal = _Switch["int | None"]()
    websockets_silent = _Switch[bool]()
    step_file_limit = _Switch[int]()
    step_byte_limit = _Switch[int]()

    def __init__(self, frontend_port: int = 0, upload_port: int = 0, *, api_token: str | None = None) -> None:
        self.switches = Switches()
        self._ports = (frontend_port, upload_port)
        self._token = api_token
        self._kept: dict[str, str] = {}
        self._requests: list[Request] = []
        self._thread: threading.Thread | None = None
        self._directory: tempfile.TemporaryDirectory[str] | None = None

    def __enter__(self) -> Sandbox:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> Sandbox:
        """Start both servers; return when they listen. ``OSError`` if a port is taken."""
        started: list[BaseException | None] = []
        ready = threading.Event()

        def report(problem: BaseException | None) -> None:
            started.append(problem)
            ready.set()

        self._directory = tempfile.TemporaryDirectory(prefix="workbench-sandbox-", ignore_cleanup_errors=True)
        self._thread = threading.Thread(target=self._run, args=(report,), name="workbench-sandbox", daemon=True)
        self._thread.start()
        ready.wait()
        if started[0] is not None:
            self._thread.join()
            self.stop()
            raise started[0]
        return self

    def stop(self) -> None:
        """Close both ports and every connection (without a close frame), and remove all bytes from disk."""
        if self._thread and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join()
        self._thread = None
        if self._directory:
            self._directory.cleanup()

    def _run(self, report: Callable[[BaseException | None], None]) -> None:
        try:
            asyncio.run(self._serve(report))
        except BaseException as problem:
            report(problem)

    async def _serve(self, report: Callable[[BaseException | None], None]) -> None:
        assert self._directory
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        self.workbench = Workbench(Path(self._directory.name), self.switches)
        self.uploads = UploadHost(self.workbench, self.switches)
        renderer = Renderer(self._loop, self.workbench, self.switches)
        pages = Pages(self.workbench, renderer, Pushes(self._loop, self.workbench))
        app = make_app(CreateFile(self.workbench, self.uploads), pages, routes(self))
        self._frontend = _Host(Record(app, "frontend", self._requests, frozen_date=True), self._ports[0], 5)
        self._tusd = _Host(Record(self.uploads, "upload", self._requests, frozen_date=False), self._ports[1], 6)
        try:
            await self._frontend.up()
            await self._tusd.up()
            self.workbench.frontend_url = f"http://127.0.0.1:{self._frontend.port}"
            self.advertised_upload_url = None
            self._fill()
            report(None)
            await self._stopping.wait()
        finally:
            self.switches.hook_delay = self.switches.render_delay = self.switches.cut_seconds = 0
            await self._frontend.down()
            await self._tusd.down()
            self._frontend.close()
            self._tusd.close()
            if tasks := self._frontend.state.tasks | self._tusd.state.tasks:
                await asyncio.wait(tasks, timeout=2)
            renderer.close()

    # What there is

    @property
    def frontend_url(self) -> str:
        return self.workbench.frontend_url

    @property
    def upload_url(self) -> str:
        """The upload host's own address (see :attr:`advertised_upload_url`)."""
        return f"http://127.0.0.1:{self._tusd.port}"

    @property
    def advertised_upload_url(self) -> str:
        """The upload host as create-file names it: a proxy in front of it, if you set one; None sets it back."""
        return self.uploads.url

    @advertised_upload_url.setter
    def advertised_upload_url(self, url: str | None) -> None:
        self.uploads.url = url or self.upload_url

    @property
    def session_cookie(self) -> str:
        """The value of the owner's ``sessionid`` cookie."""
        return self.workbench.session_cookie

    @property
    def workflows(self) -> list[Workflow]:
        with self.workbench.changed:
            return list(self.workbench.workflows.values())

    @property
    def workflow(self) -> Workflow:
        """The default Workflow, a public one."""
        return self.workbench.workflows[1]

    @property
    def step(self) -> Step:
        """The Step of the default Workflow."""
        return self.workflow.step("step-upload")

    @property
    def secret_step(self) -> Step:
        """The Step of a Workflow that its secret link makes readable."""
        return self.workbench.workflows[2].step("step-secret_1")

    @property
    def private_step(self) -> Step:
        """The Step of a Workflow that only the owner can read."""
        return self.workbench.workflows[3].step("step-private-1")

    @property
    def requests(self) -> list[Request]:
        """Every request so far, in order of arrival; those to the control API are left out."""
        return list(self._requests)

    def clear_requests(self) -> None:
        self._requests.clear()

    # What can be done to it

    def add_workflow(
        self, name: str = "Workflow", *, public: bool = False, secret_link: str | bool = False
    ) -> Workflow:
        """Add a Workflow: public, with a secret link (an id, or True for a new one), or else private."""
        return self.workbench.add_workflow(name, public=public, secret_link=secret_link)

    def forget_uploads(self) -> None:
        """Lose every upload: they answer 404 from now on. Files stay."""
        self._loop.call_soon_threadsafe(self.uploads.forget)
        self._call(asyncio.sleep(0))

    @property
    def tusd_down(self) -> bool:
        """Whether the upload host refuses connections; setting it cuts those that are open."""
        return not self._tusd.is_up

    @tusd_down.setter
    def tusd_down(self, down: bool) -> None:
        self._call(self.set_tusd(up=not down))

    async def set_tusd(self, *, up: bool) -> None:
        await self._set_host(self._tusd, up)

    @property
    def frontend_down(self) -> bool:
        """The same of the frontend; its control API is down with it."""
        return not self._frontend.is_up

    @frontend_down.setter
    def frontend_down(self, down: bool) -> None:
        self._call(self._set_host(self._frontend, not down))

    async def _set_host(self, host: _Host, up: bool) -> None:
        if host.is_up and not up:
            await host.down()
        elif up and not host.is_up:
            await host.up()
        self.uploads.is_up = self._tusd.is_up

    def restart_tusd(self) -> None:
        """Stop and start the upload host: open connections are cut, uploads and their offsets survive."""
        self.tusd_down = True
        self.tusd_down = False

    @property
    def open_websockets(self) -> int:
        """How many websockets are open."""
        return len(self._frontend.websockets)

    def drop_websockets(self) -> None:
        """Close every websocket's TCP connection without a close frame, as a server's shutdown does (recorded)."""
        self._loop.call_soon_threadsafe(self.drop_websockets_in_loop)
        self._call(asyncio.sleep(0))

    def drop_websockets_in_loop(self) -> None:
        self._frontend.cut_connections(only_websockets=True)

    def reset(self, *, empty: bool = False) -> None:
        """Back to the start: no requests, uploads or Files; default Workflows with the same tokens and links.

        With ``empty`` there are no Workflows either. Websockets are dropped.
        """
        self._call(self.reset_in_loop(empty=empty))

    async def reset_in_loop(self, *, empty: bool = False) -> None:
        for switch in fields(Switches):
            setattr(self.switches, switch.name, switch.default)
        await self._set_host(self._tusd, True)
        await self._set_host(self._frontend, True)
        self.drop_websockets_in_loop()
        self.advertised_upload_url = None
        self.uploads.forget()
        with self.workbench.changed:
            self.workbench.clear()
            if not empty:
                self._fill()
        self._requests.clear()

    def _fill(self) -> None:
        """Make the default Workflows. Their tokens and links stay the same as long as the Sandbox runs."""
        kept = self._kept
        public = self.workbench.add_workflow("Public workflow", public=True)
        secret = self.workbench.add_workflow("Workflow with a secret link", secret_link=kept.get("link", True))
        private = self.workbench.add_workflow("Private workflow")
        kept["link"] = secret.secret_link
        kept["1"] = public.add_step("step-upload", api_token=kept.get("1", self._token)).api_token or ""
        kept["2"] = secret.add_step("step-secret_1", api_token=kept.get("2")).api_token or ""
        kept["3"] = private.add_step("step-private-1", api_token=kept.get("3")).api_token or ""

    def _call(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something in the servers' thread and wait until it is done."""
        asyncio.run_coroutine_threadsafe(work, self._loop).result(30)
