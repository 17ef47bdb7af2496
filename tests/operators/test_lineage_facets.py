"""What OpenLineage is told of an upload; ``tests/standalone`` has the events of a real run."""

from __future__ import annotations

import json
import os
import socket
import sys
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import pytest
from airflow.providers.common.compat.sdk import ObjectStoragePath, TaskDeferred

from airflow_provider_workbench.client.errors import WorkbenchError
from airflow_provider_workbench.decorators.workbench import WorkbenchUploadDecoratedOperator
from airflow_provider_workbench.hooks.workbench import WorkbenchHook
from airflow_provider_workbench.operators.lineage import source_name
from airflow_provider_workbench.operators.workbench import WorkbenchUploadOperator

HERE = f"file://{socket.gethostname()}"
CONTENT = b"city,sold\nBergen,1\nLima,2\n"


@pytest.mark.parametrize(
    ("source", "namespace", "name"),
    [
        ("/data/sales.csv", HERE, "/data/sales.csv"),
        ("data/sales.csv", HERE, os.path.abspath("data/sales.csv")),
        ("/data/../data/sales.csv", HERE, "/data/sales.csv"),
        ("/data/100%?#@/ü.csv", HERE, "/data/100%?#@/ü.csv"),
        ("file:///data/sales.csv", HERE, "/data/sales.csv"),
        ("file://localhost/data/sales.csv", HERE, "/data/sales.csv"),
        ("s3://bucket/deep/key.csv", "s3://bucket", "deep/key.csv"),
        ("s3://conn_id@bucket/deep/key.csv", "s3://bucket", "deep/key.csv"),
        ("s3://key:hidden@bucket/key.csv", "s3://bucket", "key.csv"),
        ("S3A://bucket/key.csv", "s3://bucket", "key.csv"),
        ("s3://bucket/a?b#c.csv", "s3://bucket", "a?b#c.csv"),
        ("gs://conn_id@bucket/key.csv", "gs://bucket", "key.csv"),
        ("gcs://bucket/key.csv", "gs://bucket", "key.csv"),
        ("abfs://conn_id@container/key.csv", "abfs://container", "key.csv"),
        (
            "abfss://box@account.dfs.core.windows.net/deep/key.csv",
            "abfss://box@account.dfs.core.windows.net",
            "deep/key.csv",
        ),
        ("abfs://me:hidden@account.dfs.core.windows.net/key.csv", "abfs://account.dfs.core.windows.net", "key.csv"),
        (
            "abfss://box@account.dfs.core.chinacloudapi.cn/key.csv",
            "abfss://box@account.dfs.core.chinacloudapi.cn",
            "key.csv",
        ),
        ("az://box/key.csv?sig=hidden", "az://box", "key.csv"),
        ("hdfs://namenode:8020/data/sales.csv", "hdfs://namenode:8020", "/data/sales.csv"),
        ("sftp://me:hidden@host:22/data/sales.csv", "sftp://host:22", "/data/sales.csv"),
        ("https://me:hidden@host/sales.csv?sig=hidden#hidden", "https://host", "/sales.csv"),
    ],
)
def test_inputs_have_openlineages_names_and_no_credentials(source, namespace, name):
    assert source_name(source) == {"namespace": namespace, "name": name}


@pytest.mark.parametrize(
    "source",
    [
        "s3://AKIAID:hid/den@bucket/key",
        "s3://AKIAID:123/hidden@bucket/key",
        "https://user:hid/den@host/x.csv",
        "https://user:hid?den@host/x.csv",
        "https://host:80/x.csv?mail=a@b&sig=hidden",
        "abfs://me:hid/den@account.dfs.core.windows.net/key.csv",
        "simplecache::https://user:hidden@host/x.csv?sig=hidden",
        " https://user:hidden@host/x.csv",
        Path("https://user:hidden@host/x.csv?sig=hidden"),
    ],
)
def test_an_address_that_can_be_read_in_two_ways_is_no_input(source):
    assert source_name(source) is None


def test_paths_of_every_kind(tmp_path):
    from upath import UPath

    local = {"namespace": HERE, "name": str(tmp_path)}
    assert source_name(tmp_path) == local
    assert source_name(UPath(tmp_path)) == local
    assert source_name(ObjectStoragePath(f"file://{tmp_path}")) == local
    s3 = {"namespace": "s3://bucket", "name": "deep/key.csv"}
    assert source_name(ObjectStoragePath("s3://conn_id@bucket/deep/key.csv")) == s3
    assert source_name(ObjectStoragePath("s3://bucket/deep/key.csv", conn_id="conn_id")) == s3


