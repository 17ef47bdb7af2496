"""``@task.workbench_upload`` in DAGs that Airflow runs."""

from __future__ import annotations

import json
from datetime import datetime

import pandas
import polars
import pyarrow
import pyarrow.csv
import pytest
from airflow.providers.common.compat.sdk import DAG, AirflowSkipException, ObjectStoragePath, TriggerRule, XComArg, task

from airflow_provider_workbench.decorators.workbench import WorkbenchUploadDecoratedOperator, workbench_upload_task

pytestmark = pytest.mark.airflow

CSV = b"city,sold\nBergen,1\nLima,2\n"
ROWS = 200_000
COLUMNS = {
    "id": list(range(ROWS)),
    "city": [("Bergen", "São Paulo", "Ōsaka, Japan", None)[number % 4] for number in range(ROWS)],
    "price": [number / 7 for number in range(ROWS)],
}


@pytest.fixture
def dag(airflow_db):
    return DAG("decorated", schedule=None, start_date=datetime(2026, 1, 1), catchup=False)


@pytest.fixture
def contents(connected):
    """The Step's Files, by name."""

    def contents():
        return {file.name: connected.step.content(file.uuid) for file in connected.step.files}

    return contents


def test_it_is_among_airflows_decorators(dag, run_dag, contents):
    with dag:

        @task.workbench_upload(filename="sales.csv")
        def make():
            """Sales of the day."""
            return CSV

        made = make()
    assert made.operator.task_id == "make"
    assert made.operator.task_type == "WorkbenchUploadDecoratedOperator"
    assert made.operator.operator_name == "@task.workbench_upload"
    assert made.operator.doc_md == "Sales of the day."
    run = run_dag(dag)
    assert run.state == "success", run.log
    assert contents() == {"sales.csv": CSV}
    assert run.returned("make")["size"] == len(CSV)


def test_without_parentheses_a_path_names_the_file(dag, run_dag, contents, tmp_path):
    path = tmp_path / "sales.csv"
    path.write_bytes(CSV)
    with dag:

        @workbench_upload_task
        def make():
            return path

        make()
    run = run_dag(dag)
    assert run.state == "success", run.log
    assert contents() == {"sales.csv": CSV}


@pytest.mark.parametrize("as_text", [True, False])
def test_an_object_in_storage(dag, run_dag, contents, storage, monkeypatch, tmpdir_of_task, as_text):
    monkeypatch.setenv("AIRFLOW_CONN_LAKE", storage.connection())
    storage.put("daily/sales.csv", CSV)
    address = f"s3://lake@{storage.bucket}/daily/sales.csv"
    with dag:

        @workbench_upload_task
        def make():
            return address if as_text else ObjectStoragePath(address)

        make()
    run = run_dag(dag)
    assert run.state == "success", run.log
    assert contents() == {"sales.csv": CSV}
    assert tmpdir_of_task.held == [0]


def test_an_object_storage_path_of_this_machine(dag, run_dag, contents, tmp_path):
    path = ObjectStoragePath(f"file://{tmp_path}/sales.csv")
    path.write_bytes(CSV)
    with dag:

        @workbench_upload_task
        def make():
            return path

        make()
    run = run_dag(dag)
    assert run.state == "success", run.log
    assert contents() == {"sales.csv": CSV}


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
def test_200_000_rows(dag, run_dag, connected, contents, tmp_path, tmpdir_of_task, library):
    """What is in the Step is, byte for byte, what the library writes by itself."""
    expected = tmp_path / "expected.csv"
    if library == "pandas":
        table = pandas.DataFrame(COLUMNS)
        table.to_csv(expected, index=False)
    elif library == "polars":
        table = polars.DataFrame(COLUMNS)
        table.write_csv(expected)
    else:
        table = pyarrow.table(COLUMNS)
        pyarrow.csv.write_csv(table, expected)
    with dag:

        @workbench_upload_task(filename="sales.csv", wait_until="rendered", expected_rows=ROWS, poke_interval=0.2)
        def make():
            return table

        make()
    run = run_dag(dag)
    assert run.state == "success", run.log
    assert contents()["sales.csv"] == expected.read_bytes()
    assert run.returned("make")["file"]["n_columns"] == 3
    assert tmpdir_of_task.held == [1]
    assert tmpdir_of_task.is_clean


