"""Uploads by somebody else: not by a DAG."""

from __future__ import annotations

from pathlib import Path

from airflow_provider_workbench.client.settings import Settings
from airflow_provider_workbench.client.upload import upload_file
from airflow_provider_workbench.sandbox.state import Step


def upload(step: Step, path: Path) -> str:
    """The new File's uuid. Its name is no other File's."""
    upload_file(Settings.from_fields(step.create_file_url, step.api_token or ""), path)
    (uuid,) = (file.uuid for file in step.files if file.name == path.name)
    return uuid
