"""``WorkbenchFileSensor`` against the sandbox: what it waits for, and what it says."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from airflow.providers.common.compat.sdk import (
    AirflowException,
    AirflowSensorTimeout,
    AirflowSkipException,
    AirflowTaskTimeout,
    TaskDeferred,
)

from airflow_provider_workbench.client.errors import FileSupersededError, WorkbenchError
from airflow_provider_workbench.hooks.task_state import FIRST_START_KEY
from airflow_provider_workbench.hooks.workbench import WorkbenchFatalError, WorkbenchHook
from airflow_provider_workbench.sensors.workbench import WorkbenchFileSensor

LATER = timedelta(hours=1)


@pytest.fixture
def context():
    ti = SimpleNamespace(start_date=datetime.now(UTC), try_number=1, max_tries=0, xcom_push=lambda **_: None)
    return {"ti": ti}


@pytest.fixture(autouse=True)
def hurry(monkeypatch):
    monkeypatch.setattr("airflow_provider_workbench.client.steps.SECOND_LOOK", (0.05, 0.1))


class Store:
    """The task state store's interface; the real one lives only inside a supervised task."""

    def __init__(self):
        self.values = {}

    def get(self, key, default=None):
        return self.values.get(key, default)

    def set(self, key, value, *, retention=None):
        self.values[key] = value


@pytest.fixture
def upload(monkeypatch, workbench_sandbox):
    """Upload to the public Step; returns the operator's output."""
    monkeypatch.setenv("AIRFLOW_CONN_WORKBENCH_DEFAULT", workbench_sandbox.step.connection_json())

    def upload(name="sales.csv", content=b"city,sold\nBergen,1\nLima,2\n", **kwargs):
        return WorkbenchHook().upload_file(content, filename=name, **kwargs).as_dict()

    return upload


def sensor(**kwargs):
    kwargs = {"poke_interval": 0.1, "timeout": 20, **kwargs}
    return WorkbenchFileSensor(task_id="wait", **kwargs)


def page_requests(sandbox):
    return [seen for seen in sandbox.requests if seen.method == "GET" and seen.host == "frontend"]


class TestUntil:
    @pytest.mark.parametrize("until", ["listed", "selected"])
    def test_listed_and_selected_are_true_at_once(self, upload, context, workbench_sandbox, until):
        workbench_sandbox.render_delay = 60
        file = sensor(upload=upload(), until=until).execute(context)
        listed = workbench_sandbox.step.files[0]
        assert file == {
            "uuid": listed.uuid,
            "name": "sales.csv",
            "size": 26,
            "created_at": file["created_at"],
            "n_rows": None,
            "n_columns": None,
        }

    def test_rendered_waits_for_the_table_of_this_file(self, upload, context, workbench_sandbox):
        first = upload("first.csv", b"a\n1\n")
        sensor(upload=first, until="rendered").execute(context)
        workbench_sandbox.render_delay = 1
        file = sensor(upload=upload(), until="rendered").execute(context)
        assert (file["n_rows"], file["n_columns"]) == (2, 2)

    def test_an_empty_file_is_rendered_as_nothing(self, upload, context):
        file = sensor(upload=upload("empty.csv", b""), until="rendered").execute(context)
        assert (file["n_rows"], file["n_columns"]) == (0, 0)

    def test_a_render_error_fails_in_workbenchs_words(self, upload, context, workbench_sandbox):
        workbench_sandbox.render_error = "Row 3 has too many cells"
        with pytest.raises(WorkbenchFatalError, match="Row 3 has too many cells") as caught:
            sensor(upload=upload(), until="rendered").execute(context)
        assert caught.value.kind == "RenderError"

    def test_a_file_that_no_step_reads_is_a_render_error(self, upload, context):
        with pytest.raises(WorkbenchFatalError, match="could not render"):
            sensor(upload=upload("data.parquet"), until="rendered").execute(context)


