"""Looking for evidence, against a Workbench that follows a script."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from uploads import PAGE, QUICK, TUS, Call, Workbench, page_of, says

from airflow_provider_workbench.client.errors import UploadStoppedError
from airflow_provider_workbench.client.evidence import Finding
from airflow_provider_workbench.client.job import Job, Totals
from airflow_provider_workbench.client.patience import Control
from airflow_provider_workbench.client.session import Session
from airflow_provider_workbench.client.settling import Settling
from airflow_provider_workbench.client.sources import BytesSource
from airflow_provider_workbench.client.transfer import Transfer
from airflow_provider_workbench.client.waiting import MAX_FILES, Wanted

SIZE = 4
START = datetime.now(UTC) - timedelta(seconds=5)


def settle(
    server: Workbench,
    *,
    control: Control | None = None,
    not_after: datetime = START,
    known: frozenset[str] | None = None,
    answered: bool = False,
) -> Finding:
    """What is found out about an upload of a.csv whose answer was lost."""
    control = control or Control()
    with Session(server.settings) as session:
        control.watch(session)
        job = Job(session, control, QUICK)
        source = BytesSource(bytes(SIZE))
        transfer = Transfer(job, source, f"{server.url}/files/x+y", chunk_size=None, resuming=True, totals=Totals())
        wanted = Wanted(until="listed", name="a.csv", size=SIZE, not_before=START)
        settling = Settling(job, wanted, not_after=not_after, known=known)
        return settling.settle(transfer, answered=answered)


def complete(server: Workbench) -> None:
    server.size, server.content = SIZE, bytearray(SIZE)


def listed(name: str = "a.csv", size: int = SIZE, after: float = 5) -> tuple[str, int, str, bytes]:
    return name, size, (START + timedelta(seconds=after)).isoformat(), b""


def test_listed_file_is_taken() -> None:
    with Workbench(readable=True) as server:
        complete(server)
        server.finished, server.files = True, [listed()]
        assert settle(server) is Finding.TAKEN


@pytest.mark.parametrize("other", [listed(name="b.csv"), listed(size=5), listed(after=-1)])
@pytest.mark.parametrize("moved", [True, False])
def test_other_or_earlier_file_is_no_evidence(other: Any, moved: bool) -> None:
    with Workbench(readable=True) as server:
        complete(server)
        server.finished, server.files = True, [other]
        if not moved:
            server.script["GET"] = [says("404 Not Found", PAGE), ...]
        assert settle(server) is (Finding.UNDECIDED if moved else Finding.NOT_TAKEN)


def test_file_that_was_there_before_is_no_evidence() -> None:
    with Workbench(readable=True) as server:
        complete(server)
        server.files = [listed()]
        assert settle(server, known=frozenset({"u0"})) is Finding.NOT_TAKEN


@pytest.mark.parametrize("known", [None, frozenset(), frozenset({"u0"})])
@pytest.mark.parametrize("gone", [False, True])
def test_file_like_it_that_may_be_an_older_one_needs_a_second_witness(known: frozenset[str] | None, gone: bool) -> None:
    """A Date has whole seconds: the same file may have been delivered just before."""
    with Workbench(readable=True) as server:
        complete(server)
        server.finished, server.gone, server.files = True, gone, [listed(after=1)]
        finding = settle(server, not_after=START + timedelta(seconds=3), known=known)
        if known is None:
            assert finding is (Finding.UNDECIDED if gone else Finding.TAKEN)
        else:
            missing = Finding.NOT_TAKEN if gone else Finding.UNDECIDED
            assert finding is (missing if known else Finding.TAKEN)


def test_file_that_is_listed_after_the_finish_was_answered_with_an_error_is_waited_for() -> None:
    """The hook takes the bytes away before it commits the File."""

    def late(call: Call) -> None:
        server.files = [listed()]
        call.answer("200 OK", page_of(server))

    with Workbench(readable=True) as server:
        complete(server)
        server.finished = True
        server.script["PAGE"] = [None, late]
        assert settle(server, answered=True) is Finding.TAKEN


def test_file_that_is_listed_a_moment_after_its_bytes_went_is_waited_for_after_a_lost_answer_too() -> None:
    """tusd 2 moves the bytes away, and Workbench commits meanwhile."""

    def late(call: Call) -> None:
        if server.count("GET"):
            server.files = [listed()] * (server.count("GET") > 1)
        call.answer("200 OK", page_of(server))

    with Workbench(readable=True) as server:
        complete(server)
        server.finished = True
        server.script["PAGE"] = [late, ...]
        assert settle(server) is Finding.TAKEN
        assert server.count("GET") == 2


def test_page_in_trouble_costs_nothing_where_bytes_are_missing() -> None:
    with Workbench(retry_budget=60, finish_timeout=60) as server:
        server.size, server.content = SIZE, bytearray(2)
        server.script["PAGE"] = [says("200 OK", PAGE), ...]
        began = time.monotonic()
        assert settle(server) is Finding.RESUME
        assert time.monotonic() - began < 5


def test_like_file_where_the_clocks_do_not_agree_tells_nothing() -> None:
    with Workbench(readable=True) as server:
        complete(server)
        server.finished, server.files = True, [listed(after=1)]
        assert settle(server, not_after=START + timedelta(minutes=5), answered=True) is Finding.UNDECIDED


def test_upload_host_is_asked_only_after_a_grace() -> None:
    """On tusd 2 an early HEAD cancels the hook."""
    with Workbench(readable=True) as server:
        complete(server)
        settle(server)
        assert server.methods[0] == "PAGE"
        assert server.methods.index("HEAD") > 1


def test_missing_bytes_are_sent_on() -> None:
    with Workbench() as server:
        server.size, server.content = SIZE, bytearray(2)
        assert settle(server) is Finding.RESUME


def test_upload_at_work_is_looked_at_again() -> None:
    with Workbench() as server:
        complete(server)
        server.finished = True
        locked = says("423 Locked", b"file currently locked\n", TUS)
        server.script["HEAD"] = [locked, says("502 Bad Gateway"), None, None, None]
        server.script["GET"] = [locked, lambda call: call.peer.reset()]
        assert settle(server) is Finding.TAKEN
        assert server.count("HEAD") == 5
        assert server.count("GET") == 3


def test_what_stays_at_work_is_undecided_in_the_end() -> None:
    with Workbench(finish_timeout=0.3) as server:
        server.script["HEAD"] = [says("423 Locked", b"", TUS), ...]
        began = time.monotonic()
        assert settle(server) is Finding.UNDECIDED
        assert time.monotonic() - began < 2


def test_page_in_trouble_is_read_again() -> None:
    with Workbench(readable=True) as server:
        complete(server)
        server.finished, server.files = True, [listed()]
        server.script["PAGE"] = [says("502 Bad Gateway", PAGE), lambda call: call.peer.reset()]
        assert settle(server) is Finding.TAKEN
        assert server.count("PAGE") <= 4


def test_page_that_stays_in_trouble_tells_nothing() -> None:
    with Workbench(readable=True, retry_budget=0.3) as server:
        complete(server)
        server.script["PAGE"] = [says("502 Bad Gateway", PAGE), ...]
        server.script["GET"] = [says("404 Not Found", PAGE), ...]
        assert settle(server) is Finding.UNDECIDED


@pytest.mark.parametrize("moved", [True, False])
def test_page_that_is_not_found_tells_nothing(moved: bool) -> None:
    """The Workflow may be deleted, or a proxy may let only the API through."""
    with Workbench() as server:
        complete(server)
        server.finished = moved
        server.script["PAGE"] = [says("404 Not Found", PAGE), ...]
        assert settle(server) is (Finding.TAKEN if moved else Finding.NOT_TAKEN), "by the upload host's word"


def test_secret_link_that_shows_nothing_tells_nothing() -> None:
    """It may have been reset, or be another Workflow's."""
    with Workbench(secret_link="wother") as server:
        complete(server)
        server.finished = True
        server.script["PAGE"] = [says("404 Not Found", PAGE), ...]
        assert settle(server) is Finding.TAKEN, "by the upload host's word"


