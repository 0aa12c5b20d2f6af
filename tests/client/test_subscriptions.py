"""Feeds and statistics against a server whose pushes and faults are chosen."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import numpy as np
import pytest
from omendb_core.model.errors import (
    BadFilter,
    BadRequest,
    Forbidden,
    NotFound,
    OmenError,
    Overloaded,
    Unavailable,
    WrongEpoch,
)
from omendb_core.model.types import Hits

from omendb_ws.client import backoff, subscriptions
from omendb_ws.client.answers import FeedRows, Gap
from omendb_ws.client.counts import Counts
from omendb_ws.errors import ConnectionLost
from omendb_ws.wire import binary_replies, messages, text_replies
from omendb_ws.wire.messages import JsonObject

from .fake import AT_ONCE, PATIENCE_SECONDS, FakeServer, FakeTransport, client_of, eventually, hasty


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backoff, "RETRY", AT_ONCE)


class FeedServer(FakeServer):
    """Gives each subscribe a new sub, in ``epoch``, beginning behind ``last_seq``."""

    def __init__(self) -> None:
        super().__init__()
        self.epoch = "e1"
        self.last_seq = 0
        self.subs = 0
        self.handlers[messages.Subscribe] = self._subscribe

    def _subscribe(self, transport: FakeTransport, request: messages.Subscribe) -> Any:
        if request.kind == "feed" and request.epoch not in (None, self.epoch):
            return WrongEpoch("another epoch", epoch=self.epoch)
        self.subs += 1
        if request.kind == "stats":
            return {"sub": self.subs}
        to_seq = self.last_seq if request.from_seq is None else request.from_seq - 1
        return {"sub": self.subs, "epoch": self.epoch, "version": 1, "to_seq": to_seq}

    def push(self, *seqs: int, to_seq: int | None = None, sub: int | None = None) -> int:
        """Push rows with these seqs; the size of the message."""
        hits = Hits(np.array(seqs, np.uint64) * 10, np.array(seqs, np.uint64))
        end = max(seqs) if to_seq is None else to_seq
        message = binary_replies.encode_rows(
            messages.Rows(sub or self.subs, "feed", end, end, hits)
        )
        self.connection.push(message)
        return len(message)

    def gap(self, from_seq: int, to_seq: int, reason: str = "evicted") -> None:
        body = {"from_seq": from_seq, "to_seq": to_seq, "reason": reason}
        self.connection.event("gap", sub=self.subs, **body)

    @property
    def subscribes(self) -> list[messages.Subscribe]:
        return self.of(messages.Subscribe)


async def step(feed: Any) -> FeedRows:
    async with asyncio.timeout(PATIENCE_SECONDS):
        return await anext(feed)


async def seqs(feed: Any) -> list[int]:
    return [row.seq for row in await step(feed)]


async def quiet(feed: Any) -> bool:
    """Whether nothing comes, as far as one can see."""
    waiting = asyncio.ensure_future(anext(feed))
    for _ in range(50):
        await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    return waiting.cancelled()


async def test_a_feed_yields_rows_as_arrays_and_as_rows() -> None:
    server = FeedServer()
    async with client_of(server) as db, db.feed("items", filter={"a": 1}) as feed:
        server.push(1, 2)
        rows = await step(feed)
        assert rows.ids.tolist() == [10, 20]
        assert [(row.id, row.seq, row.score) for row in rows] == [(10, 1, None), (20, 2, None)]
        assert (rows.to_seq, rows.epoch, rows.gap) == (2, "e1", None)
        assert (feed.to_seq, feed.epoch) == (2, "e1")
    [request] = server.subscribes
    assert (request.kind, request.encoding, request.filter) == ("feed", "binary", {"a": 1})
    assert (request.from_seq, request.epoch) == (None, None)


async def test_a_feed_without_a_context_subscribes_with_its_first_step() -> None:
    server = FeedServer()
    async with client_of(server) as db:
        feed = db.feed("items")
        stepping = asyncio.ensure_future(step(feed))
        await server.arrived(messages.Subscribe)
        server.push(1)
        assert (await stepping).seqs.tolist() == [1]


async def test_a_push_right_behind_the_reply_is_not_missed() -> None:
    server = FeedServer()
    subscribe = server.handlers[messages.Subscribe]

    def answer(transport: FakeTransport, request: Any) -> list[bytes]:
        ok = text_replies.encode_ok(request.id, subscribe(transport, request))  # type: ignore[arg-type]
        hits = Hits(np.array([1], np.uint64), np.array([1], np.uint64))
        return [ok, binary_replies.encode_rows(messages.Rows(server.subs, "feed", 1, 1, hits))]

    server.handlers[messages.Subscribe] = answer
    async with client_of(server) as db, db.feed("items") as feed:
        assert await seqs(feed) == [1]


async def test_an_empty_push_moves_the_cursor_and_wakes_nobody() -> None:
    server = FeedServer()
    async with client_of(server) as db, db.feed("items") as feed:
        for to_seq in range(1, 1000):
            server.push(to_seq=to_seq)
        assert await quiet(feed)
        assert feed.to_seq == 999
        server.connection.cut()
        assert await quiet(feed)
    assert server.subscribes[-1].from_seq == 1000


async def test_progress_that_nobody_reads_takes_no_room() -> None:
    server = FeedServer()
    async with client_of(server) as db, db.feed("items") as feed:
        for to_seq in range(1, 1000):
            server.push(to_seq=to_seq)
        await db.ping()
        assert len(feed._waiting) == 1


async def test_a_gap_is_a_step_of_its_own() -> None:
    server = FeedServer()
    async with client_of(server) as db, db.feed("items") as feed:
        server.push(1)
        server.gap(2, 40)
        server.gap(41, 50, "expired")
        server.push(51)
        assert await seqs(feed) == [1]
        for expected in (Gap(2, 40, "evicted"), Gap(41, 50, "expired")):
            rows = await step(feed)
            assert (len(rows), rows.gap, rows.to_seq) == (0, expected, expected.to_seq)
        assert await seqs(feed) == [51]


async def test_after_a_reconnect_a_feed_goes_on_from_where_it_was() -> None:
    server = FeedServer()
    async with client_of(server) as db, db.feed("items") as feed:
        server.push(1, 2)
        assert await seqs(feed) == [1, 2]
        server.push(3)
        server.connection.cut()
        assert await seqs(feed) == [3]
        stepping = asyncio.ensure_future(seqs(feed))
        await server.arrived(messages.Subscribe, 2)
        server.push(4)
        assert await stepping == [4]
    assert (server.subscribes[1].from_seq, server.subscribes[1].epoch) == (4, "e1")


async def test_a_connection_lost_before_the_first_push_loses_nothing() -> None:
    server = FeedServer()
    server.last_seq = 7
    async with client_of(server) as db, db.feed("items") as feed:
        server.connection.cut()
        server.last_seq = 9
        assert await quiet(feed)
    assert server.subscribes[1].from_seq == 8


async def test_a_feed_waits_for_the_connection_longer_than_a_call_may() -> None:
    server = FeedServer()
    async with client_of(server) as db, db.feed("items") as feed:
        server.refusals = [ConnectionRefusedError("down")] * 1_000_000
        server.connection.cut()
        with hasty(db):
            stepping = asyncio.ensure_future(seqs(feed))
            for _ in range(3):
                with pytest.raises(TimeoutError):
                    await db.ping()
            assert not stepping.done()
        server.refusals.clear()
        await server.arrived(messages.Subscribe, 2)
        server.push(1)
        assert await stepping == [1]


async def test_a_server_that_does_not_answer_a_subscribe_times_out() -> None:
    server = FeedServer()
    server.handlers[messages.Subscribe] = lambda _, request: None
    async with client_of(server, request_timeout_seconds=0.01) as db:
        with pytest.raises(TimeoutError):
            await step(db.feed("items"))


async def test_another_epoch_is_a_stated_gap_and_the_feed_goes_on() -> None:
    server = FeedServer()
    async with client_of(server) as db, db.feed("items") as feed:
        server.push(1, 2)
        assert await seqs(feed) == [1, 2]
        server.epoch = "e2"
        server.connection.cut()
        rows = await step(feed)
        assert (len(rows), rows.gap) == (0, Gap(3, None, "epoch"))
        assert (rows.epoch, rows.to_seq) == ("e2", 0)
        stepping = asyncio.ensure_future(step(feed))
        await server.arrived(messages.Subscribe, 3)
        server.push(1)
        rows = await stepping
        assert (rows.seqs.tolist(), rows.epoch) == ([1], "e2")
    assert (server.subscribes[2].from_seq, server.subscribes[2].epoch) == (1, "e2")


async def test_a_feed_can_go_on_from_where_another_ended() -> None:
    server = FeedServer()
    async with client_of(server) as db:
        async with db.feed("items", from_seq=5, epoch="e1") as feed:
            assert feed.to_seq == 4
            server.push(5)
            assert await seqs(feed) == [5]
        async with db.feed("items", from_seq=6, epoch="e0") as feed:
            assert (await step(feed)).gap == Gap(6, None, "epoch")
    assert [one.from_seq for one in server.subscribes] == [5, 6, 1]


@pytest.mark.parametrize("fields", [{"from_seq": 5}, {"epoch": "e1"}, {"include": ["score"]}])
async def test_a_feed_that_makes_no_sense_is_refused_here(fields: dict[str, Any]) -> None:
    async with client_of(FeedServer()) as db:
        with pytest.raises(BadRequest):
            db.feed("items", **fields)


@pytest.mark.parametrize("error", [NotFound("items"), BadFilter("a"), Forbidden("read")])
async def test_a_refused_subscribe_is_raised(error: Exception) -> None:
    server = FeedServer()
    server.handlers[messages.Subscribe] = lambda _, request: error  # type: ignore[return-value]
    async with client_of(server) as db:
        with pytest.raises(type(error)):
            async with db.feed("items"):
                pass
        with pytest.raises(type(error)):
            await step(db.feed("items"))


async def test_a_subscribe_that_is_refused_for_now_is_asked_again() -> None:
    server = FeedServer()
    subscribe = server.handlers[messages.Subscribe]
    server.handlers[messages.Subscribe] = lambda transport, request: (
        Overloaded("busy") if len(server.subscribes) < 3 else subscribe(transport, request)
    )
    async with client_of(server) as db, db.feed("items") as feed:
        server.push(1)
        assert await seqs(feed) == [1]


async def test_a_dropped_collection_ends_the_feed_after_what_came_before() -> None:
    server = FeedServer()
    async with client_of(server) as db, db.feed("items") as feed:
        server.push(1)
        server.connection.event("ended", sub=server.subs, reason="dropped")
        assert [rows.seqs.tolist() async for rows in feed] == [[1]]


@pytest.mark.parametrize(
    ("reason", "error"), [("forbidden", Forbidden), ("unavailable", Unavailable)]
)
async def test_an_end_by_the_server_raises_why(reason: str, error: type[OmenError]) -> None:
    server = FeedServer()
    async with client_of(server) as db, db.feed("items") as feed:
        server.connection.event("ended", sub=server.subs, reason=reason)
        with pytest.raises(error):
            await step(feed)


async def test_leaving_the_context_unsubscribes() -> None:
    server = FeedServer()
    async with client_of(server) as db:
        async with db.feed("items") as feed:
            server.push(1)
        leaving = await server.arrived(messages.Unsubscribe)
        assert leaving.sub == 1
        server.push(2)
        await db.ping()
        with pytest.raises(StopAsyncIteration):
            await anext(feed)
    assert len(server.of(messages.Unsubscribe)) == 1


async def test_a_feed_that_nobody_refers_to_any_more_is_unsubscribed_with_its_next_push() -> None:
    server = FeedServer()
    async with client_of(server) as db:
        feed = db.feed("items")
        stepping = asyncio.ensure_future(seqs(feed))
        await server.arrived(messages.Subscribe)
        server.push(1)
        await stepping
        del feed, stepping
        gc.collect()
        server.push(2)
        server.push(3)
        await server.arrived(messages.Unsubscribe)
        await db.ping()
    assert len(server.of(messages.Unsubscribe)) == 1


async def test_a_subscribe_that_was_cancelled_is_unsubscribed_when_its_reply_comes() -> None:
    server = FeedServer()
    async with client_of(server) as db:
        server.hold = True
        stepping = asyncio.ensure_future(step(db.feed("items")))
        await server.arrived(messages.Subscribe)
        stepping.cancel()
        await asyncio.wait([stepping])
        server.answer_all()
        assert (await server.arrived(messages.Unsubscribe)).sub == 1


async def test_cancelling_a_step_loses_no_rows() -> None:
    server = FeedServer()
    async with client_of(server) as db, db.feed("items") as feed:
        for _ in range(3):
            stepping = asyncio.ensure_future(anext(feed))
            await asyncio.sleep(0)
            server.push(1)
            stepping.cancel()
            await asyncio.wait([stepping])
        assert await seqs(feed) == [1]


async def test_a_slow_reader_keeps_a_bounded_number_of_bytes_and_misses_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = FeedServer()
    async with client_of(server) as db, db.feed("items") as feed:
        size = server.push(1)
        monkeypatch.setattr(subscriptions, "BUFFER_BYTES", 10 * size)
        for seq in range(2, 100):
            server.push(seq)
        await db.ping()
        assert feed._waiting_bytes <= 11 * size
        assert len(server.of(messages.Unsubscribe)) == 1
        for seq in range(1, 12):
            assert await seqs(feed) == [seq]
        stepping = asyncio.ensure_future(seqs(feed))
        await server.arrived(messages.Subscribe, 2)
        server.push(12)
        assert await stepping == [12]
    assert server.subscribes[1].from_seq == 12


async def test_a_closed_client_ends_its_feeds() -> None:
    server = FeedServer()
    async with client_of(server) as db:
        feed = db.feed("items")
        stepping = asyncio.ensure_future(step(feed))
        await server.arrived(messages.Subscribe)
        await db.ping()
        await db.close()
        with pytest.raises(ConnectionLost, match="closed"):
            await stepping


async def test_statistics_are_always_the_latest() -> None:
    server = FeedServer()
    async with client_of(server) as db, db.watch_stats(every_ms=100) as stats:
        for at in range(5):
            server.connection.event("stats", sub=server.subs, at=at, rows=1)
        await db.ping()
        assert await anext(stats) == {"at": 4, "rows": 1}
        server.connection.cut()
        stepping = asyncio.ensure_future(anext(stats))
        await server.arrived(messages.Subscribe, 2)
        server.connection.event("stats", sub=server.subs, at=9)
        assert await stepping == {"at": 9}
    assert [one.every_ms for one in server.subscribes] == [100, 100]
    assert server.subscribes[0].collection is None


async def test_counts_are_yielded_once_each_whatever_comes_between() -> None:
    server = FeedServer()

    def begun(_: object, request: messages.Subscribe) -> JsonObject:
        server.subs += 1
        return {"sub": server.subs, "epoch": "e1", "version": 5, **counted}

    counted: JsonObject = {"count": 3, "by": [{"value": None, "count": 3}], "others": 0}
    server.handlers[messages.Subscribe] = begun
    async with client_of(server) as db, db.watch_count("items", by="a", every_ms=100) as counts:
        assert await anext(counts) == Counts(5, 3, {None: 3}, 0)
        for count in (4, 5):
            by = [{"value": "x", "count": count}]
            event = {"version": 5 + count, "count": count, "by": by, "others": 0}
            server.connection.event("count", sub=server.subs, **event)
        await db.ping()
        assert await anext(counts) == Counts(10, 5, {"x": 5}, 0)
        counted = {"count": 5, "by": [{"value": "x", "count": 5}], "others": 0}
        server.connection.cut()
        stepping = asyncio.ensure_future(anext(counts))
        await server.arrived(messages.Subscribe, 2)
        await db.ping()
        assert not stepping.done(), "that was yielded before"
        server.connection.event("count", sub=server.subs, version=11, count=6, by=[], others=6)
        assert await stepping == Counts(11, 6, {}, 6)
        server.connection.event("count", sub=server.subs, version=12, count=7, by=[], others=7)
        server.connection.event("count", sub=server.subs, version=13, count=6, by=[], others=6)
        server.connection.event("ended", sub=server.subs, reason="dropped")
        assert [one async for one in counts] == [], "it is what it was"
    assert [(one.kind, one.by, one.limit, one.every_ms) for one in server.subscribes] == [
        ("count", "a", 100, 100)
    ] * 2


async def test_two_hundred_feeds_survive_a_reconnect() -> None:
    server = FeedServer()
    async with client_of(server) as db:
        feeds = [db.feed("items") for _ in range(200)]
        async with asyncio.timeout(PATIENCE_SECONDS):
            await asyncio.gather(*[feed.__aenter__() for feed in feeds])
        server.connection.cut()
        steps = [asyncio.ensure_future(seqs(feed)) for feed in feeds]
        await server.arrived(messages.Subscribe, 400)
        for sub in range(201, 401):
            server.push(1, sub=sub)
        await eventually(lambda: all(one.done() for one in steps))
        assert [one.result() for one in steps] == [[1]] * 200
