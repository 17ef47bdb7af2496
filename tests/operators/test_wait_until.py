"""``wait_until``: one task that uploads a File, and waits until the Step shows it."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from airflow.providers.common.compat.sdk import AirflowSkipException, AirflowTaskTimeout, TaskDeferred

from airflow_provider_workbench.client.errors import WaitingFailedError, WaitTimeoutError
from airflow_provider_workbench.hooks import kept_uploads
from airflow_provider_workbench.hooks.workbench import WorkbenchFatalError, WorkbenchHook
from airflow_provider_workbench.operators.workbench import WorkbenchUploadOperator

CONTENT = b"city,sold\nBergen,1\nLima,2\n"


class Store(dict):
    """The accessor's interface; the real one lives only inside a supervised task (see tests/standalone)."""

    def set(self, key, value, *, retention=None):
        self[key] = json.loads(json.dumps(value))

    def delete(self, key):
        self.pop(key, None)


class Context(dict):
    """Of one try of a task."""

    def __init__(self, store=None, try_number=1, max_tries=2, xcoms=None):
        self.xcoms = {} if xcoms is None else xcoms
        ti = SimpleNamespace(
            try_number=try_number,
            max_tries=max_tries,
            map_index=-1,
            start_date=datetime.now(UTC),
            xcom_push=lambda *, key, value: self.xcoms.update({key: json.loads(json.dumps(value))}),
            xcom_pull=lambda *, task_ids, key, map_indexes: self.xcoms.get(key),
        )
        super().__init__(ti=ti, task_state_store=store)


@pytest.fixture(autouse=True)
def hurry(monkeypatch):
    monkeypatch.setattr("airflow_provider_workbench.client.steps.SECOND_LOOK", (0.05, 0.1))


@pytest.fixture
def sales(tmp_path):
    path = tmp_path / "sales.csv"
    path.write_bytes(CONTENT)
    return path


@pytest.fixture
def operator(monkeypatch, workbench_sandbox, sales):
    monkeypatch.setenv("AIRFLOW_CONN_WORKBENCH_DEFAULT", workbench_sandbox.step.connection_json())

    def operator(**kwargs):
        kwargs = {"filepath": str(sales), "wait_until": "rendered", "poke_interval": 0.1, "wait_timeout": 20, **kwargs}
        return WorkbenchUploadOperator(task_id="upload", **{"deferrable": False, **kwargs})

    return operator


@pytest.fixture
def down_once_accepted(monkeypatch, workbench_sandbox):
    """The frontend is down from the moment in which the upload is accepted."""
    upload_file = WorkbenchHook.upload_file

    def accepted_and_down(*args, **kwargs):
        result = upload_file(*args, **kwargs)
        workbench_sandbox.frontend_down = True
        return result

    monkeypatch.setattr(WorkbenchHook, "upload_file", accepted_and_down)


def uploads(sandbox):
    return [seen for seen in sandbox.requests if seen.method == "POST"]


def deferred(an_operator, context):
    with pytest.raises(TaskDeferred) as caught:
        an_operator.execute(context)
    return caught.value


def timeout_event(message="not rendered"):
    return {"state": "timeout", "message": message}


