"""``WorkbenchHook`` against the sandbox."""

from __future__ import annotations

import asyncio
import json
import logging
from base64 import b64encode
from types import SimpleNamespace
from urllib.parse import quote
from uuid import uuid4

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_workbench.client import errors
from airflow_provider_workbench.hooks.workbench import WorkbenchFatalError, WorkbenchHook, for_airflow


@pytest.fixture
def connect(monkeypatch, workbench_sandbox):
    """Make ``workbench_default`` a connection, by default the sandbox's public Step."""

    def connect(step=None, *, uri=False, host=None, password=None, **extra):
        step = step or workbench_sandbox.step
        extra = {"retry_budget": "1", **extra}
        text = step.connection_uri(**extra) if uri else step.connection_json(**extra)
        if host is not None or password is not None:
            parts = json.loads(text)
            parts.update({key: value for key, value in (("host", host), ("password", password)) if value is not None})
            text = json.dumps(parts)
        monkeypatch.setenv("AIRFLOW_CONN_WORKBENCH_DEFAULT", text)
        return WorkbenchHook()

    return connect


@pytest.fixture
def logged(capsys, caplog):
    """What was logged: Airflow 3 writes to stdout, Airflow 2 through ``logging``."""
    caplog.set_level(logging.INFO)

    def logged():
        out, err = capsys.readouterr()
        return out + err + caplog.text

    return logged


@pytest.mark.parametrize("uri", [False, True], ids=["json", "uri"])
def test_a_file_arrives_whole(connect, workbench_sandbox, tmp_path, uri):
    path = tmp_path / "sales.csv"
    path.write_bytes(b"city,sold\nBergen,1\n" * 9000)
    result = connect(uri=uri).upload_file(path, read_step=True)
    assert workbench_sandbox.step.content(result.uuid) == path.read_bytes()
    assert (result.filename, result.size) == ("sales.csv", path.stat().st_size)
    assert workbench_sandbox.step.selected.uuid == result.uuid


def test_a_small_upload_is_two_requests(connect, workbench_sandbox):
    connect().upload_file(b"a,b\n1,2\n", filename="small.csv")
    assert [(seen.host, seen.method) for seen in workbench_sandbox.requests] == [
        ("frontend", "POST"),
        ("upload", "PATCH"),
    ]


def test_a_uri_connection_has_text_extras_that_are_coerced(connect):
    settings = connect(uri=True, verify_tls="false", chunk_size="4096", connect_timeout="2.5").get_settings()
    assert (settings.verify_tls, settings.chunk_size, settings.connect_timeout) == (False, 4096, 2.5)


def test_a_uri_connection_is_https_unless_it_is_this_machine(monkeypatch):
    monkeypatch.setenv(
        "AIRFLOW_CONN_WORKBENCH_DEFAULT",
        "workbench://:token@App.Example:8443/api/v1/workflows/12/steps/step-x/files",
    )
    endpoint = WorkbenchHook().get_settings().endpoint
    assert endpoint.create_file_url == "https://app.example:8443/api/v1/workflows/12/steps/step-x/files"


PATH = "api/v1/workflows/12/steps/step-x/files"


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"host": "app.example", "schema": PATH}, "https://app.example"),
        ({"host": "app.example", "port": 8443, "schema": PATH}, "https://app.example:8443"),
        # as Airflow's own get_uri() has it
        ({"host": "https://app.example", "port": 8443, "schema": PATH}, "https://app.example:8443"),
        ({"host": "https://app.example/", "port": 8443, "schema": f"/{PATH}"}, "https://app.example:8443"),
        ({"host": "::1", "port": 8000, "schema": PATH}, "http://[::1]:8000"),
        ({"host": "http://[::1]", "port": 8000, "schema": PATH}, "http://[::1]:8000"),
        ({"host": "app.example:8443", "schema": PATH}, "https://app.example:8443"),
        # pasted whole over the host of a connection that was a URI
        ({"host": f" https://new.example/{PATH} ", "port": 8443, "schema": PATH}, "https://new.example"),
        ({"host": f"new.example:8444/{PATH}", "port": 8443, "schema": PATH}, "https://new.example:8444"),
    ],
)
def test_the_create_file_url_may_be_in_pieces(monkeypatch, fields, place):
    connection = {"conn_type": "workbench", "password": "token", **fields}
    monkeypatch.setenv("AIRFLOW_CONN_WORKBENCH_DEFAULT", json.dumps(connection))
    assert WorkbenchHook().get_settings().endpoint.create_file_url == f"{place}/{PATH}"


@pytest.mark.parametrize("host", ["https://app.example:8443", "http://[::1]:8000"])
def test_a_uri_with_the_scheme_in_its_host_keeps_the_port(monkeypatch, host):
    scheme, _, place = host.partition("://")
    monkeypatch.setenv("AIRFLOW_CONN_WORKBENCH_DEFAULT", f"workbench://{scheme}://:token@{place}/{PATH}")
    assert WorkbenchHook().get_settings().endpoint.create_file_url == f"{host}/{PATH}"


