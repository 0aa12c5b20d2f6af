"""Live queries of collections of several shards, and statistics: how they begin, move and end."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import omendb_ws
from omendb_ws.net.server import Server
from omendb_ws.sharding import selecting
from tests.patience import eventually
from tests.server.raw import client, engine_held, settings
from tests.server.sharding.test_shards import DIM, VECTOR, both, drawn

ASKED: dict[str, Any] = {"collection": "many", "vector": VECTOR, "k": 3}


async def test_a_move_that_is_refused_changes_nothing_and_the_next_is_of_what_stands() -> None:
    async with both(4, metric="cosine") as (raw, _):
        await raw.ok("add", collection="many", rows=drawn(np.random.default_rng(1), [*range(40)]))
        begun = await raw.ok("subscribe", kind="live", **ASKED)
        found = await raw.ok("search", **ASKED)
        assert [begun["results"], begun["versions"]] == [found["results"], found["versions"]]
        assert begun["version"] == sum(begun["versions"])
        sub = begun["sub"]
        assert await raw.code("move", sub=sub, vector=[1.0]) == "dim_mismatch"
        assert await raw.code("move", sub=sub, vector=[0.0] * DIM) == "zero_norm"
        assert await raw.code("move", sub=sub, positive=[1]) == "unsupported"
        left_out = [row["id"] for row in found["results"]][:2]
        sent = [
            await raw.send("move", sub=sub, exclude=left_out),
            await raw.send("move", sub=sub, filter={"price": {"$gt": 1}}),
            await raw.send("move", sub=sub, vector=[-1.0] * DIM),
        ]
        last = [await raw.reply(one) for one in sent][-1]["ok"]
        asked = {"exclude": left_out, "filter": {"price": {"$gt": 1}}, "vector": [-1.0] * DIM}
        assert last["results"] == (await raw.ok("search", **{**ASKED, **asked}))["results"]


async def test_it_ends_when_its_reader_leaves_or_its_collection_goes_and_gives_all_back() -> None:
    async with Server(settings()) as server, client(server) as raw:
        memory = server.context.accounts.of("default").memory
        await raw.create("many", dim=DIM, capacity=100, shards=3, ids="str")
        before = memory.taken_bytes
        begun = [await raw.ok("subscribe", kind="live", **ASKED) for _ in range(3)]
        rows = [{"id": f"{n}" * 60, "vector": VECTOR} for n in range(9)]
        await raw.ok("add", collection="many", rows=rows)
        await raw.ok("move", sub=begun[0]["sub"], exclude=["no such row"])
        assert (await raw.ok("stats", collection="many"))["live_subscriptions"] == 3
        async with engine_held(server):  # begun, and left before any shard has heard of it
            sent = [
                await raw.send("subscribe", kind="live", **ASKED),
                await raw.send("unsubscribe", sub=begun[-1]["sub"] + 1),
            ]
            await raw.ok("ping")
        assert ["ok" in await raw.reply(one) for one in sent] == [True, True]
        await raw.ok("unsubscribe", sub=begun[0]["sub"])
        assert await raw.code("move", sub=begun[0]["sub"], vector=VECTOR) == "not_found"
        async with client(server) as other:
            await other.ok("subscribe", kind="live", **ASKED)
        await raw.ok("drop", collection="many")
        ended = [await raw.named("ended") for _ in range(2)]
        assert {one["sub"] for one in ended} == {one["sub"] for one in begun[1:]}
        assert {one["reason"] for one in ended} == {"dropped"}
        await raw.create("many", dim=DIM, capacity=100, shards=3, ids="str")
        await eventually(lambda: memory.taken_bytes <= before)


async def test_statistics_of_all_shards_are_pushed() -> None:
    async with both(3) as (raw, _):
        begun = await raw.ok("subscribe", kind="stats", collection="many", every=100)
        assert begun["versions"] == [0, 0, 0]
        await raw.ok("add", collection="many", rows=drawn(np.random.default_rng(1), [*range(9)]))
        while (said := await raw.named("stats"))["rows"] < 9:
            pass
        assert said["collection"] == "many"
        assert await raw.ok("unsubscribe", sub=begun["sub"]) == {}


async def test_a_client_holds_what_search_says_at_its_versions() -> None:
    async with Server(settings()) as server, omendb_ws.connect(server.url) as db:
        await db.create("many", dim=DIM, capacity=100, shards=3, ids="u64")
        async with db.live("many", VECTOR, k=4) as live:
            first = await anext(live)
            assert first.versions == (0, 0, 0)
            generator = np.random.default_rng(5)
            vectors = generator.standard_normal((30, DIM)).astype(np.float32)
            added = await db.add("many", vectors, ids=np.arange(30, dtype=np.uint64))
            answer = first
            while answer.version < added.version:
                answer = await anext(live)
            found = await db.search("many", VECTOR, k=4)
            assert answer.versions == found.versions
            assert answer.seqs.tolist() == found.seqs.tolist()
            assert answer.scores.tobytes() == found.scores.tobytes()


async def test_a_selection_asks_the_shards_deeper_where_it_needs_it() -> None:
    async with both(3) as (raw, _):
        many = drawn(np.random.default_rng(1), [*range(200)])
        for place, row in enumerate(many):
            row["metadata"]["city"] = "Bonn" if place < 190 else f"city-{place}"
            row["vector"] = [1.0 if place < 190 else -1.0 + place / 1e4] * DIM
        await raw.ok("add", collection="many", rows=many[:195])
        begun, asked = [], []
        for more in ({"group": {"by": "city"}}, {"spread": {"max_similarity": 0.0}}):
            asked.append({**ASKED, "k": 6, **more})
            begun.append(await raw.ok("subscribe", kind="live", **asked[-1]))
            assert begun[-1]["results"] == (await raw.ok("search", **asked[-1]))["results"]
        await raw.ok("add", collection="many", rows=many[195:])
        await raw.ok("delete", collection="many", ids=[*range(3, 190)])
        for reply, fields in zip(begun, asked, strict=True):
            found = await raw.ok("search", **fields)
            rows, version = {row["seq"]: row for row in reply["results"]}, reply["version"]
            while sorted(rows) != sorted(row["seq"] for row in found["results"]):
                event = await raw.event(lambda one, sub=reply["sub"]: one["sub"] == sub)
                assert event["version"] > version
                version = event["version"]
                for row in event["leave"]:
                    del rows[row["seq"]]
                rows |= {row["seq"]: row for row in event["enter"]}


async def test_a_selection_that_cannot_be_read_so_deep_ends_and_says_why(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with both(2) as (raw, _):
        rows = drawn(np.random.default_rng(1), [*range(40)])
        for row in rows:
            row["metadata"]["city"] = "Bonn"
        await raw.ok("add", collection="many", rows=rows[:1])
        asked = {**ASKED, "spread": {"max_similarity": -0.99}}
        begun = await raw.ok("subscribe", kind="live", **asked)
        monkeypatch.setattr(selecting, "MOST_ROWS", 8)
        await raw.ok("add", collection="many", rows=rows[1:])
        ended = await raw.named("ended")
        assert ended == {"event": "ended", "sub": begun["sub"], "reason": "unsupported"}
        assert await raw.code("subscribe", kind="live", **asked) == "unsupported"


async def test_a_client_learns_what_each_shard_took() -> None:
    async with Server(settings()) as server, omendb_ws.connect(server.url) as db:
        await db.create("many", dim=DIM, capacity=90_000, shards=2, ids="u64")
        vectors = np.random.default_rng(3).standard_normal((20_000, DIM)).astype(np.float32)
        added = await db.add("many", vectors, ids=np.arange(20_000, dtype=np.uint64))
        described = await db.describe("many")
        assert [one.shard for one in added.shards] == [0, 1]
        assert [one.version for one in added.shards] == list(described.versions)
        assert [one.first_seq for one in added.shards] == [1, 2]
        assert max(one.last_seq or 0 for one in added.shards) == described.last_seq
