"""A bare HTTP client for these tests: it sends what it is told, nothing else, and normalises nothing."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from airflow_provider_workbench.sandbox import Sandbox, Step

TUS = {"Tus-Resumable": "1.0.0"}
PATCH = {**TUS, "Content-Type": "application/offset+octet-stream"}


@dataclass
class Answer:
    status: int
    headers: dict[str, str]  # names in lower case
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    def json(self):
        return json.loads(self.body)

    @property
    def code(self) -> str:
        return self.json()["error"]["code"]


class Client:
    """One kept-alive connection."""

    def __init__(self, url: str, timeout: float = 20) -> None:
        self.connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=timeout)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()

    def start(self, method: str, target: str, headers: Iterable[tuple[str, str]]) -> None:
        """Send the head of a request."""
        self.connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
        headers = list(headers)
        if not any(name.lower() == "host" for name, _ in headers):
            headers.insert(0, ("Host", f"{self.connection.host}:{self.connection.port}"))
        for name, value in headers:
            self.connection.putheader(name, value.encode("utf-8"))
        self.connection.endheaders()

    def finish(self) -> Answer:
        """Read the answer."""
        response = self.connection.getresponse()
        body = response.read()
        return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, body)

    def send(
        self,
        method: str,
        target: str,
        headers: Iterable[tuple[str, str]] | dict[str, str] = (),
        body: bytes = b"",
        *,
        chunks: Iterable[bytes] | None = None,
    ) -> Answer:
        """Send a request; the body's length is not added to the headers. ``chunks`` makes the body chunked."""
        self.start(method, target, headers.items() if isinstance(headers, dict) else headers)
        if chunks is not None:
            for chunk in chunks:
                self.connection.send(b"%x\r\n%s\r\n" % (len(chunk), chunk))
            self.connection.send(b"0\r\n\r\n")
        elif body:
            self.connection.send(body)
        return self.finish()


def call(
    method: str, url: str, headers: dict[str, str] | None = None, body: bytes | None = None, timeout: float = 20
) -> Answer:
    """One request on a connection of its own; a body (even an empty one) gets a Content-Length."""
    parts = urlsplit(url)
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    length = {} if body is None else {"Content-Length": str(len(body))}
    with Client(url, timeout) as client:
        return client.send(method, target, {**(headers or {}), **length}, body or b"")


def create_file(step: Step, filename: object, size: object, token: str | None = None, timeout: float = 20) -> Answer:
    body = json.dumps({"filename": filename, "size": size}).encode()
    bearer = {"Authorization": f"Bearer {token or step.api_token}"}
    return call("POST", step.create_file_url, bearer, body, timeout)


def new_upload(step: Step, size: int, filename: str = "f.csv") -> str:
    """Create a file and return its upload URL."""
    answer = create_file(step, filename, size)
    assert answer.status == 200, answer
    return answer.json()["tusUploadUrl"]


def patch(url: str, offset: int, body: bytes, timeout: float = 20) -> Answer:
    return call("PATCH", url, {**PATCH, "Upload-Offset": str(offset)}, body, timeout)


def head(url: str) -> Answer:
    return call("HEAD", url, TUS)


def head_when_free(url: str, seconds: float = 10) -> Answer:
    """HEAD, as soon as it is not 423 any more."""
    end = time.monotonic() + seconds
    while (answer := head(url)).status == 423 and time.monotonic() < end:
        time.sleep(0.02)
    return answer


def upload(step: Step, content: bytes, filename: str = "f.csv") -> str:
    """Create a file, send its bytes in one PATCH, and return the upload URL."""
    url = new_upload(step, len(content), filename)
    if content:
        answer = patch(url, 0, content)
        assert (answer.status, answer.headers["upload-offset"]) == (204, str(len(content))), answer
    return url


def settle(predicate, seconds: float = 10) -> None:
    """Wait until something is true."""
    end = time.monotonic() + seconds
    while not predicate():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def fill_as_recorded(wb: Sandbox) -> None:
    """The Workflows and Steps of the recorded server, in the order in which it got them."""
    wb.reset(empty=True)
    for kind, name, options in (
        ("pub", "Real public workflow", {"public": True}),
        ("sec", "Real secret workflow", {"secret_link": "wSecret123abcDEF456ghi"}),
        ("pri", "Real private workflow", {}),
    ):
        workflow = wb.add_workflow(name, **options)
        workflow.add_step(f"step-{kind}Up_-01")
        workflow.add_step(f"step-{kind}NoApi1", api_enabled=False, tab_slug="tab-noapi", tab_name="No API")
        workflow.add_step(f"step-{kind}NoFile", module="pastecsv", tab_slug="tab-nofile", tab_name="No file param")
