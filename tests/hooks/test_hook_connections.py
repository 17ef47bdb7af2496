"""What a hook's uploads cost on the network: requests and connections, counted where they arrive."""

from __future__ import annotations

from collections import Counter

import pytest

from airflow_provider_workbench.hooks.workbench import WorkbenchHook
from airflow_provider_workbench.sandbox import server


@pytest.fixture
def connections(monkeypatch, workbench_sandbox):
    """How many connections each of the sandbox's hosts has taken, also those that no request came over."""
    taken = Counter()
    ports = {
        int(url.rpartition(":")[2]): host
        for host, url in (("frontend", workbench_sandbox.frontend_url), ("upload", workbench_sandbox.upload_url))
    }
    take = server._Protocol.connection_made

    def counting(protocol, transport):
        taken[ports[transport.get_extra_info("sockname")[1]]] += 1
        take(protocol, transport)

    monkeypatch.setattr(server._Protocol, "connection_made", counting)
    monkeypatch.setenv("AIRFLOW_CONN_WORKBENCH_DEFAULT", workbench_sandbox.step.connection_json())
    return taken


def test_a_small_upload_by_a_fresh_hook_is_two_requests_over_one_connection_per_host(
    workbench_sandbox, connections, tmp_path
):
    path = tmp_path / "small.csv"
    path.write_bytes(b"city,sold\n" * 1024)
    WorkbenchHook().upload_file(path)
    assert [(seen.host, seen.method) for seen in workbench_sandbox.requests] == [
        ("frontend", "POST"),
        ("upload", "PATCH"),
    ]
    assert connections == {"frontend": 1, "upload": 1}


def test_reading_the_step_afterwards_takes_no_connection_more(workbench_sandbox, connections):
    WorkbenchHook().upload_file(b"a\n1\n", filename="a.csv", read_step=True)
    assert [seen.method for seen in workbench_sandbox.requests] == ["POST", "PATCH", "GET"]
    assert connections == {"frontend": 1, "upload": 1}
