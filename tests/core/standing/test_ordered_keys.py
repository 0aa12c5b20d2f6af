"""Keys by rank sort as ``ranking.orders`` does, and give back what they were made of."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from omendb_core.model.types import Bool1
from omendb_core.ranking import orders
from omendb_core.ranking.shape import Decay, Rank
from omendb_core.ranking.tree import Expression, Score
from omendb_core.standing import ordered_keys as keys

MOST = 2**keys.OFFSET_BITS - 1
FLOATS = [0.0, 1e-45, 1e-38, 0.5, 1.0, 3.4e38, -1e-45, -0.5, -3.4e38]
RANKS = [np.nan, 0.0, 5e-324, -5e-324, 1.5, -1.5, 1.7e308, -1.7e308]
rows = st.lists(
    st.tuples(
        st.sampled_from(RANKS),
        st.sampled_from(FLOATS),
        st.one_of(st.integers(1, 3), st.integers(1, MOST), st.just(MOST)),
    ),
    min_size=1,
    max_size=30,
    unique_by=lambda row: row[2],
)


@pytest.mark.parametrize("decays", [False, True])
@given(drawn=rows)
def test_keys_sort_as_answers_do_and_give_back_what_they_are_of(
    decays: bool, drawn: list[tuple[float, float, int]]
) -> None:
    ranks = np.array([row[0] for row in drawn])
    scores = np.array([row[1] for row in drawn], np.float32)
    offsets = np.array([row[2] for row in drawn], np.uint64)
    of_decay: Bool1 = np.full(len(drawn), decays)
    made = keys.encode(ranks, scores, offsets, of_decay)
    assert keys.ranks_of(made).tobytes() == ranks.tobytes()
    assert keys.scores_of(made).tobytes() == scores.tobytes()
    assert keys.offsets_of(made).tolist() == offsets.tolist()
    order = Decay(1.0) if decays else Rank(Expression(Score(), "$score", frozenset(), False))
    best_first = orders.in_order(order, ranks, scores, offsets)
    by_key = np.argsort(made, kind="stable")[::-1]
    assert by_key[: len(best_first)].tolist() == best_first.tolist()  # null goes last, or not in
    assert not np.isnan(made.imag).any()
    assert (np.abs(made.imag) >= np.finfo(np.float64).tiny).all()
    assert keys.are_above(made, np.full(len(made), keys.NO_ROW)).all()
    for one in made:
        assert keys.are_above(made, np.full(len(made), one)).tolist() == (made > one).tolist()


@pytest.mark.parametrize("decays", [False, True])
def test_a_base_that_moves_up_moves_offsets_down_and_no_further_than_to_0(decays: bool) -> None:
    ranks, scores = np.array([2.0, np.nan, 1.0]), np.array([0.5, -1.0, 2.0], np.float32)
    offsets = np.array([5, MOST, 100], np.uint64)
    made = keys.encode(ranks, scores, offsets, np.full(3, decays))
    moved = keys.rebased(np.append(made, keys.NO_ROW), 60)
    assert moved[3] == keys.NO_ROW
    assert keys.offsets_of(moved[:3]).tolist() == [0, MOST - 60, 40]
    assert keys.ranks_of(moved[:3]).tobytes() == ranks.tobytes()
    assert keys.scores_of(moved[:3]).tobytes() == scores.tobytes()
