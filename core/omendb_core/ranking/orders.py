"""What key a row has in an answer's order, and how rows are sorted by it (PROTOCOL section 5).

Pure functions of the window's state, rows by slot, and their scores. Search and standing queries
call the same ones, so that their answers are equal to the bit. A rank is a float64, never -0 and
never infinite; NaN stands for null.

=========  ======================================  ==========================================
order      rank of a row                           sorted by, each descending
=========  ======================================  ==========================================
none       none                                    score, seq
``Decay``  log2(score) + t / half_life, or null    rank, seq; then rows of null: score, seq
``Rank``   the expression's value, or null         rank, score, seq; rows of null are left out
=========  ======================================  ==========================================
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from .. import native
from ..model.types import F32, F64, I64, NULL_INTEGER, U64
from ..scan.interface import Times
from ..scoring.functions import log2, pow_
from ..state import WindowState
from .evaluation import values
from .shape import Decay, Order, Rank

_MICROSECONDS: Final = 1e6
_MOST: Final = float(np.finfo(np.float32).max)


def ranks(
    order: Order, state: WindowState, slots: I64, scores: F32, at: float | None = None
) -> F64:
    """Ranks float64 (n,) of the rows in ``slots``, which score ``scores`` float32 (n,).

    ``at``: the Unix time, in seconds, that ages count to; a ``Rank`` that uses ages needs it.
    """
    if isinstance(order, Decay):
        return decayed(scores, times(order, state, slots), order.half_life_seconds)
    ages = None if at is None else at - accepted(state, slots)
    found = values(order.expression, scores, state.columns, slots, ages)
    found += 0.0  # -0 is 0
    return found


def decayed(scores: F32, times_: F64, half_life_seconds: float | F64) -> F64:
    """Ranks under ``decay``: of rows that score ``scores`` at ``times_``, Unix seconds."""
    with np.errstate(all="ignore"):
        there = scores > 0
        found = log2(np.where(there, scores, 1).astype(np.float64)) + times_ / half_life_seconds
        found[~there | ~np.isfinite(found)] = np.nan
        found += 0.0  # -0 is 0
    return found


def in_order(order: Order | None, ranks_: F64 | None, scores: F32, seqs: U64) -> I64:
    """Places of rows, best first; under ``Rank`` those of null rank are left out."""
    best = np.lexsort(levels(order, ranks_, scores, seqs)[::-1])[::-1]
    if isinstance(order, Rank) and ranks_ is not None:
        return best[: len(best) - np.count_nonzero(np.isnan(ranks_))]
    return best


def levels(
    order: Order | None, ranks_: F64 | None, scores: F32, seqs: U64
) -> tuple[NDArray[Any], ...]:
    """What rows are sorted by, each descending; the last one tells all apart."""
    if order is None or ranks_ is None:
        return scores, seqs
    is_null = np.isnan(ranks_)
    keys = np.where(is_null, -np.inf, ranks_)
    if isinstance(order, Rank):
        return keys, scores, seqs
    # Ranks that are equal are told apart by seq alone, rows without one by their scores first.
    return keys, np.where(is_null, scores, np.float32(0)), seqs


def placed(order: Order, ranks_: F64) -> I64:
    """Places of the rows that have one in the order: under ``Rank`` those of no null rank."""
    if isinstance(order, Rank):
        return np.flatnonzero(~np.isnan(ranks_))
    return np.arange(len(ranks_))


def weights(decay: Decay, state: WindowState, slots: I64, at: float) -> F32:
    """2^((t - at) / half_life) of the rows in ``slots``, float32 (n,): finite, NaN without a t."""
    if native.is_used:
        by_slot, found = _times_by_slot(decay, state), np.empty(len(slots), np.float32)
        native.compiled.decay_weights(
            native.lanes, by_slot.integers, by_slot.numbers, by_slot.per_second,
            decay.half_life_seconds, at, native.readable(slots), found,
        )  # fmt: skip
        return found
    with np.errstate(all="ignore"):
        exponents = (times(decay, state, slots) - at) / decay.half_life_seconds
        return np.minimum(pow_(2.0, exponents), _MOST).astype(np.float32)


def times(decay: Decay, state: WindowState, slots: I64) -> F64:
    """The rows' times, Unix seconds, float64 (n,); NaN for null."""
    if decay.column is None:
        return accepted(state, slots)
    found = state.columns.values(decay.column, slots)
    if found.dtype == np.int64:
        seconds: F64 = found.astype(np.float64)
        seconds[found == NULL_INTEGER] = np.nan
        return seconds
    return found.astype(np.float64, copy=True)


def times_by_slot(decay: Decay, state: WindowState) -> Times:
    """The same for all slots, as a scan takes them."""
    by_slot = _times_by_slot(decay, state)
    if decay.column is None:
        return by_slot
    return by_slot._replace(latest=state.extremes.greatest(decay.column))


def _times_by_slot(decay: Decay, state: WindowState) -> Times:
    if decay.column is None:
        return Times(state.times_us, None, _MICROSECONDS, True)
    found = state.columns.values(decay.column)
    is_integer = found.dtype == np.int64
    return Times(found if is_integer else None, None if is_integer else found, 1.0, False)


def accepted(state: WindowState, slots: I64 | slice) -> F64:
    """When the rows were accepted, Unix seconds, float64 (n,)."""
    return state.times_us[slots] / _MICROSECONDS
