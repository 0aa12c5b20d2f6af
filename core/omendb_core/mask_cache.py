"""Masks of filters over a window's columns, kept, and brought up to date by the rows that changed.

A mask says of every slot whether its row passes, live or not: a row's truth changes only when its
columns are written. So what leaves costs nothing here, and between two searches with the same
filter only the rows written meanwhile are looked at.

Bounded: MASKS of them, of which the least recently used goes. Invariant (``check``): of live rows a
mask that was brought up to date is what ``evaluate`` says.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, NamedTuple

import numpy as np

from .columns import Columns
from .filter_masks import evaluate
from .filter_tree import Filter
from .ring import pack, words_for
from .types import I64, U64, Bool1

#: Masks of one window: 4 bytes a row.
MASKS: Final = 32


class _Mask(NamedTuple):
    """``words`` as they were after ``total`` writes."""

    filter: Filter
    words: U64
    total: int


class MaskCache:
    """The masks of one window's filters."""

    def __init__(self, columns: Columns) -> None:
        self._columns = columns
        self._masks: OrderedDict[str, _Mask] = OrderedDict()

    @staticmethod
    def bytes_for(capacity: int) -> int:
        """Bytes that the masks of a window of this size may take."""
        return MASKS * words_for(capacity) * 8

    def words(self, filter_: Filter) -> U64:
        """Mask words of the rows that pass ``filter_``, live or not. Not to be written to."""
        kept = self._masks.pop(filter_.canonical, None)
        written = None if kept is None else self._columns.writes.since(kept.total)
        if kept is None or written is None:
            words = pack(evaluate(filter_, self._columns, None))
        else:
            words = kept.words
            if len(written):
                passed = evaluate(filter_, self._columns, written)
                _set_bits(words, written, ~passed, value=False)
                _set_bits(words, written, passed, value=True)
        self._masks[filter_.canonical] = _Mask(filter_, words, self._columns.writes.total)
        if len(self._masks) > MASKS:
            self._masks.popitem(last=False)
        return words

    def check(self, live_words: U64) -> None:
        """Raise AssertionError if a mask, brought up to date, is wrong about a live row."""
        for kept in list(self._masks.values()):
            expected = pack(evaluate(kept.filter, self._columns, None))
            wrong = (self.words(kept.filter) ^ expected) & live_words
            assert not wrong.any(), "a mask is not what its filter says"


def _set_bits(words: U64, slots: I64, chosen: Bool1, *, value: bool) -> None:
    some = slots[chosen]
    bits = np.left_shift(np.uint64(1), (some & 63).view(np.uint64))
    if value:
        np.bitwise_or.at(words, some >> 6, bits)
    else:
        np.bitwise_and.at(words, some >> 6, ~bits)
