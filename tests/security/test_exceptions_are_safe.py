"""No error, and no ``repr()`` or pickle of anything public, carries a secret. Whatever is added is found by itself."""

from __future__ import annotations

import asyncio
import base64
import copy
import importlib
import inspect
import json
import pickle
import pkgutil
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import Enum
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import pytest
from client.client_servers import Peer, Wire, unused_port

import airflow_provider_workbench
from airflow_provider_workbench.client import errors
from airflow_provider_workbench.client.allowed_roots import AllowedRoots
from airflow_provider_workbench.client.answers import Answer
from airflow_provider_workbench.client.async_session import AsyncSession
from airflow_provider_workbench.client.backoff import Backoff
from airflow_provider_workbench.client.digest import DigestingSource
from airflow_provider_workbench.client.errors import WorkbenchError
from airflow_provider_workbench.client.expected import Expected
from airflow_provider_workbench.client.job import Job, Totals
from airflow_provider_workbench.client.listener import Kept, Listener
from airflow_provider_workbench.client.object_source import ObjectSource
from airflow_provider_workbench.client.patch_body import PatchBody
from airflow_provider_workbench.client.patience import Control, Patience
from airflow_provider_workbench.client.progress import ProgressLines
from airflow_provider_workbench.client.read_ahead import ReadAhead
from airflow_provider_workbench.client.session import Session
from airflow_provider_workbench.client.settings import Settings
from airflow_provider_workbench.client.settling import Settling
from airflow_provider_workbench.client.sources import BytesSource, PathSource
from airflow_provider_workbench.client.step_messages import WorkflowSteps
from airflow_provider_workbench.client.steps import File, Step
from airflow_provider_workbench.client.subscriptions import Subscription, Subscriptions
from airflow_provider_workbench.client.tables import TableSource
from airflow_provider_workbench.client.transfer import Transfer
from airflow_provider_workbench.client.tus import Meaning, Reading
from airflow_provider_workbench.client.unpicklable import Unpicklable
from airflow_provider_workbench.client.upload import UploadResult
from airflow_provider_workbench.client.waiting import Verdict, Wanted
from airflow_provider_workbench.client.watcher import Watcher
from airflow_provider_workbench.client.websocket import WorkflowSocket
from airflow_provider_workbench.decorators.workbench import WorkbenchUploadDecoratedOperator
from airflow_provider_workbench.hooks.kept_delivery import KeptDelivery
from airflow_provider_workbench.hooks.kept_uploads import KeptUploads
from airflow_provider_workbench.hooks.task_state import TaskState
from airflow_provider_workbench.hooks.waiting import Rules, Waiting
from airflow_provider_workbench.hooks.workbench import WorkbenchFatalError, WorkbenchHook, for_airflow, translated
from airflow_provider_workbench.links.workbench import WorkbenchStepLink
from airflow_provider_workbench.operators.outlets import StepOutlets
from airflow_provider_workbench.operators.workbench import WorkbenchUploadOperator
from airflow_provider_workbench.sensors.workbench import WorkbenchFileSensor
from airflow_provider_workbench.triggers.file_events import WorkbenchFileEventTrigger
from airflow_provider_workbench.triggers.seen_files import SeenFiles
from airflow_provider_workbench.triggers.workbench import WorkbenchFileTrigger

LINK, COOKIE = "wLink7f3a9c2e51d8b604", "c00kie-8d21f0a4b6e3977c"
KEY, PASSWORD, SIGNATURE = "AKIA5EXAMPLEKEYID", "p4ss/w0rd+of9the8storage", "s1gn4ture0of1the2url"
CONTENT = b"A\n1\n"


def forms(secret: str) -> set[str]:
    """Raw, quoted, unquoted, in base64 (by itself), and as an upload URL's path and id."""
    found = {secret, quote(secret, safe=""), quote(secret), unquote(secret), base64.b64encode(secret.encode()).decode()}
    if "://" in secret:
        path = urlsplit(secret).path
        identity = path.rpartition("/")[2]
        found |= {path, identity, quote(identity, safe=""), unquote(identity), *identity.split("+")}
    return found


@dataclass
class Secrets:
    known: set[str] = field(default_factory=set)

    def add(self, *secrets: str) -> None:
        for secret in secrets:
            self.known |= forms(secret)

    def within(self, text: str | bytes) -> list[str]:
        text = text if isinstance(text, str) else text.decode("latin-1")
        return sorted(form for form in self.known if form in text)


