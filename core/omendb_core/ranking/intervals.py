"""Interval arithmetic of ``rank`` expressions: between what values lie, by bounds of operands.

Nothing is widened for rounding where an operation is rounded correctly: rounding keeps order, so
the rounded result at the end of an interval bounds all within. ``log`` never falls either; ``exp``
and powers are within 2 ulp of the true value, by which their ends are widened. That an operand may
occur twice, and that those of one row go together, is not looked at, which makes intervals wider
and not wrong (R. E. Moore, *Interval Analysis*, 1966).

Invariant: every value is null, or within its ends. An end that is NaN says that it is null for
certain; where nothing is known the ends are infinite. Knows operators; nothing of rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Final, TypeAlias

import numpy as np

from ..model.types import Bool1
from .evaluation import Value, apply
from .tree import Operator

#: More than 4 ulp of any number, and of the subnormal ones.
_RELATIVE: Final = 2.0**-49
_ABSOLUTE: Final = 2.0**-1070
_MOST: Final = float(np.finfo(np.float64).max)


class Ends:
    """Least and most of a node, (n,) or () each; either is computed when it is asked for.

    (``cached_property`` takes a lock for each: a fifth of the time where arrays are short.)
    """

    __slots__ = ("_least", "_make_least", "_make_most", "_most")

    def __init__(self, least: Callable[[], Value], most: Callable[[], Value]) -> None:
        self._make_least = least
        self._make_most = most
        self._least: Value | None = None
        self._most: Value | None = None

    @property
    def least(self) -> Value:
        """No value that is not null is less; anything where ``most`` is NaN."""
        if self._least is None:
            self._least = self._make_least()
        return self._least

    @property
    def most(self) -> Value:
        """No value is more; NaN: the value is null."""
        if self._most is None:
            self._most = self._make_most()
        return self._most


class Fixed(Ends):
    """The ends of a node without a score: its value."""

    __slots__ = ()

    def __init__(self, value: Value) -> None:
        super().__init__(lambda: value, lambda: value)


Operands: TypeAlias = Sequence[Ends]


def _known(end: Value, unknown: float, operands: Operands) -> Value:
    """``end``; where it is NaN and no operand is null, ``unknown``."""
    is_nan = np.isnan(end)
    if not is_nan.any():
        return end
    return np.where(is_nan & ~_is_null(operands), unknown, end)


def _is_null(operands: Operands) -> Bool1:
    is_null: Bool1 = np.isnan(operands[0].most)
    for one in operands[1:]:
        is_null = is_null | np.isnan(one.most)
    return is_null


def _rising(operator: Operator) -> Callable[[Operands], Ends]:
    """Of an operator that rises with each of its operands."""

    def ends(operands: Operands) -> Ends:
        return Ends(
            lambda: _known(apply(operator, [one.least for one in operands]), -np.inf, operands),
            lambda: _known(apply(operator, [one.most for one in operands]), np.inf, operands),
        )

    return ends


def _difference(operands: Operands) -> Ends:
    one, other = operands
    return Ends(
        lambda: _known(one.least - other.most, -np.inf, operands),
        lambda: _known(one.most - other.least, np.inf, operands),
    )


def _product(operands: Operands) -> Ends:
    ends = operands[0]
    for other in operands[1:]:
        ends = _product_of_two(ends, other)
    return ends


def _product_of_two(one: Ends, other: Ends) -> Ends:
    operands = one, other
    if isinstance(one, Fixed):
        one, other = other, one
    if isinstance(other, Fixed) and not (other.most < 0).any():
        return Ends(
            lambda: _known(one.least * other.most, -np.inf, operands),
            lambda: _known(one.most * other.most, np.inf, operands),
        )

    def corners() -> list[Value]:
        return [a * b for a in (one.least, one.most) for b in (other.least, other.most)]

    return Ends(
        lambda: _known(_least_of(corners()), -np.inf, operands),
        lambda: _known(_most_of(corners()), np.inf, operands),
    )


def _quotient(operands: Operands) -> Ends:
    one, other = operands
    if isinstance(other, Fixed) and not (other.most <= 0).any():
        return Ends(
            lambda: _known(one.least / other.most, -np.inf, operands),
            lambda: _known(one.most / other.most, np.inf, operands),
        )

    def end(of: Callable[[list[Value]], Value], unknown: float) -> Value:
        corners = [a / b for a in (one.least, one.most) for b in (other.least, other.most)]
        is_apart = (other.least > 0) | (other.most < 0)  # from 0
        known = np.where(is_apart | _is_null(operands), of(corners), unknown)
        return _known(known, unknown, operands)

    return Ends(lambda: end(_least_of, -np.inf), lambda: end(_most_of, np.inf))


def _least_of(corners: list[Value]) -> Value:
    """NaN where one is."""
    least = corners[0]
    for corner in corners[1:]:
        least = np.minimum(least, corner)
    return least


def _most_of(corners: list[Value]) -> Value:
    return -_least_of([-corner for corner in corners])


def _power(operands: Operands) -> Ends:
    """Of a base below 0 only with a fixed exponent that is even, or odd and above 0."""
    base, exponent = operands

    @cache
    def both() -> tuple[Value, Value]:
        number = exponent.least
        fixed = (number == exponent.most) & np.isfinite(number) & (np.floor(number) == number)
        is_even = fixed & (np.fmod(number, 2) == 0)
        is_odd_and_rises = fixed & ~is_even & (number > 0)
        # -0 to the power of -1 is -inf, and ends do not tell zeros apart.
        has_zero = (base.least <= 0) & (base.most >= 0)
        is_negative = (base.least < 0) | (has_zero & (exponent.least < 0))
        size = _magnitude([base])
        # exp(y ln x), and y ln x is monotone in each of y and ln x.
        bases = [
            np.where(is_even, one, other)
            for one, other in ((size.least, base.least), (size.most, base.most))
        ]
        powers = [exponent.most]
        if not isinstance(exponent, Fixed):
            powers.append(exponent.least)
        corners = [apply("$pow", [x, y]) for x in bases for y in powers]
        least, most = _below(_least_of(corners)), _above(_most_of(corners))
        least = np.where(is_negative & is_odd_and_rises, least, np.maximum(least, 0.0))
        anything = is_negative & ~is_even & ~is_odd_and_rises
        return np.where(anything, np.nan, least), np.where(anything, np.nan, most)

    return Ends(
        lambda: _known(both()[0], -np.inf, operands), lambda: _known(both()[1], np.inf, operands)
    )


def _negative(operands: Operands) -> Ends:
    [one] = operands
    return Ends(lambda: -one.most, lambda: -one.least)


def _magnitude(operands: Operands) -> Ends:
    [one] = operands
    return Ends(
        lambda: np.where(one.least > 0, one.least, np.where(one.most < 0, -one.most, 0.0)),
        lambda: np.maximum(np.abs(one.least), np.abs(one.most)),
    )


def _root(operands: Operands) -> Ends:
    [one] = operands
    return Ends(lambda: np.sqrt(_from_zero(one.least)), lambda: np.sqrt(one.most))


def _logarithm(operands: Operands) -> Ends:
    [one] = operands
    return Ends(lambda: apply("$log", [_from_zero(one.least)]), lambda: apply("$log", [one.most]))


def _from_zero(least: Value) -> Value:
    """What is less makes null."""
    return np.where(least < 0, 0.0, least)


def _exponential(operands: Operands) -> Ends:
    [one] = operands
    return Ends(
        lambda: np.maximum(_below(apply("$exp", [one.least])), 0.0),
        lambda: _above(apply("$exp", [one.most])),
    )


def _below(value: Value) -> Value:
    """No more than what a function gives where its true value is no less than that of ``value``."""
    value = np.minimum(value, _MOST)
    return value - (np.abs(value) * _RELATIVE + _ABSOLUTE)


def _above(value: Value) -> Value:
    return -_below(-value)


#: Ends of an operator's result, by those of its operands.
OPERATIONS: Final[Mapping[Operator, Callable[[Operands], Ends]]] = {
    "$add": _rising("$add"),
    "$mul": _product,
    "$min": _rising("$min"),
    "$max": _rising("$max"),
    "$sub": _difference,
    "$div": _quotient,
    "$pow": _power,
    "$neg": _negative,
    "$abs": _magnitude,
    "$sqrt": _root,
    "$exp": _exponential,
    "$log": _logarithm,
}
