"""The selection of k rows out of an order: which are taken, and which skipped (PROTOCOL section 5).

A ``Selector`` reads rows in order and decides on each by what it has taken already. Whoever uses
it gives it the first rows, and further ones until it ``is_done`` or there are no more: so a
selection is exact over the whole window, however deep it reads. Knows the window's state (values of
the column that groups, vectors, the metric); nothing of how rows were found or ordered.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Final

import numpy as np

from ..model.types import F32, I64
from ..state import WindowState
from .apart import Apart
from .grouped import Grouped
from .marginal import most_marginal
from .shape import Shape

#: Rows grouped in a piece.
_GROUPED_ROWS: Final = 8 << 10
_NONE: Final = np.empty(0, np.int64)
_NO_SCORES: Final = np.empty(0, np.float32)


class Selector:
    """One selection."""

    def __init__(self, state: WindowState, shape: Shape, k: int) -> None:
        self._state = state
        self._mmr = shape.mmr
        self._wanted = k
        #: How many rows are still to be taken.
        self._left = k if shape.mmr is None else shape.mmr.candidates
        self._grouped = None if shape.group is None else Grouped(state.columns, shape.group)
        self._apart: Apart | None = None
        if shape.spread is not None:
            self._apart = Apart(state, shape.spread, self._left, self._grouped)
        self._read = 0
        self._places: list[I64] = []
        self._slots: list[I64] = []
        self._scores: list[F32] = []

    @property
    def is_done(self) -> bool:
        """Whether further rows would change nothing."""
        return not self._left

    def read(self, slots: I64, scores: F32) -> None:
        """Look at further rows, in order."""
        for _ in self.read_in_pieces(slots, scores):
            pass

    def read_in_pieces(self, slots: I64, scores: F32) -> Generator[None, None, None]:
        """The same, in pieces of a millisecond or so; yields after each."""
        if self._apart is None and self._grouped is None:
            self._read_all(slots, scores)
            return
        start = 0
        while start < len(slots) and self._left:
            places, read = self._take(slots[start:])
            if start:
                places = places + start
            self._left -= len(places)
            self._places.append(places + self._read)
            self._slots.append(slots[places])
            self._scores.append(scores[places])
            start += read
            yield
        self._read += len(slots)

    def _read_all(self, slots: I64, scores: F32) -> None:
        """Where all are let through, as many as are wanted."""
        count = min(self._left, len(slots))
        self._places.append(np.arange(self._read, self._read + count))
        self._slots.append(slots[:count])
        self._scores.append(scores[:count])
        self._left -= count
        self._read += len(slots)

    def places(self) -> I64:
        """Places among all rows read of those that were let through, in order, int64 (≤ k,).

        What ``mmr`` takes of them is not asked.
        """
        return _joined(self._places)

    def taken_in_pieces(self) -> Generator[None, None, tuple[I64, F32]]:
        """Slots and scores of the rows taken, in the order of taking, in pieces likewise."""
        slots = _joined(self._slots)
        scores = _joined_scores(self._scores)
        if self._mmr is None:
            return slots, scores
        places = yield from most_marginal(
            self._state.definition.metric,
            self._state.ring.vectors,
            self._mmr,
            self._wanted,
            slots,
            scores,
        )
        return slots[places], scores[places]

    def _take(self, slots: I64) -> tuple[I64, int]:
        """Places of the rows that are taken of some that come next, and how many were read."""
        if self._apart is not None:
            return self._apart.take(slots)
        assert self._grouped is not None
        slots = slots[:_GROUPED_ROWS]
        return self._grouped.take(slots, self._left), len(slots)


def _joined(parts: list[I64]) -> I64:
    if len(parts) == 1:
        return parts[0]
    return np.concatenate(parts) if parts else _NONE


def _joined_scores(parts: list[F32]) -> F32:
    if len(parts) == 1:
        return parts[0]
    return np.concatenate(parts) if parts else _NO_SCORES
