"""How event streams end, and what they take while they last: tokens, grants, stalls, budgets."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import orjson
import pytest

from omendb_ws.net.server import Server
from omendb_ws.node import reloading
from tests.patience import eventually
from tests.server import tokens
from tests.server.access.test_revocation import ALL, READER, keys, write
from tests.server.http.api.event_client import Streamed, streaming
from tests.server.raw import client, rows, running, settings
from tests.server.tenant_files import limits, with_tenants

FEED = "/v1/collections/items/feed"


async def to_the_end(stream: Streamed) -> list[Any]:
    """What is said until the stream ends in order."""
    found = []
    while (event := await stream.next()) is not None:
        found.append((event.name, orjson.loads(event.data)))
    return found


async def test_a_stream_ends_with_its_token_and_goes_on_with_a_newer_one(tmp_path: Path) -> None:
    given = tokens.with_secret(tmp_path, http_port=0, jwt_leeway_seconds=0.0)
    async with running(Server(given)) as server, client(server, token=tokens.token()) as raw:
        await raw.create()
        short = tokens.token(exp=time.time() + 25)
        async with streaming(server.http_url, FEED, token=short) as stream:
            await raw.add(1)
            begun = [await stream.event() for _ in range(3)]
            assert [event.name for event in begun] == ["feed", "expiring", "feed"]
            tokens.end_tokens(server)
            said = await to_the_end(stream)
            names = [name for name, _ in said]
            assert names[-1] == "error"
            assert said[-1][1]["code"] == "unauthenticated"
            assert not server.metrics.subscriptions["feed"]
        over = tokens.token(exp=time.time() - 1)
        async with streaming(server.http_url, FEED, token=over, last_id=stream.last_id) as refused:
            assert refused.status == 401
        await raw.add(2)
        async with streaming(
            server.http_url, FEED, token=tokens.token(), last_id=stream.last_id
        ) as again:
            await again.event("feed")
            event = await again.event("feed")
            assert [row["id"] for row in orjson.loads(event.data)["rows"]] == [2]


@pytest.mark.parametrize("change", ["gone", "narrower"])
async def test_a_stream_ends_with_its_key_and_with_its_right(
    change: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reloading, "LOOK_SECONDS", 0.001)
    path = tmp_path / "keys.toml"
    write(path, keys(root=ALL, reader=READER))
    given = settings(api_key_file=str(path), http_port=0)
    async with running(Server(given)) as server, client(server, token="token-root") as root:
        await root.create(columns={"owner": "str"})
        async with streaming(server.http_url, FEED, token="token-reader") as stream:
            await stream.event()
            if change == "gone":
                write(path, keys(root=ALL))
            else:
                write(path, keys(root=ALL, reader={"rights": ["write"]}))
            said = (await to_the_end(stream))[-1]
            await eventually(lambda: not server.metrics.subscriptions["feed"])
            if change == "gone":
                assert (said[0], said[1]["code"]) == ("error", "unauthenticated")
            else:
                assert (said[0], said[1]["reason"]) == ("ended", "forbidden")
        async with streaming(
            server.http_url, FEED, token="token-reader", last_id=stream.last_id
        ) as again:
            assert again.status == (401 if change == "gone" else 204)


async def test_one_that_takes_nothing_for_long_is_cut_off() -> None:
    server = Server(settings(http_port=0), stall_seconds=0.2)
    async with running(server), client(server) as raw:
        await raw.create(capacity=100)
        async with streaming(
            server.http_url, FEED, receive_bytes=4096, include=["metadata"]
        ) as stream:
            stream.stop_reading()
            number = 0
            while server.metrics.subscriptions["feed"]:
                number += 1
                row = {**rows(number)[0], "metadata": {"note": "x" * 3_000}}
                await raw.ok("add", collection="items", rows=[row])
        assert server.metrics.shed_connections["stalled"] == 1


async def test_a_tenant_has_as_many_streams_as_it_may(tmp_path: Path) -> None:
    text = limits(max_connections=3, max_subscriptions=1)
    given = with_tenants(tmp_path, text, http_port=0)
    token = "token-root"
    async with running(Server(given)) as server, client(server, token=token) as raw:
        await raw.create()
        usage = (await raw.ok("usage"))["use"]
        async with streaming(server.http_url, FEED, token=token) as stream:
            await stream.event()
            use = (await raw.ok("usage"))["use"]
            assert (use["connections"], use["subscriptions"]) == (2, 1)
            assert use["memory_bytes"] > usage["memory_bytes"]
            async with streaming(server.http_url, FEED, token=token) as second:
                error = (await second.body())["error"]
                assert (second.status, error["code"]) == (429, "quota")
                assert error["message"].startswith("max_subscriptions")
                async with streaming(server.http_url, FEED, token=token) as third:
                    error = (await third.body())["error"]
                    assert (third.status, error["code"]) == (429, "quota")
                    assert error["message"].startswith("max_connections")
        await eventually(
            lambda: server.context.accounts.of("acme").memory.taken_bytes == usage["memory_bytes"]
        )


async def test_a_subscription_without_memory_is_refused(tmp_path: Path) -> None:
    async with running(http_port=0, max_memory_bytes=1 << 20) as server, client(server) as raw:
        made = await raw.create(capacity=100)
        budget = server.context.catalog.budget
        budget.take(budget.max_bytes - budget.taken_bytes - 200, "this test takes")
        async with streaming(server.http_url, FEED) as stream:
            error = (await stream.body())["error"]
            assert (stream.status, error["code"]) == (429, "quota"), made


async def test_a_connection_asks_on_behind_a_stream_that_has_ended() -> None:
    async with running(http_port=0) as server, client(server) as raw:
        for number in range(2):
            await raw.create()
            if number == 0:
                opened = streaming(server.http_url, FEED)
                stream = await opened.__aenter__()
            else:
                await stream.again(f"GET {FEED} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            await stream.event("feed")
            await raw.add(number)
            await stream.event("feed")
            await raw.ok("drop", collection="items")
            assert [name for name, _ in await to_the_end(stream)] == ["ended"]
        await stream.again(b"GET /v1/collections HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert await stream.body() == {"collections": []}
        await opened.__aexit__(None, None, None)


async def test_head_says_what_a_stream_would_begin_with_and_keeps_nothing() -> None:
    async with running(http_port=0) as server, client(server) as raw:
        await raw.create()
        async with streaming(server.http_url, FEED, method="HEAD") as stream:
            assert (stream.status, stream.headers["content-type"]) == (200, "text/event-stream")
            await eventually(lambda: not server.metrics.subscriptions["feed"])
        async with streaming(server.http_url, "/v1/collections/none/feed", method="HEAD") as stream:
            assert stream.status == 404


async def test_clients_that_come_and_go_at_once_leave_nothing() -> None:
    async with running(http_port=0) as server, client(server) as raw:
        await raw.create()

        async def come_and_go(turns: int) -> None:
            async with streaming(server.http_url, FEED) as stream:
                for _ in range(turns):
                    await asyncio.sleep(0)
                await stream.cut()

        await asyncio.gather(*(come_and_go(turns) for turns in range(40)))
        await eventually(lambda: not server.metrics.subscriptions["feed"])
        await eventually(lambda: server.metrics.connections == 1)
        assert (await raw.ok("usage"))["use"]["subscriptions"] == 0
