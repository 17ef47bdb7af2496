from __future__ import annotations

import json
import os
import subprocess
import sys
import traceback
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from client_servers import Peer, Wire
from conftest import settings_of

from airflow_provider_workbench.client import errors
from airflow_provider_workbench.client.answers import Answer
from airflow_provider_workbench.client.session import Session
from airflow_provider_workbench.client.settings import Settings
from airflow_provider_workbench.client.upload import UploadResult, _not_before, upload_file
from airflow_provider_workbench.sandbox import Sandbox

BIG = 3_000_000  # many blocks, and more than the sockets hold


def failing(kind: type[errors.WorkbenchError], run: Callable[..., object], *secrets: str) -> Any:
    """The error of ``run``, of that kind exactly, with none of the secrets in it or behind it.

    ``run`` is called with a function to give as ``on_secret``; the upload URL is a secret too.
    """
    urls: list[str] = []
    with pytest.raises(errors.WorkbenchError) as caught:
        run(urls.append)
    error = caught.value
    assert type(error) is kind, error
    seen: BaseException | None = error
    text = ""
    while seen is not None:
        text += "".join(traceback.format_exception_only(seen)) + repr(vars(seen)) + repr(seen.args)
        seen = seen.__context__
    for url in urls:
        assert url not in text
        assert url.rpartition("/")[2] not in text
    assert not any(secret in text for secret in secrets)
    return error


def paths(wb: Sandbox) -> list[str]:
    return [f"{request.method} {request.status}" for request in wb.requests]


# ---- what arrives


@pytest.mark.parametrize("chunk_size", [None, 1, 7, 16, 1000])
def test_bytes_arrive_as_they_were(wb: Sandbox, settings: Settings, chunk_size: int | None) -> None:
    content = bytes(range(16))
    result = upload_file(settings, content, filename="a.csv", chunk_size=chunk_size)
    (file,) = wb.step.files
    assert wb.step.content(file.uuid) == content
    assert (file.name, file.size) == (result.filename, result.size) == ("a.csv", 16)
    patches = {None: 1, 1: 16, 7: 3, 16: 1, 1000: 1}[chunk_size]
    assert paths(wb) == ["POST 200"] + ["PATCH 204"] * patches


def test_large_file_arrives_whole_and_in_chunks(wb: Sandbox, settings: Settings, tmp_path: Path) -> None:
    content = os.urandom(BIG)
    (tmp_path / "big.csv").write_bytes(content)
    whole = upload_file(settings, tmp_path / "big.csv")
    chunked = upload_file(settings_of(wb, chunk_size="1000000"), str(tmp_path / "big.csv"))
    assert [wb.step.content(file.uuid) == content for file in wb.step.files] == [True, True]
    assert whole.bytes_sent == chunked.bytes_sent == BIG
    assert paths(wb).count("PATCH 204") == 1 + 3


@pytest.mark.parametrize(
    "name", ["größe 数据 \U0001f600.csv", 'a"b\\c/../d.csv', "a\tb\nc.csv", "x" * 100, "a%2Fb+c.csv"]
)
def test_names_arrive_as_they_were(wb: Sandbox, settings: Settings, name: str) -> None:
    upload_file(settings, b"A\n", filename=f" {name} ")
    assert wb.step.files[0].name == name


def test_empty_file_is_finished_inside_create_file(wb: Sandbox, settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "empty.csv").touch()
    result = upload_file(settings, tmp_path / "empty.csv", read_step_after=True)
    (file,) = wb.step.files
    assert (file.name, file.size, file.uuid) == ("empty.csv", 0, result.uuid)
    assert result.bytes_sent == 0
    assert paths(wb) == ["POST 200", "GET 200"]


def test_small_upload_is_two_requests_on_one_connection_per_host(wb: Sandbox, settings: Settings) -> None:
    with Session(settings) as session:
        for _ in range(3):
            upload_file(settings, b"A\n1\n", filename="a.csv", session=session)
    assert paths(wb) == ["POST 200", "PATCH 204"] * 3
    for host in ("frontend", "upload"):
        assert len({request.client for request in wb.requests if request.host == host}) == 1


def test_token_goes_to_the_frontend_only(wb: Sandbox, settings: Settings) -> None:
    upload_file(settings, b"A\n1\n", filename="a.csv")
    assert ["authorization" in request.headers for request in wb.requests] == [True, False]


