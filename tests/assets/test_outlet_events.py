"""The events that an upload puts on the task's outlets, in real runs."""

from __future__ import annotations

from datetime import datetime
from hashlib import sha256
from urllib.parse import urlsplit

import pytest
from airflow import __version__
from airflow.providers.common.compat.sdk import DAG, Asset, AssetAlias, BaseOperator

from airflow_provider_workbench.assets.workbench import step_asset
from airflow_provider_workbench.operators.workbench import WorkbenchUploadOperator

AIRFLOW_3 = not __version__.startswith("2.")
CONTENT = b"city,sold\nBergen,1\nLima,2\n"

pytestmark = pytest.mark.airflow


@pytest.fixture
def step(monkeypatch, workbench_sandbox):
    """A Step of which Airflow's database has never heard."""
    step = workbench_sandbox.workflow.add_step()
    monkeypatch.setenv("AIRFLOW_CONN_WORKBENCH_DEFAULT", step.connection_json())
    return step


@pytest.fixture
def asset(step):
    return step_asset(step.create_file_url)


@pytest.fixture
def sales(tmp_path):
    path = tmp_path / "sales.csv"
    path.write_bytes(CONTENT)
    return path


@pytest.fixture
def run_with_assets(run_dag):
    """Airflow 2 tells only of datasets that its database has, and ``dag.test()`` puts none there."""

    def run_with_assets(dag):
        if not AIRFLOW_3:
            dag.sync_to_db()
        return run_dag(dag)

    return run_with_assets


@pytest.fixture
def upload(run_with_assets, sales):
    """Run one upload task; returns the run."""

    def upload(**kwargs):
        with DAG("outlets", schedule=None, start_date=datetime(2026, 1, 1)) as dag:
            WorkbenchUploadOperator(
                **{"task_id": "upload", "filepath": str(sales), "poke_interval": 0.1, "wait_timeout": 30, **kwargs}
            )
        return run_with_assets(dag)

    return upload


class Nothing(BaseOperator):
    def execute(self, context):
        return None


@pytest.fixture
def known_elsewhere(run_dag):
    """Another DAG has the asset."""

    def known_elsewhere(asset):
        with DAG("elsewhere", schedule=None, start_date=datetime(2026, 1, 1)) as dag:
            Nothing(task_id="nothing", outlets=[asset])
        run_dag(dag)

    return known_elsewhere


def events(run):
    """``(address, extra)`` of each event of the run, in order."""
    from airflow.utils.session import create_session

    if AIRFLOW_3:
        from airflow.models.asset import AssetEvent as Event
        from airflow.models.asset import AssetModel as Model
    else:
        from airflow.models.dataset import DatasetEvent as Event
        from airflow.models.dataset import DatasetModel as Model

    with create_session() as session:
        uris = {model.id: model.uri for model in session.query(Model)}
        found = session.query(Event).filter_by(source_run_id=run.run_id, source_dag_id="outlets").order_by(Event.id)
        return [(uris[event.asset_id if AIRFLOW_3 else event.dataset_id], event.extra) for event in found]


def test_the_event_has_filename_size_and_uuid_and_nothing_else(upload, asset, step):
    run = upload(outlets=[asset])
    assert run.state == "success", run.log
    (file,) = step.files
    assert events(run) == [(asset.uri, {"filename": "sales.csv", "size": len(CONTENT), "uuid": file.uuid})]
    assert run.returned("upload")["uuid"] == file.uuid


def test_the_digest_is_in_it_if_it_was_asked_for(upload, asset):
    run = upload(outlets=[asset], sha256=True)
    ((_, extra),) = events(run)
    assert extra["sha256"] == sha256(CONTENT).hexdigest()


@pytest.mark.parametrize("deferrable", [False, True], ids=["on the worker", "deferred"])
def test_with_wait_until_it_is_the_same_event(upload, asset, step, workbench_sandbox, deferrable):
    workbench_sandbox.render_delay = 0.5
    run = upload(outlets=[asset], wait_until="rendered", deferrable=deferrable, sha256=True)
    assert run.state == "success", run.log
    assert "upload" in run.xcoms["upload"], "it did not wait"
    (file,) = step.files
    digest = sha256(CONTENT).hexdigest()
    extra = {"filename": "sales.csv", "size": len(CONTENT), "uuid": file.uuid, "sha256": digest}
    assert events(run) == [(asset.uri, extra)]


def test_an_alias_gets_the_steps_asset(upload, asset, step):
    run = upload(outlets=[AssetAlias("whatever is uploaded")])
    assert run.state == "success", run.log
    (file,) = step.files
    assert events(run) == [(asset.uri, {"filename": "sales.csv", "size": len(CONTENT), "uuid": file.uuid})]


@pytest.mark.skipif(not AIRFLOW_3, reason="a Dataset has no name")
def test_an_alias_gets_the_asset_that_others_know_by_a_name_of_its_own(upload, known_elsewhere, asset):
    from airflow.models.asset import AssetModel
    from airflow.utils.session import create_session

    known_elsewhere(Asset(name="sales", uri=asset.uri))
    run = upload(outlets=[AssetAlias("sales of today")])
    assert run.state == "success", run.log
    assert [uri for uri, _ in events(run)] == [asset.uri]
    with create_session() as session:
        assert [model.name for model in session.query(AssetModel).filter_by(uri=asset.uri)] == ["sales"]


