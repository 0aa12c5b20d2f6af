"""Bounds of values where scores are within bounds, and the scores that may lift a row to a rank."""

from __future__ import annotations

from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omendb_core.model.types import F32, F64, Metric
from omendb_core.ranking.bounds import SCORES, Batch, Bounds, Within, _ordinals, _scores, reach
from omendb_core.ranking.evaluation import values
from omendb_core.ranking.rank_parser import expression_of

from tests.core.ranking.expressions import (
    COLUMNS,
    bits,
    columns_of,
    expressions,
    rows_of,
    score_of,
)
from tests.examples import examples

SAMPLES = 12
ROWS = 6


def values_of(document: Any, rows: list[dict[str, Any]], of_scores: F32) -> F64:
    """The values of each of ``rows`` for each score, (rows, n)."""
    columns, slots = columns_of(rows)
    n = len(of_scores)
    found = values(
        expression_of(document, COLUMNS),
        np.tile(of_scores, len(rows)),
        columns,
        slots.repeat(n),
        None,
    )
    return found.reshape(len(rows), n)


def check(document: Any, rows: list[dict[str, Any]], pairs: list[list[float]]) -> Within:
    """Bounds for rows whose scores lie between each of ``pairs``.

    Fails if a value for a row and a score between is not within them.
    """
    columns, slots = columns_of(rows)
    ends = np.array(pairs, np.float32)
    bounds = Bounds(expression_of(document, COLUMNS), Batch(columns, slots))
    found = bounds.of(Within(*ends.T.astype(np.float64)))
    with np.errstate(all="ignore"):
        lower, upper = (np.broadcast_to(one, len(pairs)) for one in (found.least, found.most))
    for place, pair in enumerate(ends):
        inside = values_of(document, rows, between(*pair))
        null = np.isnan(inside)
        if np.isnan(upper[place]) or upper[place] == -np.inf or lower[place] == np.inf:
            assert null.all()
        else:
            assert (null | ((lower[place] <= inside) & (inside <= upper[place]))).all()
    return Within(np.where(np.isnan(upper), np.nan, lower), upper)


def of_row(document: Any, row: dict[str, Any]) -> tuple[float, float]:
    """Bounds for a row with a score from 0 to 1."""
    lower, upper = check(document, [row], [[0.0, 1.0]])
    return float(lower[0]), float(upper[0])


def between(least: np.float32, most: np.float32) -> F32:
    """Scores from ``least`` to ``most``: both, their neighbours, what is special, some others."""
    ends = np.array([least, most])
    spread = np.linspace(*ends.astype(np.float64), SAMPLES).astype(np.float32)
    special = np.array([0, 1, -1, 2, -3, 1e-45], np.float32)
    some = np.concatenate([ends, np.nextafter(ends, ends[::-1]), spread, special])
    return np.clip(some, least, most) + np.float32(0)


@settings(max_examples=examples(1000), deadline=None, derandomize=True)
@given(expressions(("$score",)), st.integers(0, 2**32), st.integers(1, ROWS))
def test_no_value_is_outside_of_its_bounds(document: Any, seed: int, count: int) -> None:
    random = Random(seed)
    pairs = [sorted((score_of(random), score_of(random))) for _ in range(8)]
    pairs += [[one, one] for one, _ in pairs[:2]]
    check(document, rows_of(random, count), pairs)


@pytest.mark.parametrize(
    ("document", "least", "most"),
    [
        ({"$mul": ["$score", {"$div": [1, 0]}]}, -1.0, 1.0),
        ({"$max": [0, {"$min": [1, {"$mul": ["$score", {"$div": [1, 0]}]}]}]}, -1.0, 1.0),
        ({"$div": [{"$mul": ["$score", 1e308]}, {"$mul": ["$score", 1e308]}]}, 1.0, 100.0),
        ({"$pow": ["$score", 2]}, -1.0, 2.0),
        ({"$pow": ["$score", 3]}, -2.0, -1.0),
        ({"$pow": ["$score", -3]}, -2.0, 1.0),
        ({"$exp": {"$pow": [-0.0, "$score"]}}, -1.0, 0.0),
        ({"$exp": {"$pow": [{"$mul": [-0.0, "$score"]}, -1]}}, 0.0, 1.0),
        ({"$pow": ["$score", "$score"]}, 0.0, 1.0),
        ({"$pow": ["$score", "$score"]}, -3.0, 1.0),
        ({"$pow": [{"$div": [1, "$score"]}, {"$log": "$score"}]}, 0.0, 1.0),
        ({"$exp": {"$mul": ["$score", 8.01]}}, 88.0, 89.0),
        ({"$sqrt": {"$sub": ["$score", 1]}}, 0.0, 2.0),
        ({"$div": [1, {"$exp": {"$neg": "$score"}}]}, 0.1, 0.1),
        ({"$div": [1, {"$neg": "$score"}]}, 0.0, 0.0),
        ({"$sub": [{"$div": [1, "$score"]}, {"$div": [1, "$score"]}]}, 0.0, 1.0),
    ],
)
def test_nor_where_operations_have_no_result_or_an_infinite_one(
    document: Any, least: float, most: float
) -> None:
    check(document, [{}], [[least, most]])


