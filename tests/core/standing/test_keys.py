"""Keys sort as answers do, and give back what went in."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from omendb_core.standing import keys

numbers = st.floats(width=32, allow_nan=False).map(lambda x: x + 0.0)
rows = st.lists(st.tuples(numbers, st.integers(0, 2**32 - 1)), min_size=1, max_size=40)


def encoded(pairs: list[tuple[float, int]]) -> np.ndarray:
    scores = np.array([score for score, _ in pairs], np.float32)
    return keys.encode(scores, np.array([offset for _, offset in pairs], np.uint64))


@settings(deadline=None, derandomize=True)
@given(rows)
def test_keys_sort_by_score_then_offset(pairs: list[tuple[float, int]]) -> None:
    by_key = [pairs[i] for i in np.argsort(encoded(pairs), kind="stable")]
    assert by_key == sorted(pairs)


@settings(deadline=None, derandomize=True)
@given(rows)
def test_keys_give_back_scores_and_offsets_to_the_bit(pairs: list[tuple[float, int]]) -> None:
    made = encoded(pairs)
    scores = np.array([score for score, _ in pairs], np.float32)
    assert keys.scores_of(made).tobytes() == scores.tobytes()
    assert keys.offsets_of(made).tolist() == [offset for _, offset in pairs]
    assert (made > keys.NO_ROW).all()


def test_a_new_base_keeps_scores_and_order_and_leaves_no_row_alone() -> None:
    made = np.append(encoded([(1.5, 100), (-2.0, 101), (0.0, 7)]), keys.NO_ROW)
    moved = keys.rebased(made, 50)
    assert keys.offsets_of(moved).tolist() == [50, 51, 0, 0]
    assert keys.scores_of(moved[:3]).tolist() == [1.5, -2.0, 0.0]
    assert moved[3] == keys.NO_ROW
    assert np.argsort(moved).tolist() == np.argsort(made).tolist()