def test_result_says_what_is_there(wb: Sandbox, settings: Settings) -> None:
    result = upload_file(settings, b"A\n1\n", filename="a.csv", read_step_after=True)
    file = wb.step.files[0]
    assert result.uuid == file.uuid
    assert result.workflow_id == wb.step.workflow_id
    assert result.step_slug == wb.step.slug
    assert result.step_url == wb.step.page_url
    assert datetime.fromisoformat(result.not_before) <= datetime.fromisoformat(file.created_at)
    assert UploadResult(**json.loads(json.dumps(result.as_dict()))) == result
    secrets = (wb.step.api_token, *(request.path for request in wb.requests if request.host == "upload"))
    assert not any(secret in repr(result) for secret in secrets if secret)


def test_progress_counts_up_to_the_size(wb: Sandbox, settings: Settings) -> None:
    seen: list[tuple[int, int]] = []
    upload_file(settings, bytes(200_000), filename="a.csv", chunk_size=70_000, progress=lambda *at: seen.append(at))
    assert [sent for sent, _ in seen] == sorted({sent for sent, _ in seen})
    assert seen[-1] == (200_000, 200_000)
    assert {size for _, size in seen} == {200_000}


def test_secret_is_told_before_the_bytes_move(wb: Sandbox, settings: Settings) -> None:
    told = []
    upload_file(settings, b"A\n", filename="a.csv", on_secret=lambda url: told.append((url, len(wb.requests))))
    assert told == [(f"{wb.upload_url}{wb.requests[1].path}", 1)]


def test_warnings_are_told(wb: Sandbox) -> None:
    warnings: list[str] = []
    upload_file(settings_of(wb, chunksize=5), b"A\n", filename="a.parquet", on_warning=warnings.append)
    assert len(warnings) == 2
    assert "chunksize" in warnings[0]
    assert "no Upload step can read it" in warnings[1]
    assert upload_file(settings_of(wb, chunksize=5), b"A\n", filename="a.parquet").size == 2


def test_uuid_is_not_guessed(wb: Sandbox, settings: Settings) -> None:
    warnings: list[str] = []
    for _ in range(2):
        result = upload_file(settings, b"A\n", filename="a.csv", read_step_after=True, on_warning=warnings.append)
    assert result.uuid is None
    assert "'a.csv', but its uuid is not known: 2 Files of the Step can be it" in warnings[-1]
    private = wb.private_step
    closed = Settings.from_fields(private.create_file_url, private.api_token or "")
    result = upload_file(closed, b"A\n", filename="a.csv", read_step_after=True, on_warning=warnings.append)
    assert result.uuid is None
    assert "it is private" in warnings[-1]
    assert upload_file(closed, b"A\n", filename="a.csv", read_step_after=True).uuid is None


# ---- refused before any byte moves


@pytest.mark.parametrize(
    ("what", "options", "kind"),
    [
        (b"x", {}, errors.FilenameError),
        (b"x", {"filename": " "}, errors.FilenameError),
        (b"x", {"filename": "x" * 101}, errors.FilenameError),
        (b"x", {"filename": "a\x01"}, errors.FilenameError),
        (b"x", {"filename": "a", "chunk_size": 0}, errors.ConfigurationError),
        (b"x", {"filename": "a", "chunk_size": "x"}, errors.ConfigurationError),
        ("/nowhere/a.csv", {}, errors.SourceMissingError),
        ("/", {}, errors.SourceError),
        ("/dev/null", {}, errors.SourceError),
    ],
)
def test_bad_input_sends_nothing(
    wb: Sandbox, settings: Settings, what: Any, options: dict[str, Any], kind: type[errors.WorkbenchError]
) -> None:
    failing(kind, lambda on_secret: upload_file(settings, what, on_secret=on_secret, **options))
    assert wb.requests == []


def test_too_large_file_sends_nothing(wb: Sandbox, settings: Settings, tmp_path: Path) -> None:
    with (tmp_path / "huge.csv").open("wb") as file:
        file.truncate(2**31)
    failing(errors.SizeError, lambda _: upload_file(settings, tmp_path / "huge.csv"))
    assert wb.requests == []


# ---- the finish


