from __future__ import annotations

import copy
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from client_servers import Peer, Wire
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_workbench.client import errors
from airflow_provider_workbench.client.answers import Answer
from airflow_provider_workbench.client.session import Session
from airflow_provider_workbench.client.settings import Settings
from airflow_provider_workbench.client.steps import (
    ends_a_wait,
    init_state,
    missing_step,
    page_request,
    parse_step,
    pause_before_next_look,
    read_step,
    redirect_within,
    step_of_page,
)
from airflow_provider_workbench.client.upload import upload_file
from airflow_provider_workbench.sandbox import Sandbox

LINK = "wSecret123abcDEF456ghi"
HTML = {"content-type": "text/html; charset=utf-8"}


def settings_for(slug: str, **extra: Any) -> Settings:
    return Settings.from_fields(f"https://app.workbench.example/api/v1/workflows/2/steps/{slug}/files", "t", extra)


def page_of(state: Any) -> Answer:
    text = json.dumps(state).replace("<", "\\u003c").replace("&", "\\u0026")
    return Answer(200, {}, f"<html><script>\nwindow.initState = {text}\n</script></html>".encode())


# ---- recorded pages and messages


def test_recorded_page_before_an_upload(recorded: Callable[[str], Any]) -> None:
    step = step_of_page(page_of(recorded("page_init_state")["secret-before"]), settings_for("step-secUp_-01"))
    assert (step.files, step.selected_uuid, step.selected) == ((), None, None)
    assert step.rendered
    assert (step.output_status, step.n_rows, step.n_columns) == ("unreachable", 0, 0)


def test_recorded_page_right_after_an_upload_is_not_rendered_yet(recorded: Callable[[str], Any]) -> None:
    state = recorded("page_init_state")["secret-after-immediately"]
    step = step_of_page(page_of(state), settings_for("step-secUp_-01"))
    (file,) = step.files
    assert step.selected == file
    assert file.uuid == "099508e4-c161-49cb-afa7-360b68308e5a"
    assert file.created_at.tzinfo is not None
    # what the page has as output belongs to the previous File
    assert not step.rendered
    assert (step.output_status, step.output_errors, step.n_rows) == ("busy", (), 0)


def test_recorded_page_after_the_render_has_rows_and_columns(recorded: Callable[[str], Any]) -> None:
    step = step_of_page(page_of(recorded("page_init_state")["secret-after"]), settings_for("step-secUp_-01"))
    assert step.rendered
    assert (step.output_status, step.n_rows, step.n_columns) == ("ok", 2, 2)


def test_recorded_websocket_states_are_steps_and_partial_pushes_are_not(recorded: Callable[[str], Any]) -> None:
    complete = partial = 0
    for messages in recorded("websocket_messages").values():
        for message in messages:
            for data in message["data"].get("updateSteps", {}).values():
                if "files" in data:
                    step = parse_step(data)
                    assert step.slug == data["slug"]
                    assert [file.uuid for file in step.files] == [item["uuid"] for item in data["files"]]
                    complete += 1
                else:
                    with pytest.raises(errors.UnexpectedAnswerError):
                        parse_step(data)
                    partial += 1
    assert complete > 10
    assert partial >= 3


def test_step_that_was_never_rendered_is_not_rendered(recorded: Callable[[str], Any]) -> None:
    data = copy.deepcopy(recorded("page_init_state")["secret-after"]["steps"]["4"])
    data["cached_render_result_delta_id"] = data["last_relevant_delta_id"] = None
    assert not parse_step(data).rendered


def test_file_time_without_a_zone_is_utc(recorded: Callable[[str], Any]) -> None:
    data = copy.deepcopy(recorded("page_init_state")["secret-after"]["steps"]["4"])
    data["files"][0]["createdAt"] = "2026-01-02T03:04:05"
    assert parse_step(data).files[0].created_at == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def test_render_errors_are_workbenchs_words(recorded: Callable[[str], Any]) -> None:
    data = copy.deepcopy(recorded("page_init_state")["secret-after"]["steps"]["4"])
    data.update(output_status="error", output_errors=[{"message": "Bad file", "quickFixes": []}, "plain"])
    assert parse_step(data).output_errors == ("Bad file", "plain")


# ---- hostile pages


def test_step_of_another_slug_is_gone(recorded: Callable[[str], Any]) -> None:
    with pytest.raises(errors.StepGoneError, match="has no Step step-other"):
        step_of_page(page_of(recorded("page_init_state")["secret-after"]), settings_for("step-other"))


@pytest.mark.parametrize("state", [{}, {"steps": None}, {"steps": []}, {"workflow": {}}])
def test_page_without_steps_says_nothing_of_the_step(state: Any) -> None:
    with pytest.raises(errors.UnexpectedAnswerError, match="no Workflow's") as caught:
        step_of_page(page_of(state), settings_for("step-a"))
    assert caught.value.retryable


