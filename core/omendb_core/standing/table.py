"""The table of standing queries: one row of plain arrays for each, by handle.

What is asked and where its list begins; nothing of what a window holds. Handles are small integers
that are used again, least first, so that ``used`` rows of the arrays hold every query.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import DTypeLike

from ..filters.parser import Filter
from ..model.types import C128, F32, F64, I64, U64, Bool1, Ids, Metric
from ..ranking.shape import PLAIN, Shape
from ..rows.memory import GrowingArray
from ..rows.shadow import GrowingShadow, Shadow
from ..scan.interface import UNBOUNDED, Subscribed
from ..scoring import score
from .exclusions import Exclusions
from .keys import encode, scores_of
from .ordered_keys import NO_ROW
from .shapes import Shapes

_FIRST_ROWS: Final = 16
#: From here on room is made for an eighth more at a time.
_DOUBLED_ROWS: Final = 1024
NO_FILTER: Final = -1
#: What the arrays hold for each handle, and for one that nobody has, if not zero.
_ARRAYS: Final[dict[str, tuple[DTypeLike, object]]] = {
    "norms": (np.float64, 0),
    "k": (np.int64, 0),
    "depths": (np.int64, 0),
    "bases": (np.uint64, 0),
    "floors": (np.uint64, 0),
    "reach": (np.float32, np.inf),
    "most": (np.int64, 0),
    "filters": (np.int64, NO_FILTER),
    "wants_metadata": (np.bool_, 0),
    "excludes": (np.bool_, 0),
    "lists": (np.int64, 0),
    "places": (np.int64, 0),
}


@dataclass(frozen=True, slots=True)
class StandingQuery:
    """What is asked: ``k`` None for a match query, which needs ``min_score``.

    ``wants_metadata``: the answer changes when the metadata of a row in it does. ``exclude``: ids
    that a live query leaves out, whoever has them when; its ``shape`` has no ``mmr``, nor ages.
    """

    k: int | None
    filter: Filter | None = None
    min_score: float | None = None
    wants_metadata: bool = False
    exclude: Ids | None = None
    shape: Shape = PLAIN

    @property
    def is_plain(self) -> bool:
        """Whether its list is as cheap to make as any: by score, and leaving nothing out."""
        return self.exclude is None and self.shape == PLAIN

    def without_filter(self) -> StandingQuery:
        """As one that ended, and holds no memory any more."""
        if self.filter is None and self.exclude is None:
            return self
        return replace(self, filter=None, exclude=None)


class Table:
    """The arrays, by handle; rows from ``used`` on, and freed ones, have a ``reach`` of +inf.

    ``vectors`` float32 (rows, dim) as prepared, ``norms`` float64; ``k`` int64, 0 for match
    queries; ``depths`` int64, for how many rows lists are made: k, or more for selections that skip
    many; ``bases`` uint64, the key that every row within ``min_score`` is above; ``floors`` uint64
    and ``reach`` float32, the floor's score (of an order: see ``shapes``, and the least score);
    ``most`` int64, how many hits of one chunk a query takes; ``filters`` int64 by number;
    ``wants_metadata``, ``excludes`` bool; ``lists`` int64 (the class of the Lists it is in, 0:
    none) and ``places`` int64 (its row there). Vectors are kept in a shadow as well if its metric
    is given.
    """

    vectors: F32
    norms: F64
    k: I64
    depths: I64
    bases: U64
    floors: U64
    reach: F32
    most: I64
    filters: I64
    wants_metadata: Bool1
    excludes: Bool1
    lists: I64
    places: I64

    def __init__(self, dim: int, shadow_metric: Metric | None) -> None:
        self.used = 0
        #: Counts changes of what queries take.
        self.changes = 0
        self._shadow_metric: Metric | None = shadow_metric
        self._shadow: GrowingShadow | None = None
        self._dim = dim
        self.distinct_filters = DistinctFilters()
        self.exclusions = Exclusions()
        self.shapes = Shapes()
        self._free: list[int] = []
        self._clear()

    def __len__(self) -> int:
        return self.used - len(self._free)

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays, of the shadow, of exclusions and shapes."""
        shadow_bytes = Shadow.bytes_for(len(self.k), self._dim) if self._shadow else 0
        array_bytes: int = sum(getattr(self, name).nbytes for name in self._growing)
        return array_bytes + shadow_bytes + self.exclusions.nbytes + self.shapes.nbytes

    @property
    def row_bytes(self) -> int:
        """Bytes that one query takes, while there is no spare room."""
        dim = self._dim
        return 4 * dim + 80 + (dim + 12 if self._shadow_metric is not None else 0)

    @property
    def subscribed(self) -> Subscribed:
        """The queries as kernels take them."""
        return Subscribed(self.vectors[: self.used], self.norms[: self.used], self._shadow)

    def set_vectors(self, handles: I64, vectors: F32) -> None:
        """Point queries at prepared vectors."""
        self.vectors[handles] = vectors
        self.norms[handles] = score.norms(vectors)
        if self._shadow is not None:
            runs = np.split(handles, np.flatnonzero(np.diff(handles) != 1) + 1)
            for run in runs if len(handles) else ():
                self._shadow.write(int(run[0]), self.vectors[run[0] : run[-1] + 1])
            self._shadow.note_written(len(handles), self.vectors[: self.used])

    def take(self, queries: Sequence[StandingQuery]) -> I64:
        """Write down what is asked, without vectors; handles int64 (n,). They take no row yet."""
        handles = self._free_handles(len(queries))
        k = np.array([query.k or 0 for query in queries], np.int64)
        self.k[handles] = k
        self.close(handles)
        self.wants_metadata[handles] = [query.wants_metadata for query in queries]
        self.lists[handles] = self.places[handles] = 0
        self.ask(handles, queries)
        self.set_depths(handles, k)
        return handles

    def set_depths(self, handles: I64, depths: I64) -> None:
        """How deep lists are made from now on. What has an order is told by rank what it takes."""
        self.depths[handles] = depths
        bounded = (self.k[handles] > 0) & ~self.shapes.are_ordered(handles)
        self.most[handles] = np.where(bounded, 2 * depths, UNBOUNDED)

    def ask(self, handles: I64, queries: Sequence[StandingQuery]) -> None:
        """Write down filters, exclusions, shapes and least scores, in place of what stood there.

        The lists are of what stood there before.
        """
        for handle, query in zip(handles.tolist(), queries, strict=True):
            # What may fail comes first, and what stood there goes last.
            self.exclusions.put(handle, query.exclude)
            self.excludes[handle] = self.exclusions.of(handle) is not None
            self.shapes.put(handle, query.shape, len(self.k))
            number = self.distinct_filters.take(query.filter)
            self.distinct_filters.give_back(int(self.filters[handle]))
            self.filters[handle] = number
        floors = score.floors([query.min_score for query in queries])
        bases = encode(floors, np.zeros(len(queries), np.uint64))
        self.bases[handles] = self.floors[handles] = bases

    def asked(self, handles: I64) -> list[StandingQuery]:
        """What these queries ask."""
        least = scores_of(self.bases[handles]).tolist()
        return [
            StandingQuery(
                int(self.k[handle]) or None,
                self.distinct_filters.by_number.get(int(self.filters[handle])),
                min_score,
                bool(self.wants_metadata[handle]),
                self.exclusions.of(handle),
                self.shapes.of(handle),
            )
            for handle, min_score in zip(handles.tolist(), least, strict=True)
        ]

    def _free_handles(self, count: int) -> I64:
        """The least ``count`` handles that nobody has, taken."""
        wanted = self.used + count - len(self._free)
        if wanted > len(self.k):
            self._grow(wanted)
        taken = [heapq.heappop(self._free) for _ in range(min(count, len(self._free)))]
        fresh = range(self.used, self.used + count - len(taken))
        self.used += len(fresh)
        return np.array([*taken, *fresh], np.int64)

    def give_back(self, handles: Sequence[int]) -> None:
        """Forget queries. After a fault: once more."""
        for handle in handles:
            self.exclusions.put(handle, None)
            self.shapes.put(handle, PLAIN, len(self.k))
            self.excludes[handle] = False
            self.distinct_filters.give_back(int(self.filters[handle]))
            self.filters[handle] = NO_FILTER
        if len(self._free) + len(handles) == self.used:
            self._clear()
            self._free.clear()
            self.used = 0
            return
        self.close(np.array(handles, np.int64))
        self.k[handles] = self.lists[handles] = 0
        self.wants_metadata[handles] = False
        for handle in handles:
            heapq.heappush(self._free, handle)

    def least_scores(self, handles: I64) -> F32:
        """Each query's ``min_score`` as scores are compared with it; -inf: none."""
        return scores_of(self.bases[handles])

    def open(self, handles: I64) -> None:
        """Let queries take every row within their least scores: their lists have no floor."""
        self.changes += 1
        self.floors[handles] = self.bases[handles]
        self.reach[handles] = self.least_scores(handles)
        if self.shapes.has_orders:
            self.shapes.floors[handles] = NO_ROW

    def close(self, handles: I64) -> None:
        """Let queries take no rows."""
        self.changes += len(handles) > 0
        self.reach[handles] = np.inf

    def raise_floors(self, handles: I64, floors: U64) -> None:
        """Set the floors of queries without an order, and so what they take from now on."""
        self.changes += 1
        self.floors[handles] = floors
        self.reach[handles] = scores_of(floors)

    def raise_ranked_floors(self, handles: I64, floors: C128) -> None:
        """Set the floors of queries with an order."""
        self.changes += 1
        self.shapes.floors[handles] = floors

    def have_floors(self, handles: I64) -> Bool1:
        """Of which queries something may lie below the floor."""
        there: Bool1 = self.floors[handles] > self.bases[handles]
        if self.shapes.has_orders:
            there |= self.shapes.floors[handles] != NO_ROW
        return there

    def _grow(self, wanted: int) -> None:
        old = len(self.k)
        more = old if old < _DOUBLED_ROWS else old // 8
        rows = max(_FIRST_ROWS, wanted, old + more)
        self.shapes.fit(rows)
        if self._shadow_metric is not None:
            if self._shadow is None:
                self._shadow = GrowingShadow(self._dim, self._shadow_metric)
            self._shadow.fit(rows)
        made = {name: growing.fit(rows) for name, growing in self._growing.items()}
        for name, array in made.items():
            setattr(self, name, array)

    def _clear(self) -> None:
        """Let go of all arrays."""
        self._growing = {"vectors": GrowingArray((self._dim,), np.float32)}
        for name, (dtype, none) in _ARRAYS.items():
            self._growing[name] = GrowingArray((), dtype, none)
        for name, growing in self._growing.items():
            setattr(self, name, growing.fit(0))
        self._shadow = None
        self.shapes.fit(0)


class DistinctFilters:
    """Filters by number, each kept once for as long as a query uses it."""

    def __init__(self) -> None:
        self.by_number: dict[int, Filter] = {}
        self._numbers: dict[str, int] = {}
        self._uses: dict[int, int] = {}
        self._next = 0

    def take(self, filter_: Filter | None) -> int:
        """The filter's number; NO_FILTER for None."""
        if filter_ is None:
            return NO_FILTER
        number = self._numbers.get(filter_.canonical)
        if number is None:
            number = self._next
            self._next += 1
            self._numbers[filter_.canonical] = number
            self.by_number[number] = filter_
        self._uses[number] = self._uses.get(number, 0) + 1
        return number

    def give_back(self, number: int) -> None:
        """One query less uses it."""
        if number == NO_FILTER:
            return
        self._uses[number] -= 1
        if not self._uses[number]:
            del self._uses[number]
            del self._numbers[self.by_number.pop(number).canonical]