def test_step_full_of_later_files_tells_nothing() -> None:
    with Workbench(readable=True) as server:
        complete(server)
        server.files = [listed(name=f"{number}.csv") for number in range(MAX_FILES)]
        server.script["GET"] = [says("404 Not Found", PAGE), ...]
        assert settle(server) is Finding.UNDECIDED


def test_file_that_is_listed_late_is_waited_for() -> None:
    def late(call: Call) -> None:
        server.finished, server.files = True, [listed()]
        call.answer("200 OK", page_of(server))

    with Workbench(readable=True) as server:
        complete(server)
        server.script["PAGE"] = [None, late]
        assert settle(server) is Finding.TAKEN


def test_stop_ends_the_looking() -> None:
    with Workbench(finish_timeout=60) as server:
        server.script["HEAD"] = [says("423 Locked", b"", TUS), ...]
        control = Control()
        threading.Timer(0.3, control.stop).start()
        began = time.monotonic()
        with pytest.raises(UploadStoppedError):
            settle(server, control=control)
        assert time.monotonic() - began < 2


@pytest.mark.parametrize(
    ("readable", "files", "finding"),
    [
        (True, [listed(size=0)], Finding.TAKEN),
        (True, [], Finding.NOT_TAKEN),
        (False, [], Finding.UNDECIDED),
    ],
)
def test_empty_file_is_settled_by_the_step_alone(readable: bool, files: list[Any], finding: Finding) -> None:
    with Workbench(readable=readable) as server:
        server.files = files
        wanted = Wanted(until="listed", name="a.csv", size=0, not_before=START)
        with Session(server.settings) as session:
            job = Job(session, patience=replace(QUICK, grace=0.2))
            settling = Settling(job, wanted, not_after=START, known=frozenset())
            assert settling.settle_empty() is finding
        assert set(server.methods) == {"PAGE"}
