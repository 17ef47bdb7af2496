"""The frontend: create-file, pages, websockets, rendered tables (protocol, sections 1 and 4)."""

from __future__ import annotations

import asyncio
import json
import re
from importlib import resources
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket

from .render import Renderer, table
from .state import SLUG, Refused, Step, Workbench, Workflow
from .tusd import UploadHost

MAX_BODY = 2621440
"""A longer create-file body is refused, in bytes (recorded)."""
MAX_UPLOAD_SIZE = 2147483648
COMMON_HEADERS = {
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
}
BEARER = re.compile(r"Bearer ([-_A-Za-z0-9]+)", re.IGNORECASE)


class CreateFile:
    """``…/steps/{slug}/files``: every method is treated alike (recorded)."""

    def __init__(self, workbench: Workbench, uploads: UploadHost) -> None:
        self.workbench = workbench
        self.uploads = uploads

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        response = await self._answer(request)
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        workflow_id, slug = request.path_params["workflow_id"], request.path_params["slug"]
        body = bytearray()
        async for piece in request.stream():
            if len(body) <= MAX_BODY:
                body += piece
        if not re.fullmatch("[0-9]+", workflow_id) or not SLUG.fullmatch(slug):
            return html_error(404)
        if len(body) > MAX_BODY:
            return html_error(400)
        try:
            form = json.loads(bytes(body))
        except UnicodeDecodeError:
            return refusal(400, "body-not-utf8")
        except ValueError:
            return refusal(400, "body-not-json")
        if not isinstance(form, dict):
            return html_error(500)
        filename, size, errors = check_form(form)
        if errors:
            return refusal(400, "body-has-errors", errors)
        bearer = BEARER.fullmatch(request.headers.get("authorization", "").strip())
        if not bearer:
            return refusal(403, "authorization-bearer-token-not-provided")
        try:
            self.workbench.workflow(int(workflow_id))
            await self.workbench.wait_for_workflow(int(workflow_id))
            self.workbench.step_for_upload(int(workflow_id), slug, bearer[1])
        except Refused as refused:
            return refusal(refused.status, refused.code)
        if not self.uploads.is_up:
            return html_error(500)
        metadata = {"workflowId": workflow_id, "stepSlug": slug, "apiToken": bearer[1], "filename": filename}
        try:
            # Shielded: the File may still land when create-file has given up waiting for the hook (recorded).
            creation = asyncio.ensure_future(self.uploads.create(size, metadata))
            async with asyncio.timeout(self.workbench.switches.create_timeout):
                upload, problem = await asyncio.shield(creation)
        except (TimeoutError, ValueError):
            return html_error(500)
        if problem:
            return html_error(500)
        return as_json({"tusUploadUrl": f"{self.uploads.url}/files/{upload.id}"})


def check_form(form: dict[str, Any]) -> tuple[str, int, dict[str, list[dict[str, str]]]]:
    """File name, size in bytes, and what is wrong with either. Lenient about types, as recorded."""
    errors: dict[str, list[dict[str, str]]] = {}

    def wrong(name: str, code: str, message: str) -> None:
        errors.setdefault(name, []).append({"message": message, "code": code})

    empty: tuple[Any, ...] = (None, "", [], {})
    filename = "" if form.get("filename") in empty else str(form["filename"]).strip()
    if not filename:
        wrong("filename", "required", "This field is required.")
    if len(filename) > 100:
        message = f"Ensure this value has at most 100 characters (it has {len(filename)})."
        wrong("filename", "max_length", message)
    if "\x00" in filename:
        wrong("filename", "null_characters_not_allowed", "Null characters are not allowed.")

    size = 0
    if form.get("size") in empty:
        wrong("size", "required", "This field is required.")
    else:
        try:
            size = int(re.sub(r"\.0*\s*$", "", str(form["size"])))
        except ValueError:
            wrong("size", "invalid", "Enter a whole number.")
    if size > MAX_UPLOAD_SIZE:
        wrong("size", "max_value", f"Ensure this value is less than or equal to {MAX_UPLOAD_SIZE}.")
    if size < 0:
        wrong("size", "min_value", "Ensure this value is greater than or equal to 0.")
    return filename, size, errors


def as_json(content: Any, status: int = 200) -> Response:
    return Response(json.dumps(content), status, COMMON_HEADERS, media_type="application/json")


def refusal(status: int, code: str, errors: dict[str, Any] | None = None) -> Response:
    return as_json({"error": {"code": code, **({"errors": errors} if errors else {})}}, status)


def html_error(status: int) -> Response:
    titles = {400: "Bad Request", 403: "Not allowed", 404: "Not found", 500: "Server Error"}
    text = f"<!doctype html><title>{titles[status]}</title><h1>{titles[status]}</h1>\n"
    headers = {**COMMON_HEADERS, "Vary": "Cookie"}
    # Recorded: only pages made from a template name their charset.
    headers["Content-Type"] = "text/html; charset=utf-8" if status in (403, 404) else "text/html"
    return Response(text, status, headers)


def page_json(value: Any) -> str:
    """JSON that is safe inside a script tag."""
    text = json.dumps(value)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


