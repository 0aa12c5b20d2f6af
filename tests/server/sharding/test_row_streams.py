"""Feeds and match queries of collections of several shards: every row once, each shard in order."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from omendb_core.model.errors import BadRequest
from omendb_core.model.types import Include

import omendb_ws
from omendb_ws.net.server import Server
from omendb_ws.wire import binary
from omendb_ws.wire.messages import Results, Rows
from tests.server.raw import Raw, client, engine_held, settings
from tests.server.sharding.oracle import shard_of
from tests.server.sharding.test_shards import DIM, VECTOR, both, drawn

SHARDS = 3


class Reading:
    """What one reader was told: rows by seq, and how far each shard has come."""

    def __init__(self, raw: Raw, ok: dict[str, Any]) -> None:
        self.raw, self.sub, self.to_seqs = raw, ok["sub"], list(ok["to_seqs"])
        self.rows: dict[int, Any] = {}
        self.gaps: list[tuple[int, int, str]] = []

    def is_mine(self, event: Any) -> bool:
        sub = event.sub if isinstance(event, Rows) else event.get("sub")
        return bool(sub == self.sub)

    async def until(self, to_seqs: list[int]) -> None:
        while any(mine < one for mine, one in zip(self.to_seqs, to_seqs, strict=True)):
            self.apply(await self.raw.event(self.is_mine))

    def apply(self, event: Any) -> None:
        if isinstance(event, Rows):
            ids = event.hits.ids if isinstance(event.hits.ids, list) else event.hits.ids.tolist()
            rows = dict(zip(event.hits.seqs.tolist(), ids, strict=True))
            shard, to_seq = event.shard, event.to_seq
        elif event["event"] == "gap":
            assert event["from_seq"] > self.to_seqs[event["shard"]]
            self.gaps.append((event["shard"], event["to_seq"], event["reason"]))
            shard, to_seq, rows = event["shard"], event["to_seq"], {}
        else:
            rows = {row["seq"]: row["id"] for row in event["rows"]}
            shard, to_seq = event["shard"], event["to_seq"]
        assert shard is not None
        assert list(rows) == sorted(rows)
        assert all((seq - 1) % SHARDS == shard for seq in rows)
        assert all(self.to_seqs[shard] < seq <= to_seq for seq in rows)
        assert to_seq >= self.to_seqs[shard]
        assert (to_seq - 1) % SHARDS == shard
        self.rows |= rows
        self.to_seqs[shard] = to_seq


async def last_seqs(raw: Raw) -> list[int]:
    """How far each shard is, outside; its rows were only added."""
    found = await raw.ok("search", collection="many", vector=VECTOR, k=1000)
    seqs = [row["seq"] for row in found["results"]]
    return [max((one for one in seqs if (one - 1) % SHARDS == n), default=0) for n in range(SHARDS)]


@pytest.mark.parametrize("ids", ["u64", "str", "auto"])
async def test_a_feed_says_every_row_once_and_goes_on_where_it_was(ids: str) -> None:
    async with both(SHARDS, ids=ids) as (raw, _):
        generator, total = np.random.default_rng(4), 0

        async def add(count: int) -> None:
            nonlocal total
            rows = drawn(generator, [*range(total, total + count)])
            for row in rows:
                row["id"] = f"{row['id']}" if ids == "str" else row["id"]
                if ids == "auto":
                    del row["id"]
            await raw.ok("add", collection="many", rows=rows)
            total += count

        begun = await raw.ok("subscribe", kind="feed", collection="many", encoding="binary")
        assert begun["to_seqs"] == [0] * SHARDS
        reading = Reading(raw, begun)
        for _ in range(6):
            await add(9)
        await reading.until(await last_seqs(raw))
        assert len(reading.rows) == total
        if ids == "auto":
            assert all(seq == id_ for seq, id_ in reading.rows.items())
        else:
            wanted = {n if ids == "u64" else f"{n}" for n in range(total)}
            assert set(reading.rows.values()) == wanted
            assert all(shard_of(id_, SHARDS) == (n - 1) % SHARDS for n, id_ in reading.rows.items())
        assert await raw.ok("unsubscribe", sub=begun["sub"]) == {}
        await add(20)
        again = await raw.ok(
            "subscribe", kind="feed", collection="many", epoch=begun["epoch"],
            from_seqs=[one + 1 for one in reading.to_seqs],
        )  # fmt: skip
        later = Reading(raw, again)
        later.to_seqs = list(reading.to_seqs)
        await later.until(await last_seqs(raw))
        assert not later.rows.keys() & reading.rows.keys()
        assert len(later.rows) + len(reading.rows) == total
        assert not later.gaps


async def test_what_left_a_shard_before_it_was_told_is_a_gap_of_that_shard() -> None:
    async with both(SHARDS, capacity=30) as (raw, _):
        epoch = (await raw.ok("describe", collection="many"))["epoch"]
        for n in range(0, 120, 5):
            rows = drawn(np.random.default_rng(n), [*range(n, n + 5)])
            await raw.ok("add", collection="many", rows=rows)
        asked = {"collection": "many", "epoch": epoch, "from_seqs": [1, 1, 1]}
        reading = Reading(raw, await raw.ok("subscribe", kind="feed", **asked))
        await reading.until(await last_seqs(raw))
        assert len(reading.rows) == 30
        assert [(shard, reason) for shard, _, reason in sorted(reading.gaps)] == [
            (shard, "evicted") for shard in range(SHARDS)
        ]


async def test_a_match_query_hears_of_every_row_that_is_near_and_several_begin_at_once() -> None:
    async with both(SHARDS, metric="cosine") as (raw, _):
        handle = (await raw.ok("open", collection="many"))["handle"]
        vectors = np.random.default_rng(8).standard_normal((40, DIM)).astype(np.float32)
        frame = binary.encode_subscribe(
            raw.next_id(), handle, vectors, 0, None, 0.2, Include(), None, "json",
            {"kind": "match"},
        )  # fmt: skip
        await raw.send_binary(frame)
        begun = await raw.reply(int.from_bytes(frame[4:8], "little"))
        assert isinstance(begun, Results)
        assert begun.versions == [0] * SHARDS
        assert begun.subs is not None
        readings = [Reading(raw, {"sub": sub, "to_seqs": [0] * SHARDS}) for sub in begun.subs]
        for n in range(0, 90, 30):
            rows = drawn(np.random.default_rng(n), [*range(n, n + 30)])
            await raw.ok("add", collection="many", rows=rows)
        for vector, reading in zip(vectors[:6], readings, strict=False):
            asked = {"vector": vector.tolist(), "k": 1000, "min_score": 0.2}
            found = (await raw.ok("search", collection="many", **asked))["results"]
            wanted = {row["seq"]: row["id"] for row in found}
            while reading.rows != wanted:
                reading.apply(await raw.event(reading.is_mine))
        await raw.ok("unsubscribe", sub=readings[0].sub)
        assert await raw.code("unsubscribe", sub=readings[0].sub) == "not_found"


async def test_nothing_is_said_before_the_reply_and_all_is_given_back() -> None:
    async with Server(settings()) as server, client(server) as raw:
        memory = server.context.accounts.of("default").memory
        made = await raw.create("many", dim=DIM, capacity=300, shards=SHARDS)
        before = memory.taken_bytes
        rows = [{**one, "metadata": {}} for one in drawn(np.random.default_rng(1), [*range(30)])]
        asked = {"collection": "many", "epoch": made["epoch"], "from_seqs": [1, 1, 1]}
        async with engine_held(server):
            added = await raw.send(
                "add", collection="many", rows=[{**r, "metadata": {}} for r in rows]
            )
            sent = await raw.send("subscribe", kind="feed", **asked)
            match = {**asked, "vector": VECTOR, "min_score": -1e9}
            other = await raw.send("subscribe", kind="match", **match)
            await raw.ok("ping")
        assert "ok" in await raw.reply(added)
        replies = {id_: (await raw.reply(id_))["ok"] for id_ in (sent, other)}
        for ok in replies.values():
            reading = Reading(raw, ok)
            await reading.until(await last_seqs(raw))
            assert len(reading.rows) == 30
            await raw.ok("unsubscribe", sub=reading.sub)
        for id_, ok in replies.items():
            told = [place for place, one in enumerate(raw.order) if said_of(one, ok["sub"])]
            replied = [
                place for place, one in enumerate(raw.order)
                if isinstance(one, dict) and one.get("id") == id_
            ]  # fmt: skip
            assert replied[0] < told[0]
        assert memory.taken_bytes <= before


def said_of(one: Any, sub: int) -> bool:
    return isinstance(one, dict) and "event" in one and one.get("sub") == sub


async def test_where_to_begin_is_said_of_each_shard() -> None:
    async with both(SHARDS) as (raw, _):
        epoch = (await raw.ok("describe", collection="many"))["epoch"]
        other = (await raw.ok("describe", collection="one"))["epoch"]
        for name, of, fields in (
            ("many", epoch, {"from_seq": 1}),
            ("many", epoch, {"from_seqs": [1, 1]}),
            ("many", epoch, {"from_seqs": [1, 1, 0]}),
            ("many", epoch, {"from_seqs": 1}),
            ("one", other, {"from_seqs": [1]}),
        ):
            error = await raw.error("subscribe", kind="feed", collection=name, epoch=of, **fields)
            assert error["code"] == "bad_request", (fields, error)
            assert error["message"].startswith("from_seqs:"), error
        error = await raw.error("subscribe", kind="feed", collection="many", from_seqs=[1, 1, 1])
        assert error["message"].startswith("epoch:")


async def test_a_client_goes_on_where_it_was_and_says_what_began_anew() -> None:
    async with Server(settings()) as server, omendb_ws.connect(server.url) as db:
        await db.create("many", dim=DIM, capacity=300, shards=SHARDS, ids="u64")
        vectors = np.random.default_rng(5).standard_normal((60, DIM)).astype(np.float32)
        seen: list[int] = []
        async with db.feed("many") as feed:
            await db.add("many", vectors[:30], ids=np.arange(30, dtype=np.uint64))
            while len(seen) < 30:
                rows = await anext(feed)
                assert {(seq - 1) % SHARDS for seq in rows.seqs.tolist()} == {rows.shard}
                seen += rows.ids.tolist()
            to_seqs, epoch = feed.to_seqs, feed.epoch
            assert feed.to_seq is None
        assert to_seqs == rows.to_seqs
        await db.add("many", vectors[30:], ids=np.arange(30, 60, dtype=np.uint64))
        begins = [one + 1 for one in to_seqs]
        async with db.match("many", VECTOR, -1e9, from_seq=begins, epoch=epoch) as match:
            while len(seen) < 60:
                seen += (await anext(match)).ids.tolist()
            assert sorted(seen) == list(range(60))
            await db.drop("many")
            await db.create("many", dim=DIM, capacity=300, shards=SHARDS, ids="u64")
            await db.add("many", vectors[:1], ids=np.arange(1, dtype=np.uint64))
        again = [one + 1 for one in match.to_seqs]
        async with db.feed("many", from_seq=again, epoch=epoch) as feed:
            first = await anext(feed)
            assert first.gap is not None
            assert first.gap.reason == "epoch"
            assert (await anext(feed)).ids.tolist() == [0]
        with pytest.raises(BadRequest, match="from_seqs"):
            await anext(db.feed("many", from_seq=1, epoch=feed.epoch or ""))
