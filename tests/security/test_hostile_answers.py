"""Whatever comes in place of an answer: an error of ours, in few words, without secrets, in bounded time and memory."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
from client.client_servers import Wire
from security.gates import chain_text
from security.hostile_cases import (
    ANSWERS,
    AT_END,
    MARK,
    PAGE,
    REFUSED_REDIRECTS,
    REFUSING,
    WIRE,
    Case,
    Kind,
    tables,
)
from security.hostile_server import CONTENT, IDENTITY, SECRETS, TUS, HostileServer, Speech, answer, raw, times

from airflow_provider_workbench.client import errors
from airflow_provider_workbench.client.answers import MOST_VALUES, json_value
from airflow_provider_workbench.client.async_session import AsyncSession
from airflow_provider_workbench.client.create_file import create_file
from airflow_provider_workbench.client.patience import Patience
from airflow_provider_workbench.client.session import Session, _Hurried, _TooSlowError
from airflow_provider_workbench.client.settings import Settings
from airflow_provider_workbench.client.steps import read_step
from airflow_provider_workbench.client.tus import HEADERS
from airflow_provider_workbench.client.upload import UploadResult, upload_file
from airflow_provider_workbench.client.websocket import WorkflowSocket

# what may stay for good, and what another try can mend
RETRYABLE = {
    errors.ConnectionLostError: True,
    errors.UnexpectedAnswerError: True,
    errors.ServerError: True,
    errors.UploadInterruptedError: True,
    errors.UploadNotTakenError: True,
    errors.OutcomeUnknownError: True,
    errors.ConfigurationError: False,
    errors.StepUnreadableError: False,
    errors.BodyHasErrorsError: False,
}
QUICK = Patience(first_pause=0.01, longest_pause=0.02, round_pause=0.01, lock=0.3, source=0.5, grace=0.05, look=0.02)


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def create(server: HostileServer, settings: Settings) -> object:
    with Session(settings) as session:
        return create_file(session, settings, "a.csv", len(CONTENT))


def patch(server: HostileServer, settings: Settings) -> object:
    headers = {**HEADERS, "Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"}
    with Session(settings) as session:
        return session.request("PATCH", server.upload_url, headers=headers, body=CONTENT)


def head(server: HostileServer, settings: Settings) -> object:
    with Session(settings) as session:
        return session.request("HEAD", server.upload_url, headers=HEADERS)


def read(server: HostileServer, settings: Settings) -> object:
    with Session(settings) as session:
        return read_step(session, settings)


def read_async(server: HostileServer, settings: Settings) -> object:
    async def run() -> object:
        async with AsyncSession(settings) as session:
            return await session.read_step()

    return asyncio.run(run())


def listen(server: HostileServer, settings: Settings) -> object:
    async def run() -> object:
        opened = WorkflowSocket(settings)
        try:
            return await opened.open()
        finally:
            await opened.close()

    return asyncio.run(run())


TRANSPORTS: dict[str, tuple[str, Callable[[HostileServer, Settings], object]]] = {
    "create-file": ("CREATE", create),
    "PATCH": ("PATCH", patch),
    "HEAD": ("HEAD", head),
    "page": ("PAGE", read),
    "page (aiohttp)": ("PAGE", read_async),
    "websocket": ("SOCKET", listen),
}


def upload(server: HostileServer, budget: float) -> UploadResult:
    settings = server.settings(retry_budget=budget)
    return upload_file(settings, CONTENT, filename="a.csv", patience=QUICK)


def check(error: errors.WorkbenchError, says: tuple[Kind, str], server: HostileServer) -> None:
    """It is that error, with nothing behind it and no secret in it."""
    assert (type(error), server.said(error)) == says
    assert error.retryable is RETRYABLE[type(error)]
    assert len(str(error)) < 600
    assert str(error).isprintable()
    assert error.__context__ is None
    assert error.__cause__ is None
    assert not any(secret in chain_text(error) for secret in SECRETS)


def check_case(case: Case, transport: str) -> None:
    kind, run = TRANSPORTS[transport]
    says = case.says(transport)
    for _ in range(3):
        with HostileServer(**{kind: case.speech}) as server:
            with pytest.raises(errors.WorkbenchError) as caught:
                run(server, server.settings())
            # on a busy machine it does by itself: then nothing was shown
            if "fell silent" in str(caught.value) and "fell silent" not in says[1]:
                continue
            check(caught.value, says, server)
        # it stopped reading, by size if not by time; what the system has buffered may be some more
        assert case.error is errors.ConnectionLostError or server.sent < 32_000_000
        return
    raise AssertionError("The server fell silent three times.")


def given(case: Case) -> str:
    return f"{case.given} ({', '.join(case.on)})" if len(case.on) < 3 else case.given


@pytest.mark.parametrize("case", WIRE, ids=given)
def test_answer_that_is_none_is_an_error(case: Case) -> None:
    # two at a time, since some take a time limit each; more would keep one another from being heard
    with ThreadPoolExecutor(2) as pool:
        for result in [pool.submit(check_case, case, transport) for transport in case.on]:
            result.result()


@pytest.mark.parametrize("case", ANSWERS, ids=given)
def test_answer_of_no_workbench_is_an_error(case: Case) -> None:
    for transport in case.on:
        check_case(case, transport)


# ---- redirects


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize(
    ("transport", "error", "words"), REFUSED_REDIRECTS, ids=[each[0] for each in REFUSED_REDIRECTS]
)
def test_redirect_is_not_followed(transport: str, error: Kind, words: str, status: int) -> None:
    # of an upload's bytes, this would be evidence that Workbench took the File
    gone = ("404 Not Found", b"upload not found", TUS)
    with Wire(lambda peer: (peer.read_request(), peer.answer(*gone))) as other:
        moved = answer(f"{status} Moved", gone[1], f"Location: {other.url}/files/{IDENTITY}")
        kind, run = TRANSPORTS.get(transport, ("GET", create))
        speeches: dict[str, Speech] = {}
        if transport == "PATCH":
            run = partial(lambda server, _: upload(server, 0.3))
        elif transport == "HEAD":
            speeches = {"PATCH": REFUSING}
            run = partial(lambda server, _: upload(server, 0.3))
        elif transport == "GET":
            speeches = {"PATCH": raw(), "HEAD": AT_END}
            run = partial(lambda server, _: upload(server, 20))
        with HostileServer(**{**speeches, kind: moved}) as server:
            with pytest.raises(errors.WorkbenchError) as caught:
                run(server, server.settings())
            check(caught.value, (error, words.format(status)), server)
            # no PATCH became a GET here, either
            assert ("GET" in server.asked) is (transport == "GET")
        assert other.connections == 0


# ---- what is overcome


@pytest.mark.parametrize("status", ["100 Continue", "102 Processing", "103 Early Hints"])
def test_informational_answers_are_passed_by(status: str) -> None:
    def twice(server: HostileServer) -> list[bytes]:
        hint = f"HTTP/1.1 {status}\r\nLink: </style.css>\r\n\r\n".encode()
        done = b"HTTP/1.1 204 No Content\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: 4\r\n\r\n"
        return [hint, hint, done]

    with HostileServer(PATCH=twice) as server:
        assert upload(server, 20).attempts == 1
    assert server.asked == ["CREATE", "PATCH"]


def test_silence_at_the_end_of_an_answers_time_does_not_prolong_it() -> None:
    """The test would hang for the time that each byte may take."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(0.05)
        reader = _Hurried(ours.makefile("rb").detach(), ours, grace=0.05)
        ours.settimeout(10_000)
        with pytest.raises(_TooSlowError):
            reader.readinto(bytearray(1))


