"""Values of expressions, to the bit, against arithmetic done naively."""

from __future__ import annotations

from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omendb_core.model.types import F32, F64
from omendb_core.ranking import evaluation
from omendb_core.ranking.evaluation import values
from omendb_core.ranking.rank_parser import expression_of

from tests.core.ranking.expressions import (
    COLUMNS,
    bits,
    columns_of,
    expressions,
    rows_of,
    score_of,
    value,
)
from tests.examples import examples

Row = dict[str, Any]


def of_rows(document: Any, rows: list[Row], of_scores: Any = 0.5, of_ages: Any = 60.0) -> F64:
    columns, slots = columns_of(rows)
    found = values(
        expression_of(document, COLUMNS),
        np.broadcast_to(np.float32(of_scores), len(rows)),
        columns,
        slots,
        np.broadcast_to(np.float64(of_ages), len(rows)),
    )
    assert found.dtype == np.float64
    assert found.shape == (len(rows),)
    return found


def naively(document: Any, rows: list[Row], of_scores: F32, of_ages: F64) -> F64:
    found = [
        value(document, float(score), float(age), row)
        for score, age, row in zip(of_scores, of_ages, rows, strict=True)
    ]
    return np.array([np.nan if one is None else one for one in found])


@settings(max_examples=examples(400), deadline=None, derandomize=True)
@given(expressions(), st.integers(0, 2**32))
def test_values_are_those_of_arithmetic_done_naively(document: Any, seed: int) -> None:
    random = Random(seed)
    rows = rows_of(random, 30)
    of_scores = np.array([score_of(random) for _ in rows], np.float32)
    of_ages = np.array([random.choice([0.0, 1.0, 3600.5, 1e9 * random.random()]) for _ in rows])
    found = of_rows(document, rows, of_scores, of_ages)
    assert bits(found) == bits(naively(document, rows, of_scores, of_ages))


@pytest.mark.parametrize(
    "document",
    [
        {"$div": [1, {"$min": ["price", "1.5"]}]},
        {"$div": [1, {"$max": ["price", "1.5"]}]},
        {"$min": ["price", "1.5"]},
        {"$max": ["price", "1.5", 0]},
        {"$exp": {"$neg": {"$div": [1, {"$max": [0, "1.5"]}]}}},
        {"$exp": {"$neg": {"$div": [1, {"$max": ["1.5", 0]}]}}},
    ],
)
def test_of_two_zeros_the_first_is_the_least_and_the_greatest(document: Any) -> None:
    rows: list[Row] = [
        {"price": one, "1.5": other} for one in (0.0, -0.0) for other in (0.0, -0.0)
    ] * 8
    of_scores = np.ones(len(rows), np.float32)
    found = of_rows(document, rows, of_scores)
    assert bits(found) == bits(naively(document, rows, of_scores, of_scores.astype(np.float64)))


@settings(max_examples=examples(60), deadline=None, derandomize=True)
@given(expressions(), st.integers(1, 9))
def test_values_do_not_depend_on_where_blocks_end(document: Any, block: int) -> None:
    random = Random(block)
    rows = rows_of(random, 40)
    columns, slots = columns_of(rows)
    of_scores = np.array([score_of(random) for _ in rows], np.float32)
    expression = expression_of(document, COLUMNS)
    asked = (of_scores, columns, slots, np.arange(40.0))
    whole = values(expression, *asked)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluation, "BLOCK_ROWS", block)
        assert bits(values(expression, *asked)) == bits(whole)


def test_no_rows_have_no_values() -> None:
    assert len(of_rows({"$mul": ["$score", 2]}, [])) == 0


@pytest.mark.parametrize("block", [3, evaluation.BLOCK_ROWS])
def test_constants_are_the_value_of_every_row(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "BLOCK_ROWS", block)
    for document, expected in (
        (2, 2.0),
        ({"$exp": 0}, 1.0),
        ({"$pow": [2, 10]}, 1024.0),
        ({"$min": [3, 2, 4]}, 2.0),
        ({"$if": [{}, {"$log": 1}, 2]}, 0.0),
    ):
        assert of_rows(document, [{}] * 5).tolist() == [expected] * 5


