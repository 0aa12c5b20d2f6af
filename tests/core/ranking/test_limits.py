"""Limits of expressions: whatever a score within its bounds, the value is not above them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omendb_core.filters.masks import Lists
from omendb_core.model.types import F32, F64, NULL_BOOLEAN, NULL_INTEGER, ColumnType, StrColumn
from omendb_core.ranking.evaluation import Rows
from omendb_core.ranking.limits import Limits, Scored
from omendb_core.ranking.rank_parser import expression_of
from omendb_core.rows.columns import Columns

from tests.examples import examples
from tests.oracle.strategies import expressions

COLUMNS: dict[str, ColumnType] = {"price": "f64", "stock": "i64", "new": "bool", "kind": "str"}
COUNT = 300


def filled(rng: np.random.Generator) -> Columns:
    """Numbers of all signs and sizes, some null."""
    columns = Columns(COLUMNS, COUNT)
    prices = rng.choice([0.0, -0.0, 1.0, 2.5, -3.0, 1e300, -1e-300, np.nan], COUNT)
    stocks = rng.choice([0, 1, -7, 2**53, NULL_INTEGER], COUNT)
    flags = rng.choice(np.array([0, 1, NULL_BOOLEAN], np.uint8), COUNT)
    kinds = StrColumn(rng.integers(0, 2, COUNT).astype(np.uint32), ("a", "b"))
    written = {"price": prices, "stock": stocks, "new": flags, "kind": kinds}
    columns.write(np.arange(COUNT), written)
    return columns


def scores_within(rng: np.random.Generator) -> tuple[F32, F32, F32]:
    """(lower, score, upper): near each other, far, equal, or nothing known; some exactly 0."""
    scores = (rng.normal(size=COUNT) * 10.0 ** rng.integers(-3, 3, COUNT)).astype(np.float32)
    scores[rng.random(COUNT) < 0.1] = 0
    widths = rng.choice([0, 1e-6, 0.1, 10, np.inf], (2, COUNT)) * rng.random((2, COUNT))
    widths[np.isnan(widths)] = 0
    lower, upper = scores - widths[0].astype(np.float32), scores + widths[1].astype(np.float32)
    return np.minimum(lower, scores), scores, np.maximum(upper, scores)


def assert_limited(document: Any, rng: np.random.Generator, columns: Columns) -> F64:
    """Hold the limits against values; return them."""
    root = expression_of(document, COLUMNS).root
    ages = rng.choice([0.0, 1.0, 3600.0, 1e9], COUNT)
    rows = Rows(columns, slice(0, COUNT), ages, Lists())
    limits = Limits(rows, Scored(root))
    for _ in range(3):
        lower, scores, upper = scores_within(rng)
        most = np.broadcast_to(limits.most(lower, upper), COUNT)
        for within in (lower, scores, upper):
            with np.errstate(all="ignore"):
                values = np.broadcast_to(rows.value(root, within.astype(np.float64)), COUNT)
            there = ~np.isnan(values)
            assert not np.isnan(most[there]).any()
            assert (values[there] <= most[there]).all()
    return most


@settings(max_examples=examples(600), deadline=None)
@given(document=expressions(tuple(COLUMNS.items())), seed=st.integers(0, 2**32 - 1))
def test_no_value_is_above_its_limit(document: Any, seed: int) -> None:
    rng = np.random.default_rng(seed)
    assert_limited(document, rng, filled(rng))


@pytest.mark.parametrize(
    "document",
    [
        {"$mul": ["$score", "price"]},
        {"$mul": ["price", "$score", "stock", {"$neg": "$score"}]},
        {"$div": ["$score", "price"]},
        {"$div": ["price", "$score"]},
        {"$div": ["$score", "$score"]},
        {"$sub": ["price", {"$abs": "$score"}]},
        {"$pow": [{"$abs": "$score"}, "price"]},
        {"$pow": ["$score", 2]},
        {"$pow": ["price", "$score"]},
        {"$pow": [{"$exp": "$score"}, -0.5]},
        {"$pow": ["$score", -3]},
        {"$pow": ["$score", "stock"]},
        {"$min": [7, {"$pow": [{"$mul": ["price", {"$abs": "$score"}]}, -1]}]},
        {"$log": "$score"},
        {"$neg": {"$log": "$score"}},
        {"$sqrt": {"$neg": "$score"}},
        {"$neg": {"$sqrt": "$score"}},
        {"$min": [{"$log": {"$neg": "$score"}}, 1]},
        {"$if": [{"new": True}, {"$neg": "$score"}, {"$sqrt": "$score"}]},
        {"$neg": {"$if": [{"price": {"$gt": 0}}, "$score", {"$exp": "$score"}]}},
        {"$mul": [0, {"$div": [1, "$score"]}]},
        {"$add": ["$score", {"$div": [1, "price"]}, {"$div": [-1, "price"]}]},
    ],
)
def test_operators_that_fall_or_have_no_value_are_limited(document: Any) -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        assert_limited(document, rng, filled(rng))


def test_limits_tell_rows_apart() -> None:
    """Close to the values where bounds are close: else every row would be scored."""
    rng = np.random.default_rng(1)
    columns = filled(rng)
    document = {
        "$add": [
            {"$mul": [0.7, "$score"]},
            {"$exp": {"$neg": {"$div": ["$age", 3600]}}},
            {"$sqrt": {"$abs": {"$sub": ["$score", 3]}}},
            {"$pow": [{"$max": ["$score", 0.1]}, 1.5]},
        ]
    }
    rows = Rows(columns, slice(0, COUNT), rng.random(COUNT) * 7200, Lists())
    root = expression_of(document, COLUMNS).root
    scores = rng.random(COUNT).astype(np.float32)
    values = rows.value(root, scores.astype(np.float64))
    most = Limits(rows, Scored(root)).most(scores - np.float32(1e-4), scores + np.float32(1e-4))
    assert (most >= values).all()
    assert (most <= values + 1e-3).all()


def test_rows_that_are_null_whatever_the_score_are_known() -> None:
    columns = filled(np.random.default_rng(2))
    rows = Rows(columns, slice(0, COUNT), None, Lists())
    root = expression_of({"$add": ["$score", {"$mul": [2, "price"]}]}, COLUMNS).root
    unknown = np.full(COUNT, np.inf, np.float32)
    most = Limits(rows, Scored(root)).most(-unknown, unknown)
    assert np.isnan(most).tolist() == columns.is_null("price", slice(0, COUNT)).tolist()
