"""Expressions of ``rank`` to try, and what they are, done naively: a row at a time, None for null.

The arithmetic is Python's, on one float after the other; ``exp``, ``log`` and powers are the
project's own (``scoring.functions``), which are tested elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

import numpy as np
from hypothesis import strategies as st
from omendb_core.model.types import F64, I64, ColumnType
from omendb_core.ranking.rank_parser import MAX_OPERATORS, OPERATORS
from omendb_core.rows.columns import Columns
from omendb_core.rows.metadata import from_metadata
from omendb_core.scoring import functions

from tests.filter_oracle import VALUES, passes

COLUMNS: dict[str, ColumnType] = {
    "price": "f64",
    "stock": "i64",
    "new": "bool",
    "kind": "str",
    "1.5": "f64",  # a legal name, and the text of a number
}
NUMERIC = [name for name, type_ in COLUMNS.items() if type_ != "str"]
USUAL: list[Any] = [0, 1, 2, 3, 0.5, 0.1, 7, 100, -1, -2]
EXTREME: list[Any] = [-0.0, 1e308, -1e308, 1e-308, 5e-324, 710, -746, 1e16, -0.5]
FILTERS: list[Any] = [
    {},
    {"new": True},
    {"stock": {"$gte": 2}},
    {"price": {"$lt": {"$mul": ["1.5", 0.5]}}},
    {"$not": {"kind": {"$in": ["a", "b"]}}},
    {"$or": [{"price": {"$exists": False}}, {"new": False, "stock": {"$ne": 3}}]},
]


def columns_of(rows: Sequence[Mapping[str, Any]]) -> tuple[Columns, I64]:
    """Columns that hold ``rows``, and their slots: backwards, with a slot between any two."""
    columns = Columns(COLUMNS, 2 * len(rows) + 1)
    slots = np.arange(len(rows), dtype=np.int64)[::-1] * 2 + 1
    columns.write(slots, from_metadata(list(rows), COLUMNS))
    return columns, slots


def value(document: Any, score: float, age: float, row: Mapping[str, Any]) -> float | None:
    """The value of an expression for one row; None is null."""
    found = _value(document, score, age, row)
    return None if found is None or not math.isfinite(found) else found


def _value(document: Any, score: float, age: float, row: Mapping[str, Any]) -> float | None:
    if isinstance(document, str):
        named = {"$score": score, "$age": age}
        found = named.get(document, row.get(document))
        return None if found is None else float(found)
    if not isinstance(document, dict):
        return float(document)
    [(operator, operands)] = document.items()
    if operator == "$if":
        taken = operands[1] if passes(operands[0], row) else operands[2]
        return _value(taken, score, age, row)
    if operator == "$default":
        found = _value(operands[0], score, age, row)
        return float(operands[1]) if found is None else found
    if not isinstance(operands, list):
        operands = [operands]
    known: list[float] = []
    for operand in operands:
        one = _value(operand, score, age, row)
        if one is None:
            return None
        known.append(one)
    result = known[0] if len(known) > 1 else _of_one(operator, known[0])
    for one in known[1:]:
        result = _of_two(operator, result, one)
        if math.isnan(result):
            return None
    return None if math.isnan(result) else result


def _of_one(operator: str, x: float) -> float:
    if operator == "$neg":
        return -x
    if operator == "$abs":
        return abs(x)
    if operator == "$sqrt":
        return math.nan if x < 0 else math.sqrt(x)
    function = {"$exp": functions.exp, "$log": functions.log}[operator]
    return float(function(np.array([x]))[0])


def _of_two(operator: str, x: float, y: float) -> float:
    if operator == "$add":
        return x + y
    if operator == "$sub":
        return x - y
    if operator == "$mul":
        return x * y
    if operator == "$div":
        if y:
            return x / y
        return math.nan if not x else math.copysign(math.inf, x) * math.copysign(1, y)
    if operator == "$pow":
        return float(functions.pow_(np.array([x]), np.array([y]))[0])
    return {"$min": min, "$max": max}[operator](x, y)


def operators_of(document: Any) -> int:
    """No less than how many operators stand in a document, those of filters included."""
    if isinstance(document, dict):
        return len(document) + sum(map(operators_of, document.values()))
    return sum(map(operators_of, document)) if isinstance(document, list) else 0


def expressions(leaves: Sequence[str] = ("$score", "$age")) -> st.SearchStrategy[Any]:
    """Valid expressions on ``COLUMNS``, of up to five levels, with ``leaves`` in most of them."""
    return st.integers(0, 2**32).map(lambda seed: _expression(Random(seed), leaves))


def _expression(random: Random, leaves: Sequence[str]) -> Any:
    while True:
        made = _operation(random, leaves, random.randint(1, 5))
        if operators_of(made) <= MAX_OPERATORS:
            return made


def _operation(random: Random, leaves: Sequence[str], levels: int) -> Any:
    # The operators that leave most numbers numbers are taken more often.
    operator = random.choice([*OPERATORS, *["$add", "$sub", "$mul", "$min", "$abs"] * 2, "$if"])
    if operator == "$if":
        branches = [_operand(random, leaves, levels - 1) for _ in range(2)]
        return {"$if": [random.choice(FILTERS), *branches]}
    least, most, bare = OPERATORS[operator]
    if bare:
        return {operator: _operand(random, leaves, levels - 1)}
    count = random.randint(least, min(most, 3))
    return {operator: [_operand(random, leaves, levels - 1) for _ in range(count)]}


def _operand(random: Random, leaves: Sequence[str], levels: int) -> Any:
    if levels and random.random() < 0.7:
        return _operation(random, leaves, levels)
    number = random.choice(EXTREME if random.random() < 0.2 else USUAL)
    column = random.choice(NUMERIC)
    leaf = random.choice(leaves)
    return random.choice([leaf, leaf, leaf, number, column, {"$default": [column, number]}])


def bits(values: F64) -> list[int]:
    """Each value's bits, to compare zeros by sign."""
    return values.view(np.int64).tolist()


def rows_of(random: Random, count: int) -> list[dict[str, Any]]:
    """Rows with values of pools, or null; one in three of them without any null."""
    return [
        {
            name: random.choice(VALUES[type_])
            for name, type_ in COLUMNS.items()
            if place % 3 == 0 or random.random() < 0.8
        }
        for place in range(count)
    ]


def score_of(random: Random) -> float:
    """A score as the engine has them: float32, and no -0."""
    usual = random.choice([random.random(), random.uniform(-2, 2), random.uniform(-200, 200)])
    special = random.choice([0.0, 1.0, -1.0, 0.5, 2.0, 88.5, -100.0, 1e-20, 1e-45, 3e38, -3e38])
    return float(np.float32(random.choice([usual, usual, special]))) + 0.0
