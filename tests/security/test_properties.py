"""Whatever is parsed: only our own errors come out, and what is accepted keeps its promises.

``PROPERTY_EXAMPLES=100000`` runs so many examples of each by hand; else a few. Inputs are made of what a real server
sent, with parts replaced, rather than of noise alone: noise is refused at the door.
"""

from __future__ import annotations

import copy
import json
import math
import os
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from security.gates import chain_text

from airflow_provider_workbench.client import errors
from airflow_provider_workbench.client.answers import Answer, error_code
from airflow_provider_workbench.client.backoff import retry_after_seconds
from airflow_provider_workbench.client.create_file import error_of, read_answer
from airflow_provider_workbench.client.endpoint import Endpoint, is_host, is_loopback
from airflow_provider_workbench.client.errors import ConfigurationError, WorkbenchError, error_from_dict
from airflow_provider_workbench.client.expected import Expected
from airflow_provider_workbench.client.secret_forms import forms_for_reading, forms_of_settings, forms_of_upload_url
from airflow_provider_workbench.client.server_time import answer_time
from airflow_provider_workbench.client.settings import Settings
from airflow_provider_workbench.client.step_messages import WorkflowSteps, change_of, is_complete
from airflow_provider_workbench.client.steps import Step, redirect_within, step_of_page, steps_of_page
from airflow_provider_workbench.client.tus import Meaning, read_head, read_patch
from airflow_provider_workbench.client.waiting import UNTIL, Verdict, Wanted, judge, parse_time, since_moment

settings.register_profile("by-hand", max_examples=int(os.environ.get("PROPERTY_EXAMPLES", "60")))
LIMITS = settings(
    settings.get_profile("by-hand"),
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)

RECORDED = Path(__file__).parent.parent / "recorded"
URL = "https://app.workbench.example/api/v1/workflows/123/steps/step-a/files"
TOKEN = "t0ken-of_the-Step"
LINK = "wSecret123abcDEF456ghi"
SETTINGS = Settings.from_fields(URL, TOKEN, {"secret_link": LINK, "session_token": "c00kie"})

TEXT = st.text(max_size=30)
NUMBERS = st.integers() | st.sampled_from([0, -1, 2**31, 2**63, 10**400, int("9" * 4299)])
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)


def raised(run: Any) -> WorkbenchError | None:
    """Run it. Returns its error, which must be of ours, in one printable line; neither it nor one behind it holds a
    secret.
    """
    try:
        run()
    except WorkbenchError as error:
        text = str(error)
        assert text.isprintable()
        assert len(text) < 2500
        assert not any(secret in chain_text(error) for secret in (TOKEN, LINK, "c00kie"))
        assert error.__cause__ is None
        copied = error_from_dict(json.loads(json.dumps(error.as_dict())))
        assert (type(copied), str(copied), copied.status) == (type(error), text, error.status)
        return error
    return None


# ---- headers

DIGITS = st.from_regex(r"[-+ ]?[0-9]{0,25}", fullmatch=True)
DATES = st.from_regex(
    r"((Mon|Fri|Xxx)?,? ?)?[0-9]{0,4}[ -](Jan|Feb|Dec|Foo|0)[ -][0-9]{0,6}"
    r"( [0-9]{0,3}[:.][0-9]{0,3}([:.][0-9]{0,3})?)?( (GMT|UTC|EST|Z|[-+][0-9]{0,9}))?",
    fullmatch=True,
)
NAMES = (
    "upload-offset", "upload-length", "retry-after", "date", "tus-resumable", "location", "content-type",
)  # fmt: skip
HEADERS = st.dictionaries(st.sampled_from(NAMES), DIGITS | DATES | TEXT | st.sampled_from(["12", "1.0.0"]))


