"""Which scores may lift rows to a rank, of an expression: bounds of values out of bounds of scores.

Interval arithmetic over the tree: of each node the least and the greatest that it may be for any of
some rows and any score between two. Nothing is widened for rounding where an operation is rounded
correctly: rounding keeps order, so the rounded result at the end of an interval bounds all within.
``log`` never falls either; ``exp`` and powers are within 2 ulp of the true value, by which their
bounds are widened. That a node may occur twice, and that values of one row go together, is not
looked at, which makes bounds wider and not wrong.

Invariant: the value of every such row for every such score is null, or within the bounds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import reduce
from typing import Final, NamedTuple

import numpy as np

from ..filters.masks import Lists
from ..filters.tree import Filter
from ..model.types import F32, F64, I64, Bool1, Metric
from ..rows.columns import Columns
from .evaluation import Rows, Value, apply
from .tree import Age, ColumnValue, Expression, If, Node, Number, Operation, Operator

#: More than 4 ulp of any number, and of the subnormal ones.
_RELATIVE: Final = 2.0**-49
_ABSOLUTE: Final = 2.0**-1070
_MOST: Final = float(np.finfo(np.float64).max)

_MOST_SCORE: Final = float(np.finfo(np.float32).max)
#: Between what scores lie, by metric. Normalising rounds, so a cosine may be above 1 by 2**-22.
_SCORES: Final[Mapping[Metric, tuple[float, float]]] = {
    "cosine": (-1.001, 1.001),
    "dot": (-_MOST_SCORE, _MOST_SCORE),
    "l2": (-_MOST_SCORE, 0.0),
}
#: Scores that values are bounded for, out of all; then out of those that floors were found between.
_SOME: Final = 256
_SIGN: Final = 1 << 31


class Within(NamedTuple):
    """What a node may be, (n,) or () for all alike. Both NaN: null for certain."""

    lower: Value
    upper: Value

    @property
    def has_zero(self) -> Bool1:
        """Where 0 is one of them."""
        reaches: Bool1 = self.upper >= 0
        return (self.lower <= 0) & reaches


class Bounds:
    """Of an expression's values, for any of the rows in ``slots`` int64 (m,), at least one."""

    def __init__(self, expression: Expression, columns: Columns, slots: I64) -> None:
        self._root = expression.root
        self._rows = Rows(columns, slots, None, Lists())
        self._ends: dict[ColumnValue, Within] = {}
        self._passing: dict[Filter, tuple[bool, bool]] = {}

    def of(self, scores: Within) -> Within:
        """Bounds float64 (n,) where the score is within ``scores`` (n,); NaN: null for certain."""
        with np.errstate(all="ignore"):
            found = self._within(self._root, scores)
        is_null = np.isnan(found.lower) | (found.lower == np.inf) | (found.upper == -np.inf)
        return Within(
            np.where(is_null, np.nan, found.lower), np.where(is_null, np.nan, found.upper)
        )

    def _within(self, node: Node, scores: Within) -> Within:
        match node:
            case Number(number):
                value = np.array(number, np.float64)
                return Within(value, value)
            case Operation(operator, operands):
                several = [self._within(one, scores) for one in operands]
                if len(several) == 1:
                    return _UNARY[operator](several[0])
                return reduce(lambda left, right: _binary(operator, left, right), several)
            case If():
                return self._branches(node, scores)
            case ColumnValue():
                return self._column(node)
            case Age():
                raise TypeError("ages change as time passes, and have no bounds")
        return scores

    def _branches(self, node: If, scores: Within) -> Within:
        """One branch, or both where some rows pass and some do not."""
        if node.condition not in self._passing:
            passed = self._rows.passed(node)
            self._passing[node.condition] = bool(passed.any()), bool(passed.all())
        some, every = self._passing[node.condition]
        if every or not some:
            return self._within(node.then if every else node.otherwise, scores)
        then, otherwise = (self._within(one, scores) for one in (node.then, node.otherwise))
        return Within(np.fmin(then.lower, otherwise.lower), np.fmax(then.upper, otherwise.upper))

    def _column(self, node: ColumnValue) -> Within:
        found = self._ends.get(node)
        if found is None:
            values = self._rows.column(node)
            values = values[~np.isnan(values)]
            ends = (values.min(), values.max()) if len(values) else (np.nan, np.nan)
            found = self._ends[node] = Within(np.array(ends[0]), np.array(ends[1]))
        return found


def reach(
    expression: Expression,
    floors: F64,
    columns: Columns,
    slots: I64,
    metric: Metric,
    least: float = -np.inf,
) -> F32:
    """The scores float32 (n,) from which a row in ``slots`` may have a rank of ``floors`` (n,).

    -inf: with any score, +inf: with none. Scores are ``least`` or more. The expression has no ages.
    """
    bounds = Bounds(expression, columns, slots)
    lowest, most = np.array(_SCORES[metric], np.float32)
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
    highest = np.broadcast_to(bounds.of(within).upper, len(scores))
    return np.maximum.accumulate(np.where(np.isnan(highest), -np.inf, highest))


