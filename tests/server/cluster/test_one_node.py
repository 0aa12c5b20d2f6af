"""A cluster of one node over a real NATS server: what was acknowledged outlives the node, its
machine, and NATS being away."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omendb_core.model.change import RowBatch

import omendb_ws
from omendb_ws.journal.interface import Log
from omendb_ws.net.server import Server
from tests.nats import NatsServer, nats_server
from tests.patience import eventually
from tests.server.cluster.nodes import node, node_process, served, store_of, until_taken
from tests.server.raw import Raw, client, rows


@pytest.fixture
def nats(tmp_path: Path) -> Iterator[NatsServer]:
    with nats_server(tmp_path / "nats") as server:
        yield server


def log_of(server: Server, name: str = "items") -> Log:
    shard = server.context.catalog.find("default", name).shard
    assert shard.pending is not None
    assert shard.pending.log is not None
    return shard.pending.log


def ask(server: Server, subject: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """What JetStream's API says."""
    store = store_of(server)
    return store.connection.call(store._jetstream.request(subject, body))


def stream_of(server: Server, name: str = "items") -> str:
    return f"OMENDB-main-{log_of(server, name).stored.key}"


async def found(raw: Raw, name: str = "items") -> list[int]:
    answer = await raw.ok("search", collection=name, vector=[1, 0], k=100)
    return sorted(one["id"] for one in answer["results"])


async def test_what_was_acknowledged_is_there_on_another_node(nats: NatsServer) -> None:
    async with served(nats, "one") as raw:
        made = await raw.create("items", columns={"n": "i64"}, ids="u64")
        assert made["durability"] == "everysec"
        await raw.ok("add", collection="items", rows=rows(1, 2, 3), producer="p", batch=1)
        await raw.ok("delete", collection="items", ids=[2])
        await raw.ok("update", collection="items", rows=[{"id": 3, "metadata": {"n": 7}}])
        before = await raw.ok("describe", collection="items")
    async with served(nats, "two") as raw:
        after = await raw.ok("describe", collection="items")
        assert (before.pop("owner"), after.pop("owner")) == ("one", "two")
        assert before.pop("replicas") != after.pop("replicas")
        assert {**after, "bytes": 0} == {**before, "bytes": 0}
        assert await found(raw) == [1, 3]
        got = await raw.ok("get", collection="items", ids=[3], include=["metadata"])
        assert got["rows"][0]["metadata"] == {"n": 7}
        again = await raw.ok("add", collection="items", rows=rows(1, 2, 3), producer="p", batch=1)
        assert again["duplicate"] is True
        assert (await raw.add(9))["version"] == before["version"] + 1


async def test_hello_says_node_and_cluster(nats: NatsServer) -> None:
    async with (
        node(nats, "one", cluster_name="red") as server,
        client(server, greeted=False) as raw,
    ):
        hello = await raw.message()
        assert (hello["node"], hello["cluster"]) == ("one", "red")


async def test_a_killed_node_loses_nothing_that_it_acknowledged(
    nats: NatsServer, tmp_path: Path
) -> None:
    acknowledged: list[int] = []
    async with node_process(nats, "one", tmp_path / "log") as process:  # noqa: SIM117
        async with omendb_ws.connect(process.url, reconnect=False) as db:
            await db.create("items", dim=2, capacity=100_000, ids="u64")

            async def add(first: int) -> None:
                for number in range(first, first + 10_000):
                    await db.add("items", ids=[number], vectors=[[1.0, number]])
                    acknowledged.append(number)

            writers = [asyncio.create_task(add(10_000 * one)) for one in range(1, 9)]
            await eventually(lambda: len(acknowledged) >= 200)
            await process.kill()
            gone = await asyncio.gather(*writers, return_exceptions=True)
            assert all(isinstance(one, Exception) for one in gone)
    async with served(nats, "elsewhere") as raw:
        got = await raw.ok("get", collection="items", ids=acknowledged)
        assert [row["id"] for row in got["rows"]] == acknowledged


async def test_a_change_larger_than_a_message_is_there_whole(nats: NatsServer) -> None:
    vectors = np.random.default_rng(1).normal(size=(1500, 768)).astype(np.float32)
    ids = np.arange(1, 1501, dtype=np.uint64)
    async with served(nats) as raw:
        made = await raw.create("items", dim=768, capacity=4000, metric="dot")
        await raw.add_binary(made["handle"], RowBatch(vectors, ids))
        await raw.ok("delete", collection="items", ids=[7])
    async with served(nats, "two") as raw:
        one = await raw.ok("get", collection="items", ids=[1500, 7], include=["vector"])
        row, gone = one["rows"]
        assert gone is None
        assert np.array_equal(np.array(row["vector"], np.float32), vectors[-1])