class TestOurs:
    def test_an_older_file_of_the_same_name_and_size_is_not_ours(self, upload, context, workbench_sandbox):
        upload()
        later = {**upload("other.csv"), "filename": "sales.csv"}
        later["not_before"] = (datetime.now(UTC) + LATER).isoformat()
        with pytest.raises(AirflowSensorTimeout):
            sensor(upload=later, until="listed", timeout=0.3).execute(context)

    def test_a_uuid_decides_between_twins(self, upload, context):
        first = upload(read_step=True)
        upload()
        assert sensor(upload=first, until="listed").execute(context)["uuid"] == first["uuid"]

    def test_a_file_that_anybody_uploads_by_pattern(self, upload, context):
        upload("budget-2026.csv", b"a\n1\n")
        upload("notes.txt", b"hello\n")
        file = sensor(filename="budget-*.csv", since=timedelta(minutes=1), until="listed").execute(context)
        assert file["name"] == "budget-2026.csv"

    @pytest.mark.parametrize(
        "since",
        ["any", timedelta(minutes=1), datetime.now(UTC) - LATER, "2026-01-01", "2026-01-01T00:00:00Z"],
        ids=["any", "timedelta", "datetime", "date", "moment"],
    )
    def test_since_lets_in_what_is_not_older(self, upload, context, since):
        upload("a.csv", b"a\n1\n")
        assert sensor(filename="a.csv", since=since).execute(context)["name"] == "a.csv"

    @pytest.mark.parametrize("since", [datetime.now(UTC) + LATER, (datetime.now(UTC) + LATER).isoformat()], ids=type)
    def test_since_keeps_out_what_is_older(self, upload, context, since):
        upload("a.csv", b"a\n1\n")
        with pytest.raises(AirflowSensorTimeout):
            sensor(filename="a.csv", since=since, timeout=0.3).execute(context)

    def test_a_span_counts_from_the_first_start_of_all_tries(self, upload, context):
        """A File that came before a retry began is as good as before the retry."""
        ti, store = context["ti"], Store()
        context["task_state_store"] = store
        missing = sensor(filename="a.csv", since=timedelta(minutes=1), timeout=0.3)
        with pytest.raises(AirflowSensorTimeout):
            missing.execute(context)
        json.dumps(store.values)
        upload("a.csv", b"a\n1\n")
        ti.try_number, ti.start_date = 2, ti.start_date + LATER
        assert missing.execute(context)["name"] == "a.csv"

    def test_a_span_counts_anew_after_a_clear_and_where_nothing_is_kept(self, upload, context):
        ti, store = context["ti"], Store()
        waiting = sensor(filename="a.csv", since=timedelta(minutes=1), timeout=0.3)
        upload("a.csv", b"a\n1\n")
        context["task_state_store"] = store
        waiting.execute(context)
        ti.try_number, ti.max_tries, ti.start_date = 2, 1, ti.start_date + LATER
        with pytest.raises(AirflowSensorTimeout):
            waiting.execute(context)
        del context["task_state_store"]
        ti.max_tries = 0
        with pytest.raises(AirflowSensorTimeout):
            waiting.execute(context)

    @pytest.mark.parametrize("kept", [5, {}, {"max_tries": 0}, {"max_tries": 0, "at": 5}, {"max_tries": 0, "at": "x"}])
    def test_what_somebody_else_put_into_the_store_is_no_start(self, upload, context, kept):
        upload("a.csv", b"a\n1\n")
        context["task_state_store"] = store = Store()
        store.values[FIRST_START_KEY] = kept
        assert sensor(filename="a.csv", since=timedelta(minutes=1)).execute(context)["name"] == "a.csv"
        assert store.values[FIRST_START_KEY]["at"] == context["ti"].start_date.isoformat()

    @pytest.mark.parametrize("size", [4, "4"])
    def test_size_must_fit(self, upload, context, size):
        upload("a.csv", b"a\n1\n")
        assert sensor(filename="a.csv", since="any", size=size).execute(context)["size"] == 4
        with pytest.raises(AirflowSensorTimeout):
            sensor(filename="a.csv", since="any", size=5, timeout=0.3).execute(context)


