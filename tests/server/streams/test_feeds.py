"""``feed`` subscriptions over a real socket: order, replay, gaps, resume (PROTOCOL section 6)."""

from __future__ import annotations

from typing import Any

import pytest
from omendb_core.model.change import RowBatch

from omendb_ws.net.server import Server
from omendb_ws.wire.messages import Rows
from tests.server.raw import Clock, Raw, batch, client, engine_held, queued, rows, running, settings


class Follower:
    """What one feed delivered so far, held to the rules at every step."""

    def __init__(self, raw: Raw, sub: int, to_seq: int) -> None:
        self.raw = raw
        self.sub = sub
        self.to_seq = to_seq
        self.version = 0
        self.rows: dict[int, int] = {}
        self.gaps: list[tuple[int, int, str]] = []

    def _is_mine(self, event: Any) -> bool:
        return (event.sub if isinstance(event, Rows) else event.get("sub")) == self.sub

    async def step(self) -> None:
        event = await self.raw.event(self._is_mine)
        if isinstance(event, dict) and event["event"] == "gap":
            assert event.keys() == {"event", "sub", "from_seq", "to_seq", "reason"}
            assert event["from_seq"] == self.to_seq + 1
            assert event["to_seq"] >= event["from_seq"]
            self.gaps.append((event["from_seq"], event["to_seq"], event["reason"]))
            self.to_seq = event["to_seq"]
            return
        if isinstance(event, Rows):
            found = zip(event.hits.seqs.tolist(), list(event.hits.ids), strict=True)
            version, to_seq = event.version, event.to_seq
        else:
            assert event["event"] == "feed"
            found = [(row["seq"], row["id"]) for row in event["rows"]]
            version, to_seq = event["version"], event["to_seq"]
        for seq, id in found:
            assert self.to_seq < seq <= to_seq
            assert seq > max(self.rows, default=0)
            self.rows[seq] = int(id)
        assert to_seq >= self.to_seq
        assert version >= self.version
        self.to_seq, self.version = to_seq, version

    async def until(self, seq: int) -> None:
        while self.to_seq < seq:
            await self.step()


async def follow(raw: Raw, name: str = "items", **fields: Any) -> Follower:
    ok = await raw.ok("subscribe", kind="feed", collection=name, **fields)
    assert ok.keys() == {"sub", "epoch", "version", "to_seq"}
    return Follower(raw, ok["sub"], ok["to_seq"])


@pytest.mark.parametrize("encoding", ["json", "binary"])
async def test_a_feed_brings_every_row_after_its_reply_once_and_in_order(encoding: str) -> None:
    async with running() as server, client(server) as raw, client(server) as writer:
        await raw.create(capacity=1000)
        await raw.add(1, 2, 3)
        feed = await follow(raw, encoding=encoding)
        assert feed.to_seq == 3
        for number in range(4, 104):
            await writer.send("add", collection="items", rows=rows(number))
        await feed.until(103)
        assert feed.rows == {seq: seq for seq in range(4, 104)}
        assert feed.gaps == []


async def test_rows_sent_right_behind_the_subscribe_are_in_the_feed() -> None:
    async with running() as server, client(server) as raw:
        await raw.create()
        await raw.send("subscribe", id=101, kind="feed", collection="items")
        await raw.send("add", id=102, collection="items", rows=rows(7))
        ok = (await raw.reply(101))["ok"]
        assert ok["to_seq"] == 0
        feed = Follower(raw, ok["sub"], 0)
        await feed.until(1)
        assert feed.rows == {1: 7}


