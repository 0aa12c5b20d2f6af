"""Reading an order deep: all rows come out sorted, whatever the pieces that they come in."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omendb_core.model.errors import OmenError
from omendb_core.model.types import Hits, Metric
from omendb_core.ranking import costs, orders
from omendb_core.ranking.rank_parser import expression_of
from omendb_core.ranking.shape import Decay, Group, Mmr, Order, Rank, Shape, Spread
from omendb_core.search import deep, shaped
from omendb_core.search.query import Query
from omendb_core.search.search import search_in_pieces
from omendb_core.window import Window

from tests.examples import examples

from .test_shaped import AT, COLUMNS, filled

ORDERS: list[Order | None] = [
    None,
    Decay(3.0),
    Decay(0.7, "price"),
    Rank(expression_of("price", COLUMNS)),
    Rank(expression_of({"$mul": ["$score", "$age"]}, COLUMNS)),
    Rank(expression_of(1, COLUMNS)),
]


def make_small(patch: pytest.MonkeyPatch) -> None:
    """A piece has a few rows, so that a few dozen make many."""
    patch.setattr(deep, "_PIECE_ROWS", 7)
    patch.setattr(deep, "_FIRST_SORTED_ROWS", 2)
    patch.setattr(deep, "_MOST_SORTED_ROWS", 5)
    patch.setattr(deep, "_SAMPLE_ROWS", 4)
    patch.setattr(shaped, "_LEAST_SCANNED", 4)
    patch.setattr(shaped, "_MOST_SCANNED", 4)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small pieces for a test."""
    make_small(monkeypatch)


def parted(levels: list[Any], count: int) -> list[int]:
    """Places as they come out."""
    found = deep._descending(levels, count)
    return [place for some in found if some is not None for place in some.tolist()]


@settings(deadline=None, max_examples=examples(200), derandomize=True)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), max_size=90), st.data())
def test_places_come_out_best_first_however_they_are_parted(
    rows: list[tuple[int, int]], data: st.DataObject
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        make_small(patch)
        seqs = np.array(data.draw(st.permutations(range(len(rows)))), np.uint64)
        levels = [
            np.array([one for one, _ in rows], np.float64),
            np.array([other for _, other in rows], np.float32),
            seqs,
        ]
        assert parted(levels, len(rows)) == np.lexsort(levels[::-1])[::-1].tolist()


def test_infinities_and_equal_values_are_parted_too(small: None) -> None:
    values = np.array([-np.inf, np.inf, 0.0, -0.0] * 20)
    seqs = np.arange(80, dtype=np.uint64)
    assert parted([values, seqs], 80) == np.lexsort((seqs, values))[::-1].tolist()
    assert parted([np.zeros(80), seqs], 80) == list(range(79, -1, -1))
    assert parted([seqs], 80) == list(range(79, -1, -1))


def whole(window: Window, query: Query) -> Hits:
    (answer,) = window.search([query])
    assert not isinstance(answer, OmenError)
    return answer.hits


@pytest.mark.parametrize("metric", ["dot", "cosine", "l2"])
@pytest.mark.parametrize("order", ORDERS, ids=str)
def test_a_deep_answer_is_the_sorted_rows(small: None, metric: Metric, order: Order | None) -> None:
    window = filled(metric, 120, seed=5)
    state = window.state
    vector = np.array([[1, 2, -1]], np.float32)
    query = Query(vector, k=64, shape=Shape(order, Group("kind", 64)), at=AT)
    hits = whole(window, query)
    slots = state.ring.live_slots(state.first_seq, state.last_seq)
    prepared = vector if metric != "cosine" else vector / np.float32(np.sqrt(6))
    plain = whole(window, Query(prepared, k=64))
    assert plain.scores is not None
    by_seq = dict(zip(plain.seqs.tolist(), plain.scores.tolist(), strict=True))
    seqs = state.ring.seqs(slots)
    scores = np.array([by_seq[seq] for seq in seqs.tolist()], np.float32)
    ranks = None if order is None else orders.ranks(order, state, slots, scores, AT)
    expected = seqs[orders.in_order(order, ranks, scores, seqs)]
    assert hits.seqs.tolist() == expected.tolist()
    if ranks is not None:
        assert hits.ranks is not None
        by_rank = dict(zip(seqs.tolist(), ranks.tolist(), strict=True))
        wanted = np.array([by_rank[seq] for seq in hits.seqs.tolist()])
        assert hits.ranks.tobytes() == wanted.tobytes()


@pytest.mark.parametrize("order", ORDERS, ids=str)
@pytest.mark.parametrize(
    "selection",
    [
        {},
        {"group": Group("kind", 2)},
        {"spread": Spread(1.5)},
        {"group": Group("price"), "spread": Spread(2.5)},
        {"mmr": Mmr(0.5, 40)},
        {"group": Group("stock"), "mmr": Mmr(0.3, 30)},
    ],
    ids=str,
)
def test_pieces_change_nothing(order: Order | None, selection: dict[str, Any]) -> None:
    window = filled("dot", 120, seed=9)
    vectors = np.array([[1, 2, -1], [0, -1, 1], [-2, 0, 0]], np.float32)
    query = Query(
        vectors, k=12, shape=Shape(order, **selection), at=AT, exclude=np.array([3, 9], np.uint64)
    )
    at_once = whole(window, query)
    with pytest.MonkeyPatch.context() as patch:
        make_small(patch)
        steps = search_in_pieces(window.state, query)
        pieces = 0
        while True:
            try:
                next(steps)
                pieces += 1
            except StopIteration as end:
                hits = end.value.hits
                break
    # Without a selection the scan answers at once.
    assert pieces > 3 or (not query.shape.selects and not isinstance(order, Rank))
    assert hits.seqs.tolist() == at_once.seqs.tolist()
    assert hits.scores.tobytes() == at_once.scores.tobytes()  # type: ignore[union-attr]
    if at_once.ranks is not None:
        assert hits.ranks.tobytes() == at_once.ranks.tobytes()


def test_the_longer_an_expression_takes_the_fewer_rows_are_ranked_in_a_piece(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    window = filled("dot", 120, seed=9)
    light = expression_of("price", COLUMNS)
    heavy = expression_of({"$add": [{"$pow": ["$score", "price"]}] * 16}, COLUMNS)
    monkeypatch.setattr(deep, "_PIECE_NS", 20 * costs.ns_a_row(heavy))
    ranked, pieces = deep.ranked, []

    def noted(*arguments: Any) -> Any:
        pieces.append(len(arguments[4]))
        return ranked(*arguments)

    monkeypatch.setattr(deep, "ranked", noted)
    for expression, most in ((light, window.rows), (heavy, 20)):
        pieces.clear()
        whole(window, Query(np.ones((1, 3), np.float32), k=5, shape=Shape(Rank(expression)), at=AT))
        assert max(pieces) == most
        assert sum(pieces) == window.rows
