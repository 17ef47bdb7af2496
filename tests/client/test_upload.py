from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
import urllib3
from uploads import PAGE, QUICK, TUS, Call, Told, Workbench, failing, page_of, says, settings_of, upload

from airflow_provider_workbench.client import errors
from airflow_provider_workbench.client.listener import Kept, Listener
from airflow_provider_workbench.client.patch_body import LAST_PIECE
from airflow_provider_workbench.client.patience import Control
from airflow_provider_workbench.client.session import Session
from airflow_provider_workbench.client.settings import Settings
from airflow_provider_workbench.client.sources import BytesSource
from airflow_provider_workbench.client.upload import UploadResult, upload_file
from airflow_provider_workbench.sandbox import Sandbox

BIG = 3_000_000  # many blocks, and more than the sockets hold


def paths(wb: Sandbox) -> list[str]:
    return [f"{request.method} {request.status}" for request in wb.requests]


def contents(wb: Sandbox) -> list[bytes]:
    """Of the Step's Files, the newest first."""
    return [wb.step.content(file.uuid) for file in wb.step.files]


# ---- what arrives


@pytest.mark.parametrize("chunk_size", [None, 1, 7, 16, 1000])
def test_bytes_arrive_as_they_were(wb: Sandbox, settings: Settings, chunk_size: int | None) -> None:
    content = bytes(range(16))
    result = upload(settings, content, filename="a.csv", chunk_size=chunk_size)
    (file,) = wb.step.files
    assert wb.step.content(file.uuid) == content
    assert (file.name, file.size) == (result.filename, result.size) == ("a.csv", 16)
    patches = {None: 1, 1: 16, 7: 3, 16: 1, 1000: 1}[chunk_size]
    assert paths(wb) == ["POST 200"] + ["PATCH 204"] * patches


def test_large_file_arrives_whole_and_in_chunks(wb: Sandbox, settings: Settings, tmp_path: Path) -> None:
    content = os.urandom(BIG)
    (tmp_path / "big.csv").write_bytes(content)
    whole = upload(settings, tmp_path / "big.csv")
    chunked = upload(settings_of(wb, chunk_size="1000000"), str(tmp_path / "big.csv"))
    assert [wb.step.content(file.uuid) == content for file in wb.step.files] == [True, True]
    assert whole.bytes_sent == chunked.bytes_sent == BIG
    assert paths(wb).count("PATCH 204") == 1 + 3


@pytest.mark.parametrize(
    "name", ["größe 数据 \U0001f600.csv", 'a"b\\c/../d.csv', "a\tb\nc.csv", "x" * 100, "a%2Fb+c.csv"]
)
def test_names_arrive_as_they_were(wb: Sandbox, settings: Settings, name: str) -> None:
    upload(settings, b"A\n", filename=f" {name} ")
    assert wb.step.files[0].name == name


def test_empty_file_is_finished_inside_create_file(wb: Sandbox, settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "empty.csv").touch()
    result = upload(settings, tmp_path / "empty.csv", read_step_after=True)
    (file,) = wb.step.files
    assert (file.name, file.size, file.uuid) == ("empty.csv", 0, result.uuid)
    assert result.bytes_sent == 0
    # the Step is looked at before: should the answer be lost, an older empty File must not pass for this one
    assert paths(wb) == ["GET 200", "POST 200", "GET 200"]


def test_small_upload_is_two_requests_on_one_connection_per_host(wb: Sandbox, settings: Settings) -> None:
    with Session(settings) as session:
        for _ in range(3):
            upload(settings, b"A\n1\n", filename="a.csv", session=session)
    assert paths(wb) == ["POST 200", "PATCH 204"] * 3
    for host in ("frontend", "upload"):
        assert len({request.client for request in wb.requests if request.host == host}) == 1


def test_token_goes_to_the_frontend_only(wb: Sandbox, settings: Settings) -> None:
    upload(settings, b"A\n1\n", filename="a.csv")
    assert ["authorization" in request.headers for request in wb.requests] == [True, False]


def test_result_says_what_is_there(wb: Sandbox, settings: Settings) -> None:
    result = upload(settings, b"A\n1\n", filename="a.csv", read_step_after=True)
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
    told = Told()
    upload(settings, bytes(200_000), told, chunk_size=70_000)
    seen = told.progress
    assert [sent for sent, _ in seen] == sorted({sent for sent, _ in seen})
    assert seen[-1] == (200_000, 200_000)
    assert {size for _, size in seen} == {200_000}