@pytest.mark.parametrize(
    ("document", "row", "least", "most"),
    [
        ({"$add": ["$score", 1]}, {}, 1.0, 2.0),
        ({"$sub": [1, "$score"]}, {}, 0.0, 1.0),
        ({"$mul": ["$score", "price"]}, {"price": -2.0}, -2.0, 0.0),
        ({"$mul": ["$score", {"$default": ["price", 2]}]}, {}, 0.0, 2.0),
        ({"$min": ["$score", 0.5]}, {}, 0.0, 0.5),
        ({"$max": ["$score", 0.5]}, {}, 0.5, 1.0),
        ({"$neg": "$score"}, {}, -1.0, 0.0),
        ({"$sqrt": "$score"}, {}, 0.0, 1.0),
        ({"$if": [{"new": True}, "$score", 7]}, {"new": True}, 0.0, 1.0),
        ({"$if": [{"new": True}, "$score", 7]}, {"new": False}, 7.0, 7.0),
        ({"$div": [1, {"$add": ["$score", 1]}]}, {}, 0.5, 1.0),
    ],
)
def test_bounds_are_tight_where_the_score_stands_once(
    document: Any, row: Any, least: float, most: float
) -> None:
    """Of scores from 0 to 1."""
    lower, upper = of_row(document, row)
    assert (lower, upper) == (least, most)


@pytest.mark.parametrize("document", [{"$exp": "$score"}, {"$pow": [2, "$score"]}])
def test_functions_widen_bounds_by_no_more_than_their_error(document: Any) -> None:
    lower, upper = of_row(document, {})
    found = values_of(document, [{}], np.array([0, 1], np.float32))[0].tolist()
    assert lower < min(found) <= lower * (1 + 2**-48)
    assert upper > max(found) >= upper * (1 - 2**-48)


def test_bounds_are_of_all_rows_together() -> None:
    rows: list[dict[str, Any]] = [{"price": 1.0, "new": True}, {"price": 3.0, "new": False}, {}]
    for document, least, most in (
        ("price", 1.0, 3.0),
        ({"$default": ["price", -7]}, -7.0, 3.0),
        ({"$mul": ["$score", "price"]}, 0.0, 3.0),
        ({"$if": [{"new": True}, "$score", 5]}, 0.0, 5.0),
        ({"$if": [{"new": True}, "1.5", 5]}, 5.0, 5.0),
        ({"$if": [{"price": {"$lt": 9}}, 2, 5]}, 2.0, 5.0),
        ({"$if": [{"price": {"$gt": 9}}, 2, "$score"]}, 0.0, 1.0),
        ({"$if": [{}, 2, "$score"]}, 2.0, 2.0),
    ):
        lower, upper = check(document, rows, [[0.0, 1.0]])
        assert (float(lower[0]), float(upper[0])) == (least, most), document


def test_rows_that_are_null_for_certain_have_no_bounds() -> None:
    for document in (
        "price",
        {"$mul": ["$score", "price"]},
        {"$pow": ["price", "$score"]},
        {"$log": {"$sub": ["$score", 2]}},
        {"$sqrt": {"$sub": ["$score", 2]}},
        {"$if": [{"new": True}, 1, "price"]},
    ):
        assert np.isnan(of_row(document, {})).all(), document
    assert of_row({"$sqrt": {"$sub": ["$score", 0.75]}}, {}) == (0.0, 0.5)


