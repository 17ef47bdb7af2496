"""The engine against TUS servers that we did not write: whole, chunked, cut and resumed, terminated.

The fault proxy stands before the server; a stub of a frontend makes the uploads on it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from fault_proxy import FaultProxy
from fault_script import Fault
from tus_servers import Frontend, TusServer, frontend

from airflow_provider_workbench.client import errors
from airflow_provider_workbench.client.listener import Listener
from airflow_provider_workbench.client.patience import Patience
from airflow_provider_workbench.client.settings import Settings
from airflow_provider_workbench.client.upload import UploadResult, upload_file

pytestmark = pytest.mark.long

MIB = 1024 * 1024
CONTENT = os.urandom(12 * MIB)  # more than the sockets hold
IMPATIENT = Patience(first_pause=0.05, longest_pause=0.3, round_pause=0.05, lock=20, source=1, grace=0.2, look=0.1)


@dataclass
class Bench:
    server: TusServer
    proxy: FaultProxy
    frontend: Frontend

    def upload(self, what: Any, *faults: Fault, **options: Any) -> UploadResult:
        self.proxy.script = faults
        extra = {"stall_timeout": 10, "finish_timeout": 40, "retry_budget": 90}
        settings = Settings.from_fields(self.frontend.create_file_url, "token", extra)
        return upload_file(settings, what, filename="file.csv", patience=IMPATIENT, **options)

    @property
    def stored(self) -> bytes:
        (path,) = self.frontend.paths
        return self.server.content(path)


@pytest.fixture
def bench(tus: TusServer) -> Iterator[Bench]:
    with FaultProxy(upload=tus.url) as proxy, frontend(tus, proxy.url("upload")) as stub:
        yield Bench(tus, proxy, stub)


@pytest.mark.parametrize("size", [1, 65_536, len(CONTENT)])
def test_whole(bench: Bench, size: int) -> None:
    result = bench.upload(CONTENT[:size])
    assert bench.stored == CONTENT[:size]
    assert result.bytes_sent == size
    assert bench.proxy.said() == ["PATCH 204"]


def test_chunked(bench: Bench) -> None:
    bench.upload(CONTENT, chunk_size=5 * MIB)
    assert bench.stored == CONTENT
    assert bench.proxy.said() == ["PATCH 204"] * 3


@pytest.mark.parametrize("rst", [False, True], ids=["FIN", "RST"])
@pytest.mark.parametrize("at", [0, 1, MIB, 5 * MIB])
@pytest.mark.parametrize("chunk_size", [None, 5 * MIB])
def test_cut_and_resumed(bench: Bench, at: int, rst: bool, chunk_size: int | None) -> None:
    cut = Fault("cut", method="PATCH", at=at, rst=rst)
    result = bench.upload(CONTENT, cut, chunk_size=chunk_size)
    assert bench.stored == CONTENT
    assert result.attempts == 1
    assert any(said.startswith("HEAD 20") for said in bench.proxy.said())


def test_cut_many_times_and_resumed(bench: Bench) -> None:
    cuts = [Fault("cut", method="PATCH", at=MIB // 2, rst=bool(number % 2)) for number in range(10)]
    result = bench.upload(CONTENT, *cuts)
    assert bench.stored == CONTENT
    assert result.attempts == 1
    assert result.resumed_from > 0 or not bench.server.keeps_cut_bytes


def test_lost_answer_to_a_chunk(bench: Bench) -> None:
    result = bench.upload(CONTENT, Fault("lose", method="PATCH", skip=1), chunk_size=5 * MIB)
    assert bench.stored == CONTENT
    assert (result.attempts, result.resumed_from) == (1, 10 * MIB)
    assert bench.proxy.body_bytes() == len(CONTENT)


def test_smaller_requests_where_a_proxy_wants_them(bench: Bench) -> None:
    limit = Fault("answer", method="PATCH", status=413, over=4 * MIB, times=None)
    bench.upload(CONTENT, limit)
    assert bench.stored == CONTENT


def test_terminated_when_the_file_changes(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "file.csv"
    path.write_bytes(CONTENT)

    def change(offset: int, size: int) -> None:
        if 6 * MIB < offset < 7 * MIB:
            os.truncate(path, 100)

    with pytest.raises(errors.SourceChangedError):
        bench.upload(path, listener=Listener(progress=change))
    (upload,) = bench.frontend.paths
    assert bench.proxy.seen[-1].method == "DELETE"
    if bench.server.can_terminate:
        assert bench.server.head(upload)[0] in (404, 410)
    else:
        assert bench.server.head(upload) != (200, str(len(CONTENT)))