class TestOnTheWorker:
    @pytest.mark.parametrize("until", ["listed", "selected"])
    def test_listed_and_selected_are_true_at_once(self, operator, workbench_sandbox, until):
        workbench_sandbox.render_delay = 60
        output = operator(wait_until=until).execute(Context())
        (file,) = workbench_sandbox.step.files
        assert output["uuid"] == output["file"]["uuid"] == file.uuid
        assert output["file"]["n_rows"] is None

    def test_rendered_waits_for_the_table_of_this_file(self, operator, workbench_sandbox):
        workbench_sandbox.render_delay = 1
        output = operator(expected_rows=2, expected_columns="2").execute(Context())
        (file,) = workbench_sandbox.step.files
        assert output["uuid"] == file.uuid
        assert output["file"] == {
            "uuid": file.uuid,
            "name": "sales.csv",
            "size": len(CONTENT),
            "created_at": output["file"]["created_at"],
            "n_rows": 2,
            "n_columns": 2,
        }
        text = json.dumps(output)
        assert workbench_sandbox.step.api_token not in text
        assert "/files/" not in text

    def test_without_it_the_output_and_the_requests_are_as_ever(self, operator, workbench_sandbox):
        output = operator(wait_until=None).execute(Context())
        assert output["uuid"] is None
        assert "file" not in output
        assert [seen.method for seen in workbench_sandbox.requests] == ["POST", "PATCH"]

    def test_of_twins_the_uuid_is_not_guessed(self, operator, workbench_sandbox):
        WorkbenchHook().upload_file(CONTENT, filename="sales.csv")  # within the two seconds of doubt about clocks
        output = operator(wait_until="listed").execute(Context())
        assert output["uuid"] is None
        assert output["file"]["name"] == "sales.csv"

    def test_a_page_that_cannot_be_read_for_a_while_is_waited_for(
        self, operator, workbench_sandbox, down_once_accepted
    ):
        def mend():
            while not workbench_sandbox.frontend_down:
                time.sleep(0.01)
            time.sleep(1.5)
            workbench_sandbox.frontend_down = False

        mending = threading.Thread(target=mend)
        mending.start()
        output = operator().execute(Context())
        mending.join()
        assert (output["file"]["n_rows"], output["uuid"]) == (2, output["file"]["uuid"])

    def test_a_frontend_that_is_down_at_first_is_waited_for(self, operator, workbench_sandbox):
        workbench_sandbox.frontend_down = True
        timer = threading.Timer(1.5, lambda: setattr(workbench_sandbox, "frontend_down", False))
        timer.start()
        assert operator().execute(Context())["file"]["n_rows"] == 2
        timer.join()

    def test_too_late_is_an_error_that_a_retry_can_mend(self, operator, workbench_sandbox):
        workbench_sandbox.render_delay = 60
        with pytest.raises(WaitTimeoutError, match=r"was not rendered within 0\.3 s \(wait_timeout\)") as caught:
            operator(wait_timeout=timedelta(seconds=0.3)).execute(Context())
        assert "is rendering it" in str(caught.value)
        assert not isinstance(caught.value, WorkbenchFatalError)
        assert len(workbench_sandbox.step.files) == 1

    def test_a_kill_ends_the_waiting(self, operator, workbench_sandbox):
        workbench_sandbox.render_delay = 60
        waiting = operator()

        def kill() -> None:
            # the upload's own look at the Step, and then another one
            while workbench_sandbox.step.files == [] or workbench_sandbox.requests[-1].method != "GET":
                time.sleep(0.05)
            time.sleep(1)
            waiting.on_kill()

        killing = threading.Thread(target=kill, daemon=True)
        killing.start()
        with pytest.raises(WaitingFailedError, match="stopped"):
            waiting.execute(Context(try_number=3))
        killing.join()
        assert len(workbench_sandbox.step.files) == 1
        assert [seen.method for seen in workbench_sandbox.requests].count("DELETE") == 0