class TestSuperseded:
    @pytest.fixture
    def superseded(self, upload):
        first = upload("first.csv")
        upload("second.csv")
        return first

    def test_it_is_still_listed(self, superseded, context):
        assert sensor(upload=superseded, until="listed").execute(context)["name"] == "first.csv"

    @pytest.mark.parametrize("until", ["selected", "rendered"])
    def test_it_succeeds_with_a_warning_that_names_the_later_file(self, superseded, context, capsys, caplog, until):
        file = sensor(upload=superseded, until=until).execute(context)
        assert file["name"] == "first.csv"
        out, err = capsys.readouterr()
        assert "superseded: the Step uses 'second.csv'" in out + err + caplog.text

    def test_it_skips(self, superseded, context):
        with pytest.raises(AirflowSkipException, match=r"second\.csv"):
            sensor(upload=superseded, on_superseded="skip").execute(context)

    def test_it_fails(self, superseded, context):
        with pytest.raises(WorkbenchFatalError, match=r"second\.csv") as caught:
            sensor(upload=superseded, on_superseded="fail").execute(context)
        assert caught.value.kind == "FileSupersededError"

    def test_expected_counts_of_it_cannot_be_compared_and_the_warning_says_so(
        self, superseded, context, capsys, caplog
    ):
        sensor(upload=superseded, until="rendered", expected_rows=99).execute(context)
        out, err = capsys.readouterr()
        assert "could not be compared with what was expected" in out + err + caplog.text
        with pytest.raises(WorkbenchFatalError, match="could not be compared"):
            sensor(upload=superseded, until="rendered", expected_rows=2, on_superseded="fail").execute(context)

    def test_a_file_that_was_known_and_is_listed_no_more_is_gone_at_once(self, upload, context, workbench_sandbox):
        first = upload("first.csv", read_step=True)
        workbench_sandbox.step_file_limit = 1
        upload("second.csv")
        assert sensor(upload=first, until="listed").execute(context) is None
        with pytest.raises(WorkbenchFatalError, match="is gone"):
            sensor(upload=first, until="listed", on_superseded="fail").execute(context)

    def test_a_file_that_was_never_seen_is_not_gone(self, upload, context, workbench_sandbox):
        first = upload("first.csv")
        workbench_sandbox.step_file_limit = 1
        upload("second.csv")
        with pytest.raises(AirflowSensorTimeout):
            sensor(upload=first, until="listed", timeout=0.3).execute(context)

    def test_a_file_that_was_seen_and_is_listed_no_more_is_gone_at_once(self, upload, context, workbench_sandbox):
        """In poke mode; what the upload did not know, the first look found out."""
        workbench_sandbox.render_delay = 60
        waiting = sensor(upload=upload("first.csv"), until="rendered", on_superseded="fail")
        assert waiting.poke(context) is False
        workbench_sandbox.step_file_limit = 1
        upload("second.csv")
        with pytest.raises(FileSupersededError, match="is gone"):
            waiting.poke(context)

    def test_a_file_that_thirty_later_ones_pushed_out(self, upload, context):
        first = upload("first.csv")
        for number in range(30):
            upload(f"{number}.csv", b"a\n1\n")
        assert sensor(upload=first, until="listed").execute(context) is None
        with pytest.raises(WorkbenchFatalError, match="was dropped"):
            sensor(upload=first, until="listed", on_superseded="fail").execute(context)


class TestExpected:
    @pytest.mark.parametrize("expected", [{"expected_rows": 2, "expected_columns": "2"}, {"expected_columns": 2}])
    def test_the_table_is_as_expected(self, upload, context, expected):
        assert sensor(upload=upload(), until="rendered", **expected).execute(context)["n_rows"] == 2

    @pytest.mark.parametrize("soft_fail", [False, True])
    def test_a_difference_fails_the_task_and_names_both_sides(self, upload, context, soft_fail):
        waiting = sensor(upload=upload(), until="rendered", expected_rows=3, expected_columns=2, soft_fail=soft_fail)
        with pytest.raises(
            WorkbenchFatalError, match="expected 3 rows and 2 columns, Workbench rendered 2 rows and 2 columns"
        ) as caught:
            waiting.execute(context)
        assert caught.value.kind == "UnexpectedTableError"

    def test_of_a_file_that_anybody_uploads(self, upload, context):
        upload("budget.csv")
        with pytest.raises(WorkbenchFatalError, match="expected 1 row, Workbench"):
            sensor(filename="b*.csv", since="any", until="rendered", expected_rows=1).execute(context)

    def test_it_is_compared_after_the_triggerer_too(self, upload, context):
        file = {**sensor(upload=upload(), until="rendered").execute(context), "n_rows": 998}
        event = {"state": "seen", "file": file, "message": "rendered."}
        with pytest.raises(WorkbenchFatalError, match="expected 1,000 rows, Workbench rendered 998 rows"):
            sensor(upload=upload(), until="rendered", expected_rows=1000).execute_complete(context, event)


