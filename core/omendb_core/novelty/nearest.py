"""The best row for each of some vectors, among chosen slots of a ring, and among themselves.

Scores, and the order of rows (score descending, then seq descending), are those of a search. Knows
rings and masks; no window, no definition.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from ..model.types import F32, I64, U64, Bool1, Metric
from ..rows.ring import Ring
from ..scan.interface import Scan
from ..scoring import score

#: Elements of rows that are looked at in one piece, for all its vectors: about 2 ms.
_PIECE_ELEMENTS: Final = 1 << 29
#: Vectors of a piece: with fewer than eight each takes longer; with more the pairs within a piece,
#: which are all scored, begin to count.
_LEAST_VECTORS: Final = 8
_MOST_VECTORS: Final = 128
#: The place, or slot, of nothing.
NOWHERE: Final = -1


class Nearest(NamedTuple):
    """``scores`` float32 (n,), -inf where there is none; ``places`` int64 (n,), NOWHERE then."""

    scores: F32
    places: I64

    @classmethod
    def nothing(cls, count: int) -> Nearest:
        """There is none for any."""
        return cls(np.full(count, -np.inf, np.float32), np.full(count, NOWHERE, np.int64))


def vectors_of_piece(rows: int, dim: int) -> int:
    """How many vectors are compared with so many rows in one piece."""
    wanted = _PIECE_ELEMENTS // max(1, rows * dim)
    return min(max(wanted, _LEAST_VECTORS), _MOST_VECTORS)


def nearest_in_ring(
    scan: Scan,
    ring: Ring,
    metric: Metric,
    vectors: F32,
    words: U64,
    *,
    least: float = -np.inf,
    but: I64 | None = None,
) -> Nearest:
    """The best slot whose bit is set in ``words`` for each of ``vectors``, which are prepared.

    Only those that score at least ``least``, a float32; never the slot ``but[i]`` (NOWHERE: any).
    """
    found = Nearest.nothing(len(vectors))
    if not words.any():
        return found
    k = np.ones(len(vectors), np.int64)
    if but is not None:
        k += but >= 0
    top = scan.top_k(
        ring,
        metric,
        vectors,
        k,
        np.full(len(vectors), least, np.float32),
        words[None],
        np.zeros(len(vectors), np.int64),
    )
    counts = top.counts.astype(np.int64)
    first = np.cumsum(counts) - counts
    has = np.flatnonzero(counts)
    place = first[has]
    if but is not None:
        place = place + (top.slots[place] == but[has])
        is_there = place < first[has] + counts[has]
        has, place = has[is_there], place[is_there]
    found.scores[has] = top.scores[place]
    found.places[has] = top.slots[place]
    return found


class Pairs(NamedTuple):
    """Pairs of vectors by index, by ``later`` and then ``earlier``; int64 and float32 (m,)."""

    later: I64
    earlier: I64
    scores: F32


def pairs_within(metric: Metric, vectors: F32, may_be_earlier: Bool1) -> Pairs:
    """Every one of ``vectors``, prepared, against each before it that may be the earlier of two."""
    later, earlier = np.tril_indices(len(vectors), -1)
    chosen = may_be_earlier[earlier]
    if not chosen.all():
        later, earlier = later[chosen], earlier[chosen]
    return Pairs(later, earlier, score.score_chosen(metric, vectors, earlier, vectors, later))


def best_of_each(count: int, found: Nearest, which: I64, places: I64, scores: F32) -> Nearest:
    """``found`` (count,), or what is better of ``places`` for the vectors ``which``, both (m,).

    At equal scores the later one of ``places`` is the better, and all of them are better than what
    was found before.
    """
    if not len(which):
        return found
    order = np.lexsort((np.arange(len(which)), scores, which))
    is_last = np.flatnonzero(np.diff(which[order], append=count))
    best = order[is_last]
    wins = scores[best] >= found.scores[which[best]]
    best = best[wins]
    found.scores[which[best]] = scores[best]
    found.places[which[best]] = places[best]
    return found
