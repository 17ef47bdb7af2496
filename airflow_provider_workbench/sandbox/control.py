"""The control API under ``/sandbox/``: the switches of :class:`Sandbox` for tests in other processes and languages."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from .state import Step, Workflow
from .switches import Switches

if TYPE_CHECKING:
    from .server import Sandbox


def routes(sandbox: Sandbox) -> list[Route]:
    """The control API's routes, relative to ``/sandbox``."""
    control = Control(sandbox)
    steps = "/workflows/{workflow_id:int}/steps"
    return [
        _route("/", "GET", control.state),
        _route("/switches", "GET", control.switches),
        _route("/switches", "POST", control.set_switches),
        _route("/requests", "GET", control.requests),
        _route("/requests", "DELETE", control.clear_requests),
        _route("/reset", "POST", control.reset),
        _route("/forget-uploads", "POST", control.forget_uploads),
        _route("/drop-websockets", "POST", control.drop_websockets),
        _route("/workflows", "POST", control.add_workflow),
        _route(steps, "POST", control.add_step),
        _route("/workflows/{workflow_id:int}/{action}", "POST", control.change_workflow),
        _route(steps + "/{slug}/{action}", "POST", control.change_step),
        _route(steps + "/{slug}/files/{uuid}", "GET", control.content),
    ]


def _route(path: str, method: str, work: Callable[[Request, dict[str, Any]], Awaitable[Any]]) -> Route:
    async def endpoint(request: Request) -> Response:
        host, origin = request.headers.get("host", ""), request.headers.get("origin")
        if origin is not None and origin != f"http://{host}":
            return JSONResponse({"error": "another site's page may not control the sandbox"}, 403)
        try:
            body = json.loads(await request.body() or b"{}")
            result = await work(request, body)
        except KeyError as error:
            return JSONResponse({"error": f"there is no such thing: {error}"}, 404)
        except (TypeError, ValueError) as error:
            return JSONResponse({"error": str(error)}, 400)
        return result if isinstance(result, Response) else JSONResponse(result if result is not None else {})

    return Route(path, endpoint, methods=[method])


class Control:
    """Each method takes a request and its JSON body, and returns what to answer as JSON."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox

    async def state(self, request: Request, body: dict[str, Any]) -> dict[str, Any]:
        sandbox = self.sandbox
        return {
            "frontend_url": sandbox.frontend_url,
            "upload_url": sandbox.upload_url,
            "session_cookie": sandbox.session_cookie,
            "switches": await self.switches(request, body),
            "workflows": [_workflow_json(workflow) for workflow in sandbox.workflows],
        }

    async def switches(self, request: Request, body: dict[str, Any]) -> dict[str, Any]:
        return {**asdict(self.sandbox.switches), "tusd_down": self.sandbox.tusd_down}

    async def set_switches(self, request: Request, body: dict[str, Any]) -> dict[str, Any]:
        known = {field.name for field in fields(Switches)} | {"tusd_down"}
        if unknown := set(body) - known:
            raise ValueError(f"no such switch: {', '.join(sorted(unknown))}; there are {', '.join(sorted(known))}")
        for name, value in body.items():
            if name == "tusd_down":
                await self.sandbox.set_tusd(up=not value)
            else:
                setattr(self.sandbox.switches, name, value)
        return await self.switches(request, body)

    async def requests(self, request: Request, body: dict[str, Any]) -> list[dict[str, Any]]:
        """Requests without their headers, which hold tokens."""
        shown = [asdict(entry) for entry in self.sandbox.requests]
        for entry in shown:
            del entry["headers"]
        return shown

    async def clear_requests(self, request: Request, body: dict[str, Any]) -> None:
        self.sandbox.clear_requests()

    async def reset(self, request: Request, body: dict[str, Any]) -> dict[str, Any]:
        await self.sandbox.reset_in_loop(**body)
        return await self.state(request, body)

    async def forget_uploads(self, request: Request, body: dict[str, Any]) -> None:
        self.sandbox.uploads.forget()

    async def drop_websockets(self, request: Request, body: dict[str, Any]) -> None:
        self.sandbox.drop_websockets_in_loop()

    async def add_workflow(self, request: Request, body: dict[str, Any]) -> dict[str, Any]:
        return _workflow_json(self.sandbox.add_workflow(**body))

    async def change_workflow(self, request: Request, body: dict[str, Any]) -> dict[str, Any]:
        workflow = self._workflow(request)
        actions: dict[str, Callable[..., Any]] = {
            "delete": workflow.delete,
            "reset-secret-link": workflow.reset_secret_link,
            "hold": workflow.hold,
            "release": workflow.release,
        }
        actions[request.path_params["action"]](**body)
        return _workflow_json(workflow)

    async def add_step(self, request: Request, body: dict[str, Any]) -> dict[str, Any]:
        return _step_json(self._workflow(request).add_step(**body))

    async def change_step(self, request: Request, body: dict[str, Any]) -> dict[str, Any]:
        step = self._step(request)
        actions: dict[str, Callable[..., Any]] = {
            "reset-token": step.reset_token,
            "disable-api": step.disable_api,
            "enable-api": step.enable_api,
            "delete": step.delete,
            "restore": step.restore,
        }
        actions[request.path_params["action"]](**body)
        return _step_json(step)

    async def content(self, request: Request, body: dict[str, Any]) -> Response:
        path = self._step(request).path(request.path_params["uuid"])
        return FileResponse(path, media_type="application/octet-stream")

    def _step(self, request: Request) -> Step:
        return self._workflow(request).step(request.path_params["slug"])

    def _workflow(self, request: Request) -> Workflow:
        return self.sandbox.workbench.workflows[request.path_params["workflow_id"]]


def _workflow_json(workflow: Workflow) -> dict[str, Any]:
    return {
        "id": workflow.id,
        "name": workflow.name,
        "public": workflow.public,
        "deleted": workflow.deleted,
        "page_url": workflow.page_url,
        "secret_link": workflow.secret_link,
        "secret_link_url": workflow.secret_link_url,
        "steps": [_step_json(step) for step in workflow.steps],
    }


def _step_json(step: Step) -> dict[str, Any]:
    return {
        "slug": step.slug,
        "module": step.module,
        "workflow_id": step.workflow_id,
        "deleted": step.deleted,
        "create_file_url": step.create_file_url,
        "api_token": step.api_token,
        "files": [file.as_json() for file in step.files],
        "selected": step.selected_uuid,
        "rendered": step.is_rendered,
        **step.output.as_json(),
    }
