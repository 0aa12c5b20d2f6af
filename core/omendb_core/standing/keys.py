"""(score, seq) as one integer that sorts as answers do: the currency of standing queries.

A key is a uint64: the score's 32 bits, made orderable, above the row's seq less a ``base`` that its
owner keeps (so that 32 bits are enough: a window is at most 10 million seqs wide). A larger key is
a better row: higher score first, then the newer seq. 0 is no row, and below every row.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from ..model.types import F32, U64

NO_ROW: Final = np.uint64(0)
_SIGN: Final = np.uint32(1 << 31)
_SHIFT: Final = np.uint64(32)
_LOW: Final = np.uint64(2**32 - 1)


def encode(scores: F32, offsets: U64) -> U64:
    """Keys of rows by ``scores`` float32 (n,), no NaN, and seqs less the base, 0 … 2³²−1.

    IEEE-754 numbers of one sign order as their bits do; negative ones the other way round. A -0
    would order below 0: scores never hold one.
    """
    bits = scores.view(np.uint32)
    ordered = np.where(bits & _SIGN, ~bits, bits | _SIGN)
    keys: U64 = (ordered.astype(np.uint64) << _SHIFT) | offsets
    return keys


def scores_of(keys: U64) -> F32:
    """The scores in ``keys``, which are of rows."""
    ordered = (keys >> _SHIFT).astype(np.uint32)
    bits = np.where(ordered & _SIGN, ordered & ~_SIGN, ~ordered)
    scores: F32 = bits.astype(np.uint32, copy=False).view(np.float32)
    return scores


def offsets_of(keys: U64) -> U64:
    """The seqs less the base in ``keys``."""
    return keys & _LOW


def rebased(keys: U64, by: int) -> U64:
    """``keys`` for a base that is larger by ``by``; offsets below it become 0, no row stays 0."""
    offsets = keys & _LOW
    return (keys & ~_LOW) | np.where(offsets > by, offsets - np.uint64(by), NO_ROW)
