"""What ``upload_file`` takes: addresses and object-storage paths, read with an Airflow connection."""

from __future__ import annotations

import hashlib
import json
import os
import sys

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, ObjectStoragePath
from storage_server import KEY_ID, SECRET_KEY

from airflow_provider_workbench.client import errors
from airflow_provider_workbench.client.object_source import ObjectSource
from airflow_provider_workbench.client.sources import BytesSource, PathSource
from airflow_provider_workbench.hooks import sources
from airflow_provider_workbench.hooks.sources import open_any
from airflow_provider_workbench.hooks.workbench import WorkbenchFatalError, WorkbenchHook

try:
    from airflow.sdk.log import redact
except ImportError:
    from airflow.utils.log.secrets_masker import redact

CONTENT = b"city,sold\nBergen,1\n" * 300_000


@pytest.fixture
def lake(storage, monkeypatch):
    """The id of the storage's connection; there is one object."""
    storage.put("sales/today.csv", CONTENT)
    monkeypatch.setenv("AIRFLOW_CONN_LAKE", storage.connection())
    return "lake"


@pytest.fixture
def hook(workbench_sandbox, monkeypatch):
    monkeypatch.setenv("AIRFLOW_CONN_WORKBENCH_DEFAULT", workbench_sandbox.step.connection_json(retry_budget="1"))
    return WorkbenchHook()


def refused(what, source_conn_id=None):
    """The error, that shows no credentials, nor does anything behind it."""
    with pytest.raises(errors.WorkbenchError) as caught:
        open_any(what, source_conn_id)
    texts, error = "", caught.value
    while error is not None:
        texts += f"{error}{error!r}{vars(error)}"
        error = error.__cause__ or error.__context__
    for secret in (KEY_ID, SECRET_KEY, "pass123", "sig456"):
        assert secret not in texts
    return caught.value


# ---- what arrives


@pytest.mark.parametrize(
    ("what", "source_conn_id"),
    [
        ("s3://lake@lake/sales/today.csv", None),
        ("s3://lake/sales/today.csv", "lake"),
        ("s3://lake@lake/sales/today.csv", "no_such_connection"),
        ("S3://lake@lake/sales/today.csv", None),
        (lambda: ObjectStoragePath("s3://lake@lake/sales/today.csv"), None),
        (lambda: ObjectStoragePath("s3://lake/sales", conn_id="lake") / "today.csv", None),
        (lambda: ObjectStoragePath("s3://lake/sales/today.csv"), "lake"),
        (lambda: str(ObjectStoragePath("s3://lake/sales/today.csv", conn_id="lake")), None),
    ],
    ids=["address", "source_conn_id", "address first", "capitals", "path", "made path", "path and conn", "its text"],
)
@pytest.mark.usefixtures("lake")
def test_object_arrives_whole(hook, workbench_sandbox, what, source_conn_id):
    if callable(what):
        what = what()
    result = hook.upload_file(what, source_conn_id=source_conn_id, read_step=True)
    assert workbench_sandbox.step.content(result.uuid) == CONTENT
    assert (result.filename, result.size, result.sha256) == ("today.csv", len(CONTENT), None)


@pytest.mark.usefixtures("lake")
def test_digest_is_computed_when_asked_for(hook, tmp_path):
    digest = hashlib.sha256(CONTENT).hexdigest()
    path = tmp_path / "a.csv"
    path.write_bytes(CONTENT)
    for what in ("s3://lake@lake/sales/today.csv", path, CONTENT):
        assert hook.upload_file(what, "a.csv", sha256=True).sha256 == digest


def test_upath_arrives_whole(hook, workbench_sandbox):
    from upath import UPath

    path = UPath("memory://folder/from_memory.csv")
    with path.open("wb") as file:
        file.write(CONTENT)
    for what in (path, "memory://folder/from_memory.csv"):
        result = hook.upload_file(what)
        assert workbench_sandbox.step.content(workbench_sandbox.step.files[0].uuid) == CONTENT
        assert result.filename == "from_memory.csv"
    assert len(workbench_sandbox.step.files) == 2


