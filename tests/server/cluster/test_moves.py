"""Moves that operators ask for: of a collection to another node, and of all that a node holds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import omendb_ws
from omendb_ws.net.server import Server
from tests.nats import NatsServer, nats_server
from tests.patience import eventually
from tests.server.cluster.nodes import node, until_taken
from tests.server.cluster.test_several_nodes import knows, owns
from tests.server.raw import client, rows

NAMES = ("one", "three", "two")


@pytest.fixture
def nats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[NatsServer]:
    """A server of NATS; nodes hand over sooner than they do."""
    monkeypatch.setattr("omendb_ws.cluster.agenda.SETTLED_SECONDS", 0.3)
    with nats_server(tmp_path / "nats") as server:
        yield server


@asynccontextmanager
async def three(nats: NatsServer) -> AsyncIterator[dict[str, Server]]:
    """Three nodes that know each other."""
    async with AsyncExitStack() as stack:
        nodes = {name: await stack.enter_async_context(node(nats, name)) for name in NAMES}
        for server in nodes.values():
            await knows(server, *NAMES)
        yield nodes


def told(server: Server, name: str) -> dict[str, Any]:
    """What ``server`` knows of a node."""
    assert server.context.operations is not None
    nodes = server.context.operations.status(None)["nodes"]
    return next((one for one in nodes if one["node"] == name), {"state": "", "collections": 0})


async def test_a_collection_moves_while_it_is_added_to_and_loses_nothing(nats: NatsServer) -> None:
    async with three(nats) as nodes, omendb_ws.connect(nodes["one"].url) as db:
        await db.create("items", dim=2, capacity=100_000)
        added = 0
        is_over = asyncio.Event()

        async def add() -> None:
            nonlocal added
            while not is_over.is_set():
                ids = range(4 * added, 4 * added + 4)
                batch = np.ones((4, 2), np.float32)
                await db.add("items", batch, ids=ids, producer="p", batch=added + 1)
                added += 1

        adding = asyncio.create_task(add())
        for to in ("three", "two", "one"):
            await db.move_owner("items", to)
            await eventually(lambda to=to: owns(nodes[to]) or adding.done())
            before = added
            await eventually(lambda before=before: added > before + 3 or adding.done())
        is_over.set()
        await adding
        assert await db.count("items") == 4 * added
        for server in nodes.values():
            async with client(server) as raw:
                described = await raw.ok("count", collection="items")
                assert described["count"] == 4 * added


async def test_a_node_that_is_evacuated_holds_nothing_and_can_be_stopped(
    nats: NatsServer, caplog: pytest.LogCaptureFixture
) -> None:
    """And nobody logs an error of it."""
    async with node(nats, "one") as one, node(nats, "three"), client(one) as raw:
        async with node(nats, "two") as two:
            await knows(one, *NAMES)
            await knows(two, *NAMES)
            for number in range(4):
                name = f"items-{number}"
                await raw.create(name)
                await until_taken(raw, "add", collection=name, rows=rows(1))
            await raw.ok("evacuate", node="two")
            await eventually(lambda: told(one, "two")["state"] == "leaving")
            await eventually(lambda: not list(two.context.catalog.shards()))
            await eventually(lambda: told(one, "two")["collections"] == 0)
            error = await raw.error("move_owner", collection="items-0", to="two")
            assert (error["code"], error["message"][:3]) == ("bad_request", "to:")
        for number in range(4):
            found = await until_taken(raw, "count", collection=f"items-{number}")
            assert found["count"] == 1
        async with node(nats, "two") as again:  # started anew, it takes its part
            await eventually(lambda: told(again, "two")["state"] == "up")
            await eventually(lambda: told(one, "two")["state"] == "up")
    assert [one for one in caplog.records if one.levelname == "ERROR"] == []


async def test_a_node_may_be_told_to_stay(nats: NatsServer) -> None:
    async with three(nats) as nodes, client(nodes["one"]) as raw:
        await raw.ok("evacuate", node="three")
        await eventually(lambda: told(nodes["one"], "three")["state"] == "leaving")
        await raw.ok("evacuate", node="three", state="up")
        await eventually(lambda: told(nodes["one"], "three")["state"] == "up")


async def test_what_cannot_be_names_the_field_and_changes_nothing(nats: NatsServer) -> None:
    async with node(nats, "one") as server, client(server) as raw:
        await knows(server, "one")
        await raw.create("items")
        for op, fields, field in (
            ("move_owner", {"collection": "items", "to": "nobody"}, "to:"),
            ("move_owner", {"collection": "items", "to": 5}, "to:"),
            ("move_owner", {"to": "one"}, "collection:"),
            ("evacuate", {"node": "nobody"}, "node:"),
            ("evacuate", {"node": "one"}, "node:"),  # nobody else would be left
            ("evacuate", {}, "node:"),
            ("evacuate", {"node": "one", "state": "gone"}, "state:"),
        ):
            error = await raw.error(op, **fields)
            assert error["code"] == "bad_request", (op, fields, error)
            assert error["message"].startswith(field), error
        assert await raw.code("move_owner", collection="none", to="one") == "not_found"
        assert (await raw.ok("move_owner", collection="items", to="one"))["owner"] == "one"
        assert told(server, "one")["state"] == "up"
