"""Calls that wait: time-outs, ends, slow readers and large answers, by every kind of client."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest

from omendb_ws import errors
from omendb_ws.sessions.overload import Load, Overload
from omendb_ws.sessions.receive import Receiver
from omendb_ws.sessions.refusal import Refusal
from tests.client.common.places import PATIENCE_SECONDS, Place, opened, vectors


async def test_a_call_that_takes_too_long_raises_timeout_error_and_the_client_lives(
    place: Place,
) -> None:
    async with place.connect() as patient:
        await patient.create("items", dim=4, capacity=10)
        async with place.connect(request_timeout_seconds=1e-9) as hasty:
            for call in (
                hasty.ping,
                hasty.list,
                lambda: hasty.count("items"),
                lambda: hasty.search("items", [1, 2, 3, 4]),
                lambda: hasty.add("items", vectors(1), ids=[1]),
            ):
                with pytest.raises(TimeoutError, match="no answer within"):
                    await call()
        await patient.ping()


@pytest.mark.parametrize("what", ["live", "match", "feed"])
async def test_closing_ends_subscriptions_that_wait(place: Place, what: str) -> None:
    given: Any = {"live": ([1, 2],), "match": ([1, 2], 0.5)}.get(what, ())
    async with asyncio.timeout(PATIENCE_SECONDS), place.connect() as db:
        await db.create("items", dim=2, capacity=10)
        subscription = getattr(db, what)("items", *given)
        await subscription.__aenter__()
        if what == "live":
            await anext(subscription)
        step = asyncio.ensure_future(anext(subscription))
        while not (await db.stats())["subscriptions"]:
            pass
        await db.close()
        with pytest.raises(errors.ConnectionLost):
            await step
        with pytest.raises(errors.ConnectionLost, match="closed"):
            await db.ping()
        with pytest.raises(errors.ConnectionLost):
            await anext(db.feed("items"))
        await db.close()


CALLS: dict[str, Any] = {
    "add": lambda db: db.add("items", [[1, 2]] * 3, ids=[1, 2, 3]),
    "search": lambda db: db.search("items", [1, 2]),
    "update": lambda db: db.update("items", [9], [{"x": 1}]),
    "count": lambda db: db.count("items"),
    "live": lambda db: anext(db.live("items", [1, 2])),
}


@pytest.mark.parametrize("call", CALLS)
async def test_a_server_that_sheds_is_asked_again_until_it_lets_the_call_in(
    call: str, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each kind of client waits by itself: whoever calls hears nothing of three refusals."""
    refused: list[int] = []

    def refuses(self: Overload, load: Load) -> bool:
        return len(refused) < 3

    def noted(self: Overload, load: Load, count: int = 1) -> None:
        refused.extend([self.refusal.retry_after_ms] * count)

    async with place.connect() as db:
        await db.create("items", dim=2, capacity=10)
        await db.add("items", [[1, 2]], ids=[9])
        monkeypatch.setattr(Overload, "refuses", refuses)
        monkeypatch.setattr(Overload, "refused", noted)
        for owner, name, value in ((Overload, "is_shedding", True), (Refusal, "retry_after_ms", 2)):
            fixed = property(lambda _, value=value: value, lambda *_: None)
            monkeypatch.setattr(owner, name, fixed, raising=False)
        async with asyncio.timeout(PATIENCE_SECONDS):
            await CALLS[call](db)
        assert refused == [2, 2, 2]
        assert await db.count("items") == (4 if call == "add" else 1)


async def test_a_subscription_that_is_closed_ends_for_who_waits(db: Any) -> None:
    await db.create("items", dim=2, capacity=10)
    async with asyncio.timeout(PATIENCE_SECONDS), db.feed("items") as feed:
        step = asyncio.ensure_future(anext(feed))
        await db.ping()
        await feed.close()
        with pytest.raises(StopAsyncIteration):
            await step
        await feed.close()
        assert [rows async for rows in feed] == []