@LIMITS
@given(DATES | TEXT | DIGITS)
@example("Thu, 01 Jan 2026 12:00:00 +" + "9" * 400)
@example("1 Jan 1 1:1:1 +9999")
def test_date_is_a_moment_of_this_age_or_none(text: str) -> None:
    moment = answer_time(Answer(200, {"date": text}, b""))
    assert moment is None or (moment.tzinfo is UTC and 1999 < moment.year < 3001)


@LIMITS
@given(DIGITS | DATES | TEXT, DATES | TEXT)
def test_retry_after_is_seconds_or_none(text: str, date: str) -> None:
    seconds = retry_after_seconds({"retry-after": text, "date": date})
    assert seconds is None or (seconds >= 0 and math.isfinite(seconds))


CODES = (
    st.sampled_from(["authorization-bearer-token-invalid", "body-has-errors", "other-code", TOKEN, "\x1b[2J"]) | TEXT
)
ERRORS = st.fixed_dictionaries(
    {"code": CODES | JSON},
    optional={"errors": st.dictionaries(CODES, st.lists(st.fixed_dictionaries({"code": CODES}) | JSON)) | JSON},
)
BODIES = st.one_of(
    st.binary(max_size=60),
    JSON.map(json.dumps).map(str.encode),
    ERRORS.map(lambda error: json.dumps({"error": error}).encode()),
    st.sampled_from([b"upload not found", b"ERR_LOCK_TIMEOUT: x", b"[" * 100_000, b'{"error":' * 50_000]),
)
STATUSES = st.integers(100, 599) | st.sampled_from([200, 204, 400, 403, 404, 409, 410, 423, 429, 500, 502])
SIZES = st.integers(0, 12) | st.just(12)


@LIMITS
@given(STATUSES, HEADERS, BODIES, SIZES, SIZES, st.just(0) | st.integers(0, 3))
def test_patch_is_accepted_only_by_a_204_to_its_last_byte(
    status: int, headers: dict[str, str], body: bytes, offset: int, length: int, unsent: int
) -> None:
    answer = Answer(status, headers, body)
    reading = read_patch(answer, offset=offset, length=length, size=12, unsent=unsent)
    last = offset + length == 12 and not unsent
    said = headers.get("upload-offset")
    if reading.meaning is Meaning.ACCEPTED:
        assert status == 204
        assert said == "12"
        assert last
        assert length > 0
    if reading.meaning is Meaning.PROGRESS:
        assert status == 204
        assert said == str(offset + length) or int(said or "") == offset + length
        assert not last
    if reading.meaning is Meaning.REFUSED:
        assert 400 <= status < 500
        assert reading.code == (error_code(answer.text) or "")[0]
        assert reading.code != TOKEN
    if reading.meaning is Meaning.UNKNOWN:
        assert last
    if reading.meaning is Meaning.GONE:
        assert "tus-resumable" in headers
    assert reading.status == status
    assert reading.retry_after is None or reading.retry_after >= 0


@LIMITS
@given(STATUSES, HEADERS, BODIES)
def test_head_tells_an_offset_within_the_file(status: int, headers: dict[str, str], body: bytes) -> None:
    reading = read_head(Answer(status, headers, body), size=12)
    assert reading.meaning in (Meaning.AT, Meaning.WRONG, Meaning.LOCKED, Meaning.GONE, Meaning.AGAIN)
    if reading.meaning is Meaning.AT:
        assert status in (200, 204)
        assert 0 <= reading.offset <= 12
    if reading.meaning is Meaning.GONE:
        assert status in (404, 410)
        assert "tus-resumable" in headers
    assert (reading.meaning is Meaning.LOCKED) == (status == 423)


# ---- create-file

