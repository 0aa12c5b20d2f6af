"""Which rows of an add are left out because something near is there already.

A row is left out if a row that was alive before the add (not the one that it replaces), or one of
the add that stands before it and goes in, scores at least ``score`` against it. Each row depends on
those before it, so a judgement goes through the add in order, a piece at a time: all vectors of a
piece are compared with the window, and with what goes in of the pieces before, in one scan each;
only those that are near each other within the piece are looked at one by one.

Reads the window's state, which must not change until the judgement is through: it holds for the
state's ``version``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ..filters.masks import evaluate
from ..filters.tree import Filter
from ..model.batches import some_columns, some_ids
from ..model.packed import PackedPayloads
from ..model.types import F32, U64, Bool1, Column, Definition, Ids
from ..rows.columns import Columns
from ..rows.ring import Ring, pack
from ..scan.choice import shadow_for
from ..scoring import score
from ..state import WindowState
from .nearest import (
    NOWHERE,
    Nearest,
    best_of_each,
    nearest_in_ring,
    pairs_within,
    vectors_of_piece,
)


@dataclass(frozen=True, slots=True)
class UnlessNear:
    """Leave out what scores at least ``score``, rounded to float32, against a row that passes
    ``filter``."""

    score: float
    filter: Filter | None = None


class CheckedRows(NamedTuple):
    """The rows of an add that passed all checks: ``vectors`` prepared, the rest as in a change."""

    vectors: F32
    ids: Ids | None
    columns: Mapping[str, Column]
    payloads: PackedPayloads | None

    def some(self, which: Bool1) -> CheckedRows:
        """Those that ``which`` bool (n,) marks."""
        return CheckedRows(
            self.vectors[which],
            None if self.ids is None else some_ids(self.ids, which),
            some_columns(self.columns, which),
            None if self.payloads is None else self.payloads.some(which),
        )


@dataclass(frozen=True, slots=True)
class LeftOut:
    """``skipped``: places of an add, ascending; ``near``: the id of the best row near each."""

    skipped: list[int]
    near: Ids


class Judgement:
    """What becomes of ``rows``. ``taken`` bool (n,) says so once ``is_through``."""

    def __init__(self, state: WindowState, rows: CheckedRows, unless_near: UnlessNear) -> None:
        self.rows = rows
        self.version = state.version
        self._state = state
        count = len(rows.vectors)
        self.taken: Bool1 = np.zeros(count, np.bool_)
        self._done = 0
        self._least = float(score.floors([unless_near.score])[0])
        self._words = _words(state, unless_near.filter)
        self._own = np.full(count, NOWHERE, np.int64)
        if rows.ids is not None:
            self._own = state.ids.find(rows.ids)
        self._passes = _passes(rows.columns, state.definition, count, unless_near.filter)
        #: By place: the best slot of the window; the best row of the add that went in before.
        self._in_window = Nearest.nothing(count)
        self._in_add = Nearest.nothing(count)
        self._before: Ring | None = None

    @property
    def is_through(self) -> bool:
        """Whether every row was looked at."""
        return self._done == len(self.taken)

    def step(self) -> None:
        """Look at a piece more."""
        start = self._done
        size = vectors_of_piece(self._state.ring.used + start, self._state.definition.dim)
        here = slice(start, min(start + size, len(self.taken)))
        vectors = self.rows.vectors[here]
        window = nearest_in_ring(
            self._state.scan,
            self._state.ring,
            self._state.definition.metric,
            vectors,
            self._words,
            least=self._least,
            but=self._own[here],
        )
        self._in_window.scores[here], self._in_window.places[here] = window
        earlier = self._among_earlier(vectors)
        self.taken[here] = (window.places == NOWHERE) & (earlier.places == NOWHERE)
        self._judge_within(here, earlier)
        self._in_add.scores[here], self._in_add.places[here] = earlier
        self._done = here.stop

    def finish(self) -> None:
        """Look at all that is left."""
        while not self.is_through:
            self.step()

    def taken_rows(self) -> CheckedRows:
        """Those that go in."""
        return self.rows if self.taken.all() else self.rows.some(self.taken)

    def left_out(self, first_seq: int) -> LeftOut:
        """Who is left out; ``first_seq`` is that of the first row that goes in."""
        places = np.flatnonzero(~self.taken)
        # At equal scores the newer row is the better one, and those of the add are.
        is_of_add = self._in_add.scores[places] >= self._in_window.scores[places]
        in_window = self._state.ids.of(self._in_window.places[places[~is_of_add]])
        in_add = self._in_add.places[places[is_of_add]]
        ids = self.rows.ids
        if isinstance(ids, list):
            own, others = (ids[place] for place in in_add.tolist()), iter(in_window)
            return LeftOut(
                places.tolist(), [str(next(own if one else others)) for one in is_of_add.tolist()]
            )
        if ids is None:
            ids = (np.cumsum(self.taken) + (first_seq - 1)).astype(np.uint64)
        near = np.empty(len(places), np.uint64)
        near[~is_of_add], near[is_of_add] = in_window, ids[in_add]
        return LeftOut(places.tolist(), near)

    def _among_earlier(self, vectors: F32) -> Nearest:
        """The best of the rows that go in, of the pieces before."""
        count = self._done
        if not count:
            return Nearest.nothing(len(vectors))
        definition, scan = self._state.definition, self._state.scan
        if self._before is None:
            own = Definition(definition.dim, len(self.taken), definition.metric)
            self._before = Ring(len(self.taken), definition.dim, shadow_for(scan, own))
            self._before.append(self.rows.vectors)
        words = pack(self.taken & self._passes)
        return nearest_in_ring(
            scan, self._before, definition.metric, vectors, words, least=self._least
        )

    def _judge_within(self, here: slice, earlier: Nearest) -> None:
        """Leave out what is near a row of the same piece, which goes in; ``earlier`` follows."""
        taken = self.taken[here]
        pairs = pairs_within(
            self._state.definition.metric, self.rows.vectors[here], self._passes[here]
        )
        near = np.flatnonzero(pairs.scores >= self._least)
        if not len(near):
            return
        later, before, scores = pairs.later[near], pairs.earlier[near], pairs.scores[near]
        starts = np.flatnonzero(np.diff(later, prepend=-1))
        for start, stop in zip(starts.tolist(), [*starts[1:].tolist(), len(later)], strict=True):
            if taken[before[start:stop]].any():
                taken[later[start]] = False
        counts = np.flatnonzero(taken[before])
        best_of_each(
            len(taken), earlier, later[counts], before[counts] + here.start, scores[counts]
        )


def _words(state: WindowState, filter_: Filter | None) -> U64:
    """Mask words of the live rows that are compared."""
    live = state.ring.live_words
    return live if filter_ is None else live & state.masks.words(filter_)


def _passes(
    columns: Mapping[str, Column], definition: Definition, count: int, filter_: Filter | None
) -> Bool1:
    """Which rows of the add the others are compared with."""
    if filter_ is None:
        return np.ones(count, np.bool_)
    slots = np.arange(count)
    own = Columns(definition.columns, count)
    own.write(slots, columns)
    return evaluate(filter_, own, slots)
