"""Nodes that die, stand still, leave or lie, and clients that read slowly: what clients of others
hear of it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import orjson
import pytest
from websockets.asyncio.server import ServerConnection, serve

from omendb_ws.cluster.directory import Node
from omendb_ws.sessions.routing import link
from omendb_ws.sessions.routing.routed import RoutedSession
from tests.patience import PATIENCE_SECONDS, eventually
from tests.server.links.pair import Pair, held_by_b, pair
from tests.server.raw import Raw, client, engine_held, rows


def die(nodes: Pair, name: str) -> None:
    """As kill -9 does to whoever is connected."""
    for connection in list(nodes[name]._sessions):
        connection.transport.abort()


@contextlib.asynccontextmanager
async def impostor(
    nodes: Pair, hello: dict[str, object] | None, *, speaks: bool
) -> AsyncIterator[list[bytes | str]]:
    """In place of ``b``: it says ``hello``, and nothing else, or nonsense if it ``speaks``."""
    heard: list[bytes | str] = []

    async def handle(socket: ServerConnection) -> None:
        if hello is not None:
            await socket.send(orjson.dumps(hello).decode())
        async for message in socket:
            heard.append(message)
            if speaks:
                await socket.send('{"id":4711,"ok":{}}')

    async with serve(handle, "127.0.0.1", 0, subprotocols=["omendb.v1"]) as server:  # type: ignore[list-item]
        port = server.sockets[0].getsockname()[1]
        nodes.map.nodes["b"] = Node("b", f"ws://127.0.0.1:{port}/v1")
        nodes.place("items", "b")
        yield heard


async def until_answered(raw: Raw) -> None:
    """Ask until the answer is no ``unavailable``: as clients do."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            reply = await raw.ask("count", collection="items")
            if "ok" in reply:
                return
            assert reply["error"]["code"] == "unavailable"
            await asyncio.sleep(0.01)


HELLO = {"event": "hello", "node": "b", "cluster": "main", "challenge": "c"}


async def test_what_a_node_owed_as_it_died_is_unavailable_or_of_unknown_outcome() -> None:
    async with held_by_b() as (nodes, raw):
        async with engine_held(nodes["b"]):
            added = await raw.send("add", collection="items", rows=rows(1))
            counted = await raw.send("count", collection="items")
            await eventually(lambda: nodes["b"].context.engine.depth >= 1)
            die(nodes, "b")
            lost = (await raw.reply(added))["error"]
            assert (lost["code"], lost["retry"]) == ("internal", True)
            assert "not known" in lost["message"]
            assert (await raw.reply(counted))["error"]["code"] == "unavailable"
        await until_answered(raw)  # it is reached again by itself
        assert nodes["a"].metrics.lost_links >= 1


async def test_a_client_with_subscriptions_of_a_dead_node_is_told_to_reconnect() -> None:
    async with held_by_b() as (nodes, raw):
        await raw.ok("subscribe", kind="feed", collection="items")
        die(nodes, "b")
        assert await raw.closed() == 1012


async def test_a_node_that_cannot_be_reached_is_unavailable_and_nothing_was_done() -> None:
    async with held_by_b() as (nodes, raw):
        nodes.map.nodes["b"] = Node("b", "ws://127.0.0.1:1/v1")
        for _ in range(3):
            for op, fields in (("count", {}), ("add", {"rows": rows(1)})):
                refused = await raw.error(op, collection="items", **fields)
                assert refused["code"] == "unavailable"
        nodes.map.nodes["b"] = Node("b", nodes["b"].url)
        await until_answered(raw)
        assert (await raw.ok("count", collection="items"))["count"] == 0


async def test_a_node_that_stands_still_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "MOST_LOOKS", 3)
    async with pair(look_seconds=0.02) as nodes, client(nodes["a"]) as raw:
        async with impostor(nodes, None, speaks=False):
            assert (await raw.error("count", collection="items"))["code"] == "unavailable"
        async with mute(nodes):
            added = await raw.error("add", collection="items", rows=rows(1))
            assert added["code"] in ("unavailable", "internal")
        assert (await raw.ask("ping"))["ok"] == {}