@pytest.mark.parametrize("source", ["", None, b"a,b\n1,2\n", object(), ["/data/sales.csv"], 5])
def test_what_has_no_name_is_no_input(source):
    assert source_name(source) is None


def facets(datasets, kind):
    return {key: value for dataset in datasets for key, value in (getattr(dataset, kind) or {}).items()}


def context(xcoms=None):
    xcoms = {} if xcoms is None else xcoms
    ti = SimpleNamespace(
        try_number=1,
        max_tries=0,
        map_index=-1,
        start_date=None,
        xcom_push=lambda *, key, value: xcoms.update({key: json.loads(json.dumps(value))}),
        xcom_pull=lambda *, task_ids, key, map_indexes: xcoms.get(key),
    )
    return {"ti": ti}


@pytest.fixture
def sales(tmp_path):
    path = tmp_path / "sales.csv"
    path.write_bytes(CONTENT)
    return path


class TestOperator:
    @pytest.fixture(autouse=True)
    def installed(self):
        pytest.importorskip("airflow.providers.openlineage")

    @pytest.fixture
    def step(self, monkeypatch, workbench_sandbox):
        monkeypatch.setenv("AIRFLOW_CONN_WORKBENCH_DEFAULT", workbench_sandbox.step.connection_json())
        return workbench_sandbox.step

    @pytest.fixture
    def operator(self, sales):
        return lambda **kwargs: WorkbenchUploadOperator(**{"task_id": "upload", "filepath": str(sales), **kwargs})

    def test_on_start_the_datasets_are_named(self, operator, step, sales, workbench_sandbox):
        lineage = operator().get_openlineage_facets_on_start()
        (given,), (taken,) = lineage.inputs, lineage.outputs
        assert (given.namespace, given.name) == (HERE, str(sales))
        place = urlsplit(step.create_file_url).netloc
        assert (taken.namespace, taken.name) == (f"workbench://{place}", f"workflows/1/steps/{step.slug}")
        assert facets(lineage.outputs, "facets")["dataSource"].uri == step.page_url
        assert facets(lineage.outputs, "outputFacets") == facets(lineage.inputs, "inputFacets") == {}
        assert workbench_sandbox.requests == []

    def test_on_complete_bytes_rows_and_the_files_uuid_are_known_without_asking(
        self, operator, step, workbench_sandbox, monkeypatch
    ):
        upload = operator(wait_until="rendered", poke_interval=0.1)
        upload.execute(context())
        workbench_sandbox.clear_requests()
        monkeypatch.setattr(WorkbenchHook, "get_settings", None)
        lineage = upload.get_openlineage_facets_on_complete(None)
        statistics = facets(lineage.outputs, "outputFacets")["outputStatistics"]
        assert (statistics.size, statistics.rowCount) == (len(CONTENT), 2)
        assert facets(lineage.inputs, "inputFacets")["inputStatistics"].size == len(CONTENT)
        (file,) = step.files
        assert facets(lineage.outputs, "facets")["version"].datasetVersion == file.uuid
        assert workbench_sandbox.requests == []

    def test_without_waiting_rows_and_uuid_are_left_out(self, operator, step):
        upload = operator()
        upload.execute(context())
        lineage = upload.get_openlineage_facets_on_complete(None)
        statistics = facets(lineage.outputs, "outputFacets")["outputStatistics"]
        assert (statistics.size, statistics.rowCount) == (len(CONTENT), None)
        assert set(facets(lineage.outputs, "facets")) == {"dataSource"}

    def test_a_failed_upload_has_delivered_nothing(self, operator, step):
        step.reset_token("another")
        upload = operator()
        with pytest.raises(WorkbenchError):
            upload.execute(context())
        lineage = upload.get_openlineage_facets_on_complete(None)
        assert [dataset.name for dataset in lineage.outputs] == [f"workflows/1/steps/{step.slug}"]
        assert facets(lineage.outputs, "outputFacets") == {}
        assert set(facets(lineage.outputs, "facets")) == {"dataSource"}

    def test_a_file_that_was_delivered_and_not_as_expected_was_delivered(self, operator, step):
        upload = operator(wait_until="rendered", expected_rows=3, poke_interval=0.1)
        with pytest.raises(WorkbenchError):
            upload.execute(context())
        statistics = facets(upload.get_openlineage_facets_on_complete(None).outputs, "outputFacets")["outputStatistics"]
        assert statistics.size == len(CONTENT)

    def test_a_connection_that_cannot_be_used_leaves_the_step_out(self, operator, monkeypatch, sales):
        monkeypatch.setenv("AIRFLOW_CONN_WORKBENCH_DEFAULT", '{"conn_type": "workbench", "host": "no.url"}')
        upload = operator()
        lineage = upload.get_openlineage_facets_on_start()
        assert [dataset.name for dataset in lineage.inputs] == [str(sales)]
        assert lineage.outputs == []
        with pytest.raises(WorkbenchError):
            upload.execute(context())
        assert upload.get_openlineage_facets_on_complete(None).outputs == []

    def test_a_source_that_is_refused_shows_no_password(self, operator, step):
        upload = operator(filepath="s3://AKIAID:hid/den@bucket/key")
        texts = [repr(upload.get_openlineage_facets_on_start())]
        with pytest.raises(WorkbenchError) as caught:
            upload.execute(context())
        texts += [repr(upload.get_openlineage_facets_on_complete(None)), str(caught.value)]
        for text in texts:
            assert "AKIAID" not in text
            assert "hid" not in text

    def test_no_secret_is_in_it(self, operator, workbench_sandbox, monkeypatch):
        step = workbench_sandbox.secret_step
        extra = {"secret_link": step.secret_link_url, "show_secret_link": True}
        monkeypatch.setenv("AIRFLOW_CONN_WORKBENCH_DEFAULT", step.connection_json(**extra))
        upload = operator(wait_until="listed")
        texts = [repr(upload.get_openlineage_facets_on_start())]
        upload.execute(context())
        texts.append(repr(upload.get_openlineage_facets_on_complete(None)))
        for text in texts:
            assert step.slug in text
            assert step.secret_link not in text
            assert step.api_token not in text
            assert "/files/" not in text

    @pytest.mark.parametrize(
        ("kind", "has_input"),
        [("path", True), ("bytes", False), ("table", False)],
    )
    def test_the_decorated_functions_input_is_what_it_returned(self, step, sales, kind, has_input):
        polars = pytest.importorskip("polars")
        content = {"path": sales, "bytes": CONTENT, "table": polars.DataFrame({"a": [1, 2]})}[kind]
        upload = WorkbenchUploadDecoratedOperator(
            task_id="upload", python_callable=lambda: content, filename="sales.csv", op_args=[], op_kwargs={}
        )
        assert upload.get_openlineage_facets_on_start().inputs == []
        result = upload.execute(context())
        lineage = upload.get_openlineage_facets_on_complete(None)
        assert [dataset.name for dataset in lineage.inputs] == ([str(sales)] if has_input else [])
        assert facets(lineage.outputs, "outputFacets")["outputStatistics"].size == result["size"]