def test_what_follows_a_101_answers_nothing() -> None:
    """Nobody asked to switch protocols."""
    switched = b"HTTP/1.1 101 Switching Protocols\r\n\r\n"
    lie = b"HTTP/1.1 204 No Content\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: 4\r\n\r\n"

    def late(server: HostileServer) -> Iterator[bytes]:
        yield switched
        head_asked.wait(30)
        yield lie

    head_asked = threading.Event()
    with HostileServer(PATCH=late) as server, Session(server.settings()) as session:
        assert session.request("PATCH", server.upload_url, body=CONTENT).status == 101
        assert session.request("HEAD", server.upload_url).headers["upload-offset"] == "0"
        head_asked.set()
        assert server.connections == 2


def test_body_of_a_204_is_nobodys_answer() -> None:
    """Neither this PATCH's nor the next request's."""
    lie = b"HTTP/1.1 204 No Content\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: 4\r\n\r\n"
    more = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"
    with HostileServer(PATCH=lambda _: [lie + more]) as server, Session(server.settings()) as session:
        assert session.request("PATCH", server.upload_url, body=CONTENT).status == 204
        assert session.request("HEAD", server.upload_url).headers["upload-offset"] == "0"


def test_cookies_are_not_even_parsed(recwarn: pytest.WarningsRecorder) -> None:
    """http.cookiejar warns of what it cannot parse, with a traceback."""
    cookie = b"Set-Cookie: a=b; expires=Mon, 01-Jan-" + b"0" * 30_000 + b"\r\n"
    head = b"HTTP/1.1 204 No Content\r\nUpload-Offset: 4\r\nTus-Resumable: 1.0.0\r\n"
    with HostileServer(PATCH=raw(head, *times(cookie, 80), b"\r\n")) as server:
        assert upload(server, 20).attempts == 1
    assert not recwarn.list


@pytest.mark.parametrize(("value", "values"), [("[]", 2), ('{"":0}', 2), ('"ab"', 1), ("1.5", 1)])
def test_json_of_very_many_values_is_not_parsed(value: str, values: int) -> None:
    """Of 8 MB of ``[],`` Python makes 300 MB."""
    few, many = (f"[{f'{value},' * (MOST_VALUES // values + more)}1]" for more in (-2, 2))
    assert len(json_value(few)) > 200_000
    with pytest.raises(ValueError, match="too many values"):
        json_value(many)


def test_commas_of_texts_are_no_values() -> None:
    """A table that somebody pasted into a Step is one text."""
    pasted = ('1,2,"[3]",' + "4," * 20 + "\n") * (MOST_VALUES // 4)
    assert json_value(json.dumps({"csv": pasted, "n": [1]})) == {"csv": pasted, "n": [1]}
    # a text that does not end is none
    with pytest.raises(ValueError, match="too many values"):
        json_value("[" + "1," * MOST_VALUES + '"' + "," * 10)


# ---- the page


def test_page_shows_these_cases() -> None:
    assert PAGE.read_text("utf-8").partition(MARK)[2].strip() == tables().strip()
