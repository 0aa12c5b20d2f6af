"""The oracle against answers that were worked out by hand from PROTOCOL section 5."""

from __future__ import annotations

import math
import struct
from typing import Any

import pytest

from tests.filter_oracle import passes
from tests.oracle.numbers import f32, stored
from tests.oracle.shaping import Hit, Refused, counts, query_vector, search, weight_of
from tests.oracle.window import Oracle

SECOND_US = 1_000_000


def window(vectors: list[list[float]], metadata: list[dict[str, Any]] | None = None,
           metric: str = "dot", ids: str = "u64") -> Oracle:  # fmt: skip
    """A row a second, ids 1, 2, 3 …, accepted at second 1, 2, 3 …"""
    made = Oracle(100, metric, ids, passes=passes)
    for place, vector in enumerate(vectors):
        kept = metadata[place] if metadata else {}
        made.add([vector], [place + 1], [kept], (place + 1) * SECOND_US)
    return made


def ids(hits: list[Hit]) -> list[Any]:
    return [hit.id for hit in hits]


# -- the query vector -------------------------------------------------------------------------


def test_without_shape_the_order_is_by_score_then_by_seq() -> None:
    found = search(window([[1.0], [3.0], [1.0], [2.0]]), {"vector": [1.0], "k": 3})
    assert found == [Hit(2, 2, 3.0), Hit(4, 4, 2.0), Hit(3, 3, 1.0)]


def test_the_target_is_the_mean_and_what_it_differs_by_from_the_negatives() -> None:
    made = window([[2.0, 0.0], [0.0, 2.0], [1.0, 5.0]])
    fields = {"positive": [1, [0.0, 4.0]], "negative": [2, [2.0, 0.0]], "k": 10}
    # P = (1, 2), N = (1, 1), P + (P - N) = (1, 3).
    assert query_vector(made, fields) == ([1.0, 3.0], {1, 2})
    assert search(made, fields) == [Hit(3, 3, 16.0)]


def test_examples_under_cosine_are_taken_as_they_are_stored() -> None:
    made = window([[3.0, 4.0]], metric="cosine")
    target, _ = query_vector(made, {"positive": [[0.0, 5.0], [10.0, 0.0]]})
    assert target == stored("cosine", [0.5, 0.5])
    target, left_out = query_vector(made, {"positive": [1]})
    assert target == [f32(0.6), f32(0.8)]
    assert left_out == {1}


def test_an_example_that_is_not_there_is_named_by_its_place_positives_first() -> None:
    made = window([[1.0]])
    for fields, row in [
        ({"positive": [1, 7], "negative": [8]}, 1),
        ({"positive": [1], "negative": [[1.0], 8]}, 1),
    ]:
        with pytest.raises(Refused) as caught:
            query_vector(made, fields)
        assert (caught.value.code, caught.value.row) == ("not_found", row)


def test_a_target_of_nothing_is_refused_under_cosine_alone() -> None:
    fields = {"positive": [[1.0, 0.0], [-1.0, 0.0]], "k": 2}
    with pytest.raises(Refused, match="zero_norm"):
        query_vector(window([[1.0, 0.0]], metric="cosine"), fields)
    assert search(window([[1.0, 0.0]]), fields) == [Hit(1, 1, 0.0)]


def test_excluded_ids_and_examples_stay_out_after_a_replacement() -> None:
    made = window([[1.0], [2.0], [3.0]])
    made.add([[9.0]], [2], [{}], 4 * SECOND_US)
    assert ids(search(made, {"vector": [1.0], "exclude": [2, 55]})) == [3, 1]
    assert ids(search(made, {"positive": [2, [1.0]]})) == [3, 1]


# -- the order --------------------------------------------------------------------------------


def test_a_decayed_order_is_by_log2_of_the_score_and_the_age_in_half_lives() -> None:
    # Scores 8, 4, 4, 1 at seconds 1 to 4; the half-life is 2 s.
    made = window([[8.0], [4.0], [4.0], [1.0]])
    found = search(made, {"vector": [1.0], "decay": {"half_life": 2}}, at=4.0)
    assert found == [
        Hit(3, 3, 4.0, 2 + 1.5, f32(2**-0.5)),
        Hit(1, 1, 8.0, 3 + 0.5, f32(2**-1.5)),
        Hit(2, 2, 4.0, 2 + 1.0, 0.5),
        Hit(4, 4, 1.0, 0 + 2.0, 1.0),
    ]


