"""Values in blocks: no row of one, for no score up to a point, has a higher one than is said."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omendb_core.filters.masks import Lists
from omendb_core.ranking.blocks import Blocks, highest
from omendb_core.ranking.evaluation import Rows
from omendb_core.ranking.limits import Scored
from omendb_core.ranking.rank_parser import expression_of

from tests.oracle.strategies import expressions

from .test_limits import COLUMNS, COUNT, filled

POINTS = np.array([-7.5, -1, -0.25, 0, 1e-3, 0.5, 0.5, 3, 1e30], np.float32)
LEAST, AT = -9.0, 100.0


def assert_highest(document: Any, seed: int, start: int, stop: int, rows: int) -> None:
    rng = np.random.default_rng(seed)
    columns = filled(rng)
    times_us = rng.integers(0, 2 * 10**8, COUNT)
    scored, lists = Scored(expression_of(document, COLUMNS).root), Lists()
    blocks = Blocks(columns, start, stop, rows, times_us, AT)
    most = highest(blocks, scored, LEAST, POINTS, lists)
    assert most.shape == (-(-(stop - start) // rows), len(POINTS))
    assert (most[:, 1:] >= most[:, :-1]).all()
    for block, first in enumerate(range(start, stop, rows)):
        slots = np.arange(first, min(first + rows, stop))
        some = Rows(columns, slots, AT - times_us[slots] / 1e6, lists)
        for point, score in enumerate(POINTS.tolist()):
            for within in (LEAST, score, rng.uniform(LEAST, score), min(0.0, score)):
                with np.errstate(all="ignore"):
                    scores = np.full(len(slots), within)
                    values = np.broadcast_to(some.value(scored.root, scores), len(slots))
                there = values[np.isfinite(values)]
                assert (there <= most[block, point]).all()


@given(
    document=expressions(tuple(COLUMNS.items())),
    seed=st.integers(0, 2**32 - 1),
    start=st.integers(0, 150),
    rows=st.sampled_from([1, 7, 64, 300]),
)
@settings(max_examples=300, deadline=None)
def test_no_value_is_above(document: Any, seed: int, start: int, rows: int) -> None:
    assert_highest(document, seed, start, COUNT, rows)


@pytest.mark.parametrize(
    "document",
    [
        "price",
        3,
        "$age",
        {"$mul": [0.7, "$score"]},
        {"$neg": "$score"},
        {"$add": [{"$default": ["price", 2]}, {"$default": ["stock", 0]}, "$score"]},
        {"$if": [{"kind": "a"}, "price", {"$mul": ["$score", "$age"]}]},
        {"$if": [{"price": {"$exists": True}}, {"$log": "$score"}, "stock"]},
        {"$add": ["$score", {"$if": [{"stock": 1}, 1, 2]}]},
        {"$pow": [{"$abs": "$score"}, "price"]},
        {"$div": ["price", {"$sub": ["$age", 50]}]},
    ],
    ids=str,
)
def test_no_value_of_chosen_expressions_is_above(document: Any) -> None:
    for seed in range(10):
        assert_highest(document, seed, 0, COUNT, 64)
        assert_highest(document, seed, 64, 200, 1)


def test_a_rising_value_is_told_to_the_last_bit() -> None:
    rng = np.random.default_rng(0)
    columns = filled(rng)
    root = expression_of({"$mul": [0.7, "$score"]}, COLUMNS).root
    blocks = Blocks(columns, 0, COUNT, COUNT, np.zeros(COUNT, np.int64), None)
    most = highest(blocks, Scored(root), LEAST, POINTS, Lists())
    assert most[0].tolist() == (0.7 * POINTS.astype(np.float64)).tolist()