def problems(error: BaseException, secrets: Secrets) -> list[str]:
    """What is wrong with an error and all that it leads to, frames' variables left out."""
    found: list[str] = []
    todo: list[tuple[str, Any]] = [(type(error).__name__, error)]
    seen: set[int] = set()
    while todo:
        where, value = todo.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, BaseException):
            shown = [str(value), repr(value), "".join(traceback.format_exception_only(value))]
            found += [f"{where}: {form} is shown" for text in shown for form in secrets.within(text)]
            if not isinstance(value, WorkbenchError):
                found.append(f"{where} leads to a {type(value).__name__}")
            todo += [(f"{where}.args", value.args), (f"{where}.__dict__", vars(value))]
            todo += [(f"{where}.{name}", getattr(value, name)) for name in ("__cause__", "__context__")]
            todo.append((f"{where}.__notes__", getattr(value, "__notes__", ())))
        elif isinstance(value, dict):
            todo += [(f"{where} key", key) for key in value]
            todo += [(f"{where}[{key!r}]", each) for key, each in value.items()]
        elif isinstance(value, tuple | list | set | frozenset):
            todo += [(f"{where}[{index}]", each) for index, each in enumerate(value)]
        elif isinstance(value, str):
            found += [f"{where} is {form}" for form in secrets.within(value)]
        elif value is not None and not isinstance(value, bool | int | float):
            found.append(f"{where} is a {type(value).__name__}")
    return found


def check_pickles(error: WorkbenchError, secrets: Secrets) -> None:
    """As multiprocessing, and Airflow's executors, hand it on."""
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        data = pickle.dumps(error, protocol)
        assert secrets.within(data) == []
        for other in (pickle.loads(data), copy.copy(error), copy.deepcopy(error)):
            assert type(other) is type(error)
            assert (str(other), other.args) == (str(error), error.args)
            assert vars(other) == vars(error)
            assert other.as_dict() == error.as_dict()


# ---- the test itself


class PlantedError(WorkbenchError):
    """Carries what it should not."""


def planted() -> dict[str, BaseException]:
    def chained(how: Callable[[], None]) -> BaseException:
        try:
            how()
        except WorkbenchError as error:
            return error
        raise AssertionError

    def context() -> None:
        try:
            raise OSError(SIGNATURE)
        except OSError:
            raise PlantedError("x") from None

    def cause() -> None:
        raise PlantedError("x") from OSError(SIGNATURE)

    noted, held, asked, within = (PlantedError("x") for _ in range(4))
    noted.add_note(SIGNATURE)
    held.url = f"https://h/{SIGNATURE}"  # type: ignore[attr-defined]
    asked.request = SimpleNamespace()  # type: ignore[attr-defined]
    within.args = ("x", {"a": [f"b{SIGNATURE}"]})
    return {
        "text": PlantedError(SIGNATURE),
        "quoted": PlantedError(quote(SIGNATURE, safe="")),
        "base64": PlantedError(base64.b64encode(SIGNATURE.encode()).decode()),
        "context": chained(context),
        "cause": chained(cause),
        "note": noted,
        "attribute": held,
        "request": asked,
        "args": within,
    }


@pytest.mark.parametrize("place", planted())
def test_a_planted_leak_is_found(place: str) -> None:
    secrets = Secrets()
    secrets.add(SIGNATURE)
    assert problems(planted()[place], secrets)
    assert problems(PlantedError("x"), secrets) == []


# ---- errors


def kinds(cls: type[WorkbenchError] = WorkbenchError) -> list[type[WorkbenchError]]:
    """All of ours, wherever they are defined."""
    _modules()
    inside = (kind for sub in cls.__subclasses__() for kind in kinds(sub))
    found = dict.fromkeys([cls, *inside])
    return [kind for kind in found if kind.__module__.startswith("airflow_provider_workbench")]


def _modules() -> list[Any]:
    path, prefix = airflow_provider_workbench.__path__, f"{airflow_provider_workbench.__name__}."
    names = [module.name for module in pkgutil.walk_packages(path, prefix)]
    # the sandbox shows its secrets on purpose
    ours = [name for name in names if ".sandbox" not in name and ".example_dags" not in name]
    return [importlib.import_module(name) for name in ours]


@pytest.mark.parametrize("kind", kinds(), ids=lambda kind: kind.__name__)
def test_every_kind_keeps_its_facts_when_it_is_pickled_or_copied(kind: type[WorkbenchError]) -> None:
    error = kind("what happened", code="some-code", status=503)
    error.retry_after = 7.5
    if isinstance(error, errors.RefusedError):
        error.at_finish, error.fields = True, {"filename": ("max_length",)}
    if isinstance(error, WorkbenchFatalError):
        error.kind = "TokenInvalidError"
    check_pickles(error, Secrets())
    check_pickles(for_airflow(error), Secrets())


