"""``@task.workbench_upload`` as an operator, try by try, against the sandbox."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from types import SimpleNamespace

import pandas
import polars
import pyarrow
import pytest
from airflow.providers.common.compat.sdk import AirflowSkipException, AirflowTaskTimeout, TaskDeferred

from airflow_provider_workbench.client import progress
from airflow_provider_workbench.client.errors import UploadStoppedError, WaitTimeoutError
from airflow_provider_workbench.decorators.workbench import workbench_upload_task
from airflow_provider_workbench.hooks.workbench import WorkbenchFatalError

FRAME = pandas.DataFrame({"city": ["Bergen", "Lima"], "sold": [1, 2]})
CSV = b"city,sold\nBergen,1\nLima,2\n"


class Store(dict):
    """The accessor's interface; the real one lives only inside a supervised task (see tests/standalone)."""

    def set(self, key, value, *, retention=None):
        self[key] = json.loads(json.dumps(value))

    def delete(self, key):
        self.pop(key, None)


def context(store=None, try_number=1, max_tries=2, xcoms=None):
    xcoms = {} if xcoms is None else xcoms
    ti = SimpleNamespace(
        try_number=try_number,
        max_tries=max_tries,
        map_index=-1,
        start_date=datetime.now(UTC),
        xcom_push=lambda *, key, value: xcoms.update({key: json.loads(json.dumps(value))}),
        xcom_pull=lambda *, task_ids, key, map_indexes: xcoms.get(key),
    )
    return {"ti": ti, "task_state_store": store}


def task_of(function, *args, **parameters):
    """The operator that the decorator makes."""
    parameters = {"task_id": "upload", "deferrable": False, **parameters}
    return workbench_upload_task(**parameters)(function)(*args).operator


class Counted:
    """A function that knows how often it was called."""

    def __init__(self, returns):
        self.calls = 0

        def made():
            self.calls += 1
            return returns

        self.function = made


def uploads(sandbox):
    return [seen for seen in sandbox.requests if seen.method == "POST"]


class TestWhatMayBeReturned:
    @pytest.mark.parametrize("as_text", [True, False])
    def test_a_path(self, connected, tmp_path, tmpdir_of_task, as_text):
        path = tmp_path / "sales.csv"
        path.write_bytes(CSV)
        output = task_of(lambda: str(path) if as_text else path).execute(context())
        (file,) = connected.step.files
        assert (file.name, output["filename"]) == ("sales.csv", "sales.csv")
        assert connected.step.content(file.uuid) == path.read_bytes() == CSV
        assert tmpdir_of_task.held == [0]

    def test_text_is_a_path_and_never_content(self, connected):
        with pytest.raises(WorkbenchFatalError, match="names no file"):
            task_of(lambda: "city,sold\nBergen,1\n\0", filename="sales.csv").execute(context())
        assert connected.step.files == []

    def test_bytes(self, connected, tmpdir_of_task):
        output = task_of(lambda: CSV, filename="sales.csv").execute(context())
        (file,) = connected.step.files
        assert (connected.step.content(file.uuid), output["size"]) == (CSV, len(CSV))
        assert tmpdir_of_task.held == [0]

    @pytest.mark.parametrize(
        "table",
        [FRAME, polars.from_dict(FRAME.to_dict("list")), polars.LazyFrame(FRAME.to_dict("list")), pyarrow.table(FRAME)],
        ids=lambda table: f"{type(table).__module__}.{type(table).__name__}",
    )
    def test_a_table_in_a_temporary_file_which_is_gone_afterwards(self, connected, tmpdir_of_task, table):
        output = task_of(lambda: table, filename="sales.csv", sha256=False).execute(context())
        (file,) = connected.step.files
        assert connected.step.content(file.uuid).replace(b'"', b"") == CSV
        assert output["filename"] == file.name == "sales.csv"
        assert tmpdir_of_task.held == [1]
        assert tmpdir_of_task.is_clean

    def test_the_tables_memory_is_free_while_it_is_uploaded(self, connected, monkeypatch):
        import weakref

        from airflow_provider_workbench.hooks.workbench import WorkbenchHook

        alive = []
        upload_file = WorkbenchHook.upload_file

        def made():
            frame = FRAME.copy()
            alive.append(weakref.ref(frame))
            return frame

        def noted(*args, **kwargs):
            alive.append(alive[0]())
            return upload_file(*args, **kwargs)

        monkeypatch.setattr(WorkbenchHook, "upload_file", noted)
        task_of(made, filename="sales.csv").execute(context())
        assert alive[1] is None


