"""Live queries against a server whose every answer is held by hand: moves, batches, reconnects."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import numpy as np
import pytest
from omendb_core.errors import (
    DimMismatch,
    Forbidden,
    NotFound,
    OmenError,
    Overloaded,
    Quota,
    TooLarge,
    WrongEpoch,
    ZeroNorm,
)
from omendb_core.types import Hits

from omendb_ws.client import backoff
from omendb_ws.client.answers import Gap, LiveAnswer
from omendb_ws.client.view import SPARE_ROWS
from omendb_ws.errors import ConnectionLost
from omendb_ws.wire import binary, messages, text
from omendb_ws.wire.frames import Header, pack
from omendb_ws.wire.opcodes import LEAVE_REASONS, MAGIC, PROTOCOL_BYTE

from .fake import AT_ONCE, PATIENCE_SECONDS, FakeServer, FakeTransport, client_of, eventually
from .world import description

#: A vector with this value is refused by the server, and only there.
ZERO = 0.0


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backoff, "RETRY", AT_ONCE)


def hits(seqs: list[int], score: float = 0.0, metadata: list[Any] | None = None) -> Hits:
    """Rows whose ids are ten times their seq, best first; the best has the first seq's score."""
    array = np.array(seqs, np.uint64)
    scores = np.float32(score) + array.astype(np.float32)
    given = None if metadata is None else [text.dumps(one) for one in metadata]
    return Hits(array * np.uint64(10), array, scores, given)


class LiveServer(FakeServer):
    """Every query's answer is ``rows`` (best first), with the vector's first value in the scores.

    ``vectors``: sub -> the vector it stands on now.
    """

    def __init__(self) -> None:
        super().__init__()
        self.rows = [3, 2, 1]
        self.metadata: list[Any] | None = None
        self.version = 1
        self.vectors: dict[int, list[float]] = {}
        self.most = 1_000_000
        self.handlers[messages.Subscribe] = self.subscribe
        self.handlers[messages.Move] = self.move

    def subscribe(self, _: FakeTransport, request: messages.Subscribe) -> Any:
        assert request.vectors is not None
        rows = request.vectors.tolist()
        if len(rows) > self.most:
            return Quota("too many at once")
        for row, vector in enumerate(rows):
            if vector[0] == ZERO:
                return ZeroNorm("zero", row=row)
        first = len(self.vectors) + 1
        subs = list(range(first, first + len(rows)))
        self.vectors.update(zip(subs, rows, strict=True))
        return self.results(request.id, rows, subs)

    def move(self, _: FakeTransport, request: messages.Move) -> Any:
        [vector] = request.vectors.tolist()
        if vector[0] == ZERO:
            return ZeroNorm("zero", row=0)
        self.vectors[request.sub] = vector
        return self.results(request.id, [vector], None)

    def results(self, id: int, vectors: list[list[float]], subs: list[int] | None) -> bytes:
        parts = [hits(self.rows, vector[0], self.metadata) for vector in vectors]
        counts = np.array([len(self.rows)] * len(parts), np.uint32)
        joined = Hits(
            np.concatenate([one.ids for one in parts]),
            np.concatenate([one.seqs for one in parts]),
            np.concatenate([one.scores for one in parts]),  # type: ignore[arg-type]
            None if self.metadata is None else [m for one in parts for m in one.metadata or ()],
        )
        return binary.encode_results(id, messages.Results(self.version, counts, joined, 0, subs))

    def push(
        self,
        leave: dict[int, str],
        enter: list[int],
        *,
        sub: int | None = None,
        metadata: list[Any] | None = None,
    ) -> None:
        """Push a change of the newest subscription, or of ``sub``."""
        sub = len(self.vectors) if sub is None else sub
        self.version += 1
        entering = hits(enter, self.vectors[sub][0], metadata)
        json = binary.hits_json(entering, None)
        header = Header(MAGIC, PROTOCOL_BYTE, 5, 0, sub, 0, len(enter), 0, len(leave), len(json), 0)
        reasons = [LEAVE_REASONS.index(one) for one in leave.values()]
        arrays = [
            np.array([self.version], "<u8"), *binary.hit_arrays(entering),
            np.array(list(leave), np.uint64), np.array(reasons, np.uint8),
        ]  # fmt: skip
        self.connection.push(pack(header, json, arrays))

    def answer_moves(self) -> None:
        """Answer the moves that have arrived, and from now on everything at once."""
        self.hold = False
        for move in self.of(messages.Move):
            self.answer(self.connection, move)

    @property
    def batches(self) -> list[int]:
        """How many vectors each SUBSCRIBE had."""
        return [len(one.vectors) for one in self.of(messages.Subscribe)]


async def step(query: Any) -> Any:
    async with asyncio.timeout(PATIENCE_SECONDS):
        return await anext(query)


