"""Leaks on purpose, one in each place, by the ways by which real ones would come there."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import tempfile
from datetime import datetime, timedelta
from pathlib import Path

from airflow.providers.common.compat.openlineage.facet import Dataset
from airflow.sdk import Asset, BaseOperator, BaseOperatorLink, dag
from airflow.sdk.log import mask_secret
from planted_trigger import PlantedTrigger

PLANTS = json.loads(Path(os.environ["AUDIT_PLANTS"]).read_text())

print(PLANTS["log of the DAG processor"])

asset = Asset("planted", uri="planted://somewhere", extra={"told": PLANTS["asset"]})


class PlantedLink(BaseOperatorLink):
    name = "Planted"

    @property
    def xcom_key(self):
        return "_link_planted"

    def get_link(self, operator, *, ti_key):
        return PLANTS["extra link"]


class Planted(BaseOperator):
    template_fields = ("templated",)
    operator_extra_links = (PlantedLink(),)

    def __init__(self, *, templated, **kwargs):
        super().__init__(**kwargs)
        self.templated = templated

    def execute(self, context):
        import requests

        self.log.debug(PLANTS["log of a task"])
        logging.getLogger().debug(PLANTS["log of a task, root"])
        # the audit's Airflow masks no values
        mask_secret(PLANTS["log of a task, told to the masker"])
        self.log.info(PLANTS["log of a task, told to the masker"])
        print(PLANTS["output of a task"])
        requests.get(
            os.environ["AUDIT_SERVER"] + PLANTS["urllib3's log"],
            headers={"Authorization": f"Bearer {PLANTS['output of http.client']}"},
        )
        context["ti"].xcom_push(key="planted", value={"deep": [PLANTS["XCom"]]})
        context["ti"].xcom_push(key="_link_planted", value=PLANTS["extra link"])
        context["task_state_store"].set("planted", {"told": PLANTS["task state store"]})
        context["outlet_events"][asset].extra = {"told": PLANTS["asset event"]}
        with tempfile.NamedTemporaryFile(delete=False, prefix="planted") as file:
            file.write(PLANTS["temporary file"].encode())
        Path(os.environ["AIRFLOW_HOME"], "planted.bin").write_text(PLANTS["file of AIRFLOW_HOME"])
        environment = {**os.environ, "PLANTED": PLANTS["environment of a process"]}
        subprocess.run(["sh", "-c", "sleep 2", PLANTS["argument of a process"]], check=True, env=environment)

    def get_openlineage_facets_on_complete(self, task_instance):
        from airflow.providers.openlineage.extractors import OperatorLineage

        return OperatorLineage(inputs=[Dataset("planted", PLANTS["OpenLineage event"])])


class PlantedDeferral(BaseOperator):
    def execute(self, context):
        self.defer(
            trigger=PlantedTrigger(PLANTS["trigger"]),
            method_name="go_on",
            kwargs={"told": PLANTS["deferred task"]},
            timeout=timedelta(minutes=10),
        )

    def go_on(self, context, event=None, told=None):
        raise RuntimeError(PLANTS["traceback of a task"])


@dag(schedule=None, start_date=datetime(2026, 1, 1), catchup=False)
def planted():
    Planted(
        task_id="leaks",
        templated="{{ dag_run.conf['templated'] }}",
        doc_md=PLANTS["serialized DAG"],
        outlets=[asset],
    )
    PlantedDeferral(task_id="defers")


planted()