class TestTimeout:
    def test_it_fails_and_what_was_seen_last_is_in_the_log(self, upload, context, workbench_sandbox, capsys, caplog):
        workbench_sandbox.render_delay = 60
        with pytest.raises(AirflowSensorTimeout):
            sensor(upload=upload(), until="rendered", timeout=0.3).execute(context)
        out, err = capsys.readouterr()
        assert "is rendering it" in out + err + caplog.text

    def test_soft_fail_makes_a_skip_of_it(self, upload, context):
        with pytest.raises(AirflowSkipException):
            sensor(filename="no.csv", since="any", timeout=0.3, soft_fail=True).execute(context)

    def test_soft_fail_does_not_make_a_skip_of_an_error(self, upload, context, workbench_sandbox):
        workbench_sandbox.render_error = "bad"
        with pytest.raises(WorkbenchFatalError):
            sensor(upload=upload(), until="rendered", soft_fail=True).execute(context)
        workbench_sandbox.step.delete()
        with pytest.raises(WorkbenchFatalError, match="has no Step"):
            sensor(filename="a.csv", since="any", soft_fail=True).execute(context)

    def test_soft_fail_does_not_make_a_skip_of_a_bad_connection(self, monkeypatch, context):
        monkeypatch.setenv("AIRFLOW_CONN_WORKBENCH_DEFAULT", "workbench://:token@app.example/workflows/1/")
        with pytest.raises(WorkbenchFatalError, match="not the Create-file URL"):
            sensor(filename="a.csv", since="any", soft_fail=True).execute(context)

    def test_soft_fail_does_not_make_a_skip_of_a_connection_that_breaks_meanwhile(
        self, monkeypatch, upload, context, workbench_sandbox
    ):
        waiting = sensor(filename="no.csv", since="any", soft_fail=True)

        def pause(*_):
            monkeypatch.setenv("AIRFLOW_CONN_WORKBENCH_DEFAULT", "workbench://:token@app.example/workflows/1/")
            return 0.01

        upload()
        monkeypatch.setattr(waiting, "_get_next_poke_interval", pause)
        with pytest.raises(WorkbenchFatalError, match="not the Create-file URL") as caught:
            waiting.execute(context)
        assert caught.value.kind == "ConfigurationError"

    def test_a_connection_that_is_changed_meanwhile_counts(self, monkeypatch, upload, context, workbench_sandbox):
        waiting = sensor(filename="a.csv", since="any")
        monkeypatch.setenv("AIRFLOW_CONN_WORKBENCH_DEFAULT", workbench_sandbox.step.connection_json())
        assert waiting.poke(context) is False
        step = workbench_sandbox.secret_step
        text = step.connection_json(secret_link=step.secret_link_url)
        monkeypatch.setenv("AIRFLOW_CONN_WORKBENCH_DEFAULT", text)
        WorkbenchHook().upload_file(b"a\n1\n", filename="a.csv")
        assert waiting.poke(context).xcom_value["name"] == "a.csv"

    def test_never_fail_makes_a_skip_of_everything(self, upload, context, workbench_sandbox):
        uploaded = upload()
        workbench_sandbox.step.delete()
        for deferrable in (False, True):
            with pytest.raises(AirflowSkipException):
                sensor(upload=uploaded, never_fail=True, deferrable=deferrable).execute(context)