def test_arguments_context_and_templates(dag, run_dag, contents):
    with dag:

        @task
        def query():
            return [["Bergen", 1], ["Lima", 2]]

        @workbench_upload_task(filename="{{ params.region }}-{{ ds }}.csv")
        def make(rows, separator, *, header, ds=None, **context):
            assert context["ti"].task_id == "make"
            assert ds == str(context["logical_date"].date())
            return "\n".join([header, *(separator.join(map(str, row)) for row in rows), ""]).encode()

        dag.params["region"] = "north"
        make(query(), ",", header="city,{{ params.region }}")
    run = run_dag(dag)
    assert run.state == "success", run.log
    ((name, content),) = contents().items()
    assert (name[:8], content) == ("north-20", b"city,north\nBergen,1\nLima,2\n")


def test_what_follows_gets_the_result(dag, run_dag, contents):
    with dag:

        @workbench_upload_task(filename="sales.csv")
        def make():
            return CSV

        @task
        def say(upload):
            return upload["filename"]

        say(make())
    assert run_dag(dag).returned("say") == "sales.csv"


def test_multiple_outputs_only_if_asked_for(dag, run_dag, contents):
    with dag:

        def make() -> dict:
            return CSV

        workbench_upload_task(task_id="one", filename="one.csv")(make)()
        many = workbench_upload_task(task_id="many", filename="many.csv", multiple_outputs=True)(make)()

        @task
        def say(name):
            return name

        say(many["filename"])
    run = run_dag(dag)
    assert run.state == "success", run.log
    assert "filename" not in run.xcoms["one"]
    assert run.xcoms["many"]["size"] == len(CSV)
    assert run.returned("say") == "many.csv"


def test_override(dag, run_dag, contents):
    with dag:

        @workbench_upload_task(filename="sales.csv")
        def make(text):
            return text.encode()

        make("a\n1")
        make.override(task_id="other", filename="other.csv", trigger_rule="all_done", retries=3)("a\n2")
        make("a\n3")
    assert set(dag.task_ids) == {"make", "other", "make__1"}
    assert dag.get_task("other").retries == 3
    assert dag.get_task("other").trigger_rule == TriggerRule.ALL_DONE
    run = run_dag(dag)
    assert run.state == "success", run.log
    assert contents()["other.csv"] == b"a\n2"


def test_expand_over_50(dag, run_dag, connected):
    with dag:

        @workbench_upload_task(filename="{{ 'part-%02d.csv' % ti.map_index }}")
        def make(number, *, factor):
            return polars.DataFrame({"value": [number * factor]})

        made = make.partial(factor=10).expand(number=list(range(50)))

        @task
        def count(uploads):
            return sorted(upload["filename"] for upload in uploads)

        count(made)
    run = run_dag(dag)
    assert run.state == "success", run.log
    names = [f"part-{number:02}.csv" for number in range(50)]
    assert [run.returned("make", number)["filename"] for number in range(50)] == names
    assert run.returned("count") == names
    # a Step keeps 30
    step = connected.step
    assert len(step.files) == 30
    for file in step.files:
        assert step.content(file.uuid) == b"value\n%d\n" % (10 * int(file.name[5:7]))


def test_expand_over_what_an_upstream_task_returns(dag, run_dag, contents):
    with dag:

        @task
        def regions():
            return [{"name": "north", "sold": 1}, {"name": "south", "sold": 2}]

        @workbench_upload_task(filename="{{ ti.map_index }}.csv", max_active_tis_per_dag=1)
        def make(name, sold):
            return f"{name}\n{sold}\n".encode()

        make.expand_kwargs(regions())
    run = run_dag(dag)
    assert run.state == "success", run.log
    assert contents() == {"0.csv": b"north\n1\n", "1.csv": b"south\n2\n"}


