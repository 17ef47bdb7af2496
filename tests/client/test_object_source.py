"""Objects as sources: S3 (moto's server), HTTP, and fsspec's file systems in memory and on disk."""

from __future__ import annotations

import contextlib
import http.server
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from storage_server import KEY_ID, SECRET_KEY, Gate, Storage
from uploads import Told, failing, settings_of, text_of, upload

from airflow_provider_workbench.client import errors, object_source
from airflow_provider_workbench.client.object_source import (
    ObjectSource,
    holds_credentials,
    is_azure_account,
    secrets_of,
    shown_address,
    without_secrets,
)
from airflow_provider_workbench.client.settings import Settings
from airflow_provider_workbench.client.sources import PathSource, Source, open_source
from airflow_provider_workbench.sandbox import Sandbox

MIB = 1024 * 1024
CONTENT = os.urandom(9 * MIB)
OTHER = os.urandom(9 * MIB)


@pytest.fixture
def key(storage: Storage, request: pytest.FixtureRequest) -> str:
    """Of an object with CONTENT."""
    key = f"{request.node.name}/a.csv"
    storage.put(key, CONTENT)
    return key


@pytest.fixture
def source(storage: Storage, key: str) -> Iterator[ObjectSource]:
    source = ObjectSource(storage.fs(), f"lake/{key}", conn_id="my_lake")
    yield source
    source.close()


def read(reader: Any, count: int = sys.maxsize) -> bytes:
    content = b""
    while len(content) < count and (block := reader.read(min(65536, count - len(content)))):
        content += block
    return content


def error_of(run: Callable[[], object]) -> errors.WorkbenchError:
    """What it raises; holds no credentials, and chains nothing of the libraries'."""
    with pytest.raises(errors.WorkbenchError) as caught:
        run()
    text = text_of(caught.value)
    for secret in (KEY_ID, SECRET_KEY, "pass123", "sig456"):
        assert secret not in text
    assert not caught.value.__context__
    return caught.value


# ---- what it is


def test_object_has_a_name_a_size_and_bytes(source: ObjectSource) -> None:
    assert isinstance(source, Source)
    assert (source.name, source.size) == ("a.csv", len(CONTENT))
    source.stream.seek(0, os.SEEK_END)
    assert source.stream.tell() == len(CONTENT)
    assert read(source.open_at(0)) == CONTENT
    source.check_unchanged()


def test_readers_of_an_object_do_not_disturb_each_other(source: ObjectSource) -> None:
    one, two = source.open_at(5 * MIB), source.open_at(7)
    pieces = [read(one, 3), read(two, 3), read(one, MIB), read(two, MIB)]
    assert pieces == [CONTENT[at : at + n] for at, n in ((5 * MIB, 3), (7, 3), (5 * MIB + 3, MIB), (10, MIB))]
    one.close()
    two.close()
    last = source.open_at(len(CONTENT) - 1)
    assert (last.read(10), last.read(10)) == (CONTENT[-1:], b"")
    assert source.open_at(len(CONTENT)).read(10) == b""


def test_fingerprint_is_of_the_version_and_not_of_the_try(storage: Storage, key: str) -> None:
    def fingerprint(key: str) -> str:
        return ObjectSource(storage.fs(), f"lake/{key}").fingerprint

    first = fingerprint(key)
    assert fingerprint(key) == first
    assert key not in first
    storage.put(key, OTHER)
    storage.put(f"{key}.2", OTHER)
    assert len({first, fingerprint(key), fingerprint(f"{key}.2")}) == 3


# ---- uploads


def test_object_arrives_whole(wb: Sandbox, settings: Settings, source: ObjectSource) -> None:
    result = upload(settings, source)
    (file,) = wb.step.files
    assert wb.step.content(file.uuid) == CONTENT
    assert (result.filename, result.size) == ("a.csv", len(CONTENT))


def test_small_chunks_do_not_read_it_more_than_once(wb: Sandbox, storage: Storage, key: str) -> None:
    with Gate(storage.port) as gate:
        source = ObjectSource(storage.fs(gate.url), f"lake/{key}")
        upload(settings_of(wb, chunk_size="200000"), source)
        (file,) = wb.step.files
        assert wb.step.content(file.uuid) == CONTENT
        assert len(CONTENT) < gate.passed < 1.1 * len(CONTENT)