def test_token_reset_before_the_finish_is_refused(wb: Sandbox, settings: Settings) -> None:
    old = wb.step.api_token or ""

    def run(on_secret: Callable[[str], None]) -> object:
        return upload_file(
            settings, b"A\n1\n", filename="a.csv", on_secret=lambda url: (on_secret(url), wb.step.reset_token())
        )

    error = failing(errors.TokenInvalidError, run, old)
    assert error.at_finish
    assert error.status == 403
    assert str(error).startswith("All bytes were sent, but Workbench did not take the File.")
    assert wb.step.files == []


@pytest.mark.parametrize(
    ("flip", "kind"),
    [
        (lambda wb: wb.step.disable_api(), errors.ApiDisabledError),
        (lambda wb: wb.step.delete(), errors.StepNotFoundError),
        (lambda wb: wb.workflow.delete(), errors.WorkflowNotFoundError),
    ],
)
@pytest.mark.parametrize("chunk_size", [None, 3])
def test_other_refused_finishes(
    wb: Sandbox, settings: Settings, flip: Any, kind: type[errors.RefusedError], chunk_size: int | None
) -> None:
    def run(on_secret: Callable[[str], None]) -> object:
        return upload_file(
            settings,
            b"A\n1\n",
            filename="a.csv",
            chunk_size=chunk_size,
            on_secret=lambda url: (on_secret(url), flip(wb)),
        )

    error = failing(kind, run)
    assert error.at_finish
    assert not error.retryable
    assert wb.step.files == []


@pytest.mark.parametrize(("hook", "files"), [("down", 0), ("500", 0), ("store-then-500", 1)])
@pytest.mark.parametrize("content", [b"A\n1\n", b""])
def test_failing_hook_leaves_the_outcome_unknown(
    wb: Sandbox, settings: Settings, hook: str, files: int, content: bytes
) -> None:
    wb.hook, wb.hook_retry_seconds = hook, 0
    error = failing(
        errors.OutcomeUnknownError,
        lambda on_secret: upload_file(settings, content, filename="a.csv", on_secret=on_secret),
    )
    assert error.status == 500
    assert error.retryable
    assert "may or may not have it" in str(error)
    assert len(wb.step.files) == files or hook == "store-then-500"
    # HEAD at full offset would say that all is well: nothing may ask it
    assert not any(request.method == "HEAD" for request in wb.requests)


def test_slow_hook_is_waited_for_longer_than_a_stall(wb: Sandbox) -> None:
    wb.hook_delay = 0.5
    upload_file(settings_of(wb, stall_timeout=0.05), b"A\n1\n", filename="a.csv", chunk_size=2)
    assert len(wb.step.files) == 1


def test_hook_slower_than_the_finish_timeout_leaves_the_outcome_unknown(wb: Sandbox) -> None:
    wb.hook_delay = 60
    settings = settings_of(wb, finish_timeout=0.2)
    error = failing(
        errors.OutcomeUnknownError, lambda s: upload_file(settings, b"A\n1\n", filename="a.csv", on_secret=s)
    )
    wb.hook_delay = 0
    assert "fell silent" in str(error)
    assert error.status is None


def test_file_that_no_column_can_hold_is_unknown(wb: Sandbox, settings: Settings) -> None:
    wb.max_file_size, wb.hook_retry_seconds = 3, 0
    failing(errors.OutcomeUnknownError, lambda s: upload_file(settings, b"A\n1\n", filename="a.csv", on_secret=s))
    assert wb.step.files == []


# ---- on the way


def test_forgotten_upload_is_gone(wb: Sandbox, settings: Settings) -> None:
    def run(on_secret: Callable[[str], None]) -> object:
        return upload_file(
            settings, b"A\n1\n", filename="a.csv", on_secret=lambda url: (on_secret(url), wb.forget_uploads())
        )

    error = failing(errors.UploadGoneError, run)
    assert (error.status, error.retryable) == (404, True)
    assert "The Step has nothing of it" in str(error)


def test_upload_host_down_leaves_nothing(wb: Sandbox, settings: Settings) -> None:
    def run(on_secret: Callable[[str], None]) -> object:
        return upload_file(
            settings,
            b"A\n1\n",
            filename="a.csv",
            on_secret=lambda url: (on_secret(url), setattr(wb, "tusd_down", True)),
        )

    error = failing(errors.UploadInterruptedError, run)
    assert "Connection refused" in str(error)
    assert "The Step has nothing of it" in str(error)


