"""What an expression of ``rank`` is at most for rows of whose scores bounds are known.

Interval arithmetic (Moore) over a block of rows: so most rows are left out of an answer by bounds
of their scores, which cost a tenth of the scores. Reads columns as ``evaluation`` does; knows
nothing of order.

Invariant, of every node and any score within its bounds: a value that is not null lies within
``least`` and ``most``. NaN says that the value is null whatever the score; where nothing can be
told the ends are infinite. Of nodes without a score both are the value itself, to the bit.

The operations round as those of the values do, and rounding keeps order, so ends need no slack; but
of ``exp`` and ``pow`` nobody promises that they rise: their ends are moved by 2**-50 (they are
within 1.02 ulp).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Final, TypeAlias

import numpy as np

from ..model.types import F32, Bool1
from .evaluation import Rows, Value, apply
from .tree import If, Node, Operation, Operator, Score

_MORE: Final = 1 + 2.0**-50
_LESS: Final = 1 - 2.0**-50
#: More than a subnormal result is off by.
_TINY: Final = 2.0**-1070
_NO_SCORES: Final = np.empty(0)


class Ends:
    """Least and most of a node, (n,) or () each; either is computed when it is asked for."""

    def __init__(self, least: Callable[[], Value], most: Callable[[], Value]) -> None:
        self._make_least = least
        self._make_most = most

    @cached_property
    def least(self) -> Value:
        """No value that is not null is less; anything where ``most`` is NaN."""
        return self._make_least()

    @cached_property
    def most(self) -> Value:
        """No value is more; NaN: the value is null."""
        return self._make_most()


class Fixed(Ends):
    """The ends of a node without a score: its value."""

    def __init__(self, value: Value) -> None:
        super().__init__(lambda: value, lambda: value)


class Scored:
    """An expression, and which of its nodes have a score in them."""

    def __init__(self, root: Node) -> None:
        self.root = root
        self._nodes: set[int] = set()
        self._note(root)

    def __contains__(self, node: Node) -> bool:
        return id(node) in self._nodes

    def _note(self, node: Node) -> bool:
        match node:
            case Score():
                has_score = True
            case If(_, then, otherwise):
                has_score = self._note(then) | self._note(otherwise)
            case Operation(_, operands):
                noted = [self._note(one) for one in operands]  # all of them
                has_score = True in noted
            case _:
                has_score = False
        if has_score:
            self._nodes.add(id(node))
        return has_score


class Limits:
    """Ends of an expression for one block of rows, and any number of queries."""

    def __init__(self, rows: Rows, scored: Scored) -> None:
        self._rows = rows
        self._scored = scored
        self._fixed: dict[int, Fixed] = {}

    def most(self, lower: F32, upper: F32) -> Value:
        """What the values are at most for scores float32 (n,) within ``lower`` and ``upper``."""
        scores = Ends(lambda: lower.astype(np.float64), lambda: upper.astype(np.float64))
        with np.errstate(all="ignore"):
            return self._ends(self._scored.root, scores).most

    def _ends(self, node: Node, scores: Ends) -> Ends:
        if node not in self._scored:
            return self._value(node)
        match node:
            case If(_, then, otherwise):
                one, other = self._ends(then, scores), self._ends(otherwise, scores)
                return Ends(
                    lambda: np.where(self._rows.passed(node), one.least, other.least),
                    lambda: np.where(self._rows.passed(node), one.most, other.most),
                )
            case Operation(operator, operands):
                return _OPERATIONS[operator]([self._ends(one, scores) for one in operands])
            case _:
                return scores

    def _value(self, node: Node) -> Fixed:
        """Of a node without a score; computed once for all queries."""
        known = self._fixed.get(id(node))
        if known is None:
            known = self._fixed[id(node)] = Fixed(self._rows.value(node, _NO_SCORES))
        return known


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
    """Of a base that is at least 0: for an exponent that is known it rises, or it falls."""
    base, exponent = operands

    def end(of: Callable[[list[Value]], Value], by: float, tiny: float, unknown: float) -> Value:
        if not isinstance(exponent, Fixed):
            return np.where(_is_null(operands), np.nan, unknown)
        power = of([apply("$pow", [one, exponent.most]) for one in (base.least, base.most)])
        is_sure = (base.least >= 0) | _is_null(operands)
        return _known(
            np.where(is_sure, np.maximum(power * by + tiny, 0.0), unknown), unknown, operands
        )

    return Ends(
        lambda: end(_least_of, _LESS, -_TINY, -np.inf), lambda: end(_most_of, _MORE, _TINY, np.inf)
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
        lambda: np.maximum(apply("$exp", [one.least]) * _LESS - _TINY, 0.0),
        lambda: apply("$exp", [one.most]) * _MORE + _TINY,
    )


_OPERATIONS: Final[Mapping[Operator, Callable[[Operands], Ends]]] = {
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
