"""The value of a ``rank`` expression of one row (PROTOCOL section 5); None is null.

NaN counts as null: f64 operations give it where there is no number to give.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from load_tests.simulation.row_filter import passes

from .numbers import Functions


@dataclass(frozen=True)
class Scored:
    """What an expression sees of a row. ``age``: seconds, None where ``$age`` is not allowed."""

    score: float
    metadata: Mapping[str, Any]
    age: float | None


def value_of(document: Any, row: Scored, functions: Functions) -> float | None:
    """Of a *valid* expression: infinite or null too."""
    value = _value(document, row, functions)
    return None if value is None or math.isnan(value) else value


def rank_of(document: Any, row: Scored, functions: Functions) -> float | None:
    """What the row is ordered by; None: it is left out."""
    value = value_of(document, row, functions)
    return None if value is None or math.isinf(value) else value


def _value(document: Any, row: Scored, functions: Functions) -> float | None:
    if isinstance(document, int | float):
        return float(document)
    if document == "$score":
        return row.score
    if document == "$age":
        return row.age
    if isinstance(document, str):
        value = row.metadata.get(document)
        return None if value is None else float(value)
    ((operator, operand),) = document.items()
    if operator == "$if":
        condition, then, otherwise = operand
        taken = then if passes(condition, row.metadata) else otherwise
        return value_of(taken, row, functions)
    if operator == "$default":
        column, number = operand
        value = value_of(column, row, functions)
        return float(number) if value is None else value
    operands = operand if isinstance(operand, list) else [operand]
    values = [value_of(one, row, functions) for one in operands]
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return None
    return _operation(operator, known, functions)


def _operation(operator: str, values: list[float], functions: Functions) -> float | None:
    unary: dict[str, Callable[[float], float]] = {
        "$neg": lambda x: -x,
        "$abs": abs,
        "$sqrt": lambda x: math.sqrt(x) if x >= 0 else math.nan,
        "$exp": functions.exp,
        "$log": functions.log,
    }
    if operator in unary:
        (only,) = values
        return unary[operator](only)
    binary: dict[str, Callable[[float, float], float]] = {
        "$add": lambda x, y: x + y,
        "$sub": lambda x, y: x - y,
        "$mul": lambda x, y: x * y,
        "$div": _quotient,
        "$pow": functions.pow,
        "$min": lambda x, y: min(x, y),
        "$max": lambda x, y: max(x, y),
    }
    total: float | None = values[0]
    for value in values[1:]:
        if total is None or math.isnan(total):
            return None
        total = binary[operator](total, value)
    return total


def _quotient(x: float, y: float) -> float:
    """x / y, where 0 divides too."""
    if y != 0:
        return x / y
    if x == 0 or math.isnan(x):
        return math.nan
    return math.copysign(math.inf, x) * math.copysign(1, y)