def test_server_that_restarts_in_mid_body_leaves_nothing(wb: Sandbox, settings: Settings) -> None:
    def cut(sent: int, size: int) -> None:
        if sent > size // 2 and not cuts:
            cuts.append(sent)
            wb.restart_tusd()

    cuts: list[int] = []
    content = bytes(50_000_000)
    error = failing(
        errors.UploadInterruptedError,
        lambda s: upload_file(settings, content, filename="a.csv", progress=cut, on_secret=s),
    )
    assert "The Step has nothing of it" in str(error)
    assert wb.step.files == []


class Frontend:
    """A Workbench whose upload host answers a PATCH as a function says."""

    def __init__(self, patch: Callable[[Peer], object]) -> None:
        self._patch = patch
        self.methods: list[bytes] = []

    def __call__(self, peer: Peer) -> None:
        while head := peer.read_head():
            self.methods.append(head.split()[0])
            if head.startswith(b"POST"):
                length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                while length > 0:
                    length -= len(peer.sock.recv(length))
                peer.answer("200 OK", json.dumps({"tusUploadUrl": f"{self.url}/files/s3cret+id"}).encode())
            else:
                self._patch(peer)

    def __enter__(self) -> Frontend:
        self._wire = Wire(self).__enter__()
        self.url = self._wire.url
        self.settings = Settings.from_fields(self._wire.create_file_url, "t0ken", {"stall_timeout": 5})
        return self

    def __exit__(self, *_: object) -> None:
        self._wire.__exit__()


def send_to(patch: Callable[[Peer], object], kind: type[errors.WorkbenchError], size: int, **options: Any) -> Any:
    with Frontend(patch) as server:
        return failing(
            kind,
            lambda s: upload_file(server.settings, bytes(size), filename="a.csv", on_secret=s, **options),
            "s3cret",
            "t0ken",
        )


def take(peer: Peer, count: int) -> None:
    while count > 0 and (data := peer.sock.recv(min(count, 65536))):
        count -= len(data)


def test_connection_cut_in_mid_body_leaves_nothing() -> None:
    error = send_to(lambda peer: (take(peer, 100_000), peer.reset()), errors.UploadInterruptedError, 50_000_000)
    assert "The Step has nothing of it" in str(error)


def test_connection_cut_after_the_last_byte_leaves_the_outcome_unknown() -> None:
    error = send_to(lambda peer: (take(peer, 1000), peer.reset()), errors.OutcomeUnknownError, 1000)
    assert "The Step may or may not have it" in str(error)


def test_connection_cut_after_a_chunk_leaves_nothing() -> None:
    send_to(lambda peer: (take(peer, 500), peer.reset()), errors.UploadInterruptedError, 1000, chunk_size=500)


def test_proxys_page_in_mid_body_leaves_nothing_unknown() -> None:
    """The last PATCH is the only one here, but most of it never left."""
    bad = lambda peer: (take(peer, 1000), peer.answer("502 Bad Gateway", b"<html>"), peer.sock.close())  # noqa: E731
    error = send_to(bad, errors.UploadInterruptedError, 50_000_000)
    assert error.status == 502
    assert "The Step has nothing of it" in str(error)


@pytest.mark.parametrize(
    ("status", "headers", "kind", "says"),
    [
        ("502 Bad Gateway", (), errors.OutcomeUnknownError, "answered 502"),
        ("200 OK", (), errors.OutcomeUnknownError, "answered 200"),
        ("302 Found", ("Location: https://login.example/s3cret",), errors.OutcomeUnknownError, "answered 302"),
        ("204 No Content", ("Upload-Offset: 5",), errors.OutcomeUnknownError, "answered 204"),
        ("413 Too Large", (), errors.UploadInterruptedError, "extra chunk_size to fewer bytes"),
        ("405 Method Not Allowed", (), errors.UploadInterruptedError, "lets no PATCH through"),
        ("423 Locked", (), errors.UploadInterruptedError, "answered 423"),
        ("410 Gone", (), errors.UploadGoneError, "does not know this upload"),
    ],
)
def test_proxies_answers_to_the_last_patch(
    status: str, headers: tuple[str, ...], kind: type[errors.WorkbenchError], says: str
) -> None:
    body = b"" if status.startswith("204") else b"<html>s3cret</html>"
    error = send_to(lambda peer: (take(peer, 1000), peer.answer(status, body, *headers)), kind, 1000)
    assert says in str(error)