class TestRefused:
    def test_a_step_that_cannot_be_read_before_anything_is_uploaded(self, operator, workbench_sandbox, monkeypatch):
        monkeypatch.setenv("AIRFLOW_CONN_WORKBENCH_DEFAULT", workbench_sandbox.private_step.connection_json())
        for deferrable in (False, True):
            with pytest.raises(WorkbenchFatalError, match="Nothing was uploaded.*secret_link") as caught:
                operator(deferrable=deferrable).execute(Context())
            assert caught.value.kind == "StepUnreadableError"
        assert uploads(workbench_sandbox) == []
        operator(wait_until=None).execute(Context())
        assert len(workbench_sandbox.private_step.files) == 1

    def test_but_not_for_a_moment_in_which_it_is_closed(self, operator, workbench_sandbox, monkeypatch):
        workbench_sandbox.workflow.public = False

        def sleep(seconds, is_stopped):
            workbench_sandbox.workflow.public = True

        monkeypatch.setattr("airflow_provider_workbench.hooks.waiting._sleep", sleep)
        assert operator(wait_until="listed").execute(Context())["file"]["name"] == "sales.csv"

    BAD = {  # noqa: RUF012
        "unknown wait_until": ({"wait_until": "done"}, "wait_until must be one of listed, selected, rendered"),
        "an empty wait_until": ({"wait_until": ""}, "wait_until must be one of"),
        "unknown on_superseded": ({"on_superseded": "cry"}, "on_superseded must be one of"),
        "expected_rows in words": ({"expected_rows": "many"}, "expected_rows must be a whole number"),
        "expected_columns below 0": ({"expected_columns": -1}, "expected_columns must be a whole number"),
        "expected without a table": ({"expected_rows": 1, "wait_until": "selected"}, 'need wait_until="rendered"'),
        "expected without waiting": ({"expected_rows": 1, "wait_until": None}, 'need wait_until="rendered"'),
        "no time at all": ({"wait_timeout": 0}, "wait_timeout must be a number of seconds above 0"),
        "time without end": ({"wait_timeout": float("inf")}, "wait_timeout must be a number of seconds"),
        "time in words": ({"poke_interval": "often"}, "poke_interval must be a number of seconds"),
    }

    @pytest.mark.parametrize("deferrable", [False, True], ids=["poke", "deferrable"])
    @pytest.mark.parametrize(("kwargs", "says"), BAD.values(), ids=BAD)
    def test_bad_parameters_before_a_request(self, operator, workbench_sandbox, kwargs, says, deferrable):
        with pytest.raises(WorkbenchFatalError, match=says):
            operator(**kwargs, deferrable=deferrable).execute(Context())
        assert workbench_sandbox.requests == []

    def test_a_render_error_in_workbenchs_words(self, operator, workbench_sandbox):
        workbench_sandbox.render_error = "Row 3 has too many cells"
        with pytest.raises(WorkbenchFatalError, match="Row 3 has too many cells"):
            operator().execute(Context())

    def test_a_table_that_is_not_as_expected(self, operator):
        says = "expected 1,000 rows and 2 columns, Workbench rendered 2 rows and 2 columns"
        with pytest.raises(WorkbenchFatalError, match=says) as caught:
            operator(expected_rows="1000", expected_columns=2).execute(Context())
        assert caught.value.kind == "UnexpectedTableError"


class TestSuperseded:
    @pytest.fixture
    def superseded(self, operator, monkeypatch):
        """Another File comes right after the operator's own."""
        upload_file = WorkbenchHook.upload_file

        def twice(self, *args, **kwargs):
            result = upload_file(self, *args, **kwargs)
            upload_file(self, b"a\n1\n", filename="later.csv")
            return result

        monkeypatch.setattr(WorkbenchHook, "upload_file", twice)
        return operator

    def test_it_succeeds_with_a_warning_about_the_counts(self, superseded, capsys, caplog):
        output = superseded(expected_rows=99).execute(Context())
        assert (output["file"]["name"], output["file"]["n_rows"]) == ("sales.csv", None)
        out, err = capsys.readouterr()
        warning = out + err + caplog.text
        assert "superseded: the Step uses 'later.csv'" in warning
        assert "could not be compared" in warning

    def test_it_skips_or_fails(self, superseded):
        with pytest.raises(AirflowSkipException, match=r"later\.csv"):
            superseded(on_superseded="skip").execute(Context())
        with pytest.raises(WorkbenchFatalError, match=r"later\.csv"):
            superseded(on_superseded="fail").execute(Context())

    def test_a_file_that_was_dropped_leaves_no_file(self, superseded, workbench_sandbox):
        workbench_sandbox.step_file_limit = 1
        event = {"state": "superseded", "file": None, "message": "gone"}
        upload = {**WorkbenchHook().upload_file(CONTENT, filename="sales.csv").as_dict(), "uuid": "some"}
        output = superseded().execute_complete(Context(xcoms={"upload": upload}), event)
        assert output == {**upload, "file": None}


