"""A server's cookies are not sent back, neither to it nor to another host."""

from __future__ import annotations

import asyncio
import json

import pytest
from client.client_servers import Peer, Wire

from airflow_provider_workbench.client.async_session import AsyncSession
from airflow_provider_workbench.client.session import Session
from airflow_provider_workbench.client.settings import Settings


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def cookies_sent(server: Wire) -> list[bytes]:
    return [line for head in server.heads for line in head.split(b"\r\n") if line.lower().startswith(b"cookie")]


def setting_cookies(heads: list[bytes]):
    def handler(peer: Peer) -> None:
        while head := peer.read_request()[0]:
            heads.append(head)
            peer.answer("200 OK", json.dumps({}).encode(), "Set-Cookie: csrftoken=theirs; Path=/")

    return handler


def test_uploads_send_no_cookie_back() -> None:
    heads: list[bytes] = []
    with Wire(setting_cookies(heads)) as server, Wire(setting_cookies(heads)) as other:
        server.heads = heads
        with Session(Settings.from_fields(server.create_file_url, "t")) as session:
            for url in (server.url, server.url, other.url):
                session.request("GET", url)
    assert len(heads) == 3
    assert cookies_sent(server) == []


def test_waiting_sends_its_own_cookie_only() -> None:
    heads: list[bytes] = []
    with Wire(setting_cookies(heads)) as server:
        server.heads = heads

        async def run() -> None:
            settings = Settings.from_fields(server.create_file_url, "t", {"session_token": "mine"})
            async with AsyncSession(settings) as session:
                await session.read_page()
                await session.read_page()

        asyncio.run(run())
    assert cookies_sent(server) == [b"Cookie: sessionid=mine"] * 2
