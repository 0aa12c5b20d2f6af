"""What the durabilities mean in a cluster: in the memory of NATS, its files, flushed each time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from omendb_ws.cluster import agenda
from tests.nats import NatsServer, nats_server
from tests.nats_cluster import nats_servers
from tests.patience import eventually
from tests.server.cluster.nodes import node, served, store_of, until_taken
from tests.server.cluster.test_healing import ask, epoch_of, found, new_epoch
from tests.server.cluster.test_one_node import stream_of
from tests.server.raw import client, rows


@pytest.fixture
def nats(tmp_path: Path) -> Iterator[NatsServer]:
    with nats_server(tmp_path / "nats") as server:
        yield server


@pytest.fixture(autouse=True)
def is_soon_healed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agenda, "HEAL_SECONDS", 1.0)


async def test_a_collection_in_memory_outlives_its_nodes(nats: NatsServer) -> None:
    async with node(nats) as server, client(server) as raw:
        made = await raw.create("items", durability="memory", ids="u64")
        assert made["durability"] == "memory"
        assert ask(server, f"STREAM.INFO.{stream_of(server)}")["config"]["storage"] == "memory"
        await raw.create("kept")
        assert (
            ask(server, f"STREAM.INFO.{stream_of(server, 'kept')}")["config"]["storage"] == "file"
        )
        await raw.add(1, 2, 3)
        epoch = await epoch_of(raw)
    async with served(nats, "two") as raw:
        assert await found(raw) == [1, 2, 3]
        assert await epoch_of(raw) == epoch


async def test_a_collection_in_memory_whose_nats_is_lost_is_healed_out_of_a_window(
    nats: NatsServer,
) -> None:
    async with node(nats) as server, client(server) as raw:
        await raw.create("items", durability="memory")
        await raw.add(1, 2, 3)
        before = await epoch_of(raw)
        nats.kill()
        nats.start()
        await new_epoch(raw, before)
        assert await found(raw) == [1, 2, 3]
        await until_taken(raw, "add", collection="items", rows=rows(4))
        assert ask(server, f"STREAM.INFO.{stream_of(server)}")["config"]["storage"] == "memory"


async def test_a_collection_in_memory_outlives_one_of_three_servers_and_is_healed_after_all(
    tmp_path: Path,
) -> None:
    with nats_servers(tmp_path / "three") as nats:
        async with node(nats) as server, client(server) as raw:
            made = await raw.create("items", durability="memory")
            await raw.add(1, 2, 3)
            leader = ask(server, f"STREAM.INFO.{stream_of(server)}")["cluster"]["leader"]
            nats.called(leader).kill()
            await until_taken(raw, "add", collection="items", rows=rows(4))
            assert await epoch_of(raw) == made["epoch"]
            nats.called(leader).start()
            await asyncio.to_thread(nats.called(leader).until_it_listens)
            await until_taken(raw, "add", collection="items", rows=rows(5))
            assert await found(raw) == [1, 2, 3, 4, 5]
            assert await epoch_of(raw) == made["epoch"]

            for one in nats.members:
                one.kill()
            assert await found(raw) == [1, 2, 3, 4, 5]
            nats.start()
            await new_epoch(raw, made["epoch"])
            assert await found(raw) == [1, 2, 3, 4, 5]
            await until_taken(raw, "add", collection="items", rows=rows(6))
            assert await found(raw) == [1, 2, 3, 4, 5, 6]


async def test_a_collection_in_memory_outlives_the_memory_of_two_of_three_servers(
    tmp_path: Path,
) -> None:
    with nats_servers(tmp_path / "three") as nats:
        async with node(nats) as server, client(server) as raw:
            await raw.create("items", durability="memory")
            await raw.add(1, 2, 3)
            leader = ask(server, f"STREAM.INFO.{stream_of(server)}")["cluster"]["leader"]
            # The stream's leader is one of the two.
            gone = sorted(nats.members, key=lambda one: one.name != leader)[:2]
            for one in gone:
                one.kill()
            assert await found(raw) == [1, 2, 3]
            for one in gone:
                one.start()
            for one in gone:
                await asyncio.to_thread(one.until_it_listens)
            # Whether the third brings them up to date, or it is healed under a new epoch.
            await until_taken(raw, "add", collection="items", rows=rows(4))
            assert await found(raw) == [1, 2, 3, 4]


async def test_a_collection_in_memory_that_nobody_has_is_there_empty_under_a_new_epoch(
    nats: NatsServer,
) -> None:
    async with served(nats) as raw:
        await raw.create("items", durability="memory", columns={"n": "i64"}, capacity=77)
        await raw.create("kept")
        await raw.add(1, 2, 3)
        await raw.add(4, name="kept")
        before = await raw.ok("describe", collection="items")
    nats.kill()
    nats.start()
    async with node(nats, "two") as server, client(server) as raw:
        await new_epoch(raw, before["epoch"])
        assert await found(raw) == []
        after = await raw.ok("describe", collection="items")
        assert (after["version"], after["rows"]) == (0, 0)
        for same in ("dim", "capacity", "columns", "ids", "durability"):
            assert after[same] == before[same]
        await until_taken(raw, "add", collection="items", rows=rows(5))
        assert await found(raw) == [5]
        assert [one["id"] for one in await of_kept(raw)] == [4]
        await raw.ok("drop", collection="items")
        await raw.ok("drop", collection="kept")
        store = store_of(server)
        await eventually(lambda: ask(server, "STREAM.NAMES")["streams"] == ["KV_OMENDB-main"])
        left = store.connection.call(store._jetstream.entries())
        assert not [key for key in left if key.startswith(("def.", "own."))]


async def of_kept(raw: Any) -> list[dict[str, Any]]:
    answer = await until_taken(raw, "search", collection="kept", vector=[1, 0], k=100)
    return list(answer["results"])


async def test_always_needs_nats_servers_that_flush_each_message(tmp_path: Path) -> None:
    config = tmp_path / "nats.conf"
    for sync_interval, asked in (("always", None), ("2m", "sync_interval: always")):
        config.write_text(f"jetstream {{ sync_interval: {sync_interval} }}")
        name = sync_interval.replace("2m", "timed")
        more = ["-c", str(config), "-m", "-1", "-n", name]
        with nats_server(tmp_path / name, more) as nats:
            fields = {"collection": "items", "dim": 2, "capacity": 10, "durability": "always"}
            async with served(nats, cluster_monitors=(nats.monitor,)) as raw:
                if asked is None:
                    assert (await raw.ok("create", **fields))["durability"] == "always"
                    await raw.add(1)
                    continue
                refused = await raw.error("create", **fields)
                assert refused["code"] == "unsupported"
                assert asked in refused["message"]
                assert name in refused["message"]
                await raw.create("items")


async def test_always_is_refused_where_nobody_says_whether_servers_flush(nats: NatsServer) -> None:
    fields = {"collection": "items", "dim": 2, "capacity": 10, "durability": "always"}
    async with node(nats) as server, client(server) as raw:
        refused = await raw.error("create", **fields)
        assert refused["code"] == "unsupported"
        assert "cluster_monitors" in refused["message"]
        left = store_of(server).connection.call(store_of(server)._jetstream.entries())
        assert not [key for key in left if key.startswith("def.")]
        await raw.create("items", durability="memory")
    async with served(nats, "two", cluster_monitors=(nats.url.replace("nats", "http"),)) as raw:
        refused = await raw.error("create", **fields | {"collection": "others"})
        assert refused["code"] == "unsupported"
        assert "does not say" in refused["message"]


async def test_a_server_that_no_monitor_names_is_refused(nats: NatsServer, tmp_path: Path) -> None:
    """The one that is monitored is another one, which does flush."""
    config = tmp_path / "other.conf"
    config.write_text("jetstream { sync_interval: always }")
    more = ["-c", str(config), "-m", "-1"]
    with nats_server(tmp_path / "other", more) as other:
        async with node(nats, cluster_monitors=(other.monitor,)) as server, client(server) as raw:
            refused = await raw.error(
                "create", collection="items", dim=2, capacity=10, durability="always"
            )
            assert refused["code"] == "unsupported"
            assert "does not name" in refused["message"]
            assert ask(server, "STREAM.NAMES")["streams"] == ["KV_OMENDB-main"]
            await raw.create("items")
