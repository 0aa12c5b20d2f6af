"""A real cluster: whichever node is asked, the answer is that of the collection's."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import omendb_ws
from omendb_ws.errors import Internal, Unavailable
from omendb_ws.net.server import Server
from tests.nats import NatsServer, nats_server
from tests.patience import PATIENCE_SECONDS, eventually
from tests.server.cluster.nodes import node, node_process, until_taken
from tests.server.raw import Raw, batch, client, rows


@pytest.fixture
def nats(tmp_path: Path) -> Iterator[NatsServer]:
    with nats_server(tmp_path / "nats") as server:
        yield server


@asynccontextmanager
async def cluster(nats: NatsServer, *names: str) -> AsyncIterator[list[tuple[Server, Raw]]]:
    """Nodes that know each other, and a client of each."""
    async with AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(node(nats, name)) for name in names]
        for server in servers:
            caretaker = server.node.caretaker
            assert caretaker is not None
            await eventually(lambda caretaker=caretaker: len(caretaker.seen.nodes()) == len(names))
        yield [(one, await stack.enter_async_context(client(one))) for one in servers]


def knows(server: Server, name: str) -> bool:
    assert server.context.cluster is not None
    where = server.context.cluster.directory.where("default", name)
    return where is not None and where.owner is not None


async def test_every_node_takes_every_op(nats: NatsServer) -> None:
    async with cluster(nats, "one", "two", "three") as nodes:
        (first, raw), (second, other), (third, another) = nodes
        await raw.create("items", replicas=1, ids="u64")
        for server in (second, third):
            await eventually(lambda server=server: knows(server, "items"))
        assert (await until_taken(other, "add", collection="items", rows=rows(1)))["version"] == 1
        handle = (await other.ok("open", collection="items"))["handle"]
        await other.add_binary(handle, batch(10))
        await other.ok("delete", collection="items", ids=[10])
        found = await other.search_binary(handle, [[1, 0]], k=9)
        assert found.hits.ids.tolist() == [1]
        await another.create("others", replicas=1)
        await eventually(lambda: knows(second, "others"))
        listed = await other.ok("list")
        assert [one["collection"] for one in listed["collections"]] == ["items", "others"]
        assert "unavailable" not in listed
        sub = (await another.ok("subscribe", kind="feed", collection="items"))["sub"]
        await raw.ok("add", collection="items", rows=rows(30))
        feed = await another.named("feed")
        assert (feed["sub"], feed["rows"][0]["id"]) == (sub, 30)
        taken = await other.error("create", collection="items", dim=3, capacity=4)
        assert taken["code"] == "exists"
        await another.ok("drop", collection="items")
        await eventually(lambda: not knows(first, "items"))


async def test_a_client_reads_what_it_wrote_on_a_node_that_follows(nats: NatsServer) -> None:
    async with cluster(nats, "one", "two") as nodes:
        (_, raw), (two, other) = nodes
        await raw.create("items", replicas=2, capacity=1000)
        await eventually(lambda: two.context.catalog.shard_of("default", "items") is not None)
        last = 0
        for number in range(1, 101):
            added = await until_taken(other, "add", collection="items", rows=rows(number))
            assert added["version"] == number
            counted = await other.ok("count", collection="items")
            assert counted["count"] == number
            assert counted["version"] >= last
            last = counted["version"]
        assert two.metrics.passed_on >= 100


async def add(db: Any, number: int) -> None:
    """Add a row, and again where it is not known whether it was."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            with contextlib.suppress(Unavailable, Internal):
                await db.add("items", ids=[number], vectors=[[1.0, number]])
                return


async def test_an_owner_that_is_killed_is_replaced_and_its_clients_elsewhere_go_on(
    nats: NatsServer, tmp_path: Path
) -> None:
    async with (
        node_process(nats, "one", tmp_path / "log") as process,
        node(nats, "two") as two,
        omendb_ws.connect(two.url) as db,
    ):
        async with omendb_ws.connect(process.url) as other:
            assert two.node.caretaker is not None
            await eventually(lambda: len(two.node.caretaker.seen.nodes()) == 2)
            await other.create("items", dim=2, capacity=10_000, ids="u64")
            await eventually(lambda: two.context.catalog.shard_of("default", "items") is not None)
        for number in range(1, 200):
            if number == 100:
                await process.kill()
            await add(db, number)
        assert await db.count("items") == 199
