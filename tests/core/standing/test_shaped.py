"""Live queries with an order or a selection, in the cases that are hard for lists.

After each step of a ``Stream`` every answer is compared with a search, to the bit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from omendb_core.model.budget import Budget, Share
from omendb_core.model.types import ColumnType
from omendb_core.ranking.rank_parser import expression_of
from omendb_core.ranking.shape import Decay, Group, Order, Rank, Shape, Spread
from omendb_core.scoring import score
from omendb_core.search import deep
from omendb_core.standing import live_lists, renewals
from omendb_core.standing.lists_by_depth import ListsByDepth
from omendb_core.standing.table import StandingQuery

from tests.core.standing.streams import DIM, Stream

COLUMNS: dict[str, ColumnType] = {"g": "i64", "t": "f64"}
SECOND_US = 1_000_000


def ranked(document: Any) -> Rank:
    return Rank(expression_of(document, COLUMNS, live=True))


def stream_of(*shapes: Shape, k: int = 3, capacity: int = 200, **fields: Any) -> Stream:
    asked = [StandingQuery(k, shape=shape) for shape in shapes]
    return Stream(capacity, asked, columns=COLUMNS, **fields)


def grouped(stream: Stream, count: int, groups: int) -> list[dict[str, Any]]:
    return [{"g": int(value)} for value in stream.rng.integers(0, groups, count)]


@pytest.mark.parametrize("half_life", [1e-3, 0.02, 1.0, 60.0, 1e12])
@pytest.mark.parametrize("step_us", [0, 1, 1_000, SECOND_US])
def test_decayed_lists_follow_a_stream(half_life: float, step_us: int) -> None:
    stream = stream_of(*[Shape(Decay(half_life))] * 4)
    for _ in range(40):
        stream.clock_us += step_us
        stream.add(stream.rows(int(stream.rng.integers(1, 20))))
        stream.catch_up()


def test_a_batch_that_is_better_than_all_before_it_crowds_no_list() -> None:
    stream = stream_of(Shape(Decay(1e-3)), Shape(ranked("t")), k=2)
    stream.add(stream.rows(150))
    stream.catch_up()
    renewed = stream.window.standing.lists.renewed
    for step in range(5):
        stream.clock_us += SECOND_US
        stream.add(stream.rows(100), metadata=[{"t": 100.0 * step + n} for n in range(100)])
        stream.catch_up()
    assert stream.window.standing.lists.renewed == renewed


@pytest.mark.parametrize("metric", ["dot", "l2", "cosine"])
def test_a_floor_without_a_rank_lets_every_row_with_one_in(metric: Any) -> None:
    stream = stream_of(Shape(Decay(10.0, "t")), Shape(Decay(10.0)), k=2, metric=metric)
    stream.add(stream.rows(100))  # none has a time of the column
    stream.catch_up()
    floors = stream.window.standing.table.shapes.floors[stream.handles]
    assert np.isneginf(floors.real[0])
    assert floors.imag[0] > 0
    for n in range(30):
        time = [{"t": 5.0 * n}] if n % 3 else [{}]
        stream.add(np.float32(1e-18) * stream.rows(1), metadata=time)
        stream.catch_up()
        stream.delete(np.array(stream.answer(stream.handles[0])[:1], np.uint64))
        stream.catch_up()


def test_times_of_a_column_that_are_infinitely_many_half_lives_have_no_rank() -> None:
    stream = stream_of(Shape(Decay(1e-3, "t")), k=2)
    for n in range(30):
        times = [1e308, -1e308, 1.7e9 + n, None]
        rows = [{"t": times[int(one)]} for one in stream.rng.integers(0, 4, 8)]
        stream.add(stream.rows(8), metadata=rows)
        stream.catch_up()


@pytest.mark.parametrize("order", [None, Decay(5.0), ranked({"$add": ["$score", "g"]})])
@pytest.mark.parametrize("groups", [1, 3, 50])
def test_grouped_lists_follow_a_stream(order: Order | None, groups: int) -> None:
    stream = stream_of(*[Shape(order, Group("g", size)) for size in (1, 2)], k=5)
    for step in range(40):
        stream.clock_us += SECOND_US // 10
        stream.add(stream.rows(10), metadata=grouped(stream, 10, groups))
        stream.catch_up()
        if step % 4 == 3:
            numbers = stream.rng.integers(stream.next_id - 40, stream.next_id, 5)
            changed = np.unique(numbers[numbers >= 0]).tolist()
            there = stream.window.state.ids.find(stream.ids(changed)) >= 0
            known = [n for n, is_there in zip(changed, there, strict=True) if is_there]
            stream.update(known, grouped(stream, len(known), groups))
            stream.catch_up()


@pytest.mark.parametrize("likeness", [-1.0, 0.0, 0.9, 1.0])
def test_spread_lists_follow_a_stream(likeness: float) -> None:
    stream = stream_of(Shape(spread=Spread(likeness)), Shape(Decay(5.0), None, Spread(likeness)))
    for _ in range(25):
        stream.clock_us += SECOND_US // 10
        stream.add(np.repeat(stream.rows(3), 4, axis=0))
        stream.catch_up()


def test_a_selection_that_runs_out_makes_its_list_twice_as_deep_until_it_is_enough() -> None:
    stream = stream_of(Shape(group=Group("g")), k=2)
    target = stream.queries[stream.handles[0]]
    stream.add(stream.rows(20), metadata=[{"g": 1}] * 20)
    stream.add(np.repeat(target, 100, axis=0), metadata=[{"g": 0}] * 100)
    stream.catch_up()
    table = stream.window.standing.table
    assert table.depths[stream.handles[0]] == 64
    assert len(stream.answer(stream.handles[0])) == 2
    stream.move(stream.handles[0], stream.rows(1))
    assert table.depths[stream.handles[0]] < 64


def test_a_selection_that_no_list_is_deep_enough_for_is_searched_and_kept_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(renewals, "DEEPEST", 8)
    monkeypatch.setattr(renewals, "_TRIED_AGAIN", 2)
    stream = stream_of(Shape(group=Group("g")), k=2)
    handle = np.array(stream.handles)
    target = stream.queries[stream.handles[0]]
    stream.add(stream.rows(20), metadata=[{"g": 1}] * 20)
    stream.add(np.repeat(target, 100, axis=0), metadata=[{"g": 0}] * 100)
    stream.catch_up()
    are_searched = stream.window.standing.lists._renewals.are_searched
    assert are_searched(handle).all()
    assert len(stream.answer(stream.handles[0])) == 2
    for _ in range(12):
        stream.add(np.repeat(target, 2, axis=0), metadata=[{"g": 1}, {"g": 2}])
        stream.catch_up()
    assert not are_searched(handle).any()


def test_lists_that_become_deeper_are_charged_and_what_is_not_free_is_searched() -> None:
    budget = Budget("max_memory_bytes", 3_000)
    stream = stream_of(Shape(group=Group("g")), Shape(group=Group("g")), k=2)
    stream.window.standing.lists._renewals._deeper = Share(budget, "deeper lists take")
    for handle in stream.handles:
        target = stream.queries[handle]
        stream.add(np.repeat(target, 90, axis=0), metadata=[{"g": 0}] * 90)
    stream.catch_up()
    extra_bytes = sum(
        ListsByDepth.bytes_for(int(depth), is_ordered=False)
        - ListsByDepth.bytes_for(2, is_ordered=False)
        for depth in stream.window.standing.table.depths[stream.handles]
    )
    assert 0 <= budget.taken_bytes == extra_bytes <= 3_000
    assert stream.window.standing.lists._renewals.are_searched(np.array(stream.handles)).any()
    for handle in stream.handles:
        stream.remove(handle)
    assert budget.taken_bytes == 0


def test_half_a_window_of_exclusions_that_come_again_stays_out() -> None:
    shapes = [Shape(), Shape(Decay(5.0)), Shape(group=Group("g")), Shape(ranked("$score"))]
    stream = stream_of(capacity=60)
    for shape in shapes:
        excluded = stream.ids(range(0, 200, 2))
        stream.ask(stream.rows(1), StandingQuery(4, exclude=excluded, shape=shape))
    for _ in range(30):
        numbers = stream.rng.permutation(200)[:12].tolist()
        stream.add(stream.rows(12), numbers, grouped(stream, 12, 5))
        stream.catch_up()
        for handle in stream.handles:
            assert all(one % 2 for one in stream.answer(handle))


def test_an_update_that_changes_a_rank_names_the_query_and_no_other() -> None:
    stream = stream_of(Shape(ranked({"$mul": ["$score", "t"]})), Shape(ranked("$score")))
    stream.add(stream.rows(50), metadata=[{"t": 1.0}] * 50)
    stream.catch_up()
    best = stream.answer(stream.handles[0])[0]
    stream.update([best], [{"t": 1.5}])
    assert stream.window.standing.advance().changed.tolist() == [stream.handles[0]]
    stream.compare()


def test_the_base_of_keys_moves_under_lists_with_an_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_lists, "REBASE_ABOVE", 100)
    stream = stream_of(Shape(Decay(5.0)), Shape(ranked("$score")), Shape(Decay(1e-3)), capacity=40)
    for _ in range(60):
        stream.clock_us += SECOND_US
        stream.add(stream.rows(5))
        stream.catch_up()
    assert stream.window.standing.lists.base > 100


def test_plain_queries_take_no_part_in_orders() -> None:
    stream = stream_of(Shape(), Shape(Decay(1.0)))
    stream.add(stream.rows(60))
    stream.catch_up()
    plain, decayed = stream.handles
    answers = stream.window.standing.lists.answers
    assert answers(np.array([plain])).ranks is None
    both = answers(np.array([plain, decayed]))
    assert both.ranks is not None
    assert np.isnan(both.ranks[: both.counts[0]]).all()
    stream.remove(decayed)
    assert not stream.window.standing.table.shapes.nbytes
    assert stream.queries[plain].shape == (1, DIM)


def test_lists_by_rank_over_a_wide_window_are_those_of_all_rows() -> None:
    """Where bounds of the expression leave few rows to be scored."""
    documents: list[Any] = [{"$add": ["$score", {"$mul": [0.01, "g"]}]}, {"$mul": ["$score", "g"]}]
    stream = stream_of(capacity=6_000)
    stream.add(stream.rows(6_000), metadata=grouped(stream, 6_000, 9))
    for document in documents:
        query = StandingQuery(5, shape=Shape(ranked(document)), exclude=stream.ids(range(0, 99, 2)))
        stream.ask(stream.rows(1), query)
        stream.ask_many(stream.rows(3), [StandingQuery(5, shape=Shape(ranked(document)))] * 3)
    for _ in range(3):
        stream.add(stream.rows(500), metadata=grouped(stream, 500, 9))
        stream.catch_up()
        for handle in stream.handles:
            stream.delete(np.array(stream.answer(handle), np.uint64))
        stream.catch_up()


@pytest.fixture
def short_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten rows are ranked in a piece; lists are deep before none is kept."""
    monkeypatch.setattr(deep, "_PIECE_ROWS", 10)
    monkeypatch.setattr(renewals, "DEEPEST", 16)