def test_pickling_leaves_out_what_stands_behind() -> None:
    try:
        try:
            raise OSError(SIGNATURE)
        except OSError:
            raise errors.ServerError("x")  # noqa: B904
    except errors.ServerError as error:
        other = pickle.loads(pickle.dumps(error))
    assert other.__context__ is None


# ---- every way to fail


class Trial:
    """A Workbench to fail at, and the secrets that come up meanwhile."""

    def __init__(self, wb: Any, folder: Path, monkeypatch: pytest.MonkeyPatch, secrets: Secrets) -> None:
        self.wb = wb
        self.folder = folder
        self.secrets = secrets
        self.step = wb.secret_step
        self._monkeypatch = monkeypatch
        self._servers: list[Wire] = []
        self._connections = 0
        secrets.add(LINK, COOKIE, KEY, PASSWORD, SIGNATURE, wb.session_cookie, wb.secret_step.secret_link)
        secrets.add(*(step.api_token for step in (wb.step, wb.secret_step, wb.private_step)))
        self.hook = self.connect()

    def connect(self, url: str | None = None, *, step: Any = None, **extra: Any) -> WorkbenchHook:
        self.step = step or self.step
        host = self.step.create_file_url if url is None else f"{url}/api/v1/workflows/7/steps/step-x/files"
        limits = {"retry_budget": 0.3, "stall_timeout": 2, "finish_timeout": 3, "connect_timeout": 2}
        link = {"secret_link": self.step.secret_link} if self.step.secret_link and url is None else {}
        connection = {
            "conn_type": "workbench",
            "host": host,
            "password": self.step.api_token,
            "extra": {**limits, **link, **extra},
        }
        # what triggers look up is kept for seconds, by its id
        self._connections += 1
        self.conn_id = f"{self.folder.name}_{self._connections}"
        self._monkeypatch.setenv(f"AIRFLOW_CONN_{self.conn_id.upper()}", json.dumps(connection))
        self.hook = WorkbenchHook(self.conn_id)
        return self.hook

    def says(self, status: str, body: Callable[[bytes, bytes], bytes]) -> WorkbenchHook:
        """A frontend that answers so to all."""

        def serve(peer: Peer) -> None:
            while (request := peer.read_request())[0]:
                peer.answer(status, body(*request))

        return self.connect(self.serve(serve), session_token=COOKIE)

    def serve(self, handler: Callable[[Peer], None]) -> str:
        server = Wire(handler)
        server.__enter__()
        self._servers.append(server)
        return server.url

    def close(self) -> None:
        for server in self._servers:
            server.__exit__()

    def upload(self, *, then: Callable[[], object] = lambda: None, what: Any = CONTENT, **options: Any) -> Any:
        """``then`` is done when an upload was created and nothing was sent."""
        mask = WorkbenchHook._mask_upload_url

        def note(hook: WorkbenchHook, url: str) -> None:
            self.secrets.add(url)
            mask(hook, url)
            then()

        self._monkeypatch.setattr(WorkbenchHook, "_mask_upload_url", note)
        return self.hook.upload_file(what, options.pop("filename", "a.csv"), **options)

    def defer(self) -> Any:
        """What a deferred task makes of its trigger's event."""
        deadline = (datetime.now(UTC) + timedelta(seconds=5)).isoformat()
        trigger = WorkbenchFileTrigger(self.conn_id, {"until": "listed", "name": "a.csv"}, deadline, 0.1)
        self._monkeypatch.setattr(WorkbenchFileTrigger, "log", SimpleNamespace(error=print, info=print))
        event = asyncio.run(anext(trigger.run())).payload
        assert self.secrets.within(json.dumps(event)) == []
        operator = WorkbenchUploadOperator(task_id="upload", filepath="x", workbench_conn_id=self.conn_id)
        return operator.execute_complete({}, event)  # type: ignore[typeddict-item]

    def read(self, hook: WorkbenchHook) -> Any:
        """Without blocking."""
        return asyncio.run(hook.aget_step())

    def file(self, content: bytes = CONTENT) -> Path:
        (self.folder / "a.csv").write_bytes(content)
        return self.folder / "a.csv"

    def sense(self, **options: Any) -> Any:
        ti = SimpleNamespace(start_date=datetime.now(UTC), try_number=1, max_tries=0, xcom_push=lambda **_: None)
        options = {"poke_interval": 0.05, "timeout": 5, "workbench_conn_id": self.conn_id, **options}
        return WorkbenchFileSensor(task_id="wait", **options).execute({"ti": ti})  # type: ignore[arg-type]

    def run(self, **options: Any) -> Any:
        ti = SimpleNamespace(start_date=datetime.now(UTC), try_number=1, max_tries=0, xcom_push=lambda **_: None)
        options = {"filepath": str(self.file()), "poke_interval": 0.05, "workbench_conn_id": self.conn_id, **options}
        return WorkbenchUploadOperator(task_id="upload", **options).execute({"ti": ti})  # type: ignore[arg-type]


