"""What importing our modules costs a DAG processor."""

from __future__ import annotations

import json
import subprocess
import sys

HEAVY = {"requests", "urllib3", "aiohttp", "tusclient", "starlette", "polars"}


def test_importing_operators_sensors_and_triggers_pulls_in_no_http_library():
    # Airflow 2 itself imports some of them, so only what we add counts
    script = """
import json, sys
from airflow.providers.common.compat.sdk import BaseOperator, BaseSensorOperator
import airflow.triggers.base
before = set(sys.modules)
import airflow_provider_workbench.operators.workbench
import airflow_provider_workbench.sensors.workbench
import airflow_provider_workbench.triggers.workbench
print(json.dumps(sorted(set(sys.modules) - before)))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    added = json.loads(done.stdout.splitlines()[-1])
    assert "airflow_provider_workbench.sensors.workbench" in added
    assert HEAVY & set(added) == set()