def test_reading_the_step(connect, workbench_sandbox):
    hook = connect()
    result = hook.upload_file(b"a\n1\n", filename="a.csv", read_step=True)
    for step in (hook.get_step(), asyncio.run(WorkbenchHook().aget_step())):
        assert step.selected is not None
        assert (step.selected.uuid, step.selected.name, step.selected.size) == (result.uuid, "a.csv", 4)


def test_an_accepted_upload_succeeds_though_the_step_cannot_be_read(connect, workbench_sandbox, logged):
    step = workbench_sandbox.private_step
    result = connect(step).upload_file(b"a\n1\n", filename="a.csv", read_step=True)
    assert result.uuid is None
    assert len(step.files) == 1
    assert "uuid is not known" in logged()


def test_progress_and_totals_are_logged(connect, logged):
    seen = []
    connect().upload_file(b"x" * 500_000, filename="x.csv", progress=lambda *counts: seen.append(counts))
    assert seen[-1] == (500_000, 500_000)
    assert "Workbench accepted 'x.csv': 500000 bytes (488.3 KiB) in " in logged()


def test_odd_settings_and_names_are_warned_about(connect, logged):
    connect(colour="red").upload_file(b"x", filename="x.parquet")
    text = logged()
    assert "unknown field 'colour'" in text
    assert "no Upload step can read it" in text


class TestErrors:
    def test_what_no_retry_mends_fails_the_task_at_once(self, connect):
        with pytest.raises(WorkbenchFatalError) as caught:
            connect(password="wrong").upload_file(b"x", filename="x.csv")
        assert isinstance(caught.value, AirflowFailException)
        assert (caught.value.kind, caught.value.code, caught.value.status) == (
            "TokenInvalidError",
            "authorization-bearer-token-invalid",
            403,
        )
        assert "put it into the password of connection 'workbench_default'" in str(caught.value)

    def test_what_a_retry_may_mend_does_not(self, connect, workbench_sandbox):
        workbench_sandbox.tusd_down = True
        with pytest.raises(errors.ServerError) as caught:
            connect().upload_file(b"x", filename="x.csv")
        assert not isinstance(caught.value, AirflowFailException)

    @pytest.mark.usefixtures("no_pauses_between_rounds")
    @pytest.mark.parametrize(
        ("hook", "readable", "kind"),
        [
            ("500", True, errors.UploadNotTakenError),
            ("down", False, errors.UploadNotTakenError),
            ("store-then-500", False, errors.OutcomeUnknownError),
        ],
    )
    def test_a_finish_that_fails_is_no_success(self, connect, workbench_sandbox, hook, readable, kind):
        workbench_sandbox.hook, workbench_sandbox.hook_retry_seconds = hook, 0
        step = workbench_sandbox.step if readable else workbench_sandbox.private_step
        with pytest.raises(kind):
            connect(step).upload_file(b"x", filename="x.csv")

    @pytest.mark.parametrize("kind", [errors.SourceMissingError, errors.TokenInvalidError, errors.TlsError])
    def test_translation_keeps_the_text_and_chains_nothing(self, kind):
        original = kind("words", code="c", status=400)
        translated = for_airflow(original)
        assert str(translated) == "words"
        assert isinstance(translated, AirflowFailException) is not kind.retryable
        assert for_airflow(translated) is translated

    @pytest.mark.usefixtures("no_pauses_between_rounds")
    def test_no_exception_carries_a_secret(self, connect, workbench_sandbox):
        workbench_sandbox.hook, workbench_sandbox.hook_retry_seconds = "down", 0
        hook = connect(secret_link="wSecretLink123")
        with pytest.raises(errors.WorkbenchError) as caught:
            hook.upload_file(b"x" * 100, filename="x.csv")
        upload_id = next(seen.path for seen in workbench_sandbox.requests if seen.method == "PATCH").rpartition("/")[2]
        error: BaseException | None = caught.value
        texts = []
        while error is not None:
            texts += [str(error), repr(error), repr(error.__dict__)]
            error = error.__cause__ or error.__context__
        for secret in (workbench_sandbox.step.api_token, upload_id, "wSecretLink123"):
            assert secret not in "".join(texts)