@pytest.mark.parametrize("change", ["rewrite", "grow", "delete"])
@pytest.mark.parametrize("chunk_size", [None, MIB])
def test_object_that_changes_meanwhile_is_an_error_and_no_file(
    wb: Sandbox, storage: Storage, key: str, source: ObjectSource, change: str, chunk_size: int | None
) -> None:
    acts: dict[str, Callable[[], object]] = {
        "rewrite": lambda: storage.put(key, OTHER),
        "grow": lambda: storage.put(key, CONTENT + b"x"),
        "delete": lambda: storage.client.delete_object(Bucket="lake", Key=key),
    }
    told = Told(at_half=acts[change])
    error = failing(errors.SourceChangedError, settings_of(wb), source, told, chunk_size=chunk_size)
    assert ("deleted" if change == "delete" else "changed") in str(error)
    assert error.retryable
    assert wb.step.files == []
    assert told.events[-1] == "settled"


def test_change_right_before_the_last_byte_is_seen(
    wb: Sandbox, storage: Storage, key: str, source: ObjectSource
) -> None:
    """Everything was read by then, so only the last look can tell."""

    class Told98(Told):
        def _progress(self, sent: int, size: int) -> None:
            if sent > size - MIB and "late" not in self.events:
                self.events.append("late")
                storage.put(key, OTHER)

    failing(errors.SourceChangedError, settings_of(wb), source, Told98())
    assert wb.step.files == []


def test_same_bytes_written_again_are_no_change(wb: Sandbox, storage: Storage, key: str, source: ObjectSource) -> None:
    upload(settings_of(wb), source, Told(at_half=lambda: storage.put(key, CONTENT)))
    assert len(wb.step.files) == 1


# ---- one version


def test_listing_that_was_remembered_hides_no_change(storage: Storage, key: str) -> None:
    fs = storage.fs()
    fs.ls(f"lake/{key.rpartition('/')[0]}")
    source = ObjectSource(fs, f"lake/{key}")
    fs.ls(f"lake/{key.rpartition('/')[0]}")
    storage.put(key, OTHER)
    assert fs.info(f"lake/{key}")["ETag"] == source._version, "the listing is not remembered: this tests nothing"
    with pytest.raises(errors.SourceChangedError):
        source.check_unchanged()
    fs.invalidate_cache()
    assert ObjectSource(fs, f"lake/{key}").fingerprint != source.fingerprint


def test_no_reader_gives_bytes_of_another_version(storage: Storage, key: str, source: ObjectSource) -> None:
    early = source.open_at(0)
    assert read(early, MIB) == CONTENT[:MIB]
    storage.put(key, OTHER)
    assert isinstance(error_of(lambda: read(source.open_at(MIB))), errors.SourceChangedError)
    with pytest.raises(errors.SourceChangedError):
        # what it had in hand may still come
        assert read(early) not in OTHER
    storage.put(key, CONTENT)
    assert read(source.open_at(3)) == CONTENT[3:]


# ---- what cannot be read


def test_missing_object_names_it_and_may_be_retried(storage: Storage) -> None:
    for path in ("lake/not/here.csv", "no-lake/a.csv"):
        error = error_of(lambda path=path: ObjectSource(storage.fs(), path, conn_id="my_lake"))
        assert type(error) is errors.SourceMissingError
        assert f"There is no object s3://{path} (connection 'my_lake')" in str(error)
        assert error.retryable


def test_folder_and_bucket_are_refused(storage: Storage, key: str) -> None:
    for path in (f"lake/{key.rpartition('/')[0]}", "lake"):
        error = error_of(lambda path=path: ObjectSource(storage.fs(), path))
        assert type(error) is errors.SourceError
        assert f"s3://{path} is a folder" in str(error)


def test_missing_permission_names_object_and_connection_and_no_credentials(storage: Storage, key: str) -> None:
    with storage.refusing():
        error = error_of(lambda: ObjectSource(storage.fs(), f"lake/{key}", conn_id="my_lake"))
    assert type(error) is errors.SourceError
    assert f"s3://lake/{key} (connection 'my_lake') may not be read: HTTP 403" in str(error)
    assert not error.retryable