def test_rows_without_a_rank_come_last_by_score_then_seq() -> None:
    made = window(
        [[-1.0], [0.0], [5.0], [6.0], [0.0], [1.0]],
        [{"t": 9.0}, {"t": 9.0}, {}, {"t": None}, {"t": 9.0}, {"t": -4.0}],
    )
    found = search(made, {"vector": [1.0], "decay": {"half_life": 2, "column": "t"}}, at=9.0)
    assert found == [
        Hit(6, 6, 1.0, -2.0, f32(2**-6.5)),
        Hit(4, 4, 6.0),
        Hit(3, 3, 5.0),
        Hit(5, 5, 0.0, None, 1.0),
        Hit(2, 2, 0.0, None, 1.0),
        Hit(1, 1, -1.0, None, 1.0),
    ]


def test_a_rank_that_is_not_finite_is_none() -> None:
    made = window([[1.0], [1.0]], [{"t": 1e308}, {"t": 1.0}])
    found = search(made, {"vector": [1.0], "decay": {"half_life": 0.001, "column": "t"}}, at=0.0)
    assert [(hit.id, hit.rank) for hit in found] == [(2, 1000.0), (1, None)]
    assert found[1].weight == struct.unpack("<f", b"\xff\xff\x7f\x7f")[0]


def test_weights_are_finite_float32() -> None:
    assert weight_of(10.0, 10.0, 5.0) == 1.0
    assert weight_of(10.0, 0.0, 5.0) == 4.0
    assert weight_of(1e12, 0.0, 1e-3) == 3.4028234663852886e38
    assert weight_of(-1e12, 0.0, 1e-3) == 0.0
    assert weight_of(-149.0, 0.0, 1.0) == 2.0**-149
    assert weight_of(-1e308, 1e308, 1e-3) == 0.0


def test_min_score_applies_to_the_score_alone() -> None:
    made = window([[1.0], [0.5], [3.0]])
    fields = {"vector": [1.0], "min_score": 1, "decay": {"half_life": 1}}
    assert ids(search(made, fields, at=3.0)) == [3, 1]


def test_a_rank_is_followed_by_score_then_seq_and_null_is_left_out() -> None:
    made = window(
        [[1.0], [2.0], [2.0], [4.0], [5.0]],
        [{"p": 1.0}, {"p": 1.0}, {"p": 1.0}, {}, {"p": 0.0}],
    )
    found = search(made, {"vector": [1.0], "rank": {"$div": [1, "p"]}})
    assert found == [Hit(3, 3, 2.0, 1.0), Hit(2, 2, 2.0, 1.0), Hit(1, 1, 1.0, 1.0)]


def test_the_age_counts_to_at() -> None:
    made = window([[1.0], [1.0]])
    found = search(made, {"vector": [1.0], "rank": {"$neg": "$age"}}, at=5.0)
    assert [(hit.id, hit.rank) for hit in found] == [(2, -3.0), (1, -4.0)]


# -- the selection ----------------------------------------------------------------------------


def test_a_group_lets_that_many_of_each_value_through_and_null_is_a_value() -> None:
    kinds: list[dict[str, Any]] = [
        {"c": "a"}, {"c": None}, {"c": "b"}, {}, {"c": "a"}, {"c": None}, {"c": "b"},
    ]  # fmt: skip
    made = window([[float(8 - n)] for n in range(7)], kinds)
    fields = {"vector": [1.0], "k": 10}
    assert ids(search(made, {**fields, "group": {"by": "c"}})) == [1, 2, 3]
    assert ids(search(made, {**fields, "group": {"by": "c", "size": 2}})) == [1, 2, 3, 4, 5, 7]
    assert ids(search(made, {**fields, "k": 2, "group": {"by": "c"}})) == [1, 2]


def test_zero_and_minus_zero_are_one_group() -> None:
    made = window([[2.0], [1.0]], [{"c": 0.0}, {"c": -0.0}])
    assert ids(search(made, {"vector": [1.0], "group": {"by": "c"}})) == [1]


def test_a_spread_skips_what_is_too_like_a_row_already_taken() -> None:
    made = window([[5.0, 0.0], [4.0, 1.0], [3.0, 9.0], [0.0, 1.0]], metric="l2")
    fields = {"vector": [5.0, 0.0], "k": 4}
    # From the first: -2, -85, -26; from the third, to the fourth: -73.
    assert ids(search(made, {**fields, "spread": {"max_similarity": -2}})) == [1, 4, 3]
    assert ids(search(made, {**fields, "spread": {"max_similarity": -1.999}})) == [1, 2, 4, 3]
    assert ids(search(made, {**fields, "spread": {"max_similarity": -30}})) == [1, 3]


