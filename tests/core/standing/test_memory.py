"""What standing queries are said to take is what they take, and it goes when they go."""

from __future__ import annotations

import gc
import tracemalloc

import numpy as np
import pytest
from omendb_core.filters.parser import parse
from omendb_core.model.types import Definition
from omendb_core.ranking.rank_parser import expression_of
from omendb_core.ranking.shape import Decay, Group, Rank, Shape, Spread
from omendb_core.standing.table import StandingQuery
from omendb_core.window import Window

DIM = 16
#: Queries that there is room for with the first: 16 in tables and lists, 64 in the shadow.
LEAST = 32


def window() -> Window:
    return Window(Definition(DIM, 100, "dot"))


def queries(k: int | None, count: int) -> list[StandingQuery]:
    return [StandingQuery(k, None, 0.0)] * count


@pytest.mark.parametrize("k", [None, 1, 3, 10, 100, 1000])
@pytest.mark.parametrize("count", [1, 16, 17, 500, 1025])
def test_queries_take_what_they_are_said_to_take(k: int | None, count: int) -> None:
    if (k or 1) * count > 200_000:
        count = 200
    first, held = window(), window()
    first.standing.add(queries(k, 1), np.ones((1, DIM), np.float32))  # numpy imports lazily
    standing = held.standing
    gc.collect()
    tracemalloc.start()
    handles = standing.add(queries(k, count), np.ones((count, DIM), np.float32))
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    said = standing.bytes_for(k) * count
    spare = standing.bytes_for(k) * LEAST
    assert 0.9 * said <= standing.nbytes <= 2.1 * said + spare
    # Nothing else grows with them but a few hundred bytes of ours, and what the kernel keeps.
    assert taken <= standing.nbytes + 64 * count + (1 << 20)
    standing.remove(handles.tolist())
    assert standing.nbytes == 0
    assert len(standing) == 0


def ranked(values: int) -> StandingQuery:
    listed = [n + 0.5 for n in range(values)]
    document = {"$if": [{"a": {"$in": listed}}, "$score", {"$mul": ["a", {"$exp": "a"}]}]}
    rank = Rank(expression_of(document, {"a": "f64"}, live=True))
    return StandingQuery(3, shape=Shape(rank))


def test_expressions_take_what_they_are_said_to_take() -> None:
    """Each query has one of its own, as each was parsed for itself."""
    held = Window(Definition(DIM, 100, "dot", columns={"a": "f64"}))
    standing, count = held.standing, 60
    standing.remove(standing.add([ranked(3)], np.ones((1, DIM), np.float32)).tolist())
    gc.collect()
    tracemalloc.start()
    asked = [ranked(1000 - number) for number in range(count)]
    handles = standing.add(asked, np.ones((count, DIM), np.float32)).tolist()
    said = sum(standing.bytes_for(3, query.shape) for query in asked)
    del asked
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert said > count * 30_000
    assert 0.9 * said <= standing.nbytes <= 1.1 * said + 50_000
    assert 0.7 * taken <= standing.nbytes
    standing.remove(handles)
    assert standing.nbytes == 0


SHAPES = [
    Shape(Decay(5.0)),
    Shape(Rank(expression_of({"$mul": ["$score", "a"]}, {"a": "f64"}, live=True))),
    Shape(None, Group("a"), Spread(0.5)),
]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("excluded", [0, 1, 1000])
@pytest.mark.parametrize("k", [1, 10, 100])
def test_shapes_and_exclusions_take_what_they_are_said_to_take(
    shape: Shape, excluded: int, k: int
) -> None:
    count = 200
    first, held = (Window(Definition(DIM, 100, "dot", columns={"a": "f64"})) for _ in range(2))
    exclude = np.arange(excluded, dtype=np.uint64)
    asked = StandingQuery(k, None, 0.0, exclude=exclude, shape=shape)
    first.standing.add([asked], np.ones((1, DIM), np.float32))  # numpy imports lazily
    standing = held.standing
    gc.collect()
    tracemalloc.start()
    handles = standing.add([asked] * count, np.ones((count, DIM), np.float32))
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    each_bytes = standing.bytes_for(k, shape, exclude)
    said = each_bytes * count
    assert each_bytes > standing.bytes_for(k)
    # An id excluded may take twice what it does here, before tables shrink.
    assert 0.4 * said <= standing.nbytes <= 2.1 * said + each_bytes * LEAST
    assert taken <= standing.nbytes + 64 * count + (1 << 20)
    standing.remove(handles.tolist())
    assert standing.nbytes == 0


def test_memory_does_not_add_up_over_sizes_that_came_and_went() -> None:
    held = window()
    standing = held.standing
    stays = standing.add(queries(2, 3), np.ones((3, DIM), np.float32)).tolist()
    least = standing.nbytes
    for k in (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000):
        handles = standing.add(queries(k, 200), np.ones((200, DIM), np.float32)).tolist()
        assert standing.nbytes <= 2.5 * 200 * standing.bytes_for(k) + 400_000
        standing.remove(handles)
    # The table, and lists of k = 2, keep the places of those that were there beside the rest.
    assert standing.nbytes <= least + 2.5 * 200 * standing.bytes_for(2)
    assert standing.lists.answers(np.array(stays))[0] == [0, 0, 0]
    standing.remove(stays)
    assert standing.nbytes == 0


def test_lists_that_went_come_again_with_nothing_of_the_old_ones() -> None:
    held = Window(Definition(DIM, 100, "dot", columns={"a": "f64"}))
    standing = held.standing
    filter_ = parse({"a": 1}, {"a": "f64"})
    for _ in range(3):
        made = standing.add(
            [StandingQuery(4, filter_), StandingQuery(4), StandingQuery(None, None, 0.0)],
            np.ones((3, DIM), np.float32),
        ).tolist()
        assert sorted(made) == [0, 1, 2]
        assert len(standing.table.distinct_filters.by_number) == 1
        standing.check()
        standing.remove(made[:2])
        standing.check()
        standing.remove(made[2:])
        assert not standing.table.distinct_filters.by_number
