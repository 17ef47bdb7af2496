"""The fixture ``run_dag`` does the same on every Airflow."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

pytestmark = pytest.mark.airflow


def _dag(name):
    from airflow.providers.common.compat.sdk import DAG

    return DAG(name, schedule=None, start_date=datetime(2026, 1, 1), catchup=False)


def test_states_xcoms_and_log_of_a_run(run_dag):
    from airflow.providers.common.compat.sdk import task

    with _dag("harness_plain") as dag:

        @task
        def give(number: int) -> dict:
            print(f"printed {number}")
            return {"number": number}

        @task
        def fail(given: dict) -> None:
            import logging

            logging.getLogger(__name__).warning("logged %s", given["number"])
            raise ValueError("on purpose")

        fail(give(7))
        give.override(task_id="mapped").expand(number=[1, 2])

    run = run_dag(dag)
    assert run.state == "failed"
    assert run.states["give"] == "success"
    assert run.states["fail"] == "failed"
    assert run.returned("give") == {"number": 7}
    assert [run.returned("mapped", index) for index in (0, 1)] == [{"number": 1}, {"number": 2}]
    assert "printed 7" in run.log
    assert "logged 7" in run.log
    assert "on purpose" in run.log


def test_a_deferred_task_runs_on(run_dag):
    from airflow.providers.common.compat.sdk import BaseOperator

    try:
        from airflow.providers.standard.triggers.temporal import DateTimeTrigger
    except ImportError:
        from airflow.triggers.temporal import DateTimeTrigger

    class Waits(BaseOperator):
        def execute(self, context):
            moment = datetime.now(UTC) + timedelta(milliseconds=100)
            self.defer(trigger=DateTimeTrigger(moment), method_name="resumed")

        def resumed(self, context, event):
            return "resumed"

    with _dag("harness_deferred") as dag:
        Waits(task_id="wait")

    run = run_dag(dag)
    assert (run.state, run.states["wait"], run.returned("wait")) == ("success", "success", "resumed")


def test_a_dag_of_the_same_name_can_change(run_dag):
    from airflow.providers.common.compat.sdk import task

    for expected in ("one", "two"):
        with _dag("harness_changing") as dag:

            @task
            def give(value=expected):
                return value

            give.override(task_id=f"give_{expected}")()
        assert run_dag(dag).returned(f"give_{expected}") == expected
