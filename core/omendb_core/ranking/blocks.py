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
from ..rows.extremes import Extremes
from .evaluation import Rows
from .intervals import OPERATIONS, Ends, Fixed
from .limits import Scored
from .tree import Age, ColumnValue, If, Node, Number, Operation

_MICROSECONDS: Final = 1e6
#: Fewer are taken together in one call, more sixteen at a time.
_FEW_VALUES: Final = 1 << 12
#: Rows that extremes are kept of together.
WORD_ROWS: Final = 64


class Blocks(NamedTuple):
    """The slots ``start … stop - 1``, cut into blocks of ``rows``; the last may be shorter.

    ``times_us`` int64 by slot, and the time that ages count to, where the expression has ages.
    ``turn``: they never fall along the slots but where that one begins anew; None: they may.
    ``extremes`` are asked instead of the rows, where there are any and blocks are of whole words.
    """

    columns: Columns
    start: int
    stop: int
    rows: int
    times_us: I64
    at: float | None
    turn: int | None = None
    extremes: Extremes | None = None


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
        least, most, has_null = self._numbers(node.column)
        default = node.default
        if default is None:
            return Ends(lambda: least, lambda: most)
        return Ends(
            lambda: np.where(has_null, np.fmin(least, default), least),
            lambda: np.where(has_null, np.fmax(most, default), most),
        )

    def _numbers(self, column: str) -> tuple[F64, F64, Bool1]:
        """Of each block the least and the most of what is not null, and whether any is."""
        blocks, extremes = self._blocks, self._blocks.extremes
        is_of_words = not blocks.start % WORD_ROWS and not blocks.rows % WORD_ROWS
        if extremes is None or not is_of_words or not extremes.knows(column):
            values = self._columns.column(ColumnValue(column))
            least, most = self._reduced(np.fmin, values), self._reduced(np.fmax, values)
            return least, most, self._reduced(np.logical_or, np.isnan(values))
        words = column, blocks.start // WORD_ROWS, -(-blocks.stop // WORD_ROWS)
        each = blocks.rows // WORD_ROWS
        least = _reduced(np.minimum, extremes.least(*words), each)
        most = _reduced(np.maximum, extremes.greatest(*words), each)
        has_null = _reduced(np.logical_or, extremes.has_null(*words), each)
        is_none = least > most
        return np.where(is_none, np.nan, least), np.where(is_none, np.nan, most), has_null

    def _ages(self) -> Ends:
        at = self._blocks.at
        if at is None:
            raise TypeError("an expression with $age needs a time")
        oldest, newest = self._times()
        # Both steps are rounded, which keeps order.
        return Ends(lambda: at - newest / _MICROSECONDS, lambda: at - oldest / _MICROSECONDS)

    def _times(self) -> tuple[I64, I64]:
        """Of each block the first and the last, in microseconds."""
        blocks, turn = self._blocks, self._blocks.turn
        if turn is None:
            times = blocks.times_us[blocks.start : blocks.stop]
            return self._reduced(np.minimum, times), self._reduced(np.maximum, times)
        starts = np.arange(blocks.start, blocks.stop, blocks.rows)
        oldest = blocks.times_us[starts]
        newest = blocks.times_us[np.minimum(starts + blocks.rows, blocks.stop) - 1]
        if blocks.start < turn < blocks.stop and (turn - blocks.start) % blocks.rows:
            place = (turn - blocks.start) // blocks.rows
            oldest[place], newest[place] = blocks.times_us[[turn, turn - 1]]
        return oldest, newest

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
        return _reduced(by, values, self._blocks.rows)


def _reduced(by: np.ufunc, values: NDArray[Any], together: int) -> Any:
    """What ``by`` makes of so many values each; the last may be fewer."""
    if len(values) < _FEW_VALUES:
        return by.reduceat(values, np.arange(0, len(values), together))
    whole = len(values) // together * together
    found = by.reduce(values[:whole].reshape(-1, together), axis=1)
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