HOSTS = st.one_of(
    st.sampled_from(["upload.example", "127.0.0.1", "[::1]", "localhost", "a..b", "-a", "xn--", "xn--a.b", "", "[bad"]),
    st.text(max_size=12),
    st.text(st.characters(min_codepoint=0x80), min_size=1, max_size=4).map(lambda text: f"a{text}b.example"),
)
ADDRESSES = st.builds(
    "{}://{}{}{}{}".format,
    st.sampled_from(["https", "http", "file", "HTTPS", "gopher", ""]) | TEXT,
    st.sampled_from(["", "me@", "me:pass@", "@"]),
    HOSTS,
    st.sampled_from(["", ":1", ":443", ":", ":99999", ":-1", ":x"]),
    st.sampled_from(["/files/0123abcd+s3~id", "/files/a%2Bb", "", "/", "/files/", "/f?id=1", "/#a"]) | TEXT,
)


@LIMITS
@given(
    STATUSES | st.just(200),
    HEADERS,
    BODIES | (ADDRESSES | JSON).map(lambda url: json.dumps({"tusUploadUrl": url}).encode()),
)
def test_create_file_gives_an_address_that_can_be_used_or_our_error(
    status: int, headers: dict[str, str], body: bytes
) -> None:
    answer = Answer(status, headers, body)
    urls: list[str] = []
    error = raised(lambda: urls.append(read_answer(answer, SETTINGS)))
    if error:
        assert error.status == status
        assert error.retry_after is None or error.retry_after >= 0
        return
    assert status == 200
    (url,) = urls
    assert_usable(url)
    identity = urlsplit(url).path.rpartition("/")[2]
    forms = forms_of_upload_url(url)
    assert not identity or all(any(form in text for form in forms) for text in (identity, unquote(identity)))


def assert_usable(url: str) -> None:
    """Encrypted, plain, and neither HTTP library fails on it in a way of its own."""
    import requests
    import yarl

    parts = urlsplit(url)
    assert parts.scheme == "https"
    assert parts.username is None
    assert parts.hostname
    assert url.isprintable()
    assert requests.Request("GET", url).prepare().url
    assert yarl.URL(url).host


@LIMITS
@example("xn--strae-oqa.example")
@given(HOSTS)
def test_host_that_is_taken_for_one_breaks_no_library(host: str) -> None:
    assume(is_host(host))
    try:
        urlsplit(f"https://{host}/")
    except ValueError:
        # what is no URL is refused before
        return
    assert_usable(f"https://[{host}]/files/a" if ":" in host else f"https://{host}/files/a")


@LIMITS
@given(STATUSES, HEADERS, BODIES)
def test_any_refusal_of_create_file_is_an_error_without_secrets(
    status: int, headers: dict[str, str], body: bytes
) -> None:
    def run() -> None:
        raise error_of(Answer(status, headers, body), SETTINGS)

    error = raised(run)
    assert error is not None
    assert error.status == status
    assert isinstance(error, errors.RefusedError) <= (error_code(body.decode("utf-8", "replace")) is not None)


# ---- Steps: what a real server sent, with parts replaced

