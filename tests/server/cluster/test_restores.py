"""Snapshots restored in a cluster: the collection is there on all its nodes at once, or not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.core.windows import assert_same
from tests.nats import NatsServer, nats_server
from tests.patience import eventually
from tests.server.catalog.test_copies import copied, feed, restored
from tests.server.cluster.nodes import node, served, store_of, until_taken
from tests.server.cluster.test_several_nodes import follows, pair, shard_on
from tests.server.raw import Raw, client, rows


@pytest.fixture
def nats(tmp_path: Path) -> Iterator[NatsServer]:
    with nats_server(tmp_path / "nats") as server:
        yield server


async def filled(raw: Raw) -> None:
    """A collection with a history."""
    await raw.create("items", capacity=1000, columns={"n": "str"})
    for first in range(0, 1200, 100):
        many = [
            {"id": one, "vector": [1.0, one], "metadata": {"n": f"text {one % 7}", "v": one}}
            for one in range(first, first + 100)
        ]
        await raw.ok("add", collection="items", rows=many, producer="p", batch=first // 100 + 1)
    await raw.ok("delete", collection="items", ids=list(range(500, 900, 3)))


async def test_what_is_restored_on_one_node_is_held_by_the_others_and_outlives_it(
    nats: NatsServer,
) -> None:
    async with pair(nats) as (one, two), client(one) as raw, client(two) as other:
        await filled(raw)
        data = await copied(raw)
        before = await raw.ok("describe", collection="items")
        made = await restored(raw, "copy", data)
        assert (made["rows"], made["version"]) == (before["rows"], before["version"])
        assert made["epoch"] != before["epoch"]
        await eventually(lambda: follows(two, "copy"))
        repeated = await until_taken(
            other, "add", collection="copy", rows=rows(1), producer="p", batch=12
        )
        assert repeated["duplicate"] is True
        await until_taken(other, "add", collection="copy", rows=rows(9999))
        ours, theirs = shard_on(one, "copy"), shard_on(two, "copy")
        assert ours is not None
        assert theirs is not None
        await eventually(lambda: ours.window.version == theirs.window.version)
        assert_same(ours.window, theirs.window)
    async with served(nats, "three") as raw:
        found = await raw.ok("get", collection="copy", ids=[9999, 1199, 501])
        assert [row and row["id"] for row in found["rows"]] == [9999, 1199, 501]
        assert (await raw.ok("describe", collection="copy"))["epoch"] == made["epoch"]


async def test_a_name_that_another_node_has_is_refused(nats: NatsServer) -> None:
    async with pair(nats) as (one, two), client(one) as raw, client(two) as other:
        await raw.create("items", replicas=1)
        await eventually(lambda: two.node.caretaker.seen.names("default") == ["items"])
        for asked in (raw, other):
            assert await asked.code("restore", collection="items") == "exists"


async def test_what_is_restored_is_held_by_as_many_nodes_as_were_asked_for(
    nats: NatsServer,
) -> None:
    async with pair(nats) as (one, two), client(one) as raw:
        await filled(raw)
        data = await copied(raw)
        assert await raw.code("restore", collection="alone", replicas=3) == "unsupported"
        assert await raw.code("restore", replicas=1, end=1) == "bad_request"
        await restored(raw, "alone", data, replicas=1)
        await restored(raw, "both", data, replicas=2)
        await eventually(lambda: follows(two, "both"))
        seen = one.node.caretaker.seen
        await eventually(lambda: {"alone", "both"} <= set(seen.names("default")))
        asked_for = {name: seen.by_name["default", name].replicas for name in ("alone", "both")}
        assert asked_for == {"alone": 1, "both": 2}
        # The nodes may have drawn the other one, which reads all of it before this one lets go.
        await eventually(lambda: sum(shard_on(of, "alone") is not None for of in (one, two)) == 1)
        assert follows(two, "both")


async def test_nothing_is_left_of_a_restore_that_is_given_up_or_refused(nats: NatsServer) -> None:
    async with node(nats, "one") as one, client(one) as raw:
        await filled(raw)
        data = await copied(raw)
        store = store_of(one)

        def streams() -> int:
            asked = store._jetstream.request("STREAM.NAMES")
            return len(store.connection.call(asked)["streams"])

        before = streams(), store.connection.call(store._jetstream.entries())
        number = (await raw.ok("restore", collection="copy"))["restore"]
        most = data[:-50]
        for start in range(0, len(most), 1000):
            assert "ok" in await feed(raw, number, most[start : start + 1000])
        assert streams() == before[0] + 1
        assert await raw.code("search", collection="copy", vector=[1, 0]) == "unavailable"
        await raw.ok("restore", end=number)
        await eventually(lambda: streams() == before[0])
        number = (await raw.ok("restore", collection="copy"))["restore"]
        altered = data[:-100] + bytes([data[-100] ^ 1]) + data[-99:]
        assert "error" in await feed(raw, number, altered)
        await eventually(lambda: streams() == before[0])
        assert store.connection.call(store._jetstream.entries()) == before[1]
        assert (await restored(raw, "copy", data))["rows"] == len(
            (await raw.ok("search", collection="copy", vector=[1, 0], k=1000))["results"]
        )


async def test_a_restore_ends_when_nats_goes_away_and_can_begin_again(nats: NatsServer) -> None:
    async with node(nats, "one") as one, client(one) as raw:
        await filled(raw)
        data = await copied(raw)
        number = (await raw.ok("restore", collection="copy"))["restore"]
        half = len(data) // 2
        assert "ok" in await feed(raw, number, data[:half])
        nats.kill()
        refused = await feed(raw, number, data[half:])
        assert refused["error"]["code"] == "unavailable"
        nats.start()
        await until_taken(raw, "add", collection="items", rows=rows(5000))