def echo(head: bytes, body: bytes) -> bytes:
    """As a proxy's or a framework's page of its troubles does."""
    return b"<pre>" + head + body + b"</pre>"


def refusing(code: str) -> Callable[[Trial], Any]:
    def run(trial: Trial) -> Any:
        def body(head: bytes, body: bytes) -> bytes:
            words = head.decode("latin-1")
            fields = {"filename": [{"code": words, "message": words}], words: [{"code": "x"}]}
            return json.dumps({"error": {"code": code, "message": words, "errors": fields}}).encode()

        trial.says("403 Forbidden", body)
        return trial.upload()

    return run


def _grow(trial: Trial) -> None:
    with (trial.folder / "a.csv").open("ab") as file:
        file.write(b"2\n")


def _closes(trial: Trial) -> Any:
    def close(peer: Peer) -> None:
        peer.read_request()
        peer.reset()

    trial.connect(trial.serve(close))
    return trial.upload()


def _huge(trial: Trial) -> Any:
    path = trial.file()
    with path.open("ab") as file:
        file.truncate(2**31)
    return trial.upload(what=path)


def _superseded(trial: Trial) -> Any:
    upload = trial.upload(filename="first.csv").as_dict()
    trial.upload(filename="later.csv")
    return trial.sense(upload=upload, until="selected", on_superseded="fail")


def _render_error(trial: Trial) -> Any:
    trial.wb.render_error = "Workbench's own words"
    return trial.run(wait_until="rendered")


def _timeout(trial: Trial) -> Any:
    trial.wb.render_delay = 5
    return trial.run(wait_until="rendered", wait_timeout=0.3)


def _trigger_fails(trial: Trial) -> Any:
    async def fail(*_: Any, **__: Any) -> Any:
        raise RuntimeError(f"GET https://h/{SIGNATURE} {trial.step.api_token}")

    trial._monkeypatch.setattr(WorkbenchHook, "aget_settings", fail)
    return trial.defer()


def _misses_step(trial: Trial) -> Any:
    trial.step.workflow.delete()
    return trial.hook.get_step()


def _outcome_unknown(trial: Trial) -> Any:
    trial.connect(step=trial.wb.private_step)
    trial.wb.hook, trial.wb.hook_retry_seconds = "store-then-500", 0.01
    return trial.upload()


def _not_taken(trial: Trial) -> Any:
    trial.wb.hook, trial.wb.hook_retry_seconds = "500", 0.01
    return trial.upload()


