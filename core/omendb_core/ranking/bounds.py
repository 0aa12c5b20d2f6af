"""Between what the value of an expression lies where the score is known to lie within bounds.

Interval arithmetic over the tree: of each node the least and the greatest that it may be, and
whether it may be null. It needs no widening for rounding where an operation is rounded correctly:
rounding keeps order, so the rounded result at the end of an interval bounds all within. ``log``
never falls either; ``exp`` and powers are within 2 ulp of the true value, by which their bounds are
widened. A node without the score in it is what it is, exactly. That a node may occur twice is not
looked at, which makes bounds wider and not wrong.

Invariant: the value for every score within the bounds of the score is null, or within its bounds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import reduce
from typing import Final, NamedTuple

import numpy as np

from ..filters.masks import Lists
from ..model.types import F32, F64, I64, Bool1
from ..rows.columns import Columns
from .evaluation import BLOCK_ROWS, Rows, Value, apply
from .tree import Expression, If, Node, Operation, Operator, Score

#: More than 4 ulp of any number, and of the subnormal ones.
_RELATIVE: Final = 2.0**-49
_ABSOLUTE: Final = 2.0**-1070
_MOST: Final = float(np.finfo(np.float64).max)

#: Of no row.
_NOWHERE: Final[Bool1] = np.zeros((), np.bool_)


def bounds(
    expression: Expression,
    least: F32,
    most: F32,
    columns: Columns,
    slots: I64,
    ages: F64 | None,
) -> tuple[F64, F64]:
    """Bounds float64 (n,) of the values of rows in ``slots`` whose scores are within others.

    ``least``, ``most`` float32 (n,): the row's score is within. A lower bound is -inf where the
    value may be null; both are where it is null for certain.
    """
    lower, upper = np.empty(len(slots)), np.empty(len(slots))
    lists = Lists()
    for start in range(0, len(slots), BLOCK_ROWS):
        at = slice(start, start + BLOCK_ROWS)
        rows = Rows(columns, slots[at], None if ages is None else ages[at], lists)
        scores = _Range(least[at].astype(np.float64), most[at].astype(np.float64), _NOWHERE)
        with np.errstate(all="ignore"):
            found = _within(expression.root, rows, scores)
            lower[at], upper[at] = _of_values(found)
    return lower, upper


class _Range(NamedTuple):
    """What a node may be for each row: within ``lower`` and ``upper``, and null if ``doubtful``.

    Both NaN: null for certain. The same object: exactly that.
    """

    lower: Value
    upper: Value
    doubtful: Bool1

    @property
    def is_exact(self) -> bool:
        return self.lower is self.upper

    @property
    def has_zero(self) -> Bool1:
        return (self.lower <= 0) & (self.upper >= 0)

    @property
    def has_infinity(self) -> Bool1:
        infinite: Bool1 = (self.lower == -np.inf) | (self.upper == np.inf)
        return infinite


def _of_values(found: _Range) -> tuple[Value, Value]:
    """Bounds of values, which are null where they are not finite."""
    is_null = np.isnan(found.lower) | (found.lower == np.inf)
    may_be_null = is_null | found.doubtful | (found.upper == np.inf)
    return np.where(may_be_null, -np.inf, found.lower), np.where(is_null, -np.inf, found.upper)


def _within(node: Node, rows: Rows, scores: _Range) -> _Range:
    if isinstance(node, Operation):
        operands = [_within(one, rows, scores) for one in node.operands]
        if len(operands) == 1:
            return _unary(node.operator, operands[0])
        return reduce(lambda left, right: _binary(node.operator, left, right), operands)
    if isinstance(node, If):
        passed = rows.passed(node)
        then, otherwise = (_within(one, rows, scores) for one in (node.then, node.otherwise))
        lower = np.where(passed, then.lower, otherwise.lower)
        if then.is_exact and otherwise.is_exact:
            return _exactly(lower)
        return _Range(
            lower,
            np.where(passed, then.upper, otherwise.upper),
            np.where(passed, then.doubtful, otherwise.doubtful),
        )
    return scores if isinstance(node, Score) else _exactly(rows.value(node, scores.lower))


def _exactly(value: Value) -> _Range:
    return _Range(value, value, _NOWHERE)


def _unary(operator: Operator, operand: _Range) -> _Range:
    if operand.is_exact:
        return _exactly(apply(operator, [operand.lower]))
    return _UNARY[operator](operand)


def _binary(operator: Operator, left: _Range, right: _Range) -> _Range:
    """Null if one of them is; a bound that is no number was found by none of the corners."""
    if left.is_exact and right.is_exact:
        return _exactly(apply(operator, [left.lower, right.lower]))
    lower, upper, doubtful = _BINARY[operator](left, right)
    is_null = np.isnan(left.lower) | np.isnan(right.lower)
    return _Range(
        np.where(is_null, np.nan, np.where(np.isnan(lower), -np.inf, lower)),
        np.where(is_null, np.nan, np.where(np.isnan(upper), np.inf, upper)),
        left.doubtful | right.doubtful | doubtful,
    )


def _sum(left: _Range, right: _Range) -> _Range:
    opposed = (left.upper == np.inf) & (right.lower == -np.inf)
    opposed |= (left.lower == -np.inf) & (right.upper == np.inf)
    return _Range(left.lower + right.lower, left.upper + right.upper, opposed)


def _difference(left: _Range, right: _Range) -> _Range:
    return _sum(left, _negative(right))


def _product(left: _Range, right: _Range) -> _Range:
    without_result = (left.has_zero & right.has_infinity) | (left.has_infinity & right.has_zero)
    return _by_corners(np.multiply, left, right, without_result)


def _quotient(left: _Range, right: _Range) -> _Range:
    """By 0 it is of either sign: zeros have one, that their bounds do not tell."""
    without_result = (left.has_zero & right.has_zero) | (left.has_infinity & right.has_infinity)
    found = _by_corners(np.divide, left, right, without_result)
    return _Range(
        np.where(right.has_zero, -np.inf, found.lower),
        np.where(right.has_zero, np.inf, found.upper),
        found.doubtful,
    )


def _by_corners(
    of: Callable[[Value, Value], Value], left: _Range, right: _Range, doubtful: Bool1
) -> _Range:
    """Of an operation that is monotone in each operand, whichever way."""
    corners = [of(x, y) for x in (left.lower, left.upper) for y in (right.lower, right.upper)]
    return _Range(reduce(np.minimum, corners), reduce(np.maximum, corners), doubtful)


def _least(left: _Range, right: _Range) -> _Range:
    return _Range(
        np.minimum(left.lower, right.lower), np.minimum(left.upper, right.upper), _NOWHERE
    )


def _greatest(left: _Range, right: _Range) -> _Range:
    return _Range(
        np.maximum(left.lower, right.lower), np.maximum(left.upper, right.upper), _NOWHERE
    )


def _power(base: _Range, exponent: _Range) -> _Range:
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
        _Range(
            np.where(is_even, size.lower, base.lower),
            np.where(is_even, size.upper, base.upper),
            _NOWHERE,
        ),
        exponent,
        _NOWHERE,
    )
    anything = is_negative & ~is_even & ~is_odd_and_rises
    lower = _below(found.lower)
    lower = np.where(is_negative & is_odd_and_rises, lower, np.maximum(lower, 0.0))
    return _Range(
        np.where(anything, np.nan, lower),
        np.where(anything, np.nan, _above(found.upper)),
        anything,
    )


def _negative(operand: _Range) -> _Range:
    return _Range(-operand.upper, -operand.lower, operand.doubtful)


def _size(operand: _Range) -> _Range:
    lower, upper = np.abs(operand.lower), np.abs(operand.upper)
    least = np.where(operand.has_zero, 0.0, np.minimum(lower, upper))
    return _Range(least, np.maximum(lower, upper), operand.doubtful)


def _root(operand: _Range) -> _Range:
    return _from_zero(np.sqrt, operand)


def _log(operand: _Range) -> _Range:
    return _from_zero(lambda value: apply("$log", [value]), operand)


def _from_zero(of: Callable[[Value], Value], operand: _Range) -> _Range:
    """Of a function that never falls, and is null below 0."""
    from_zero = np.where(operand.upper < 0, np.nan, np.maximum(operand.lower, 0.0))
    upper = of(operand.upper)
    return _Range(of(from_zero), upper, operand.doubtful | (operand.lower < 0))


def _exponential(operand: _Range) -> _Range:
    lower, upper = apply("$exp", [operand.lower]), apply("$exp", [operand.upper])
    return _Range(np.maximum(_below(lower), 0.0), _above(upper), operand.doubtful)


def _below(value: Value) -> Value:
    """No more than what a function gives where its true value is no less than that of ``value``."""
    value = np.minimum(value, _MOST)
    return value - (np.abs(value) * _RELATIVE + _ABSOLUTE)


def _above(value: Value) -> Value:
    return -_below(-value)


_UNARY: Final[Mapping[Operator, Callable[[_Range], _Range]]] = {
    "$neg": _negative,
    "$abs": _size,
    "$sqrt": _root,
    "$exp": _exponential,
    "$log": _log,
}
_BINARY: Final[Mapping[Operator, Callable[[_Range, _Range], _Range]]] = {
    "$add": _sum,
    "$mul": _product,
    "$min": _least,
    "$max": _greatest,
    "$sub": _difference,
    "$div": _quotient,
    "$pow": _power,
}
