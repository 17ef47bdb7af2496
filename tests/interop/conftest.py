from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# the fault proxy is next door
sys.path.insert(0, str(Path(__file__).parent.parent / "faults"))

from tus_servers import SERVERS, Missing, TusServer


@pytest.fixture(autouse=True)
def _no_proxy_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture(scope="session", params=SERVERS)
def tus(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TusServer]:
    """A running TUS server that we did not write. Nothing is installed here; ``INTEROP_REQUIRED`` forbids skipping."""
    try:
        server = TusServer(request.param, tmp_path_factory.mktemp(request.param.replace("@", "").replace("/", "-")))
    except Missing as missing:
        if os.environ.get("INTEROP_REQUIRED"):
            pytest.fail(str(missing))
        pytest.skip(str(missing))
    with server:
        yield server
