"""What operators ask of a cluster: ``cluster``, and to hear of it again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from omendb_core.model.budget import Budget, Share

import omendb_ws
from omendb_ws.cluster.directory import Told
from omendb_ws.net.server import Server
from omendb_ws.sessions.subscriptions.beats import Beats
from omendb_ws.sessions.subscriptions.clusters import ClusterSubscription
from omendb_ws.telemetry.metrics import Metrics
from omendb_ws.wire.op_table import CLUSTER
from tests.cli.here import run
from tests.cli.here import server as server_in_a_thread
from tests.nats import NatsServer, nats_server
from tests.patience import PATIENCE_SECONDS, eventually, wait_until
from tests.server.cluster.nodes import node
from tests.server.cluster.test_several_nodes import follows, knows, pair
from tests.server.raw import Raw, client, running, settings, with_keys


@pytest.fixture
def nats(tmp_path: Path) -> Iterator[NatsServer]:
    with nats_server(tmp_path / "nats") as server:
        yield server


def sums(server: Server) -> tuple[int, int, int]:
    """What all nodes hold, own, and how many rows, as ``server`` knows it; who does so changes."""
    assert server.context.operations is not None
    nodes = server.context.operations.status(None)["nodes"]
    return tuple(sum(it[name] for it in nodes) for name in ("collections", "owned", "rows"))  # type: ignore[return-value]


async def test_every_node_says_who_is_there_and_holds_how_much(nats: NatsServer) -> None:
    async with pair(nats) as (one, two), client(one) as raw, client(two) as other:
        await raw.create("items")
        await raw.create("alone", replicas=1)
        await raw.add(1, 2, 3)
        await eventually(lambda: follows(two))

        for asked in (one, two):
            await eventually(lambda at=asked: sums(at) == (3, 2, 6))
        said = await raw.ok("cluster")
        assert tuple(said) == CLUSTER
        assert (said["node"], said["fresh"], said["waiting"]) == ("one", True, 0)
        assert said["collections"] == len(said["places"]) == 2
        for place in said["places"]:
            described = await raw.ok("describe", collection=place["collection"])
            assert place["owner"] == described["owner"]
            assert [it["state"] for it in place["replicas"]].count("owner") == 1
            assert (place["tenant"], place["healing"]) == ("default", None)
        said = await other.ok("cluster")
        assert said["nats"] == [{"address": nats.url.removeprefix("nats://"), "connected": True}]
        assert [it["address"] for it in said["nodes"]] == [one.url, two.url]
        assert {it["state"] for it in said["nodes"]} == {"up"}
        assert all(it["since"] > 1.7e9 and it["version"] for it in said["nodes"])


async def test_who_subscribes_is_told_at_once_and_whenever_it_has_changed(
    nats: NatsServer,
) -> None:
    async with (
        node(nats, "one") as one,
        client(one) as raw,
        omendb_ws.connect(one.url) as db,
        db.watch_cluster(every_ms=100) as watch,
    ):
        await knows(one, "one")
        sub = (await raw.ok("subscribe", kind="cluster", every=100))["sub"]
        assert one.metrics.subscriptions["cluster"] == 2
        first = await raw.named("cluster")
        assert (first.pop("event"), first.pop("sub")) == ("cluster", sub)
        assert tuple(first) == CLUSTER
        assert first["places"] == []
        await raw.create("items")
        await raw.add(1, 2)
        async with node(nats, "two"):
            await pushed(raw, lambda said: len(said["nodes"]) == 2)
        await pushed(raw, lambda said: said["nodes"][1]["state"] == "gone")
        said = await raw.ok("cluster")
        assert said["places"][0]["owner"] == "one"
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (await anext(watch)) != said:
                pass
        assert await raw.ok("unsubscribe", sub=sub) == {}
        await eventually(lambda: one.metrics.subscriptions["cluster"] == 1)


async def pushed(raw: Raw, is_so: Callable[[dict[str, Any]], bool]) -> None:
    """Wait for a push of which something is so."""
    while not is_so(await raw.named("cluster")):
        pass


async def test_what_was_told_is_not_told_again_and_a_slow_reader_hears_the_newest() -> None:
    says = [Told(b'"node":"one"', b"1")]
    offered: list[ClusterSubscription] = []

    def offer(one: ClusterSubscription) -> bool:
        if offered:
            return False
        offered.append(one)
        return True

    session: Any = SimpleNamespace(
        context=SimpleNamespace(metrics=Metrics(0.0), beats=Beats()),
        outbox=SimpleNamespace(offer=offer),
        account=SimpleNamespace(subscriptions=0),
        subscriptions={},
    )
    share = Share(Budget("max_memory_bytes", 1 << 20), "it takes")
    watch = ClusterSubscription(session, 3, 60_000, share, lambda: says[-1])
    session.subscriptions[3] = watch
    watch.replied(True)
    assert offered.pop() is watch
    message = watch.take()
    assert message is not None
    assert message.data == b'{"event":"cluster","sub":3,"node":"one"}'
    watch._tick()
    assert offered == []
    says.append(Told(b'"node":"two"', b"2"))
    watch._tick()
    says.append(Told(b'"node":"three"', b"3"))
    watch._tick()
    assert session.context.metrics.stats_merged == 1
    message = watch.take()
    assert message is not None
    assert message.data == b'{"event":"cluster","sub":3,"node":"three"}'
    assert watch.take() is None
    watch.close()
    assert session.subscriptions == {}


async def test_a_server_by_itself_is_of_no_cluster() -> None:
    async with running() as server, client(server) as raw:
        assert await raw.code("cluster") == "unsupported"
        assert await raw.code("subscribe", kind="cluster") == "unsupported"
        for fields in ({"every": 99}, {"every": 60001}, {"collection": "items"}):
            assert await raw.code("subscribe", kind="cluster", **fields) == "bad_request"
        assert server.metrics.subscriptions["cluster"] == 0
        assert (await raw.ok("usage"))["use"]["memory_bytes"] == 0


async def test_a_tenants_admin_is_told_of_its_own_and_of_no_address(
    nats: NatsServer, tmp_path: Path
) -> None:
    given = with_keys(tmp_path)
    async with (
        node(nats, "one", api_key_file=given.api_key_file) as server,
        client(server, token="token-root") as root,
        client(server, token="token-other") as other,
        client(server, token="token-reader") as reader,
    ):
        await knows(server, "one")
        await root.create("items")
        await root.add(1, 2)
        await eventually(lambda: len(server.node.caretaker.seen.view.collections) == 1)
        assert await reader.code("cluster") == "forbidden"
        said = await other.ok("cluster")
        assert (said["collections"], said["nats"]) == (0, None)
        assert said["places"] == []
        await other.ok("subscribe", kind="cluster")
        assert (await other.named("cluster"))["nats"] is None
        assert await reader.code("subscribe", kind="cluster") == "forbidden"
        await root.ok("subscribe", kind="cluster")
        assert (await root.named("cluster"))["places"][0]["collection"] == "items"
        await root.ok("auth", token="token-reader")
        assert (await root.named("ended"))["reason"] == "forbidden"
        (told,) = said["nodes"]
        assert (told["collections"], told["rows"], told["address"]) == (0, 0, None)


def test_the_command_prints_nodes_and_nats(tmp_path: Path) -> None:
    with (
        nats_server(tmp_path / "nats") as nats,
        server_in_a_thread(settings(cluster=nats.url, node_name="one")) as url,
    ):
        ran = run("cluster", "status", "--url", url)
        assert ran.code == 0, ran.err
        heading, line, _, *rest = ran.out.splitlines()
        assert heading.split()[:4] == ["node", "state", "owns", "holds"]
        assert line.split()[:5] == ["one", "up", "0", "0", "0"]
        assert rest[0] == "0 collections, 0 without an owner"
        found = run("cluster", "status", "--json", "--url", url).document
        assert [one["node"] for one in found["nodes"]] == ["one"]


def test_the_commands_move_a_collection_and_empty_a_node(tmp_path: Path) -> None:
    with (
        nats_server(tmp_path / "nats") as nats,
        server_in_a_thread(settings(cluster=nats.url, node_name="one")) as url,
        server_in_a_thread(settings(cluster=nats.url, node_name="two")),
    ):
        at = ("--url", url)
        wait_until(lambda: len(run("cluster", "status", "--json", *at).document["nodes"]) == 2)
        assert run("create", "items", "--dim", 2, "--capacity", 5, *at).code == 0
        late = run("cluster", "move-owner", "items", "two", "--timeout", 0.001, *at)
        assert (late.code, late.out) == (4, "")
        assert late.err.splitlines()[-1].startswith("omendb-ws: not so within 0.001 s")
        moved = run("cluster", "move-owner", "items", "two", *at)
        assert (moved.code, moved.out) == (0, "items is owned by two\n"), moved.err
        assert moved.err.startswith("omendb-ws: items is owned by one; two is ")
        told = [line.split() for line in run("cluster", "status", *at).out.splitlines()]
        assert ["collection", "tenant", "owner", "other", "replicas"] in told
        assert ["items", "default", "two"] in [line[:3] for line in told]
        emptied = run("cluster", "evacuate", "two", "--json", *at)
        assert emptied.document == {"node": "two", "collections": 0}
        last = run("cluster", "evacuate", "one", *at)
        assert (last.code, last.out) == (1, "")
        assert last.err.startswith("omendb-ws: node: without one nobody would hold")
        assert run("cluster", "evacuate", "two", "--undo", *at).out == "two stays\n"
        sound = run("cluster", "heal", "items", *at)
        assert (sound.code, sound.out) == (1, "")
        assert sound.err.startswith("omendb-ws: collection: items is not to be healed")
        nobody = run("cluster", "move-owner", "items", "nobody", *at)
        assert nobody.err.startswith("omendb-ws: to: no node that is up is called 'nobody'")