@pytest.mark.parametrize("steps", [{}, {"1": None}, {"1": {"slug": 5}}])
def test_odd_steps_are_no_step(steps: Any) -> None:
    with pytest.raises(errors.StepGoneError):
        step_of_page(page_of({"steps": steps}), settings_for("step-a"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<html>log in</html>",
        "window.initState = [1]",
        "window.initState = {",
        "window.initState = " + "[" * 100_000,
    ],
)
def test_other_pages_are_no_workflows(text: str) -> None:
    assert init_state(text) is None
    with pytest.raises(errors.UnexpectedAnswerError, match="no Workflow's") as caught:
        step_of_page(Answer(200, {}, text.encode()), settings_for("step-a"))
    assert caught.value.__context__ is None


@given(st.text(max_size=50))
def test_any_page_gives_a_state_or_none(text: str) -> None:
    found = init_state("window.initState = " + text)
    assert found is None or isinstance(found, dict)


KEYS = (
    "slug",
    "params",
    "files",
    "output_status",
    "output_errors",
    "output_n_rows",
    "output_columns",
    "cached_render_result_delta_id",
)
JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["file", "uuid", "name", "size", "createdAt", "message"]), inner, max_size=4)
    ),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(KEYS), JUNK, max_size=4), st.sampled_from((None, *KEYS)))
def test_any_step_data_gives_a_step_or_our_error(changes: dict[str, Any], missing: str | None) -> None:
    data: dict[str, Any] = {
        "slug": "step-a",
        "params": {"file": None},
        "files": [{"uuid": "u", "name": "n", "size": 1, "createdAt": "2026-01-01T00:00:00Z"}],
        "output_status": "ok",
        "output_errors": [],
        "output_n_rows": 1,
        "output_columns": [{}],
        "cached_render_result_delta_id": 5,
        "last_relevant_delta_id": 5,
        **changes,
    }
    data.pop(missing, None)
    try:
        step = parse_step(data)
    except errors.UnexpectedAnswerError as error:
        assert error.__context__ is None
    else:
        assert isinstance(step.n_rows, int)
        assert all(file.created_at.tzinfo for file in step.files)


@pytest.mark.parametrize(
    ("status", "kind", "says"),
    [
        (500, errors.ServerError, "try again later"),
        (429, errors.ServerError, "try again later"),
        (404, errors.StepGoneError, "no such Workflow. It was deleted, or its secret link was reset"),
        (403, errors.StepUnreadableError, "it is private.*secret link"),
        (401, errors.StepUnreadableError, "it is private"),
        (302, errors.StepUnreadableError, "redirects the Workflow's page elsewhere"),
        (400, errors.UnexpectedAnswerError, "no Workbench does"),
        (405, errors.UnexpectedAnswerError, "no Workbench does"),
    ],
)
def test_other_answers_to_the_page(status: int, kind: type[errors.WorkbenchError], says: str) -> None:
    settings = settings_for("step-a", secret_link=LINK)
    with pytest.raises(kind, match=says) as caught:
        step_of_page(Answer(status, HTML, b""), settings)
    assert type(caught.value) is kind
    assert caught.value.status == status
    assert LINK not in str(caught.value)


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({}, b""),
        ({"content-type": "text/plain"}, b"default backend - 404"),
        ({"content-type": "application/json"}, b"{}"),
    ],
)
def test_404_that_is_no_page_is_not_workbenchs(headers: dict[str, str], body: bytes) -> None:
    with pytest.raises(errors.UnexpectedAnswerError, match="Look at the proxies") as caught:
        step_of_page(Answer(404, headers, body), settings_for("step-a"))
    assert caught.value.retryable


def test_404_without_its_type_is_known_by_its_body() -> None:
    with pytest.raises(errors.StepGoneError):
        step_of_page(Answer(404, {}, b"\n<!doctype html>"), settings_for("step-a"))


# ---- what an error means for who waits


def failure(status: int, **headers: str) -> errors.WorkbenchError:
    with pytest.raises(errors.WorkbenchError) as caught:
        step_of_page(Answer(status, {**HTML, **headers}, b""), settings_for("step-a"))
    return caught.value


@pytest.mark.parametrize("status", [404, 403, 401, 302])
def test_answer_that_would_end_a_wait_must_come_twice_with_a_jittered_pause(status: int) -> None:
    error = failure(status)
    assert not ends_a_wait(error, again=False)
    assert ends_a_wait(error, again=True)
    pauses = {pause_before_next_look(error) for _ in range(50)}
    assert all(10 <= pause <= 30 for pause in pauses)
    assert len(pauses) > 25


def test_workbenchs_own_word_ends_a_wait_at_once() -> None:
    assert ends_a_wait(missing_step(settings_for("step-a").endpoint), again=False)
    assert ends_a_wait(errors.ConfigurationError("no"), again=False)


def test_failed_handshake_must_come_twice_with_a_pause() -> None:
    error = errors.TlsError("no")
    assert not ends_a_wait(error, again=False)
    assert ends_a_wait(error, again=True)
    assert 10 <= pause_before_next_look(error) <= 30


@pytest.mark.parametrize("again", [False, True])
def test_what_may_pass_never_ends_a_wait(again: bool) -> None:
    assert not ends_a_wait(failure(503), again=again)
    assert not ends_a_wait(errors.ConnectError("no"), again=again)


