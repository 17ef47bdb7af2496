"""What the tests beside this one rely on."""

from __future__ import annotations

import ipaddress

import psutil


def test_everything_listens_on_loopback_only(cluster):
    addresses = []
    this = psutil.Process()
    for process in [this, *this.children(recursive=True)]:
        try:
            listening = [each.laddr for each in process.net_connections("inet") if each.status == psutil.CONN_LISTEN]
        except psutil.NoSuchProcess:
            continue
        addresses += [(address, process.name()) for address in listening]
    assert {address.port for address, _ in addresses} >= set(cluster.ports)
    assert [each for each in addresses if not ipaddress.ip_address(each[0].ip).is_loopback] == []