def test_secret_is_told_before_the_bytes_move(wb: Sandbox, settings: Settings) -> None:
    seen: list[int] = []
    told = Told(then=lambda: seen.append(len(wb.requests)))
    upload(settings, b"A\n", told)
    assert seen == [1]
    assert told.urls == [f"{wb.upload_url}{wb.requests[1].path}"] == [told.kept[0].upload_url]
    assert told.events == ["unsettled", "half"]


def test_warnings_are_told(wb: Sandbox) -> None:
    told = Told()
    upload(settings_of(wb, chunksize=5), b"A\n", told, filename="a.parquet")
    assert len(told.warnings) == 2
    assert "chunksize" in told.warnings[0]
    assert "no Upload step can read it" in told.warnings[1]


def test_nobody_has_to_listen(wb: Sandbox) -> None:
    assert upload_file(settings_of(wb, chunksize=5), b"A\n", filename="a.parquet").size == 2


def test_source_can_be_given_and_is_closed(wb: Sandbox, settings: Settings) -> None:
    class Closing(BytesSource):
        def close(self) -> None:
            closed.append(True)

    closed: list[bool] = []
    upload(settings, Closing(b"A\n"), filename="a.csv")
    assert contents(wb) == [b"A\n"]
    assert closed == [True]


def test_uuid_is_not_guessed(wb: Sandbox, settings: Settings) -> None:
    told = Told()
    for _ in range(2):
        result = upload(settings, b"A\n", told, read_step_after=True)
    assert result.uuid is None
    assert "'a.csv', but its uuid is not known: 2 Files of the Step can be it" in told.warnings[-1]
    private = wb.private_step
    closed = Settings.from_fields(private.create_file_url, private.api_token or "")
    result = upload(closed, b"A\n", told, read_step_after=True)
    assert result.uuid is None
    assert "it is private" in told.warnings[-1]


# ---- refused before any byte moves


