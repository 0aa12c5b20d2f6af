"""A server behind nginx, HAProxy and Caddy, under a path: WebSocket, HTTP, streams, addresses."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

import omendb_ws
from omendb_ws.net import server as server_module
from tests.certificates import Certificate
from tests.deploy.balancers import HAPROXY, HAPROXY_TCP, NGINX, Balancer, Kind, balancing, needed
from tests.patience import PATIENCE_SECONDS
from tests.server.http.api.served import served
from tests.server.raw import running, with_keys

#: Where clients come from; balancers come from 127.0.0.1, and only they are believed.
CLIENT = "127.0.0.9"


def browser(balancer: Balancer) -> httpx.AsyncClient:
    transport = httpx.AsyncHTTPTransport(verify=balancer.tls, local_address=CLIENT)
    return httpx.AsyncClient(
        base_url=balancer.http_url, transport=transport, timeout=PATIENCE_SECONDS
    )


async def test_all_that_a_server_does_works_under_a_path(
    kind: Kind, certificate: Certificate, tmp_path: Path
) -> None:
    async with (
        served() as server,
        balancing(kind, [server, server], certificate, tmp_path) as balancer,
        omendb_ws.connect(balancer.url, tls=balancer.tls) as db,
        browser(balancer) as page,
    ):
        # The WebSocket: requests, and pushes.
        await db.create("notes", dim=2, capacity=100, ids="str")
        query = db.live("notes", [1, 0], k=1)
        answers = aiter(query)
        assert list(await anext(answers)) == []
        # The HTTP API. An id may hold what a path is made of.
        id = "a/b c%2Fd?"
        added = await page.post(
            "/v1/collections/notes/rows", json={"rows": [{"id": id, "vector": [1, 0]}]}
        )
        assert added.status_code == 200, added.text
        assert [row.id for row in await anext(answers)] == [id]
        found = await page.get("/v1/collections/notes/rows/a%2Fb%20c%252Fd%3F")
        assert found.status_code == 200, found.text
        assert found.json()["rows"][0]["id"] == id
        # The console and what it loads, all by relative addresses.
        console = await page.get("/")
        assert "console/main.js" in console.text
        assert 'src="/' not in console.text
        for path in (
            "/client.js",
            "/console/main.js",
            "/health",
            "/metrics",
            "/docs",
            "/openapi.json",
        ):
            assert (await page.get(path)).status_code == 200, path
        # (The base has the prefix, so this is the path without its slash.)
        bare = await page.get(balancer.http_url)
        assert (bare.status_code, bare.headers["location"].endswith("/vec/")) == (308, True)
        await _streams(page)


async def _streams(page: httpx.AsyncClient) -> None:
    """An event comes while the stream stands, and is not kept until it ends."""
    async with page.stream("GET", "/v1/collections/notes/feed") as stream:
        events = (json.loads(line[5:]) async for line in stream.aiter_lines() if "data:" in line)
        assert (await anext(events))["rows"] == []
        rows = {"rows": [{"id": "later", "vector": [0, 1]}]}
        await page.post("/v1/collections/notes/rows", json=rows)
        assert [row["id"] for row in (await anext(events))["rows"]] == ["later"]


@pytest.mark.parametrize("kind", [NGINX, HAPROXY], ids=lambda kind: kind.name)
async def test_who_is_idle_for_longer_than_the_balancer_allows_is_held_by_pings(
    kind: Kind, certificate: Certificate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Caddy has no such bound. The same connection without pings shows that the others have."""
    needed(kind)
    brief = {
        NGINX: {"proxy_read_timeout 60s": "proxy_read_timeout 2s"},
        HAPROXY: {"timeout tunnel 60s": "timeout tunnel 2s"},
    }[kind]
    monkeypatch.setattr(server_module, "_PING_INTERVAL_SECONDS", 0.1)
    async with running() as pinging:
        monkeypatch.setattr(server_module, "_PING_INTERVAL_SECONDS", None)
        async with running() as silent:
            (tmp_path / "silent").mkdir()
            async with (
                balancing(kind, [pinging, pinging], certificate, tmp_path, brief) as one,
                balancing(kind, [silent, silent], certificate, tmp_path / "silent", brief) as other,
                _connected(one) as held,
                _connected(other) as let_go,
            ):
                with pytest.raises(ConnectionClosed):
                    async with asyncio.timeout(PATIENCE_SECONDS):
                        await let_go.recv()
                await held.send(json.dumps({"id": 1, "op": "ping"}))
                assert json.loads(await held.recv())["id"] == 1


class _connected(connect):  # noqa: N801 - used like the function that it is
    """A connection that has read its ``hello``, and sends no pings of its own."""

    def __init__(self, balancer: Balancer) -> None:
        super().__init__(
            balancer.url, ssl=balancer.tls, subprotocols=["omendb.v1"], ping_interval=None
        )

    async def __aenter__(self) -> ClientConnection:
        connection = await super().__aenter__()
        await connection.recv()
        return connection


async def test_the_log_says_where_a_client_is(
    kind: Kind, certificate: Certificate, tmp_path: Path
) -> None:
    audit = tmp_path / "audit.jsonl"
    given = with_keys(tmp_path, trusted_proxies=("127.0.0.1",), audit_file=str(audit))
    async with (
        served(given) as server,
        balancing(kind, [server, server], certificate, tmp_path) as balancer,
        browser(balancer) as page,
    ):
        # What the client claims to be is left of what the balancer adds.
        lies = {"X-Forwarded-For": "192.0.2.1"}
        wrong = {"Authorization": "Bearer wrong", **lies}
        assert (await page.get("/stats", headers=wrong)).status_code == 401
        assert (await page.get("/v1/collections", headers=wrong)).status_code == 401
        async with connect(
            balancer.url, ssl=balancer.tls, local_addr=(CLIENT, 0), subprotocols=["omendb.v1"],
            additional_headers={"Authorization": "Bearer token-reader", **lies},
        ) as websocket:  # fmt: skip
            assert json.loads(await websocket.recv())["event"] == "hello"
    entries = [json.loads(line) for line in audit.read_text().splitlines()]
    logins = [(one["outcome"], one["address"].rsplit(":", 1)[0]) for one in entries]
    assert logins == [("unauthenticated", CLIENT)] * 2 + [("ok", CLIENT)], entries


async def test_a_balancer_that_does_not_look_inside_says_it_in_a_proxy_header(
    certificate: Certificate, tmp_path: Path
) -> None:
    needed(HAPROXY_TCP)
    audit = tmp_path / "audit.jsonl"
    given = with_keys(
        tmp_path, trusted_proxies=("127.0.0.1",), proxy_protocol="on", audit_file=str(audit),
        tls_certificate_file=certificate.certificate_file, tls_key_file=certificate.key_file,
    )  # fmt: skip
    async with (
        served(given) as server,
        balancing(HAPROXY_TCP, [server, server], certificate, tmp_path) as balancer,
        connect(
            balancer.url, ssl=balancer.tls, local_addr=(CLIENT, 0), subprotocols=["omendb.v1"],
            additional_headers={"Authorization": "Bearer token-reader"},
        ) as websocket,
    ):  # fmt: skip
        assert json.loads(await websocket.recv())["event"] == "hello"
    [entry] = [json.loads(line) for line in audit.read_text().splitlines()]
    assert entry["address"].startswith(f"{CLIENT}:")
    assert server.metrics.proxy_failures == 0
