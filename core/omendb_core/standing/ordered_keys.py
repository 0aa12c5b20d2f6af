"""(rank, score, seq) as one complex number that sorts as ordered answers do.

The real part is the row's rank, -inf for null. The imaginary part is a float64 whose bits are the
score and the seq less the base, as ``keys`` has them: positive float64s sort as their bits do. So
numpy's order of complex numbers, by real parts and then by imaginary ones, is that of
``ranking.orders``, and a list of them is sorted in one go (0.2 µs for 96 that are nearly sorted;
two arrays and ``lexsort`` take 4).

Which of score and seq comes first depends on the order: rows that decay, and have a rank, go by seq
alone where ranks are equal, all others by score first. A bit says which, and with it the float64 is
always a normal one: neither NaN nor subnormal (which some libraries have processors take for 0).

=======  ========================  =========================
bits     score first               seq first
=======  ========================  =========================
62, 61   0, 1                      1, 0
60 … 29  the score's 32 bits       60 … 32: the seq's 29
28 … 0   the seq's 29 bits         31 … 0: the score's 32
=======  ========================  =========================
"""

from __future__ import annotations

from typing import Final

import numpy as np

from ..model.types import C128, F32, F64, U64, Bool1
from . import keys as plain

#: No row: below every row.
NO_ROW: Final = np.complex128(complex(-np.inf, 0.0))
OFFSET_BITS: Final = 29
_OFFSETS: Final = np.uint64(2**OFFSET_BITS - 1)
_SCORE_SHIFT: Final = np.uint64(OFFSET_BITS)
_SCORE_FIRST: Final = np.uint64(1 << 61)
_SEQ_FIRST: Final = np.uint64(1 << 62)
_SEQ_SHIFT: Final = np.uint64(32)
_SCORES: Final = np.uint64(2**32 - 1)
_PAYLOAD: Final = np.uint64(2**61 - 1)


def encode(ranks: F64, scores: F32, offsets: U64, decays: Bool1) -> C128:
    """Keys of rows by rank float64 (n,), NaN for null; ``decays``: whether their query does."""
    bits = plain.encode(scores, np.zeros(1, np.uint64)) >> _SEQ_SHIFT
    is_null = np.isnan(ranks)
    by_seq = (offsets << _SEQ_SHIFT) | bits | _SEQ_FIRST
    by_score = (bits << _SCORE_SHIFT) | offsets | _SCORE_FIRST
    keys: C128 = np.empty(len(ranks), np.complex128)
    keys.real = np.where(is_null, -np.inf, ranks)
    keys.imag = np.where(decays & ~is_null, by_seq, by_score).view(np.float64)
    return keys


def are_above(keys: C128, floors: C128) -> Bool1:
    """Which keys are larger than ``floors[i]``."""
    above: Bool1 = (keys.real > floors.real) | (
        (keys.real == floors.real) & (keys.imag > floors.imag)
    )
    return above


def ranks_of(keys: C128) -> F64:
    """The ranks in ``keys``, which are of rows; NaN for null."""
    ranks: F64 = np.where(np.isneginf(keys.real), np.nan, keys.real)
    return ranks


def scores_of(keys: C128) -> F32:
    """The scores in ``keys``, which are of rows."""
    bits = _bits(keys)
    ordered = np.where(_has_seq_first(bits), bits & _SCORES, (bits & _PAYLOAD) >> _SCORE_SHIFT)
    return plain.scores_of(ordered << _SEQ_SHIFT)


def offsets_of(keys: C128) -> U64:
    """The seqs less the base in ``keys``."""
    bits = _bits(keys)
    return np.where(_has_seq_first(bits), (bits & _PAYLOAD) >> _SEQ_SHIFT, bits & _OFFSETS)


def rebased(keys: C128, by: int) -> C128:
    """``keys`` for a base that is larger by ``by``; offsets below it become 0, no row stays."""
    offsets = offsets_of(keys)
    less = np.minimum(offsets, np.uint64(by))
    found = keys.copy()
    bits = _bits(keys)
    moved = bits - np.where(_has_seq_first(bits), less << _SEQ_SHIFT, less)
    found.imag = moved.view(np.float64)
    return found


def _bits(keys: C128) -> U64:
    bits: U64 = np.ascontiguousarray(keys.imag).view(np.uint64)
    return bits


def _has_seq_first(bits: U64) -> Bool1:
    first: Bool1 = (bits & _SEQ_FIRST) != 0
    return first
