"""From the checked tree of a filter to the mask of rows that pass, block by block.

Comparisons and their combination are numpy, arithmetic operands numexpr (``arithmetic``). Blocks
bound what lies in memory between the columns and the mask, whatever the capacity.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from ..model.types import F64, I64, NULL_CODE, NULL_INTEGER, U32, Bool1
from ..rows.columns import Columns, Slots
from .arithmetic import Operation, compute
from .tree import Compare, Every, Exists, Filter, Node, Not, OneOf, Order, Prefix, Some

#: Rows of a block: few enough that its intermediate arrays stay in the cache.
BLOCK_ROWS: Final = 1 << 15
#: Up to here, comparing with each value in turn is faster than a table.
FEW_VALUES: Final = 8
#: Where a dictionary has more codes than so many for each row asked about, sorting the rows' own
#: codes is less work than a table of all.
TEXTS_A_ROW: Final = 8

_COMPARISONS: Final[dict[Order, Callable[..., Bool1]]] = {
    "==": np.equal,
    "<": np.less,
    "<=": np.less_equal,
    ">": np.greater,
    ">=": np.greater_equal,
}


def evaluate(
    filter_: Filter, columns: Columns, slots: I64 | None, lists: Lists | None = None
) -> Bool1:
    """Which rows pass: a new bool array for ``slots`` int64 (n,), or for every slot if None.

    A slot without a live row may say either; one that was never written says False. ``lists``:
    those of the caller, where it asks more than once.
    """
    count = columns.used if slots is None else len(slots)
    mask = np.zeros(columns.capacity if slots is None else count, np.bool_)
    lists = lists or Lists()
    for start in range(0, count, BLOCK_ROWS):
        stop = min(start + BLOCK_ROWS, count)
        rows = slice(start, stop) if slots is None else slots[start:stop]
        mask[start:stop] = _Block(columns, rows, stop - start, lists).mask(filter_.root)
    return mask


def evaluate_block(filter_: Filter, columns: Columns, start: int, stop: int, lists: Lists) -> Bool1:
    """Which rows of the slots ``start … stop - 1``, at most ``BLOCK_ROWS`` of them, pass."""
    return _Block(columns, slice(start, stop), stop - start, lists).mask(filter_.root)


class Lists:
    """The codes of the texts in a filter's lists, looked up once for many blocks."""

    def __init__(self) -> None:
        self._codes: dict[str, list[int]] = {}

    def codes_of(self, node: OneOf, columns: Columns) -> list[int]:
        """As long as columns are as they were when they were looked up."""
        codes = self._codes.get(node.canonical)
        if codes is None:
            found = (columns.code_of(node.column, str(text)) for text in node.values)
            codes = self._codes[node.canonical] = [code for code in found if code is not None]
        return codes

    def forget_codes(self) -> None:
        """Columns may be written to from now on."""
        self._codes.clear()


class _Block:
    """``count`` rows of the columns."""

    def __init__(self, columns: Columns, rows: Slots, count: int, lists: Lists) -> None:
        self._columns = columns
        self._rows = rows
        self._count = count
        self._lists = lists

    def mask(self, node: Node) -> Bool1:
        """Which rows pass ``node``: an array of the caller's own."""
        match node:
            case Compare():
                return self._compare(node)
            case OneOf(column, type_):
                values = self._columns.values(column, self._rows)
                if type_ == "str":
                    codes = self._lists.codes_of(node, self._columns)
                    return _has_code(values, codes, self._columns.code_limit(column))
                if len(node.values) <= FEW_VALUES:
                    return _is_any(values, node.values)
                return node.numbers(values.dtype).has(values)
            case Prefix(column, text):
                return self._begins(column, text.encode("utf-8", "surrogatepass"))
            case Exists(column):
                return ~self._columns.is_null(column, self._rows)
            case Not(child):
                mask = self.mask(child)
                return np.logical_not(mask, out=mask)
            case Every(children):
                mask = np.ones(self._count, np.bool_)
                for child in children:
                    mask &= self.mask(child)
                return mask
            case Some(children):
                mask = np.zeros(self._count, np.bool_)
                for child in children:
                    mask |= self.mask(child)
                return mask

    def _compare(self, node: Compare) -> Bool1:
        holds = _COMPARISONS[node.order]
        if isinstance(node.operand, Operation):
            # i64 values are exact as float64, and NaN, on either side, fails every comparison.
            return holds(self._numbers(node.column), compute(node.operand, self._numbers))
        values = self._columns.values(node.column, self._rows)
        mask = holds(values, node.operand)
        if node.type == "i64" and node.order in ("<", "<="):
            mask &= values != NULL_INTEGER  # the least integer, so no other order lets it pass
        return mask

    def _begins(self, column: str, prefix: bytes) -> Bool1:
        """Each text that the rows hold is looked at once: nothing is kept that could be stale.

        UTF-8 begins with the bytes of a text where the text begins with it.
        """
        codes = self._columns.values(column, self._rows)
        held, places = _distinct(codes, self._columns.code_limit(column))
        texts = self._columns.texts(column, held.tolist())
        begins = np.array([*(text.startswith(prefix) for text in texts), False], np.bool_)
        return begins.take(places)

    def _numbers(self, column: str) -> F64:
        """A numeric column as float64, NaN for null."""
        values = self._columns.values(column, self._rows)
        if values.dtype == np.int64:
            numbers: F64 = values.astype(np.float64)
            numbers[values == NULL_INTEGER] = np.nan
            return numbers
        return values


def _has_code(codes: U32, wanted: list[int], limit: int) -> Bool1:
    """Which ``codes``, all below ``limit`` or null, are ``wanted``."""
    if len(wanted) <= FEW_VALUES:
        return _is_any(codes, wanted)
    table = np.zeros(limit + 1, np.bool_)
    table[wanted] = True
    return table.take(codes, mode="clip")  # a null reads the False at ``limit``


def _distinct(codes: U32, limit: int) -> tuple[U32, I64]:
    """The distinct ``codes`` without null, and the place among them of each; of null, the end."""
    if limit > TEXTS_A_ROW * len(codes):
        held, places = np.unique(codes, return_inverse=True)
        return held[held != NULL_CODE], places  # null is the greatest
    is_held = np.zeros(limit + 1, np.bool_)
    clipped = np.minimum(codes, np.uint32(limit))  # a null counts as ``limit``
    is_held[clipped] = True
    is_held[limit] = False
    held = np.flatnonzero(is_held).astype(np.uint32)
    place_of = np.full(limit + 1, len(held), np.int64)
    place_of[held] = np.arange(len(held))
    return held, place_of.take(clipped)


def _is_any(values: Any, wanted: Any) -> Bool1:
    mask = np.zeros(len(values), np.bool_)
    for value in wanted:
        mask |= values == value
    return mask
