"""The pytest plugin, in sessions of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]
ROOT = Path(__file__).parent.parent.parent
PLUGIN = "airflow_provider_workbench.sandbox.pytest_plugin"


def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> pytest.RunResult:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    return pytester.runpytest_subprocess("-p", PLUGIN, *arguments)


def test_the_fixture_is_one_server_reset_between_tests(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytester.makepyfile(
        """
        import json, urllib.request
        seen = []

        def create(wb):
            request = urllib.request.Request(
                wb.step.create_file_url, json.dumps({"filename": "a.csv", "size": 0}).encode(),
                {"Authorization": "Bearer " + wb.step.api_token},
            )
            urllib.request.urlopen(request).read()

        def test_one(workbench_sandbox):
            seen.append((workbench_sandbox.frontend_url, workbench_sandbox.step.api_token))
            create(workbench_sandbox)
            assert [file.name for file in workbench_sandbox.step.files] == ["a.csv"]
            workbench_sandbox.hook = "down"
            workbench_sandbox.step.reset_token()

        def test_two(workbench_sandbox):
            assert (workbench_sandbox.frontend_url, workbench_sandbox.step.api_token) == seen[0]
            assert workbench_sandbox.step.files == []
            assert workbench_sandbox.requests == []
            create(workbench_sandbox)
        """
    )
    run(pytester, monkeypatch).assert_outcomes(passed=2)


def test_without_the_extra_the_fixture_says_what_to_install(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytester.makeconftest("import sys\nsys.modules['starlette'] = None")
    pytester.makepyfile("def test_one(workbench_sandbox): pass")
    result = run(pytester, monkeypatch)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*needs the sandbox extra*pip install '.?sandbox?'*"])


def test_importing_the_plugin_is_light() -> None:
    code = f"""
import sys, pytest
before = set(sys.modules)
import {PLUGIN}
new = {{name for name in sys.modules if name not in before}}
print(sorted(name for name in new if not name.startswith("airflow_provider_workbench")))
"""
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_the_sandbox_imports_nothing_from_the_rest_of_the_package() -> None:
    code = """
import sys
import airflow_provider_workbench.sandbox.__main__, airflow_provider_workbench.sandbox.server
ours = [name for name in sys.modules if name.startswith("airflow_provider_workbench.")]
print([name for name in ours if not name.startswith("airflow_provider_workbench.sandbox")])
print([name for name in ("airflow", "requests", "aiohttp", "tusclient", "polars") if name in sys.modules])
"""
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["[]", "[]"]


def test_an_unknown_name_is_an_attribute_error() -> None:
    import airflow_provider_workbench.sandbox as sandbox

    with pytest.raises(AttributeError):
        sandbox.nothing
    assert sandbox.Sandbox.__name__ == "Sandbox"