class TestReading:
    def test_a_private_workflow_is_refused_naming_the_secret_link(self, monkeypatch, context, workbench_sandbox):
        step = workbench_sandbox.private_step
        monkeypatch.setenv("AIRFLOW_CONN_WORKBENCH_DEFAULT", step.connection_json())
        with pytest.raises(WorkbenchFatalError, match="secret_link"):
            sensor(filename="a.csv", since="any").execute(context)

    @pytest.mark.parametrize("deferrable", [False, True])
    def test_a_page_that_is_closed_for_a_moment_does_not_end_the_wait(
        self, monkeypatch, upload, context, workbench_sandbox, deferrable
    ):
        uploaded = upload()
        workbench_sandbox.workflow.public = False

        def sleep(seconds, is_stopped):
            workbench_sandbox.workflow.public = True

        monkeypatch.setattr("airflow_provider_workbench.hooks.waiting._sleep", sleep)
        assert sensor(upload=uploaded, deferrable=deferrable).execute(context)["name"] == "sales.csv"

    def test_a_secret_link_opens_it(self, monkeypatch, context, workbench_sandbox):
        step = workbench_sandbox.secret_step
        text = step.connection_json(secret_link=step.secret_link_url)
        monkeypatch.setenv("AIRFLOW_CONN_WORKBENCH_DEFAULT", text)
        uploaded = WorkbenchHook().upload_file(b"a\n1\n", filename="a.csv").as_dict()
        assert sensor(upload=uploaded).execute(context)["name"] == "a.csv"

    def test_an_unreachable_workbench_is_waited_for(self, monkeypatch, context):
        monkeypatch.setenv(
            "AIRFLOW_CONN_WORKBENCH_DEFAULT",
            "workbench://:token@127.0.0.1:1/api/v1/workflows/1/steps/step-x/files",
        )
        with pytest.raises(AirflowSensorTimeout):
            sensor(filename="a.csv", since="any", timeout=0.3).execute(context)


BAD = {
    "unknown until": ({"filename": "a", "since": "any", "until": "done"}, "until must be one of listed, selected"),
    "unknown on_superseded": ({"filename": "a", "since": "any", "on_superseded": "cry"}, "on_superseded must be"),
    "neither": ({}, "Give upload .* or filename"),
    "both": ({"filename": "a", "since": "any", "upload": {}}, "Give either upload"),
    "no since": ({"filename": "a"}, "since is required"),
    "empty since": ({"filename": "a", "since": " "}, "since is required"),
    "since in words": ({"filename": "a", "since": "yesterday"}, "no moment in ISO 8601"),
    "a blank filename": ({"filename": " ", "since": "any"}, "filename is blank"),
    "a mapped operator's output": ({"upload": [{}]}, "expand the sensor too"),
    "something else's output": ({"upload": {"size": 1}}, "must be the output of one WorkbenchUploadOperator"),
    "expected_rows in words": ({"filename": "a", "since": "any", "expected_rows": "many"}, "expected_rows must be"),
    "expected_columns before rendered": ({"filename": "a", "since": "any", "expected_columns": 3}, 'need until="ren'),
    "a size in words": ({"filename": "a", "since": "any", "size": "big"}, "whole number of bytes"),
}


@pytest.mark.parametrize("deferrable", [False, True], ids=["poke", "deferrable"])
@pytest.mark.parametrize(("kwargs", "says"), BAD.values(), ids=BAD)
def test_bad_parameters_are_refused_before_a_request(upload, context, workbench_sandbox, kwargs, says, deferrable):
    with pytest.raises(WorkbenchFatalError, match=says):
        sensor(**kwargs, deferrable=deferrable).execute(context)
    assert workbench_sandbox.requests == []


def test_an_upload_to_another_step_is_refused(upload, context, workbench_sandbox):
    uploaded = upload()
    uploaded["step_slug"] = "step-other"
    with pytest.raises(
        WorkbenchFatalError, match="The File went to step-other of .*Wait with the connection that uploaded it"
    ):
        sensor(upload=uploaded).execute(context)
    assert page_requests(workbench_sandbox) == []


