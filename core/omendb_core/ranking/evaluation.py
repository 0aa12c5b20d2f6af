"""The values of ``rank`` expressions for rows (PROTOCOL section 5): float64, NaN for null."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any, Final

import numpy as np

from ..filters.masks import evaluate
from ..model.types import F32, F64, I64, NULL_BOOLEAN, NULL_INTEGER
from ..rows.columns import Columns
from ..scoring.functions import exp, log, pow_
from .tree import Age, ColumnValue, Expression, If, Node, Number, Operation, Score

_UNARY: Final[dict[str, Callable[..., Any]]] = {
    "$neg": np.negative,
    "$abs": np.abs,
    "$sqrt": np.sqrt,
    "$exp": exp,
    "$log": log,
}
_OTHERS: Final[dict[str, Callable[..., Any]]] = {
    "$add": np.add, "$mul": np.multiply, "$min": np.minimum, "$max": np.maximum,
    "$sub": np.subtract, "$div": np.divide, "$pow": pow_,
}  # fmt: skip


def values(
    expression: Expression, scores: F32, columns: Columns, slots: I64, ages: F64 | None
) -> F64:
    """Values (n,) for rows in ``slots`` that score ``scores`` and are ``ages`` seconds old."""
    with np.errstate(all="ignore"):
        found = _value(expression.root, scores.astype(np.float64), columns, slots, ages)
        return np.where(np.isfinite(found), found, np.nan)


def _value(node: Node, scores: F64, columns: Columns, slots: I64, ages: F64 | None) -> F64:
    match node:
        case Number(value):
            return np.full(len(slots), value)
        case Score():
            return scores
        case Age():
            assert ages is not None, "ages count to some time"
            return ages
        case ColumnValue():
            return _column(node, columns, slots)
        case If(condition, then, otherwise):
            passes = evaluate(condition, columns, slots)
            one = _value(then, scores, columns, slots, ages)
            other = _value(otherwise, scores, columns, slots, ages)
            return np.where(passes, one, other)
        case Operation(operator, operands):
            found = [_value(one, scores, columns, slots, ages) for one in operands]
            if operator in _UNARY:
                made: F64 = _UNARY[operator](found[0])
                return made
            nulls = reduce(np.logical_or, [np.isnan(one) for one in found])
            return np.where(nulls, np.nan, reduce(_OTHERS[operator], found))


def _column(node: ColumnValue, columns: Columns, slots: I64) -> F64:
    raw = columns.values(node.column, slots)
    found = raw.astype(np.float64)
    if raw.dtype != np.float64:
        found[raw == (NULL_INTEGER if raw.dtype == np.int64 else NULL_BOOLEAN)] = np.nan
    return found if node.default is None else np.where(np.isnan(found), node.default, found)
