"""Live queries that subscribe many at a time: at first, and when a connection comes back."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest
from omendb_core.model.errors import (
    DimMismatch,
    Forbidden,
    NotFound,
    OmenError,
    Quota,
    TooLarge,
    ZeroNorm,
)

from omendb_ws.client import backoff
from omendb_ws.client.answers import LiveAnswer
from omendb_ws.errors import ConnectionLost
from omendb_ws.wire import messages

from .fake import AT_ONCE, client_of, hasty
from .live_server import ZERO, LiveServer, all_of, db_idle, quiet, seen, step
from .world import description


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backoff, "RETRY", AT_ONCE)


async def test_queries_that_are_alike_subscribe_together() -> None:
    server = LiveServer()
    async with client_of(server) as db:
        queries = [db.live("items", [at, 0], 3) for at in range(1, 301)]
        await all_of([query.__aenter__() for query in queries])
        assert server.batches == [256, 44]
        answers = await all_of([step(query) for query in queries])
        assert [one.scores[0] for one in answers] == [at + 3 for at in range(1, 301)]
        assert [sub for sub, _ in server.vectors.items()] == list(range(1, 301))
    assert len(server.of(messages.Open)) == 1


async def test_queries_that_differ_in_anything_but_the_vector_do_not() -> None:
    server = LiveServer()
    others: list[dict[str, Any]] = [
        {}, {"k": 2}, {"filter": {"a": 1}}, {"filter": {"a": 2}}, {"min_score": 0.5},
        {"include": ["vector"]}, {"every_ms": 10},
    ]  # fmt: skip
    async with client_of(server) as db:
        queries = [db.live("items", [1, 0], **one) for one in others * 2]
        await all_of([query.__aenter__() for query in queries])
    assert server.batches == [2] * len(others)
    asked = {
        (one.k, str(one.filter), one.min_score, one.include, one.every_ms)
        for one in server.of(messages.Subscribe)
    }
    assert len(asked) == len(others)


async def test_after_a_reconnect_all_subscribe_together_and_each_yields_one_answer() -> None:
    server = LiveServer()
    async with client_of(server) as db:
        queries = [db.live("items", [at, 0], 3) for at in range(1, 301)]
        await all_of([step(query) for query in queries])
        stepping = [asyncio.ensure_future(step(query)) for query in queries]
        server.rows, server.version = [9, 3, 2], 7
        server.connection.cut()
        for at, answer in enumerate(await all_of(stepping), 1):
            assert seen(answer) == ([9, 3, 2], [9], {1: "missed"})
            assert (answer.resumed, answer.moved, answer.version) == (True, False, 7)
            assert answer.scores.tolist() == [at + 9, at + 3, at + 2]
        assert server.batches == [256, 44] * 2
        waiting = [asyncio.ensure_future(anext(query)) for query in queries]
        await db_idle(server)
        assert not any(one.done() for one in waiting)
        server.push({2: "expired"}, [], sub=301)
        assert seen(await waiting[0]) == ([9, 3], [], {2: "expired"})
        for one in waiting:
            one.cancel()


async def test_an_answer_that_nothing_changed_is_confirmed_after_a_reconnect() -> None:
    server = LiveServer()
    async with client_of(server) as db, db.live("items", [1, 0], 3) as query:
        await step(query)
        server.connection.cut()
        answer = await step(query)
        assert (seen(answer), answer.resumed) == (([3, 2, 1], [], {}), True)
        assert await quiet(query)


async def test_what_came_before_the_connection_was_lost_is_yielded_first() -> None:
    server = LiveServer()
    async with client_of(server) as db, db.live("items", [1, 0], 3) as query:
        await step(query)
        server.push({1: "evicted"}, [])
        server.connection.cut()
        answer = await step(query)
        assert (seen(answer), answer.resumed) == (([3, 2], [], {1: "evicted"}), False)
        server.rows = [3]
        answer = await step(query)
        assert (seen(answer), answer.resumed) == (([3], [], {2: "missed"}), True)


async def test_another_epoch_is_said_and_shares_no_row_with_the_old_one() -> None:
    server = LiveServer()
    async with client_of(server) as db, db.live("items", [1, 0], 3) as query:
        await step(query)
        server.description = description("e2")
        server.connection.cut()
        answer = await step(query)
        assert seen(answer) == ([3, 2, 1], [3, 2, 1], {3: "epoch", 2: "epoch", 1: "epoch"})
        assert (answer.epoch, answer.resumed) == ("e2", True)
        server.push({1: "evicted"}, [4])
        assert seen(await step(query)) == ([4, 3, 2], [4], {1: "evicted"})


async def test_a_collection_that_is_gone_after_a_reconnect_raises_not_found() -> None:
    server = LiveServer()
    async with client_of(server) as db:
        queries = [db.live("items", [1, 0]), db.live("items", [2, 0])]
        await all_of([step(query) for query in queries])
        server.handlers[messages.Open] = lambda transport, request: NotFound("items")
        server.connection.cut()
        ends = await all_of([step(query) for query in queries])
        assert [type(one) for one in ends] == [NotFound] * 2
        assert ends[0] is not ends[1]


async def test_a_collection_made_anew_with_another_dimension_raises_that() -> None:
    server = LiveServer()
    async with client_of(server) as db, db.live("items", [1, 0]) as query:
        await step(query)
        server.description = description("e2", dim=3)
        server.connection.cut()
        with pytest.raises(DimMismatch):
            await step(query)


async def test_a_bad_vector_in_a_batch_harms_only_itself() -> None:
    server = LiveServer()
    async with client_of(server) as db:
        values = [ZERO if at in (7, 100) else at for at in range(1, 201)]
        queries = [db.live("items", [at, 0]) for at in values]
        ends = await all_of([step(query) for query in queries])
        refused = [at for at, one in enumerate(ends, 1) if isinstance(one, ZeroNorm)]
        assert refused == [7, 100]
        assert {one.row for one in ends if isinstance(one, ZeroNorm)} == {None}
        assert len([one for one in ends if isinstance(one, LiveAnswer)]) == 198
        assert len(server.batches) < 40


@pytest.mark.parametrize("error", [Quota, TooLarge])
async def test_a_batch_that_is_too_much_at_once_is_divided(error: type[OmenError]) -> None:
    server = LiveServer()
    server.handlers[messages.Subscribe] = lambda transport, request: (
        error("too much") if len(request.vectors) > 60 else server.subscribe(transport, request)
    )
    async with client_of(server) as db:
        queries = [db.live("items", [at, 0]) for at in range(1, 201)]
        answers = await all_of([step(query) for query in queries])
        assert [one.scores[0] for one in answers] == [at + 3 for at in range(1, 201)]
        assert server.batches == [200, 100, 50, 50, 100, 50, 50]


async def test_a_refusal_that_blames_no_vector_is_everybodys() -> None:
    server = LiveServer()
    server.handlers[messages.Subscribe] = lambda transport, request: Forbidden("read")
    async with client_of(server) as db:
        ends = await all_of([step(db.live("items", [at, 0])) for at in range(1, 100)])
        assert {type(one) for one in ends} == {Forbidden}
        assert server.batches == [99]


async def test_a_batch_whose_reply_was_lost_is_asked_again() -> None:
    server = LiveServer()
    server.handlers[messages.Subscribe] = lambda transport, request: (
        transport.cut() if len(server.batches) < 3 else server.subscribe(transport, request)
    )
    async with client_of(server) as db:
        answers = await all_of([step(db.live("items", [at, 0])) for at in range(1, 5)])
        assert [one.resumed for one in answers] == [False] * 4
        assert server.batches == [4, 4, 4]


async def test_who_gives_up_is_unsubscribed_and_the_others_go_on() -> None:
    server = LiveServer()
    async with client_of(server) as db:
        await db.open("items")
        server.hold = True
        queries = [db.live("items", [at, 0]) for at in range(1, 6)]
        stepping = [asyncio.ensure_future(step(query)) for query in queries]
        stepping[0].cancel()  # before it was sent
        await server.arrived(messages.Subscribe)
        stepping[1].cancel()
        await queries[2].close()
        await asyncio.wait(stepping[:2])
        server.hold = False
        server.answer(server.connection, server.of(messages.Subscribe)[0])
        assert (await stepping[3]).scores[0] == 7
        with pytest.raises(StopAsyncIteration):
            await stepping[2]
        await server.arrived(messages.Unsubscribe, 2)
        subs = {server.vectors[one.sub][0] for one in server.of(messages.Unsubscribe)}
        assert subs == {2, 3} if server.batches == [4] else subs == {1, 2, 3}
        server.connection.cut()
        assert (await step(queries[4])).scores[0] == 8


async def test_a_query_that_nobody_refers_to_any_more_is_unsubscribed_with_its_next_push() -> None:
    server = LiveServer()
    async with client_of(server) as db:
        query = db.live("items", [1, 0])
        await step(query)
        await query.move([2, 0])
        del query
        gc.collect()
        server.push({1: "evicted"}, [])
        server.push({2: "evicted"}, [])
        await server.arrived(messages.Unsubscribe)
        await db.ping()
    assert len(server.of(messages.Unsubscribe)) == 1


async def test_a_closed_client_ends_queries_that_wait_at_any_stage() -> None:
    server = LiveServer()
    async with client_of(server) as db:
        reading = db.live("items", [1, 0])
        await step(reading)
        server.hold = True
        ends = [asyncio.ensure_future(step(one)) for one in (reading, db.live("items", [2, 0]))]
        await server.arrived(messages.Subscribe, 2)
        ends.append(asyncio.ensure_future(step(db.live("items", [3, 0]))))
        await asyncio.sleep(0)
        await db.close()
        found = await all_of(ends)
        assert [type(one) for one in found] == [ConnectionLost] * 3
        with pytest.raises(ConnectionLost, match="closed"):
            await step(db.live("items", [1, 0]))


async def test_a_query_waits_for_the_connection_longer_than_a_call_may() -> None:
    server = LiveServer()
    async with client_of(server) as db, db.live("items", [1, 0]) as query:
        await step(query)
        server.refusals = [ConnectionRefusedError("down")] * 1_000_000
        server.connection.cut()
        with hasty(db):
            stepping = asyncio.ensure_future(step(query))
            for _ in range(3):
                with pytest.raises(TimeoutError):
                    await query.move([2, 0])
            assert not stepping.done()
        server.refusals.clear()
        assert (await stepping).resumed
