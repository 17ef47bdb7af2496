"""Cannot be imported: somebody put the token into the address of an asset."""

from __future__ import annotations

import json
import os

from airflow_provider_workbench.assets.workbench import step_asset

connection = json.loads(os.environ["AIRFLOW_CONN_WORKBENCH_DEFAULT"])
step_asset(connection["host"].replace("://", f"://user:{connection['password']}@"))