class TestWhatIsRefused:
    def test_none_says_what_may_be_returned(self, connected):
        with pytest.raises(WorkbenchFatalError, match="returned None") as caught:
            task_of(lambda: None, filename="sales.csv").execute(context())
        for words in ("'<lambda>'", "a path", "bytes", "a table", "return forgotten"):
            assert words in str(caught.value)
        assert connected.requests == []

    @pytest.mark.parametrize(
        ("returned", "says"),
        [
            ([CSV], "a list"),
            ({"a": [1]}, "a dict"),
            (7, "a int"),
            (bytearray(CSV), "a bytearray"),
            (FRAME["city"], "a pandas Series"),
            ((row for row in CSV), "a generator"),
        ],
        ids=lambda value: type(value).__name__,
    )
    def test_other_things_say_what_may_be_returned(self, connected, returned, says):
        with pytest.raises(WorkbenchFatalError, match=f"returned {says}. It must return a path") as caught:
            task_of(lambda: returned, filename="sales.csv").execute(context())
        assert "Bergen" not in str(caught.value)
        assert connected.requests == []

    @pytest.mark.filterwarnings("error")
    def test_an_async_function_is_not_waited_for(self, connected):
        async def later():
            return CSV

        with pytest.raises(WorkbenchFatalError, match="'later' returned a coroutine"):
            task_of(later, filename="sales.csv").execute(context())

    @pytest.mark.parametrize(
        ("returned", "kind"),
        [(CSV, "a bytes"), (FRAME, "a pandas DataFrame"), (polars.DataFrame(), "a polars DataFrame")],
        ids=["bytes", "pandas", "polars"],
    )
    def test_no_filename_for_what_has_no_name(self, connected, tmpdir_of_task, returned, kind):
        with pytest.raises(
            WorkbenchFatalError, match=f"{kind}, which has no name.*set the parameter filename"
        ) as caught:
            task_of(lambda: returned).execute(context())
        assert caught.value.kind == "FilenameError"
        assert connected.requests == []
        assert tmpdir_of_task.is_clean

    @pytest.mark.parametrize(
        "announced",
        [bytes, "bytes", pandas.DataFrame, "pd.DataFrame", "polars.LazyFrame", "pyarrow.Table"],
        ids=str,
    )
    def test_no_filename_is_said_before_the_function_is_called_if_it_says_what_it_returns(self, connected, announced):
        counted = Counted(CSV)
        counted.function.__annotations__["return"] = announced
        with pytest.raises(WorkbenchFatalError, match="set the parameter filename"):
            task_of(counted.function).execute(context())
        assert counted.calls == 0

    @pytest.mark.parametrize("announced", [str, "str | bytes", "Path", None], ids=str)
    def test_what_may_have_a_name_is_waited_for(self, connected, tmp_path, announced):
        path = tmp_path / "sales.csv"
        path.write_bytes(CSV)
        counted = Counted(path)
        counted.function.__annotations__["return"] = announced
        assert task_of(counted.function).execute(context())["filename"] == "sales.csv"

    def test_a_bad_filename_is_said_before_the_function_is_called(self, connected):
        counted = Counted(CSV)
        with pytest.raises(WorkbenchFatalError, match="has 101 characters"):
            task_of(counted.function, filename="x" * 97 + ".csv").execute(context())
        assert counted.calls == 0

    def test_a_name_that_workbench_does_not_read_as_csv_is_a_warning(self, connected, capsys, caplog):
        task_of(lambda: FRAME, filename="sales.tsv").execute(context())
        out, err = capsys.readouterr()
        assert "does not end with .csv" in out + err + caplog.text
        assert [file.name for file in connected.step.files] == ["sales.tsv"]

    def test_filepath_is_the_functions_to_say(self):
        with pytest.raises(TypeError, match="filepath"):
            task_of(lambda: CSV, filepath="/data/sales.csv")


class TestTheFunctionsOwnEnd:
    @pytest.mark.parametrize("error", [AirflowSkipException, KeyError, AirflowTaskTimeout])
    def test_its_exceptions_pass(self, connected, error):
        def broken():
            raise error("not today")

        with pytest.raises(error, match="not today"):
            task_of(broken, filename="sales.csv").execute(context())
        assert connected.requests == []

    @pytest.mark.parametrize("returned", [CSV, FRAME, __file__], ids=["bytes", "table", "path"])
    def test_a_kill_while_it_runs_uploads_nothing(self, connected, tmpdir_of_task, returned):
        def slow():
            task.on_kill()
            return returned

        task = task_of(slow, filename="sales.csv")
        with pytest.raises(UploadStoppedError, match="before anything was sent"):
            task.execute(context())
        assert uploads(connected) == []
        assert tmpdir_of_task.is_clean

    def test_a_kill_while_its_table_is_written_uploads_nothing(self, connected, tmpdir_of_task):
        class Killing(pandas.DataFrame):
            def to_csv(self, *args, **kwargs):
                task.on_kill()
                return super().to_csv(*args, **kwargs)

        task = task_of(lambda: Killing(FRAME), filename="sales.csv")
        with pytest.raises(UploadStoppedError):
            task.execute(context())
        assert uploads(connected) == []
        assert tmpdir_of_task.is_clean