def _ordinals(scores: F32) -> I64:
    """Integers in the order of ``scores``, neighbours one apart."""
    bits = scores.view(np.int32).astype(np.int64)
    return np.where(bits < 0, -(bits + _SIGN), bits)


def _scores(ordinals: I64) -> F32:
    bits = np.where(ordinals < 0, -ordinals - _SIGN, ordinals)
    return bits.astype(np.int32).view(np.float32)


def _binary(operator: Operator, left: Within, right: Within) -> Within:
    """Null if one of them is; a bound that is no number was found by none of the corners."""
    lower, upper = _BINARY[operator](left, right)
    is_null = np.isnan(left.lower) | np.isnan(right.lower)
    return Within(
        np.where(is_null, np.nan, np.where(np.isnan(lower), -np.inf, lower)),
        np.where(is_null, np.nan, np.where(np.isnan(upper), np.inf, upper)),
    )


def _sum(left: Within, right: Within) -> Within:
    return Within(left.lower + right.lower, left.upper + right.upper)


def _difference(left: Within, right: Within) -> Within:
    return Within(left.lower - right.upper, left.upper - right.lower)


def _product(left: Within, right: Within) -> Within:
    return _by_corners(np.multiply, left, right)


def _quotient(left: Within, right: Within) -> Within:
    """By 0 it is of either sign: zeros have one, that their bounds do not tell."""
    found = _by_corners(np.divide, left, right)
    return Within(
        np.where(right.has_zero, -np.inf, found.lower),
        np.where(right.has_zero, np.inf, found.upper),
    )


def _by_corners(of: Callable[[Value, Value], Value], left: Within, right: Within) -> Within:
    """Of an operation that is monotone in each operand, whichever way."""
    corners = [of(x, y) for x in left for y in right]
    return Within(reduce(np.minimum, corners), reduce(np.maximum, corners))


def _least(left: Within, right: Within) -> Within:
    return Within(np.minimum(left.lower, right.lower), np.minimum(left.upper, right.upper))


def _greatest(left: Within, right: Within) -> Within:
    return Within(np.maximum(left.lower, right.lower), np.maximum(left.upper, right.upper))


def _power(base: Within, exponent: Within) -> Within:
    """Of a base below 0 only with a fixed exponent that is even, or odd and above 0."""
    number = exponent.lower
    fixed = (number == exponent.upper) & np.isfinite(number) & (np.floor(number) == number)
    is_even = fixed & (np.fmod(number, 2) == 0)
    is_odd_and_rises = fixed & ~is_even & (number > 0)
    # -0 to the power of -1 is -inf, and bounds do not tell zeros apart.
    is_negative = (base.lower < 0) | (base.has_zero & (exponent.lower < 0))
    size = _size(base)
    # exp(y ln x), and y ln x is monotone in each of y and ln x.
    found = _by_corners(
        lambda x, y: apply("$pow", [x, y]),
        Within(
            np.where(is_even, size.lower, base.lower), np.where(is_even, size.upper, base.upper)
        ),
        exponent,
    )
    anything = is_negative & ~is_even & ~is_odd_and_rises
    lower = _below(found.lower)
    lower = np.where(is_negative & is_odd_and_rises, lower, np.maximum(lower, 0.0))
    return Within(
        np.where(anything, np.nan, lower), np.where(anything, np.nan, _above(found.upper))
    )


def _negative(operand: Within) -> Within:
    return Within(-operand.upper, -operand.lower)


def _size(operand: Within) -> Within:
    lower, upper = np.abs(operand.lower), np.abs(operand.upper)
    least = np.where(operand.has_zero, 0.0, np.minimum(lower, upper))
    return Within(least, np.maximum(lower, upper))


def _root(operand: Within) -> Within:
    return _from_zero(np.sqrt, operand)


def _log(operand: Within) -> Within:
    return _from_zero(lambda value: apply("$log", [value]), operand)


def _from_zero(of: Callable[[Value], Value], operand: Within) -> Within:
    """Of a function that never falls, and is null below 0."""
    from_zero = np.where(operand.upper < 0, np.nan, np.maximum(operand.lower, 0.0))
    return Within(of(from_zero), of(operand.upper))


def _exponential(operand: Within) -> Within:
    lower, upper = apply("$exp", [operand.lower]), apply("$exp", [operand.upper])
    return Within(np.maximum(_below(lower), 0.0), _above(upper))


def _below(value: Value) -> Value:
    """No more than what a function gives where its true value is no less than that of ``value``."""
    value = np.minimum(value, _MOST)
    return value - (np.abs(value) * _RELATIVE + _ABSOLUTE)


def _above(value: Value) -> Value:
    return -_below(-value)


_UNARY: Final[Mapping[Operator, Callable[[Within], Within]]] = {
    "$neg": _negative,
    "$abs": _size,
    "$sqrt": _root,
    "$exp": _exponential,
    "$log": _log,
}
_BINARY: Final[Mapping[Operator, Callable[[Within, Within], Within]]] = {
    "$add": _sum,
    "$mul": _product,
    "$min": _least,
    "$max": _greatest,
    "$sub": _difference,
    "$div": _quotient,
    "$pow": _power,
}
