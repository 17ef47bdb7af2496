from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import airflow_provider_workbench.client

FOLDER = Path(airflow_provider_workbench.client.__file__).parent
HEAVY = ("requests", "urllib3", "aiohttp", "tusclient", "airflow")


def loaded_by(module: str) -> set[str]:
    code = f"import sys, {module}; print(*(name for name in {HEAVY!r} if name in sys.modules))"
    return set(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split())


@pytest.mark.parametrize("module", ["", ".errors", ".settings", ".waiting"])
def test_light_modules_load_no_http_library(module: str) -> None:
    assert loaded_by(f"airflow_provider_workbench.client{module}") == set()


def test_whole_client_loads_no_airflow() -> None:
    everything = ", ".join(
        f"airflow_provider_workbench.client.{path.stem}" for path in sorted(FOLDER.glob("[a-z]*.py"))
    )
    assert loaded_by(everything) == {"requests", "urllib3", "aiohttp", "tusclient"}


def imported_by(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add("." * node.level + (node.module or ""))
    return names


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.stem)
def test_client_imports_neither_airflow_nor_the_rest_of_the_package(path: Path) -> None:
    for name in imported_by(path):
        assert not name.startswith("airflow."), name
        assert name != "airflow"
        if name.startswith(("airflow_provider_workbench", ".")) and name != "airflow_provider_workbench.client":
            assert name.startswith("airflow_provider_workbench.client."), name


def test_tuspy_is_imported_while_create_file_is_under_way() -> None:
    """It imports aiohttp, which costs a task's only upload as much time as two or three round trips."""
    code = """
import sys, time
from airflow_provider_workbench.client import upload
from airflow_provider_workbench.client.errors import TokenInvalidError
from airflow_provider_workbench.client.settings import Settings

assert not {"aiohttp", "tusclient"} & sys.modules.keys()

def create_file(*_):
    end = time.monotonic() + 60
    while "airflow_provider_workbench.client.transfer" not in sys.modules and time.monotonic() < end:
        time.sleep(0.01)
    print("airflow_provider_workbench.client.transfer" in sys.modules)
    raise TokenInvalidError("enough")

upload.create_file = create_file
settings = Settings.from_fields("https://a.example/api/v1/workflows/1/steps/s/files", "t")
try:
    upload.upload_file(settings, b"a", filename="a")
except TokenInvalidError:
    print("ended")
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["True", "ended"]
    assert done.stderr == ""
