"""A filter: refused by the path of what is wrong, or the rows that two other evaluators let pass.

These know nothing of the engine: one goes row by row in plain Python numbers, the other computes
arithmetic with numpy in float64, where the engine's is numexpr's. However rows are cut, the mask is
the same; equal trees have one text.
"""

from __future__ import annotations

import json
import warnings
from typing import Any

import numpy as np
import orjson
from omendb_core.filters import masks
from omendb_core.filters.arithmetic import Operation, compute
from omendb_core.filters.parser import OPERATORS, Filter, Parser, evaluate, parse
from omendb_core.filters.tree import bytes_of
from omendb_core.model.errors import BadFilter
from omendb_core.model.types import F64, ColumnType

from load_tests.simulation.row_filter import passes
from tests.core.filters.test_filters import COLUMNS, columns_of
from tests.filter_oracle import FURTHER, VALUES
from tests.fuzz.json_mutating import mutated_json
from tests.fuzz.target import Bounds, Target

#: Every pool's values come together with each other's, nulls and absent keys too.
ROWS: list[dict[str, Any]] = [
    {
        name: [*VALUES[type_], None][(place * step) % (len(VALUES[type_]) + 1)]
        for step, (name, type_) in enumerate(COLUMNS.items(), 1)
        if (place + step) % 5
    }
    for place in range(60)
]
HELD = columns_of(ROWS)
NUMERIC: dict[str, ColumnType] = {
    name: type_ for name, type_ in COLUMNS.items() if type_ in ("f64", "i64")
}


def fuzz(data: bytes) -> None:
    try:
        document = orjson.loads(data)
    except orjson.JSONDecodeError:
        return
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            filter_ = parse(document, COLUMNS)
        except BadFilter as error:
            refusal = error
        else:
            check(document, filter_)
            return
    assert refusal.message.startswith("filter")
    assert len(refusal.message) < 1000
    assert "\n" not in refusal.message
    assert refusal.row is None


def check(document: Any, filter_: Filter) -> None:
    wanted = [passes(document, row) for row in ROWS]
    assert evaluate(filter_, HELD, None).tolist() == wanted
    backwards = np.arange(len(ROWS))[::-1].copy()
    assert evaluate(filter_, HELD, backwards).tolist() == wanted[::-1]
    lists = masks.Lists()
    pieces = [masks.evaluate_block(filter_, HELD, at, at + 7, lists) for at in range(0, 56, 7)]
    assert np.concatenate(pieces).tolist() == wanted[:56]
    again = parse(json.loads(json.dumps(document)), COLUMNS)
    assert again.canonical == filter_.canonical
    assert 0 < bytes_of(filter_.root) < 1000 * (len(json.dumps(document)) + 20)
    for operand in arithmetic_of(document):
        check_arithmetic(operand)


def arithmetic_of(document: Any) -> list[dict[str, Any]]:
    """Every arithmetic operand of a *valid* filter."""
    found: list[dict[str, Any]] = []
    for key, value in document.items():
        if key in ("$and", "$or"):
            found += [one for item in value for one in arithmetic_of(item)]
        elif key == "$not":
            found += arithmetic_of(value)
        elif isinstance(value, dict):
            found += [one for name, one in value.items() if name in OPERATORS and type(one) is dict]
    return found


def check_arithmetic(operand: dict[str, Any]) -> None:
    """numexpr's values are numpy's, to the bit."""
    parsed = Parser(COLUMNS)._operation(operand, "filter", 0)
    assert isinstance(parsed, Operation)
    found = np.broadcast_to(compute(parsed, column), len(ROWS))
    expected = np.broadcast_to(by_numpy(operand), len(ROWS))
    both = np.stack([found, expected]) + 0.0  # NaNs are alike, and the zeros of a comparison
    assert np.array_equal(both[0], both[1], equal_nan=True), operand


def column(name: str) -> F64:
    return np.array([np.nan if row.get(name) is None else row[name] for row in ROWS], np.float64)


def by_numpy(operand: Any) -> F64:
    if isinstance(operand, str):
        return column(operand)
    if not isinstance(operand, dict):
        return np.array(operand, np.float64)
    [(operator, sides)] = operand.items()
    left, right = (by_numpy(side) for side in sides)
    apply = {"$add": np.add, "$sub": np.subtract, "$mul": np.multiply, "$div": np.divide}[operator]
    with np.errstate(all="ignore"):
        result: F64 = np.array(apply(left, right), np.float64)
    result[~np.isfinite(result)] = np.nan
    return result


SEEDS: list[Any] = [
    {}, {"price": 9}, {"kind": {"$in": ["a", "ü", "zz"]}}, {"new": {"$ne": True}, "stock": 3},
    {"price": {"$lt": 10, "$gte": 2}, "$or": [{"kind": "a"}, {"stock": {"$lte": -3.5}}]},
    {"$not": {"msrp": {"$exists": False}}}, {"$and": [{"$and": [{}, {"new": False}]}]},
    {"price": {"$lt": {"$mul": ["msrp", 0.8]}}}, {"stock": {"$nin": [1, 2.5, -0.0]}},
    {"price": {"$ne": {"$div": [{"$sub": ["stock", 1]}, {"$add": ["1.5", "msrp"]}]}}},
    {"stock": {"$eq": {"$mul": [{"$mul": ["price", "price"]}, {"$div": [1, "msrp"]}]}}},
    {"price": {"$gt": {"$div": [1, {"$div": [1, {"$sub": ["msrp", "msrp"]}]}]}}},
    {"kind": {"$prefix": "z"}}, {"$not": {"kind": {"$prefix": ""}}},
    {"price": {"$in": [n / 2 for n in range(20)]}},
]  # fmt: skip
TEXTS = [str(one) for pool in (*VALUES.values(), *FURTHER.values()) for one in pool]
NAMES = [*COLUMNS, *OPERATORS, "$and", "$or", "$not", "$add", "$sub", "$mul", "$div", *TEXTS]
TARGET = Target(
    "filters",
    fuzz,
    mutated_json,
    [name.encode() for name in NAMES],
    lambda: {str(place): orjson.dumps(one) for place, one in enumerate(SEEDS)},
    bounds=Bounds(400_000, 2000),
)