# ---- what is what


@pytest.mark.parametrize("form", ["{}", "file://{}", "local://{}", "file://localhost{}", "file://conn@{}"])
def test_local_file_is_opened_as_such(tmp_path, form):
    path = tmp_path / "a b%20c.csv"
    path.write_bytes(b"A")
    for what in (form.format(path), path, os.fspath(path)):
        source = open_any(what, "ignored")
        assert isinstance(source, PathSource)
        assert (source.name, source.size) == ("a b%20c.csv", 1)
        source.close()


def test_object_storage_path_of_a_local_file_is_opened_as_such(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b"A")
    for what in (ObjectStoragePath(f"file://{path}"), ObjectStoragePath(str(path))):
        source = open_any(what, "ignored")
        assert isinstance(source, PathSource)
        source.close()


@pytest.mark.parametrize("missing", ["/nowhere/a.csv", "file:///nowhere/a.csv"])
def test_local_file_that_is_missing_on_this_worker_is_told_so(missing):
    for what in (missing, ObjectStoragePath(missing)):
        error = refused(what)
        assert type(error) is errors.SourceMissingError
        assert "/nowhere/a.csv" in str(error)
        assert "Workers share no disk" in str(error)


def test_bytes_and_opened_sources_are_taken():
    assert isinstance(open_any(b"A"), BytesSource)
    source = BytesSource(b"A")
    assert open_any(source) is source


def test_text_without_a_scheme_is_a_path():
    for text in ("a.csv", "s3:/a", "://a", "1a://b"):
        assert type(refused(text)) is errors.SourceMissingError


# ---- what cannot be


@pytest.mark.usefixtures("lake")
def test_missing_object_names_object_and_connection(hook):
    with pytest.raises(errors.SourceMissingError) as caught:
        hook.upload_file("s3://lake@lake/sales/tomorrow.csv")
    assert "There is no object s3://lake/sales/tomorrow.csv (connection 'lake')" in str(caught.value)
    assert not isinstance(caught.value, AirflowFailException), "another task may still write it"


@pytest.mark.usefixtures("lake")
def test_missing_permission_fails_the_task_at_once(hook, storage):
    with storage.refusing(), pytest.raises(WorkbenchFatalError) as caught:
        hook.upload_file("s3://lake@lake/sales/today.csv")
    assert "s3://lake/sales/today.csv (connection 'lake') may not be read" in str(caught.value)
    assert caught.value.kind == "SourceError"