async def test_while_nats_is_away_reads_go_on_and_changes_are_unavailable(
    nats: NatsServer,
) -> None:
    async with node(nats) as server, client(server) as raw, client(server) as other:
        await raw.create("items")
        await raw.add(1)
        nats.kill()
        await eventually(
            lambda: server.context.catalog.find("default", "items").shard.pending.log.error
        )
        refused = await other.error("add", collection="items", rows=rows(2))
        assert (refused["code"], refused["retry"]) == ("unavailable", True)
        assert await found(other) == [1]
        nats.start()
        added = await until_taken(raw, "add", collection="items", rows=rows(3))
        assert added["version"] == 2
        assert await found(raw) == [1, 3]
    async with served(nats, "two") as raw:
        assert await found(raw) == [1, 3]


async def test_changes_under_way_when_nats_is_killed_are_there_once_or_refused(
    nats: NatsServer,
) -> None:
    async with node(nats) as server, client(server) as raw, client(server) as other:
        await raw.create("items", capacity=10_000)
        outcomes: dict[int, Any] = {}

        async def add(first: int) -> None:
            for number in range(first, first + 40):
                outcomes[number] = await other.ask("add", collection="items", rows=rows(number))

        adding = asyncio.create_task(add(1))
        for _ in range(3):
            await eventually(lambda: len(outcomes) % 10 == 9 or adding.done())
            nats.kill()
            nats.start()
        await adding
        taken = {number for number, reply in outcomes.items() if "ok" in reply}
        assert all(
            reply["error"]["code"] == "unavailable"
            for number, reply in outcomes.items()
            if number not in taken
        )
        await until_taken(raw, "add", collection="items", rows=rows(99))
        assert set(await found(raw)) == taken | {99}
        version = (await raw.ok("describe", collection="items"))["version"]
        assert version == len(taken) + 1
    async with served(nats, "two") as raw:
        assert set(await found(raw)) == taken | {99}


async def test_a_nats_that_stands_still_is_waited_for(nats: NatsServer) -> None:
    async with node(nats) as server, client(server) as raw, client(server) as other:
        await raw.create("items")
        nats.pause()
        try:
            asked = await raw.send("add", collection="items", rows=rows(1))
            await eventually(lambda: log_of(server).error)
            assert await found(other) == []
        finally:
            nats.resume()
        reply = await raw.reply(asked)
        added = await until_taken(raw, "add", collection="items", rows=rows(2))
        expected = [1, 2] if "ok" in reply else [2]
        assert await found(raw) == expected
        assert added["version"] == len(expected)


async def test_a_stream_that_was_deleted_stops_its_collection_and_no_other(
    nats: NatsServer,
) -> None:
    async with node(nats, cluster_heal="ask") as server, client(server) as raw:
        await raw.create("items")
        await raw.create("others")
        await raw.add(1)
        ask(server, f"STREAM.DELETE.{stream_of(server)}")
        refused = await raw.error("add", collection="items", rows=rows(2))
        assert refused["code"] in ("unavailable", "internal")  # the latter if it was on its way
        await eventually(
            lambda: server.context.catalog.find("default", "items").shard.broken is not None
        )
        told = await raw.error("search", collection="items", vector=[1, 0])
        assert told["code"] == "unavailable"
        assert "the stream is not there" in told["message"]
        await raw.add(1, name="others")
        await raw.ok("drop", collection="items")
        await raw.create("items")


async def test_dropped_collections_leave_nothing(nats: NatsServer) -> None:
    async with node(nats) as server, client(server) as raw:
        await raw.create("items")
        await raw.add(1)
        await raw.ok("drop", collection="items")
        made = await raw.create("items")
        assert made["version"] == 0
        await raw.ok("drop", collection="items")
        store = store_of(server)
        left = store.connection.call(store._jetstream.entries())
        assert left == ["format", "held.one", "node.one", "secret"]
        assert ask(server, "STREAM.NAMES")["streams"] == ["KV_OMENDB-main"]


async def test_many_clients_share_messages(nats: NatsServer) -> None:
    async with node(nats) as server, client(server) as raw:
        await raw.create("items", capacity=10_000)
        asked = [
            await raw.send("add", collection="items", rows=rows(number)) for number in range(1, 501)
        ]
        for one in asked:
            assert "ok" in await raw.reply(one)
        assert ask(server, f"STREAM.INFO.{stream_of(server)}")["state"]["messages"] < 400