@pytest.mark.parametrize("encoding", ["json", "binary"])
async def test_a_feed_carries_what_it_was_asked_to_include(encoding: str) -> None:
    async with running() as server, client(server) as raw:
        await raw.create(columns={"price": "f64"}, ids="str")
        await raw.ok(
            "subscribe",
            kind="feed",
            collection="items",
            include=["metadata", "vector"],
            encoding=encoding,
        )
        row = {"id": "ä", "vector": [0.5, 2], "metadata": {"price": 1.5, "note": [1]}}
        await raw.ok("add", collection="items", rows=[row])
        event = await raw.event()
        if encoding == "json":
            assert event["rows"] == [{**row, "vector": [0.5, 2.0], "seq": 1}]
        else:
            assert list(event.hits.ids) == ["ä"]
            assert list(event.hits.metadata) == [row["metadata"]]
            assert event.hits.vectors.tolist() == [[0.5, 2.0]]
            assert event.hits.scores is None


async def test_a_feed_from_a_seq_replays_what_the_window_still_holds() -> None:
    async with running() as server, client(server) as raw:
        epoch = (await raw.create(capacity=5))["epoch"]
        for number in range(1, 9):
            await raw.add(number)
        feed = await follow(raw, from_seq=6, epoch=epoch)
        assert feed.to_seq == 5
        await feed.until(8)
        assert feed.rows == {6: 6, 7: 7, 8: 8}
        # Older ones are a stated gap, and the rest comes after it.
        old = await follow(raw, from_seq=2, epoch=epoch)
        await old.until(8)
        assert old.gaps == [(2, 3, "evicted")]
        assert old.rows == {4: 4, 5: 5, 6: 6, 7: 7, 8: 8}
        # The next row is where a feed may begin at the latest.
        new = await follow(raw, from_seq=9, epoch=epoch)
        await raw.add(9)
        await new.until(9)
        assert new.rows == {9: 9}
        assert await raw.code(
            "subscribe", kind="feed", collection="items", from_seq=11, epoch=epoch
        ) == ("bad_request")
        wrong = await raw.error(
            "subscribe", kind="feed", collection="items", from_seq=1, epoch="old"
        )
        assert (wrong["code"], wrong["epoch"]) == ("wrong_epoch", epoch)


async def test_a_feed_holds_no_row_that_was_deleted_or_replaced_before_its_push() -> None:
    async with running() as server, client(server) as raw:
        epoch = (await raw.create())["epoch"]
        await raw.add(1, 2, 3, 4)
        await raw.ok("delete", collection="items", ids=[2])
        await raw.add(3)
        feed = await follow(raw, from_seq=1, epoch=epoch)
        await feed.until(5)
        assert feed.rows == {1: 1, 4: 4, 5: 3}
        assert feed.gaps == []


async def test_a_gap_with_two_causes_is_two_gaps_evicted_first() -> None:
    clock = Clock()
    server = Server(settings(), clock_us=clock)
    async with running(server), client(server) as raw:
        epoch = (await raw.create(capacity=4, ttl=10))["epoch"]
        await raw.add(1, 2, 3)
        clock.move(6)
        await raw.add(4, 5, 6)
        clock.move(6)
        # Rows 1 and 2 were evicted, row 3 has expired; 4 to 6 are still young.
        await raw.ok("count", collection="items")
        clock.move(0.2)
        feed = await follow(raw, from_seq=1, epoch=epoch)
        await feed.until(6)
        assert feed.gaps == [(1, 2, "evicted"), (3, 3, "expired")]
        assert feed.rows == {4: 4, 5: 5, 6: 6}


@pytest.mark.usefixtures("whole_ticks")
async def test_a_reader_slower_than_the_stream_sees_a_gap_and_goes_on_after_it() -> None:
    async with running() as server, client(server) as raw, client(server) as writer:
        await raw.create(capacity=8)
        feed = await follow(raw)
        async with engine_held(server):
            for number in range(1, 31):
                await writer.send("add", collection="items", rows=rows(number))
            await queued(server, 30)
        await feed.until(30)
        assert feed.gaps
        assert all(reason == "evicted" for _, _, reason in feed.gaps)
        missed = {seq for first, last, _ in feed.gaps for seq in range(first, last + 1)}
        assert missed | feed.rows.keys() == set(range(1, 31))
        assert missed & feed.rows.keys() == set()
        await writer.add(31)
        await feed.until(31)
        assert feed.rows[31] == 31
        assert server.metrics.gaps == len(feed.gaps)


