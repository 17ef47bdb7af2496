"""``allowed_roots``: what a template may name, its author does not have to allow."""

from __future__ import annotations

import contextlib
import os
import posixpath
import re
import socket
import threading
import unicodedata
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from airflow.providers.common.compat.sdk import BaseHook, ObjectStoragePath
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from yarl import URL

from airflow_provider_workbench.client import allowed_roots, local_files
from airflow_provider_workbench.client.allowed_roots import AllowedRoots
from airflow_provider_workbench.client.errors import ConfigurationError, SourceError, SourceNotAllowedError
from airflow_provider_workbench.client.sources import PathSource, Source, open_source
from airflow_provider_workbench.hooks.sources import open_any
from airflow_provider_workbench.hooks.workbench import WorkbenchFatalError, WorkbenchHook
from airflow_provider_workbench.operators.workbench import WorkbenchUploadOperator

LIMITS = settings(
    max_examples=int(os.environ.get("PROPERTY_EXAMPLES", "300")),
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
INSIDE, OUTSIDE = b"inside\n", b"a secret of another\n"


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """``out`` may be read, ``outside`` and ``private`` not; links lead from one to the other."""
    for path, content in {
        "out/a.csv": INSIDE,
        "out/deep/b.csv": INSIDE,
        "second/c.csv": INSIDE,
        "outside/a.csv": OUTSIDE,
        "private/a.csv": OUTSIDE,
        "private/deep/b.csv": OUTSIDE,
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(content)
    for link, target in {
        "out/to-inside.csv": "a.csv",
        "out/to-second.csv": "../second/c.csv",
        "out/to-private.csv": "../private/a.csv",
        "out/absolute.csv": tmp_path / "private/a.csv",
        "out/twice.csv": "to-private.csv",
        "out/into": "../private",
        "out/dangling.csv": "../private/none.csv",
        "linked": "out",
        "out-of-private": "private",
        "private/back.csv": "../out/a.csv",
    }.items():
        (tmp_path / link).symlink_to(target)
    return tmp_path


def read_at(source: Source, offset: int) -> bytes:
    with contextlib.closing(source.open_at(offset)) as reader:
        return reader.read(100)


def content(what: Any, *roots: Any, **options: Any) -> bytes:
    source = open_any(what, allowed_roots=list(roots), **options)
    try:
        return read_at(source, 0)
    finally:
        source.close()


def refused(what: Any, *roots: Any, **options: Any) -> SourceError:
    with pytest.raises(SourceError) as caught:
        open_any(what, allowed_roots=list(roots), **options)
    assert str(caught.value).isprintable()
    return caught.value


# ---- folders


@pytest.mark.parametrize(
    ("path", "root"),
    [
        ("out/a.csv", "out"),
        ("out/a.csv", "out/"),
        ("out/a.csv", "out/deep/.."),
        ("out/deep/b.csv", "out"),
        ("out/deep/../a.csv", "out"),
        ("private/../out/a.csv", "out"),
        ("out//a.csv", "out"),
        ("out/to-inside.csv", "out"),
        ("private/back.csv", "out"),
        ("out/a.csv", "linked"),
        ("linked/a.csv", "out"),
        ("linked/deep/b.csv", "linked"),
        ("out/a.csv", ""),
    ],
)
def test_file_under_a_root_is_read_whatever_leads_there(folders: Path, path: str, root: str) -> None:
    for form in (str, Path, "file://{}".format):
        assert content(form(f"{folders}/{path}"), f"{folders}/{root}") == INSIDE
        assert content(f"{folders}/{path}", form(f"{folders}/{root}")) == INSIDE


def test_link_from_one_root_to_another_is_followed(folders: Path) -> None:
    link = folders / "out/to-second.csv"
    assert content(link, folders / "out", folders / "second") == INSIDE
    assert isinstance(refused(link, folders / "out"), SourceNotAllowedError)


def test_one_root_needs_no_list(folders: Path) -> None:
    for root in (str(folders / "out"), folders / "out", ObjectStoragePath(f"file://{folders}/out")):
        open_any(folders / "out/a.csv", None, root).close()
    open_any(folders / "out/a.csv", None, "/").close()


ESCAPES = (
    "private/a.csv",
    "outside/a.csv",
    "out/../private/a.csv",
    "out/deep/../../private/a.csv",
    "out/../outside/a.csv",
    "linked/../private/a.csv",
    "out/to-private.csv",
    "out/absolute.csv",
    "out/twice.csv",
    "out/into/a.csv",
    "out/into/deep/b.csv",
    "out/dangling.csv",
    "private/none.csv",
    "none/none.csv",
    "out",
    "private",
)


@pytest.mark.parametrize("path", ESCAPES)
def test_path_that_leads_elsewhere_is_refused(folders: Path, path: str) -> None:
    """Also where nothing is: nobody learns what there is outside, and no retry looks again."""
    for root in ("out", "out/", "linked"):
        for form in (str, Path, "file://{}".format, "FILE://{}".format):
            error = refused(form(f"{folders}/{path}"), f"{folders}/{root}")
            assert type(error) is SourceNotAllowedError, error
            assert not error.retryable
            for part in (socket.gethostname(), f"is not in the allowed_roots ({folders}/{root})", "add its place"):
                assert part in str(error)


def test_error_says_where_a_link_leads(folders: Path) -> None:
    text = str(refused(folders / "out/twice.csv", folders / "out"))
    assert text.startswith(f"{folders}/out/twice.csv (it leads to {folders}/private/a.csv) on ")
    assert "leads" not in str(refused(folders / "private/a.csv", folders / "out"))


def test_missing_file_under_a_root_is_missing(folders: Path) -> None:
    assert refused(folders / "out/none.csv", folders / "out").retryable


def test_root_that_is_no_folder_allows_nothing(folders: Path) -> None:
    for root in ("none", "out/a.csv", "out/dangling.csv", "ou"):
        assert isinstance(refused(folders / "out/a.csv", folders / root), SourceNotAllowedError)


def test_empty_list_allows_nothing(folders: Path) -> None:
    assert "(an empty list)" in str(refused(folders / "out/a.csv"))
    assert "(an empty list)" in str(refused("s3://lake/a.csv"))


def test_relative_path_is_judged_by_where_it_is(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folders / "out")
    assert content("a.csv", folders / "out") == INSIDE
    assert isinstance(refused("../private/a.csv", folders / "out"), SourceNotAllowedError)


def test_without_roots_anything_goes_as_before(folders: Path) -> None:
    open_any(folders / "private/a.csv").close()
    open_any(folders / "out/to-private.csv").close()


def test_bytes_and_opened_sources_lead_nowhere(folders: Path) -> None:
    assert content(b"A", folders / "out") == b"A"
    assert content(PathSource(folders / "private/a.csv"), folders / "out") == OUTSIDE


@pytest.mark.parametrize(
    "root",
    [
        "", "out", "./out", "~/out", "../out", "{{ params.root }}", "a\0b", "https:/h/x", 5, None, b"/data",
        {"/data": 1},
        "s3://", "s3:///x", "s3://bucket/../x", "s3://bucket/./x", "s3://bucket/%2e%2E/x", "s3://bucket?x=1",
        "s3://b/x#y",
        "s3://a/b::file:///etc", "simplecache::s3://bucket/x", "s3://u:pass123@bucket/x", "https://u:pass123@host/x",
        "s3://AKIA:a/pass123+b@bucket/x",
        "https://pass123@host/x", "s3://bucket/a\nb",
    ],
)  # fmt: skip
def test_root_that_can_be_none_is_an_error_that_shows_no_credentials(folders: Path, root: Any) -> None:
    with pytest.raises(ConfigurationError, match="allowed_roots") as caught:
        open_any(folders / "out/a.csv", None, [folders / "out", root])
    assert "pass123" not in str(caught.value)
    if root is not None:
        with pytest.raises(ConfigurationError, match="allowed_roots"):
            open_any(folders / "out/a.csv", None, root)


# ---- between the look and the opening


@pytest.fixture
def opening(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], None]], None]:
    """``opening(act)``: do it when a file is about to be opened, after every look at its path."""
    opened = os.open

    def act_first(act: Callable[[], None]) -> None:
        def open_(path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
            if flags & os.O_NONBLOCK:
                act()
            return opened(path, flags, *args, **kwargs)

        monkeypatch.setattr(local_files.os, "open", open_)

    return act_first


def replace_link(link: Path, target: str) -> None:
    link.with_name("next").symlink_to(target)
    os.replace(link.with_name("next"), link)


@pytest.mark.parametrize(
    ("path", "link", "target"),
    [("out/to-inside.csv", "out/to-inside.csv", "../private/a.csv"), ("linked/a.csv", "linked", "private")],
)
def test_link_that_changes_after_the_look_is_judged_by_what_was_opened(
    folders: Path, opening: Any, path: str, link: str, target: str
) -> None:
    opening(lambda: replace_link(folders / link, target))
    error = refused(folders / path, folders / "out")
    assert type(error) is SourceNotAllowedError
    assert f"/{target.removeprefix('../').partition('/')[0]}/a.csv" in str(error)


def test_link_that_changes_after_the_look_would_else_be_read(
    folders: Path, opening: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So the test above can fail."""
    monkeypatch.setattr(AllowedRoots, "check_opened", lambda *_: None)
    opening(lambda: replace_link(folders / "out/to-inside.csv", "../private/a.csv"))
    assert content(folders / "out/to-inside.csv", folders / "out") == OUTSIDE


def test_pipe_that_comes_after_the_look_does_not_block(folders: Path, opening: Any) -> None:
    def become_a_pipe() -> None:
        (folders / "out/a.csv").unlink()
        os.mkfifo(folders / "out/a.csv")

    opening(become_a_pipe)
    assert "no regular file but a named pipe" in str(refused(folders / "out/a.csv", folders / "out"))


@pytest.mark.parametrize(("path", "is_allowed"), [("out/a.csv", True), ("private/a.csv", False)])
def test_file_that_is_deleted_once_it_is_open_is_judged_by_where_it_was(
    folders: Path, opening: Any, monkeypatch: pytest.MonkeyPatch, path: str, is_allowed: bool
) -> None:
    opened = os.open

    def open_and_delete(name: Any, flags: int, *args: Any, **kwargs: Any) -> int:
        descriptor = opened(name, flags, *args, **kwargs)
        if flags & os.O_NONBLOCK:
            os.unlink(name)
        return descriptor

    monkeypatch.setattr(local_files.os, "open", open_and_delete)
    monkeypatch.setattr(AllowedRoots, "check_path", lambda *_: None)
    if is_allowed:
        assert content(folders / path, folders / "out") == INSIDE
    else:
        assert isinstance(refused(folders / path, folders / "out"), SourceNotAllowedError)


def test_deleted_root_does_not_allow_a_folder_that_is_called_so(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folders / "gone").mkdir()
    (folders / "gone (deleted)").mkdir()
    (folders / "gone (deleted)/a.csv").write_bytes(OUTSIDE)
    opened = os.open

    def open_and_delete(name: Any, flags: int, *args: Any, **kwargs: Any) -> int:
        descriptor = opened(name, flags, *args, **kwargs)
        if str(name).endswith("/gone"):
            os.rmdir(name)
        return descriptor

    monkeypatch.setattr(AllowedRoots, "check_path", lambda *_: None)
    monkeypatch.setattr(os, "open", open_and_delete)
    assert isinstance(refused(folders / "gone (deleted)/a.csv", folders / "gone"), SourceNotAllowedError)


@pytest.mark.parametrize("way", ["file", "folder"])
def test_link_that_flips_all_the_time_never_leads_out(folders: Path, way: str) -> None:
    link, targets = {
        "file": (folders / "out/flips.csv", ("a.csv", "../private/a.csv")),
        "folder": (folders / "out/flips", ("deep", "../private/deep")),
    }[way]
    path = link if way == "file" else link / "b.csv"
    link.symlink_to(targets[0])
    stopped = threading.Event()

    def flip() -> None:
        while not stopped.is_set():
            for target in targets[::-1]:
                replace_link(link, target)

    flipping = threading.Thread(target=flip)
    flipping.start()
    allowed = AllowedRoots.parse(folders / "out")
    read, refusals = [], 0
    try:
        for _ in range(2000):
            try:
                source = open_source(path, allowed)
            except SourceNotAllowedError:
                refusals += 1
            else:
                # what is read later, as after a resume, is what was judged
                read += [read_at(source, 0), read_at(source, 3)]
                source.close()
    finally:
        stopped.set()
        flipping.join()
    assert set(read) == {INSIDE, INSIDE[3:]}
    assert refusals + len(read) // 2 == 2000
    assert refusals > 20
    assert len(read) > 20


def test_what_was_opened_is_read_to_its_end_whatever_the_path_leads_to_meanwhile(folders: Path) -> None:
    link = folders / "out/to-inside.csv"
    source = open_source(link, AllowedRoots.parse(folders / "out"))
    replace_link(link, "../private/a.csv")
    assert read_at(source, 2) == INSIDE[2:]
    source.close()
    assert isinstance(refused(link, folders / "out"), SourceNotAllowedError), "the next try looks again"


def test_hard_link_under_a_root_is_a_file_of_the_root(folders: Path) -> None:
    """Nothing tells which name of a file came first; to make one takes a right to write into the root."""
    os.link(folders / "private/a.csv", folders / "out/hard.csv")
    assert content(folders / "out/hard.csv", folders / "out") == OUTSIDE


# ---- where the system does not tell


def test_system_that_does_not_tell_where_an_opened_file_is_allows_nothing(
    folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(allowed_roots, "path_of", lambda descriptor: None)
    error = refused(folders / "out/a.csv", folders / "out")
    assert isinstance(error, SourceNotAllowedError)
    assert "does not tell where an opened file is" in str(error)


def test_path_is_asked_of_proc_and_on_macos_of_the_descriptor(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (folders / "out/to-inside.csv").open() as file:
        assert allowed_roots.path_of(file.fileno()) == f"{folders}/out/a.csv"

    def no_proc(path: Any) -> str:
        raise FileNotFoundError(path)

    monkeypatch.setattr(os, "readlink", no_proc)
    assert allowed_roots.path_of(0) is None
    monkeypatch.setattr("sys.platform", "darwin")
    monkeypatch.setattr(
        "fcntl.fcntl", lambda descriptor, command, buffer: {50: b"/data/\xc3\xa4.csv".ljust(1024, b"\0")}[command]
    )
    assert allowed_roots.path_of(0) == "/data/ä.csv"
    monkeypatch.setattr("os.readlink", lambda path: "(unreachable)/data/out/a.csv")
    assert allowed_roots.path_of(0) is None


# ---- storages


def judge(address: str, roots: list[str], source_conn_id: str | None = None, conn_id: str | None = None) -> str:
    """What ``check_address`` says; empty if it is allowed."""
    named = address.partition("://")[2].partition("/")[0].rpartition("@")[0]
    try:
        allowed = AllowedRoots.parse(roots, source_conn_id)
        allowed.check_address(address, conn_id or named or source_conn_id, "It")
    except SourceNotAllowedError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("address", "root", "source_conn_id"),
    [
        ("s3://lake/out/a.csv", "s3://lake/out", None),
        ("s3://lake/out/a.csv", "s3://lake/out/", None),
        ("s3://lake/out/a.csv", "s3://lake", None),
        ("s3://lake/out/a.csv", "s3://lake/", None),
        ("S3://lake/out/a.csv", "s3://lake/out", None),
        ("s3://lake/out/a.csv", "S3://lake/out", None),
        ("s3://lake/out/deep/a b%20c+d.csv", "s3://lake/out", None),
        ("s3://lake/out/...csv", "s3://lake/out", None),
        ("s3://lake/out/100%.csv", "s3://lake/out", None),
        ("s3://lake/out//a.csv", "s3://lake/out", None),
        ("s3://lake/out/a.csv", "s3://lake/out/a.csv", None),
        ("s3://mine@lake/out/a.csv", "s3://mine@lake/out", None),
        ("s3://lake/out/a.csv", "s3://mine@lake/out", "mine"),
        ("s3://mine@lake/out/a.csv", "s3://lake/out", "mine"),
        ("s3://lake/out/a.csv", "s3://lake/out", "mine"),
        ("https://Data.example/out/a.csv?x=1", "https://data.example/out", None),
        ("https://[::1]:8443/out/a.csv", "https://[::1]:8443/out", None),
        ("sftp://host/data/out/a.csv", "sftp://host/data/out", None),
    ],
)
def test_object_under_a_root_is_allowed(address: str, root: str, source_conn_id: str | None) -> None:
    assert judge(address, ["/data", root], source_conn_id) == ""


@pytest.mark.parametrize(
    ("address", "root", "source_conn_id"),
    [
        ("s3://lake/outside/a.csv", "s3://lake/out", None),
        ("s3://lake/ou", "s3://lake/out", None),
        ("s3://lake/OUT/a.csv", "s3://lake/out", None),
        ("s3://lake", "s3://lake/out", None),
        ("s3://lakes/out/a.csv", "s3://lake", None),
        ("s3://LAKE/out/a.csv", "s3://lake", None),
        ("s3://lake//out/a.csv", "s3://lake/out", None),
        ("s3://lake/out/../private/a.csv", "s3://lake/out", None),
        ("s3://lake/out/./../private/a.csv", "s3://lake/out", None),
        ("s3://lake/out/..", "s3://lake/out", None),
        ("s3://lake/out/./a.csv", "s3://lake/out", None),
        ("s3://lake/out/%2e%2e/private/a.csv", "s3://lake/out", None),
        ("s3://lake/out/%2E./private/a.csv", "s3://lake/out", None),
        ("s3://lake/out/%252e%252e/private/a.csv", "s3://lake/out", None),
        ("s3://lake/out/%25252525252e%2525252525252e/a.csv", "s3://lake/out", None),
        ("s3://lake/out/x%2f..%2f..%2fprivate/a.csv", "s3://lake/out", None),
        ("s3://lake/out/..%5cprivate", "s3://lake/out", None),
        ("s3://lake/out\\..\\private/a.csv", "s3://lake/out", None),
        ("s3://lake/out/..\\private/a.csv", "s3://lake/out", None),
        ("s3://lake/out/..;/private/a.csv", "s3://lake/out", None),
        ("s3://lake/out/ .. /private/a.csv", "s3://lake/out", None),
        ("s3://lake/out/.\t./private/a.csv", "s3://lake/out", None),
        ("s3://lake/out/\n/a.csv", "s3://lake/out", None),
        ("s3://lake%2fout/a.csv", "s3://lake/out", None),
        ("s3://lake/%6fut/a.csv", "s3://lake/out", None),
        ("s3:///lake/out/a.csv", "s3://lake/out", None),
        ("s3://lake/out/a.zip::file:///etc/passwd", "s3://lake/out", None),
        ("s3://lake::file:///out/a.csv", "s3://lake", None),
        ("gs://lake/out/a.csv", "s3://lake/out", None),
        ("s3a://lake/out/a.csv", "s3://lake/out", None),
        ("file:///data/out/a.csv", "s3://lake/out", None),
        # another connection may be another storage, with other rights
        ("s3://other@lake/out/a.csv", "s3://lake/out", None),
        ("s3://other@lake/out/a.csv", "s3://lake/out", "mine"),
        ("s3://other@lake/out/a.csv", "s3://mine@lake/out", None),
        ("s3://lake/out/a.csv", "s3://mine@lake/out", None),
        ("s3://mine@lake/out/a.csv", "s3://mine@lake/outs", "mine"),
        # whose host is it?
        ("https://evil.example?@data.example/out/a.csv", "https://data.example/out", None),
        ("https://evil.example#@data.example/out/a.csv", "https://data.example/out", None),
        ("https://evil.example\\@data.example/out/a.csv", "https://data.example/out", None),
        ("https://data.example\\@evil.example/out/a.csv", "https://data.example/out", None),
        ("https://data.example@evil.example/out/a.csv", "https://data.example/out", None),
        ("https://data.example.evil.example/out/a.csv", "https://data.example/out", None),
        ("https://data.example:81/out/a.csv", "https://data.example/out", None),
        ("http://data.example/out/a.csv", "https://data.example/out", None),
        ("https://data.example/out?/../x", "https://data.example/out/x", None),
        ("https://data.example/out/a.csv?x::file:///etc/passwd", "https://data.example/out", None),
        ("https://data.example/out%2fa.csv", "https://data.example/out", None),
    ],
)  # fmt: skip
def test_object_that_is_elsewhere_or_may_be_is_refused(address: str, root: str, source_conn_id: str | None) -> None:
    assert "allowed_roots" in judge(address, ["/data", root], source_conn_id)


def test_error_names_the_connection_where_that_is_what_differs() -> None:
    assert "read with connection 'other'" in judge("s3://other@lake/out/a.csv", ["s3://lake/out"])
    assert "read with no connection" in judge("s3://lake/out/a.csv", ["s3://mine@lake/out"])
    assert "read with" not in judge("s3://other@lake/private/a.csv", ["s3://lake/out"])


def test_nothing_is_looked_up_or_asked_for_an_address_that_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def note(conn_id: str) -> None:
        asked.append(conn_id)
        raise AssertionError

    addresses = ("s3://other@lake/out/a.csv", "s3://other@elsewhere/a.csv", "s3://mine@lake/out/../a.csv")
    # Airflow 3 looks the connection up where such a path is made
    paths = [ObjectStoragePath(address) for address in addresses]
    monkeypatch.setattr(BaseHook, "get_connection", staticmethod(note))
    monkeypatch.setattr(socket.socket, "connect", lambda self, address: note(str(address)))
    for what in (*addresses, *paths):
        assert isinstance(refused(what, "s3://mine@lake/out"), SourceNotAllowedError)
    for address in ("http://127.0.0.1:9/private/a.csv", "sftp://127.0.0.1/etc/passwd", "zip://x::file:///etc/passwd"):
        assert isinstance(refused(address, "http://127.0.0.1:9/out", "sftp://127.0.0.1/data"), SourceNotAllowedError)
    assert asked == []


def test_text_that_is_no_address_is_a_path_and_no_object_of_a_root(folders: Path) -> None:
    for text in ("s3:/lake/out/a.csv", " s3://lake/out/a.csv", "simplecache::s3://lake/out/a.csv"):
        assert isinstance(refused(text, "s3://lake/out"), SourceNotAllowedError)


@pytest.mark.parametrize(
    ("address", "path", "is_same"),
    [
        ("s3://c@lake/out/a.csv", "lake/out/a.csv", True),
        ("sftp://host/data/a.csv", "/data/a.csv", True),
        ("memory://out/a.csv", "/out/a.csv", True),
        ("https://h/a.csv?x", "https://h/a.csv?x", True),
        ("s3://c@lake/out/a.csv", "lake/private/a.csv", False),
        ("s3://c@lake/out/a.csv", "other/out/a.csv", False),
        ("s3://lake/out/a.csv", "etc/passwd", False),
        ("s3://lake/out/a.csv", "lake/", False),
    ],
)
def test_object_that_the_file_system_takes_for_another_is_refused(address: str, path: str, is_same: bool) -> None:
    allowed = AllowedRoots.parse([])
    if is_same:
        allowed.check_reached(address, path, "It")
    else:
        with pytest.raises(SourceNotAllowedError, match="takes the address for another one"):
            allowed.check_reached(address, path, "It")


def test_what_the_file_system_reached_is_compared(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []

    def note(self: AllowedRoots, address: str, path: str, shown: str) -> None:
        compared.append((address, path))
        raise SourceNotAllowedError("enough")

    monkeypatch.setattr(AllowedRoots, "check_reached", note)
    monkeypatch.setenv("AIRFLOW_CONN_MINE", '{"conn_type": "aws", "extra": {"endpoint_url": "http://127.0.0.1:9"}}')
    for what in ("s3://mine@lake/out/a.csv", ObjectStoragePath("s3://mine@lake/out/a.csv")):
        refused(what, "s3://mine@lake/out")
    refused("memory://out/a.csv", "memory://out")
    assert [path for _, path in compared] == ["lake/out/a.csv", "lake/out/a.csv", "/out/a.csv"]


# ---- whatever is written


PIECES = [
    "..", ".", "%2e", "%2E%2e", "%252e%252e", "/", "//", "\\", "%2f", "%5c", ";", "?", "#", "@", ":", ":80", "::",
    "\t", "\n", " ", "out", "private", "x", "data.example", "evil.example", "https://",
    "\u2024\u2024", "\uff0e\uff0e", "\u2215",
]  # fmt: skip


@LIMITS
@given(
    st.sampled_from(["https://data.example/out", "https://data.example", "https://", "HTTPS://data.example/out/"]),
    st.lists(st.sampled_from(PIECES), max_size=9).map("".join),
)
def test_no_web_address_that_is_allowed_can_be_read_as_one_elsewhere(start: str, rest: str) -> None:
    address = start + rest
    if judge(address, ["https://data.example/out"]):
        return
    for host, path in (
        (urlsplit(address).hostname, urlsplit(address).path),
        (URL(address).host, URL(address).raw_path),
    ):
        assert host == "data.example"
        for _ in range(6):
            plain = unicodedata.normalize("NFKC", path)
            for form in (path, plain, path.replace("\\", "/"), re.sub(r";[^/]*", "", path), re.sub(r"\s", "", path)):
                assert f"{posixpath.normpath(form)}/".startswith("/out/"), address
            path = unquote(path)


@LIMITS
@given(
    st.sampled_from(["s3://lake/out", "s3://lake", "s3://mine@lake/out", "S3://lake/out/"]),
    st.lists(st.sampled_from([*PIECES, "lake", "mine", "other"]), max_size=9).map("".join),
)
def test_no_key_that_is_allowed_can_be_read_as_one_elsewhere(start: str, rest: str) -> None:
    address = start + rest
    if judge(address, ["s3://lake/out"], "mine"):
        return
    path = ObjectStoragePath(address.replace("S3:", "s3:")).path
    for _ in range(6):
        for form in (path, path.replace("\\", "/"), re.sub(r"[\t\n]", "", path)):
            assert f"{posixpath.normpath(form)}/".startswith("lake/out/"), address
        path = unquote(path)


STEPS = [
    "out", "outside", "private", "second", "deep", "into", "linked", "out-of-private", "..", ".", "", "a.csv", "b.csv",
    "c.csv", "to-inside.csv", "to-private.csv", "absolute.csv", "twice.csv", "back.csv", "dangling.csv", "none",
]  # fmt: skip


@LIMITS
@given(st.lists(st.sampled_from(STEPS), min_size=1, max_size=7).map("/".join), st.sampled_from(["out", "linked"]))
def test_whatever_path_is_read_is_a_file_under_the_root(folders: Path, path: str, root: str) -> None:
    try:
        assert content(f"{folders}/{path}", folders / root) == INSIDE
    except SourceError:
        real = os.path.realpath(f"{folders}/{path}")
        assert not real.startswith(f"{folders}/out/") or not os.path.isfile(f"{folders}/{path}")


# ---- a real storage, and a whole upload


@pytest.fixture
def connected(workbench_sandbox: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("AIRFLOW_CONN_WORKBENCH_DEFAULT", workbench_sandbox.step.connection_json())
    return workbench_sandbox


def test_object_of_a_root_arrives_and_its_neighbour_does_not(
    connected: Any, storage: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_LAKE", storage.connection())
    storage.put("out/a.csv", b"A\n1\n")
    storage.put("outside/a.csv", OUTSIDE)
    hook = WorkbenchHook()
    for what, roots, conn_id in (
        ("s3://lake@lake/out/a.csv", "s3://lake@lake/out", None),
        ("s3://lake/out/a.csv", ["s3://lake/out/"], "lake"),
        (ObjectStoragePath("s3://lake@lake/out/a.csv"), ["s3://lake@lake"], None),
        (ObjectStoragePath("s3://lake/out/a.csv"), ObjectStoragePath("s3://lake@lake/out"), "lake"),
    ):
        assert hook.upload_file(what, allowed_roots=roots, source_conn_id=conn_id).size == 4
    connected.clear_requests()
    for what in ("s3://lake@lake/outside/a.csv", ObjectStoragePath("s3://lake@lake/out/../outside/a.csv")):
        with pytest.raises(WorkbenchFatalError) as caught:
            hook.upload_file(what, allowed_roots="s3://lake@lake/out")
        assert caught.value.kind == "SourceNotAllowedError"
    assert connected.requests == []


@pytest.mark.parametrize("path", ["private/a.csv", "out/to-private.csv", "out/none/../../private/a.csv"])
def test_task_fails_at_once_before_workbench_is_asked(connected: Any, folders: Path, path: str) -> None:
    upload = WorkbenchUploadOperator(
        task_id="upload", filepath=f"{folders}/{path}", allowed_roots=[str(folders / "out")]
    )
    with pytest.raises(WorkbenchFatalError, match="is not in the allowed_roots"):
        upload.execute({"ti": None})
    assert connected.requests == []
    upload.filepath = str(folders / "out/a.csv")
    assert upload.execute({"ti": None})["size"] == len(INSIDE)


def test_roots_are_no_template(folders: Path, connected: Any) -> None:
    assert "allowed_roots" not in WorkbenchUploadOperator.template_fields
    upload = WorkbenchUploadOperator(
        task_id="upload", filepath=str(folders / "private/a.csv"), allowed_roots="{{ '/' }}"
    )
    upload.render_template_fields({"ti": SimpleNamespace()})
    assert upload.allowed_roots == "{{ '/' }}"
    with pytest.raises(WorkbenchFatalError, match="must be the absolute path"):
        upload.execute({"ti": None})
    assert connected.requests == []


@pytest.mark.airflow
def test_no_xcom_can_widen_the_roots(run_dag: Any, connected: Any, folders: Path) -> None:
    from airflow.providers.common.compat.sdk import DAG, task, timezone

    with DAG("allowed_roots", schedule=None, start_date=timezone.datetime(2026, 1, 1)) as dag:

        @task
        def name_a_file() -> str:
            return f"{folders}/out/../private/a.csv"

        @task
        def name_files() -> list[str]:
            return [f"{folders}/outside/a.csv"]

        @task.workbench_upload(allowed_roots=[str(folders / "out")])
        def returned(path: str) -> str:
            return path

        @task.workbench_upload(allowed_roots=[str(folders / "out")])
        def fine() -> str:
            return f"{folders}/out/a.csv"

        named = name_a_file()
        WorkbenchUploadOperator(task_id="upload", filepath=named, allowed_roots=[str(folders / "out")])
        WorkbenchUploadOperator(task_id="widened", filepath=f"{folders}/private/a.csv", allowed_roots=named)
        WorkbenchUploadOperator.partial(task_id="mapped", allowed_roots=[str(folders / "out")]).expand(
            filepath=name_files()
        )
        returned(named)
        fine()
    run = run_dag(dag)
    states = {(key if isinstance(key, str) else key[0]): state for key, state in run.states.items()}
    assert {task_id for task_id, state in states.items() if state == "failed"} == {
        "upload",
        "widened",
        "mapped",
        "returned",
    }, run.log
    assert states["fine"] == "success", run.log
    assert [file.name for file in connected.step.files] == ["a.csv"]
    assert "is not in the allowed_roots" in run.log
    assert OUTSIDE.decode().strip() not in run.log