def test_a_bool_is_1_or_0_and_null_where_it_is_absent() -> None:
    rows: list[Row] = [{"new": True}, {"new": False}, {}]
    assert of_rows({"$add": ["new", 1]}, rows)[:2].tolist() == [2.0, 1.0]
    assert np.isnan(of_rows("new", rows)[2])
    assert of_rows({"$default": ["new", 0.5]}, rows).tolist() == [1.0, 0.0, 0.5]


@pytest.mark.parametrize(
    "document",
    [
        "price",
        {"$min": [1, "price"]},
        {"$max": ["price", 1]},
        {"$mul": ["price", 0]},
        {"$pow": ["price", 0]},
        {"$pow": [1, "price"]},
        {"$abs": "price"},
        {"$div": [0, {"$sub": ["$score", "$score"]}]},
        {"$min": [1, {"$div": [0, 0]}]},
        {"$pow": [{"$div": [0, 0]}, 0]},
        {"$sqrt": {"$neg": "$score"}},
        {"$log": {"$neg": "$score"}},
        {"$log": 0},
        {"$div": [1, 0]},
        {"$exp": 1e9},
        {"$mul": [1e308, 10]},
        {"$pow": [{"$neg": "$score"}, 0.5]},
    ],
)
def test_null_and_what_is_not_finite_at_the_end_is_null(document: Any) -> None:
    found = of_rows(document, [{}])
    assert bits(found) == bits(np.array([np.nan]))


def test_an_infinity_inside_goes_on() -> None:
    infinite = {"$div": [1, 0]}
    assert of_rows({"$div": [1, infinite]}, [{}]).tolist() == [0.0]
    assert of_rows({"$exp": {"$log": 0}}, [{}]).tolist() == [0.0]
    assert of_rows({"$min": [infinite, 3]}, [{}]).tolist() == [3.0]
    assert of_rows({"$if": [{}, 1, infinite]}, [{}]).tolist() == [1.0]


def test_only_the_branch_taken_counts() -> None:
    rows: list[Row] = [{"stock": 1}, {"stock": 2}, {}]
    found = of_rows({"$if": [{"stock": 1}, 5, "price"]}, rows)
    assert bits(found) == bits(np.array([5.0, np.nan, np.nan]))
    found = of_rows({"$if": [{"price": {"$exists": False}}, "stock", "price"]}, rows)
    assert bits(found) == bits(np.array([1.0, 2.0, np.nan]))


def test_integers_are_exact() -> None:
    rows: list[Row] = [{"stock": 2**53 - 1}, {"stock": -(2**53) + 1}]
    assert of_rows("stock", rows).tolist() == [2.0**53 - 1, -(2.0**53) + 1]


def test_operands_are_taken_from_left_to_right() -> None:
    one_by_one = of_rows({"$add": [1e16, 1, 1]}, [{}])
    together = of_rows({"$add": [1e16, {"$add": [1, 1]}]}, [{}])
    assert one_by_one.tolist() == [1e16]
    assert together.tolist() == [1e16 + 2]


def test_the_age_is_needed_where_it_is_used_only() -> None:
    columns, slots = columns_of([{}])
    asked = (np.ones(1, np.float32), columns, slots, None)
    assert values(expression_of("$score", COLUMNS), *asked).tolist() == [1.0]
    with pytest.raises(TypeError, match="needs ages"):
        values(expression_of({"$neg": "$age"}, COLUMNS), *asked)


def test_what_is_read_is_not_written_to() -> None:
    rows: list[Row] = [{"price": 1.5, "new": False}, {}]
    columns, slots = columns_of(rows)
    of_scores = np.array([0.25, 0.5], np.float32)
    before = [columns.values(name).tobytes() for name in COLUMNS]
    for document in ({"$neg": "price"}, {"$default": ["price", 3]}, "price", "$score"):
        found = values(expression_of(document, COLUMNS), of_scores, columns, slots, None)
        found[:] = 7
    assert [columns.values(name).tobytes() for name in COLUMNS] == before
    assert of_scores.tolist() == [0.25, 0.5]
