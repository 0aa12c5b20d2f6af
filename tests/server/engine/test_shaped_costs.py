"""What a shaped search may cost: whether it is done in pieces, and how many a tick takes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from omendb_core.ranking.rank_parser import expression_of
from omendb_core.ranking.shape import Decay, Group, Mmr, Rank, Shape, Spread
from omendb_core.search.query import Query
from omendb_core.standing.table import StandingQuery

from omendb_ws.engine import read_weights
from omendb_ws.engine.model.scan_cost import ScanCost
from omendb_ws.engine.model.ticket import Ticket
from omendb_ws.engine.reads import shaped
from omendb_ws.engine.reads.commands import Search
from omendb_ws.engine.reads.long_answers import takes_long
from omendb_ws.engine.streams.beginning import begins_in_pieces
from omendb_ws.engine.streams.commands import Live
from tests.server.raw import client, engine_held, queued, running

RANK = Rank(expression_of("$score", {}))
LONG_RANK = Rank(expression_of({"$add": [{"$pow": ["$score"] * 2}] * 16}, {}))


def search(rows: int, shape: Shape, queries: int = 1, k: int = 10, dim: int = 128) -> Search:
    state = SimpleNamespace(ring=SimpleNamespace(rows=rows, dim=dim))
    window = SimpleNamespace(rows=rows, definition=SimpleNamespace(dim=dim), state=state)
    shard = cast(
        Any,
        SimpleNamespace(
            window=window, definition=window.definition, is_dropped=False, batch_cost=ScanCost()
        ),
    )
    ticket = cast(Ticket, SimpleNamespace(reply_bytes=100))
    vectors = np.zeros((queries, dim), np.float32)
    return Search(ticket, shard, Query(vectors, k=k, shape=shape), True, is_binary=True)


@pytest.mark.parametrize(
    ("shape", "rows", "is_long"),
    [
        (Shape(), 1_000_000, False),
        (Shape(Decay(1.0)), 1_000_000, False),
        (Shape(RANK), 1_000, False),
        (Shape(RANK), 100_000, True),
        (Shape(LONG_RANK), 1_000, False),
        (Shape(LONG_RANK), 10_000, True),
        (Shape(RANK), 10_000, False),
        (Shape(group=Group("a")), 1_000, False),
        (Shape(group=Group("a")), 100_000, True),
        (Shape(Decay(1.0), Group("a")), 100_000, True),
        (Shape(spread=Spread(0.5)), 1_000, False),
        (Shape(spread=Spread(0.5)), 20_000, True),
        (Shape(mmr=Mmr(0.5, 100)), 1_000, False),
    ],
    ids=str,
)
def test_what_may_read_every_row_of_a_large_window_is_done_in_pieces(
    shape: Shape, rows: int, is_long: bool
) -> None:
    assert takes_long(search(rows, shape)) == is_long


def test_a_wide_marginal_relevance_is_done_in_pieces_however_few_rows_there_are() -> None:
    shape = Shape(mmr=Mmr(0.5, 1000))
    assert not takes_long(search(1000, shape, k=10))
    assert takes_long(search(1000, shape, k=1000))


def test_of_a_wide_spread_most_pairs_are_matched_at_less_than_each_by_itself() -> None:
    shape = Shape(spread=Spread(0.5))
    costs = {}
    for k in (32, 64, 640, 100_000):
        one = search(10_000, shape, k=k)
        costs[k] = shaped.most_us(one.shard, one.query)
    assert costs[32] < costs[64] < costs[640] < 3 * costs[64] < costs[100_000]


def test_many_vectors_cost_as_much_as_each() -> None:
    one, many = (search(1000, Shape(RANK), queries) for queries in (1, 40))
    expected = 40 * shaped.most_us(one.shard, one.query)
    assert shaped.most_us(many.shard, many.query) == pytest.approx(expected)


def test_a_search_without_a_shape_costs_a_tick_nothing_more() -> None:
    assert shaped.tick_us(search(1_000_000, Shape())) == 0.0
    assert read_weights.weight(search(100_000, Shape(), 7)) == 7
    assert read_weights.weight(search(100_000, Shape(Decay(1.0)), 7)) > 7
    # what is done in pieces has a slice of its own
    assert read_weights.weight(search(100_000, Shape(RANK), 7)) == 7


async def test_a_tick_takes_no_more_shaped_searches_than_it_has_time_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shaped, "_SCANNED_ELEMENT_US", read_weights.QUERY_US * 31 / 6)
    async with running() as server, client(server) as raw:
        await raw.create()
        await raw.add(1, 2, 3)
        reads = server.context.engine.tick.reading.waiting
        take, ticks = reads.take, []

        def taking(*arguments: Any) -> Any:
            works = take(*arguments)
            if works:
                ticks.append(len(works))
            return works

        monkeypatch.setattr(reads, "take", taking)
        fields = {"collection": "items", "vector": [1, 0]}
        for shape, expected in (({}, [12]), ({"decay": {"half_life": 1}}, [4, 4, 4])):
            ticks.clear()
            async with engine_held(server):
                ids = [await raw.send("search", **fields, **shape) for _ in range(12)]
                await queued(server, 12)
            for id_ in ids:
                assert "ok" in await raw.reply(id_)
            assert ticks == expected


# -- live queries --------------------------------------------------------------------------------


def live(rows: int, query: StandingQuery, queries: int = 1) -> Live:
    asked = search(rows, Shape())
    shard = cast(Any, asked.shard)
    shard.window.state.masks = SimpleNamespace(takes_long=lambda _: False)
    target = np.zeros((queries, 128), np.float32)
    each = cast(Any, [SimpleNamespace(query=query)] * queries)
    return Live(asked.ticket, shard, each, target, is_binary=True)


TEXTS = [f"id-{number}" for number in range(10_000)]


@pytest.mark.parametrize(
    ("query", "queries", "rows", "is_long"),
    [
        (StandingQuery(10), 1, 1_000_000, False),
        (StandingQuery(10), 16, 100_000, False),
        (StandingQuery(10), 16, 1_000_000, True),
        (StandingQuery(10), 17, 10, True),
        (StandingQuery(10, shape=Shape(RANK)), 1, 1_000, False),
        (StandingQuery(10, shape=Shape(RANK)), 1, 100_000, True),
        (StandingQuery(10, shape=Shape(group=Group("a"))), 1, 5_000, False),
        (StandingQuery(10, shape=Shape(group=Group("a"))), 2, 5_000, True),
        (StandingQuery(10, exclude=TEXTS[:100]), 16, 1_000, False),
        (StandingQuery(10, exclude=TEXTS), 1, 1_000, True),
        (StandingQuery(10, exclude=np.arange(10_000, dtype=np.uint64)), 1, 1_000, False),
    ],
)
def test_live_queries_begin_in_pieces_where_their_lists_take_long(
    query: StandingQuery, queries: int, rows: int, is_long: bool
) -> None:
    assert begins_in_pieces(live(rows, query, queries)) == is_long


def test_a_tick_begins_no_more_live_queries_than_it_has_time_for() -> None:
    assert read_weights.weight(live(100_000, StandingQuery(10))) == 1
    grouped = StandingQuery(10, shape=Shape(group=Group("a")))
    assert read_weights.weight(live(5_000, grouped)) > 1 + read_weights.TICK_QUERIES // 4
    # what begins in pieces has a slice of its own
    assert read_weights.weight(live(100_000, grouped)) == 1
    assert read_weights.weight(live(1_000_000, StandingQuery(10), 300)) == 16
