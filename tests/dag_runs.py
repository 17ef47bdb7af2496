"""``dag.test()`` alike on Airflow 2.11, 3.1 and 3.3."""

from __future__ import annotations

import contextlib
import functools
import io
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from airflow import __version__

AIRFLOW_3 = not __version__.startswith("2.")


@dataclass
class FinishedRun:
    """What became of a DAG run. A mapped task's instances are found by ``(task_id, map_index)``.

    :ivar state: of the run
    :ivar states: of the task instances
    :ivar xcoms: each task instance's XComs by key
    :ivar log: all that was logged and printed during the run; what went through ``logging`` is not masked
    """

    run_id: str
    state: str
    states: dict[Any, str] = field(default_factory=dict)
    xcoms: dict[Any, dict[str, Any]] = field(default_factory=dict)
    log: str = ""

    def returned(self, task_id: str, map_index: int | None = None) -> Any:
        return self.xcoms[task_id if map_index is None else (task_id, map_index)]["return_value"]


def run_dag(dag: Any, **options: Any) -> FinishedRun:
    """``dag.test(**options)``. An earlier DAG of this name is forgotten."""
    with _all_output() as log:
        if AIRFLOW_3:
            _register(dag)
        dag_run = dag.test(**options)
    finished = _read(dag_run.dag_id, dag_run.run_id)
    finished.log = log.getvalue()
    return finished


@contextlib.contextmanager
def _all_output() -> Iterator[io.StringIO]:
    log = io.StringIO()
    # Airflow 2 adds a handler of its own, which keeps this moment's stdout, unless it finds one of this class.
    handler = logging.StreamHandler(log)
    loggers = [logging.getLogger()] if AIRFLOW_3 else [logging.getLogger(), logging.getLogger("airflow.task")]
    processors: list[Any] = []  # structlog's, which Airflow 3 logs with
    if AIRFLOW_3:
        import structlog
        from airflow import settings  # noqa: F401  (configures structlog)

        processors = structlog.get_config()["processors"]

    def tap(logger: Any, method: str, rendered: Any) -> Any:
        log.write(f"{rendered}\n")
        return rendered

    processors.append(tap)
    for logger in loggers:
        logger.addHandler(handler)
    try:
        with contextlib.redirect_stdout(log):
            yield log
    finally:
        processors.remove(tap)
        for logger in loggers:
            logger.removeHandler(handler)


def _register(dag: Any) -> None:
    """Airflow 3 runs only a DAG that is in the database, read from a configured bundle."""
    from airflow.api.common.delete_dag import delete_dag
    from airflow.dag_processing.bundles.manager import DagBundlesManager
    from airflow.exceptions import DagNotFound
    from airflow.sdk.execution_time import supervisor

    try:
        from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db
    except ImportError:
        from airflow.models.dagbag import DagBag, sync_bag_to_db

    if not hasattr(supervisor.in_process_api_server, "cache_info"):  # 3.1 makes it anew for each task: 3 s
        supervisor.in_process_api_server = functools.cache(supervisor.in_process_api_server)
    with contextlib.suppress(DagNotFound):
        delete_dag(dag.dag_id)
    manager = DagBundlesManager()
    manager.sync_bundles_to_db()
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
            key = instance.task_id if instance.map_index == -1 else (instance.task_id, instance.map_index)
            rows = session.query(XCom).filter_by(
                dag_id=dag_id, run_id=run_id, task_id=instance.task_id, map_index=instance.map_index
            )
            finished.states[key] = str(instance.state)
            finished.xcoms[key] = {
                # Airflow 2 decodes while loading
                row.key: XCom.deserialize_value(row) if AIRFLOW_3 else row.value
                for row in rows
            }
    return finished
