"""Which scores may lift rows to a rank, of an expression: bounds of values out of bounds of scores.

Interval arithmetic over the tree (``intervals``): of each node the least and the greatest that it
may be for any of some rows and any score between two.

Invariant: the value of every such row for every such score is null, or within the bounds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

import numpy as np

from ..filters.masks import Lists
from ..filters.tree import Filter
from ..model.types import F32, F64, I64, Metric
from ..rows.columns import Columns
from .evaluation import Rows, Value
from .intervals import OPERATIONS, Ends, Fixed
from .tree import Age, ColumnValue, Expression, If, Node, Number, Operation

_MOST_SCORE: Final = float(np.finfo(np.float32).max)
#: Between what scores lie, by metric. Normalising rounds, so a cosine may be above 1 by 2**-22.
SCORES: Final[Mapping[Metric, tuple[float, float]]] = {
    "cosine": (-1.001, 1.001),
    "dot": (-_MOST_SCORE, _MOST_SCORE),
    "l2": (-_MOST_SCORE, 0.0),
}
#: Scores that values are bounded for, out of all; then out of those that floors were found between.
_SOME: Final = 256
_SIGN: Final = 1 << 31


class Within(NamedTuple):
    """Between what scores lie, float64 (n,) or () for all alike."""

    lower: Value
    upper: Value


class Batch:
    """Rows in ``slots`` int64 (m,), at least one, that any number of expressions are bounded for:
    between what each column lies, and whether rows pass a condition, is found once for all."""

    def __init__(self, columns: Columns, slots: I64) -> None:
        self.rows = Rows(columns, slots, None, Lists())
        self.ends: dict[ColumnValue, Ends] = {}
        self.passing: dict[Filter, tuple[bool, bool]] = {}


class Bounds:
    """Of an expression's values, for any of the rows of a batch."""

    def __init__(self, expression: Expression, batch: Batch) -> None:
        self._root = expression.root
        self._batch = batch

    def of(self, scores: Within) -> Ends:
        """Bounds where the score is within ``scores`` (n,); each is computed when it is asked for,
        and that with ``np.errstate(all="ignore")``."""
        return self._within(self._root, Ends(lambda: scores.lower, lambda: scores.upper))

    def _within(self, node: Node, scores: Ends) -> Ends:
        match node:
            case Number(number):
                return Fixed(np.array(number, np.float64))
            case Operation(operator, operands):
                return OPERATIONS[operator]([self._within(one, scores) for one in operands])
            case If():
                return self._branches(node, scores)
            case ColumnValue():
                return self._column(node)
            case Age():
                raise TypeError("ages change as time passes, and have no bounds")
        return scores

    def _branches(self, node: If, scores: Ends) -> Ends:
        """One branch, or both where some rows pass and some do not."""
        passing = self._batch.passing
        if node.condition not in passing:
            passed = self._batch.rows.passed(node)
            passing[node.condition] = bool(passed.any()), bool(passed.all())
        some, every = passing[node.condition]
        if every or not some:
            return self._within(node.then if every else node.otherwise, scores)
        then, otherwise = (self._within(one, scores) for one in (node.then, node.otherwise))
        return Ends(
            lambda: np.fmin(then.least, otherwise.least),
            lambda: np.fmax(then.most, otherwise.most),
        )

    def _column(self, node: ColumnValue) -> Ends:
        found = self._batch.ends.get(node)
        if found is None:
            values = self._batch.rows.column(node)
            values = values[~np.isnan(values)]
            least, most = (values.min(), values.max()) if len(values) else (np.nan, np.nan)
            found = Ends(lambda: np.array(least), lambda: np.array(most))
            self._batch.ends[node] = found
        return found


def reach(
    expression: Expression, floors: F64, batch: Batch, metric: Metric, least: float = -np.inf
) -> F32:
    """The scores float32 (n,) from which a row of ``batch`` may have a rank of ``floors`` (n,).

    -inf: with any score, +inf: with none. Scores are ``least`` or more. The expression has no ages.
    """
    bounds = Bounds(expression, batch)
    lowest, most = np.array(SCORES[metric], np.float32)
    lowest = max(lowest, min(np.float32(least), most))
    first, last = _ordinals(np.array([lowest, most]))
    ordinals = np.linspace(first, last, _SOME).astype(np.int64)
    places = np.searchsorted(_highest(bounds, lowest, _scores(ordinals)), floors)
    never = places == len(ordinals)
    among = np.unique(places[(places > 0) & ~never])
    if len(among):
        ordinals = _between(ordinals[among - 1], ordinals[among])
        places = np.searchsorted(_highest(bounds, lowest, _scores(ordinals)), floors)
    # Up to the score before its place no value is as high as the floor.
    found = _scores(ordinals[np.maximum(places - 1, 0)] + 1)
    found[places == 0] = -np.inf
    found[never] = np.inf
    return found


def _between(low: I64, high: I64) -> I64:
    """About ``_SOME`` numbers from each ``low`` to its ``high``, ascending."""
    steps = max(2, _SOME // len(low))
    parts = low[:, None] + (high - low)[:, None] * np.arange(steps + 1) // steps
    return np.unique(parts)


def _highest(bounds: Bounds, lowest: np.float32, scores: F32) -> F64:
    """The highest that the value may be for a score from ``lowest`` to each of ``scores``, which
    rise; -inf: it is null."""
    within = Within(np.array(lowest, np.float64), scores.astype(np.float64))
    with np.errstate(all="ignore"):
        highest = np.broadcast_to(bounds.of(within).most, len(scores))
    return np.maximum.accumulate(np.where(np.isnan(highest), -np.inf, highest))


def _ordinals(scores: F32) -> I64:
    """Integers in the order of ``scores``, neighbours one apart."""
    bits = scores.view(np.int32).astype(np.int64)
    return np.where(bits < 0, -(bits + _SIGN), bits)


def _scores(ordinals: I64) -> F32:
    bits = np.where(ordinals < 0, -ordinals - _SIGN, ordinals)
    return bits.astype(np.int32).view(np.float32)