class TestDeferrable:
    @pytest.fixture
    def rendering(self, workbench_sandbox):
        workbench_sandbox.render_delay = 60
        return workbench_sandbox

    def test_what_is_there_already_needs_no_triggerer(self, operator):
        assert operator(wait_until="selected", deferrable=True).execute(Context())["file"]["name"] == "sales.csv"

    def test_it_defers_with_the_uuid_and_without_secrets(self, operator, rendering):
        context = Context()
        left = deferred(operator(deferrable=True, poke_interval=timedelta(minutes=1), wait_timeout=100), context)
        _, kwargs = left.trigger.serialize()
        (file,) = rendering.step.files
        assert kwargs["wanted"]["uuid"] == context.xcoms["upload"]["uuid"] == file.uuid
        assert left.timeout > timedelta(seconds=100)
        assert kwargs["poke_interval"] == 60
        seconds = (datetime.fromisoformat(kwargs["deadline"]) - datetime.now(UTC)).total_seconds()
        assert 90 < seconds <= 100
        for text in (repr(kwargs), repr(context.xcoms), repr(left.kwargs)):
            assert rendering.step.api_token not in text
            assert "/files/" not in text

    def test_the_event_becomes_the_result(self, operator, rendering):
        context = Context()
        deferred(operator(deferrable=True), context)
        (file,) = rendering.step.files
        seen = {"uuid": file.uuid, "name": "sales.csv", "size": 26, "created_at": "2026-01-01T00:00:00+00:00"}
        seen |= {"n_rows": 2, "n_columns": 2}
        event = {"state": "seen", "file": seen, "message": "rendered"}
        output = operator(deferrable=True).execute_complete(context, event)
        upload = {name: value for name, value in context.xcoms["upload"].items() if name != "source"}
        assert output == {**upload, "file": seen}
        with pytest.raises(WorkbenchFatalError, match="expected 3 rows, Workbench rendered 2 rows"):
            operator(expected_rows=3).execute_complete(context, event)

    def test_a_uuid_that_the_trigger_found_out_is_in_the_output(self, operator, workbench_sandbox, down_once_accepted):
        context = Context()
        left = deferred(operator(deferrable=True), context)
        workbench_sandbox.frontend_down = False
        (file,) = workbench_sandbox.step.files
        assert left.trigger.wanted["uuid"] is context.xcoms["upload"]["uuid"] is None
        event = asyncio.run(anext(left.trigger.run())).payload
        output = operator(deferrable=True).execute_complete(context, event)
        assert output["uuid"] == output["file"]["uuid"] == file.uuid

    def test_a_connection_that_leads_to_another_step_meanwhile_is_no_success(self, operator, rendering, monkeypatch):
        context = Context()
        left = deferred(operator(deferrable=True), context)
        monkeypatch.setenv(
            "AIRFLOW_CONN_WORKBENCH_DEFAULT", rendering.add_workflow("Other", public=True).add_step().connection_json()
        )
        # which does not list the File
        event = asyncio.run(anext(left.trigger.run())).payload
        with pytest.raises(WorkbenchFatalError, match=rf"The File went to {rendering.step.slug} of .*/workflows/1/"):
            operator(deferrable=True).execute_complete(context, event)

    def test_a_timeout_is_an_error_that_a_retry_can_mend(self, operator, rendering):
        for store, words in (
            (None, "A retry uploads it again. Last seen: .* is rendering it"),
            (Store(), "does not upload"),
        ):
            context = Context(store)
            deferred(operator(deferrable=True), context)
            with pytest.raises(WaitTimeoutError, match=words):
                operator().execute_complete(context, timeout_event())

    def test_execution_timeout_ends_the_waiting_too(self, operator, rendering):
        context = Context()
        limited = operator(deferrable=True, wait_timeout=1000, execution_timeout=timedelta(seconds=30))
        deadline = deferred(limited, context).trigger.serialize()[1]["deadline"]
        assert datetime.fromisoformat(deadline) == context["ti"].start_date + timedelta(seconds=30)
        context["ti"].start_date -= timedelta(seconds=30)
        with pytest.raises(AirflowTaskTimeout, match="execution_timeout was over. Last seen: .* is rendering it"):
            limited.execute_complete(context, timeout_event())

    def test_an_error_event_keeps_its_kind(self, operator):
        fatal = {"state": "error", "kind": "StepGoneError", "message": "gone", "code": None, "status": 404}
        with pytest.raises(WorkbenchFatalError, match="gone"):
            operator().execute_complete(Context(), fatal)
        passing = {"state": "error", "kind": "WaitingFailedError", "message": "odd", "code": None, "status": None}
        with pytest.raises(WaitingFailedError, match="odd"):
            operator().execute_complete(Context(), passing)

    def test_a_file_that_the_page_shows_at_the_deadline_is_no_timeout(self, operator, rendering, workbench_sandbox):
        context = Context()
        deferred(operator(deferrable=True), context)
        workbench_sandbox.render_delay = 0
        operator(filename="again.csv", wait_until=None).execute(Context())
        step = workbench_sandbox.step
        step.wait_until_rendered()
        output = operator(wait_until="listed").execute_complete(context, timeout_event())
        assert output["file"]["uuid"] == step.files[1].uuid


