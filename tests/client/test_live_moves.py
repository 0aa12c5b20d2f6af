"""Moves of live queries: their order, their refusals, and the connection lost in the middle."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from omendb_core.model.errors import (
    DimMismatch,
    Forbidden,
    NotFound,
    OmenError,
    Overloaded,
    Unavailable,
    ZeroNorm,
)

from omendb_ws.client import backoff
from omendb_ws.client.answers import LiveAnswer
from omendb_ws.errors import ConnectionLost
from omendb_ws.wire import messages

from .fake import AT_ONCE, FakeTransport, client_of, eventually, hasty
from .live_server import ZERO, LiveServer, all_of, db_idle, quiet, seen, step


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backoff, "RETRY", AT_ONCE)


async def test_answers_before_the_reply_are_for_the_old_vector_and_after_it_for_the_new() -> None:
    server = LiveServer()
    async with client_of(server) as db, db.live("items", [1, 0], 3) as query:
        await step(query)
        server.hold = True
        moving = asyncio.ensure_future(query.move([100, 0]))
        request = await server.arrived(messages.Move)
        server.push({1: "displaced"}, [4])
        answer = await step(query)
        assert (seen(answer)[0], answer.moved) == ([4, 3, 2], False)
        assert answer.scores.tolist() == [5, 4, 3]
        assert not moving.done()
        server.rows = [4, 3, 1]
        server.answer(server.connection, request)
        await moving
        server.push({1: "deleted"}, [9])
        await db_idle(server)
        answer = await step(query)
        assert (seen(answer), answer.moved) == (([9, 4, 3], [9], {2: "moved"}), True)
        assert answer.scores.tolist() == [109, 104, 103]
        assert await quiet(query)


async def test_moves_faster_than_the_server_send_the_newest_and_all_return() -> None:
    server = LiveServer()
    async with client_of(server) as db, db.live("items", [1, 0], 3) as query:
        await step(query)
        server.hold = True
        first = asyncio.ensure_future(query.move([2, 0]))
        await server.arrived(messages.Move)
        others = [asyncio.ensure_future(query.move([at, 0])) for at in range(3, 50)]
        await db_idle(server)
        assert len(server.of(messages.Move)) == 1
        server.answer_moves()
        await all_of([first, *others])
        assert [one.vectors.tolist() for one in server.of(messages.Move)] == [[[2, 0]], [[49, 0]]]
        answer = await step(query)
        assert (answer.moved, answer.scores.tolist()) == (True, [52, 51, 50])


async def test_a_refused_move_harms_no_other() -> None:
    server = LiveServer()
    async with client_of(server) as db, db.live("items", [1, 0], 3) as query:
        await step(query)
        server.hold = True
        ends = [asyncio.ensure_future(query.move([at, 0])) for at in (2, 3, 4, ZERO)]
        await server.arrived(messages.Move)
        server.answer_moves()
        ends = await all_of(ends)
        assert [type(one) for one in ends] == [type(None)] * 3 + [ZeroNorm]
        assert server.vectors == {1: [4, 0]}
        with pytest.raises(ZeroNorm):
            await query.move([ZERO, 0])
        assert server.vectors == {1: [4, 0]}
        with pytest.raises(DimMismatch):
            await query.move([1, 2, 3])
        assert (await step(query)).scores.tolist() == [7, 6, 5]


async def test_a_move_that_is_refused_for_now_is_sent_again() -> None:
    server = LiveServer()
    server.handlers[messages.Move] = lambda transport, request: (
        Overloaded("busy") if len(server.of(messages.Move)) < 4 else server.move(transport, request)
    )
    async with client_of(server) as db, db.live("items", [1, 0], 3) as query:
        await query.move([5, 0])
        assert server.vectors == {1: [5, 0]}
        server.handlers[messages.Move] = lambda transport, request: Overloaded("busy")
        with pytest.raises(Overloaded):
            await query.move([6, 0])


async def test_a_move_while_there_is_no_connection_is_what_the_query_subscribes_with() -> None:
    server = LiveServer()
    async with client_of(server) as db, db.live("items", [1, 0], 3) as query:
        await step(query)
        server.refusals = [ConnectionRefusedError("down")] * 1_000_000
        server.connection.cut()
        reading = asyncio.ensure_future(step(query))
        moves = [asyncio.ensure_future(query.move([at, 0])) for at in (5, 6, 7)]
        await db_idle(server)
        assert not any(one.done() for one in moves)
        server.refusals.clear()
        assert await all_of(moves) == [None] * 3
        answer = await reading
        assert (answer.resumed, answer.moved) == (True, True)
        assert answer.scores.tolist() == [10, 9, 8]
        assert await quiet(query)
    assert server.of(messages.Move) == []
    assert [one.vectors.tolist() for one in server.of(messages.Subscribe)][1:] == [[[7, 0]]]


async def test_a_move_whose_reply_was_lost_is_what_the_query_subscribes_with() -> None:
    server = LiveServer()
    async with client_of(server) as db, db.live("items", [1, 0], 3) as query:
        await step(query)
        server.handlers[messages.Move] = lambda transport, request: transport.cut()
        await query.move([5, 0])  # nobody reads: the move itself subscribes
        answer = await step(query)
        assert (answer.resumed, answer.moved, answer.scores.tolist()) == (True, True, [8, 7, 6])
    assert [one.vectors.tolist() for one in server.of(messages.Subscribe)][1:] == [[[5, 0]]]


async def test_a_bad_move_without_a_connection_does_not_cost_the_query() -> None:
    server = LiveServer()
    async with client_of(server) as db, db.live("items", [1, 0], 3) as query:
        await step(query)
        server.connection.cut()
        ends = await all_of([query.move([4, 0]), query.move([ZERO, 0]), step(query)])
        assert [type(one) for one in ends] == [type(None), ZeroNorm, LiveAnswer]
        assert ends[2].scores.tolist() == [7, 6, 5]


async def test_a_cancelled_move_does_not_hold_up_the_next() -> None:
    server = LiveServer()
    async with client_of(server) as db, db.live("items", [1, 0], 3) as query:
        await step(query)
        server.hold = True
        for at in range(2, 100):
            moving = asyncio.ensure_future(query.move([at, 0]))
            await db_idle(server) if at == 2 else await asyncio.sleep(0)
            moving.cancel()
            await asyncio.wait([moving])
        assert len(query._moves) <= 2
        last = asyncio.ensure_future(query.move([100, 0]))
        await asyncio.sleep(0)
        server.answer_moves()
        await last
        assert server.vectors == {1: [100, 0]}
        assert (await step(query)).scores.tolist() == [103, 102, 101]


async def test_a_move_that_is_not_answered_times_out() -> None:
    server = LiveServer()
    server.handlers[messages.Move] = lambda transport, request: None
    async with client_of(server) as db:
        query = db.live("items", [1, 0], 3)
        await step(query)
        with hasty(db), pytest.raises(TimeoutError):
            await query.move([2, 0])
        await query.close()


@pytest.mark.parametrize(
    ("reason", "error"),
    [("dropped", NotFound), ("forbidden", Forbidden), ("unavailable", Unavailable)],
)
async def test_moves_of_a_query_that_ends_raise_why(reason: str, error: type[OmenError]) -> None:
    server = LiveServer()

    def end(transport: FakeTransport, request: Any) -> OmenError:
        transport.event("ended", sub=request.sub, reason=reason)
        return NotFound("sub")

    server.handlers[messages.Move] = end
    async with client_of(server) as db, db.live("items", [1, 0], 3) as query:
        ends = await all_of([query.move([at, 0]) for at in (2, 3, 4)])
        assert {type(one) for one in ends} <= {NotFound, error}
        with pytest.raises(error):
            await query.move([5, 0])
        assert len(await step(query)) == 3
        with pytest.raises(StopAsyncIteration if reason == "dropped" else error):
            await anext(query)


async def test_closing_a_query_or_the_client_ends_its_moves() -> None:
    server = LiveServer()
    server.handlers[messages.Move] = lambda transport, request: None
    async with client_of(server) as db:
        query, other = db.live("items", [1, 0]), db.live("items", [2, 0])
        moves = [asyncio.ensure_future(one.move([5, 0])) for one in (query, other)]
        await db_idle(server)
        moves += [asyncio.ensure_future(one.move([6, 0])) for one in (query, other)]
        await server.arrived(messages.Move, 2)
        await query.close()
        with pytest.raises(NotFound, match="closed"):
            await query.move([6, 0])
        with pytest.raises(StopAsyncIteration):
            await anext(query)
        assert (await server.arrived(messages.Unsubscribe)).sub == 1
        await db.close()
        ends = await all_of(moves)
        assert [type(one) for one in ends] == [type(None)] * 2 + [NotFound, ConnectionLost]
        assert query._mover is None
        await eventually(lambda: other._mover is None)