def test_refusal_before_the_finish_does_not_claim_that_all_was_sent() -> None:
    body = b'{"error": {"code": "step-not-found"}}'
    patch = lambda peer: (take(peer, 500), peer.answer("404 Not Found", body))  # noqa: E731
    error = send_to(patch, errors.StepNotFoundError, 1000, chunk_size=500)
    assert not error.at_finish
    assert "All bytes" not in str(error)


def test_untrusted_upload_host_is_for_good() -> None:
    def handler(peer: Peer) -> None:
        peer.read_request()
        url = f"https://127.0.0.1:{plain.port}/files/s3cret+id"
        peer.answer("200 OK", json.dumps({"tusUploadUrl": url}).encode())

    with Wire(lambda peer: (peer.sock.recv(100), peer.send(b"not TLS at all"))) as plain, Wire(handler) as server:
        settings = Settings.from_fields(server.create_file_url, "t")
        error = failing(errors.TlsError, lambda s: upload_file(settings, b"x", filename="a.csv", on_secret=s))
    assert not error.retryable


def test_lost_create_file_of_an_empty_file_is_unknown_and_of_others_is_not() -> None:
    with Wire(Peer.read_request) as server:  # type: ignore[arg-type]
        settings = Settings.from_fields(server.create_file_url, "t")
        failing(errors.OutcomeUnknownError, lambda s: upload_file(settings, b"", filename="a.csv"))
        failing(errors.ConnectionLostError, lambda s: upload_file(settings, b"x", filename="a.csv"))


# ---- the source changes


@pytest.fixture
def big(tmp_path: Path) -> Path:
    path = tmp_path / "big.csv"
    path.write_bytes(b"a" * BIG)
    os.utime(path, ns=(1, 1))
    return path


def upload_with(settings: Settings, path: Path, change: Callable[[], object], **options: Any) -> Callable[..., object]:
    """Upload; when half of it has left, make the change."""

    def progress(sent: int, size: int) -> None:
        if sent > size // 2 and not changed:
            changed.append(True)
            change()

    changed: list[bool] = []
    return lambda on_secret: upload_file(settings, path, progress=progress, on_secret=on_secret, **options)


def rewrite_keeping_the_time(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"b" * 1000)
    os.utime(path, ns=(1, 1))


@pytest.mark.parametrize(
    "change",
    [
        lambda path: os.truncate(path, 10),
        lambda path: os.truncate(path, BIG + 1),
        lambda path: path.write_bytes(b"b" * BIG),
        rewrite_keeping_the_time,
    ],
    ids=["cut", "grown", "rewritten", "rewritten keeping its time"],
)
@pytest.mark.parametrize("chunk_size", [None, 1_000_000])
def test_file_changed_in_place_is_an_error_and_never_a_file(
    wb: Sandbox, settings: Settings, big: Path, change: Callable[[Path], object], chunk_size: int | None
) -> None:
    run = upload_with(settings, big, lambda: change(big), chunk_size=chunk_size)
    error = failing(errors.SourceChangedError, run)
    assert error.retryable
    assert wb.step.files == []
    # what was sent is freed
    assert wb.requests[-1].method == "DELETE"


def test_replaced_file_is_sent_as_it_was_opened(wb: Sandbox, settings: Settings, big: Path, tmp_path: Path) -> None:
    (tmp_path / "new").write_bytes(b"new")
    result = upload_with(settings, big, lambda: os.replace(tmp_path / "new", big))(None)
    assert isinstance(result, UploadResult)
    assert big.read_bytes() == b"new"
    assert wb.step.content(wb.step.files[0].uuid) == b"a" * BIG


def test_change_at_the_last_moment_is_noticed(wb: Sandbox, settings: Settings, tmp_path: Path) -> None:
    """After create-file, before the only block is read."""
    path = tmp_path / "a.csv"
    path.write_bytes(b"A\n1\n")
    os.utime(path, ns=(1, 1))
    failing(
        errors.SourceChangedError,
        lambda s: upload_file(settings, path, on_secret=lambda url: (s(url), path.write_bytes(b"B\n2\n"))),
    )
    assert wb.step.files == []


