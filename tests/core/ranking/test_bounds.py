"""Bounds of values where the score is within bounds: nothing between escapes them."""

from __future__ import annotations

from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omendb_core.model.types import F32, F64
from omendb_core.ranking import bounds as module
from omendb_core.ranking.bounds import bounds
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

SAMPLES = 12
AGE = 100.0


def check(
    document: Any, rows: list[dict[str, Any]], least: list[float], most: list[float]
) -> tuple[F64, F64, F64]:
    """Bounds for rows whose scores lie between others, and values for scores between (rows, n).

    Fails if a value is not within the bounds of its row.
    """
    columns, slots = columns_of(rows)
    expression = expression_of(document, COLUMNS)
    of_ages = np.full(len(rows), AGE)
    ends = np.array([least, most], np.float32)
    lower, upper = bounds(expression, ends[0], ends[1], columns, slots, of_ages)
    assert lower.dtype == upper.dtype == np.float64
    some = np.stack([between(*pair) for pair in ends.T])
    n = some.shape[1]
    found = values(expression, some.ravel(), columns, slots.repeat(n), of_ages.repeat(n))
    found = found.reshape(some.shape)
    null = np.isnan(found)
    assert (lower[null.any(axis=1)] == -np.inf).all()
    assert (null | ((lower[:, None] <= found) & (found <= upper[:, None]))).all()
    return lower, upper, found


def of_row(document: Any, row: dict[str, Any]) -> tuple[float, float, list[float]]:
    """As ``check``, of a row with a score from 0 to 1."""
    lower, upper, found = check(document, [row], [0.0], [1.0])
    return float(lower[0]), float(upper[0]), found[0].tolist()


def between(least: np.float32, most: np.float32) -> F32:
    """Scores from ``least`` to ``most``: both, their neighbours, what is special, some others."""
    ends = np.array([least, most])
    spread = np.linspace(*ends.astype(np.float64), SAMPLES).astype(np.float32)
    special = np.array([0, 1, -1, 2, -3, 1e-45], np.float32)
    some = np.concatenate([ends, np.nextafter(ends, ends[::-1]), spread, special])
    return np.clip(some, least, most) + np.float32(0)


@settings(max_examples=1000, deadline=None, derandomize=True)
@given(expressions(("$score",)), st.integers(0, 2**32))
def test_no_value_is_outside_of_its_bounds(document: Any, seed: int) -> None:
    random = Random(seed)
    rows = rows_of(random, 24)
    pairs = [sorted((score_of(random), score_of(random))) for _ in rows]
    pairs[::6] = [[one, one] for one, _ in pairs[::6]]
    check(document, rows, [pair[0] for pair in pairs], [pair[1] for pair in pairs])


@pytest.mark.parametrize(
    ("document", "least", "most"),
    [
        ({"$mul": ["$score", {"$div": [1, 0]}]}, -1.0, 1.0),
        ({"$max": [0, {"$min": [1, {"$mul": ["$score", {"$div": [1, 0]}]}]}]}, -1.0, 1.0),
        ({"$div": [{"$mul": ["$score", 1e308]}, {"$mul": ["$score", 1e308]}]}, 1.0, 100.0),
        ({"$pow": ["$score", 2]}, -1.0, 2.0),
        ({"$pow": ["$score", 3]}, -2.0, -1.0),
        ({"$pow": ["$score", -3]}, -2.0, 1.0),
        ({"$pow": [-0.0, "$score"]}, -1.0, 0.0),
        ({"$pow": [{"$mul": [-0.0, "$score"]}, -1]}, 0.0, 1.0),
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
    check(document, [{}], [least], [most])


@settings(max_examples=200, deadline=None, derandomize=True)
@given(expressions(("price", "stock")), st.integers(0, 2**32))
def test_an_expression_without_the_score_has_its_value_for_bounds(document: Any, seed: int) -> None:
    rows = rows_of(Random(seed), 24)
    lower, upper, found = check(document, rows, [-1.0] * 24, [1.0] * 24)
    expected = np.where(np.isnan(found[:, 0]), -np.inf, found[:, 0])
    assert bits(lower) == bits(expected)
    assert bits(upper) == bits(expected)


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
    lower, upper, _ = of_row(document, row)
    assert (lower, upper) == (least, most)


@pytest.mark.parametrize("document", [{"$exp": "$score"}, {"$pow": [2, "$score"]}])
def test_functions_widen_bounds_by_no_more_than_their_error(document: Any) -> None:
    lower, upper, found = of_row(document, {})
    assert lower < min(found) <= lower * (1 + 2**-48)
    assert upper > max(found) >= upper * (1 - 2**-48)


def test_a_row_that_is_null_for_certain_is_below_all() -> None:
    for document in (
        "price",
        {"$mul": ["$score", "price"]},
        {"$pow": ["price", "$score"]},
        {"$log": {"$sub": ["$score", 2]}},
        {"$add": ["$score", {"$div": [1, 0]}]},
    ):
        lower, upper, _ = of_row(document, {})
        assert (lower, upper) == (-np.inf, -np.inf)


def test_a_row_that_may_be_null_has_no_lower_bound() -> None:
    infinite = {"$div": [1, 0]}

    def limited(document: Any) -> Any:
        return {"$max": [0, {"$min": [1, document]}]}

    for document in (
        {"$log": {"$sub": ["$score", 0.5]}},
        {"$sqrt": {"$sub": ["$score", 0.5]}},
        {"$pow": [{"$sub": ["$score", 0.5]}, 0.5]},
        {"$max": [1, {"$div": ["$score", "$score"]}]},
        limited({"$mul": [{"$sub": [0, "$score"]}, infinite]}),
        limited({"$mul": [infinite, {"$log": "$score"}]}),
        limited({"$div": [infinite, {"$exp": {"$mul": [1000, "$score"]}}]}),
        limited({"$add": [{"$log": "$score"}, {"$neg": {"$log": "$score"}}]}),
        limited({"$sub": [{"$neg": {"$log": "$score"}}, {"$neg": {"$log": "$score"}}]}),
    ):
        lower, _, found = of_row(document, {})
        assert lower == -np.inf
        assert any(map(np.isnan, found))
    _, upper, _ = of_row({"$sqrt": {"$sub": ["$score", 0.75]}}, {})
    assert upper == 0.5


@settings(max_examples=40, deadline=None, derandomize=True)
@given(expressions(("$score",)), st.integers(1, 5))
def test_bounds_do_not_depend_on_where_blocks_end(document: Any, block: int) -> None:
    rows = rows_of(Random(block), 20)
    columns, slots = columns_of(rows)
    least = np.linspace(-1, 1, len(rows)).astype(np.float32)
    asked = (expression_of(document, COLUMNS), least, least + np.float32(0.5), columns, slots, None)
    lower, upper = bounds(*asked)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BLOCK_ROWS", block)
        again = bounds(*asked)
    assert bits(lower) == bits(again[0])
    assert bits(upper) == bits(again[1])
