"""``dag.test()`` alike on Airflow 2.11, 3.1 and 3.3."""

from __future__ import annotations

import io
import logging
from dataclasses import dataclass, field
from typing import Any

from airflow import __version__

AIRFLOW_3 = not __version__.startswith("2.")


@dataclass
class FinishedRun:
    """What became of a DAG run. Mapped tasks are found by ``(task_id, map_index)`` too.

    :ivar state: of the run
    :ivar states: of the task instances
    :ivar xcoms: each task instance's XComs by key
    :ivar log: all that was logged and printed during the run
    """

    run_id: str
    state: str
    states: dict[Any, str] = field(default_factory=dict)
    xcoms: dict[Any, dict[str, Any]] = field(default_factory=dict)
    log: str = ""

    def returned(self, task_id: str, map_index: int | None = None) -> Any:
        return self.xcoms[task_id if map_index is None else (task_id, map_index)]["return_value"]


def run_dag(dag: Any, **options: Any) -> FinishedRun:
    log = io.StringIO()
    # Airflow 2 would add a handler of its own, which keeps this test's stdout, if it found none of this class
    handler = logging.StreamHandler(log)
    loggers = [] if AIRFLOW_3 else [logging.getLogger(), logging.getLogger("airflow.task")]
    for logger in loggers:
        logger.addHandler(handler)
    try:
        if AIRFLOW_3:
            _register(dag)
        dag_run = dag.test(**options)
    finally:
        for logger in loggers:
            logger.removeHandler(handler)
    finished = _read(dag_run.dag_id, dag_run.run_id)
    finished.log = log.getvalue()
    return finished


def _register(dag: Any) -> None:
    """Airflow 3 runs only a DAG that is in the database, read from a configured bundle."""
    from airflow import settings
    from airflow.dag_processing.bundles.manager import DagBundlesManager

    try:
        from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db
    except ImportError:
        from airflow.models.dagbag import DagBag, sync_bag_to_db

    manager = DagBundlesManager()
    manager.sync_bundles_to_db()
    settings.Session().commit()
    bundle = next(iter(manager.get_all_dag_bundles()))
    bag = DagBag(dag_folder=str(bundle.path), collect_dags=False)
    bag.bag_dag(dag)
    sync_bag_to_db(bag, bundle.name, None)


def _read(dag_id: str, run_id: str) -> FinishedRun:
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session

    if AIRFLOW_3:
        from airflow.models.xcom import XComModel as XCom
    else:
        from airflow.models.xcom import XCom

    with create_session() as session:
        dag_run = session.query(DagRun).filter_by(dag_id=dag_id, run_id=run_id).one()
        finished = FinishedRun(run_id, str(dag_run.state))
        for instance in dag_run.get_task_instances(session=session):
            keys = [(instance.task_id, instance.map_index)]
            if instance.map_index == -1:
                keys.append(instance.task_id)
            found = session.query(XCom).filter_by(
                dag_id=dag_id, run_id=run_id, task_id=instance.task_id, map_index=instance.map_index
            )
            values = {row.key: XCom.deserialize_value(row) for row in found}
            for key in keys:
                finished.states[key] = str(instance.state)
                finished.xcoms[key] = values
    return finished
