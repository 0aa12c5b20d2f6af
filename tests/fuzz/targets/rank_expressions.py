"""An expression of ``rank``: refused by the path of what is wrong, or the values of another
evaluator, to the bit, which goes row by row in Python's floats.

So it is however rows are cut into blocks. What interval arithmetic says of values holds for each.
"""

from __future__ import annotations

import warnings
from random import Random
from typing import Any
from unittest.mock import patch

import numpy as np
import orjson
from omendb_core.model.errors import BadRank
from omendb_core.ranking import evaluation
from omendb_core.ranking.evaluation import values
from omendb_core.ranking.rank_parser import OPERATORS, Expression, expression_of

from tests.core.ranking.expressions import (
    COLUMNS,
    EXTREME,
    FILTERS,
    bits,
    columns_of,
    rows_of,
    score_of,
    value,
)
from tests.fuzz.json_mutating import mutated_json
from tests.fuzz.target import Bounds, Target

_CHANCE = Random(1)
ROWS = rows_of(_CHANCE, 40)
SCORES = np.array([score_of(_CHANCE) for _ in ROWS], np.float32)
AGES = np.array([_CHANCE.choice([0.0, 1.0, 3600.5, 1e9 * _CHANCE.random()]) for _ in ROWS])
HELD, SLOTS = columns_of(ROWS)


def fuzz(data: bytes) -> None:
    try:
        document = orjson.loads(data)
    except orjson.JSONDecodeError:
        return
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            expression = expression_of(document, COLUMNS)
        except BadRank as error:
            refusal = error
        else:
            check(document, expression)
            return
    assert refusal.message.startswith(("rank", "filter"))
    assert len(refusal.message) < 1000
    assert "\n" not in refusal.message


def check(document: Any, expression: Expression) -> None:
    asked = (SCORES, HELD, SLOTS, AGES)
    found = values(expression, *asked)
    naive = [
        value(document, float(score), float(age), row)
        for score, age, row in zip(SCORES, AGES, ROWS, strict=True)
    ]
    expected = np.array([np.nan if one is None else one for one in naive])
    assert bits(found) == bits(expected)
    for block in (1, 7):
        with patch.object(evaluation, "BLOCK_ROWS", block):
            assert bits(values(expression, *asked)) == bits(found)
    assert expression_of(document, COLUMNS).canonical == expression.canonical
    try:
        expression_of(document, COLUMNS, live=True)
    except BadRank:
        assert expression.uses_age
    else:
        assert not expression.uses_age


SEEDS: list[Any] = [
    2, "$score", "$age", "price", {"$add": [1, "$score", "price"]}, {"$neg": "stock"},
    {"$mul": [{"$exp": {"$neg": {"$div": ["$age", 3600]}}}, {"$max": ["$score", 0]}]},
    {"$if": [{"new": True}, {"$log": {"$add": [1, "stock"]}}, {"$default": ["1.5", 0]}]},
    {"$pow": [{"$abs": "price"}, 0.5]}, {"$sqrt": {"$min": ["price", "stock", 2]}},
    *({"$sub": [one, "price"]} for one in EXTREME), *({"$if": [one, 1, 0]} for one in FILTERS),
]  # fmt: skip
NAMES = [*COLUMNS, *OPERATORS, "$if", "$default", "$score", "$age", "$lt", "$not", "$or", "$in"]
TARGET = Target(
    "rank_expressions",
    fuzz,
    mutated_json,
    [name.encode() for name in NAMES],
    lambda: {str(place): orjson.dumps(one) for place, one in enumerate(SEEDS)},
    bounds=Bounds(400_000, 2000),
)