class TestRetry:
    """Airflow 3.3 and later offers a store; the rest of it is shown in tests/standalone."""

    @pytest.fixture
    def store(self, operator, workbench_sandbox):
        """After a try that delivered the File, and waited in vain."""
        workbench_sandbox.render_delay = 60
        store = Store()
        with pytest.raises(WaitTimeoutError):
            operator(wait_timeout=0.2).execute(Context(store))
        workbench_sandbox.render_delay = 0
        return store

    def test_it_only_waits(self, operator, store, workbench_sandbox, capsys, caplog):
        output = operator().execute(Context(store, try_number=2))
        (file,) = workbench_sandbox.step.files
        assert (output["uuid"], output["file"]["n_rows"]) == (file.uuid, 2)
        assert len(uploads(workbench_sandbox)) == 1
        out, err = capsys.readouterr()
        assert "only waiting" in out + err + caplog.text
        assert store == {}

    def test_the_file_need_not_be_there_any_more(self, operator, store, sales):
        sales.unlink()
        assert operator().execute(Context(store, try_number=2))["file"]["n_rows"] == 2

    def test_what_was_accepted_is_kept_before_anything_else(self, operator, workbench_sandbox, down_once_accepted):
        store = Store()
        with pytest.raises(WaitTimeoutError, match="could not be read"):
            operator(wait_timeout=0.2).execute(Context(store))
        workbench_sandbox.frontend_down = False
        assert operator().execute(Context(store, try_number=2))["file"]["n_rows"] == 2
        assert len(uploads(workbench_sandbox)) == 1

    def test_it_only_waits_in_the_triggerer(self, operator, workbench_sandbox):
        workbench_sandbox.render_delay = 60
        store, waiting = Store(), operator(deferrable=True)
        context = Context(store)
        first = deferred(waiting, context)
        with pytest.raises(WaitTimeoutError):
            waiting.execute_complete(context, timeout_event())
        second = deferred(waiting, Context(store, try_number=2))
        assert second.trigger.wanted == first.trigger.wanted
        assert len(uploads(workbench_sandbox)) == 1

    def test_what_is_kept_has_no_secret_and_is_small(self, store, workbench_sandbox, sales):
        text = json.dumps(store)
        for secret in (workbench_sandbox.step.api_token, "/files/", str(sales)):
            assert secret not in text
        assert len(text) < 2000

    def test_it_is_kept_without_a_fernet_key(self, operator, workbench_sandbox, monkeypatch):
        monkeypatch.setattr(kept_uploads, "_fernet", lambda: None)
        workbench_sandbox.render_delay = 60
        store = Store()
        with pytest.raises(WaitTimeoutError):
            operator(wait_timeout=0.2).execute(Context(store))
        assert len(store) == 1

    @pytest.mark.parametrize("change", ["cleared", "path", "filename", "garbage"])
    def test_another_delivery_is_made(self, operator, store, workbench_sandbox, tmp_path, change):
        kwargs, max_tries = {}, 2
        if change == "cleared":
            max_tries = 5
        elif change == "path":
            (tmp_path / "other.csv").write_bytes(CONTENT)
            kwargs = {"filepath": str(tmp_path / "other.csv")}
        elif change == "filename":
            kwargs = {"filename": "other.csv"}
        else:
            store["workbench_delivery"] = {"upload": 1}
        operator(**kwargs).execute(Context(store, 2, max_tries))
        assert len(workbench_sandbox.step.files) == 2

    def test_below_3_3_it_uploads_again_and_says_so(self, operator, store, workbench_sandbox, capsys, caplog):
        operator().execute(Context(None, try_number=2))
        assert len(workbench_sandbox.step.files) == 2
        out, err = capsys.readouterr()
        assert "uploading it again" in out + err + caplog.text

    def test_a_failure_for_good_leaves_nothing_behind(self, operator, store, workbench_sandbox):
        """Whoever mends the file and clears the task may do so with another number of retries."""
        with pytest.raises(WorkbenchFatalError, match="expected 3 rows"):
            operator(expected_rows=3).execute(Context(store, try_number=2))
        assert store == {}

    def test_a_skip_leaves_nothing_behind(self, operator, store):
        operator(filename="later.csv", wait_until=None).execute(Context())
        with pytest.raises(AirflowSkipException):
            operator(on_superseded="skip").execute(Context(store, try_number=2))
        assert store == {}

    def test_a_success_leaves_nothing_behind(self, operator):
        store = Store()
        operator().execute(Context(store))
        assert store == {}