@contextlib.asynccontextmanager
async def mute(nodes: Pair) -> AsyncIterator[None]:
    """In place of ``b``: who reads nothing, and answers no ping, once it has said hello."""
    held: list[asyncio.StreamWriter] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        held.append(writer)

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    nodes.map.nodes["b"] = Node("b", f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1")
    try:
        yield
    finally:
        server.close()
        for one in held:
            one.close()


async def test_a_node_that_is_slow_and_there_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "MOST_LOOKS", 3)
    async with held_by_b(look_seconds=0.05) as (nodes, raw):
        await raw.ok("count", collection="items")
        async with engine_held(nodes["b"]):
            asked = await raw.send("count", collection="items")
            await asyncio.sleep(0.6)  # many looks long
        assert "ok" in await raw.reply(asked)


@pytest.mark.parametrize(
    "hello",
    [
        {**HELLO, "node": "c"},
        {**HELLO, "cluster": "another"},
        {"event": "error", "code": "overloaded", "message": "no place"},
        {"id": 1},
    ],
)
async def test_nothing_is_said_to_a_node_that_is_another_one(hello: dict[str, object]) -> None:
    async with pair() as nodes, client(nodes["a"]) as raw:
        async with impostor(nodes, hello, speaks=False) as heard:
            assert (await raw.error("count", collection="items"))["code"] == "unavailable"
        assert heard == []


async def test_a_node_that_answers_what_it_was_not_asked_is_not_heard_any_more() -> None:
    async with pair() as nodes, client(nodes["a"]) as raw, impostor(nodes, HELLO, speaks=True):
        assert (await raw.error("count", collection="items"))["code"] == "unavailable"
        assert (await raw.ask("ping"))["ok"] == {}


async def test_a_node_that_leaves_is_unavailable_and_its_clients_stay() -> None:
    async with held_by_b() as (nodes, raw):
        await raw.ok("count", collection="items")
        nodes["b"].context.is_draining = True
        refused = await raw.error("add", collection="items", rows=rows(1))
        assert (refused["code"], refused["retry"]) == ("unavailable", True)
        nodes["b"].context.is_draining = False
        await nodes["b"].drain()
        assert (await raw.error("count", collection="items"))["code"] == "unavailable"
        assert (await raw.ask("ping"))["ok"] == {}


async def test_a_node_that_leaves_waits_for_what_others_owe_its_clients() -> None:
    async with held_by_b() as (nodes, raw):
        async with engine_held(nodes["b"]):
            asked = await raw.send("add", collection="items", rows=rows(1))
            await eventually(lambda: nodes["b"].context.engine.depth)
            leaving = asyncio.create_task(nodes["a"].drain())
            await eventually(lambda: nodes["a"].context.is_draining)
        assert "ok" in await raw.reply(asked)
        assert await raw.closed() == 1012
        await leaving


async def test_a_client_that_reads_slowly_is_told_less_and_holds_up_nobody() -> None:
    async with held_by_b() as (nodes, raw), client(nodes["b"]) as other:
        await other.create("wide", dim=64, capacity=20_000)
        nodes.place("wide", "b")
        async with client(nodes["a"], max_queue=1) as slow:
            await slow.ok(
                "subscribe", kind="feed", collection="wide", include=["vector", "metadata"]
            )
            connection, session = next(
                (one, session)
                for one, session in nodes["a"]._sessions.items()
                if isinstance(session, RoutedSession) and session.router._links
            )
            connection.transport.pause_reading()
            slow.socket.transport.pause_reading()
            text = "x" * 4000
            for first in range(1, 6001, 8):
                made = [
                    {"id": one, "vector": [1.0] * 64, "metadata": {"text": text}}
                    for one in range(first, first + 8)
                ]
                await other.ok("add", collection="wide", rows=made)
            await eventually(lambda: session.router._is_holding)
            outbox = session.outbox
            assert outbox.push_bytes + outbox.reply_bytes < 4 << 20
            assert (await raw.ok("count", collection="wide"))["count"] == 6000
            slow.socket.transport.resume_reading()
            connection.transport.resume_reading()
            to_seq = 0
            while to_seq < 6000:
                to_seq = (await slow.event())["to_seq"]