def test_a_skipped_row_keeps_nobody_out() -> None:
    """2 is skipped for its group, so 3, which is like it, may be taken."""
    made = window(
        [[3.0, 0.0], [0.0, 2.0], [0.0, 2.5]], [{"c": "a"}, {"c": "a"}, {"c": "b"}], metric="dot"
    )
    fields = {"vector": [1.0, 0.25], "spread": {"max_similarity": 4}}
    assert ids(search(made, fields)) == [1, 3]
    assert ids(search(made, {**fields, "group": {"by": "c"}})) == [1, 3]
    made.update([2], [{"c": "c"}], 9 * SECOND_US)
    assert ids(search(made, {**fields, "vector": [1.0, 1.0], "group": {"by": "c"}})) == [1, 3]


def test_mmr_by_hand() -> None:
    """Query (4, 1): scores 16, 13, 4, 1. With w = 1/2 the first taken is 1.

    Then: 2: 13/2 - 12/2 = 0.5; 3: 4/2 - 0 = 2; 4: 1/2 - 4/2 = -1.5. So 3, although 2 is better.
    Then: 2: 13/2 - max(12, 4)/2 = 0.5; 4: 1/2 - max(4, 12)/2 = -5.5. So 2, and 4 comes last.
    """
    made = window([[4.0, 0.0], [3.0, 1.0], [0.0, 4.0], [1.0, -3.0]])
    fields = {"vector": [4.0, 1.0], "k": 3, "mmr": {"lambda": 0.5}}
    assert search(made, fields) == [Hit(1, 1, 16.0), Hit(3, 3, 4.0), Hit(2, 2, 13.0)]
    assert ids(search(made, {**fields, "k": 2, "mmr": {"lambda": 0.5, "candidates": 2}})) == [1, 2]
    assert ids(search(made, {**fields, "mmr": {"lambda": 1}})) == [1, 2, 3]


def test_mmr_takes_the_earlier_of_two_that_are_as_good() -> None:
    made = window([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    fields = {"vector": [1.0, 1.0], "k": 3, "mmr": {"lambda": 1}}
    assert ids(search(made, fields)) == [3, 2, 1]
    assert ids(search(made, {**fields, "mmr": {"lambda": 0}})) == [3, 2, 1]


def test_mmr_chooses_among_what_its_group_lets_through() -> None:
    made = window([[4.0], [3.0], [2.0], [1.0]], [{"c": 1}, {"c": 1}, {"c": 2}, {"c": 3}])
    fields = {"vector": [1.0], "k": 2, "group": {"by": "c"}}
    # Candidates 1 and 3; with w = 0 the second is what is left of them.
    assert ids(search(made, {**fields, "mmr": {"lambda": 0, "candidates": 2}})) == [1, 3]
    assert ids(search(made, {**fields, "mmr": {"lambda": 0, "candidates": 3}})) == [1, 4]


def test_candidates_are_ten_times_k_but_no_more_than_max_k() -> None:
    made = window([[float(20 - n), 0.0] for n in range(12)])
    fields = {"vector": [1.0, 0.0], "k": 2, "mmr": {"lambda": 0}}
    assert ids(search(made, {**fields, "k": 1})) == [1]
    assert ids(search(made, fields, max_k=4)) == [1, 4]
    assert ids(search(made, fields)) == [1, 12]


# -- counting ---------------------------------------------------------------------------------


def test_counts_are_by_count_then_by_value_null_last() -> None:
    def by(values: list[Any], limit: int = 100) -> Any:
        made = window([[1.0]] * len(values), [{"c": value} for value in values])
        return counts(made, "c", limit)

    assert by([None, "b", "a", "𝄞", "\uffff"])[0] == [
        ("a", 1), ("b", 1), ("\uffff", 1), ("𝄞", 1), (None, 1),
    ]  # fmt: skip
    assert by([None, None, 2.0, -1.0, 10.0]) == ([(None, 2), (-1.0, 1), (2.0, 1), (10.0, 1)], 0)
    assert by([True, False, None]) == ([(False, 1), (True, 1), (None, 1)], 0)
    assert by([3, 3, 3, 1, 1, 2], 1) == ([(3, 3)], 3)


def test_what_is_counted_passes_the_filter() -> None:
    made = window([[1.0]] * 4, [{"c": 1}, {"c": 2}, {"c": 2}, {}])
    assert counts(made, "c", document={"c": {"$ne": 1}}) == ([(2, 2), (None, 1)], 0)
    assert math.isclose(sum(count for _, count in counts(made, "c")[0]), 4)