def test_permission_that_is_taken_away_meanwhile_is_an_error(storage: Storage, source: ObjectSource) -> None:
    reader = source.open_at(0)
    reader.read(1)
    with storage.refusing():
        error = error_of(lambda: read(reader))
    assert type(error) is errors.SourceError
    assert "may not be read: InvalidAccessKeyId" in str(error)


def test_missing_credentials_are_no_passing_trouble() -> None:
    from botocore.exceptions import NoCredentialsError

    from airflow_provider_workbench.client.object_failures import source_error

    assert type(source_error(NoCredentialsError(), "s3://a/b")) is errors.SourceError


# ---- network trouble


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(object_source, "PAUSES", (0.3, 0.3, 0.3))
    monkeypatch.setattr(object_source, "PAUSES_OF_A_LOOK", (0.05,))


def hasty(storage: Storage, url: str) -> Any:
    """Gives up at once, so that it is our reader that tries again."""
    fs = storage.fs(url, config_kwargs={"retries": {"max_attempts": 0}, "connect_timeout": 1, "read_timeout": 1})
    fs.retries = 1
    return fs


@pytest.mark.usefixtures("impatient")
def test_reader_goes_on_at_its_position_after_a_cut(storage: Storage, key: str) -> None:
    with Gate(storage.port) as gate:
        source = ObjectSource(hasty(storage, gate.url), f"lake/{key}")
        reader = source.open_at(0)
        assert read(reader, 100) == CONTENT[:100]
        gate.shut_at = gate.passed + 2 * MIB
        opener = threading.Timer(0, lambda: wait_and_open(gate))
        opener.start()
        assert read(reader) == CONTENT[100:]
        opener.join()
        # but for what the cut range had given
        assert gate.passed < len(CONTENT) + 3 * MIB


def wait_and_open(gate: Gate) -> None:
    deadline = time.monotonic() + 20
    while gate.is_open and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.2)
    gate.open()


@pytest.mark.usefixtures("impatient")
def test_upload_survives_a_cut_of_the_storage(wb: Sandbox, storage: Storage, key: str) -> None:
    with Gate(storage.port) as gate:
        source = ObjectSource(hasty(storage, gate.url), f"lake/{key}")
        gate.shut_at = 3 * MIB
        opener = threading.Timer(0, lambda: wait_and_open(gate))
        opener.start()
        upload(settings_of(wb), source)
        opener.join()
    (file,) = wb.step.files
    assert wb.step.content(file.uuid) == CONTENT


@pytest.mark.usefixtures("impatient")
def test_upload_survives_a_storage_that_is_away_before_a_patch(wb: Sandbox, storage: Storage, key: str) -> None:
    with Gate(storage.port) as gate:
        source = ObjectSource(hasty(storage, gate.url), f"lake/{key}")
        opener = threading.Timer(0, lambda: wait_and_open(gate))
        opener.start()
        upload(settings_of(wb), source, told := Told(then=gate.shut))
        opener.join()
    assert "Looking again in" in told.log
    (file,) = wb.step.files
    assert wb.step.content(file.uuid) == CONTENT


@pytest.mark.usefixtures("impatient")
def test_storage_that_stays_away_is_a_read_error(storage: Storage, key: str) -> None:
    with Gate(storage.port) as gate:
        source = ObjectSource(hasty(storage, gate.url), f"lake/{key}", conn_id="my_lake")
        reader = source.open_at(0)
        reader.read(10)
        gate.shut()
        for run in (lambda: read(reader), source.check_unchanged):
            error = error_of(run)
            assert type(error) is errors.SourceReadError
            assert f"Reading s3://lake/{key} (connection 'my_lake') failed" in str(error)
            assert error.retryable


def test_closing_the_source_ends_the_pauses() -> None:
    source = ObjectSource(memory(b"a"), "/a.csv")
    tries: list[float] = []
    began = threading.Event()

    def fail() -> None:
        tries.append(time.monotonic())
        began.set()
        raise ConnectionResetError

    ended: list[Exception] = []

    def run() -> None:
        try:
            source.patiently(fail, (60.0, 60.0))
        except errors.SourceReadError as error:
            ended.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    began.wait(5)
    source.close()
    thread.join(5)
    assert len(ended) == len(tries) == 1