async def test_a_slow_reader_of_a_feed_misses_nothing_but_what_it_is_told(kind: str) -> None:
    limits = {"max_pending_bytes": 1 << 18, "max_message_bytes": 1 << 20}
    async with opened(kind, **limits) as place, place.connect() as db:
        await db.create("items", dim=1024, capacity=1500, metric="dot", ids="auto")
        rows = np.zeros((3000, 1024), np.float32)
        rows[:, 0] = np.arange(3000)
        async with asyncio.timeout(PATIENCE_SECONDS), db.feed("items", include=["vector"]) as feed:
            for at in range(0, 3000, 500):
                await db.add("items", rows[at : at + 500])
            seen, missed = [], 0
            async for batch in feed:
                seen += [] if batch.vectors is None else batch.vectors[:, 0].tolist()
                if batch.gap is not None:
                    assert batch.gap.reason == "evicted"
                    missed += batch.gap.to_seq - batch.gap.from_seq + 1
                if batch.to_seq == 3000:
                    break
        assert len(seen) + missed == 3000
        assert seen == sorted(set(seen))
        assert seen[-1] == 2999


async def test_requests_and_answers_may_be_far_larger_than_what_is_on_the_way_at_once(
    db: Any,
) -> None:
    await db.create("items", dim=512, capacity=4000, metric="dot")
    rows = vectors(4000, 512)
    added = await db.add("items", rows, ids=range(4000))
    assert added.last_seq == 4000
    answers = await db.search("items", rows[:200], k=10, include=["vector"])
    for at, answer in enumerate(answers):
        assert answer.vectors.shape == (10, 512)
        assert rows[int(answer.ids[0])].tolist() == answer.vectors[0].tolist(), at


async def test_many_calls_at_once_are_all_answered_each_with_its_own(db: Any) -> None:
    await db.create("items", dim=4, capacity=1000, metric="l2")
    rows = vectors(300)
    async with asyncio.timeout(PATIENCE_SECONDS):
        await asyncio.gather(*(db.add("items", rows[at : at + 1], ids=[at]) for at in range(300)))
        answers = await asyncio.gather(*(db.search("items", row, k=1) for row in rows))
    assert [int(answer.ids[0]) for answer in answers] == list(range(300))


async def test_a_request_that_is_too_large_is_refused_here_by_name(kind: str) -> None:
    async with opened(kind, max_text_bytes=2000) as place, place.connect() as db:
        await db.create("items", dim=4, capacity=10)
        with pytest.raises(errors.TooLarge, match="max_text_bytes"):
            await db.get("items", range(10**15, 10**15 + 200))
        await db.ping()


async def test_errors_have_their_fields(place: Place) -> None:
    async with place.connect() as db:
        await db.create("items", dim=64, capacity=20_000)
        rows = vectors(5_000, dim=64)
        rows[4_321] = 0
        with pytest.raises(errors.ZeroNorm) as caught:
            await db.add("items", rows, ids=range(5_000))
        error = caught.value
        assert (error.code, error.row, error.retry) == ("zero_norm", 4_321, False)
        assert error.details["rows_added"] == await db.count("items")
        with pytest.raises(errors.NotFound) as missing:
            await db.describe("nothing")
        assert (missing.value.code, missing.value.retry) == ("not_found", False)
        assert "nothing" in missing.value.message
        with pytest.raises(errors.BadFilter) as filtered:
            await db.count("items", {"price": {"$lt": 3}})
        assert "price" in filtered.value.message


async def test_no_message_is_read_while_its_session_has_no_room(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    receive, rooms = Receiver.receive, []

    def look_and_receive(receiver: Receiver, message: str | bytes) -> None:
        rooms.append(receiver._session.has_room)
        receive(receiver, message)

    monkeypatch.setattr(Receiver, "receive", look_and_receive)
    async with opened(kind, max_inflight=3) as place, place.connect() as db:
        await db.create("items", dim=4, capacity=100)
        await db.add("items", vectors(100), ids=range(100))
        async with asyncio.timeout(PATIENCE_SECONDS):
            await asyncio.gather(*(db.get("items", [at]) for at in range(60)))
    assert len(rooms) > 60
    assert all(rooms)