async def test_a_filter_decides_which_rows_a_feed_brings() -> None:
    async with running() as server, client(server) as raw:
        await raw.create(capacity=100, columns={"price": "f64"})
        feed = await follow(raw, filter={"price": {"$gte": 5}})
        given = [
            {**row, "metadata": {"price": number}} for number, row in enumerate(rows(*range(10)))
        ]
        for row in given:
            await raw.ok("add", collection="items", rows=[row])
        await feed.until(10)
        assert list(feed.rows.values()) == [5, 6, 7, 8, 9]


async def test_a_feed_whose_filter_passes_nothing_still_moves_on() -> None:
    clock = Clock()
    server = Server(settings(), clock_us=clock)
    async with running(server), client(server) as raw:
        await raw.create(columns={"price": "f64"})
        feed = await follow(raw, filter={"price": 1})
        await raw.add(1, 2)
        await raw.ok("count", collection="items")
        assert raw.events == []
        clock.move(5)
        await raw.ok("count", collection="items")  # the engine's own alarm goes by real time
        await feed.until(2)
        assert feed.rows == {}
        assert feed.gaps == []


async def test_a_feed_of_a_filter_that_passes_nothing_replays_long_windows() -> None:
    async with running() as server, client(server) as raw:
        made = await raw.create(capacity=50_000, columns={"price": "f64"}, ids="auto")
        for start in range(0, 40_000, 10_000):
            vectors = batch(*range(start, start + 10_000)).vectors
            await raw.add_binary(made["handle"], RowBatch(vectors))
        row = {"vector": [1, 0], "metadata": {"price": 1}}
        await raw.ok("add", collection="items", rows=[row])
        feed = await follow(raw, filter={"price": 1}, from_seq=1, epoch=made["epoch"])
        await feed.until(40_001)
        assert feed.rows == {40_001: 40_001}


async def test_pushes_are_split_and_none_is_over_a_mebibyte() -> None:
    async with running() as server, client(server) as raw:
        made = await raw.create(capacity=8000, dim=256)
        for start in range(0, 8000, 2000):
            await raw.add_binary(made["handle"], batch(*range(start, start + 2000), dim=256))
        asked = {"include": ["vector"], "from_seq": 1, "epoch": made["epoch"]}
        for encoding in ("binary", "json"):
            feed = await follow(raw, encoding=encoding, **asked)
            sizes = []
            receive = raw.socket.recv

            async def measured(receive=receive, sizes=sizes) -> Any:
                data = await receive()
                sizes.append(len(data))
                return data

            raw.socket.recv = measured  # type: ignore[method-assign]
            await feed.until(8000)
            raw.socket.recv = receive  # type: ignore[method-assign]
            assert feed.rows == {seq: seq - 1 for seq in range(1, 8001)}
            assert 4 <= len(sizes) <= 100
            assert max(sizes) <= 1 << 20


async def test_nothing_comes_after_the_reply_to_unsubscribe() -> None:
    async with running() as server, client(server) as raw, client(server) as writer:
        await raw.create(capacity=1000)
        feed = await follow(raw)
        for number in range(50):
            await writer.send("add", collection="items", rows=rows(number))
        id = await raw.send("unsubscribe", sub=feed.sub)
        assert (await raw.reply(id))["ok"] == {}
        for number in range(50, 100):
            await writer.ok("add", collection="items", rows=rows(number))
        await raw.ok("ping")
        answered = next(i for i, one in enumerate(raw.order) if one == {"id": id, "ok": {}})
        assert not [one for one in raw.order[answered:] if "event" in one]
        assert await raw.code("unsubscribe", sub=feed.sub) == "not_found"
        assert server.metrics.subscriptions["feed"] == 0
        assert not server.context.engine.feeds.of(
            server.context.catalog.find("default", "items").shard
        )