@pytest.mark.parametrize(("long_enough", "tries"), [(60.0, 5), (0.0, 2)])
def test_requests_that_last_long_are_not_tried_often(
    monkeypatch: pytest.MonkeyPatch, long_enough: float, tries: int
) -> None:
    monkeypatch.setattr(object_source, "LONG_ENOUGH", long_enough)
    made = []

    def fail() -> None:
        made.append(1)
        raise ConnectionResetError

    with pytest.raises(errors.SourceReadError):
        ObjectSource(memory(b"a"), "/a.csv").patiently(fail, (0.001,) * 4)
    assert len(made) == tries


# ---- other file systems


def memory(content: bytes, path: str = "/a.csv") -> Any:
    from fsspec.implementations.memory import MemoryFileSystem

    fs = MemoryFileSystem()
    fs.pipe_file(path, content)
    return fs


def test_file_system_in_memory_works_alike(wb: Sandbox, settings: Settings) -> None:
    fs = memory(CONTENT)
    result = upload(settings, ObjectSource(fs, "/a.csv"), chunk_size=MIB)
    assert wb.step.content(wb.step.files[0].uuid) == CONTENT
    assert result.filename == "a.csv"
    changing = Told(at_half=lambda: fs.pipe_file("/a.csv", OTHER))
    failing(errors.SourceChangedError, settings, ObjectSource(fs, "/a.csv"), changing)


def test_file_system_without_etags_goes_by_time_and_size(wb: Sandbox, settings: Settings, tmp_path: Path) -> None:
    from fsspec.implementations.local import LocalFileSystem

    path = tmp_path / "a.csv"
    path.write_bytes(CONTENT)
    first = ObjectSource(LocalFileSystem(), str(path))
    upload(settings, first)
    assert wb.step.content(wb.step.files[0].uuid) == CONTENT
    os.utime(path, ns=(1, 1))
    with pytest.raises(errors.SourceChangedError):
        first.check_unchanged()
    assert ObjectSource(LocalFileSystem(), str(path)).fingerprint != first.fingerprint


def test_what_has_no_version_at_all_is_another_each_time() -> None:
    class Plain:
        protocol = "plain"

        def invalidate_cache(self, path: str) -> None: ...

        def info(self, path: str) -> dict[str, Any]:
            return {"name": path, "size": 3, "type": "file"}

        def modified(self, path: str) -> None:
            raise NotImplementedError

    one, two = ObjectSource(Plain(), "a"), ObjectSource(Plain(), "a")
    one.check_unchanged()
    assert one.fingerprint != two.fingerprint


def test_weak_etag_is_no_version() -> None:
    weak = {"ETag": 'W/"1"', "Last-Modified": "monday"}
    assert object_source._strong(weak) == ""
    assert object_source._strong({"etag": "1", "generation": "7"}) == "7"
    assert object_source._values(weak, ("etag", *object_source._TIMES)) == ['W/"1"', "monday"]


def test_paths_of_upath_are_taken(tmp_path: Path) -> None:
    from upath import UPath

    memory(b"A\n1\n", "/folder/b.csv")
    source = open_source(UPath("memory://folder/b.csv"))
    assert isinstance(source, ObjectSource)
    assert (source.name, read(source.open_at(0))) == ("b.csv", b"A\n1\n")
    (tmp_path / "c.csv").write_bytes(b"C")
    for local in (UPath(tmp_path / "c.csv"), UPath(f"file://{tmp_path}/c.csv"), tmp_path / "c.csv"):
        with contextlib.closing(open_source(local)) as opened:
            assert isinstance(opened, PathSource)
            assert (opened.name, read(opened.open_at(0))) == ("c.csv", b"C")


def test_local_path_of_upath_that_is_missing_is_missing_on_this_machine() -> None:
    from upath import UPath

    with pytest.raises(errors.SourceMissingError, match="Workers share no disk"):
        open_source(UPath("file:///nowhere-at-all/a.csv"))


def test_file_system_that_cannot_be_made_is_an_error() -> None:
    class Odd:
        path = "a"

        @property
        def fs(self) -> Any:
            raise ValueError("pass123")

    error = error_of(lambda: open_source(Odd()))
    assert type(error) is errors.SourceError