class TestDeferrable:
    def test_what_is_there_already_needs_no_triggerer(self, upload, context):
        assert sensor(upload=upload(), deferrable=True).execute(context)["name"] == "sales.csv"

    def test_it_looks_once_and_defers_with_no_secret(self, upload, context, workbench_sandbox):
        uploaded = upload()
        workbench_sandbox.render_delay = 60
        before = len(page_requests(workbench_sandbox))
        with pytest.raises(TaskDeferred) as caught:
            sensor(upload=upload(), until="rendered", deferrable=True, timeout=100).execute(context)
        assert len(page_requests(workbench_sandbox)) - before == 1
        assert caught.value.method_name == "execute_complete"
        assert caught.value.timeout > timedelta(seconds=100)
        _, kwargs = caught.value.trigger.serialize()
        assert kwargs["workbench_conn_id"] == "workbench_default"
        assert workbench_sandbox.step.api_token not in repr(kwargs)
        assert uploaded["filename"] in repr(kwargs)

    def test_the_event_becomes_the_result(self, upload, context):
        uploaded = upload()
        file = sensor(upload=uploaded, until="listed").execute(context)
        event = {"state": "seen", "file": file, "message": "there"}
        assert sensor(upload=uploaded, deferrable=True).execute_complete(context, event) == file

    def test_the_file_is_known_by_its_uuid_once_it_was_seen(self, upload, context, workbench_sandbox):
        workbench_sandbox.render_delay = 60
        uploaded = upload()
        with pytest.raises(TaskDeferred) as caught:
            sensor(upload=uploaded, until="rendered", deferrable=True).execute(context)
        (file,) = workbench_sandbox.step.files
        assert caught.value.trigger.serialize()[1]["wanted"]["uuid"] == file.uuid

    def test_execution_timeout_ends_the_waiting_too(self, upload, context, workbench_sandbox):
        workbench_sandbox.render_delay = 60
        limited = {"upload": upload(), "until": "rendered", "deferrable": True, "timeout": 1000}
        with pytest.raises(TaskDeferred) as caught:
            sensor(**limited, execution_timeout=timedelta(seconds=30)).execute(context)
        deadline = datetime.fromisoformat(caught.value.trigger.serialize()[1]["deadline"])
        assert deadline == context["ti"].start_date + timedelta(seconds=30)
        event = {"state": "timeout", "message": "rendering"}
        with pytest.raises(AirflowSensorTimeout, match="within 1000 s"):
            sensor(**limited, execution_timeout=timedelta(seconds=2000)).execute_complete(context, event)
        # the first is not over by the start that a task knows which Airflow 3.1 has resumed
        for limit in (timedelta(seconds=30), timedelta(microseconds=1)):
            with pytest.raises(AirflowTaskTimeout, match="execution_timeout"):
                sensor(**limited, execution_timeout=limit).execute_complete(context, event)

    def test_a_timeout_event_is_a_timeout_and_with_soft_fail_a_skip(self, upload, context, workbench_sandbox):
        workbench_sandbox.render_delay = 60
        waited_for = {"upload": upload(), "until": "rendered"}
        with pytest.raises(AirflowSensorTimeout, match="is rendering it"):
            sensor(**waited_for).execute_complete(context, self.TIMEOUT)
        with pytest.raises(AirflowSkipException, match="is rendering it"):
            sensor(**waited_for, soft_fail=True).execute_complete(context, self.TIMEOUT)

    @pytest.mark.parametrize("soft_fail", [False, True])
    def test_an_error_event_keeps_its_kind(self, context, soft_fail):
        fatal = {"state": "error", "kind": "StepGoneError", "message": "gone", "code": None, "status": 404}
        with pytest.raises(WorkbenchFatalError, match="gone") as caught:
            sensor(soft_fail=soft_fail).execute_complete(context, fatal)
        assert (caught.value.kind, caught.value.status) == ("StepGoneError", 404)
        passing = {"state": "error", "kind": "ServerError", "message": "busy", "code": None, "status": 503}
        with pytest.raises(WorkbenchError, match="busy") as caught:
            sensor(soft_fail=soft_fail).execute_complete(context, passing)
        assert caught.value.retryable
        assert not isinstance(caught.value, WorkbenchFatalError)

    def test_superseded_and_render_errors_come_through_events(self, upload, context):
        uploaded = upload()
        file = sensor(upload=uploaded, until="listed").execute(context)
        event = {"state": "superseded", "file": file, "message": "a later one"}
        with pytest.raises(AirflowSkipException, match="a later one"):
            sensor(upload=uploaded, on_superseded="skip").execute_complete(context, event)
        event = {"state": "render-error", "file": file, "message": "bad row"}
        with pytest.raises(WorkbenchFatalError, match="bad row"):
            sensor(upload=uploaded).execute_complete(context, event)

    TIMEOUT = {"state": "timeout", "message": "The Step does not use it yet."}  # noqa: RUF012

    def test_a_file_that_the_page_shows_at_the_deadline_is_no_timeout(self, upload, context):
        uploaded = upload(read_step=True)
        assert sensor(upload=uploaded).execute_complete(context, self.TIMEOUT)["uuid"] == uploaded["uuid"]

    def test_a_page_that_cannot_be_read_at_the_deadline_is_a_timeout(self, upload, context, workbench_sandbox):
        uploaded = upload()
        workbench_sandbox.frontend_down = True
        with pytest.raises(AirflowSensorTimeout, match="Last seen"):
            sensor(upload=uploaded).execute_complete(context, self.TIMEOUT)

    def test_a_name_with_brackets_is_that_name(self, upload, context):
        upload("report [1].csv")
        found = sensor(filename="report [1].csv", since="any").execute(context)
        assert found["name"] == "report [1].csv"