class TestAfterADeferral:
    """Another process ends the task than the one that uploaded, and it may be on another machine."""

    @pytest.fixture(autouse=True)
    def installed(self):
        pytest.importorskip("airflow.providers.openlineage")

    @pytest.fixture(autouse=True)
    def step(self, monkeypatch, workbench_sandbox):
        monkeypatch.setenv("AIRFLOW_CONN_WORKBENCH_DEFAULT", workbench_sandbox.step.connection_json())
        workbench_sandbox.render_delay = 60
        return workbench_sandbox.step

    def ended(self, make, step, monkeypatch):
        """The lineage, and what was kept meanwhile."""
        xcoms = {}
        with pytest.raises(TaskDeferred):
            make().execute(context(xcoms))
        monkeypatch.setattr(socket, "gethostname", lambda: "another-machine")
        (file,) = step.files
        seen = {"uuid": file.uuid, "name": file.name, "size": file.size, "created_at": "2026-01-01T00:00:00+00:00"}
        event = {"state": "seen", "file": {**seen, "n_rows": 2, "n_columns": 2}, "message": "rendered"}
        task = make()
        result = task.execute_complete(context(xcoms), event)
        assert "source" not in result
        return task.get_openlineage_facets_on_complete(None), json.dumps(xcoms)

    def decorated(self, returns):
        calls = []

        def function():
            calls.append(1)
            assert len(calls) == 1
            return returns

        return lambda: WorkbenchUploadDecoratedOperator(
            task_id="upload",
            python_callable=function,
            op_args=[],
            op_kwargs={},
            filename="sales.csv",
            wait_until="rendered",
            deferrable=True,
        )

    def test_the_input_is_what_the_decorated_function_returned_to_the_other_process(self, step, sales, monkeypatch):
        lineage, _ = self.ended(self.decorated(sales), step, monkeypatch)
        ((namespace, name),) = ((each.namespace, each.name) for each in lineage.inputs)
        assert (namespace, name) == (HERE, str(sales))
        assert facets(lineage.inputs, "inputFacets")["inputStatistics"].size == len(CONTENT)
        assert facets(lineage.outputs, "outputFacets")["outputStatistics"].rowCount == 2

    def test_what_has_no_name_still_has_none(self, step, monkeypatch):
        lineage, _ = self.ended(self.decorated(CONTENT), step, monkeypatch)
        assert lineage.inputs == []
        assert facets(lineage.outputs, "outputFacets")["outputStatistics"].size == len(CONTENT)

    def test_an_objects_credentials_are_not_kept(self, step, monkeypatch):
        from upath import UPath

        # what a signed URL has, where it needs no server
        held = UPath("memory://sold/sales.csv?signature=hidden", token="hidden-token")
        held.write_bytes(CONTENT)
        lineage, kept = self.ended(self.decorated(held), step, monkeypatch)
        assert [(each.namespace, each.name) for each in lineage.inputs] == [("memory://sold", "/sales.csv")]
        assert "hidden" not in kept

    def test_the_operators_input_is_on_the_machine_that_read_it(self, step, sales, monkeypatch):
        lineage, _ = self.ended(
            lambda: WorkbenchUploadOperator(
                task_id="upload", filepath=str(sales), wait_until="rendered", deferrable=True
            ),
            step,
            monkeypatch,
        )
        assert [(each.namespace, each.name) for each in lineage.inputs] == [(HERE, str(sales))]

    def test_a_task_that_an_earlier_version_deferred_is_ended(self, step, sales):
        xcoms = {}
        make = self.decorated(sales)
        with pytest.raises(TaskDeferred):
            make().execute(context(xcoms))
        del xcoms["upload"]["source"]
        (file,) = step.files
        event = {"state": "seen", "file": {"uuid": file.uuid, "name": file.name, "size": file.size}, "message": ""}
        event["file"]["created_at"] = "2026-01-01T00:00:00+00:00"
        task = make()
        task.execute_complete(context(xcoms), event)
        assert task.get_openlineage_facets_on_complete(None).inputs == []


