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
from omendb_core.rows.extremes import Extremes

from tests.examples import examples
from tests.oracle.strategies import expressions

from .test_limits import COLUMNS, COUNT, filled

POINTS = np.array([-7.5, -1, -0.25, 0, 1e-3, 0.5, 0.5, 3, 1e30], np.float32)
LEAST, AT = -9.0, 100.0


def assert_highest(document: Any, seed: int, start: int, stop: int, rows: int) -> None:
    rng = np.random.default_rng(seed)
    columns = filled(rng)
    times_us = rng.integers(0, 2 * 10**8, COUNT)
    assert_not_above(document, rng, Blocks(columns, start, stop, rows, times_us, AT))
    turn = int(rng.integers(0, COUNT + 1))
    in_order = np.roll(np.sort(times_us), turn)
    known = Blocks(columns, start, stop, rows, in_order, AT, turn, Extremes(columns))
    assert_not_above(document, rng, known)


def assert_not_above(document: Any, rng: np.random.Generator, blocks: Blocks) -> None:
    columns, start, stop, rows, times_us, *_ = blocks
    scored, lists = Scored(expression_of(document, COLUMNS).root), Lists()
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
    start=st.sampled_from([0, 1, 64, 128, 150]),
    rows=st.sampled_from([1, 7, 64, 128, 300]),
)
@settings(max_examples=examples(150), deadline=None)
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


def test_what_is_known_of_words_is_as_close_as_what_their_rows_tell() -> None:
    rng = np.random.default_rng(3)
    columns = filled(rng)
    times_us = np.roll(np.sort(rng.integers(0, 2 * 10**8, COUNT)), 100)
    for document in ("price", "$age", {"$default": ["stock", 2]}, {"$neg": "new"}):
        scored = Scored(expression_of(document, COLUMNS).root)
        found = [
            highest(
                Blocks(columns, 0, COUNT, 128, times_us, AT, *known), scored, LEAST, POINTS, Lists()
            )
            for known in ((), (100, Extremes(columns)))
        ]
        assert np.array_equal(*found)


def test_a_rising_value_is_told_to_the_last_bit() -> None:
    rng = np.random.default_rng(0)
    columns = filled(rng)
    root = expression_of({"$mul": [0.7, "$score"]}, COLUMNS).root
    blocks = Blocks(columns, 0, COUNT, COUNT, np.zeros(COUNT, np.int64), None)
    most = highest(blocks, Scored(root), LEAST, POINTS, Lists())
    assert most[0].tolist() == (0.7 * POINTS.astype(np.float64)).tolist()
