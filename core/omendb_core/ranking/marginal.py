"""Maximal marginal relevance: rows taken one by one, each unlike those before (PROTOCOL section 5).

Knows vectors and scores of the candidates; nothing of the order that they came in but that the
first of equal ones is taken. In numpy, and in C (``native/selection.c``), to the same bits; there a
row is compared with those taken only while it may be the next.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Final

import numpy as np

from .. import native
from ..model.types import F32, F64, I64, Metric
from ..scoring import score
from .shape import Mmr

#: Elements multiplied in a piece: about a millisecond.
_PIECE_ELEMENTS: Final = 4 << 20


def most_marginal(
    metric: Metric, vectors: F32, mmr: Mmr, k: int, slots: I64, scores: F32
) -> Generator[None, None, I64]:
    """Places of the k rows that are taken of those in ``slots``; yields after each piece."""
    relevance = mmr.relevance * scores.astype(np.float64)
    redundancy = np.full(len(slots), -np.inf)
    compared = np.zeros(len(slots), np.int64)
    places = np.zeros(min(k, len(slots)), np.int64)
    steps = max(1, _PIECE_ELEMENTS // max(1, len(slots) * vectors.shape[1]))
    for start in range(0, len(places), steps):
        stop = min(start + steps, len(places))
        if native.is_used:
            native.compiled.take_marginal(
                native.lanes, metric == "l2", vectors, slots, relevance, redundancy,
                compared, 1.0 - mmr.relevance, start, stop, places,
            )  # fmt: skip
        else:
            rows = vectors[slots]
            _take(metric, rows, relevance, redundancy, 1.0 - mmr.relevance, start, places[:stop])
        yield
    return places


def _take(
    metric: Metric,
    rows: F32,
    relevance: F64,
    redundancy: F64,
    weight: float,
    start: int,
    places: I64,
) -> None:
    """The steps from ``start`` on, to ``places``; ``redundancy`` goes with the steps before."""
    every, askers = np.arange(len(rows)), np.zeros(len(rows), np.int64)
    for step in range(start, len(places)):
        marginal = relevance.copy()
        if step:
            last = int(places[step - 1])
            likeness = score.score_chosen(metric, rows, every, rows[last : last + 1], askers)
            np.maximum(redundancy, likeness, out=redundancy)
            marginal -= weight * redundancy
            marginal[places[:step]] = -np.inf
        places[step] = marginal.argmax()  # the first of equal ones
