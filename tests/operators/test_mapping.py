"""Dynamic task mapping: many uploads to one Step, which keeps 30 Files, of which it uses the one that finished last."""

from __future__ import annotations

import logging
import re
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from airflow.providers.common.compat.sdk import AirflowSkipException

from airflow_provider_workbench.hooks.waiting import Rules, Waiting
from airflow_provider_workbench.hooks.workbench import WorkbenchHook
from airflow_provider_workbench.operators.workbench import WorkbenchUploadOperator
from airflow_provider_workbench.sensors.workbench import WorkbenchFileSensor


@pytest.fixture
def step(monkeypatch, workbench_sandbox):
    monkeypatch.setenv("AIRFLOW_CONN_WORKBENCH_DEFAULT", workbench_sandbox.step.connection_json())
    return workbench_sandbox.step


@pytest.fixture
def new_dag():
    from airflow.providers.common.compat.sdk import DAG

    return lambda name: DAG(name, schedule=None, start_date=datetime(2026, 1, 1), catchup=False)


def content(number):
    return b"part\n%03d\n" % number


@pytest.fixture
def parts(tmp_path):
    """``parts(n)``: paths of so many files of one size."""

    def parts(count):
        paths = [tmp_path / f"part-{number}.csv" for number in range(count)]
        for number, path in enumerate(paths):
            path.write_bytes(content(number))
        return [str(path) for path in paths]

    return parts


def uploads(sandbox):
    return [seen for seen in sandbox.requests if seen.method == "POST"]


@pytest.mark.airflow
def test_of_fifty_files_each_is_delivered_and_the_twenty_that_were_pushed_out_are_said_to_be_gone(
    run_dag, new_dag, step, parts, workbench_sandbox
):
    with new_dag("mapped_over_fifty") as dag:
        WorkbenchUploadOperator.partial(task_id="upload", wait_until="listed").expand(filepath=parts(50))

    run = run_dag(dag)
    assert run.state == "success"
    assert len(uploads(workbench_sandbox)) == 50
    outputs = [run.returned("upload", number) for number in range(50)]
    assert [output["filename"] for output in outputs] == [f"part-{number}.csv" for number in range(50)]
    assert [output["file"]["uuid"] for output in outputs] == [output["uuid"] for output in outputs]
    numbers = {output["uuid"]: number for number, output in enumerate(outputs)}
    assert len(numbers) == 50
    assert len(step.files) == 30
    for file in step.files:
        assert step.content(file.uuid) == content(numbers[file.uuid])

    # a sensor for each, with and without the uuid
    kept = {numbers[file.uuid] for file in step.files}
    for number, output in enumerate(outputs):
        for upload in (output, {**output, "uuid": None}):
            sensor = WorkbenchFileSensor(task_id="wait", upload=upload, until="listed", on_superseded="skip")
            if number in kept:
                assert sensor.execute({})["uuid"] == output["uuid"]
            else:
                words = f"File 'part-{number}.csv' of 9 bytes was dropped: the Step has 30 later Files"
                with pytest.raises(AirflowSkipException, match=re.escape(words)):
                    sensor.execute({})


@pytest.mark.airflow
def test_of_mapped_files_the_last_is_used_and_the_others_are_superseded(run_dag, new_dag, step, parts):
    with new_dag("mapped_and_selected") as dag:
        upload = WorkbenchUploadOperator.partial(task_id="upload").expand(filepath=parts(3))
        waits = {"until": "selected", "deferrable": True}
        WorkbenchFileSensor.partial(task_id="wait", **waits).expand(upload=upload.output)
        WorkbenchFileSensor.partial(task_id="fail", on_superseded="fail", **waits).expand(upload=upload.output)

    run = run_dag(dag)
    last = int(step.selected.name.removeprefix("part-").removesuffix(".csv"))
    assert {number for number in range(3) if run.states["wait", number] == "success"} == {0, 1, 2}
    assert Counter(run.states["fail", number] for number in range(3)) == {"success": 1, "failed": 2}
    assert run.states["fail", last] == "success"
    for number in {0, 1, 2} - {last}:
        words = f"File 'part-{number}.csv' of 9 bytes was superseded: the Step uses 'part-{last}.csv' (9 bytes)"
        assert words in run.log


@pytest.mark.airflow
def test_names_and_paths_come_from_upstream_and_one_that_fails_leaves_the_others(
    run_dag, new_dag, step, parts, tmp_path
):
    from airflow.providers.common.compat.sdk import task

    with new_dag("mapped_over_dicts") as dag:

        @task
        def find():
            here = [{"filepath": path, "filename": f"{number}.csv"} for number, path in enumerate(parts(2))]
            return [*here, {"filepath": str(tmp_path / "gone.csv"), "filename": "gone.csv"}]

        @task(trigger_rule="all_done")
        def names(outputs):
            return sorted(output["filename"] for output in outputs)

        names(WorkbenchUploadOperator.partial(task_id="upload", retries=0).expand_kwargs(find()).output)

    run = run_dag(dag)
    assert [run.states["upload", number] for number in range(3)] == ["success", "success", "failed"]
    assert "Workers share no disk" in run.log
    assert run.returned("names") == sorted(file.name for file in step.files) == ["0.csv", "1.csv"]


class TestUuid:
    """Of a File that is looked for at any time after it was delivered."""

    @pytest.fixture
    def deliver(self, step, workbench_sandbox, tmp_path):
        """Somebody else's Files, in no time."""

        def deliver(*names, content=b"a\n2\n"):
            for name in names:
                path = tmp_path / "theirs"
                path.write_bytes(content)
                metadata = {"workflowId": str(step.workflow_id), "stepSlug": step.slug, "apiToken": step.api_token}
                workbench_sandbox.workbench.accept({**metadata, "filename": name}, len(content), path)

        return deliver

    def look(self, upload, **options):
        rules = Rules.checked(until="listed", expected_rows=None, expected_columns=None, on_superseded="succeed")
        settings, log = WorkbenchHook().get_settings(), logging.getLogger(__name__)
        waiting = Waiting.of_upload(settings, upload, rules, log, conn_id="workbench_default", **options)
        verdict = waiting.look()
        return waiting.wanted.uuid, verdict

    def upload(self):
        upload = WorkbenchHook().upload_file(b"a\n1\n", "part.csv").as_dict()
        # as if it had taken a minute
        return {**upload, "not_before": (datetime.now(UTC) - timedelta(minutes=1)).isoformat()}

    def test_it_is_known_when_one_file_can_be_it(self, step, deliver):
        upload = self.upload()
        deliver("other.csv")
        assert self.look(upload)[0] == step.files[1].uuid

    def test_it_is_not_known_of_twins(self, step, deliver):
        upload = self.upload()
        deliver("part.csv")
        assert self.look(upload)[0] is None

    def test_it_is_not_that_of_a_twin_which_was_left_when_ours_was_pushed_out(self, step, deliver):
        upload = self.upload()
        deliver(*(f"{number}.csv" for number in range(29)), "part.csv")
        assert [file.name for file in step.files].count("part.csv") == 1
        uuid, verdict = self.look(upload)
        assert (uuid, verdict.state) == (None, "seen")

    def test_right_after_the_upload_nothing_can_have_pushed_it_out(self, step, deliver):
        deliver(*(f"{number}.csv" for number in range(30)))
        upload = self.upload()
        assert self.look(upload, just_delivered=True)[0] == step.files[0].uuid
        assert self.look(upload)[0] is None
