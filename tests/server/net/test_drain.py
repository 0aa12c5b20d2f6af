"""Leaving: nothing acknowledged is lost, everything accepted is answered (PROTOCOL section 1.5)."""

from __future__ import annotations

import asyncio

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from omendb_ws.net.server import Server
from tests.patience import eventually
from tests.server.net.test_server import get
from tests.server.raw import PATIENCE_SECONDS, client, engine_held, queued, rows, running, settings


async def test_what_was_accepted_is_answered_and_then_everybody_is_sent_away() -> None:
    async with (
        running(drain_seconds=PATIENCE_SECONDS) as server,
        client(server) as raw,
        client(server) as other,
    ):
        await raw.create(capacity=1000)
        async with engine_held(server):
            sent = [
                await raw.send("add", collection="items", rows=rows(number))
                for number in range(100)
            ]
            search = await other.send("search", collection="items", vector=[1, 0], k=1)
            await queued(server, 101)
            drain = asyncio.create_task(server.drain())
            await eventually(lambda: server.context.is_draining)
            late = await raw.send("add", collection="items", rows=rows(100))
            error = (await raw.reply(late))["error"]
            assert (error["code"], error["retry"]) == ("draining", True)
            assert (await other.error("ping"))["code"] == "draining"
            assert server.status() == "draining"
            with pytest.raises(InvalidStatus) as refused:
                await connect(server.url, compression=None)
            assert refused.value.response.status_code == 503
        for number, id in enumerate(sent):
            assert (await raw.reply(id))["ok"]["version"] == number + 1
        assert (await other.reply(search))["ok"]["results"]
        assert await raw.closed() == 1012
        assert await other.closed() == 1012
        await drain
        await server.drain()  # once more is nothing more


async def test_a_draining_server_sends_what_feeds_have_built() -> None:
    async with running(drain_seconds=PATIENCE_SECONDS) as server, client(server) as raw:
        await raw.create(capacity=1000)
        await raw.ok("subscribe", kind="feed", collection="items")
        async with engine_held(server):
            sent = [
                await raw.send("add", collection="items", rows=rows(number)) for number in range(50)
            ]
            await queued(server, 50)
            drain = asyncio.create_task(server.drain())
        assert await raw.closed() == 1012
        await drain
        assert [raw.replies[id] for id in sent if "ok" not in raw.replies[id]] == []
        feeds = [event for event in raw.events if event["event"] == "feed"]
        assert [row["id"] for event in feeds for row in event["rows"]][:1] == [0]


async def test_a_client_that_reads_nothing_cannot_hold_up_a_drain_for_ever() -> None:
    server = Server(settings(drain_seconds=0.1))
    async with running(server), client(server, max_queue=1) as raw:
        await raw.create(capacity=100, dim=1000)
        await raw.add(*range(100), dim=1000)
        for _ in range(200):
            await raw.send(
                "search", collection="items", vector=[1] * 1000, k=100, include=["vector"]
            )
        async with asyncio.timeout(PATIENCE_SECONDS):
            await server.drain()
        raw.socket.transport.abort()
    assert server.metrics.connections == 0


async def test_a_server_without_connections_leaves_at_once_and_its_thread_ends() -> None:
    server = Server(settings(drain_seconds=3600))
    async with running(server):
        pass
    assert not server.context.engine._thread.is_alive()


async def test_a_block_that_fails_ends_the_server_all_the_same() -> None:
    server = Server(settings())

    async def fail() -> None:
        async with server:
            raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError):
        await fail()
    assert not server.context.engine._thread.is_alive()


async def test_servers_do_not_know_of_each_other() -> None:
    async with running() as one, running() as two, client(one) as first, client(two) as second:
        assert one.port != two.port
        await first.create()
        assert await second.ok("list") == {"collections": []}


async def test_a_notice_turns_load_balancers_away_while_everything_goes_on() -> None:
    server = Server(settings(drain_notice_seconds=3600.0))
    async with running(server), client(server) as raw:
        await raw.create()
        draining = asyncio.create_task(server.drain())
        await eventually(lambda: server.status() != "ok")
        assert await get(server, "/readyz") == (503, b"not ready: leaving\n")
        assert (await get(server, "/livez"))[0] == 200
        await raw.add(1)
        async with client(server) as other:
            assert (await other.ok("count", collection="items"))["count"] == 1
        assert server._notice_over is not None
        server._notice_over.set()
        assert await raw.closed() == 1012
        await draining