@pytest.mark.parametrize(("asked", "pause"), [("7", 7), ("3600", 600), ("soon", 0)])
def test_retry_after_is_heeded_up_to_ten_minutes(asked: str, pause: float) -> None:
    assert pause_before_next_look(failure(503, **{"retry-after": asked})) == pause
    assert pause_before_next_look(failure(503)) == 0


def test_expired_cookie_is_named_in_the_error() -> None:
    with pytest.raises(errors.StepUnreadableError, match="session_token opens it no more"):
        step_of_page(Answer(403, {}, b""), settings_for("step-a", session_token="cook1e"))


# ---- what is asked for


def test_one_credential_is_enough() -> None:
    assert page_request(settings_for("step-a")) == ("https://app.workbench.example/workflows/2/", {})
    url = f"https://app.workbench.example/workflows/{LINK}/"
    assert page_request(settings_for("step-a", secret_link=LINK, session_token="c")) == (url, {})
    headers = page_request(settings_for("step-a", session_token="c"))[1]
    assert headers == {"Cookie": "sessionid=c"}


PAGE = f"https://app.workbench.example/workflows/{LINK}/"


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("/workflows/2/", "https://app.workbench.example/workflows/2/"),
        ("https://app.workbench.example/workflows/2/", "https://app.workbench.example/workflows/2/"),
        ("../2/", "https://app.workbench.example/workflows/2/"),
        ("http://app.workbench.example/workflows/2/", None),
        ("https://evil.example/workflows/2/", None),
        ("https://app.workbench.example:444/workflows/2/", None),
        ("//evil.example/workflows/2/", None),
        ("/login/?next=/workflows/2/", None),
        (PAGE, None),
        ("", None),
        ("https://[::1/workflows/2/", None),
        ("/workflows/\u00e9/", None),
    ],
)
def test_only_a_redirect_to_a_page_of_the_same_host_counts(location: str, target: str | None) -> None:
    assert redirect_within(Answer(302, {"location": location}, b""), PAGE) == target


def test_redirect_needs_its_status() -> None:
    assert redirect_within(Answer(200, {"location": "/workflows/2/"}, b""), PAGE) is None


@given(st.text(max_size=40), st.sampled_from(["", "/workflows/", "https://app.workbench.example/workflows/"]))
def test_any_location_stays_on_the_host(text: str, start: str) -> None:
    target = redirect_within(Answer(302, {"location": start + text}, b""), PAGE)
    assert target is None or target.startswith("https://app.workbench.example/workflows/")


# ---- against the sandbox


def read(settings: Settings) -> Any:
    with Session(settings) as session:
        return read_step(session, settings)


def test_public_step_is_read_with_its_file(wb: Sandbox, settings: Settings) -> None:
    result = upload_file(settings, b"A,B\n1,2\n3,4\n", filename="two.csv")
    wb.step.wait_until_rendered()
    step = read(settings)
    assert step.selected.name == result.filename == "two.csv"
    assert step.rendered
    assert (step.n_rows, step.n_columns) == (2, 2)
    assert json.loads(json.dumps(step.selected.as_dict()))["size"] == 12


def test_token_alone_does_not_read_a_private_step(wb: Sandbox) -> None:
    private = wb.private_step
    settings = Settings.from_fields(private.create_file_url, private.api_token or "")
    with pytest.raises(errors.StepUnreadableError):
        read(settings)
    assert wb.requests[-1].headers.get("authorization") is None


def test_cookie_reads_a_private_step(wb: Sandbox) -> None:
    private = wb.private_step
    extra = {"session_token": wb.session_cookie}
    assert read(Settings.from_fields(private.create_file_url, private.api_token or "", extra)).files == ()


def test_secret_link_reads_its_step(wb: Sandbox) -> None:
    secret = wb.secret_step
    settings = Settings.from_fields(
        secret.create_file_url, secret.api_token or "", {"secret_link": secret.secret_link_url}
    )
    assert read(settings).slug == secret.slug
    secret.workflow.reset_secret_link()
    with pytest.raises(errors.StepGoneError, match="secret link was reset"):
        read(settings)


def test_redirect_of_a_logged_in_owner_is_followed_with_the_cookie() -> None:
    def handler(peer: Peer) -> None:
        while head := peer.read_request()[0]:
            heads.append(head)
            if b"GET /workflows/7/ " in head:
                peer.answer("302 Found", b"", "Location: /workflows/8/")
            else:
                peer.answer("404 Not Found", b"<html>")

    heads: list[bytes] = []
    with Wire(handler) as server:
        settings = Settings.from_fields(server.create_file_url, "t", {"session_token": "cook1e"})
        with pytest.raises(errors.StepGoneError):
            read(settings)
        assert server.connections == 1
    assert [b"sessionid=cook1e" in head for head in heads] == [True, True]
    assert b"/workflows/8/" in heads[1]


def test_deleted_step_is_gone(wb: Sandbox, settings: Settings) -> None:
    wb.step.delete()
    with pytest.raises(errors.StepGoneError):
        read(settings)
