"""What shapes the answers of live queries that are not plain, by handle.

Values, and floors by rank; nothing of rows. While every query is plain there is nothing here, and
nothing to ask: ``has_orders`` and ``has_selections`` say so.
"""

from __future__ import annotations

from sys import getsizeof
from typing import Final

import numpy as np

from ..model.types import C128, F64, I64, Bool1
from ..ranking.costs import ns_a_row
from ..ranking.shape import PLAIN, Decay, Order, Rank, Shape
from ..ranking.tree import bytes_of
from .ordered_keys import NO_ROW

NO_ORDER: Final = -1
_ARRAYS: Final = ("floors", "half_lives", "orders", "selects", "spreads", "reads_columns")
#: Bytes of the arrays for one query, and of its shape (an entry of a dict, and the objects).
_ROW_BYTES: Final = 16 + 8 + 8 + 1 + 1 + 1
_SHAPE_BYTES: Final = 400


class Shapes:
    """``by_handle``: the shapes of those that are not plain.

    Arrays, as long as the table's where there is any shape: ``floors`` complex (rows,), of lists
    with an order; ``half_lives`` float64, NaN but for decays; ``orders`` int64, the number of what
    is looked up for an order's ranks (``distinct``), -1: none; ``selects``, ``spreads`` and
    ``reads_columns`` bool: whether rows may be skipped, also for those that they are like, and
    whether columns of rows say which or where they stand.
    """

    def __init__(self) -> None:
        self.by_handle: dict[int, Shape] = {}
        #: A decay, whatever its half-life, or a rank.
        self.distinct: dict[int, Order] = {}
        self._numbers: dict[str, int] = {}
        self._uses: dict[int, int] = {}
        self._ns: dict[int, float] = {}
        self._next = 0
        self._selecting = 0
        self._shape_bytes = 0
        self._make_arrays(0)

    @property
    def has_orders(self) -> bool:
        """Whether any query has an order."""
        return bool(self.distinct)

    @property
    def has_selections(self) -> bool:
        """Whether any query may skip rows."""
        return self._selecting > 0

    @property
    def nbytes(self) -> int:
        """Bytes of all of it."""
        return _ROW_BYTES * len(self.floors) + self._shape_bytes

    @staticmethod
    def bytes_for(shape: Shape) -> int:
        """Bytes that one query's shape takes."""
        return 0 if shape == PLAIN else _ROW_BYTES + _bytes_of(shape)

    def put(self, handle: int, shape: Shape, rows: int) -> None:
        """A query of a table of ``rows`` has this shape; PLAIN: it is not here any more."""
        if handle in self.by_handle:
            self._drop(handle)
        if shape == PLAIN:
            return
        self.fit(rows, at_least=1)
        self.by_handle[handle] = shape
        self._shape_bytes += _bytes_of(shape)
        self._selecting += shape.selects
        self.selects[handle] = shape.selects
        self.spreads[handle] = shape.spread is not None
        self.reads_columns[handle] = shape.group is not None or _reads_columns(shape.order)
        if shape.order is not None:
            self.orders[handle] = self._number(shape.order)
        if isinstance(shape.order, Decay):
            self.half_lives[handle] = shape.order.half_life_seconds

    def of(self, handle: int) -> Shape:
        """A query's shape."""
        return self.by_handle.get(handle, PLAIN)

    def orders_of(self, handles: I64) -> I64:
        """``orders`` of queries."""
        return self.orders[handles] if self.has_orders else np.full(len(handles), NO_ORDER)

    def ns_of(self, number: int) -> float:
        """What the expression of an order takes for a row; 0: it is none."""
        return self._ns.get(number, 0.0)

    def uses_of(self, number: int) -> int:
        """How many queries have an order."""
        return self._uses[number]

    def are_ordered(self, handles: I64) -> Bool1:
        """Which queries have an order."""
        if not self.has_orders:
            return np.zeros(len(handles), np.bool_)
        ordered: Bool1 = self.orders[handles] != NO_ORDER
        return ordered

    def are_selecting(self, handles: I64) -> Bool1:
        """Which queries may skip rows."""
        if not self.has_selections:
            return np.zeros(len(handles), np.bool_)
        return self.selects[handles]

    def fit(self, rows: int, at_least: int = 0) -> None:
        """Be as long as the table, if there are so many shapes."""
        if len(self.by_handle) + at_least and rows != len(self.floors):
            before = [getattr(self, name) for name in _ARRAYS]
            self._make_arrays(rows)
            for name, old in zip(_ARRAYS, before, strict=True):
                kept = min(rows, len(old))
                getattr(self, name)[:kept] = old[:kept]

    def _make_arrays(self, rows: int) -> None:
        self.floors: C128 = np.full(rows, NO_ROW)
        self.half_lives: F64 = np.full(rows, np.nan)
        self.orders: I64 = np.full(rows, NO_ORDER)
        self.selects: Bool1 = np.zeros(rows, np.bool_)
        self.spreads: Bool1 = np.zeros(rows, np.bool_)
        self.reads_columns: Bool1 = np.zeros(rows, np.bool_)

    def _drop(self, handle: int) -> None:
        shape = self.by_handle.pop(handle)
        self._selecting -= shape.selects
        self._shape_bytes -= _bytes_of(shape)
        number = int(self.orders[handle])
        if number != NO_ORDER:
            self._uses[number] -= 1
            if not self._uses[number]:
                del self._uses[number]
                self._ns.pop(number, None)
                del self._numbers[_key(self.distinct.pop(number))]
        if not self.by_handle:
            self._make_arrays(0)
            return
        self.floors[handle], self.half_lives[handle] = NO_ROW, np.nan
        self.orders[handle] = NO_ORDER
        self.selects[handle] = self.spreads[handle] = self.reads_columns[handle] = False

    def _number(self, order: Order) -> int:
        key = _key(order)
        number = self._numbers.get(key)
        if number is None:
            number = self._next
            self._next += 1
            self._numbers[key] = number
            self.distinct[number] = order
            if isinstance(order, Rank):
                self._ns[number] = ns_a_row(order.expression)
        self._uses[number] = self._uses.get(number, 0) + 1
        return number


def _bytes_of(shape: Shape) -> int:
    """What a shape takes; the text of an expression twice, as one key has it, too."""
    if not isinstance(shape.order, Rank):
        return _SHAPE_BYTES
    expression = shape.order.expression
    return _SHAPE_BYTES + bytes_of(expression) + getsizeof(expression.canonical)


def _key(order: Order) -> str:
    """What two orders have in common if their ranks are found alike."""
    if isinstance(order, Decay):
        return "decay" if order.column is None else f"decay {order.column}"
    return f"rank {order.expression.canonical}"


def _reads_columns(order: Order | None) -> bool:
    if isinstance(order, Decay):
        return order.column is not None
    return order is not None and bool(order.expression.columns)