async def quiet(query: Any) -> bool:
    """Whether nothing comes, as far as one can see."""
    waiting = asyncio.ensure_future(anext(query))
    for _ in range(50):
        await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    return waiting.cancelled()


def seen(answer: LiveAnswer) -> tuple[list[int], list[int], dict[int, str]]:
    """Seqs, seqs that entered, seqs that left and why."""
    left = {one.seq: one.reason for one in answer.left}
    return answer.seqs.tolist(), answer.entered.seqs.tolist(), left


async def all_of(calls: Any) -> list[Any]:
    """What each call returns or raises."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        return await asyncio.gather(*calls, return_exceptions=True)


# -- answers ------------------------------------------------------------------------------------


async def test_the_first_answer_is_the_snapshot_and_then_come_changes() -> None:
    server = LiveServer()
    async with client_of(server) as db:
        options = {"filter": {"a": 1}, "min_score": 0.5, "include": ["metadata"], "every_ms": 5}
        server.metadata = [{}, {}, {}]
        async with db.live("items", [1, 2], 3, **options) as query:
            answer = await step(query)
            assert seen(answer) == ([3, 2, 1], [3, 2, 1], {})
            assert answer.scores.tolist() == [4.0, 3.0, 2.0]
            assert (answer[0].id, answer[0].seq, answer[0].score) == (30, 3, 4.0)
            assert (answer.version, answer.epoch) == (1, "e1")
            server.push({1: "displaced"}, [4], metadata=[{}])
            answer = await step(query)
            assert seen(answer) == ([4, 3, 2], [4], {1: "displaced"})
            assert (answer.version, answer.moved, answer.resumed) == (2, False, False)
    [request] = server.of(messages.Subscribe)
    assert (request.kind, request.encoding, request.binary, request.k) == (
        "live", "binary", True, 3,
    )  # fmt: skip
    assert (request.filter, request.min_score, request.every_ms) == ({"a": 1}, 0.5, 5)
    assert request.include == (True, False)


async def test_a_push_right_behind_the_snapshot_is_not_missed() -> None:
    server = LiveServer()

    def answer(transport: FakeTransport, request: Any) -> None:
        transport.push(server.subscribe(transport, request))
        server.push({1: "deleted"}, [9])

    server.handlers[messages.Subscribe] = answer
    async with client_of(server) as db:
        assert seen(await step(db.live("items", [1, 0]))) == ([9, 3, 2], [9, 3, 2], {})


async def test_options_are_copied_when_the_query_is_made() -> None:
    server = LiveServer()
    async with client_of(server) as db:
        vector, choice = np.array([1, 2], np.float32), {"a": {"$in": [1]}}
        query = db.live("items", vector, filter=choice)
        vector[:] = 7
        choice["a"]["$in"].append(2)
        await step(query)
    [request] = server.of(messages.Subscribe)
    assert request.vectors.tolist() == [[1, 2]]
    assert request.filter == {"a": {"$in": [1]}}


async def test_a_slow_reader_gets_the_latest_answer_and_all_that_led_to_it() -> None:
    server = LiveServer()
    async with client_of(server) as db, db.live("items", [1, 0], 3) as query:
        await step(query)
        server.push({1: "displaced"}, [4])
        server.push({4: "deleted"}, [1])  # came and went; 1 was away
        server.push({3: "displaced", 2: "evicted"}, [5, 6])
        server.push({6: "expired"}, [3])
        server.push({3: "replaced"}, [7])
        await db.ping()
        answer = await step(query)
        assert seen(answer) == ([7, 5, 1], [7, 5], {3: "replaced", 2: "evicted"})
        assert answer.version == 6
        assert await quiet(query)


async def test_changes_that_cancel_out_are_no_news() -> None:
    server = LiveServer()
    async with client_of(server) as db, db.live("items", [1, 0], 3) as query:
        await step(query)
        server.push({1: "displaced"}, [4])
        server.push({4: "deleted"}, [1])
        assert await quiet(query)
        server.push({1: "expired"}, [])
        assert seen(await step(query)) == ([3, 2], [], {1: "expired"})


async def test_a_reader_that_never_reads_keeps_a_bounded_number_of_rows() -> None:
    server = LiveServer()
    async with client_of(server) as db, db.live("items", [1, 0], 3) as query:
        for seq in range(4, 5_000):
            server.push({seq - 3: "displaced"}, [seq])
            if seq % 500 == 0:
                await db.ping()
                assert len(query._view._pushes) <= SPARE_ROWS
                assert len(query._view._reasons) == 0
        await db.ping()
        assert seen(await step(query)) == ([4_999, 4_998, 4_997], [4_999, 4_998, 4_997], {})


async def test_other_metadata_is_news_of_a_row_that_stays() -> None:
    server = LiveServer()
    server.metadata = [{"n": 3}, {"n": 2}, {"n": 1}]
    async with client_of(server) as db, db.live("items", [1, 0], 3, include=["metadata"]) as query:
        before = await step(query)
        server.push({2: "updated"}, [2], metadata=[{"n": 20}])
        answer = await step(query)
        assert seen(answer) == ([3, 2, 1], [2], {2: "updated"})
        assert answer.metadata == [{"n": 3}, {"n": 20}, {"n": 1}]
        assert before.metadata == server.metadata
        # Away, updated, and there again.
        server.push({1: "displaced"}, [4], metadata=[{"n": 4}])
        server.push({4: "deleted"}, [1], metadata=[{"n": 10}])
        await db.ping()
        answer = await step(query)
        assert seen(answer) == ([3, 2, 1], [1], {1: "updated"})
        assert [row.metadata for row in answer.entered] == [{"n": 10}]


async def test_rows_with_equal_scores_stand_newest_first() -> None:
    server = LiveServer()
    async with client_of(server) as db, db.live("items", [1, 0], 4) as query:
        await step(query)
        equal = Hits(
            np.array([90, 80], np.uint64), np.array([9, 8], np.uint64),
            np.array([3.0, 3.0], np.float32),
        )  # fmt: skip
        live = messages.Live(1, 2, None, np.empty(0, np.uint64), np.empty(0, np.uint8), equal)
        query.take(live, 0)
        answer = await step(query)
        assert answer.seqs.tolist() == [3, 9, 8, 2, 1]
        assert answer.scores.tolist() == [4, 3, 3, 3, 2]


# -- moves --------------------------------------------------------------------------------------


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


async def db_idle(server: FakeServer) -> None:
    """Return when the client has read what was sent."""
    for _ in range(20):
        await asyncio.sleep(0)


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
    async with client_of(server, request_timeout_seconds=0.01) as db:
        query = db.live("items", [1, 0], 3)
        await step(query)
        with pytest.raises(TimeoutError):
            await query.move([2, 0])
        await query.close()


@pytest.mark.parametrize(("reason", "error"), [("dropped", NotFound), ("forbidden", Forbidden)])
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
        with pytest.raises(Forbidden if reason == "forbidden" else StopAsyncIteration):
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


# -- many at a time -------------------------------------------------------------------------------


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
    async with (
        client_of(server, request_timeout_seconds=0.01) as db,
        db.live("items", [1, 0]) as query,
    ):
        await step(query)
        server.refusals = [ConnectionRefusedError("down")] * 1_000_000
        server.connection.cut()
        stepping = asyncio.ensure_future(step(query))
        for _ in range(3):
            with pytest.raises(TimeoutError):
                await query.move([2, 0])
        assert not stepping.done()
        server.refusals.clear()
        assert (await stepping).resumed


# -- match ----------------------------------------------------------------------------------------


class MatchServer(FakeServer):
    """Gives each subscribe a new sub, in ``epoch``."""

    def __init__(self) -> None:
        super().__init__()
        self.epoch = "e1"
        self.subs = 0
        self.handlers[messages.Subscribe] = self.subscribe

    def subscribe(self, _: FakeTransport, request: messages.Subscribe) -> Any:
        if request.epoch not in (None, self.epoch):
            return WrongEpoch("another epoch", epoch=self.epoch)
        self.subs += 1
        to_seq = 0 if request.from_seq is None else request.from_seq - 1
        return {"sub": self.subs, "epoch": self.epoch, "version": 1, "to_seq": to_seq}

    def push(self, *seqs: int) -> None:
        rows = messages.Rows(self.subs, "match", seqs[-1], seqs[-1], hits(list(seqs), 0.5))
        self.connection.push(binary.encode_rows(rows))


async def test_match_goes_on_where_it_was_and_states_every_gap() -> None:
    server = MatchServer()
    async with client_of(server) as db:
        vector = np.array([0.1, 0.2], np.float32)
        async with db.match("items", vector, 0.5, filter={"a": 1}, include=["vector"]) as match:
            server.push(1, 4)
            rows = await step(match)
            assert (rows.seqs.tolist(), rows.scores.tolist()) == ([1, 4], [1.5, 4.5])
            server.connection.event("gap", sub=1, from_seq=5, to_seq=9, reason="slow")
            rows = await step(match)
            assert (len(rows), rows.gap) == (0, Gap(5, 9, "slow"))
            server.connection.cut()
            stepping = asyncio.ensure_future(step(match))
            await server.arrived(messages.Subscribe, 2)
            server.push(12)
            assert (await stepping).seqs.tolist() == [12]
            server.epoch = "e2"
            server.connection.cut()
            rows = await step(match)
            assert (rows.gap, rows.epoch) == (Gap(13, None, "epoch"), "e2")
    first, second = server.of(messages.Subscribe)[:2]
    assert (first.kind, first.encoding, first.filter) == ("match", "binary", {"a": 1})
    assert (first.min_score, first.include) == (0.5, (False, True))
    assert first.vectors.tobytes() == vector.tobytes()
    assert (second.from_seq, second.epoch) == (10, "e1")