Way = Callable[[Trial], Any]
WAYS: dict[str, list[Way]] = {
    "ConfigurationError": [
        lambda trial: trial.connect(f"https://:{trial.step.api_token}@h").get_step(),
        lambda trial: trial.connect(f"https://h/{LINK}").get_step(),
        lambda trial: trial.connect(secret_link=f"https://elsewhere.example/workflows/{LINK}/").get_step(),
        lambda trial: trial.connect(chunk_size=COOKIE).get_step(),
        lambda trial: trial.connect(verify_tls=trial.step.api_token).get_step(),
        lambda trial: trial.connect(**{COOKIE: 1, "ca_bundle": "/none.pem"}).get_step(),
        lambda trial: trial.upload(what=f"s3://{KEY}:{PASSWORD}@bucket/a.csv"),
        lambda trial: trial.upload(what=f"nosuch://{KEY}:{PASSWORD}@host/a.csv?sig={SIGNATURE}"),
        lambda trial: trial.upload(allowed_roots=f"s3://{KEY}:{PASSWORD}@bucket/a"),
    ],
    "FilenameError": [lambda trial: trial.upload(filename="a\0")],
    "SizeError": [_huge],
    "SourceError": [
        lambda trial: trial.upload(what=str(trial.folder)),
        lambda trial: trial.upload(what="/proc/self/environ"),
        lambda trial: trial.upload(what=SimpleNamespace(secret=SIGNATURE)),
        lambda trial: trial.upload(what=f"https://h:x/a.csv?sig={SIGNATURE}"),
        lambda trial: trial.upload(what=f"https://[x/a.csv?sig={SIGNATURE}"),
        lambda trial: trial.upload(what=f"https:///a.csv?sig={SIGNATURE}"),
    ],
    "SourceNotAllowedError": [
        lambda trial: trial.upload(what=trial.file(), allowed_roots="/none"),
        lambda trial: trial.upload(what=f"https://{KEY}:{PASSWORD}@h/a?sig={SIGNATURE}", allowed_roots="/none"),
    ],
    "SourceMissingError": [
        lambda trial: trial.upload(what=f" https://{KEY}:{PASSWORD}@h/a.csv?sig={SIGNATURE}"),
        lambda trial: trial.upload(what=f"simplecache::https://h/a.csv?sig={SIGNATURE}"),
        lambda trial: trial.upload(what=f"http:/{KEY}:{PASSWORD}@h/x"),
        lambda trial: trial.upload(
            what=f"{trial.serve(lambda peer: (peer.read_request(), peer.answer('404 Not Found'))[1])}/a?sig={SIGNATURE}"
        ),
    ],
    "SourceReadError": [
        lambda trial: trial.upload(what=f"http://{KEY}:{quote(PASSWORD, safe='')}@127.0.0.1:9/a.csv?sig={SIGNATURE}")
    ],
    "SourceChangedError": [lambda trial: trial.upload(what=trial.file(), then=lambda: _grow(trial))],
    "ConnectError": [
        lambda trial: trial.connect(f"http://127.0.0.1:{unused_port()}").upload_file(CONTENT, "a.csv"),
        lambda trial: trial.read(trial.connect(f"http://127.0.0.1:{unused_port()}", session_token=COOKIE)),
    ],
    "TlsError": [
        lambda trial: trial.connect(trial.wb.frontend_url.replace("http:", "https:")).get_step(),
        lambda trial: trial.read(trial.connect(trial.wb.frontend_url.replace("http:", "https:"))),
    ],
    "ConnectionLostError": [_closes],
    "UnexpectedAnswerError": [
        lambda trial: trial.says("200 OK", echo).upload_file(CONTENT, "a.csv"),
        lambda trial: trial.says("418 I'm a teapot", echo).upload_file(CONTENT, "a.csv"),
        lambda trial: trial.says("200 OK", echo).get_step(),
        lambda trial: trial.read(trial.says("200 OK", echo)),
    ],
    "ServerError": [
        lambda trial: trial.says("500 Oops", echo).upload_file(CONTENT, "a.csv"),
        lambda trial: trial.says("502 Oops", echo).get_step(),
        lambda trial: trial.read(trial.says("502 Oops", echo)),
    ],
    "BusyError": [lambda trial: trial.says("429 Slower", echo).upload_file(CONTENT, "a.csv")],
    "RefusedError": [refusing("no-such-code")],
    "TokenInvalidError": [
        refusing("authorization-bearer-token-invalid"),
        lambda trial: trial.upload(then=lambda: trial.secrets.add(trial.step.reset_token())),
    ],
    "ApiDisabledError": [refusing("step-has-no-api-token"), lambda trial: trial.upload(then=trial.step.disable_api)],
    "StepNotFoundError": [refusing("step-not-found"), lambda trial: trial.upload(then=trial.step.delete)],
    "WorkflowNotFoundError": [
        refusing("workflow-not-found"),
        lambda trial: trial.upload(then=trial.step.workflow.delete),
    ],
    **{
        kind.__name__: [refusing(kind.known_code)]
        for kind in (
            errors.TokenNotProvidedError,
            errors.StepHasNoFileParamError,
            errors.StepModuleDeletedError,
            errors.BodyNotJsonError,
            errors.BodyNotUtf8Error,
            errors.BodyHasErrorsError,
        )
    },
    "UploadInterruptedError": [lambda trial: trial.upload(then=lambda: setattr(trial.wb, "tusd_down", True))],
    "UploadGoneError": [lambda trial: trial.upload(then=trial.wb.forget_uploads)],
    "UploadNotTakenError": [_not_taken],
    "UploadStoppedError": [lambda trial: trial.upload(then=lambda: trial.hook.stop_upload(terminate=True))],
    "OutcomeUnknownError": [_outcome_unknown],
    "StepUnreadableError": [
        lambda trial: (trial.connect(step=trial.wb.private_step), trial.defer()),
        lambda trial: (trial.says("403 Forbidden", echo), trial.defer()),
        lambda trial: trial.connect(step=trial.wb.private_step).get_step(),
        lambda trial: trial.says("403 Forbidden", echo).get_step(),
        lambda trial: trial.connect(step=trial.wb.private_step, session_token=COOKIE).get_step(),
    ],
    "StepGoneError": [
        _misses_step,
        lambda trial: trial.connect(secret_link=LINK).get_step(),
        lambda trial: (trial.connect(secret_link=LINK), trial.defer()),
    ],
    "RenderError": [_render_error],
    "FileSupersededError": [_superseded],
    "UnexpectedTableError": [lambda trial: trial.run(wait_until="rendered", expected_rows=7)],
    "WaitTimeoutError": [_timeout],
    "WaitingFailedError": [_trigger_fails],
}
# they stand for others, or are made of others
NEVER_RAISED = {"WorkbenchError", "TransportError", "WorkbenchFatalError"}