@pytest.mark.usefixtures("short_pieces")
@pytest.mark.parametrize("shape", [Shape(ranked("$score")), Shape(group=Group("g"))])
def test_queries_begin_in_pieces_and_others_are_renewed_in_between(shape: Shape) -> None:
    """The group of all rows is one: its list becomes deeper, and then it is searched."""
    stream = stream_of(Shape(), shape, k=2)
    stream.add(stream.rows(190), metadata=[{"g": 7}] * 190)
    stream.catch_up()
    standing = stream.window.standing
    query, vector = StandingQuery(2, shape=shape), stream.rows(1)
    adding = standing.add_in_pieces([query], score.prepare(vector, "cosine"))
    pieces = 0
    while True:
        try:
            next(adding)
        except StopIteration as end:
            [handle] = end.value.tolist()
            break
        pieces += 1
        standing.lists.wait(np.array(stream.handles))
        stream.catch_up()
    assert pieces >= 190 // 10
    stream.queries[handle], stream.asked[handle] = vector, query
    stream.catch_up()


@pytest.mark.usefixtures("short_pieces")
def test_queries_that_begin_in_pieces_and_are_not_waited_for_are_gone() -> None:
    stream = stream_of(Shape())
    stream.add(stream.rows(190))
    stream.catch_up()
    standing = stream.window.standing
    before = standing.nbytes
    queries = [StandingQuery(2, shape=Shape(ranked("$score")))] * 3
    for pieces in range(1, 40, 6):
        adding = standing.add_in_pieces(queries, score.prepare(stream.rows(3), "cosine"))
        for _ in range(pieces):
            next(adding)
        assert len(standing) == 4
        adding.close()
        assert len(standing) == 1
        assert standing.nbytes == before
        stream.add(stream.rows(5))
        stream.catch_up()