def test_client_imports_no_fsspec() -> None:
    script = (
        "import sys; import airflow_provider_workbench.client.object_source, airflow_provider_workbench.client.upload; "
    )
    script += "print([name for name in ('fsspec', 'upath', 's3fs', 'airflow') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_file_system_made_before_a_fork_is_read_after_it(storage: Storage, key: str) -> None:
    """Airflow forks a process for each task; what a DAG file made before is inherited."""
    script = f"""
import os, sys
sys.path.insert(0, {str(Path(__file__).parent.parent)!r})
from storage_server import Storage
from airflow_provider_workbench.client.object_source import ObjectSource
storage = Storage()
fs = storage.fs({storage.url!r})
assert ObjectSource(fs, {f"lake/{key}"!r}).open_at(0).read(3)
child = os.fork()
if not child:
    source = ObjectSource(fs, {f"lake/{key}"!r})
    source.check_unchanged()
    os._exit(0 if len(source.open_at(0).read(3)) == 3 else 1)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


# ---- HTTP


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        kind = self.path.partition("?")[0].rpartition("/")[2].partition("%20")[0].partition(".")[0]
        status = {"forbidden": 403, "missing": 404, "broken": 500}.get(kind, 200)
        content = CONTENT[:MIB]
        ranges = self.headers.get("Range")
        if status == 200 and ranges and kind == "good":
            start, _, end = ranges.removeprefix("bytes=").partition("-")
            content = content[int(start) : int(end) + 1]
            status = 206
        self.send_response(status)
        self.send_header("ETag", '"1"')
        if kind != "endless":
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            with contextlib.suppress(OSError):
                self.wfile.write(content)

    def log_message(self, *_: Any) -> None: ...


@pytest.fixture
def web() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


def web_source(web: str, name: str) -> ObjectSource:
    from fsspec.implementations.http import HTTPFileSystem

    return ObjectSource(HTTPFileSystem(), f"http://user:pass123@{web}/a/{name}?sig=sig456")


def test_web_address_is_read_by_ranges(wb: Sandbox, settings: Settings, web: str) -> None:
    result = upload(settings, web_source(web, "good%20file.csv"), chunk_size=100_000)
    assert wb.step.content(wb.step.files[0].uuid) == CONTENT[:MIB]
    assert result.filename == "good file.csv"


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    ("name", "kind", "says"),
    [
        ("endless.csv", errors.SourceError, "does not say how large"),
        ("forbidden.csv", errors.SourceError, "may not be read: HTTP 403"),
        ("missing.csv", errors.SourceMissingError, "There is no object"),
        ("broken.csv", errors.SourceReadError, "failed: HTTP 500"),
    ],
)
def test_web_address_that_cannot_be_read_shows_no_signature(web: str, name: str, kind: type, says: str) -> None:
    error = error_of(lambda: web_source(web, name))
    assert type(error) is kind
    assert says in str(error)
    assert f"http://{web}/a/{name}" in str(error)


@pytest.mark.usefixtures("impatient")
def test_web_server_that_nobody_reaches_is_a_read_error() -> None:
    assert type(error_of(lambda: web_source("127.0.0.1:9", "a.csv"))) is errors.SourceReadError


def test_web_server_without_ranges_is_an_error_that_is_told(web: str) -> None:
    for start in (600_000, 0):
        reader = web_source(web, "rangeless.csv").open_at(start)
        error = error_of(lambda reader=reader: read(reader))
        assert type(error) is errors.SourceError
        assert f"http://{web}/a/rangeless.csv cannot be read: its server gives no ranges" in str(error)
        assert "Download it in a task" in str(error)
        assert not error.retryable


def test_web_address_is_not_logged(web: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    logger = logging.getLogger("fsspec.http")
    source = web_source(web, "good.csv")
    assert read(source.open_at(MIB - 10)) == CONTENT[MIB - 10 : MIB]
    assert "pass123" not in caplog.text
    assert "sig456" not in caplog.text
    logger.warning("the rest still is")
    assert "the rest still is" in caplog.text
    for name in ("fsspec", "fsspec.http"):
        logging.getLogger(name).removeFilter(object_source._UNLOGGED)
        caplog.clear()
        read(source.open_at(0), 1)
        assert "sig456" in caplog.text, "fsspec logs no addresses: this tests nothing"
        logging.getLogger(name).addFilter(object_source._UNLOGGED)


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("https://user:pass123@h/a.csv?sig=sig456#x", "https://h/a.csv"),
        ("https://h?sig=sig456", "https://h"),
        ("s3://bucket/a?b#c@d.csv", "s3://bucket/a?b#c@d.csv"),
        ("s3://conn@bucket/a", "s3://bucket/a"),
        ("other://h/a?sig=sig456", "other://h/a"),
        ("s3://AKIA1:pass123@bucket/a", "s3://bucket/a"),
        ("s3://conn@bucket/a@b", "s3://bucket/a@b"),
        ("s3://arn:aws:s3:eu:1:accesspoint/x/a", "s3://arn:aws:s3:eu:1:accesspoint/x/a"),
        ("az://box/a.csv?sig=sig456", "az://box/a.csv"),
        ("HTTPS://user:pass123@h/a.csv?sig=sig456", "HTTPS://h/a.csv"),
        ("https://[::1]:80/a.csv", "https://[::1]:80/a.csv"),
        ("https://h/a@b.csv?mail=a@b", "https://h/a@b.csv"),
        ("sftp://host:22/a.csv", "sftp://host:22/a.csv"),
        ("sftp:///a@b", "sftp:///a@b"),
        ("simplecache::https://h/a.csv?sig456", "simplecache::https://h/a.csv"),
        ("memory:///a\n.csv", "memory:///a\\n.csv"),
        ("bare", "bare"),
    ],
)
def test_shown_address_has_no_userinfo_and_no_query(address: str, shown: str) -> None:
    assert shown_address(address) == shown
    assert shown_address(address, "c\n") == (f"{shown} (connection 'c\\\\n')" if address != "bare" else shown)


@pytest.mark.parametrize(
    "address",
    [
        "http://u:pass123?w@127.0.0.1:1/x",
        "http://u:p#pass123@127.0.0.1:1/x",
        "http://u:123/pass123@127.0.0.1:1/x",
        "https://me@corp.example:p/pass123@h/x",
        "https://h:80/x?u=a@b&sig=sig456",
        "https://u:pass123/x",
        "https:///u:pass123@h/x",
        "s3://AKIA1:pass123/more@bucket/a",
        "s3://AKIA1:123/pass123@bucket/a",
        "sftp://host:22/a@b",
        "zip://x::https://u:pass123@h/x?sig=sig456",
    ],
)
def test_address_that_can_be_read_in_two_ways_shows_its_scheme_only(address: str) -> None:
    assert without_secrets(address) is None
    assert shown_address(address) == f"{address.partition('://')[0]}://…"


@pytest.mark.parametrize(
    ("address", "holds"),
    [
        ("s3://AKIA1:pass123@bucket/k", True),
        ("s3://AKIA1:123/abc@bucket/k", True),
        ("s3://AKIA1%3Apass123@bucket/k", True),
        ("s3://me@corp:pass/123@bucket/k", True),
        ("s3://AKIA1:pass\n/123@bucket/k", True),
        ("sftp://u:pass123@host:22/k", True),
        ("s3://conn@bucket/a:b@c", False),
        ("s3://bucket/a:b@c", False),
        ("sftp://host:22/a@b", False),
        ("sftp://conn@host:22/a@b", False),
    ],
)
def test_user_and_password_in_an_address_are_found(address: str, holds: bool) -> None:
    assert holds_credentials(address) is holds


def test_secrets_of_an_address_are_told_as_written_and_unquoted() -> None:
    found = secrets_of("https://user:p%2Fss@h/x.csv?sig=a%2Fb#frag")
    assert {"user:p%2Fss", "p%2Fss", "user:p/ss", "p/ss", "sig=a%2Fb", "sig=a/b", "frag"} <= set(found)
    assert "p/ss" in secrets_of("https://user:p/ss@h/x.csv")
    assert secrets_of("https://h:80/x.csv") == ()


def test_azure_accounts_are_told_from_containers_by_address() -> None:
    for host in ("a.dfs.core.windows.net", "A.blob.core.chinacloudapi.CN:443", "a.azuredatalakestore.net."):
        assert is_azure_account(host)
    for host in ("container", "core.windows.net.example", ""):
        assert not is_azure_account(host)
