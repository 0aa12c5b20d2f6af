"""Masks of filters over a window's columns, kept, and brought up to date by the rows that changed.

A mask says of every slot whether its row passes, live or not: a row's truth changes only when its
columns are written. So what leaves costs nothing here, and between two searches with the same
filter only the rows written meanwhile are looked at.

Bounded: MASKS of them, of which the least recently used goes, and one for each maker that is being
made in pieces. Filters are not kept, as their texts may be as long as a message, and a long text is
known by its hash.

Invariant (``check``): of live rows a mask that was brought up to date is what ``evaluate`` says.
"""

from __future__ import annotations

import weakref
from collections import OrderedDict
from hashlib import sha256
from typing import Final, Literal, NamedTuple, TypeAlias

import numpy as np

from .. import native
from ..model.types import I64, U64, Bool1
from ..rows.columns import Columns
from ..rows.ring import pack, words_for
from .costs import ns_a_row
from .masks import BLOCK_ROWS, Lists, evaluate, evaluate_block
from .tree import Filter

#: Masks of one window: 4 bytes a row.
MASKS: Final = 32


#: What masks may take to be made at once, and what a piece of one should take, in nanoseconds.
AT_ONCE_NS: Final = 3_000_000
_PIECE_NS: Final = 2_000_000
#: Rows of a piece, however long they take: whole words of a mask.
_LEAST_ROWS: Final = 1 << 10
#: Characters of a filter's text that is kept as it is; a mask's other objects take as much.
_KEY_CHARACTERS: Final = 512
_MASK_BYTES: Final = 2 * _KEY_CHARACTERS

#: Who has masks made in pieces: they do not give up each other's.
Maker: TypeAlias = Literal["reads", "lists"]
_MAKERS: Final = 2


class _Mask(NamedTuple):
    """``words`` as they were after ``total`` writes."""

    key: str
    filter: weakref.ref[Filter]
    words: U64
    total: int


class _Making(NamedTuple):
    """A mask that is made in pieces: the first ``done`` slots are."""

    mask: _Mask
    done: int
    lists: Lists


class MaskCache:
    """The masks of one window's filters."""

    def __init__(self, columns: Columns) -> None:
        self._columns = columns
        self._masks: OrderedDict[str, _Mask] = OrderedDict()
        self._making: dict[Maker, _Making] = {}

    @staticmethod
    def bytes_for(capacity: int) -> int:
        """Bytes that the masks of a window of this size may take."""
        return (MASKS + _MAKERS) * (words_for(capacity) * 8 + _MASK_BYTES)

    def words(self, filter_: Filter) -> U64:
        """Mask words of the rows that pass ``filter_``, live or not. Not to be written to."""
        key = key_of(filter_)
        kept = self._masks.pop(key, None)
        written = None if kept is None else self._columns.writes.since(kept.total)
        if kept is None or written is None:
            words = pack(evaluate(filter_, self._columns, None))
        else:
            words = kept.words
            self._look_again(filter_, words, written)
        self._keep(_Mask(key, weakref.ref(filter_), words, self._columns.writes.total))
        return words

    def takes_long(self, filter_: Filter) -> bool:
        """Whether ``words`` is better asked after ``make_piece`` has made the mask."""
        return self.cost_ns(filter_) > AT_ONCE_NS

    def cost_ns(self, filter_: Filter) -> float:
        """Nanoseconds that ``words`` takes, about; 0 where the mask is there."""
        kept = self._masks.get(key_of(filter_))
        if kept is not None and self._columns.writes.knows(kept.total):
            return 0.0
        return self._columns.used * ns_a_row(filter_.root)

    def make_piece(self, filter_: Filter, maker: Maker) -> bool:
        """Make a block more of a mask; whether it is complete, and ``words`` quick.

        One mask at a time of each maker: a piece of another one gives up what was made of it.
        """
        columns, key = self._columns, key_of(filter_)
        making = self._making.pop(maker, None)
        if making is None or making.mask.key != key:
            words, done, lists = np.zeros(words_for(columns.capacity), np.uint64), 0, Lists()
        else:
            words, done, lists = making.mask.words, making.done, making.lists
            written = columns.writes.since(making.mask.total)
            if written is None:  # too much was written in between: it would never be complete
                self.words(filter_)
                return True
            self._look_again(filter_, words, written[written < done])
        stop = min(done + _piece_rows(filter_), columns.used)
        lists.forget_codes()
        block = pack(evaluate_block(filter_, columns, done, stop, lists))
        words[done // 64 : done // 64 + len(block)] = block
        mask = _Mask(key, weakref.ref(filter_), words, columns.writes.total)
        if stop >= columns.used:
            self._keep(mask)
            return True
        self._making[maker] = _Making(mask, stop, lists)
        return False

    def _look_again(self, filter_: Filter, words: U64, slots: I64) -> None:
        """Set the bits of slots that were written."""
        if len(slots):
            _set_bits(words, slots, evaluate(filter_, self._columns, slots))

    def _keep(self, mask: _Mask) -> None:
        self._masks.pop(mask.key, None)
        self._masks[mask.key] = mask
        if len(self._masks) > MASKS:
            self._masks.popitem(last=False)

    def check(self, live_words: U64) -> None:
        """Raise AssertionError if a mask, brought up to date, is wrong about a live row."""
        for kept in list(self._masks.values()):
            if (filter_ := kept.filter()) is None:
                continue
            expected = pack(evaluate(filter_, self._columns, None))
            wrong = (self.words(filter_) ^ expected) & live_words
            assert not wrong.any(), "a mask is not what its filter says"


def key_of(filter_: Filter) -> str:
    """What two filters have in common only if they are equal."""
    text = filter_.canonical
    if len(text) <= _KEY_CHARACTERS:
        return text
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _piece_rows(filter_: Filter) -> int:
    rows = int(_PIECE_NS / ns_a_row(filter_.root)) // 64 * 64
    return min(max(rows, _LEAST_ROWS), BLOCK_ROWS)


def _set_bits(words: U64, slots: I64, passed: Bool1) -> None:
    """The bit of each slot; twice the same slot passes twice, or not."""
    if native.is_used:
        native.compiled.set_bits(words, slots, passed.view(np.uint8))
        return
    bits = np.left_shift(np.uint64(1), (slots & 63).view(np.uint64))
    np.bitwise_and.at(words, slots >> 6, ~bits)
    np.bitwise_or.at(words, slots[passed] >> 6, bits[passed])