@pytest.fixture
def secrets() -> Secrets:
    return Secrets()


@pytest.fixture
def trial(
    workbench_sandbox: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    secrets: Secrets,
    no_pauses_between_rounds: None,
) -> Iterator[Trial]:
    monkeypatch.setattr("airflow_provider_workbench.client.steps.SECOND_LOOK", (0.05, 0.1))
    made = Trial(workbench_sandbox, tmp_path, monkeypatch, secrets)
    yield made
    made.close()


def test_no_way_to_fail_was_forgotten() -> None:
    assert {kind.__name__ for kind in kinds()} == {*WAYS, *NEVER_RAISED}


@pytest.mark.parametrize(
    ("kind", "way"),
    [(kind, way) for kind, ways in WAYS.items() for way in ways],
    ids=[f"{kind}-{number}" for kind, ways in WAYS.items() for number, _ in enumerate(ways, 1)],
)
def test_no_error_carries_a_secret(trial: Trial, kind: str, way: Way) -> None:
    with pytest.raises(WorkbenchError) as caught:
        way(trial)
    error = caught.value
    assert (error.kind if isinstance(error, WorkbenchFatalError) else type(error).__name__) == kind, error
    assert problems(error, trial.secrets) == []
    check_pickles(error, trial.secrets)
    assert trial.secrets.within(json.dumps(error.as_dict())) == []


def test_the_test_of_the_connection_tells_no_secret(trial: Trial) -> None:
    for hook in (
        trial.says("500 Oops", echo),
        trial.says("200 OK", echo),
        trial.connect(secret_link=f"https://elsewhere.example/workflows/{LINK}/"),
        trial.connect(f"http://127.0.0.1:{unused_port()}"),
        trial.connect(step=trial.wb.private_step),
    ):
        _, message = hook.test_connection()
        assert trial.secrets.within(message) == []


def test_an_error_of_the_client_is_chained_to_none_when_it_becomes_airflows() -> None:
    def fail() -> None:
        raise errors.TokenInvalidError("x", status=403)

    with pytest.raises(WorkbenchFatalError) as caught:
        translated(fail)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


# ---- whatever is public


@dataclass
class Parts:
    """What objects are made of here, full of secrets."""

    settings: Settings
    url: str
    folder: Path
    fs: Any

    @property
    def job(self) -> Job:
        return Job(Session(self.settings))

    @property
    def path(self) -> Path:
        path = self.folder / "a.csv"
        path.write_bytes(CONTENT)
        return path


NOW = datetime(2026, 1, 1, tzinfo=UTC)
FILE = File("u1", "a.csv", 4, NOW)
WANTED = Wanted("listed", name="a.csv")
STEP = Step("step-x", (FILE,), "u1", True, "ok", ("words",), 1, 1)
CONTEXT: Any = {"ti": SimpleNamespace(try_number=1, max_tries=0)}


def _hook(parts: Parts) -> WorkbenchHook:
    hook = WorkbenchHook()
    hook.get_settings()
    hook._control = Control()
    hook._unsettled = Kept(parts.url, NOW, NOW)
    return hook


def _operator(parts: Parts) -> WorkbenchUploadOperator:
    operator = WorkbenchUploadOperator(task_id="upload", filepath="a.csv")
    operator._hook = _hook(parts)
    operator._endpoint = parts.settings.endpoint
    return operator


def _decorated(parts: Parts) -> WorkbenchUploadDecoratedOperator:
    operator = WorkbenchUploadDecoratedOperator(task_id="upload", python_callable=_table, filename="a.csv")
    operator._hook = _hook(parts)
    return operator


def _table() -> TableSource:
    import pyarrow

    return TableSource(pyarrow.table({"a": [1]}))


def _watcher(parts: Parts) -> Watcher:
    return Watcher(parts.settings)


