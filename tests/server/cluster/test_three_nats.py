"""Two nodes over three NATS servers: whichever of those dies, nothing acknowledged is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from omendb_ws.net.server import Server
from tests.core.windows import assert_same
from tests.nats_cluster import NatsServers, nats_servers
from tests.patience import PATIENCE_SECONDS, eventually
from tests.server.cluster.nodes import node, store_of, until_taken
from tests.server.cluster.test_several_nodes import follows, knows, owns, shard_on, version_on
from tests.server.raw import Raw, client, rows


@pytest.fixture
def nats(tmp_path: Path) -> Iterator[NatsServers]:
    with nats_servers(tmp_path / "nats") as servers:
        yield servers


def stream_info(server: Server) -> dict[str, Any]:
    """What NATS says of the only collection's stream."""
    store = store_of(server)
    names = store.connection.call(store._jetstream.request("STREAM.NAMES"))["streams"]
    [stream] = [name for name in names if not name.startswith("KV_")]
    info: dict[str, Any] = store.connection.call(store._jetstream.request(f"STREAM.INFO.{stream}"))
    return info


async def add(raw: Raw, batch: int) -> int:
    """A row of a batch of its own, once it is acknowledged."""
    asked = {"collection": "items", "rows": rows(batch), "producer": "p", "batch": batch}
    async with asyncio.timeout(PATIENCE_SECONDS):
        while "ok" not in (reply := await raw.ask("add", **asked)):
            # The other node may have gone while it had it: once more is safe.
            assert reply["error"]["code"] in ("unavailable", "internal"), reply
            assert reply["error"]["retry"] is True
            await asyncio.sleep(0.05)
    return batch


async def equal(one: Server, two: Server, ids: list[int], *asked: Raw) -> None:
    """Both nodes have these rows, and all else alike."""
    await eventually(lambda: version_on(one) == version_on(two) == len(ids))
    for raw in asked:
        found = await until_taken(raw, "search", collection="items", vector=[1, 0], k=100)
        assert sorted(row["id"] for row in found["results"]) == ids
    ours, theirs = shard_on(one), shard_on(two)
    assert ours is not None
    assert theirs is not None
    assert_same(ours.window, theirs.window)


async def test_whichever_server_dies_changes_go_on_and_nothing_acknowledged_is_lost(
    nats: NatsServers,
) -> None:
    """The leader of the stream first, then one whose disk is lost, then the third."""
    async with node(nats, "one") as one, node(nats, "two") as two:
        await knows(one, "one", "two")
        await knows(two, "one", "two")
        async with client(one) as raw, client(two) as other:
            await raw.create("items", capacity=1000)
            ids = [await add(raw, batch) for batch in range(1, 11)]
            await eventually(lambda: follows(one) or follows(two))
            info = stream_info(one)
            assert info["config"]["num_replicas"] == 3
            assert len(info["cluster"]["replicas"]) == 2

            dead = nats.called(info["cluster"]["leader"])
            dead.kill()
            ids += [await add(raw, batch) for batch in range(11, 16)]
            ids += [await add(other, batch) for batch in range(16, 21)]
            await equal(one, two, ids, raw, other)

            dead.lose_disk()
            dead.start()
            dead.until_it_listens()
            await eventually(lambda: is_whole(one))
            next_dead = next(member for member in nats.members if member is not dead)
            next_dead.kill()
            ids += [await add(other, batch) for batch in range(21, 31)]
            await equal(one, two, ids, raw, other)
            assert owns(one) != owns(two)


def is_whole(server: Server) -> bool:
    """Whether all three have all of the stream."""
    try:
        cluster = stream_info(server)["cluster"]
    except Exception:  # an election
        return False
    return bool(cluster.get("leader")) and all(
        replica["current"] and not replica.get("offline") for replica in cluster["replicas"]
    )