def test_constructing_it_checks_nothing():
    made = WorkbenchUploadOperator(task_id="a", filepath="x", wait_until="{{ 1 }}", expected_rows="{{ 2 }}")
    assert {"expected_rows", "expected_columns"} <= set(made.template_fields)
    assert (made.poke_interval, made.wait_timeout, made.on_superseded) == (60, 3600, "succeed")


@pytest.mark.airflow
@pytest.mark.parametrize("deferrable", [False, True], ids=["poke", "deferrable"])
def test_in_a_dag_the_counts_come_from_upstream_and_the_output_goes_on(
    run_dag, operator, workbench_sandbox, deferrable
):
    from airflow.providers.common.compat.sdk import dag, task

    workbench_sandbox.render_delay = 1

    @dag(schedule=None, start_date=datetime(2026, 1, 1))
    def delivers():
        @task
        def count():
            return 2

        @task
        def say(output):
            return f"{output['file']['name']}: {output['file']['n_rows']} rows"

        say(operator(expected_rows=count(), expected_columns="{{ 1 + 1 }}", deferrable=deferrable).output)

    run = run_dag(delivers())
    assert run.state == "success", run.log
    output = run.returned("upload")
    (file,) = workbench_sandbox.step.files
    assert (output["uuid"], output["file"]["uuid"], output["file"]["n_rows"]) == (file.uuid, file.uuid, 2)
    assert run.returned("say") == "sales.csv: 2 rows"
    assert workbench_sandbox.step.api_token not in run.log


@pytest.mark.airflow
def test_mapped_tasks_wait_for_their_own_files(run_dag, operator, workbench_sandbox, tmp_path):
    from airflow.providers.common.compat.sdk import dag

    paths = []
    for name in ("a", "b"):
        paths.append(str(tmp_path / f"{name}.csv"))
        (tmp_path / f"{name}.csv").write_bytes(CONTENT)
    workbench_sandbox.render_delay = 1

    @dag(schedule=None, start_date=datetime(2026, 1, 1))
    def delivers_many():
        WorkbenchUploadOperator.partial(
            task_id="upload", wait_until="rendered", expected_rows=2, deferrable=True, poke_interval=0.2
        ).expand(filepath=paths)

    run = run_dag(delivers_many())
    assert run.state == "success", run.log
    assert [run.returned("upload", index)["file"]["name"] for index in (0, 1)] == ["a.csv", "b.csv"]
    uuids = {run.returned("upload", index)["uuid"] for index in (0, 1)}
    assert uuids == {file.uuid for file in workbench_sandbox.step.files}


@pytest.mark.airflow
def test_in_a_dag_a_difference_fails_the_task(run_dag, operator, workbench_sandbox):
    from airflow.providers.common.compat.sdk import dag

    workbench_sandbox.render_delay = 1

    @dag(schedule=None, start_date=datetime(2026, 1, 1))
    def delivers_wrong():
        operator(expected_rows=1000, deferrable=True)

    run = run_dag(delivers_wrong())
    assert run.state == "failed"
    assert "expected 1,000 rows, Workbench rendered 2 rows and 2 columns" in run.log


@pytest.mark.airflow
def test_in_a_dag_execution_timeout_ends_the_waiting_on_the_worker(run_dag, operator, workbench_sandbox):
    from airflow.providers.common.compat.sdk import dag

    workbench_sandbox.render_delay = 60

    @dag(schedule=None, start_date=datetime(2026, 1, 1))
    def waits_too_long():
        operator(execution_timeout=timedelta(seconds=3), wait_timeout=100)

    start = time.monotonic()
    try:
        run = run_dag(waits_too_long())
    except AirflowTaskTimeout:
        pass  # Airflow 2's dag.test() lets it out
    else:
        assert run.state == "failed"
        assert "AirflowTaskTimeout" in run.log
    assert time.monotonic() - start < 50
    assert len(workbench_sandbox.step.files) == 1