def _event_trigger(parts: Parts) -> Any:
    try:
        return WorkbenchFileEventTrigger()
    except Exception:
        pytest.skip("Airflow 2 has no asset watchers")


# by class: how one is made
PUBLIC: dict[str, Callable[[Parts], Any]] = {
    "client.allowed_roots.AllowedRoots": lambda parts: AllowedRoots.parse(["/data", "s3://c@bucket/x"], "c"),
    "client.answers.Answer": lambda parts: Answer(
        200, {"upload-metadata": parts.settings.token, "location": parts.url}, parts.url.encode()
    ),
    "client.async_session.AsyncSession": lambda parts: AsyncSession(parts.settings),
    "client.backoff.Backoff": lambda parts: Backoff(1, first=1, longest=1),
    "client.digest.DigestingSource": lambda parts: DigestingSource(PathSource(parts.path)),
    "client.endpoint.Endpoint": lambda parts: parts.settings.endpoint,
    "client.expected.Expected": lambda parts: Expected(1, 2),
    "client.job.Job": lambda parts: parts.job,
    "client.listener.Kept": lambda parts: Kept(parts.url, NOW, NOW),
    "client.listener.Listener": lambda parts: Listener(),
    "client.object_source.ObjectSource": lambda parts: ObjectSource(parts.fs, "/folder/a.csv"),
    "client.patch_body.PatchBody": lambda parts: PatchBody(
        parts.job, BytesSource(CONTENT), ReadAhead(BytesSource(CONTENT).open_at, 0, 4), offset=0, length=4
    ),
    "client.patience.Patience": lambda parts: Patience(),
    "client.patience.Control": lambda parts: Control(),
    "client.progress.ProgressLines": lambda parts: ProgressLines(print, "a.csv"),
    "client.read_ahead.ReadAhead": lambda parts: ReadAhead(BytesSource(CONTENT).open_at, 0, 4),
    "client.session.Session": lambda parts: Session(parts.settings),
    "client.settings.Settings": lambda parts: parts.settings,
    "client.settling.Settling": lambda parts: Settling(parts.job, WANTED, not_after=NOW, known=None),
    "client.sources.PathSource": lambda parts: PathSource(parts.path),
    "client.sources.BytesSource": lambda parts: BytesSource(CONTENT),
    "client.step_messages.WorkflowSteps": lambda parts: WorkflowSteps(),
    "client.steps.File": lambda parts: FILE,
    "client.steps.Step": lambda parts: STEP,
    "client.subscriptions.Subscription": lambda parts: Subscription(parts.settings.endpoint, 1, print),
    "client.subscriptions.Subscriptions": lambda parts: Subscriptions(),
    "client.tables.TableSource": lambda parts: _table(),
    "client.job.Totals": lambda parts: Totals(),
    "client.transfer.Transfer": lambda parts: Transfer(
        parts.job, BytesSource(CONTENT), parts.url, chunk_size=None, resuming=False, totals=Totals()
    ),
    "client.tus.Reading": lambda parts: Reading(Meaning.AT, status=200, offset=1),
    "client.unpicklable.Unpicklable": lambda parts: Unpicklable(),
    "client.upload.UploadResult": lambda parts: UploadResult(
        "a.csv", 4, 7, "step-x", parts.settings.endpoint.step_url, NOW.isoformat()
    ),
    "client.waiting.Wanted": lambda parts: WANTED,
    "client.waiting.Verdict": lambda parts: Verdict("seen", FILE, "seen"),
    "client.watcher.Watcher": _watcher,
    "client.websocket.WorkflowSocket": lambda parts: WorkflowSocket(parts.settings),
    "decorators.workbench.WorkbenchUploadDecoratedOperator": _decorated,
    "hooks.kept_delivery.KeptDelivery": lambda parts: KeptDelivery(CONTEXT, parts.settings, "a.csv", None, print),
    "hooks.kept_uploads.KeptUploads": lambda parts: KeptUploads(CONTEXT, print),
    "hooks.task_state.TaskState": lambda parts: TaskState(CONTEXT, print),
    "hooks.waiting.Rules": lambda parts: Rules("listed", Expected(), "fail"),
    "hooks.waiting.Waiting": lambda parts: Waiting(
        parts.settings, WANTED, Rules("listed", Expected(), "fail"), SimpleNamespace()
    ),
    "hooks.workbench.WorkbenchHook": _hook,
    "links.workbench.WorkbenchStepLink": lambda parts: WorkbenchStepLink(),
    "operators.outlets.StepOutlets": lambda parts: StepOutlets([], CONTEXT, parts.settings.endpoint, "c"),
    "operators.workbench.WorkbenchUploadOperator": _operator,
    "sensors.workbench.WorkbenchFileSensor": lambda parts: WorkbenchFileSensor(task_id="w", filename="*", since="any"),
    "triggers.file_events.WorkbenchFileEventTrigger": _event_trigger,
    "triggers.seen_files.SeenFiles": lambda parts: SeenFiles("s", ("u",), (FILE,)),
    "triggers.workbench.WorkbenchFileTrigger": lambda parts: WorkbenchFileTrigger("c", {}, NOW.isoformat(), 1),
}