@pytest.mark.parametrize(
    ("what", "options", "kind"),
    [
        (b"x", {"filename": None}, errors.FilenameError),
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
    failing(kind, settings, what, **options)
    assert wb.requests == []


def test_too_large_file_sends_nothing(wb: Sandbox, settings: Settings, tmp_path: Path) -> None:
    with (tmp_path / "huge.csv").open("wb") as file:
        file.truncate(2**31)
    failing(errors.SizeError, settings, tmp_path / "huge.csv")
    assert wb.requests == []


# ---- the finish


FLIPS = [
    (lambda wb: wb.step.reset_token(), errors.TokenInvalidError),
    (lambda wb: wb.step.disable_api(), errors.ApiDisabledError),
    (lambda wb: wb.step.delete(), errors.StepNotFoundError),
    (lambda wb: wb.workflow.delete(), errors.WorkflowNotFoundError),
]


@pytest.mark.parametrize(("flip", "kind"), FLIPS)
@pytest.mark.parametrize("chunk_size", [None, 3])
def test_refused_finish_names_the_reason(
    wb: Sandbox, settings: Settings, flip: Any, kind: type[errors.RefusedError], chunk_size: int | None
) -> None:
    told = Told(then=lambda: flip(wb))
    error = failing(kind, settings, b"A\n1\n", told, chunk_size=chunk_size)
    assert error.at_finish
    assert not error.retryable
    assert error.status in (403, 404)
    assert str(error).startswith("All bytes were sent, but Workbench did not take the File.")
    assert wb.step.files == []
    # a cleared task must not go on with it
    assert told.events[-1] == "settled"


@pytest.mark.parametrize(("flip", "kind"), FLIPS)
def test_refused_finish_whose_answer_was_lost_names_the_reason(
    wb: Sandbox, flip: Any, kind: type[errors.RefusedError]
) -> None:
    def lose() -> None:
        """Refuse the finish, and cut the connection while the hook is at work."""
        flip(wb)
        wb.hook_delay = 0.2
        wb.cut_seconds = 0
        threading.Timer(0.15, wb.restart_tusd).start()

    told = Told(at_half=lose)
    error = failing(kind, settings_of(wb), b"A\n1\n", told)
    assert not error.retryable
    assert wb.step.files == []
    assert wb.step.selected is None
    # it was create-file that said so, in the second round
    assert not error.at_finish
    assert "Workbench did not take it." in told.log


@pytest.mark.parametrize("hook", ["down", "500"])
@pytest.mark.parametrize("readable", [True, False])
def test_failing_hook_is_not_taken(wb: Sandbox, hook: str, readable: bool) -> None:
    wb.hook, wb.hook_retry_seconds = hook, 0
    step = wb.step if readable else wb.private_step
    settings = Settings.from_fields(step.create_file_url, step.api_token or "")
    told = Told()
    error = failing(errors.UploadNotTakenError, settings, b"A\n1\n", told)
    assert error.retryable
    assert "answered 500" in str(error)
    assert "The Step does not have it" in str(error)
    assert step.files == []
    assert len({kept.upload_url for kept in told.kept}) == 4
    # a later try looks for evidence first
    assert "settled" not in told.events
    assert told.kept[-1].finish_failed
    assert paths(wb).count("PATCH 500") == 4


def test_hook_that_comes_back_takes_the_next_round(wb: Sandbox, settings: Settings) -> None:
    wb.hook, wb.hook_retry_seconds = "down", 0
    told = Told(then=lambda: len(told.urls) == 3 and setattr(wb, "hook", "ok"))
    result = upload(settings, b"A\n1\n", told)
    assert contents(wb) == [b"A\n1\n"]
    assert (result.attempts, result.bytes_sent, result.duplicate_possible) == (3, 12, False)


def test_file_stored_before_the_hook_failed_is_success_once(wb: Sandbox, settings: Settings) -> None:
    wb.hook, wb.hook_retry_seconds = "store-then-500", 0
    result = upload(settings, b"A\n1\n", told := Told())
    assert contents(wb) == [b"A\n1\n"]
    assert (result.attempts, result.duplicate_possible) == (1, False)
    assert "Workbench took it." in told.log
    assert datetime.fromisoformat(result.not_before) <= datetime.fromisoformat(wb.step.files[0].created_at)


def test_file_stored_before_the_hook_failed_in_an_unreadable_step_is_unknown(wb: Sandbox) -> None:
    """After a 5xx a moved object is no proof: the bytes go before the commit."""
    wb.hook, wb.hook_retry_seconds = "store-then-500", 0
    step = wb.private_step
    settings = Settings.from_fields(step.create_file_url, step.api_token or "")
    error = failing(errors.OutcomeUnknownError, settings, b"A\n1\n")
    assert error.retryable
    assert "may or may not have it" in str(error)
    assert len(step.files) == 2


def test_undecided_is_uploaded_once_more_and_told(wb: Sandbox) -> None:
    wb.hook, wb.hook_retry_seconds = "store-then-500", 0
    step = wb.private_step
    settings = Settings.from_fields(step.create_file_url, step.api_token or "")
    told = Told(then=lambda: len(told.urls) == 2 and setattr(wb, "hook", "ok"))
    result = upload(settings, b"A\n1\n", told)
    assert result.duplicate_possible
    assert result.attempts == 2
    assert len(step.files) == 2
    assert "Nothing tells whether Workbench took it." in told.log


def test_file_that_is_seen_only_before_it_is_sent_again_is_no_duplicate() -> None:
    """Nothing told at first whether Workbench took it."""

    def finish(call: Call) -> None:
        call.keep()
        server.gone = True
        call.answer("502 Bad Gateway", b"bad gateway")

    def page(call: Call) -> None:
        if not server.count("HEAD"):
            call.answer("403 Forbidden", PAGE)
            return
        if "again" in told.log:
            server.files = [("a.csv", 4, datetime.now(UTC).isoformat(), b"A\n1\n")]
        call.answer("200 OK" if "again" in told.log else "403 Forbidden", page_of(server))

    with Workbench(readable=True) as server:
        server.script = {"PATCH": [finish], "PAGE": [page, ...]}
        told = Told()
        result = upload(server.settings, b"A\n1\n", told, known=frozenset())
        assert "Nothing tells whether Workbench took it." in told.log
        assert "Workbench took it, late." in told.log
        assert (result.attempts, result.duplicate_possible) == (1, False)


def test_time_that_the_upload_host_is_ahead_makes_no_file_too_old() -> None:
    """The File's own time is by the frontend's clock."""

    def ahead(call: Call) -> None:
        call.keep()
        server.files.append(("a.csv", 4, datetime.now(UTC).isoformat(), b"A\n1\n"))
        date = f"Date: {format_datetime(datetime.now(UTC) + timedelta(minutes=1), usegmt=True)}"
        call.peer.answer("204 No Content", b"", date, TUS, "Upload-Offset: 4")

    with Workbench(readable=True) as server:
        server.script["PATCH"] = [ahead]
        result = upload(server.settings, b"A\n1\n", read_step_after=True)
        assert result.uuid == "u0"
        assert datetime.fromisoformat(result.not_before) <= datetime.fromisoformat(server.files[0][2])


@pytest.mark.parametrize("readable", [True, False])
def test_accepted_finish_whose_answer_was_lost_is_success_once(wb: Sandbox, readable: bool) -> None:
    def lose() -> None:
        wb.hook_delay = 0.2
        threading.Timer(0.1, wb.restart_tusd).start()

    step = wb.step if readable else wb.private_step
    settings = Settings.from_fields(step.create_file_url, step.api_token or "")
    result = upload(settings, b"A\n1\n", told := Told(at_half=lose))
    assert len(step.files) == 1
    assert (result.attempts, result.bytes_sent, result.duplicate_possible) == (1, 4, False)
    assert datetime.fromisoformat(result.not_before) <= datetime.fromisoformat(step.files[0].created_at)
    assert "settled" not in told.events
    assert ("GET 404" in paths(wb)) or readable


def test_slow_hook_is_waited_for_longer_than_a_stall(wb: Sandbox) -> None:
    wb.hook_delay = 0.5
    upload(settings_of(wb, stall_timeout=0.05), b"A\n1\n", chunk_size=2)
    assert len(wb.step.files) == 1


def test_hook_slower_than_the_finish_timeout_is_waited_for_by_its_lock(wb: Sandbox) -> None:
    wb.hook_delay = 1
    result = upload(settings_of(wb, finish_timeout=0.7), b"A\n1\n", told := Told())
    assert "fell silent" in told.log
    assert len(wb.step.files) == 1
    assert (result.attempts, result.duplicate_possible) == (1, False)


def test_hook_slower_than_all_patience_leaves_the_outcome_unknown(wb: Sandbox) -> None:
    wb.hook_delay = 30
    error = failing(errors.OutcomeUnknownError, settings_of(wb, finish_timeout=0.3), b"A\n1\n")
    wb.hook_delay = 0
    assert "may or may not have it" in str(error)


def test_file_that_no_column_can_hold_is_not_taken(wb: Sandbox, settings: Settings) -> None:
    wb.max_file_size, wb.hook_retry_seconds = 3, 0
    failing(errors.UploadNotTakenError, settings, b"A\n1\n")
    assert wb.step.files == []


# ---- empty files


def test_empty_file_that_a_slow_hook_stored_after_a_500_is_success_once(wb: Sandbox, settings: Settings) -> None:
    wb.create_timeout, wb.hook_delay = 0.05, 0.1
    result = upload(settings, b"", patience=replace_grace(2))
    assert [file.size for file in wb.step.files] == [0]
    assert (result.attempts, result.duplicate_possible) == (1, False)
    assert datetime.fromisoformat(result.not_before) <= datetime.fromisoformat(wb.step.files[0].created_at)


def test_empty_file_of_an_earlier_delivery_is_no_evidence(wb: Sandbox, settings: Settings) -> None:
    upload(settings, b"")
    wb.hook, wb.hook_retry_seconds = "500", 0
    error = failing(errors.OutcomeUnknownError, settings, b"")
    assert "may or may not have it" in str(error)
    assert len(wb.step.files) == 1


def test_empty_file_in_an_unreadable_step_is_created_once_more(wb: Sandbox) -> None:
    wb.hook, wb.hook_retry_seconds = "500", 0
    step = wb.private_step
    settings = Settings.from_fields(step.create_file_url, step.api_token or "")
    failing(errors.OutcomeUnknownError, settings, b"")
    assert paths(wb).count("POST 500") == 2


def replace_grace(seconds: float) -> Any:
    return replace(QUICK, grace=seconds)


# ---- on the way


def test_forgotten_upload_is_made_again_from_zero(wb: Sandbox, settings: Settings) -> None:
    told = Told(then=lambda: len(told.kept) == 1 and wb.forget_uploads())
    result = upload(settings, b"A\n1\n", told)
    assert contents(wb) == [b"A\n1\n"]
    assert (result.attempts, result.duplicate_possible) == (2, False)
    assert told.events == ["unsettled", "half", "settled", "unsettled"]


def test_upload_forgotten_in_mid_body_is_made_again(wb: Sandbox, settings: Settings) -> None:
    content = os.urandom(BIG)

    def forget() -> None:
        wb.forget_uploads()
        wb.restart_tusd()

    result = upload(settings, content, Told(at_half=forget))
    assert contents(wb) == [content]
    assert result.attempts == 2


def test_server_that_forgets_always_is_an_error(wb: Sandbox, settings: Settings) -> None:
    told = Told(then=wb.forget_uploads)
    error = failing(errors.UploadGoneError, settings, b"A\n1\n", told)
    assert error.retryable
    assert "The Step has nothing of it" in str(error)
    assert len(told.kept) == 4
    assert told.events[-1] == "settled"


def test_upload_host_that_stays_down_ends_with_the_budget(wb: Sandbox) -> None:
    told = Told(then=lambda: setattr(wb, "tusd_down", True))
    error = failing(errors.UploadInterruptedError, settings_of(wb, retry_budget=0.5), b"A\n1\n", told)
    assert "Connection refused" in str(error)
    assert "The Step has nothing of it" in str(error)
    # a later try can go on with it
    assert "settled" not in told.events


def test_upload_host_that_comes_back_in_time_is_waited_for(wb: Sandbox, settings: Settings) -> None:
    def down() -> None:
        wb.tusd_down = True
        threading.Timer(0.5, setattr, (wb, "tusd_down", False)).start()

    upload(settings, b"A\n1\n", told := Told(then=down))
    assert contents(wb) == [b"A\n1\n"]
    assert "Trying to go on." in told.log


@pytest.mark.parametrize("chunk_size", [None, 10_000_000])
def test_server_that_restarts_in_mid_body_is_resumed_where_it_is(
    wb: Sandbox, settings: Settings, chunk_size: int | None
) -> None:
    content = os.urandom(1_000_000) * 40
    told = Told(at_half=wb.restart_tusd)
    result = upload(settings, content, told, chunk_size=chunk_size)
    assert contents(wb) == [content]
    assert result.attempts == 1
    assert result.resumed_from > 0
    # what was in the sockets when they were cut
    assert result.bytes_sent - len(content) < 8_000_000
    assert f"Going on from byte {result.resumed_from} of {len(content)}" in told.log


def test_offset_that_went_backwards_is_gone_on_from(wb: Sandbox, settings: Settings) -> None:
    """A source that stalls longer than the server's idle limit loses what was not flushed (recorded)."""
    wb.idle_limit, wb.flush_size = 0.2, 1_000_000
    content = os.urandom(2_500_000)

    told = Told()
    result = upload(
        settings, Slow(content, 1_500_000, 1.0), told, filename="a.csv", chunk_size=600_000, patience=patient_source()
    )
    assert contents(wb) == [content]
    assert "which is less than it had" in told.log
    assert result.bytes_sent > len(content)


def patient_source() -> Any:
    return replace(QUICK, source=10)


class Slow(BytesSource):
    """Stalls once, at a byte."""

    def __init__(self, content: bytes, at: int, seconds: float) -> None:
        super().__init__(content)
        self.at, self.seconds = at, seconds
        self.stalled = threading.Event()

    def open_at(self, offset: int) -> Any:
        return _SlowReader(self, super().open_at(offset), offset)


class _SlowReader:
    def __init__(self, source: Slow, reader: Any, offset: int) -> None:
        self.source, self.reader, self.offset = source, reader, offset

    def read(self, size: int) -> bytes:
        size = min(size, 65536)
        if self.offset + size > self.source.at and not self.source.stalled.is_set():
            self.source.stalled.set()
            time.sleep(self.source.seconds)
        block = self.reader.read(size)
        self.offset += len(block)
        return bytes(block)

    def close(self) -> None:
        self.reader.close()


def test_source_that_stalls_in_mid_patch_is_cut_and_resumed(wb: Sandbox, settings: Settings) -> None:
    """On a silent connection the server would lose what it has; on a cut one it keeps it (recorded)."""
    wb.idle_limit, wb.flush_size = 1.5, 50_000_000
    content = os.urandom(1_000_000)
    result = upload(settings, Slow(content, 500_000, 3), told := Told(), filename="a.csv")
    assert contents(wb) == [content]
    assert "gave no bytes for a while, so the connection was cut" in told.log
    assert result.resumed_from == 500_000 // 65536 * 65536
    assert result.bytes_sent == len(content)


def test_source_that_never_gives_anything_is_an_error(wb: Sandbox) -> None:
    settings = settings_of(wb, retry_budget=0.5)
    error = failing(errors.SourceReadError, settings, Slow(b"A\n1\n", 0, 5), filename="a.csv")
    assert "gave no bytes for" in str(error)
    assert not any(request.method == "PATCH" for request in wb.requests)


class Away(BytesSource):
    """Cannot be looked at, at times.

    :param looks: those that fail, the first is 1
    """

    def __init__(self, content: bytes, looks: range) -> None:
        super().__init__(content)
        self.looks, self.count = looks, 0

    def check_unchanged(self) -> None:
        self.count += 1
        if self.count in self.looks:
            raise errors.SourceReadError("The storage is away.")


def test_source_that_is_away_before_a_patch_is_waited_for(wb: Sandbox, settings: Settings) -> None:
    source = Away(b"A\n1\n", range(1, 5))
    upload(settings, source, told := Told(), filename="a.csv")
    assert contents(wb) == [b"A\n1\n"]
    assert told.log.count("The storage is away. Looking again in") == 4
    assert paths(wb) == ["POST 200", "PATCH 204"]


def test_source_that_is_away_before_a_patch_for_long_is_an_error(wb: Sandbox) -> None:
    settings = settings_of(wb, retry_budget=0.3)
    error = failing(errors.SourceReadError, settings, Away(b"A\n1\n", range(1, 10_000)), filename="a.csv")
    assert str(error) == "The storage is away."
    assert paths(wb) == ["POST 200"]


def test_source_that_is_away_before_the_last_bytes_holds_them_back_and_costs_no_try(
    wb: Sandbox, settings: Settings
) -> None:
    content = os.urandom(1_000_000)
    # before the PATCH, before its end; before the next, …
    result = upload(settings, Away(content, range(2, 4)), told := Told(), filename="a.csv")
    assert contents(wb) == [content]
    assert "The storage is away. The connection was cut before the last bytes." in told.log
    assert (result.attempts, result.resumed_from) == (1, len(content) - LAST_PIECE)
    assert result.bytes_sent == len(content)


# ---- an earlier try's upload


def leave(wb: Sandbox, settings: Settings, content: bytes, at: int) -> Kept:
    """What a try leaves that is killed when ``at`` bytes have arrived."""

    def kill() -> None:
        raise KeyboardInterrupt

    told = Told()
    with pytest.raises(KeyboardInterrupt):
        upload(settings, content, Told_at(told, at, kill), chunk_size=at or None)
    return told.kept[0]


def Told_at(told: Told, at: int, act: Callable[[], object]) -> Told:  # noqa: N802
    """``told``, and an act as soon as more than ``at`` bytes leave."""
    told._progress = lambda sent, size: act() if sent > at else None  # type: ignore[method-assign]
    return told


def test_earlier_trys_upload_is_gone_on_with(wb: Sandbox, settings: Settings) -> None:
    content = os.urandom(1000)
    kept = leave(wb, settings, content, 600)
    wb.clear_requests()
    result = upload(settings, content, told := Told(), kept=kept)
    assert contents(wb) == [content]
    assert paths(wb)[-2:] == ["HEAD 200", "PATCH 204"]
    assert (result.resumed_from, result.bytes_sent, result.attempts) == (600, 400, 0)
    assert told.urls == [kept.upload_url]
    assert told.events == ["half"]
    assert datetime.fromisoformat(result.not_before) <= datetime.fromisoformat(wb.step.files[0].created_at)


def test_earlier_trys_upload_that_is_gone_is_made_again(wb: Sandbox, settings: Settings) -> None:
    kept = leave(wb, settings, bytes(1000), 600)
    wb.forget_uploads()
    result = upload(settings, bytes(1000), told := Told(), kept=kept)
    assert len(wb.step.files) == 1
    assert (result.attempts, result.resumed_from, result.duplicate_possible) == (1, 0, False)
    assert "What the earlier try uploaded is of no use: starting over." in told.log
    assert told.events == ["unsettled", "half"]


def test_earlier_trys_upload_of_another_size_is_made_again(wb: Sandbox, settings: Settings) -> None:
    kept = leave(wb, settings, bytes(1000), 600)
    upload(settings, bytes(999), told := Told(), kept=kept)
    assert contents(wb) == [bytes(999)]
    assert "this is not our upload" in told.log


def test_earlier_trys_accepted_upload_is_not_made_again(wb: Sandbox, settings: Settings) -> None:
    """The worker was killed after Workbench took the File, before it heard of it."""
    upload(settings, b"A\n1\n", told := Told())
    result = upload(settings, b"A\n1\n", kept=told.kept[0])
    assert len(wb.step.files) == 1
    assert (result.attempts, result.bytes_sent) == (0, 0)
    assert datetime.fromisoformat(result.not_before) <= datetime.fromisoformat(wb.step.files[0].created_at)


@pytest.mark.parametrize("deleted", [True, False])
def test_earlier_trys_refused_upload_is_made_again(deleted: bool) -> None:
    def refuse(call: Call) -> None:
        call.keep()
        body = b'{"error":{"code":"step-has-no-api-token"}}'
        call.answer("403 Forbidden", body, TUS, f"Upload-Offset: {call.server.size}")

    with Workbench() as server:
        server.script["PATCH"] = [refuse]
        if not deleted:
            server.script["DELETE"] = [says("500 Internal Server Error"), ...]
        failing(errors.ApiDisabledError, server.settings, b"A\n1\n", told := Told())
        upload(server.settings, b"A\n1\n", later := Told(), kept=told.kept[0])
        assert [content for *_, content in server.files] == [b"A\n1\n"]
        assert server.created == 2
    assert ("answered 404" if deleted else "Workbench did not take it.") in later.log


def test_earlier_trys_failed_finish_is_remembered() -> None:
    """The killed try saw a 5xx at the finish: then a moved object is no proof."""

    def fail(call: Call) -> None:
        call.keep()
        call.server.finished = True  # as if the object were gone
        call.answer("500 Internal Server Error", b"pre-finish hook failed\n", TUS, f"Upload-Offset: {call.server.size}")

    with Workbench() as server:
        server.script["PATCH"] = [fail]
        control = Control()
        saved: list[str] = []

        def save(kept: Kept) -> None:
            saved.append(json.dumps(kept.as_dict()))
            if kept.finish_failed:
                control.stop()

        with pytest.raises(errors.UploadStoppedError):
            upload_file(
                server.settings,
                b"A\n1\n",
                filename="a.csv",
                listener=Listener(unsettled=save),
                patience=QUICK,
                control=control,
            )
        result = upload(server.settings, b"A\n1\n", kept=Kept.from_dict(json.loads(saved[-1])))
        assert (result.attempts, result.duplicate_possible) == (1, True)


def test_file_that_the_earlier_try_delivered_is_not_made_again(wb: Sandbox, settings: Settings) -> None:
    upload(settings, b"A\n1\n", told := Told())
    known = frozenset(file.uuid for file in wb.step.files)
    result = upload(settings, b"A\n1\n", kept=told.kept[0], known=known)
    assert (len(wb.step.files), result.attempts, result.duplicate_possible) == (1, 0, False)


def test_earlier_trys_upload_that_cannot_be_asked_for_claims_nothing(wb: Sandbox) -> None:
    """It may have been finished."""
    upload(settings_of(wb), b"A\n1\n", told := Told())
    wb.tusd_down = True
    later = Told()
    error = failing(errors.OutcomeUnknownError, settings_of(wb, retry_budget=0.3), b"A\n1\n", later, kept=told.kept[0])
    assert "may or may not have the File" in str(error)
    assert "nothing of it" not in str(error)
    assert later.events == []


# ---- stopped from another thread


def stopping(
    settings: Settings, what: Any, told: Told, when: Callable[[], bool], control: Control, **options: Any
) -> float:
    """Seconds from the stop to the end of the upload."""
    stopped: list[float] = []

    def stop() -> None:
        deadline = time.monotonic() + 10
        while not when() and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.1)
        stopped.append(time.monotonic())
        control.stop()

    thread = threading.Thread(target=stop)
    thread.start()
    failing(errors.UploadStoppedError, settings, what, told, control=control, **options)
    ended = time.monotonic()
    thread.join()
    # a later try goes on with it
    assert "settled" not in told.events
    return ended - stopped[0]


def test_stop_ends_a_send_that_nobody_reads(wb: Sandbox) -> None:
    release = threading.Event()
    with Workbench(stall_timeout=60) as server:
        server.script["PATCH"] = [lambda call: release.wait(20)]
        told = Told()
        seconds = stopping(server.settings, bytes(50_000_000), told, lambda: bool(told.progress), Control())
        release.set()
    assert seconds < 2


def test_stop_ends_the_wait_for_the_finish(wb: Sandbox, settings: Settings) -> None:
    wb.hook_delay = 20
    told = Told()
    seconds = stopping(settings, b"A\n1\n", told, lambda: bool(told.progress), Control())
    wb.hook_delay = 0
    assert seconds < 2


def test_stop_ends_a_pause(wb: Sandbox, settings: Settings) -> None:
    told = Told(then=lambda: setattr(wb, "tusd_down", True))
    patience = replace(QUICK, first_pause=1000.0, longest_pause=1000.0)
    seconds = stopping(settings, b"A\n1\n", told, lambda: bool(told.lines), Control(), patience=patience)
    assert seconds < 2


@pytest.mark.parametrize("at", [0, 500_000])
def test_stop_ends_the_wait_for_a_stalled_source(wb: Sandbox, settings: Settings, at: int) -> None:
    source = Slow(bytes(1_000_000), at, 5)
    told = Told()
    patience = replace(QUICK, source=60)
    seconds = stopping(settings, source, told, source.stalled.is_set, Control(), filename="a.csv", patience=patience)
    assert seconds < 2


def test_stop_while_a_connection_is_made_creates_nothing(
    wb: Sandbox, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_connection = urllib3.util.connection.create_connection
    control = Control()

    def create(*args: Any, **kwargs: Any) -> Any:
        control.stop()
        return create_connection(*args, **kwargs)

    monkeypatch.setattr(urllib3.util.connection, "create_connection", create)
    failing(errors.UploadStoppedError, settings, b"A\n1\n", told := Told(), control=control)
    assert wb.requests == []
    assert told.lines == []


def test_stopped_before_it_began_sends_nothing(wb: Sandbox, settings: Settings) -> None:
    control = Control()
    control.stop()
    failing(errors.UploadStoppedError, settings, b"A\n1\n", control=control)
    assert wb.requests == []


def test_stopped_upload_is_gone_on_with(wb: Sandbox, settings: Settings) -> None:
    content = os.urandom(1000)
    control = Control()
    told = Told_at(Told(), 600, control.stop)
    failing(errors.UploadStoppedError, settings, content, told, control=control, chunk_size=600)
    result = upload(settings, content, kept=told.kept[0])
    assert contents(wb) == [content]
    assert result.resumed_from == 600


# ---- the source changes


@pytest.fixture
def big(tmp_path: Path) -> Path:
    path = tmp_path / "big.csv"
    path.write_bytes(b"a" * BIG)
    os.utime(path, ns=(1, 1))
    return path


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
    told = Told(at_half=lambda: change(big))
    error = failing(errors.SourceChangedError, settings, big, told, chunk_size=chunk_size)
    assert error.retryable
    assert wb.step.files == []
    # what was sent is freed, although the cut PATCH holds it for a moment
    assert paths(wb)[-1] == "DELETE 204"
    assert told.events[-1] == "settled"


def test_replaced_file_is_sent_as_it_was_opened(wb: Sandbox, settings: Settings, big: Path, tmp_path: Path) -> None:
    (tmp_path / "new").write_bytes(b"new")
    upload(settings, big, told := Told(at_half=lambda: os.replace(tmp_path / "new", big)))
    assert "The path was replaced meanwhile" in told.log
    assert big.read_bytes() == b"new"
    assert wb.step.content(wb.step.files[0].uuid) == b"a" * BIG


def test_change_at_the_last_moment_is_noticed(wb: Sandbox, settings: Settings, tmp_path: Path) -> None:
    """After create-file, before the only block is read."""
    path = tmp_path / "a.csv"
    path.write_bytes(b"A\n1\n")
    os.utime(path, ns=(1, 1))
    told = Told(then=lambda: path.write_bytes(b"B\n2\n"))
    failing(errors.SourceChangedError, settings, path, told)
    assert wb.step.files == []


def test_change_during_a_pause_is_noticed(wb: Sandbox, settings: Settings, big: Path) -> None:
    def cut() -> None:
        wb.restart_tusd()
        big.write_bytes(b"b" * BIG)

    failing(errors.SourceChangedError, settings, big, Told(at_half=cut))
    assert wb.step.files == []


def test_failed_delete_does_not_hide_the_change(big: Path) -> None:
    with Workbench() as server:
        server.script["DELETE"] = [lambda call: call.peer.reset()]
        failing(errors.SourceChangedError, server.settings, big, Told(at_half=lambda: os.truncate(big, 10)))
        # its thread may note the PATCH later than the DELETE's
        assert sorted(server.methods) == ["CREATE", "DELETE", "PATCH"]


class Broken(BytesSource):
    """Gives less than it promised, or an error."""

    def __init__(self, error: Exception | None) -> None:
        super().__init__(b"")
        self.size, self.error = 10, error
        self.stream.write(bytes(10))

    def open_at(self, offset: int) -> Any:
        if self.error:
            raise self.error
        return super().open_at(offset)


@pytest.mark.parametrize(
    ("fault", "kind", "says"),
    [
        (errors.SourceReadError("Reading the file failed: mine."), errors.SourceReadError, "mine"),
        (None, errors.SourceChangedError, "became shorter"),
    ],
)
def test_source_that_fails_is_told(wb: Sandbox, settings: Settings, fault: Any, kind: Any, says: str) -> None:
    error = failing(kind, settings, Broken(fault), filename="a.csv")
    assert says in str(error)
    assert error.retryable
    assert wb.step.files == []


@pytest.mark.parametrize("error", [LookupError("mine"), ConnectionAbortedError(103, "mine")])
def test_failing_progress_callback_finishes_nothing(wb: Sandbox, error: Exception) -> None:
    def fail() -> None:
        raise error

    told = Told_at(Told(), 0, fail)
    with pytest.raises((LookupError, errors.UploadInterruptedError)):
        upload(settings_of(wb, retry_budget=1), b"A\n1\n", told)
    assert wb.step.files == []


# ---- the server's time


def test_not_before_is_no_later_than_the_file(wb: Sandbox, settings: Settings) -> None:
    """The frontend's Date is that of its connection's first answer (recorded): it must not be relied on."""
    with Session(settings) as session:
        for content in (b"A\n", b"B\n1\n", b""):
            result = upload(settings, content, session=session)
            not_before, created = map(datetime.fromisoformat, (result.not_before, wb.step.files[0].created_at))
            assert timedelta(0) < created - not_before < timedelta(seconds=4)
