"""A running Airflow 3 as its REST API shows it. Standard library only."""

from __future__ import annotations

import json
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import Request, urlopen

from processes import until


class AirflowApi:
    """For an Airflow where everybody is an administrator.

    :param url: of the API server
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._token = ""

    def log_in(self) -> None:
        self._token = self.get("/auth/token")["access_token"]

    def get(self, path: str) -> Any:
        return self.request("GET", path)

    def post(self, path: str, body: dict[str, Any]) -> Any:
        return self.request("POST", path, body)

    def request(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """What the API answers to this, from JSON. ``urllib.error.HTTPError`` unless it is 2xx."""
        headers = {"Accept": "application/json", "Content-Type": "application/json"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        data = None if body is None else json.dumps(body).encode()
        with urlopen(Request(self.url + path, data, headers, method=method), timeout=60) as response:
            return json.loads(response.read() or b"null")

    def unpause(self, dag_id: str, timeout: float = 90) -> None:
        """Waits until the DAG processor has read the DAG. An import error ends the wait."""
        for _ in until(timeout):
            try:
                self.request("PATCH", f"/api/v2/dags/{quote(dag_id)}", {"is_paused": False})
            except HTTPError as error:
                if error.code != 404:
                    raise
            else:
                return
            if errors := self.get("/api/v2/importErrors")["import_errors"]:
                raise RuntimeError("\n".join(f"{e['filename']}:\n{e['stack_trace']}" for e in errors))
        raise TimeoutError(f"No DAG {dag_id!r} after {timeout:g} s")

    def trigger(self, dag_id: str, conf: dict[str, Any] | None = None) -> str:
        """Start a run, unpausing the DAG first. Returns the run id."""
        self.unpause(dag_id)
        run = self.post(f"/api/v2/dags/{quote(dag_id)}/dagRuns", {"logical_date": None, "conf": conf or {}})
        return str(run["dag_run_id"])

    def wait_for_run(self, dag_id: str, run_id: str, timeout: float = 180) -> dict[str, Any]:
        """Until the run has succeeded or failed. Returns it as the API shows it."""
        for _ in until(timeout):
            run: dict[str, Any] = self.get(_run_path(dag_id, run_id))
            if run["state"] in ("success", "failed"):
                return run
        states = {ti["task_id"]: ti["state"] for ti in self.task_instances(dag_id, run_id)}
        raise TimeoutError(f"Run {run_id} of {dag_id} is not done after {timeout:g} s: {states}")

    def task_instances(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        answer = self.get(f"{_run_path(dag_id, run_id)}/taskInstances")
        return list(answer["task_instances"])

    def xcom(self, dag_id: str, run_id: str, task_id: str, key: str = "return_value", map_index: int = -1) -> Any:
        path = f"{_run_path(dag_id, run_id)}/taskInstances/{quote(task_id)}/xcomEntries/{quote(key)}"
        return self.get(f"{path}?map_index={map_index}&deserialize=true")["value"]

    def task_log(self, dag_id: str, run_id: str, task_id: str, try_number: int = 1, map_index: int = -1) -> str:
        path = f"{_run_path(dag_id, run_id)}/taskInstances/{quote(task_id)}/logs/{try_number}"
        content = self.get(f"{path}?map_index={map_index}&full_content=true")["content"]
        return "\n".join(entry if isinstance(entry, str) else _log_line(entry) for entry in content)


def _run_path(dag_id: str, run_id: str) -> str:
    return f"/api/v2/dags/{quote(dag_id)}/dagRuns/{quote(run_id, safe='')}"


def _log_line(entry: dict[str, Any]) -> str:
    line = " ".join(str(entry[key]) for key in ("timestamp", "level", "event") if entry.get(key))
    errors = entry.get("error_detail") or []
    return "\n".join([line, *(f"{error['exc_type']}: {error['exc_value']}" for error in errors)])
