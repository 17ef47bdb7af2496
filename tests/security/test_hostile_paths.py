"""Paths that lead to pipes, devices and the system's own files, and text that is a misspelled address."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import stat
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_provider_workbench.client import local_files
from airflow_provider_workbench.client.allowed_roots import AllowedRoots
from airflow_provider_workbench.client.errors import ConfigurationError, SourceError, SourceMissingError, WorkbenchError
from airflow_provider_workbench.client.local_files import shown_path
from airflow_provider_workbench.client.sources import open_source
from airflow_provider_workbench.hooks.kept_uploads import KeptUploads
from airflow_provider_workbench.hooks.sources import open_any
from airflow_provider_workbench.hooks.workbench import WorkbenchFatalError, WorkbenchHook
from airflow_provider_workbench.operators.lineage import source_name

needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="/proc")


@pytest.fixture
def connected(workbench_sandbox: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("AIRFLOW_CONN_WORKBENCH_DEFAULT", workbench_sandbox.step.connection_json())
    return workbench_sandbox


def refused(what: Any) -> str:
    """What the error says. No retry mends it, and nothing stays open."""
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(SourceError) as caught:
        open_any(what)
    assert not caught.value.retryable, caught.value
    assert len(os.listdir("/proc/self/fd")) == before
    assert caught.value.__context__ is None
    text = str(caught.value)
    assert text.isprintable()
    assert socket.gethostname() in text
    return text


# ---- what is no regular file


@pytest.fixture
def odd(tmp_path: Path) -> Iterator[Path]:
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as sock, contextlib.chdir(tmp_path):
        sock.bind("socket")
        (tmp_path / "link").symlink_to("pipe")
        (tmp_path / "null").symlink_to("/dev/null")
        yield tmp_path


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("pipe", "a named pipe"),
        ("link", "a named pipe"),
        ("socket", "a socket"),
        ("null", "a device"),
        ("/dev/zero", "a device"),
        ("/dev/tty", "a device"),
        ("/dev/random", "a device"),
    ],
)
def test_what_is_no_file_is_named_and_not_opened(
    odd: Path, path: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []
    monkeypatch.setattr(local_files.os, "open", lambda *args: opened.append(args))
    for form in (str(odd / path), odd / path, f"file://{odd / path}"):
        assert f"is no regular file but {kind}, and only a file can be uploaded" in refused(form)
    assert opened == []


def test_writer_that_waits_for_a_reader_of_its_pipe_is_left_alone(odd: Path) -> None:
    """An open of the pipe, however short, would let it go on, and it would then write to nobody."""
    went_on = threading.Event()

    def write() -> None:
        with contextlib.closing(os.fdopen(os.open(odd / "pipe", os.O_WRONLY), "wb")):
            went_on.set()

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    for _ in range(50):
        refused(odd / "pipe")
    assert not went_on.is_set()
    reader = os.open(odd / "pipe", os.O_RDONLY)
    writer.join(30)
    os.close(reader)
    assert went_on.is_set(), "the test's writer would have noticed"


# ---- the system's own files


@needs_linux
@pytest.mark.parametrize(
    "path",
    [
        "/proc/self/environ",
        "/proc/self/cmdline",
        "/proc/1/environ",
        "/proc/version",
        "/proc/self/mem",
        "/proc/none",
        "/proc/self/../version",
        "//proc/version",
        "/dev/../proc/version",
        "/tmp/../proc/version",
        "/proc/self/cwd/a.csv",
        "/proc/thread-self/fd/0",
        "/sys/kernel/mm/transparent_hugepage/enabled",
        "/sys/class/net/lo/mtu",
        "/dev/stdin",
        "/dev/fd/0",
    ],
)
def test_files_of_the_system_are_never_uploaded(path: str) -> None:
    for form in (path, Path(path), f"file://{path}"):
        assert "leads to the system's own files" in refused(form)


@needs_linux
@pytest.mark.parametrize("form", ["/dev/fd/{}", "/proc/self/fd/{}", "/proc/thread-self/fd/{}", "/proc/{pid}/fd/{}"])
def test_file_that_the_worker_has_open_is_not_reached_by_its_number(tmp_path: Path, form: str) -> None:
    (tmp_path / "secret.db").write_bytes(b"secret")
    with (tmp_path / "secret.db").open() as file:
        path = form.format(file.fileno(), pid=os.getpid())
        assert Path(path).read_bytes() == b"secret", "it leads there"
        assert "leads to the system's own files" in refused(path)
        (tmp_path / "link.csv").symlink_to(path)
        (tmp_path / "relative.csv").symlink_to("../" * 20 + path)
        (tmp_path / "twice.csv").symlink_to("link.csv")
        for link in ("link.csv", "relative.csv", "twice.csv"):
            assert "leads to the system's own files" in refused(tmp_path / link)


@needs_linux
def test_link_into_the_system_is_told_by_what_was_opened_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However it got there: between a look and the opening, or where it is mounted under another name."""
    monkeypatch.setattr(local_files, "_leads_through_system", lambda *_: False)
    (tmp_path / "a.csv").symlink_to("/proc/self/environ")
    assert "leads to the system's own files" in refused(tmp_path / "a.csv")