# -- the reach --------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", SCORES)
@settings(max_examples=examples(150), deadline=None, derandomize=True)
@given(expressions(("$score",)), st.integers(0, 2**32))
def test_no_score_below_the_reach_lifts_a_row_to_the_floor(
    metric: Metric, document: Any, seed: int
) -> None:
    random = Random(seed)
    rows = rows_of(random, random.randint(1, ROWS))
    columns, slots = columns_of(rows)
    some = np.array([score_of(random) for _ in range(40)], np.float32)
    some = np.clip(some, *SCORES[metric]).astype(np.float32)
    inside = values_of(document, rows, some)
    floors = np.array([-np.inf, *inside.ravel()[:12], -1.0, 0.0, 0.5, 2.0, 1e9])
    floors = floors[~np.isnan(floors)]
    found = reach(expression_of(document, COLUMNS), floors, Batch(columns, slots), metric)
    assert found.dtype == np.float32
    for floor, least in zip(floors, found, strict=True):
        assert not (inside[:, some < least] >= floor).any()


@pytest.mark.parametrize(
    ("document", "floor", "expected"),
    [
        ("$score", 0.5, 0.5),
        ({"$add": ["$score", {"$mul": [0.1, "price"]}]}, 0.9, 0.6),
        ({"$mul": ["$score", "price"]}, 1.5, 0.5),
        ({"$mul": ["$score", {"$exp": {"$neg": "price"}}]}, np.exp(-2), np.exp(-1)),
        ({"$max": ["$score", 0.3]}, 0.2, -np.inf),
        ({"$max": ["$score", 0.3]}, 0.4, 0.4),
        ({"$neg": "$score"}, 0.5, -np.inf),
        ({"$min": ["$score", 0.3]}, 0.4, np.inf),
        ({"$log": "$score"}, -1.0, np.exp(-1)),
        ({"$log": "$score"}, -np.inf, -np.inf),
        ("stock", 0.0, np.inf),
        ("price", 2.0, -np.inf),
        ({"$if": [{"price": {"$gt": 2}}, "$score", 0]}, 0.25, 0.25),
    ],
)
def test_the_reach_is_close_where_the_value_rises_with_the_score(
    document: Any, floor: float, expected: float
) -> None:
    columns, slots = columns_of([{"price": 1.0}, {"price": 3.0}, {}])
    for metric in ("cosine", "dot"):
        (found,) = reach(
            expression_of(document, COLUMNS), np.array([floor]), Batch(columns, slots), metric
        )
        assert found == expected or found == pytest.approx(expected, rel=0.01, abs=1e-6)
        assert found <= expected


def test_many_floors_are_told_apart_as_few_are() -> None:
    columns, slots = columns_of([{"price": 1.0}])
    floors = np.concatenate([np.linspace(0.01, 1, 500), [-0.5, 1e-30, 5.0, -5.0]])
    found = reach(
        expression_of({"$add": ["$score", 0]}, COLUMNS), floors, Batch(columns, slots), "cosine"
    )
    assert (found[-2:] == [np.inf, -np.inf]).all()
    assert (found[:-1] <= floors[:-1]).sum() == 502
    assert (floors[:500] - found[:500] <= 0.1 * floors[:500]).all()


def test_scores_below_the_least_are_not_looked_at() -> None:
    columns, slots = columns_of([{"price": 1.0}])
    square = expression_of({"$mul": ["$score", "$score"]}, COLUMNS)
    floors = np.array([0.25, 2.0])
    assert reach(square, floors, Batch(columns, slots), "cosine").tolist() == [-np.inf, np.inf]
    found = reach(square, floors, Batch(columns, slots), "cosine", least=0.0)
    assert found[0] == pytest.approx(0.5, rel=0.01)
    assert found[1] == np.inf
    above = reach(square, floors, Batch(columns, slots), "cosine", least=7.0)
    assert above.tolist() == [-np.inf, np.inf]


def test_ordinals_are_in_the_order_of_scores() -> None:
    some = np.array([-3e38, -1, -1e-45, 0, 1e-45, 1, 3e38], np.float32)
    assert (np.diff(_ordinals(some)) > 0).all()
    assert bits(_scores(_ordinals(some)).astype(np.float64)) == bits(some.astype(np.float64))
    near = np.nextafter(some, np.float32(np.inf))
    assert (_ordinals(near) - _ordinals(some) == 1).all()