class TestFailures:
    """The temporary file goes with the upload, however that ends."""

    def test_a_refusal(self, connected, tmpdir_of_task):
        connected.step.reset_token()
        with pytest.raises(WorkbenchFatalError, match="token"):
            task_of(lambda: FRAME, filename="sales.csv").execute(context())
        assert tmpdir_of_task.held == [1]
        assert tmpdir_of_task.is_clean

    def test_a_kill(self, connected, tmpdir_of_task, monkeypatch):
        task = task_of(lambda: FRAME, filename="sales.csv")
        monkeypatch.setattr(progress.ProgressLines, "__call__", lambda *_: task.on_kill())
        with pytest.raises(UploadStoppedError):
            task.execute(context())
        assert tmpdir_of_task.held == [1]
        assert tmpdir_of_task.is_clean

    def test_a_timeout_that_is_raised_in_the_midst_of_it(self, connected, tmpdir_of_task, monkeypatch):
        def out_of_time(*_):
            raise AirflowTaskTimeout

        monkeypatch.setattr(progress.ProgressLines, "__call__", out_of_time)
        with pytest.raises(AirflowTaskTimeout):
            task_of(lambda: FRAME, filename="sales.csv").execute(context())
        assert tmpdir_of_task.held == [1]
        assert tmpdir_of_task.is_clean


class TestTries:
    def test_a_retry_that_only_waits_does_not_call_the_function_again(self, connected, tmpdir_of_task):
        connected.render_delay = 60
        store, counted = Store(), Counted(FRAME)
        task = task_of(
            counted.function, filename="sales.csv", wait_until="rendered", poke_interval=0.1, wait_timeout=0.3
        )
        with pytest.raises(WaitTimeoutError):
            task.execute(context(store))
        connected.render_delay = 0
        output = task.execute(context(store, try_number=2))
        assert output["file"]["n_rows"] == 2
        assert (counted.calls, len(uploads(connected)), len(connected.step.files)) == (1, 1, 1)
        assert tmpdir_of_task.is_clean

    def test_what_returns_from_the_triggerer_does_not_call_the_function_again(self, connected, tmpdir_of_task):
        connected.render_delay = 60
        counted, xcoms = Counted(FRAME), {}
        task = task_of(counted.function, filename="sales.csv", wait_until="rendered", deferrable=True)
        with pytest.raises(TaskDeferred):
            task.execute(context(xcoms=xcoms))
        assert tmpdir_of_task.is_clean
        again = task_of(counted.function, filename="sales.csv", wait_until="rendered", deferrable=True)
        with pytest.raises(WaitTimeoutError):
            again.execute_complete(context(xcoms=xcoms), {"state": "timeout", "message": "not rendered"})
        assert counted.calls == 1

    @pytest.mark.parametrize("make", [pandas.DataFrame, bytes], ids=["table", "bytes"])
    def test_a_retry_goes_on_with_the_upload_if_the_function_returns_the_same(self, connected, monkeypatch, make):
        cells = [f"{number:0100}" for number in range(200_000)]
        content = "\n".join(["cell", *cells, ""]).encode()
        counted = Counted(content if make is bytes else make({"cell": cells}))
        store = Store()
        task = task_of(counted.function, filename="cells.csv")

        def kill_half_way(self, sent, size):
            if sent >= len(content) / 2:
                task.on_kill()

        with monkeypatch.context() as patch:
            patch.setattr(progress.ProgressLines, "__call__", kill_half_way)
            with pytest.raises(UploadStoppedError):
                task.execute(context(store))
        output = task_of(counted.function, filename="cells.csv").execute(context(store, try_number=2))
        assert output["resumed_from"] > 0
        (file,) = connected.step.files
        assert connected.step.content(file.uuid) == content
        assert counted.calls == 2

    def test_the_step_is_known_to_be_readable_before_the_function_is_called(self, connected, monkeypatch):
        monkeypatch.setenv("AIRFLOW_CONN_WORKBENCH_DEFAULT", connected.private_step.connection_json())
        counted = Counted(CSV)
        with pytest.raises(WorkbenchFatalError, match="secret_link"):
            task_of(counted.function, filename="sales.csv", wait_until="listed").execute(context())
        assert counted.calls == 0


def test_importing_it_pulls_in_no_library_that_is_not_needed_to_parse_a_dag():
    script = """
import json, sys
from airflow.providers.common.compat.sdk import BaseOperator, DecoratedOperator, task
before = set(sys.modules)
import airflow_provider_workbench.decorators.workbench
print(json.dumps(sorted(set(sys.modules) - before)))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    added = set(json.loads(done.stdout.splitlines()[-1]))
    assert "airflow_provider_workbench.decorators.workbench" in added
    ours = {name for name in added if name.startswith("airflow_provider_workbench")}
    assert not {name for name in ours if ".client" in name or ".hooks" in name}
    assert not added & {"pandas", "polars", "pyarrow", "numpy", "requests", "aiohttp", "tusclient", "fsspec", "upath"}