def test_failed_delete_does_not_hide_the_change(big: Path) -> None:
    def patch(peer: Peer) -> None:
        if server.methods[-1] == b"DELETE":
            peer.reset()
        else:
            take(peer, BIG)

    with Frontend(patch) as server:
        failing(errors.SourceChangedError, upload_with(server.settings, big, lambda: os.truncate(big, 10)), "s3cret")
        assert server.methods == [b"POST", b"PATCH", b"DELETE"]


class BrokenStream:
    def __init__(self, error: Exception | None) -> None:
        self.error = error

    def seek(self, offset: int, whence: int = 0) -> None: ...

    def tell(self) -> int:
        return 0

    def read(self, size: int = -1) -> bytes:
        if self.error:
            raise self.error
        return b""


@pytest.mark.parametrize(
    ("fault", "kind", "says"),
    [
        (OSError(5, "Input/output error"), errors.SourceReadError, "Reading the file failed: Input/output error."),
        (OSError(), errors.SourceReadError, "Reading the file failed: OSError."),
        (None, errors.SourceChangedError, "became shorter"),
    ],
)
def test_source_that_fails_is_told(
    wb: Sandbox, settings: Settings, monkeypatch: pytest.MonkeyPatch, fault: Any, kind: Any, says: str
) -> None:
    class Source:
        name, size, stream = "a.csv", 10, BrokenStream(fault)

        def check_unchanged(self) -> None: ...

        def close(self) -> None: ...

    monkeypatch.setattr("airflow_provider_workbench.client.upload.open_source", lambda what: Source())
    error = failing(kind, lambda s: upload_file(settings, "x", on_secret=s))
    assert says in str(error)
    assert error.retryable
    assert wb.step.files == []


@pytest.mark.parametrize("error", [LookupError("mine"), ConnectionAbortedError(103, "mine")])
def test_failing_progress_callback_finishes_nothing(wb: Sandbox, settings: Settings, error: Exception) -> None:
    def fail(sent: int, size: int) -> None:
        raise error

    with pytest.raises((LookupError, errors.UploadInterruptedError)):
        upload_file(settings, b"A\n1\n", filename="a.csv", progress=fail)
    assert wb.step.files == []


# ---- the server's time


NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
DATE = {"date": "Thu, 01 Jan 2026 12:00:00 GMT"}


def test_not_before_is_the_answers_date_less_what_it_took() -> None:
    old = {"date": "Thu, 01 Jan 2026 11:00:00 GMT"}
    assert _not_before(Answer(204, DATE, b""), Answer(200, old, b""), 3.5) == NOW - timedelta(seconds=5.5)


@pytest.mark.parametrize(
    "date",
    ["", "soon", "Thu, 01 Jan 2026 12:00:00 +9999", "Fri, 31 Dec 9999 23:59:59 -1200", "Thu, 99 Jan 2026 12:00:00 GMT"],
)
def test_bad_date_does_not_fail_an_accepted_upload(date: str) -> None:
    bad = Answer(204, {"date": date}, b"")
    assert _not_before(bad, Answer(200, DATE, b""), 1) == NOW - timedelta(seconds=3)
    assert _not_before(bad, bad, 1) < datetime.now(UTC) - timedelta(minutes=4)


def test_date_without_a_zone_is_utc() -> None:
    odd = Answer(204, {"date": "Thu, 01 Jan 2026 12:00:00 -0000"}, b"")
    assert _not_before(odd, odd, 0) == NOW - timedelta(seconds=2)


# ---- memory


def test_memory_does_not_grow_with_the_file(wb: Sandbox, tmp_path: Path) -> None:
    with (tmp_path / "sparse.csv").open("wb") as file:
        file.truncate(200 * 2**20)
    code = """
import resource, sys
from airflow_provider_workbench.client.settings import Settings
from airflow_provider_workbench.client.upload import upload_file
settings = Settings.from_fields(*sys.argv[1:3])
used = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
upload_file(settings, b"x" * 200_000, filename="warm-up.csv")
before = used()
upload_file(settings, sys.argv[3])
print(used() - before)
"""
    arguments = [wb.step.create_file_url, wb.step.api_token or "", str(tmp_path / "sparse.csv")]
    grown = subprocess.run([sys.executable, "-c", code, *arguments], check=True, capture_output=True, text=True).stdout
    assert int(grown) < 40
    assert wb.step.files[0].size == 200 * 2**20