class TestResumed:
    """As Airflow's task runner calls it, whose own soft_fail makes a skip of every Airflow error."""

    @pytest.fixture
    def resume(self, upload, context, workbench_sandbox):
        workbench_sandbox.render_delay = 60
        uploaded = upload()

        def resume(event, next_method="execute_complete", **kwargs):
            waiting = sensor(upload=uploaded, until="rendered", deferrable=True, **kwargs)
            kwargs = {"event": event} if next_method == "execute_complete" else event
            return waiting.resume_execution(next_method, kwargs, context)

        return resume

    ERROR = {"state": "error", "kind": "StepGoneError", "message": "gone", "code": None, "status": 404}  # noqa: RUF012

    def test_soft_fail_makes_a_skip_of_the_timeout_only(self, resume):
        with pytest.raises(AirflowSkipException, match="is rendering it"):
            resume({"state": "timeout", "message": "busy"}, soft_fail=True)
        with pytest.raises(WorkbenchFatalError, match="gone"):
            resume(self.ERROR, soft_fail=True)
        with pytest.raises(AirflowSkipException, match="gone"):
            resume(self.ERROR, never_fail=True)

    def test_a_triggerer_that_is_down_is_a_timeout(self, resume):
        with pytest.raises(AirflowSkipException):
            resume({"error": "Trigger timeout"}, "__fail__", soft_fail=True)

    def test_a_triggerer_that_cannot_run_the_trigger_is_no_timeout(self, resume):
        failure = {"error": "Trigger failure", "traceback": ["ModuleNotFoundError\n"]}
        with pytest.raises(AirflowException, match="Trigger failure") as caught:
            resume(failure, "__fail__", soft_fail=True)
        assert not isinstance(caught.value, AirflowSkipException)


@pytest.mark.airflow
def test_in_a_dag_soft_fail_does_not_make_a_skip_of_an_error(run_dag, upload, workbench_sandbox):
    from airflow.providers.common.compat.sdk import dag

    workbench_sandbox.render_delay = 4  # long enough for the sensor to defer
    uploaded = upload()
    workbench_sandbox.render_error = "Row 3 has too many cells"

    @dag(schedule=None, start_date=datetime(2026, 1, 1))
    def waits_softly():
        sensor(upload=uploaded, until="rendered", soft_fail=True, deferrable=True)

    run = run_dag(waits_softly())
    assert (run.state, run.states["wait"]) == ("failed", "failed"), run.log
    assert "Row 3 has too many cells" in run.log
