"""What importing our modules costs a DAG processor."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec

import pytest

OURS = "airflow_provider_workbench."
HEAVY = {
    *("requests", "urllib3", "httpx", "aiohttp", "tusclient", "starlette"),
    *("polars", "pandas", "pyarrow", "numpy", "fsspec", "upath", "s3fs", "botocore"),
    *("cryptography", "openlineage", "sqlalchemy"),
}


BASE_CLASSES = """
import airflow.triggers.base
from airflow.providers.common.compat.sdk import (
    Asset, BaseOperator, BaseOperatorLink, BaseSensorOperator, DecoratedOperator, dag, task
)
"""


def added_to(base, *kinds):
    """What a fresh process has imported for ``kinds`` of us after it ran ``base``."""
    # Airflow itself imports some of the heavy ones, so only what we add counts
    script = f"""
import importlib, json, sys
{base}
before = set(sys.modules)
for kind in {kinds}:
    importlib.import_module(f"airflow_provider_workbench.{{kind}}.workbench")
print(json.dumps(sorted(set(sys.modules) - before)))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.fixture(scope="module")
def added():
    """What all that a DAG may import of us adds to Airflow's base classes of it."""
    return added_to(BASE_CLASSES, "operators", "sensors", "triggers", "decorators", "assets", "links")


def test_what_a_dag_imports_pulls_in_no_library_that_is_not_needed_to_parse_it(added):
    assert {f"{OURS}decorators.workbench", f"{OURS}assets.workbench", f"{OURS}links.workbench"} <= added
    assert {name for name in added if name.partition(".")[0] in HEAVY} == set()


def test_of_our_client_it_pulls_in_what_the_assets_need_and_of_hooks_and_sandbox_nothing(added):
    inner = {
        name.removeprefix(OURS) for name in added if name.startswith((f"{OURS}client.", f"{OURS}hooks", f"{OURS}sand"))
    }
    assert inner == {"client.endpoint", "client.errors"}


@pytest.mark.skipif(find_spec("airflow.sdk") is None, reason="Airflow 2 has no airflow.sdk")
def test_what_a_dag_imports_is_at_most_25_modules():
    new = added_to("import airflow, airflow.sdk", "operators", "sensors", "triggers", "decorators")
    assert f"{OURS}decorators.workbench" in new
    assert len(new) <= 25, sorted(new)
