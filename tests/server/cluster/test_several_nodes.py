"""Several nodes over one NATS: what one makes the others hold, and whoever goes is replaced."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from omendb_core.model.errors import Unavailable

import omendb_ws
from omendb_ws.engine.model.shard import Shard
from omendb_ws.net.server import Server
from tests.nats import NatsServer, nats_server
from tests.patience import PATIENCE_SECONDS, eventually
from tests.server.cluster.nodes import node, node_process, until_taken
from tests.server.raw import client, rows, settings


@pytest.fixture
def nats(tmp_path: Path) -> Iterator[NatsServer]:
    with nats_server(tmp_path / "nats") as server:
        yield server


def shard_on(server: Server, name: str = "items") -> Shard | None:
    return server.context.catalog.shard_of("default", name)


def follows(server: Server, name: str = "items") -> bool:
    shard = shard_on(server, name)
    return shard is not None and shard.is_follower and shard.broken is None


def owns(server: Server, name: str = "items") -> bool:
    assert server.node.caretaker is not None
    where = server.node.caretaker.seen.where("default", name)
    return where is not None and where.is_owned_here


def version_on(server: Server) -> int:
    shard = shard_on(server)
    return -1 if shard is None else shard.window.version


async def knows(server: Server, *names: str) -> None:
    """Wait until a node sees these nodes, and no others."""
    caretaker = server.node.caretaker
    assert caretaker is not None
    await eventually(lambda: [one.name for one in caretaker.seen.nodes()] == sorted(names))


@asynccontextmanager
async def pair(nats: NatsServer, **fields: Any) -> AsyncIterator[tuple[Server, Server]]:
    """Two nodes in this process that know each other."""
    async with node(nats, "one", **fields) as one, node(nats, "two", **fields) as two:
        await knows(one, "one", "two")
        await knows(two, "one", "two")
        yield one, two


async def test_what_is_made_on_one_node_is_held_and_read_on_another(nats: NatsServer) -> None:
    async with pair(nats) as (one, two), client(one) as raw, client(two) as other:
        await raw.create("items")
        await raw.add(1, 2, 3)
        await eventually(lambda: version_on(two) == 1)
        answer = await other.ok("search", collection="items", vector=[1, 0], k=10)
        assert sorted(row["id"] for row in answer["results"]) == [1, 2, 3]
        seen = two.node.caretaker.seen
        where = seen.where("default", "items")
        assert where.owner == one.node.caretaker.seen.here
        await eventually(lambda: len(seen.where("default", "items").holders) == 2)
        assert where.owner.address == one.url
        for asked in (raw, other):
            described = await asked.ok("describe", collection="items")
            assert described["owner"] == "one"
            states = [(replica["node"], replica["state"]) for replica in described["replicas"]]
            assert states == [("one", "owner"), ("two", "follower")]


async def test_a_node_that_holds_nothing_of_it_passes_everything_on(nats: NatsServer) -> None:
    async with pair(nats) as (one, two), client(one) as raw, client(two) as other:
        made = await raw.create("items", replicas=1)
        await eventually(lambda: two.node.caretaker.seen.names("default") == ["items"])
        refused = await other.error("create", collection="items", dim=2, capacity=10)
        assert refused["code"] == "exists"
        await until_taken(other, "add", collection="items", rows=rows(1, 2))
        answer = await until_taken(other, "search", collection="items", vector=[1, 0])
        assert sorted(row["id"] for row in answer["results"]) == [1, 2]
        assert (await other.ok("describe", collection="items"))["epoch"] == made["epoch"]


async def test_changes_are_taken_by_whatever_node_is_asked(nats: NatsServer) -> None:
    async with pair(nats) as (one, two), client(one) as raw, client(two) as other:
        await raw.create("items")
        await eventually(lambda: follows(two))
        for number in range(1, 21):
            asked = other if number % 2 else raw
            await until_taken(asked, "add", collection="items", rows=rows(number))
            got = await asked.ok("get", collection="items", ids=[number])
            assert got["rows"][0]["id"] == number
        await eventually(lambda: version_on(one) == version_on(two) == 20)


async def test_a_drop_is_seen_everywhere_and_the_name_is_free(nats: NatsServer) -> None:
    async with pair(nats) as (one, two), client(one) as raw, client(two) as other:
        for _ in range(2):
            await raw.create("items")
            await eventually(lambda: follows(two))
            await raw.ok("drop", collection="items")
            await eventually(lambda: two.context.catalog.known == 0)
        refused = await other.error("describe", collection="items")
        assert refused["code"] == "not_found"
        await other.create("items", replicas=1)
        await eventually(lambda: one.node.caretaker.seen.names("default") == ["items"])


async def test_more_replicas_than_nodes_are_refused(nats: NatsServer) -> None:
    async with node(nats, "one") as one, client(one) as raw:
        refused = await raw.error("create", collection="items", dim=2, capacity=9, replicas=2)
        assert refused["code"] == "unsupported"
        assert refused["message"].startswith("replicas: ")
        await raw.create("items", replicas=1)


async def test_a_node_that_leaves_is_replaced_at_once(nats: NatsServer) -> None:
    async with node(nats, "two") as two, client(two) as other:
        async with node(nats, "one") as one, client(one) as raw:
            await knows(one, "one", "two")
            await raw.create("items")
            await raw.add(1)
            await eventually(lambda: follows(two) or owns(two))
        added = await until_taken(other, "add", collection="items", rows=rows(2))
        assert added["version"] == 2


async def test_a_second_node_of_the_same_name_is_refused(nats: NatsServer) -> None:
    async with node(nats, "one"):
        with pytest.raises(Unavailable, match="called one is alive"):
            await Server(settings(cluster=nats.url, node_name="one")).start()


async def test_a_killed_owner_is_replaced(nats: NatsServer, tmp_path: Path) -> None:
    async with node(nats, "two") as two, client(two) as other:
        async with node_process(nats, "one", tmp_path / "log") as process:
            await knows(two, "one", "two")
            async with omendb_ws.connect(process.url, reconnect=False) as db:
                await db.create("items", dim=2, capacity=1000, ids="u64")
                for number in range(1, 51):
                    await db.add("items", ids=[number], vectors=[[1.0, number]])
                await eventually(lambda: version_on(two) == 50)
                await process.kill()
        added: dict[str, Any] = await until_taken(other, "add", collection="items", rows=rows(99))
        assert added["version"] == 51
        got = await other.ok("get", collection="items", ids=list(range(1, 51)))
        assert all(got["rows"])


async def test_an_owner_that_stood_still_wakes_as_a_follower(
    nats: NatsServer, tmp_path: Path
) -> None:
    async with (
        node(nats, "two") as two,
        client(two) as other,
        node_process(nats, "one", tmp_path / "log") as process,
    ):
        await knows(two, "one", "two")
        async with omendb_ws.connect(process.url, request_timeout_seconds=10) as db:
            await db.create("items", dim=2, capacity=1000, ids="u64")
            await db.add("items", ids=[1], vectors=[[1.0, 0.0]])
            await eventually(lambda: follows(two))
            os.kill(process.pid, signal.SIGSTOP)
            try:
                await until_taken(other, "add", collection="items", rows=rows(2))
            finally:
                os.kill(process.pid, signal.SIGCONT)

            async def found() -> list[int]:
                hits = await db.search("items", [1.0, 0.0], k=10)
                return sorted(hit.id for hit in hits)

            await until_taken(other, "add", collection="items", rows=rows(3))
            async with asyncio.timeout(PATIENCE_SECONDS):
                while await found() != [1, 2, 3]:  # noqa: ASYNC110 - of another process
                    await asyncio.sleep(0.05)


async def test_a_third_node_takes_the_place_of_one_that_does_not_come_back(
    nats: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("omendb_ws.cluster.members.ABSENT_SECONDS", 1.5)
    async with node(nats, "one") as one, client(one) as raw, node(nats, "two") as two:
        async with node(nats, "three") as three:
            await knows(one, "one", "two", "three")
            await raw.create("items", replicas=3)
            await eventually(lambda: all(map(version_is_known, (one, two, three))))
        await raw.create("others", replicas=2)
        await eventually(lambda: shard_on(two, "others") is not None)


def version_is_known(server: Server) -> bool:
    return version_on(server) >= 0
