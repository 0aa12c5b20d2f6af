"""Live queries against a server held by hand: what is yielded, and when."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest
from omendb_core.model.errors import WrongEpoch
from omendb_core.model.types import Hits

from omendb_ws.client import backoff
from omendb_ws.client.answers import Gap
from omendb_ws.client.view import SPARE_ROWS
from omendb_ws.wire import binary_replies, messages

from .fake import AT_ONCE, FakeServer, FakeTransport, client_of
from .live_server import LiveServer, hits, quiet, seen, step


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backoff, "RETRY", AT_ONCE)


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
        self.connection.push(binary_replies.encode_rows(rows))


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