@pytest.mark.skipif(not AIRFLOW_3, reason="Airflow 2 has no references")
@pytest.mark.parametrize("kind", ["name", "uri"])
def test_a_reference_to_the_steps_asset_is_one(upload, known_elsewhere, asset, step, kind):
    named = Asset(name=f"referred to by {kind}", uri=asset.uri)
    known_elsewhere(named)
    run = upload(outlets=[Asset.ref(**{kind: getattr(named, kind)})])
    assert run.state == "success", run.log
    extra = {"filename": "sales.csv", "size": len(CONTENT), "uuid": step.files[0].uuid}
    assert events(run) == [(asset.uri, extra)]


def test_an_outlet_of_another_step_is_refused_before_the_upload(upload, step, asset, workbench_sandbox):
    other = step_asset(step.create_file_url.replace(step.slug, "step-other"))
    run = upload(outlets=[other])
    assert run.state == "failed"
    assert f"The task's outlet is {other.uri}, and connection 'workbench_default' uploads to {asset.uri}" in run.log
    assert workbench_sandbox.requests == []
    assert events(run) == []


def test_an_outlet_of_another_workbench_is_refused_before_the_upload(upload, step, workbench_sandbox):
    elsewhere = step_asset(step.create_file_url.replace("127.0.0.1", "workbench.example").replace("http:", "https:"))
    run = upload(outlets=[elsewhere])
    assert run.state == "failed"
    assert elsewhere.uri in run.log
    assert workbench_sandbox.requests == []


def test_the_connection_may_be_a_uri(upload, step, asset, monkeypatch):
    monkeypatch.setenv("AIRFLOW_CONN_WORKBENCH_DEFAULT", step.connection_uri())
    run = upload(outlets=[asset])
    assert run.state == "success", run.log
    assert [uri for uri, _ in events(run)] == [asset.uri]


def test_the_connections_host_may_be_written_otherwise(upload, step, monkeypatch):
    port = urlsplit(step.create_file_url).port
    json = step.connection_json().replace(f"http://127.0.0.1:{port}", f"LOCALHOST:{port}")
    monkeypatch.setenv("AIRFLOW_CONN_WORKBENCH_DEFAULT", json)
    asset = step_asset(step.create_file_url.replace("127.0.0.1", "localhost"))
    run = upload(outlets=[asset])
    assert run.state == "success", run.log
    assert [uri for uri, _ in events(run)] == [asset.uri]


def test_a_step_that_cannot_be_read_leaves_the_uuid_open_and_says_why(upload, monkeypatch, workbench_sandbox):
    step = workbench_sandbox.private_step
    monkeypatch.setenv("AIRFLOW_CONN_WORKBENCH_DEFAULT", step.connection_json())
    asset = step_asset(step.create_file_url)
    run = upload(outlets=[asset])
    assert run.state == "success", run.log
    assert len(step.files) == 1
    assert events(run) == [(asset.uri, {"filename": "sales.csv", "size": len(CONTENT), "uuid": None})]
    assert "its uuid is not known: " in run.log
    assert "secret_link" in run.log


def test_of_twins_the_event_names_none_and_says_so(upload, asset, step, workbench_sandbox, sales, monkeypatch):
    from airflow_provider_workbench.client import upload as client

    # each upload takes the other's moment as its own, as two at once do
    monkeypatch.setattr(client._Upload, "_since", lambda self, moment: client._CLOCKS_APART)
    upload(task_id="twin")
    run = upload(outlets=[asset])
    assert run.state == "success", run.log
    ((_, extra),) = events(run)
    assert extra["uuid"] is None
    assert "2 Files of the Step can be it" in run.log


def test_other_outlets_are_left_alone_and_cost_no_look_at_the_step(upload, step, workbench_sandbox):
    run = upload(outlets=[Asset(uri="s3://bucket/key")])
    assert run.state == "success", run.log
    assert events(run) == [("s3://bucket/key", {})] or events(run) == [("s3://bucket/key", None)]
    assert [seen.method for seen in workbench_sandbox.requests] == ["POST", "PATCH"]


def test_mapped_tasks_each_tell_of_their_own_file(run_with_assets, asset, step, tmp_path):
    paths = []
    for name in ("a.csv", "b.csv"):
        path = tmp_path / name
        path.write_bytes(name.encode() + b"\n1\n")
        paths.append(str(path))
    with DAG("outlets", schedule=None, start_date=datetime(2026, 1, 1)) as dag:
        WorkbenchUploadOperator.partial(task_id="upload", outlets=[asset]).expand(filepath=paths)
    run = run_with_assets(dag)
    assert run.state == "success", run.log
    told = {(extra["filename"], extra["uuid"]) for _, extra in events(run)}
    assert told == {(file.name, file.uuid) for file in step.files}
    assert len(told) == 2


def test_no_secret_is_in_an_event(upload, monkeypatch, workbench_sandbox):
    step = workbench_sandbox.secret_step
    monkeypatch.setenv("AIRFLOW_CONN_WORKBENCH_DEFAULT", step.connection_json(secret_link=step.secret_link_url))
    run = upload(outlets=[step_asset(step.create_file_url), AssetAlias("also")], wait_until="listed")
    assert run.state == "success", run.log
    text = str(events(run))
    assert len(events(run)) == 2
    assert step.secret_link not in text
    assert step.api_token not in text
    assert "/files/" not in text