def test_without_openlineage_there_is_no_error_and_nothing_of_it_is_imported(sales, monkeypatch, workbench_sandbox):
    monkeypatch.setenv("AIRFLOW_CONN_WORKBENCH_DEFAULT", workbench_sandbox.step.connection_json())
    for name in [name for name in sys.modules if name.partition(".")[0] == "openlineage" or ".openlineage" in name]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "openlineage", None)
    monkeypatch.setitem(sys.modules, "airflow.providers.openlineage", None)
    upload = WorkbenchUploadOperator(task_id="upload", filepath=str(sales))
    assert upload.get_openlineage_facets_on_start() is None
    result = upload.execute(context())
    assert upload.get_openlineage_facets_on_complete(None) is None
    assert json.dumps(result)


def test_uploading_imports_nothing_of_openlineage(sales, workbench_sandbox):
    import subprocess

    script = """
import sys
from airflow_provider_workbench.operators.workbench import WorkbenchUploadOperator
WorkbenchUploadOperator(task_id="upload", filepath=sys.argv[1]).execute({})
ours = ("openlineage", "airflow.providers.openlineage.extractors")
print("imported", *(name for name in sys.modules if name.startswith(ours)))
"""
    environment = {**os.environ, "AIRFLOW_CONN_WORKBENCH_DEFAULT": workbench_sandbox.step.connection_json()}
    done = subprocess.run(
        [sys.executable, "-c", script, str(sales)], capture_output=True, text=True, check=True, env=environment
    )
    assert len(workbench_sandbox.step.files) == 1
    assert done.stdout.splitlines()[-1].split() == ["imported"]
