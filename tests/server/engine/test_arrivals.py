"""Searches answered where they arrive, among those that the engine answers: nobody can tell.

A machine sends changes and searches of many connections at random, in bursts and one by one, and
holds every answer to the window at its version, and to what its connection had sent before it.
"""

from __future__ import annotations

import asyncio
import random
from typing import Any

import numpy as np
import pytest

from omendb_ws.engine import engine
from omendb_ws.engine.model.scan_cost import ScanCost
from omendb_ws.engine.reads import reads
from omendb_ws.net.server import Server
from omendb_ws.wire import binary
from omendb_ws.wire.messages import Added, Results
from tests.server.raw import PATIENCE_SECONDS, Raw, batch, client, engine_held, running

CAPACITY = 6
ASKED = np.array([[1, 0.5]], np.float32)


@pytest.fixture(autouse=True)
def slow_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """However busy this machine is, a scan of a few rows is a short one."""
    monkeypatch.setattr(reads, "MAX_SCAN_US", 1e9)


async def quiet(server: Server) -> None:
    """Return when the engine sleeps."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        its = server.context.engine
        while its.depth or not its._is_asleep:  # noqa: ASYNC110 - another thread
            await asyncio.sleep(0)


async def search(raw: Raw, server: Server, handle: int) -> Results:
    await quiet(server)
    return await raw.search_binary(handle, ASKED, k=3)


async def test_a_search_at_rest_is_answered_where_it_arrives() -> None:
    async with running() as server, client(server) as raw:
        handle = (await raw.create())["handle"]
        await raw.add_binary(handle, batch(1, 2, 3))
        first = await search(raw, server, handle)
        assert server.metrics.answered_at_once == 0  # nobody knew how long it would take
        await quiet(server)
        ticks = server.metrics.ticks
        for _ in range(5):
            again = await search(raw, server, handle)
            assert again.hits.seqs.tolist() == first.hits.seqs.tolist()
        assert server.metrics.answered_at_once == 5
        assert server.metrics.ticks == ticks
        assert server.metrics.searched == 6


async def test_searches_of_one_turn_are_answered_together() -> None:
    async with running() as server, client(server) as raw:
        handle = (await raw.create())["handle"]
        await raw.add_binary(handle, batch(1, 2, 3))
        await search(raw, server, handle)
        await quiet(server)
        scans = server.metrics.scan_queries.count
        frames = [binary.encode_search(id, handle, ASKED, 3) for id in range(100, 103)]
        for frame in frames:  # one packet
            raw.socket.protocol.send_binary(frame)
        raw.socket.send_data()
        for id in range(100, 103):
            assert (await raw.reply(id)).counts.tolist() == [3]
        assert server.metrics.answered_at_once == 3
        assert server.metrics.scan_queries.count <= scans + 2


async def test_while_the_engine_is_at_work_a_search_is_the_engines() -> None:
    async with running() as server, client(server) as raw, client(server) as other:
        handle = (await raw.create())["handle"]
        await raw.add_binary(handle, batch(1, 2, 3))
        await search(raw, server, handle)
        async with engine_held(server):
            await raw.send_binary(binary.encode_search(50, handle, ASKED, 3))
            for _ in range(20):
                assert await other.ok("ping") == {}
            assert server.context.engine.depth == 1
        assert (await raw.reply(50)).counts.tolist() == [3]
        assert server.metrics.answered_at_once == 0


async def test_a_long_scan_is_the_engines(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running() as server, client(server) as raw:
        handle = (await raw.create())["handle"]
        await raw.add_binary(handle, batch(1))
        monkeypatch.setattr(ScanCost, "expected_us", lambda self, vectors, rows: 1e9 + 1)
        for _ in range(5):
            await search(raw, server, handle)
        assert server.metrics.answered_at_once == 0
        monkeypatch.setattr(ScanCost, "expected_us", lambda self, vectors, rows: 1e9)
        await search(raw, server, handle)
        assert server.metrics.answered_at_once == 1


async def test_a_search_sent_before_a_drop_is_answered_and_one_behind_it_is_not() -> None:
    async with running() as server, client(server) as raw:
        for _ in range(5):
            handle = (await raw.create())["handle"]
            await raw.add_binary(handle, batch(1))
            await search(raw, server, handle)
            await quiet(server)
            before, dropped, after = raw.next_id(), raw.next_id(), raw.next_id()
            raw.socket.protocol.send_binary(binary.encode_search(before, handle, ASKED, 3))
            text = b'{"id":%d,"op":"drop","collection":"items"}' % dropped
            raw.socket.protocol.send_text(text)
            raw.socket.protocol.send_binary(binary.encode_search(after, handle, ASKED, 3))
            raw.socket.send_data()
            assert (await raw.reply(before)).counts.tolist() == [1]
            assert (await raw.reply(dropped))["ok"] == {}
            assert (await raw.reply(after))["error"]["code"] == "not_found"


async def test_one_at_fault_is_refused_where_it_arrives() -> None:
    async with running() as server, client(server) as raw:
        handle = (await raw.create(metric="cosine"))["handle"]
        await raw.add_binary(handle, batch(1, 2, 3))
        await search(raw, server, handle)
        for id, vector in ((90, [0, 0]), (91, [np.nan, 1])):
            await quiet(server)
            frame = binary.encode_search(id, handle, np.array([vector], np.float32), 3)
            await raw.send_binary(frame)
        assert (await raw.reply(90))["error"]["code"] == "zero_norm"
        assert (await raw.reply(91))["error"]["code"] == "non_finite"
        assert server.metrics.answered_at_once == 2
        assert (await search(raw, server, handle)).counts.tolist() == [3]


async def test_after_a_fault_where_they_arrived_the_engine_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def boom(works: Any) -> bool:
        raise RuntimeError("on purpose")

    async with running() as server, client(server) as raw:
        handle = (await raw.create())["handle"]
        await raw.add_binary(handle, batch(1, 2, 3))
        await search(raw, server, handle)
        with monkeypatch.context() as patch:
            patch.setattr(engine, "is_short", boom)
            for _ in range(3):
                assert (await search(raw, server, handle)).counts.tolist() == [3]
        assert server.metrics.answered_at_once == 0
        assert server.metrics.faults == 3
        await search(raw, server, handle)
        assert server.metrics.answered_at_once == 1


# -- the machine ----------------------------------------------------------------------------------


class Sender:
    """One connection, and what it asked. Replies are looked at when all is over."""

    def __init__(self, raw: Raw, handle: int, numbers: random.Random) -> None:
        self.raw = raw
        self.handle = handle
        self.numbers = numbers
        self.asked: list[tuple[str, int, Any]] = []

    async def step(self) -> None:
        kind = self.numbers.choice(("add", "add", "search", "search", "search", "delete"))
        id = self.raw.next_id()
        said: Any = None
        if kind == "add":
            count = self.numbers.choice((1, 1, 2))
            said = self.numbers.sample(range(12), count)
            await self.raw.send_binary(binary.encode_add(id, self.handle, batch(*said)))
        elif kind == "delete":
            said = self.numbers.sample(range(12), 2)
            text = b'{"id":%d,"op":"delete","collection":"items","ids":%b}'
            await self.raw.send_text(text % (id, str(said).encode()))
        else:
            await self.raw.send_binary(binary.encode_search(id, self.handle, ASKED, 4))
        self.asked.append((kind, id, said))


def played(changes: dict[int, tuple[str, Any]]) -> dict[int, list[int]]:
    """The seqs that a search for the four nearest finds, by version."""
    rows: dict[int, int] = {}  # seq -> id
    last = 0
    found: dict[int, list[int]] = {0: []}
    for version in range(1, max(changes, default=0) + 1):
        kind, ids = changes[version]
        if kind == "add":
            for id in ids:
                rows = {seq: one for seq, one in rows.items() if one != id}
                last += 1
                rows[last] = id
            rows = {seq: one for seq, one in rows.items() if seq > last - CAPACITY}
        else:
            rows = {seq: one for seq, one in rows.items() if one not in ids}
        nearest = sorted(rows, key=lambda seq: (rows[seq] + 0.5, seq), reverse=True)
        found[version] = nearest[:4]
    return found


def judged(senders: list[Sender], replies: list[dict[int, Any]]) -> int:
    """Hold all answers to what was true; how many searches there were."""
    changes: dict[int, tuple[str, Any]] = {}
    for sender, got in zip(senders, replies, strict=True):
        for kind, id, said in sender.asked:
            reply = got[id]
            if kind == "add":
                assert isinstance(reply, Added)
                assert changes.setdefault(reply.version, (kind, said)) == (kind, said)
            elif kind == "delete" and reply["ok"]["deleted"]:
                changes[reply["ok"]["version"]] = kind, said
    truth = played(changes)
    searches = 0
    for sender, got in zip(senders, replies, strict=True):
        own_version = 0
        for kind, id, _ in sender.asked:
            reply = got[id]
            if kind == "search":
                assert isinstance(reply, Results)
                assert reply.version >= own_version
                assert reply.hits.seqs.tolist() == truth[reply.version]
                searches += 1
            else:
                own_version = reply.version if kind == "add" else reply["ok"]["version"]
    return searches


def applied(view: dict[int, float], event: dict[str, Any]) -> None:
    for row in event["leave"]:
        del view[row["seq"]]
    for row in event["enter"]:
        view[row["seq"]] = row["score"]


def shown(view: dict[int, float]) -> list[int]:
    return sorted(view, key=lambda seq: (view[seq], seq), reverse=True)


@pytest.mark.parametrize("seed", range(6))
async def test_nobody_can_tell_who_answered(seed: int) -> None:
    numbers = random.Random(seed)
    async with (
        running() as server,
        client(server) as one,
        client(server) as two,
        client(server) as three,
    ):
        await one.create(capacity=CAPACITY)
        senders = []
        for raw in (one, two, three):
            handle = (await raw.ok("open", collection="items"))["handle"]
            senders.append(Sender(raw, handle, numbers))
        asked = {"kind": "live", "collection": "items", "vector": ASKED[0].tolist(), "k": 4}
        assert (await three.ok("subscribe", **asked))["results"] == []
        # Both answer some, whatever the machine does meanwhile: the first is the engine's.
        while not server.metrics.answered_at_once:
            await search(one, server, senders[0].handle)
        for _ in range(120):
            if numbers.random() < 0.3:
                await quiet(server)
            for _ in range(numbers.choice((1, 1, 2, 6))):
                await numbers.choice(senders).step()
            if numbers.random() < 0.5:
                await asyncio.sleep(0)
        replies = [
            {id: await sender.raw.reply(id) for _, id, _ in sender.asked} for sender in senders
        ]
        assert judged(senders, replies)
        assert server.metrics.answered_at_once < server.metrics.searched
        last = (await one.ok("describe", collection="items"))["version"]
        truth = shown_at(senders, replies)
        view: dict[int, float] = {}
        version = 0
        while version < last:
            event = await three.named("live")
            assert event["version"] > version
            version = event["version"]
            applied(view, event)
            assert shown(view) == truth[version]
            if all(truth[later] == truth[version] for later in range(version, last + 1)):
                break


def shown_at(senders: list[Sender], replies: list[dict[int, Any]]) -> dict[int, list[int]]:
    """What is nearest, by version."""
    changes: dict[int, tuple[str, Any]] = {}
    for sender, got in zip(senders, replies, strict=True):
        for kind, id, said in sender.asked:
            if kind == "add":
                changes[got[id].version] = kind, said
            elif kind == "delete" and got[id]["ok"]["deleted"]:
                changes[got[id]["ok"]["version"]] = kind, said
    return played(changes)