class Pushes:
    """Carries changes of Workflows to the websockets that watch them."""

    def __init__(self, loop: asyncio.AbstractEventLoop, workbench: Workbench) -> None:
        self._loop = loop
        self._workbench = workbench
        self._sockets: dict[Workflow, set[asyncio.Queue[str]]] = {}
        workbench.push = self.push

    def push(self, workflow: Workflow, data: dict[str, Any]) -> None:
        """Send a change; from any thread, with the state's lock held."""
        text = json.dumps({"type": "apply-delta", "data": data})
        if not workflow.deleted and not self._workbench.switches.websockets_silent:
            for queue in self._sockets.get(workflow, ()):
                self._loop.call_soon_threadsafe(queue.put_nowait, text)

    async def serve(self, websocket: WebSocket, workflow: Workflow, owner: bool) -> None:
        queue: asyncio.Queue[str] = asyncio.Queue()
        await websocket.accept()
        with self._workbench.changed:
            update = self._workbench.complete_update(workflow, owner)
            self._sockets.setdefault(workflow, set()).add(queue)
        sender = asyncio.create_task(self._send(websocket, queue, json.dumps({"type": "apply-delta", "data": update})))
        try:
            while (await websocket.receive())["type"] != "websocket.disconnect":
                pass
        finally:
            sender.cancel()
            with self._workbench.changed:
                self._sockets[workflow].discard(queue)

    @staticmethod
    async def _send(websocket: WebSocket, queue: asyncio.Queue[str], first: str) -> None:
        await websocket.send_text(first)
        while True:
            await websocket.send_text(await queue.get())


class Pages:
    """What a reader sees of a Workflow, by page, websocket and table."""

    def __init__(self, workbench: Workbench, renderer: Renderer, pushes: Pushes) -> None:
        self.workbench = workbench
        self.renderer = renderer
        self.pushes = pushes
        self._template = resources.files(__package__).joinpath("page.html").read_text("utf-8")

    def _find(self, request: Request | WebSocket) -> tuple[Workflow, bool]:
        cookie = request.cookies.get("sessionid")
        workflow = self.workbench.readable_workflow(request.path_params["key"], cookie)
        return workflow, self.workbench.is_owner(cookie)

    async def root(self, request: Request) -> Response:
        first = next((workflow for workflow in self.workbench.workflows.values() if not workflow.deleted), None)
        return RedirectResponse(f"/workflows/{first.id}/", 302) if first else html_error(404)

    async def add_slash(self, request: Request) -> Response:
        return RedirectResponse(f"/workflows/{request.path_params['key']}/", 301, COMMON_HEADERS)

    async def page(self, request: Request) -> Response:
        try:
            workflow, owner = self._find(request)
        except Refused as refused:
            return html_error(refused.status)
        if owner and request.path_params["key"] == workflow.secret_link:
            return RedirectResponse(f"/workflows/{workflow.id}/", 302, COMMON_HEADERS)
        self.renderer.render_stale(workflow)
        state = page_json(self.workbench.init_state(workflow, owner))
        page = self._template.replace("{{init_state}}", state)
        return Response(page, 200, {**COMMON_HEADERS, "Vary": "Cookie"}, media_type="text/html")

    async def websocket(self, websocket: WebSocket) -> None:
        refusal = self.workbench.switches.websocket_refusal
        if refusal is not None:
            await websocket.send_denial_response(Response("No websockets here\n", refusal))
            return
        try:
            workflow, owner = self._find(websocket)
        except Refused:
            await websocket.close()  # before it is accepted: 403 at the handshake
            return
        self.renderer.render_stale(workflow)
        await self.pushes.serve(websocket, workflow, owner)

    async def wrong_websocket(self, websocket: WebSocket) -> None:
        await websocket.send_denial_response(html_error(500))

    async def result_table(self, request: Request) -> Response:
        try:
            workflow, _ = self._find(request)
            step = self._find_step(workflow, request.path_params["slug"])
        except Refused as refused:
            return html_error(refused.status)
        if not step.is_rendered:
            self.renderer.render_stale(workflow)
            return Response("", 503, {**COMMON_HEADERS, "Retry-After": "30"})
        file = next((file for file in step.files if file.uuid == step.output_uuid), None)
        rows = request.query_params.get("rows", "")
        content = await asyncio.to_thread(
            table,
            step.path(file.uuid) if file and step.output.columns else None,
            file.name if file else "",
            request.path_params["format"],
            int(rows) if rows.isdecimal() else None,
        )
        media_types = {"json": "application/json", "csv": "text/csv; charset=utf-8"}
        return Response(content, 200, COMMON_HEADERS, media_type=media_types[request.path_params["format"]])

    @staticmethod
    def _find_step(workflow: Workflow, slug: str) -> Step:
        for step in workflow.steps:
            if step.slug == slug:
                return step
        raise Refused(404, "step-not-found")


def make_app(create_file: CreateFile, pages: Pages, control: list[Route]) -> Starlette:
    async def not_found(request: Request, error: Exception) -> Response:
        return html_error(404)

    table_path = "/workflows/{key}/steps/{slug}/current-result-table."
    routes = [
        Route("/", pages.root),
        Route("/api/v1/workflows/{workflow_id}/steps/{slug}/files", create_file),
        Route("/workflows/{key}", pages.add_slash),
        Route("/workflows/{key}/", pages.page),
        Route(table_path + "{format}", pages.result_table),
        WebSocketRoute("/workflows/{key}", pages.websocket),
        WebSocketRoute("/workflows/{key}/", pages.wrong_websocket),
        Mount("/sandbox", routes=control),
    ]
    app = Starlette(routes=routes, exception_handlers={404: not_found})
    app.router.redirect_slashes = False
    return app
