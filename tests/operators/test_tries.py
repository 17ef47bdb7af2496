"""Retries and kills: an upload that was cut off is gone on with, or deleted when no try is left."""

from __future__ import annotations

import os
from datetime import timedelta
from types import SimpleNamespace

import pytest

from airflow_provider_workbench.client.errors import OutcomeUnknownError, UploadStoppedError
from airflow_provider_workbench.hooks import kept_uploads
from airflow_provider_workbench.operators.workbench import WorkbenchUploadOperator

SIZE = 20_000_000


class Store:
    """The accessor's interface; the real one lives only inside a supervised task (see tests/standalone)."""

    def __init__(self):
        self.values = {}
        self.retention = None

    def get(self, key, default=None):
        return self.values.get(key, default)

    def set(self, key, value, *, retention=None):
        self.values[key] = value
        self.retention = retention

    def delete(self, key):
        self.values.pop(key, None)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "big.csv"
    path.write_bytes(os.urandom(SIZE))
    return path


@pytest.fixture
def connected(monkeypatch, workbench_sandbox):
    monkeypatch.setenv("AIRFLOW_CONN_WORKBENCH_DEFAULT", workbench_sandbox.step.connection_json())
    return workbench_sandbox


@pytest.fixture
def store():
    return Store()


def context(store, try_number=1, max_tries=2):
    ti = SimpleNamespace(try_number=try_number, max_tries=max_tries, xcom_push=lambda **_: None)
    return {"ti": ti, "task_state_store": store}


def run(path, context, monkeypatch, *, kill_at=None):
    """One try; ``kill_at`` calls on_kill when so many bytes have left, as Airflow's signal handler would."""
    operator = WorkbenchUploadOperator(task_id="upload", filepath=str(path))
    if kill_at is not None:
        from airflow_provider_workbench.client import progress

        killed = []

        def note(self, sent, size):
            if sent >= kill_at and not killed:
                killed.append(sent)
                operator.on_kill()

        with monkeypatch.context() as patch:
            patch.setattr(progress.ProgressLines, "__call__", note)
            return operator.execute(context)
    return operator.execute(context)