def test_a_skip_of_the_function_skips_the_task(dag, run_dag, connected):
    with dag:

        @workbench_upload_task(filename="sales.csv")
        def make():
            raise AirflowSkipException("nothing was sold")

        @task(trigger_rule="none_failed")
        def go_on():
            pass

        make() >> go_on()
    run = run_dag(dag)
    assert (run.states["make"], run.states["go_on"]) == ("skipped", "success")
    assert connected.requests == []


def test_a_wrong_return_fails_without_a_retry(dag, run_dag, connected):
    calls = []
    with dag:

        @workbench_upload_task(filename="sales.csv", retries=3)
        def make():
            calls.append(1)

        make()
    run = run_dag(dag)
    assert run.states["make"] == "failed"
    assert "'make' returned None" in run.log
    assert len(calls) == 1


def test_deferred(dag, run_dag, connected):
    connected.render_delay = 1
    calls = []
    with dag:

        @workbench_upload_task(filename="sales.csv", wait_until="rendered", deferrable=True, poke_interval=0.2)
        def make():
            calls.append(1)
            return pandas.DataFrame({"a": [1, 2]})

        make()
    run = run_dag(dag)
    assert run.state == "success", run.log
    assert run.returned("make")["file"]["n_rows"] == 2
    assert len(calls) == 1


def test_openlineage_knows_what_was_read_after_a_deferral(dag, run_dag, connected, tmp_path, monkeypatch):
    pytest.importorskip("airflow.providers.openlineage")
    connected.render_delay = 1
    path = tmp_path / "sales.csv"
    path.write_bytes(b"a\n1\n2\n")
    told = []
    complete = WorkbenchUploadDecoratedOperator.execute_complete

    def complete_and_tell(self, context, event):
        result = complete(self, context, event)
        told.append(self.get_openlineage_facets_on_complete(None))
        return result

    monkeypatch.setattr(WorkbenchUploadDecoratedOperator, "execute_complete", complete_and_tell)
    with dag:

        @workbench_upload_task(wait_until="rendered", deferrable=True, poke_interval=0.2)
        def find():
            return str(path)

        find()
    run = run_dag(dag)
    assert run.state == "success", run.log
    (lineage,) = told
    assert [dataset.name for dataset in lineage.inputs] == [str(path)]
    assert "source" not in run.returned("find")


def test_what_is_shown_and_kept_holds_no_content(dag, run_dag, connected):
    with dag:

        @workbench_upload_task(filename="sales.csv", wait_until="listed")
        def make(region):
            return pandas.DataFrame({"a": ["a-cell"]})

        make("{{ 'no' ~ 'rth' }}")
    run = run_dag(dag)
    assert run.state == "success", run.log
    assert "a-cell" not in str(run.xcoms) + run.log
    shown = rendered_fields(dag.dag_id, run.run_id, "make")
    assert "a-cell" not in str(shown)
    assert shown["op_args"] in (["north"], "['north']", "('north',)")
    assert shown["filename"] == "sales.csv"
    assert "filepath" not in shown


def rendered_fields(dag_id, run_id, task_id):
    from airflow.models.renderedtifields import RenderedTaskInstanceFields
    from airflow.utils.session import create_session

    with create_session() as session:
        row = session.query(RenderedTaskInstanceFields).filter_by(dag_id=dag_id, run_id=run_id, task_id=task_id).one()
        return row.rendered_fields


def test_the_dag_is_serialised_alike_each_time():
    """A DAG version is made where the serialised DAG differs."""
    try:
        from airflow.serialization.serialized_objects import DagSerialization as Serialization
    except ImportError:
        from airflow.serialization.serialized_objects import SerializedDAG as Serialization

    def parse():
        with DAG("decorated", schedule=None, start_date=datetime(2026, 1, 1)) as dag:

            @workbench_upload_task(filename="sales.csv", wait_until="rendered", sha256=True)
            def make(number):
                return CSV

            upload = make(1)
            make.partial().expand(number=[1, 2])
            make.override(task_id="after")(upload)
            assert isinstance(upload, XComArg)
        return Serialization.to_dict(dag)

    first = json.dumps(parse(), sort_keys=True)
    assert json.dumps(parse(), sort_keys=True) == first
    assert "0x" not in first
    assert '"filepath"' not in first