def public_classes() -> dict[str, type]:
    """All classes without an underscore, but for errors, enumerations and protocols."""
    found = {}
    for module in _modules():
        short = module.__name__.removeprefix(f"{airflow_provider_workbench.__name__}.")
        for name, cls in vars(module).items():
            if inspect.isclass(cls) and cls.__module__ == module.__name__ and not name.startswith("_"):
                is_value = not issubclass(cls, BaseException | Enum) and not getattr(cls, "_is_protocol", False)
                if is_value:
                    found[f"{short}.{name}"] = cls
    return found


def test_no_public_class_was_forgotten() -> None:
    assert set(public_classes()) == set(PUBLIC)


@pytest.fixture
def parts(tmp_path: Path, secrets: Secrets, monkeypatch: pytest.MonkeyPatch) -> Parts:
    from fsspec.implementations.memory import MemoryFileSystem

    token, url = "t0ken9of8the7step6f5e4", "https://upload.example/files/0f3a9c2e51d8b604+id7c1e5a90"
    create_file_url = "https://app.example/api/v1/workflows/7/steps/step-x/files"
    extra = {"secret_link": LINK, "session_token": COOKIE}
    connection = {"conn_type": "workbench", "host": create_file_url, "password": token, "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_WORKBENCH_DEFAULT", json.dumps(connection))
    secrets.add(token, url, LINK, COOKIE, PASSWORD)

    fs = MemoryFileSystem(secret=PASSWORD, skip_instance_cache=True)
    fs.pipe_file("/folder/a.csv", CONTENT)
    return Parts(Settings.from_fields(create_file_url, token, extra), url, tmp_path, fs)


@pytest.mark.parametrize("name", PUBLIC)
def test_nothing_public_shows_a_secret_or_hands_one_on(parts: Parts, secrets: Secrets, name: str) -> None:
    made = PUBLIC[name](parts)
    assert type(made) is public_classes()[name]
    assert_shows_nothing(made, secrets)
    for protocol in (2, pickle.HIGHEST_PROTOCOL):
        try:
            data = pickle.dumps(made, protocol)
        except TypeError as refusal:
            assert secrets.within(str(refusal)) == []
            assert str(refusal)
        else:
            assert secrets.within(data) == []
            assert_shows_nothing(pickle.loads(data), secrets)
    for copied in (copy.copy, copy.deepcopy):
        try:
            other = copied(made)
        except TypeError as refusal:
            assert secrets.within(str(refusal)) == []
        else:
            assert_shows_nothing(other, secrets)


def assert_shows_nothing(made: Any, secrets: Secrets) -> None:
    for text in (repr(made), str(made), f"{made!r}", f"{[made]}"):
        assert secrets.within(text) == []


HOLD_SECRETS = ("client.settings.Settings", "client.listener.Kept", "client.job.Job", "client.session.Session")


@pytest.mark.parametrize("name", HOLD_SECRETS)
def test_what_holds_secrets_says_why_it_is_not_pickled(parts: Parts, name: str) -> None:
    with pytest.raises(TypeError, match="secret"):
        pickle.dumps(PUBLIC[name](parts))


def test_settings_can_be_copied(parts: Parts) -> None:
    assert copy.copy(parts.settings) is parts.settings
    assert copy.deepcopy([parts.settings])[0] is parts.settings


def test_pickled_hook_looks_its_connection_up_again(parts: Parts) -> None:
    hook = pickle.loads(pickle.dumps(_hook(parts)))
    assert hook._settings is None
    assert hook._unsettled is None
    assert hook.get_settings().token == parts.settings.token
    assert copy.deepcopy(_operator(parts))._hook.workbench_conn_id == "workbench_default"


def test_planted_leak_of_a_public_object_is_found(secrets: Secrets) -> None:
    @dataclass
    class Careless:
        token: str

    secrets.add(SIGNATURE)
    with pytest.raises(AssertionError):
        assert_shows_nothing(Careless(SIGNATURE), secrets)
    assert secrets.within(pickle.dumps({"token": SIGNATURE}))