class TestConnectionTest:
    def test_a_good_token_leaves_the_step_untouched(self, connect, workbench_sandbox):
        ok, message = connect().test_connection()
        assert ok, message
        assert "The API token is good" in message
        assert "can be read" in message
        assert workbench_sandbox.step.files == []
        assert [seen.status for seen in workbench_sandbox.requests if seen.method == "DELETE"] == [204]

    def test_a_good_token_and_an_unreadable_step(self, connect, workbench_sandbox):
        ok, message = connect(workbench_sandbox.private_step).test_connection()
        assert ok, message
        assert "The Step cannot be read" in message
        assert "secret_link" in message

    def test_a_secret_link_and_a_session_make_it_readable(self, connect, workbench_sandbox):
        secret = workbench_sandbox.secret_step
        for hook in (
            connect(secret, secret_link=secret.secret_link_url),
            connect(secret, secret_link=secret.secret_link),
            connect(workbench_sandbox.private_step, session_token=workbench_sandbox.session_cookie),
        ):
            ok, message = hook.test_connection()
            assert ok
            assert "can be read" in message

    @pytest.mark.parametrize(
        ("change", "says"),
        [
            ({"password": "wrong"}, "not this Step's current one"),
            ({"password": ""}, "The API token is empty"),
            ({"host": ""}, "The Create-file URL is empty"),
            ({"host": "https://workbench.invalid/workflows/12/"}, "not the Create-file URL"),
            ({"host": "http://127.0.0.1:1/api/v1/workflows/1/steps/step-x/files"}, "Could not connect to 127.0.0.1"),
        ],
        ids=["wrong token", "no token", "no URL", "not a create-file URL", "unreachable host"],
    )
    def test_it_says_why_not(self, connect, change, says):
        ok, message = connect(**change).test_connection()
        assert not ok
        assert says in message

    def test_it_says_why_not_when_the_api_is_disabled(self, connect, workbench_sandbox):
        hook = connect()
        workbench_sandbox.step.disable_api()
        ok, message = hook.test_connection()
        assert not ok
        assert "switched off" in message

    def test_it_says_why_not_for_an_unknown_step(self, connect, workbench_sandbox):
        hook = connect(host=workbench_sandbox.step.create_file_url.replace(workbench_sandbox.step.slug, "step-none"))
        ok, message = hook.test_connection()
        assert not ok
        assert "no such Step" in message


def test_an_extra_that_is_no_object_is_an_error(monkeypatch, workbench_sandbox):
    step = workbench_sandbox.step
    # some Airflows refuse such a connection themselves, when it is read
    broken = SimpleNamespace(host=step.create_file_url, password=step.api_token, port=None, schema=None, extra="[1]")
    monkeypatch.setattr(WorkbenchHook, "get_connection", lambda self, conn_id: broken)
    with pytest.raises(WorkbenchFatalError, match="not a JSON object"):
        WorkbenchHook().get_settings()


# ---- Airflow's masker, which forgets nothing: each of these has secrets of its own


def assert_masked(*secrets):
    from airflow.providers.common.compat.sdk import redact

    for secret in secrets:
        assert secret not in redact(f"said {secret} aloud")


def all_forms(secret):
    return secret, quote(secret, safe=""), b64encode(secret.encode()).decode()


async def looked_up(hook):
    await hook.aget_settings()


@pytest.mark.parametrize("look_up", [WorkbenchHook.get_settings, WorkbenchHook.test_connection, looked_up])
def test_the_connections_secrets_are_masked_in_every_form(connect, workbench_sandbox, look_up):
    token = workbench_sandbox.step.reset_token(f"tok/en+{uuid4()}")
    cookie, link = f"c00kie+{uuid4()}", f"wLink{uuid4()}"
    found = look_up(connect(session_token=cookie, secret_link=link))
    if look_up is looked_up:
        asyncio.run(found)
    assert_masked(token, *all_forms(cookie), *all_forms(link))
    if look_up is not looked_up:
        # who only reads sees the token in no other form
        assert_masked(*all_forms(token))


@pytest.mark.parametrize("look_up", [WorkbenchHook.get_settings, WorkbenchHook.test_connection, looked_up])
@pytest.mark.parametrize("name", ["HTTPS_PROXY", "http_proxy", "ALL_PROXY"])
def test_passwords_of_proxies_are_masked_and_users_are_not(connect, monkeypatch, look_up, name):
    from airflow.providers.common.compat.sdk import redact

    user, password = f"user-{uuid4()}", f"pass:w@rd {uuid4()}"
    monkeypatch.setenv(name, f"http://{user}:{quote(password)}@proxy.invalid:3128")
    monkeypatch.setenv("NO_PROXY", "*")
    found = look_up(connect())
    if look_up is looked_up:
        asyncio.run(found)
    assert_masked(password, quote(password))
    assert user in redact(user)


def test_short_password_of_a_proxy_is_not_masked(connect, monkeypatch):
    """Airflow 2 would mask the letter in every text."""
    told = []
    monkeypatch.setattr("airflow.providers.common.compat.sdk.mask_secret", told.append)
    monkeypatch.setenv("HTTPS_PROXY", "http://me:a@proxy.invalid:3128")
    hook = connect()
    hook.get_settings()
    assert hook.get_settings().token in told
    assert "a" not in told


def test_an_uploads_address_is_masked_in_every_form(connect, workbench_sandbox):
    connect().upload_file(b"x", filename="x.csv")
    path = next(seen.path for seen in workbench_sandbox.requests if seen.method == "PATCH")
    upload_id = path.rpartition("/")[2]
    assert_masked(path, *upload_id.split("+"), *(upload_id.replace("+", plus) for plus in ("+", "%2B", "%2b")))


def test_the_address_of_a_tested_connections_upload_is_masked(connect, workbench_sandbox):
    connect().test_connection()
    assert_masked(next(seen.path for seen in workbench_sandbox.requests if seen.method == "DELETE"))