@needs_linux
def test_file_systems_of_the_system_are_known_wherever_they_are_mounted(monkeypatch: pytest.MonkeyPatch) -> None:
    devices = local_files._system_devices()
    assert os.stat("/proc").st_dev in devices
    assert os.stat("/sys").st_dev in devices
    assert os.stat("/tmp").st_dev not in devices
    # as if they were mounted elsewhere
    monkeypatch.setattr(local_files, "_SYSTEM_PATHS", ())
    assert "leads to the system's own files" in refused("/proc/version")
    # and where nothing tells what is mounted
    monkeypatch.undo()
    monkeypatch.setattr(local_files, "_system_devices", frozenset)
    assert "leads to the system's own files" in refused("/proc/version")


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    assert "Too many levels of symbolic links" in refused(tmp_path / "a")
    assert "Too many levels of symbolic links" in refused(tmp_path / "a" / "c")


def test_file_in_shared_memory_is_a_file() -> None:
    path = Path(f"/dev/shm/test-hostile-paths-{os.getpid()}.csv")
    try:
        path.write_bytes(b"A\n")
    except OSError:
        pytest.skip("no /dev/shm here")
    try:
        source = open_source(path)
        assert source.size == 2
        source.close()
    finally:
        path.unlink()


def test_worker_whose_folder_is_gone_reads_absolute_paths(tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    (tmp_path / "a.csv").write_bytes(b"A\n")
    with contextlib.chdir(tmp_path / "gone"):
        os.rmdir(tmp_path / "gone")
        open_source(tmp_path / "a.csv").close()
        with pytest.raises(SourceMissingError):
            open_source("a.csv")
        with open(tmp_path / "a.csv") as opened, pytest.raises(SourceError, match="system's own"):
            open_source(f"/proc/self/fd/{opened.fileno()}")
        # contextlib.chdir goes back by name
        os.chdir(tmp_path)


# ---- text that is no address


SECRETS = ("pass123", "s1gnature", "AKIA1")
MISSPELLED = [
    " https://user:pass123@host/a.csv",
    "\thttps://user:pass123@host/a.csv?sig=s1gnature",
    "\ufeffhttps://user:pass123@host/a.csv",
    "'https://user:pass123@host/a.csv'",
    "<https://host/a.csv?sig=s1gnature>",
    "simplecache::https://host/a.csv?sv=1&sig=s1gnature",
    "simplecache::s3://AKIA1:pass123@bucket/a.csv",
    "filecache::pass123::x",
    "http:/user:pass123@host/x",
    "https:user:pass123@host/x",
    "https//user:pass123@host/x",
    "https:\\\\user:pass123@host\\x",
    "//user:pass123@host/x",
    "//pass123@host/x",
    "https//pass123@host/x",
    "user:pass123@host/x",
    ":pass123@host/x",
    "AKIA1:a/pass123/b@bucket/key",
    "/user:pass123@host/x",
    "host/a.csv?sv=2024&se=2026&sig=s1gnature",
    "/container/a.csv?sv=2024&sig=s1gnature",
    "/container/a.csv#sig=s1gnature",
    "https%3A%2F%2Fuser%3Apass123%40host%2Fa.csv",
    "https%3a//host/a.csv%3Fsig=s1gnature",
    "s3:/AKIA1:pass123@bucket/key",
    "1a://user:pass123@host/x",
    "file://user:pass123@host/x",
    "://user:pass123@host/x",
    "https:/\n/user:pass123@host/x",
]


# ---- length: what a template put in place of a path. Some searches take time by the square of it


MUCH = 500_000


@pytest.mark.parametrize("text", ["/a" + ":b" * MUCH, "/" + "?" * 2 * MUCH, "a" + ":" * 2 * MUCH, "//" * MUCH])
@pytest.mark.parametrize("of", [str, Path, lambda text: f"file://{text}"], ids=["text", "path", "file://"])
@pytest.mark.parametrize("roots", [None, "/srv"])
def test_path_that_is_longer_than_any_is_refused_at_once(text: str, of: Any, roots: Any) -> None:
    # Path makes one of several slashes
    of = str if of is Path and text == "//" * MUCH else of
    with pytest.raises(SourceError, match=r"is 100000\d characters long, and no path has more than 4096") as caught:
        open_any(of(text), allowed_roots=roots)
    assert len(str(caught.value)) < 400
    assert not caught.value.retryable
    assert source_name(of(text)) is None


def test_longest_path_is_not_refused_for_its_length(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.csv").write_bytes(b"A\n1\n")
    open_any("./" * 2045 + "a.csv").close()
    with pytest.raises(SourceError, match="File name too long"):
        open_any("./" * 2045 + "aa.csv")


@pytest.mark.parametrize("scheme", ["s3", "https", "memory", "abfs"])
@pytest.mark.parametrize("roots", [None, "s3://lake"])
def test_address_that_is_longer_than_any_is_refused_at_once(scheme: str, roots: Any) -> None:
    address = f"{scheme}://" + "a:" * MUCH
    with pytest.raises(SourceError, match=r"is 10000\d\d characters long, and no .* more than 8192") as caught:
        open_any(address, allowed_roots=roots)
    assert len(str(caught.value)) < 400
    assert not caught.value.retryable


def test_path_object_of_an_address_that_is_longer_than_any_is_refused_at_once() -> None:
    from airflow.providers.common.compat.sdk import ObjectStoragePath
    from upath import UPath

    for path in (ObjectStoragePath("s3://lake/" + "a:" * MUCH), UPath("memory://lake/" + "a:" * MUCH)):
        for roots in (None, f"{path.protocol}://lake"):
            with pytest.raises(SourceError, match="is 10000.. characters long"):
                open_any(path, allowed_roots=roots)


def test_root_that_is_longer_than_any_is_refused_at_once() -> None:
    with pytest.raises(ConfigurationError, match="must not hold a user or a password"):
        AllowedRoots.parse("s3://lake" + "a:" * MUCH)


@pytest.mark.parametrize("text", MISSPELLED)
@pytest.mark.parametrize("as_path", [False, True])
def test_misspelled_address_is_not_shown(text: str, as_path: bool, connected: Any, caplog: Any, capsys: Any) -> None:
    with pytest.raises(SourceMissingError) as caught:
        WorkbenchHook().upload_file(Path(text) if as_path else text)
    error = caught.value
    assert error.__cause__ is None
    assert error.__context__ is None
    shown = f"{error!r} {error} {error.as_dict()} {caplog.text} {''.join(capsys.readouterr())}"
    assert not any(secret in shown for secret in SECRETS)
    assert "it may hold a password or a signature" in str(error)
    assert connected.requests == []
    lineage = json.dumps(source_name(text))
    assert not any(secret in lineage for secret in SECRETS)


@pytest.mark.parametrize("text", MISSPELLED)
def test_misspelled_address_is_not_shown_where_it_is_not_allowed_or_a_folder(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SourceError) as caught:
        open_any(text, allowed_roots=str(tmp_path))
    assert not any(secret in str(caught.value) for secret in SECRETS)
    (tmp_path / "here").mkdir()
    (tmp_path / "linked").symlink_to("here")
    monkeypatch.chdir(tmp_path / "linked")
    with contextlib.suppress(OSError, ValueError):
        os.makedirs(text.lstrip("/").removeprefix("file://"))
    with pytest.raises(SourceError) as caught:
        open_any(text, allowed_roots=str(tmp_path / "other"))
    assert not any(secret in str(caught.value) for secret in SECRETS)
    if not text.startswith("/"):
        with pytest.raises(SourceError) as caught:
            open_any(text)
        assert not any(secret in str(caught.value) for secret in SECRETS)


@pytest.mark.parametrize(
    "address",
    [
        "s3://a::s3://pass123@b",
        "s3://[pass123/a.csv",
        "s3://host:pass123/a.csv",
        "s3://a]pass123/x",
        "https://[pass123/a.csv?sig=s1gnature",
        "https://host:pass123/a.csv",
        "https://h:99999999/a.csv?sig=s1gnature",
        "s3://",
        "https://",
        "s3:///",
        "https://?",
    ],
)
def test_address_that_libraries_stumble_over_is_an_error_of_ours(
    address: str, storage: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", storage.url)
    with pytest.raises(WorkbenchError) as caught:
        open_any(address)
    assert not any(secret in str(caught.value) for secret in SECRETS), caught.value


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (" https://h/x", "there is white space around it"),
        ("simplecache::https://h/x", "chained file systems are not read"),
    ],
)
def test_error_says_what_is_odd_about_a_misspelled_address(text: str, why: str) -> None:
    with pytest.raises(SourceMissingError, match=why):
        open_any(text)


@pytest.mark.parametrize(
    "path",
    [
        "/data/sales.csv",
        "/data/dt=2026-01-31/a=b/sales.csv",
        "/data/run=scheduled__2026-01-31T06:00:00+00:00/sales.csv",
        "/data/me@example.com/sales.csv",
        "/data/2026-01-31T06:00/me@example.com.csv",
        "sales@noon.csv",
        "/data/a&b/50%.csv",
        "/data/what?.csv",
        "/data/#1.csv",
        "/data/a%20b.csv",
        "./a.csv",
    ],
)
def test_path_is_shown_as_it_is(path: str) -> None:
    assert shown_path(path) == path


@settings(max_examples=300, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(
    st.sampled_from(["https", "s3", "HTTPS", "simplecache::https", "gs", "ftp", "", "x"]),
    st.sampled_from(["://", ":/", ":", "//", ":\\\\", "%3A%2F%2F", "::", ": //"]),
    st.text("abcXYZ019_-.", min_size=1),
    st.sampled_from(["", " ", "\n", "'", "/", "\u200b"]),
    st.sampled_from(["", "?sig={}", "/a.csv?x=1&sig={}", "/a#sig={}"]),
)
def test_no_password_of_a_misspelled_address_is_shown(
    scheme: str, separator: str, user: str, before: str, after: str
) -> None:
    text = f"{before}{scheme}{separator}{user}:PASSWORD@host{after.format('PASSWORD')}"
    assert "PASSWORD" not in shown_path(text)


# ---- what fails between opening and uploading


@pytest.mark.parametrize("failing", ["load", "fingerprint", "filename", "chunk_size"])
def test_nothing_stays_open_if_the_upload_cannot_begin(
    connected: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    (tmp_path / "a.csv").write_bytes(b"A\n")

    class FailedError(Exception):
        pass

    def fail(*_: object) -> None:
        raise FailedError

    options: dict[str, Any] = {"kept_uploads": KeptUploads({}, lambda line: None)}  # type: ignore[arg-type]
    if failing == "load":
        monkeypatch.setattr(KeptUploads, "load", fail)
    elif failing == "fingerprint":
        monkeypatch.setattr("airflow_provider_workbench.client.sources.PathSource.fingerprint", property(fail))
    elif failing == "filename":
        options["filename"] = "a\0b"
    else:
        options["chunk_size"] = 0
    # kept, and with it the frames that hold the source: else it is closed when they go
    with pytest.raises((FailedError, WorkbenchFatalError)) as caught:
        WorkbenchHook().upload_file(tmp_path / "a.csv", **options)
    left = [each for each in os.listdir("/proc/self/fd") if _leads_to(each, tmp_path / "a.csv")]
    assert left == []
    assert caught.tb
    assert connected.requests == []


def _leads_to(descriptor: str, path: Path) -> bool:
    with contextlib.suppress(OSError):
        return os.readlink(f"/proc/self/fd/{descriptor}") == str(path)
    return False


def test_opened_file_is_the_kind_that_was_looked_for(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"A\n")
    stream = local_files.open_regular(str(tmp_path / "a.csv"))
    assert stat.S_ISREG(os.fstat(stream.fileno()).st_mode)
    assert os.get_blocking(stream.fileno())
    assert not os.get_inheritable(stream.fileno())
    stream.close()
