from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from client_servers import Authority
from uploads import settings_of

from airflow_provider_workbench.client.settings import Settings
from airflow_provider_workbench.sandbox import Sandbox

RECORDED = Path(__file__).parent.parent / "recorded"


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy and no authorities from outside."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "requests_ca_bundle", "curl_ca_bundle"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def wb(workbench_sandbox: Sandbox) -> Sandbox:
    return workbench_sandbox


@pytest.fixture
def settings(wb: Sandbox) -> Settings:
    """A connection to the sandbox's default Step."""
    return settings_of(wb)


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.make(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def recorded() -> Callable[[str], Any]:
    """``recorded("tus")``: what a real server answered."""
    return lambda name: json.loads((RECORDED / f"{name}.json").read_text())
