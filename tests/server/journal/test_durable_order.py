"""Any mix of changes and reads over logs that settle when they like: each connection sees its own
changes, in the order in which it sent them, whatever collections they are for.

Connections pipeline everything, and own their ids, so a model of each tells what every read shows.
"""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from omendb_ws.net.server import Server
from tests.server.fake_store import FakeStore
from tests.server.raw import Raw, client, settings

COLLECTIONS = {"one": "everysec", "two": "always", "cache": "memory"}
REQUESTS = 80


async def settle_at_random(store: FakeStore, chance: random.Random) -> None:
    """Let go of some of what waits, again and again."""
    while True:
        for log in list(store.logs.values()):
            if log.queued and chance.random() < 0.5:
                log.let_go(chance.randint(1, 4))
        await asyncio.sleep(0)


class Peer:
    """A connection, its ids, and what its rows must be: collection -> id -> metadata."""

    def __init__(self, raw: Raw, first_id: int, chance: random.Random) -> None:
        self.raw = raw
        self.ids = range(first_id, first_id + 6)
        self.chance = chance
        self.rows: dict[str, dict[int, int]] = {name: {} for name in COLLECTIONS}
        self.batches = dict.fromkeys(COLLECTIONS, 0)
        self.expected: list[tuple[int, Any]] = []
        self.past: dict[str, list[list[int | None]]] = {
            name: [[None] * len(self.ids)] for name in COLLECTIONS
        }
        self.serial = 0

    async def send_one(self) -> None:
        """A request by chance, and what its answer must be."""
        name = self.chance.choice(list(COLLECTIONS))
        rows = self.rows[name]
        ids = self.chance.sample(self.ids, self.chance.randint(1, 3))
        self.serial += 1
        kind = self.chance.choice(["add", "add", "delete", "update", "get", "get", "bad", "again"])
        if kind in ("add", "again"):
            if kind == "add":
                self.batches[name] += 1
                rows |= dict.fromkeys(ids, self.serial)
            elif not self.batches[name]:
                return
            expected: Any = {"duplicate"} if kind == "again" else "ok"
            await self.ask(expected, "add", name, rows=self.json(ids, vector=True),
                           producer=f"p{self.ids[0]}", batch=self.batches[name])  # fmt: skip
        elif kind == "delete":
            gone = [id for id in ids if rows.pop(id, None) is not None]
            await self.ask(("deleted", len(gone)), "delete", name, ids=ids)
        elif kind == "update":
            there = [id for id in ids if id in rows]
            if there == ids:
                rows |= dict.fromkeys(ids, self.serial)
                await self.ask("ok", "update", name, rows=self.json(ids))
            else:
                await self.ask("not_found", "update", name, rows=self.json(ids))
        elif kind == "get":
            # It shows what was sent before it, and may show what was sent later.
            expected = ("rows", name, len(self.past[name]) - 1)
            await self.ask(expected, "get", name, ids=list(self.ids), include=["metadata"])
        else:
            await self.ask("dim_mismatch", "add", name, rows=[{"id": ids[0], "vector": [1]}])
        self.past[name].append([rows.get(id) for id in self.ids])

    def json(self, ids: list[int], *, vector: bool = False) -> list[dict[str, Any]]:
        vectors = {"vector": [1.0, 2.0]} if vector else {}
        return [{"id": id, "metadata": {"s": self.serial}, **vectors} for id in ids]

    async def ask(self, expected: Any, op: str, name: str, **fields: Any) -> None:
        self.expected.append((await self.raw.send(op, collection=name, **fields), expected))

    async def check(self) -> None:
        """Compare every answer."""
        for id, expected in self.expected:
            reply = await self.raw.reply(id)
            if isinstance(expected, str) and expected != "ok":
                assert reply["error"]["code"] == expected, reply
                continue
            ok = reply["ok"]
            if expected == {"duplicate"}:
                assert ok["duplicate"], ok
            elif isinstance(expected, tuple) and expected[0] == "deleted":
                assert ok["deleted"] == expected[1], ok
            elif isinstance(expected, tuple):
                found = [None if row is None else row["metadata"]["s"] for row in ok["rows"]]
                assert found in self.past[expected[1]][expected[2] :]


@pytest.mark.parametrize("seed", range(12))
async def test_each_connection_sees_its_own_changes_in_order(seed: int) -> None:
    chance = random.Random(seed)
    store = FakeStore()
    store.room = chance.choice([2, 5, 1000])
    server = Server(settings(data_dir="x", queue_deadline_ms=60_000), open_store=store)
    async with server, client(server) as a, client(server) as b, client(server) as c:
        for name, durability in COLLECTIONS.items():
            await a.create(name, durability=durability, capacity=1000)
        store.is_patient = True
        settling = asyncio.create_task(settle_at_random(store, random.Random(seed + 1)))
        peers = [
            Peer(raw, 100 * place, random.Random(seed * 10 + place))
            for place, raw in enumerate((a, b, c), 1)
        ]
        for _ in range(REQUESTS):
            for peer in peers:
                await peer.send_one()
        for peer in peers:
            await peer.check()
        settling.cancel()
        store.is_patient = False
        windows = {one.name: one.window for one in server.context.catalog.shards()}
        for name, window in windows.items():
            window.check()
            assert window.rows == sum(len(peer.rows[name]) for peer in peers)
            if COLLECTIONS[name] != "memory":
                replayed = store.log(name).window()
                assert replayed.version == window.version
                assert replayed.rows == window.rows