async def test_an_unsubscribe_sent_right_behind_its_subscribe_finds_it() -> None:
    async with running() as server, client(server) as raw:
        await raw.create()
        await raw.send("subscribe", id=101, kind="feed", collection="items")
        await raw.send("unsubscribe", id=102, sub=1)
        await raw.send("unsubscribe", id=103, sub=1)
        assert (await raw.reply(101))["ok"]["sub"] == 1
        assert (await raw.reply(102))["ok"] == {}
        assert (await raw.reply(103))["error"]["code"] == "not_found"
        order = [one["id"] for one in raw.order if "id" in one and one["id"] in (101, 102)]
        assert order == [101, 102]


async def test_a_refused_subscribe_leaves_nothing_behind() -> None:
    async with running() as server, client(server) as raw:
        epoch = (await raw.create())["epoch"]
        await raw.send(
            "subscribe", id=101, kind="feed", collection="items", from_seq=50, epoch=epoch
        )
        await raw.send("unsubscribe", id=102, sub=1)
        assert (await raw.reply(101))["error"]["code"] == "bad_request"
        assert (await raw.reply(102))["error"]["code"] == "not_found"
        assert (await raw.ok("stats"))["subscriptions"] == 0


async def test_a_drop_ends_feeds_and_statistics_of_all_connections() -> None:
    async with running() as server, client(server) as raw, client(server) as other:
        await raw.create()
        first = await follow(raw)
        stats = (await raw.ok("subscribe", kind="stats", collection="items"))["sub"]
        second = await follow(other)
        await other.ok("drop", collection="items")
        assert await other.named("ended") == {
            "event": "ended",
            "sub": second.sub,
            "reason": "dropped",
        }
        ended = {(await raw.named("ended"))["sub"] for _ in range(2)}
        assert ended == {first.sub, stats}
        # The same name is another stream.
        await raw.create()
        await raw.add(1)
        await raw.ok("ping")
        assert not [one for one in raw.events if one["event"] == "feed"]
        assert await raw.code("unsubscribe", sub=first.sub) == "not_found"


async def test_many_feeds_share_a_stream_and_each_gets_its_own_number() -> None:
    async with running() as server, client(server) as raw, client(server) as writer:
        await raw.create(capacity=100)
        feeds = [await follow(raw, encoding=("json", "binary")[number % 2]) for number in range(20)]
        assert len({feed.sub for feed in feeds}) == 20
        await writer.add(*range(30))
        for feed in feeds:
            await feed.until(30)
            assert feed.rows == {seq: seq - 1 for seq in range(1, 31)}


async def test_a_reader_comes_back_and_misses_nothing_that_was_still_there() -> None:
    async with running() as server, client(server) as writer:
        epoch = (await writer.create(capacity=100))["epoch"]
        async with client(server) as raw:
            feed = await follow(raw)
            await writer.add(*range(10))
            await feed.until(10)
        await writer.add(*range(10, 20))
        async with client(server) as raw:
            again = await follow(raw, from_seq=feed.to_seq + 1, epoch=epoch)
            await writer.add(20)
            await again.until(21)
        assert {**feed.rows, **again.rows} == {seq: seq - 1 for seq in range(1, 22)}
        assert again.gaps == []


async def test_a_connection_that_goes_takes_its_subscriptions_with_it() -> None:
    async with running() as server, client(server) as raw:
        await raw.create()
        async with client(server) as other:
            for _ in range(5):
                await follow(other)
            await other.ok("subscribe", kind="stats", collection="items")
        await raw.add(1)
        while (await raw.ok("stats"))["subscriptions"]:
            pass
        await raw.add(2)
        shard = server.context.catalog.find("default", "items").shard
        assert not server.context.engine.feeds.of(shard)
        assert not shard.listed.subscriptions
