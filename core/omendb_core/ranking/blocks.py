"""What an expression of ``rank`` is at most in blocks of rows, for scores up to some.

So most blocks say what a row of theirs has to score, before any score is known. Of a block is
known between what each column lies, and the ages; bounds of values come by ``intervals``. Knows
nothing of order.

Invariant: the value of every row of a block, for every score up to a point, is null or at most
what is said for that point.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..filters.masks import BLOCK_ROWS, Lists, evaluate_block
from ..model.types import F32, F64, I64, Bool1
from ..rows.columns import Columns
from .evaluation import Rows
from .intervals import OPERATIONS, Ends, Fixed
from .limits import Scored
from .tree import Age, ColumnValue, If, Node, Number, Operation

_MICROSECONDS: Final = 1e6


class Blocks(NamedTuple):
    """The slots ``start … stop - 1``, cut into blocks of ``rows``; the last may be shorter.

    ``times_us`` int64 by slot, and the time that ages count to, where the expression has ages.
    """

    columns: Columns
    start: int
    stop: int
    rows: int
    times_us: I64
    at: float | None


def highest(blocks: Blocks, scored: Scored, least: float, points: F32, lists: Lists) -> F64:
    """The most that values are, float64 (blocks, points), for scores from ``least`` to each point.

    ``points`` rise. -inf: no row has a value there.
    """
    expression = _Expression(blocks, scored, points, least, lists)
    with np.errstate(all="ignore"):
        most = expression.ends(scored.root).most
        found = np.broadcast_to(most, expression.count * len(points))
        found = np.where(np.isnan(found), -np.inf, found).reshape(expression.count, len(points))
        return np.maximum.accumulate(found, axis=1)


class _Expression:
    """Ends of nodes: with a score in them of blocks by points, flat; of others by blocks, or ()."""

    def __init__(
        self, blocks: Blocks, scored: Scored, points: F32, least: float, lists: Lists
    ) -> None:
        self.count = -(-(blocks.stop - blocks.start) // blocks.rows)
        self._blocks = blocks
        self._scored = scored
        self._points = len(points)
        most = np.tile(points.astype(np.float64), self.count)
        self._scores = Ends(lambda: np.array(least, np.float64), lambda: most)
        self._columns = Rows(blocks.columns, slice(blocks.start, blocks.stop), None, lists)
        self._lists = lists

    def ends(self, node: Node) -> Ends:
        """Of a node, by blocks and points."""
        if node not in self._scored:
            return self._by_points(self._fixed(node))
        match node:
            case If(_, then, otherwise):
                some, every = (np.repeat(one, self._points) for one in self._passing(node))
                return _either(some, every, self.ends(then), self.ends(otherwise))
            case Operation(operator, operands):
                return OPERATIONS[operator]([self.ends(one) for one in operands])
            case _:
                return self._scores

    def _by_points(self, ends: Ends) -> Ends:
        if isinstance(ends, Fixed):
            return ends  # a number
        return Ends(
            lambda: np.repeat(np.broadcast_to(ends.least, self.count), self._points),
            lambda: np.repeat(np.broadcast_to(ends.most, self.count), self._points),
        )

    def _fixed(self, node: Node) -> Ends:
        """Of a node without a score, by blocks."""
        match node:
            case Number(number):
                return Fixed(np.array(number, np.float64))
            case Operation(operator, operands):
                return OPERATIONS[operator]([self._fixed(one) for one in operands])
            case If(_, then, otherwise):
                some, every = self._passing(node)
                return _either(some, every, self._fixed(then), self._fixed(otherwise))
            case ColumnValue():
                return self._column(node)
            case Age():
                return self._ages()
        raise TypeError("a score is not fixed")

    def _column(self, node: ColumnValue) -> Ends:
        """The ends of what is not null; NaN where all is."""
        values = self._columns.column(ColumnValue(node.column))
        least, most = self._reduced(np.fmin, values), self._reduced(np.fmax, values)
        default = node.default
        if default is None:
            return Ends(lambda: least, lambda: most)
        has_null = self._reduced(np.logical_or, np.isnan(values))
        return Ends(
            lambda: np.where(has_null, np.fmin(least, default), least),
            lambda: np.where(has_null, np.fmax(most, default), most),
        )

    def _ages(self) -> Ends:
        times, at = self._blocks.times_us[self._blocks.start : self._blocks.stop], self._blocks.at
        if at is None:
            raise TypeError("an expression with $age needs a time")
        oldest, newest = self._reduced(np.minimum, times), self._reduced(np.maximum, times)
        # Both steps are rounded, which keeps order.
        return Ends(lambda: at - newest / _MICROSECONDS, lambda: at - oldest / _MICROSECONDS)

    def _passing(self, node: If) -> tuple[Bool1, Bool1]:
        """In which blocks some rows pass a filter, and in which all do."""
        passed = np.empty(self._blocks.stop - self._blocks.start, np.bool_)
        for start in range(self._blocks.start, self._blocks.stop, BLOCK_ROWS):
            stop = min(start + BLOCK_ROWS, self._blocks.stop)
            passed[start - self._blocks.start : stop - self._blocks.start] = evaluate_block(
                node.condition, self._blocks.columns, start, stop, self._lists
            )
        return self._reduced(np.logical_or, passed), self._reduced(np.logical_and, passed)

    def _reduced(self, by: np.ufunc, values: NDArray[Any]) -> Any:
        """What ``by`` makes of the values of each block."""
        whole = len(values) // self._blocks.rows * self._blocks.rows
        found = by.reduce(values[:whole].reshape(-1, self._blocks.rows), axis=1)
        if whole == len(values):
            return found
        return np.append(found, by.reduce(values[whole:]))


def _either(some: Bool1, every: Bool1, then: Ends, otherwise: Ends) -> Ends:
    """One branch, or both where some rows pass and some do not."""
    return Ends(
        lambda: np.where(
            every, then.least, np.where(some, np.fmin(then.least, otherwise.least), otherwise.least)
        ),
        lambda: np.where(
            every, then.most, np.where(some, np.fmax(then.most, otherwise.most), otherwise.most)
        ),
    )