def killed(path, context, monkeypatch):
    with pytest.raises(UploadStoppedError):
        run(path, context, monkeypatch, kill_at=SIZE // 2)


def test_a_retry_goes_on_where_the_killed_try_was(connected, store, path, monkeypatch):
    killed(path, context(store), monkeypatch)
    result = run(path, context(store, try_number=2), monkeypatch)
    assert result["resumed_from"] > 0
    assert result["bytes_sent"] == SIZE - result["resumed_from"]
    (file,) = connected.step.files
    assert connected.step.content(file.uuid) == path.read_bytes()
    assert store.values == {}


def test_the_address_of_an_upload_that_is_gone_on_with_is_masked(connected, store, path, monkeypatch):
    """In another process than the one that made it, whose masker knows nothing yet."""
    killed(path, context(store), monkeypatch)
    upload_id = next(seen.path for seen in connected.requests if seen.method == "PATCH").rpartition("/")[2]
    masked = []
    monkeypatch.setattr("airflow.providers.common.compat.sdk.mask_secret", masked.append)
    run(path, context(store, try_number=2), monkeypatch)
    assert {*upload_id.split("+")} <= {*masked}


def test_what_is_kept_is_sealed_and_for_less_than_a_day(connected, store, path, monkeypatch):
    killed(path, context(store), monkeypatch)
    (sealed,) = store.values.values()
    upload_path = next(seen.path for seen in connected.requests if seen.method == "PATCH")
    for secret in (upload_path, upload_path.rpartition("/")[2], connected.step.api_token, str(path)):
        assert secret not in sealed
    assert store.retention < timedelta(days=1)


def test_an_accepted_upload_leaves_nothing_behind(connected, store, path, monkeypatch):
    run(path, context(store), monkeypatch)
    assert store.values == {}


@pytest.mark.usefixtures("no_pauses_between_rounds")
@pytest.mark.parametrize("change", ["file", "cleared", "key", "token", "expired", "garbage"])
def test_a_retry_starts_over_and_says_why(connected, store, path, monkeypatch, capsys, caplog, change):
    killed(path, context(store), monkeypatch)
    max_tries = 2
    if change == "file":
        path.write_bytes(os.urandom(SIZE))
    elif change == "cleared":
        max_tries = 5
    elif change == "key":
        from cryptography.fernet import Fernet

        other = SimpleNamespace(is_encrypted=True, decrypt=Fernet(Fernet.generate_key()).decrypt)
        monkeypatch.setattr(kept_uploads, "_fernet", lambda: other)
        other.encrypt = lambda text: text
    elif change == "token":
        connected.step.reset_token()  # which is the end of every upload made with the old one
        monkeypatch.setenv("AIRFLOW_CONN_WORKBENCH_DEFAULT", connected.step.connection_json())
    elif change == "expired":
        connected.forget_uploads()
    else:
        store.values[kept_uploads.KEY] = "nonsense"
    result = run(path, context(store, 2, max_tries), monkeypatch)
    assert (result["resumed_from"], result["bytes_sent"]) == (0, SIZE)
    (file,) = connected.step.files
    assert connected.step.content(file.uuid) == path.read_bytes()
    out, err = capsys.readouterr()
    assert "starting over" in out + err + caplog.text


def test_without_a_fernet_key_nothing_is_kept(connected, store, path, monkeypatch):
    monkeypatch.setattr(kept_uploads, "_fernet", lambda: None)
    killed(path, context(store), monkeypatch)
    assert store.values == {}


def test_a_malformed_fernet_key_keeps_nothing_and_fails_nothing(connected, store, path, monkeypatch):
    def complain():
        raise ValueError("Fernet key must be 32 url-safe base64-encoded bytes.")

    try:
        from airflow.sdk import crypto
    except ImportError:
        from airflow.models import crypto

    monkeypatch.setattr(crypto, "get_fernet", complain)
    assert run(path, context(store), monkeypatch)["size"] == SIZE
    assert store.values == {}


@pytest.mark.usefixtures("no_pauses_between_rounds")
def test_what_an_earlier_try_may_have_left_is_still_said_by_the_next(connected, store, path, monkeypatch):
    connected.hook, connected.hook_retry_seconds = "store-then-500", 0
    step = connected.private_step
    monkeypatch.setenv("AIRFLOW_CONN_WORKBENCH_DEFAULT", step.connection_json())
    with pytest.raises(OutcomeUnknownError):
        run(path, context(store), monkeypatch)
    connected.hook = "ok"
    assert run(path, context(store, 2), monkeypatch)["duplicate_possible"]
    assert len(step.files) == 3


def test_without_a_store_a_retry_uploads_again_and_says_so(connected, path, monkeypatch, capsys, caplog):
    killed(path, context(None), monkeypatch)
    assert run(path, context(None, 2), monkeypatch)["bytes_sent"] == SIZE
    out, err = capsys.readouterr()
    assert "keeps nothing between tries" in out + err + caplog.text


def test_a_store_that_fails_does_not_fail_the_upload(connected, path, monkeypatch, capsys, caplog):
    class Broken:
        def __getattr__(self, name):
            raise RuntimeError("no database")

    assert run(path, context(Broken()), monkeypatch)["size"] == SIZE
    out, err = capsys.readouterr()
    assert "going on without it" in out + err + caplog.text


def deletes(sandbox):
    return [seen.status for seen in sandbox.requests if seen.method == "DELETE"]


def test_a_kill_leaves_the_upload_for_the_next_try(connected, store, path, monkeypatch):
    killed(path, context(store, 1, 2), monkeypatch)
    assert deletes(connected) == []
    assert connected.step.files == []


def test_a_kill_of_the_last_try_deletes_the_upload(connected, store, path, monkeypatch):
    killed(path, context(store, 3, 2), monkeypatch)
    assert deletes(connected)[-1] == 204
    assert connected.step.files == []


def test_on_kill_before_anything_was_sent_does_nothing():
    WorkbenchUploadOperator(task_id="upload", filepath="x").on_kill()
