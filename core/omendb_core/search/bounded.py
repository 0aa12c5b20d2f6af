"""The first rows by a ``rank`` expression, of which few are scored.

Stretches of rows are gone through, newest first. Of the first one each row is looked at: the scan
tells between what its score lies, the expression what its value is at most (``limits``). So the
best values so far become known, and with them what a row of a block has to score (``blocks``): of
the other stretches only rows that may score that are looked at, which a scan finds. Where blocks
tell too little each row is looked at there, too. What is kept in the end, some hundred rows, is
scored.

Exact, as the bounds are: a row that is left out has a value below those of as many rows as are
asked for. Reads the window's state, which must not change between two pieces.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Final

import numpy as np

from ..filters.masks import Lists
from ..model.types import F32, F64, I64, U64, Bool1
from ..ranking import costs, orders
from ..ranking.blocks import Blocks, highest
from ..ranking.bounds import SCORES
from ..ranking.evaluation import Rows as Block
from ..ranking.limits import Limits, Scored
from ..ranking.shape import Rank
from ..rows.ring import Ring, unpack
from ..scoring import score
from ..state import WindowState
from .best import Asked, Best, answers, raise_thresholds, take_scored
from .deep import Rows

#: Rows whose limits are computed at once: a block takes 60 us beside its arrays. Of an expression
#: that takes long so many that a piece of work takes no longer than this.
_BLOCK_ROWS: Final = 1 << 15
_LEAST_BLOCK_ROWS: Final = 1 << 10
_BLOCK_NS: Final = 2e6
#: Of fewer rows every one is scored in less time.
_LEAST_ROWS: Final = 4096
#: Queries that are bounded together: what they share of a block's rows is read once.
_QUERIES: Final = 6
#: Rows asked of a window for each that is wanted; of fewer every one is scored.
_LEAST_FOR_ONE: Final = 16
#: Rows of the first stretch, at least, and for each that is wanted; of another one at most, and for
#: each row seen before: so as many rows again as are wanted reach the best values of those.
_FIRST_ROWS: Final = 1 << 13
_FIRST_FOR_ONE: Final = 16
_STRETCH_ROWS: Final = 1 << 17
_GROWTH: Final = 16
#: Rows that say together what they have to score.
_FLOOR_ROWS: Final = 1024
#: Scores for which values of blocks are bounded lie so from one to another; the last is the most.
_SHARES: Final = np.append(np.linspace(0, 1.25, 30), 0)
#: Rows that blocks may let through, beside those that a search may keep: to score one takes as long
#: as to look at five with all that can be known of them.
_FOUND: Final = 1 << 10
#: One row of so many may be scored because of what is known of it without a score.
_FEW_OF_ROWS: Final = 32
#: More than norms, products and scores round.
_LONGER: Final = 1.001
_TINY: Final = 2.0**-100
#: Elements scanned at once: 1 to 2 ms.
_SCANNED_ELEMENTS: Final = 1 << 27


def first(
    state: WindowState,
    order: Rank,
    at: float | None,
    vectors: F32,
    depth: int,
    floor: np.float32,
    mask: U64,
) -> Generator[None, None, list[Rows | None]]:
    """The first ``depth`` rows for each of ``vectors`` (q, dim); None: it takes scoring them all.

    Rows are those of ``mask`` (words) that score at least ``floor``.
    """
    rows = int(np.bitwise_count(mask).sum())
    if rows < max(_LEAST_ROWS, _LEAST_FOR_ONE * depth):
        return [None] * len(vectors)
    asked = Asked(state, order, at, vectors, floor)
    searches = [Best(asked, query, depth) for query in range(len(vectors))]
    looking = _Looking(asked, mask)
    for start, stop in _stretches(state.ring, max(_FIRST_ROWS, _FIRST_FOR_ONE * depth)):
        if not mask[start >> 6 : -(-stop // 64)].any():
            continue
        by_blocks = [one for one in searches if one.can_ask_blocks]
        left = yield from looking.by_blocks(by_blocks, start, stop)
        left += [one for one in searches if not one.gave_up and one not in by_blocks]
        yield from looking.row_by_row(left, start, stop)
    return (yield from answers(asked, searches))


def _stretches(ring: Ring, rows: int) -> Iterator[tuple[int, int]]:
    """All slots that were written, from the newest row's on, in whole words; ``rows`` at first."""
    newest = -(-((ring.last_seq - 1) % ring.capacity + 1) // 64) * 64
    seen, rows = 0, -(-rows // 64) * 64
    for first_slot, end in ((0, min(newest, ring.used)), (newest, ring.used)):
        stop = end
        while stop > first_slot:
            start = max(first_slot, (stop - rows) & -64)
            yield start, stop
            seen += stop - start
            rows = min(max(rows, _GROWTH * seen & -64), _STRETCH_ROWS)
            stop = start


class _Looking:
    """For the rows of ``mask``, in one stretch after the other."""

    def __init__(self, asked: Asked, mask: U64) -> None:
        self._asked = asked
        self._mask = mask
        self._scored = Scored(asked.order.expression.root)
        self._lists = Lists()
        rows = int(_BLOCK_NS / (2 * costs.ns_a_row(asked.order.expression)))
        self._rows = min(max(rows & -64, _LEAST_BLOCK_ROWS), _BLOCK_ROWS)
        least, most = _scores_between(asked)
        #: Between what every score lies, float32 (1,) each.
        self._any_score = np.array([least], np.float32), np.array([most], np.float32)

    def row_by_row(
        self, searches: list[Best], start: int, stop: int
    ) -> Generator[None, None, None]:
        """Offer all rows of a stretch: by what is known without a score, then by bounds of it."""
        for begin in range(start, stop, self._rows) if searches else ():
            end = min(begin + self._rows, stop)
            bits = unpack(self._mask[begin >> 6 : -(-end // 64)], end - begin)
            if not bits.any():
                continue
            limits = self._limits(begin, end)
            left = yield from self._without_scores(searches, limits, begin, bits)
            for one in range(0, len(left), _QUERIES):
                some = left[one : one + _QUERIES]
                for search, least, most in self._bounded(some, begin, end):
                    search.offer(begin, limits.most(least, most), most, bits)
                    yield
                raise_thresholds(self._asked, some)
                yield

    def _without_scores(
        self, searches: list[Best], limits: Limits, start: int, bits: Bool1
    ) -> Generator[None, None, list[Best]]:
        """Offer the rows of a block that may reach the threshold with any score, scored.

        Returns the searches for which they are not few.
        """
        known = [one for one in searches if one.is_known_without_scores]
        if not known:
            return [one for one in searches if not one.gave_up]
        most = np.broadcast_to(limits.most(*self._any_score), bits.shape)
        yield
        few = min(len(bits) // _FEW_OF_ROWS, known[0].most)
        found = list[I64 | None]()
        for search in known:
            reached = (most >= search.threshold) & bits
            search.is_known_without_scores = int(np.count_nonzero(reached)) <= few
            is_few = search.is_known_without_scores
            found.append(np.flatnonzero(reached) + start if is_few else None)
        yield
        yield from take_scored(self._asked, known, found)
        raise_thresholds(self._asked, known)
        yield
        done = {one.query for one, slots in zip(known, found, strict=True) if slots is not None}
        return [one for one in searches if one.query not in done and not one.gave_up]

    def _limits(self, start: int, stop: int) -> Limits:
        asked, here = self._asked, slice(start, stop)
        ages = None
        if asked.order.expression.uses_age and asked.at is not None:
            ages = asked.at - orders.accepted(asked.state, here)
        return Limits(Block(asked.state.columns, here, ages, self._lists), self._scored)

    def _bounded(
        self, searches: list[Best], start: int, stop: int
    ) -> Iterator[tuple[Best, F32, F32]]:
        state = self._asked.state
        vectors = self._asked.vectors[[one.query for one in searches]]
        lower, upper = state.scan.score_bounds(
            state.ring, state.definition.metric, vectors, start, -(-stop // 64) * 64
        )
        count = stop - start
        return zip(searches, lower[:, :count], upper[:, :count], strict=True)

    def by_blocks(
        self, searches: list[Best], start: int, stop: int
    ) -> Generator[None, None, list[Best]]:
        """Offer those rows of a stretch that may score what their block asks for, scored.

        Returns the searches of which too many may.
        """
        if not searches or self._asked.order.expression.root not in self._scored:
            return list(searches)
        state = self._asked.state
        points = self._points(searches)
        values = self._highest(start, stop, points)
        asked = _asked_by(points)
        yield
        at_once = max(1, _SCANNED_ELEMENTS // ((stop - start) * state.definition.dim))
        most, left = _FOUND + searches[0].most, list[Best]()
        for one in range(0, len(searches), at_once):
            some = searches[one : one + at_once]
            floors = [self._floors(values, asked, search.threshold) for search in some]
            tell = [
                place
                for place, search in enumerate(some)
                if search.share_above(floors[place]) * (stop - start) <= most
            ]
            left += [search for place, search in enumerate(some) if place not in tell]
            some, floors = [some[place] for place in tell], [floors[place] for place in tell]
            if not some:
                continue
            found = state.scan.rows_reaching(
                state.ring,
                state.definition.metric,
                self._asked.vectors[[search.query for search in some]],
                start,
                _FLOOR_ROWS,
                np.stack(floors),
                self._mask,
                most,
            )
            yield
            yield from take_scored(self._asked, some, found)
            raise_thresholds(self._asked, some)
            yield
            left += [search for search, slots in zip(some, found, strict=True) if slots is None]
        for search in left:
            search.can_ask_blocks = False
        return left

    def _points(self, searches: list[Best]) -> F32:
        """Scores, rising: where most of the best ones lie, and the most that one may be."""
        low = min(one.usual_score for one in searches)
        high = max(one.best_score for one in searches)
        _, most = SCORES[self._asked.state.definition.metric]
        some = (low + (high - low) * _SHARES).astype(np.float32)
        some[-1] = most
        return some if some[-2] < most else np.append(some[:-1][some[:-1] < most], some[-1:])

    def _highest(self, start: int, stop: int, points: F32) -> F64:
        state, asked = self._asked.state, self._asked
        blocks = Blocks(
            state.columns,
            start,
            stop,
            _FLOOR_ROWS,
            state.times_us,
            asked.at,
            state.last_seq % state.ring.capacity,
            state.extremes,
        )
        least = max(SCORES[state.definition.metric][0], float(asked.floor))
        return highest(blocks, self._scored, least, points, self._lists)

    def _floors(self, values: F64, asked: F32, threshold: float) -> F32:
        """What a row has to score, by blocks, float32, for a value of ``threshold`` or more."""
        floors: F32 = asked[(values < threshold).sum(axis=1)]
        return np.maximum(floors, self._asked.floor)


def _asked_by(points: F32) -> F32:
    """What a row has to score by how many of the points have too low values."""
    asked = np.empty(len(points) + 1, np.float32)
    asked[0], asked[-1] = -np.inf, np.inf
    # Up to the point before, no value is as high.
    np.nextafter(points[:-1], np.float32(np.inf), out=asked[1:-1])
    return asked


def _scores_between(asked: Asked) -> tuple[float, float]:
    """No score of a call is below the first or above the second."""
    metric, ring = asked.state.definition.metric, asked.state.ring
    least, most = SCORES[metric]
    if metric == "dot":
        longest = float(ring.norms[: ring.used].max()) * float(score.norms(asked.vectors).max())
        most = min(most, longest * _LONGER + _TINY)
        least = -most
    return max(least, float(asked.floor)), most
