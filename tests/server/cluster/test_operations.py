"""What operators ask of a cluster: ``cluster``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from omendb_ws.net.server import Server
from omendb_ws.wire.op_table import CLUSTER
from tests.cli.here import run
from tests.cli.here import server as server_in_a_thread
from tests.nats import NatsServer, nats_server
from tests.patience import eventually, wait_until
from tests.server.cluster.nodes import node
from tests.server.cluster.test_several_nodes import follows, knows, pair
from tests.server.raw import client, running, settings, with_keys


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
        assert (said["node"], said["collections"]) == ("one", 2)
        said = await other.ok("cluster")
        assert said["nats"] == [{"address": nats.url.removeprefix("nats://"), "connected": True}]
        assert [it["address"] for it in said["nodes"]] == [one.url, two.url]
        assert {it["state"] for it in said["nodes"]} == {"up"}
        assert all(it["since"] > 1.7e9 and it["version"] for it in said["nodes"])


async def test_a_server_by_itself_is_of_no_cluster() -> None:
    async with running() as server, client(server) as raw:
        error = await raw.error("cluster")
        assert error["code"] == "unsupported"
        assert await raw.ok("ping") == {}


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
        moved = run("cluster", "move-owner", "items", "two", *at)
        assert (moved.code, moved.out) == (0, "items is owned by two\n"), moved.err
        emptied = run("cluster", "evacuate", "two", "--json", *at)
        assert emptied.document == {"node": "two", "collections": 0}
        last = run("cluster", "evacuate", "one", *at)
        assert (last.code, last.out) == (1, "")
        assert last.err.startswith("omendb-ws: node: without one nobody would hold")
        assert run("cluster", "evacuate", "two", "--undo", *at).out == "two stays\n"
        nobody = run("cluster", "move-owner", "items", "nobody", *at)
        assert nobody.err.startswith("omendb-ws: to: no node that is up is called 'nobody'")
