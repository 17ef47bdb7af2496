"""An upload host that answers nonsense: no success, no endless try, no secret told."""

from __future__ import annotations

import pytest
from security.hostile_cases import UPLOADS, UploadCase
from security.hostile_server import HostileServer
from security.test_hostile_answers import check, upload

from airflow_provider_workbench.client import errors


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.mark.parametrize("case", UPLOADS, ids=lambda case: case.given)
def test_upload_to_a_hostile_host_is_an_error(case: UploadCase) -> None:
    with HostileServer(**case.speeches) as server:
        with pytest.raises(errors.WorkbenchError) as caught:
            upload(server, case.budget)
        check(caught.value, (case.error, case.words), server)
    for kind, most in case.asked.items():
        assert server.asked.count(kind) <= most