PAGES = [{"steps": page["steps"]} for page in json.loads((RECORDED / "page_init_state.json").read_text()).values()]
CHANGES = [
    message["data"]
    for messages in json.loads((RECORDED / "websocket_messages.json").read_text()).values()
    for message in messages
]
ODD = st.one_of(
    JSON,
    st.sampled_from([{}, [], "", None, True, "x", "2026-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00", "9999-12-31"]),
    st.integers(1, 900).map(lambda depth: json.loads("[" * depth + "]" * depth)),
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    if len(path) > 20:
        # what was put there before may be deep
        return []
    return [path] + [place for key, inner in items for place in places(inner, (*path, key))]


@st.composite
def altered(draw: st.DrawFn, originals: list[Any]) -> Any:
    """One of them, with up to three parts replaced or removed."""
    value = copy.deepcopy(draw(st.sampled_from(originals)))
    for _ in range(draw(st.integers(0, 3))):
        where = draw(st.sampled_from([path for path in places(value) if path] or [()]))
        if not where:
            return draw(ODD)
        parent = value
        for key in where[:-1]:
            parent = parent[key]
        if draw(st.booleans()):
            parent[where[-1]] = draw(ODD)
        else:
            del parent[where[-1]]
    return value


def of_slug(slug: Any) -> Settings:
    return Settings.from_fields(URL.replace("step-a", slug), TOKEN, {"secret_link": LINK, "session_token": "c00kie"})


def slugs(state: Any) -> list[str]:
    steps = state.get("steps", state.get("updateSteps")) if isinstance(state, dict) else None
    found = [step.get("slug") for step in steps.values() if isinstance(step, dict)] if isinstance(steps, dict) else []
    return [slug for slug in found if isinstance(slug, str) and slug.isascii() and slug.replace("-", "").isalnum()]


WANTED = st.builds(
    Wanted,
    until=st.sampled_from(UNTIL),
    uuid=st.none() | TEXT,
    name=st.none() | TEXT.filter(str.strip) | st.sampled_from(["*", "a.csv", "*.csv", "[", "[!"]),
    is_pattern=st.booleans(),
    size=st.none() | NUMBERS,
    not_before=st.none()
    | st.datetimes(timezones=st.just(UTC) | st.integers(-1439, 1439).map(lambda m: timezone(timedelta(minutes=m)))),
)


def assert_step(step: Step, wanted: Wanted) -> None:
    assert step.rendered or (step.output_status, step.output_errors, step.n_rows) == ("busy", (), 0)
    for file in step.files:
        assert file.created_at.tzinfo is not None
        assert json.loads(json.dumps(file.as_dict()))["name"] == file.name
    assert step.selected is None or step.selected in step.files
    verdict = judge(step, wanted)
    assert verdict.message
    kept = Verdict.from_dict(json.loads(json.dumps(verdict.as_dict())))
    assert kept == verdict
    if verdict.state == "seen":
        assert verdict.file is not None
        assert wanted.matches(verdict.file)
        if verdict.file.n_rows is not None:
            raised(lambda: Expected(5, 5).check(verdict.file))


@LIMITS
@given(altered(PAGES), st.sampled_from(["", "<html>window.initState = ", "junk"]), st.booleans(), WANTED, st.data())
def test_page_gives_a_step_or_our_error(
    state: Any, before: str, cut: bool, wanted: Wanted, data: st.DataObject
) -> None:
    html = f"{before}<script>window.initState = {json.dumps(state)}\n</script>"
    answer = Answer(200, {}, html.encode()[: len(html) // 2 if cut else None])
    steps: list[Step] = []
    raised(lambda: steps_of_page(answer, SETTINGS))
    slug = data.draw(st.sampled_from(slugs(state) or ["step-a"]))
    raised(lambda: steps.append(step_of_page(answer, of_slug(slug))))
    for step in steps:
        assert step.slug == slug
        assert_step(step, wanted)


@LIMITS
@given(st.lists(altered(CHANGES), min_size=1, max_size=4), WANTED)
def test_messages_give_steps_or_our_error(changes: list[Any], wanted: Wanted) -> None:
    """Merged as a model says: by Step, key by key, and what was deleted is gone."""
    steps, model = WorkflowSteps(), {}
    for data in changes:
        change = change_of(json.dumps({"type": "apply-delta", "data": data}))
        assert (change is None) == (not isinstance(data, dict))
        if change is None:
            continue
        updates = change.get("updateSteps") if isinstance(change.get("updateSteps"), dict) else {}
        updates = {key: step for key, step in updates.items() if isinstance(step, dict)}
        if is_complete(change):
            steps.replace(change["updateSteps"])
            model = updates
        else:
            steps.merge(change)
            model = {**model, **{key: {**model.get(key, {}), **step} for key, step in updates.items()}}
            gone = change.get("clearStepIds")
            for key in gone if isinstance(gone, list) else ():
                model.pop(str(key), None)
        for slug in {*slugs({"steps": model}), "step-none"}:
            found: list[Step | None] = []
            error = raised(lambda slug=slug, found=found: found.append(steps.get(slug)))
            there = any(step.get("slug") == slug for step in model.values())
            assert error is None or there
            if not error:
                assert (found[0] is not None) == there
            if found and found[0] is not None:
                assert steps.get(slug) is found[0]
                assert_step(found[0], wanted)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("output_n_rows", int("9" * 4300)),
        ("output_n_rows", -1),
        ("files", [{"uuid": "u", "name": "n", "size": int("9" * 4300), "createdAt": "2026-01-01T00:00:00Z"}] * 2),
        ("output_errors", json.loads("[" * 900 + "]" * 900)),
        ("output_errors", [{"message": json.loads("[" * 900 + "]" * 900)}]),
    ],
    ids=["rows-of-4300-digits", "rows-below-zero", "size-of-4300-digits", "deep-errors", "deep-message"],
)
def test_numbers_and_depths_that_python_cannot_print_are_errors_or_left_out(key: str, value: Any) -> None:
    steps = copy.deepcopy(PAGES[0]["steps"])
    done = {**next(step for step in steps.values() if step["slug"] == slugs(PAGES[0])[0]), key: value}
    done["cached_render_result_delta_id"] = done["last_relevant_delta_id"]
    answer = Answer(200, {}, f"window.initState = {json.dumps({'steps': {'1': done}})}".encode())
    wanted = Wanted(until="listed", name="x", size=5, not_before=datetime(2025, 1, 1, tzinfo=UTC))

    def read(deeper: int) -> None:
        if deeper:
            read(deeper - 1)
        else:
            assert_step(step_of_page(answer, of_slug(done["slug"])), wanted)

    raised(lambda: read(50))


@LIMITS
@given(TEXT | JSON.map(json.dumps) | st.sampled_from(["[" * 100_000, '{"type":' * 50_000, "1" * 5000]))
def test_any_message_is_a_change_or_none(text: str) -> None:
    change = change_of(text)
    assert change is None or isinstance(change, dict)


@LIMITS
@given(STATUSES, ADDRESSES | TEXT)
def test_redirect_stays_on_its_host_or_is_none(status: int, location: str) -> None:
    url = SETTINGS.endpoint.page_url(LINK)
    target = redirect_within(Answer(status, {"location": location}, b""), url)
    if target is not None:
        assert urlsplit(target)[:2] == ("https", "app.workbench.example")
        assert status in (301, 302, 303, 307, 308)
        assert_usable(target)


# ---- connection fields

FIELDS = (
    "secret_link", "session_token", "verify_tls", "ca_bundle", "client_cert", "client_key", "chunk_size",
    "connect_timeout", "stall_timeout", "finish_timeout", "retry_budget", "allow_http", "show_secret_link",
)  # fmt: skip
VALUES = st.one_of(
    ODD, DIGITS, st.sampled_from(["true", "false", "nan", "-inf", "1e400", LINK, f"https://x/workflows/{LINK}/"])
)
EXTRAS = st.dictionaries(st.sampled_from(FIELDS) | TEXT, VALUES, max_size=5)
CREATE_FILE_URLS = st.one_of(
    TEXT,
    st.just(URL),
    st.builds(
        "{}/api/v1/workflows/{}/steps/step-a/files{}".format, ADDRESSES, DIGITS, st.sampled_from(["", "/", "?a"])
    ),
    st.builds("{}{}/api/v1/workflows/7/steps/step-a/files".format, st.sampled_from(["", "https://", "http://"]), HOSTS),
)


@LIMITS
@given(CREATE_FILE_URLS, st.just(TOKEN) | TEXT | st.none(), EXTRAS)
def test_fields_give_settings_or_a_configuration_error(url: str, token: Any, extra: dict[str, Any]) -> None:
    made: list[Settings] = []
    try:
        made.append(Settings.from_fields(url, token, extra))
    except ConfigurationError as error:
        assert str(error).isprintable()
        assert len(str(error)) < 1000
        assert error.__cause__ is None
        assert error.__context__ is None
        given_secrets = [extra.pop("secret_link", None), extra.pop("session_token", None), token]
        # short ones are in every text, and what another field holds too is no secret
        for secret in given_secrets:
            if isinstance(secret, str) and len(secret.strip()) > 9 and secret not in extra.values():
                assert secret.strip() not in str(error)
        return
    (good,) = made
    assert Endpoint.parse(good.endpoint.create_file_url, allow_http=True) == good.endpoint
    assert (
        good.endpoint.origin.startswith("https:")
        or good.allow_http
        or is_loopback(urlsplit(good.endpoint.origin).hostname or "")
    )
    # as headers, in which nothing can be smuggled
    for secret in (good.token, good.secret_link, good.session_token):
        assert secret is None or (secret.isascii() and secret.isprintable() and " " not in secret)
    for seconds in (good.connect_timeout, good.stall_timeout, good.finish_timeout, good.retry_budget):
        assert 0 < seconds <= 1_000_000
    assert good.chunk_size is None or good.chunk_size >= 1
    assert all(warning.isprintable() for warning in good.warnings)
    assert (good.verify_tls is False) == any("verify_tls is off" in warning for warning in good.warnings)
    assert copy.deepcopy(good) is good
    assert not any(len(secret) > 9 and secret in repr(good) for secret in (good.token, good.session_token or ""))
    forms = forms_of_settings(good)
    assert good.token in forms
    assert set(forms_for_reading(good)) <= {*forms, good.token}
    assert "" not in forms


@pytest.mark.parametrize("name", ["verify_tls", "chunk_size", "stall_timeout", "allow_http"])
@pytest.mark.parametrize(
    "value",
    [TOKEN * 2, [TOKEN], {TOKEN: TOKEN}, -(10**5000), json.loads("[" * 900 + "]" * 900)],
    ids=["text", "list", "dict", "huge", "deep"],
)
def test_value_that_may_be_a_secret_in_the_wrong_field_is_not_quoted(name: str, value: Any) -> None:
    error = raised(lambda: Settings.from_fields(URL, "t", {name: value}))
    assert isinstance(error, ConfigurationError)
    assert name in str(error)


def test_short_value_in_the_wrong_field_is_quoted() -> None:
    error = raised(lambda: Settings.from_fields(URL, "t", {"chunk_size": "5 MiB"}))
    assert "not '5 MiB'" in str(error)


# ---- what a DAG or the database holds


@LIMITS
@given(WANTED)
def test_wanted_survives_the_database(wanted: Wanted) -> None:
    assert Wanted.from_dict(json.loads(json.dumps(wanted.as_dict()))) == wanted


ISO = st.from_regex(r"[0-9]{0,4}-?[0-9]{0,2}-?[0-9]{0,2}([T ][0-9:.,]{0,12}([-+Zz][0-9:]{0,8})?)?", fullmatch=True)
MOMENTS = st.datetimes(timezones=st.none() | st.just(UTC))


@LIMITS
@given(ISO | TEXT | MOMENTS.map(str) | MOMENTS.map(datetime.isoformat))
def test_moment_has_a_zone_or_is_refused(text: str) -> None:
    moments: list[datetime] = []
    error = raised(lambda: moments.append(parse_time(text)))
    assert bool(error) != bool(moments)
    assert all(moment.tzinfo is not None and parse_time(moment.isoformat()) == moment for moment in moments)


@LIMITS
@given(ISO | TEXT | MOMENTS | st.timedeltas() | st.just("any") | JSON)
@example(timedelta.max)
@example(timedelta(days=800_000))
@example(timedelta.min)
def test_since_is_a_moment_with_a_zone_or_refused(since: Any) -> None:
    found: list[datetime | None] = []
    error = raised(lambda: found.append(since_moment(since, started=datetime(2026, 1, 1, tzinfo=UTC))))
    assert bool(error) != bool(found)
    if found and found[0] is None:
        assert since.strip() == "any"
    elif found:
        assert found[0].tzinfo is not None


@LIMITS
@given(JSON, JSON)
def test_expected_table_is_counted_or_refused(rows: Any, columns: Any) -> None:
    made: list[Expected] = []
    raised(lambda: made.append(Expected.parse(rows, columns)))
    for count in (count for each in made for count in (each.rows, each.columns)):
        assert count is None or (isinstance(count, int) and count >= 0)


@LIMITS
@given(st.dictionaries(st.sampled_from(["kind", "message", "code", "status"]), JSON))
def test_any_event_gives_an_error_of_ours(event: dict[str, Any]) -> None:
    assert isinstance(error_from_dict(event), WorkbenchError)


PARTS = st.fixed_dictionaries(
    {
        "host": st.none() | CREATE_FILE_URLS,
        "port": st.none() | st.integers(0, 70000),
        "schema": st.none() | TEXT | st.just("api/v1/workflows/7/steps/step-a/files"),
        "password": st.none() | TEXT | st.just(TOKEN),
        "extra": st.none() | TEXT | JSON.map(json.dumps) | EXTRAS.map(json.dumps),
    }
)


@LIMITS
@given(PARTS)
def test_airflows_connection_gives_settings_or_an_error_of_ours(parts: dict[str, Any]) -> None:
    from airflow_provider_workbench.hooks.workbench import WorkbenchHook

    raised(lambda: WorkbenchHook()._read(SimpleNamespace(**parts)))  # type: ignore[arg-type]


def test_extra_of_a_hundred_thousand_brackets_is_an_error_of_ours() -> None:
    from airflow_provider_workbench.hooks.workbench import WorkbenchHook

    parts = {"host": URL, "port": None, "schema": None, "password": TOKEN, "extra": "[" * 100_000}
    assert raised(lambda: WorkbenchHook()._read(SimpleNamespace(**parts)))  # type: ignore[arg-type]


# ---- asset URIs

ASSETS = st.one_of(
    TEXT,
    st.builds("workbench://{}{}".format, HOSTS, TEXT),
    st.builds(
        "{}://{}{}{}/workflows/{}/steps/{}".format,
        st.sampled_from(["workbench", "WORKBENCH", "https"]),
        st.sampled_from(["", "me@"]),
        HOSTS,
        st.sampled_from(["", ":443", ":1", ":99999", ":x"]),
        DIGITS | st.just(LINK),
        st.sampled_from(["step-a", "step-a/", "", "a?b", "a#b"]) | TEXT,
    ),
)


@LIMITS
@given(ASSETS)
def test_asset_has_one_address_or_is_refused_unquoted(text: str) -> None:
    from airflow_provider_workbench.assets.workbench import openlineage_name, sanitize_uri

    try:
        clean = sanitize_uri(urlsplit(text))
    except ValueError as error:
        assert LINK not in str(error)
        return
    uri = clean.geturl()
    assert uri.isascii()
    assert sanitize_uri(urlsplit(uri)) == clean
    assert LINK not in uri
    assert "@" not in uri
    namespace, name = openlineage_name(uri)
    assert f"{namespace}/{name}" == uri


@LIMITS
@example("straße.example", "")
@example("ß", ":8443")
@given(HOSTS, st.sampled_from(["", ":443", ":1", ":8443"]))
def test_every_create_file_url_has_an_asset(host: str, port: str) -> None:
    from airflow_provider_workbench.assets.workbench import sanitize_uri, uri_of

    endpoints: list[Endpoint] = []
    raised(lambda: endpoints.append(Endpoint.parse(f"https://{host}{port}/api/v1/workflows/7/steps/step-a/files")))
    for endpoint in endpoints:
        assert urlsplit(uri_of(endpoint)) == sanitize_uri(urlsplit(uri_of(endpoint)))
