"""Everything that Airflow's REST API, and the UI's own, can be asked for."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlencode
from urllib.request import Request, urlopen

from airflow_api import AirflowApi
from cryptography.fernet import Fernet
from places import Place, with_opened

KIND = "REST: "
_PARAMETER = re.compile(r"\{([a-z_]+)\}")
# only this much of it: it never ends while a run does not
_STREAMED = 1_000_000

Values = dict[str, Any]


class Walk:
    """Asks for all paths with all identities that fit.

    :param airflow: which one
    :param key: its Fernet key
    :ivar asked: requests that were answered with 200, by path
    :ivar unanswered: paths for which nothing was
    """

    def __init__(self, airflow: AirflowApi, key: Fernet) -> None:
        self._airflow = airflow
        self._key = key
        self._token = airflow.get("/auth/token")["access_token"]
        self.asked: dict[str, int] = {}
        self.unanswered: dict[str, str] = {}

    def places(self, dag_ids: list[str] | None = None) -> Iterator[Place]:
        """The answers.

        :param dag_ids: only what concerns these DAGs; all if None
        """
        identities = self._identities(dag_ids)
        for path, query, needed in _paths(self._airflow):
            names = set(_PARAMETER.findall(path))
            if dag_ids is not None and ("dag_id" not in names or path.endswith("/wait")):
                continue
            for values in identities(names | needed):
                chosen = {key: value for key, value in values.items() if key in query and key not in names}
                asked = {
                    key: chosen.get(key, value) for key, value in query.items() if key in chosen or value is not None
                }
                yield from self._ask(path, asked, values)
            if path not in self.asked:
                self.unanswered.setdefault(path, "nothing of the kind is here")

    def _ask(self, path: str, query: Values, values: Values) -> Iterator[Place]:
        filled = _PARAMETER.sub(lambda match: quote(str(values[match[1]]), safe=""), path)
        address = f"{filled}?{urlencode(query)}" if query else filled
        status, body = self._get(address)
        if status == 200:
            self.asked[path] = self.asked.get(path, 0) + 1
        else:
            self.unanswered[path] = f"{status}"
        for answer in (body, _plain(body)):
            yield from with_opened(Place(f"{KIND}{path}", address, answer), self._key)

    def _get(self, address: str) -> tuple[int, bytes]:
        headers = {"Accept": "application/json, */*;q=0.5", "Authorization": f"Bearer {self._token}"}
        try:
            with urlopen(Request(self._airflow.url + address, headers=headers), timeout=60) as response:
                return response.status, response.read(64 * _STREAMED)
        except HTTPError as error:
            with error:
                return error.code, error.read()
        except (URLError, HTTPException, TimeoutError) as error:
            return 0, str(error).encode()

    def _identities(self, dag_ids: list[str] | None) -> Any:
        """What can be put into a path's braces."""
        get = self._airflow.get
        many = "limit=1000"
        dags = [d["dag_id"] for d in get(f"/api/v2/dags?{many}")["dags"] if dag_ids is None or d["dag_id"] in dag_ids]
        runs = [r for dag in dags for r in get(f"/api/v2/dags/{quote(dag)}/dagRuns?{many}")["dag_runs"]]
        by_run, by_task, by_try, by_xcom, by_state = [], [], [], [], []
        for run in runs:
            one = {"dag_id": run["dag_id"], "dag_run_id": run["dag_run_id"], "run_id": run["dag_run_id"]}
            by_run.append(one)
            path = f"/api/v2/dags/{quote(one['dag_id'])}/dagRuns/{quote(one['dag_run_id'], safe='')}/taskInstances"
            for ti in get(f"{path}?{many}")["task_instances"]:
                task = {**one, "task_id": ti["task_id"], "map_index": ti["map_index"], "task_instance_id": ti["id"]}
                by_task.append(task)
                by_try += [
                    {**task, "task_try_number": number, "try_number": number}
                    for number in range(1, ti["try_number"] + 1)
                ]
                here = f"{path}/{quote(ti['task_id'])}"
                xcoms = get(f"{here}/xcomEntries?{many}&map_index={ti['map_index']}")["xcom_entries"]
                by_xcom += [{**task, "xcom_key": each["key"]} for each in xcoms]
                states = get(f"{here}/state-store?{many}&map_index={ti['map_index']}")
                by_state += [{**task, "key": each["key"]} for each in states["task_state_store"]]
        assets = [{"asset_id": each["id"]} for each in get(f"/api/v2/assets?{many}")["assets"]]
        by_asset_key = []
        for asset in assets:
            states = get(f"/api/v2/assets/{asset['asset_id']}/state-store?{many}")["asset_state_store"]
            by_asset_key += [{**asset, "key": each["key"]} for each in states]
        levels: list[list[Values]] = [
            [{}],
            [{"dag_id": dag} for dag in dags],
            by_run,
            by_task,
            by_try,
            by_xcom,
            by_state,
            assets,
            by_asset_key,
            *self._listed(dags),
        ]

        def fitting(names: set[str]) -> list[Values]:
            return next((level for level in levels if level and names <= level[0].keys()), [])

        return fitting

    def _listed(self, dags: list[str]) -> Iterator[list[Values]]:
        lists = {
            "connections": ("connections", "connection_id", "connection_id"),
            "variables": ("variables", "key", "variable_key"),
            "pools": ("pools", "name", "pool_name"),
            "importErrors": ("import_errors", "import_error_id", "import_error_id"),
            "assets/aliases": ("asset_aliases", "id", "asset_alias_id"),
            "backfills": ("backfills", "id", "backfill_id"),
        }
        for path, (name, key, parameter) in lists.items():
            with contextlib.suppress(HTTPError):
                found = self._airflow.get(f"/api/v2/{path}?limit=1000")[name]
                yield [{parameter: each[key]} for each in found]
        versions = []
        for dag in dags:
            found = self._airflow.get(f"/api/v2/dags/{quote(dag)}/dagVersions?limit=1000")["dag_versions"]
            versions += [{"dag_id": dag, "version_number": each["version_number"]} for each in found]
        yield versions
        tokens = [self._airflow.get(f"/api/v2/dags/{quote(dag)}")["file_token"] for dag in dags[:1]]
        yield [{"file_token": token} for token in tokens]


def _paths(airflow: AirflowApi) -> Iterator[tuple[str, Values, set[str]]]:
    """Every path that can be read, what can be asked of it, and what of that must be."""
    import airflow.api_fastapi.core_api.openapi as described  # type: ignore[import-not-found]
    import yaml

    folder = Path(described.__file__).parent
    documents = [airflow.get("/openapi.json")]
    documents += [yaml.load(path.read_text(), yaml.CSafeLoader) for path in sorted(folder.glob("_private*.yaml"))]
    useful: Values = {
        "limit": 1000,
        "full_content": "true",
        "deserialize": "true",
        "interval": 1,
        "start_date": "2020-01-01T00:00:00Z",
        # of what it is asked for, if of anything
        "map_index": None,
        "dag_id": None,
    }
    for document in documents:
        for path, methods in document["paths"].items():
            if "get" not in methods or "/auth/" in path:
                continue
            asked = [each for each in methods["get"].get("parameters", []) if each["in"] == "query"]
            names = {each["name"] for each in asked}
            needed = {each["name"] for each in asked if each.get("required")} & {"dag_id"}
            yield path, {name: value for name, value in useful.items() if name in names}, needed


def _plain(body: bytes) -> bytes:
    """Without JSON's escapes."""
    try:
        return json.dumps(json.loads(body), ensure_ascii=False).encode()
    except ValueError:
        return b""