@pytest.mark.usefixtures("short_pieces")
@pytest.mark.parametrize("shape", [Shape(ranked("$score")), Shape(group=Group("g"))])
def test_queries_move_in_pieces_and_others_are_renewed_in_between(shape: Shape) -> None:
    stream = stream_of(Shape(), shape, k=2)
    stream.add(stream.rows(190), metadata=[{"g": n % 7} for n in range(190)])
    stream.catch_up()
    standing, [other, handle] = stream.window.standing, stream.handles
    asked, vector = stream.asked.pop(handle), stream.rows(1)
    del stream.queries[handle]
    stream.add(stream.rows(5), metadata=[{"g": 7}] * 5)
    stream.catch_up()
    pieces = 0
    for _ in standing.move_in_pieces(np.array([handle]), score.prepare(vector, "cosine")):
        assert standing.lists.is_waiting(handle)
        pieces += 1
        standing.lists.wait(np.array([other]))
        stream.catch_up()
    assert (pieces >= 190 // 10) == (shape.order is not None)
    stream.queries[handle], stream.asked[handle] = vector, asked
    stream.shown[handle] = stream.shows(handle)
    stream.catch_up()
    stream.add(stream.rows(20), metadata=[{"g": n % 7} for n in range(20)])
    stream.catch_up()


@pytest.mark.usefixtures("short_pieces")
def test_a_query_that_ends_while_it_moves_leaves_nothing_in_the_next_one_of_its_handle() -> None:
    stream = stream_of(Shape(), Shape(ranked("$score")))
    stream.add(stream.rows(190))
    stream.catch_up()
    handle = stream.handles[1]
    moving = stream.window.standing.move_in_pieces(
        np.array([handle]), score.prepare(stream.rows(1), "cosine")
    )
    next(moving)
    stream.remove(handle)
    assert stream.ask(stream.rows(1), StandingQuery(3)) == handle
    moving.close()
    stream.add(stream.rows(20))
    stream.catch_up()