@pytest.mark.usefixtures("lake")
def test_missing_connection_is_named_if_it_does_not_work_without(storage, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", storage.url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY_ID)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    for what in ("s3://lak3@lake/sales/nothing.csv", ObjectStoragePath("s3://lak3@lake/sales/nothing.csv")):
        error = refused(what)
        assert type(error) is errors.ConfigurationError
        assert "There is no Airflow connection 'lak3'" in str(error)
    # what the machine has does: so do Airflow's own S3 operators
    source = open_any("s3://lak3@lake/sales/today.csv")
    assert isinstance(source, ObjectSource)
    source.close()


@pytest.mark.parametrize("password", ["pass123", "pass123/and+more", "123/pass123"])
def test_user_and_password_in_an_address_are_refused_unseen(password):
    error = refused(f"s3://AKIA1:{password}@lake/sales/today.csv")
    assert type(error) is errors.ConfigurationError
    assert "AKIA1" not in str(error)
    assert "Put them into an Airflow connection" in str(error)


@pytest.mark.parametrize(
    ("what", "source_conn_id"),
    [
        ("gs://my_gcp@bucket/a.csv", None),
        ("gs://bucket/a.csv", "my_gcp"),
        ("gs://bucket/a.csv", None),
        (lambda: ObjectStoragePath("gs://my_gcp@bucket/a.csv"), None),
    ],
)
def test_missing_provider_is_named(what, source_conn_id):
    error = refused(what() if callable(what) else what, source_conn_id)
    assert type(error) is errors.ConfigurationError
    assert "apache-airflow-providers-google is needed on the worker" in str(error)


def test_missing_library_of_a_provider_is_named(lake, monkeypatch):
    monkeypatch.setenv("AIRFLOW_CONN_LAKE_WITHOUT_S3FS", json.dumps({"conn_type": "aws"}))
    monkeypatch.setitem(sys.modules, "s3fs", None)
    error = refused("s3://lake_without_s3fs@lake/sales/today.csv")
    assert type(error) is errors.ConfigurationError
    assert "apache-airflow-providers-amazon[s3fs] is needed" in str(error)


@pytest.mark.parametrize("address", ["nosuch://bucket/a.csv", "nosuch://user:pass123@h/a.csv?sig=sig456"])
def test_unknown_scheme_is_an_error(address):
    error = refused(address)
    assert type(error) is errors.ConfigurationError
    assert "reads nosuch://" in str(error)


def test_scheme_without_a_provider_takes_no_connection():
    error = refused("memory://folder/a.csv", "lake")
    assert type(error) is errors.ConfigurationError
    assert "leave out source_conn_id" in str(error)


def test_web_address_shows_no_signature():
    error = refused("http://user:pass123@127.0.0.1:9/a.csv?sig=sig456")
    assert type(error) is errors.SourceReadError
    assert "http://127.0.0.1:9/a.csv" in str(error)


def test_secrets_of_a_web_address_are_masked_in_logs():
    refused("http://user:pass123%2Fmore@127.0.0.1:9/a.csv?sig=sig456%2Fmore")
    refused("http://u:cde@127.0.0.1:9/a.csv?e")
    assert redact("cdefg") == "cdefg"
    line = "user:pass123%2Fmore pass123/more sig=sig456%2Fmore sig=sig456/more"
    shown = redact(line)
    assert "pass123" not in shown
    assert "sig456" not in shown


@pytest.mark.parametrize(
    "what",
    [
        "abfs://box@account.dfs.core.windows.net/a.csv",
        "abfss://box@account.dfs.core.windows.net/a.csv",
        "abfss://box@account.dfs.core.chinacloudapi.cn/a.csv",
        "adl://account.azuredatalakestore.net/a.csv",
        "abfs://me:pass123@account.dfs.core.windows.net/a.csv",
    ],
)
@pytest.mark.parametrize("source_conn_id", [None, "my_azure"])
def test_azure_account_in_an_address_is_refused_before_anything_is_opened(monkeypatch, what, source_conn_id):
    monkeypatch.setattr(sources, "_open_path", None)
    monkeypatch.setattr(sources, "_open_with_fsspec", None)
    error = refused(what, source_conn_id)
    assert type(error) is errors.ConfigurationError
    scheme = what.partition(":")[0]
    assert f"Write {scheme}://connection_id@container/key: the account belongs to the connection." in str(error)


@pytest.mark.parametrize("what", [5, None, ["a"], bytearray(b"a")])
def test_other_things_are_refused(what):
    assert type(refused(what)) is errors.SourceError


def test_every_provider_that_is_named_is_one_that_airflow_would_load():
    assert set(sources._PACKAGES) >= {"s3", "gs", "abfs", "sftp"}
    assert all(package.startswith("apache-airflow-providers-") for package in sources._PACKAGES.values())


# ---- across tries


@pytest.mark.usefixtures("lake")
def test_next_try_knows_the_object_again_unless_it_changed(storage):
    def fingerprint():
        source = open_any("s3://lake@lake/kept.csv")
        source.close()
        return source.fingerprint

    storage.put("kept.csv", b"A\n1\n")
    first = fingerprint()
    assert fingerprint() == first
    storage.put("kept.csv", b"A\n2\n")
    assert fingerprint() != first
