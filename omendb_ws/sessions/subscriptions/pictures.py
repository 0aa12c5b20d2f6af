"""Pictures: what all ``map`` subscriptions of one (collection, sample) share.

Lives on the loop's thread. A picture has one plane, found from a sample, which the engine copies,
on a thread of its own, as that takes up to 0.1 s. A new plane is taken, under a new ``basis``, when
the data has changed enough for the old one to show clearly less, or when the stride changes. A
picture lasts as long as somebody reads it.

Bounded: samples are copied and looked at one at a time on a server (``Looks``), so all of them
together take what the largest does.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Protocol

import numpy as np
from omendb_core import picture
from omendb_core.filters.parser import Filter
from omendb_core.model.budget import Budget, Share
from omendb_core.model.types import F32
from omendb_core.picture import Plane

from ...engine.model.shard import Shard
from ...engine.model.ticket import Lane
from ...engine.streams.drawing import Drawing, Look, Part, Sample, most_sample_rows
from ...runtime.faults import as_error
from ...telemetry.metrics import Metrics
from ...wire.text_replies import encode_plane

#: A new plane must show so much more of the sample's variance than the old one does.
_BETTER: Final = 1.1
#: After so many new rows, by share of those that the plane was made of, a sample is looked at.
_LOOK_AFTER: Final = 0.25
_LEAST_ROWS: Final = 16
#: Copies of a sample while it is looked at: pieces, whole, and twice as wide in float64.
_SAMPLE_COPIES: Final = 6

_PLANES: Final = ThreadPoolExecutor(1, thread_name_prefix="omendb-map")


class Reader(Protocol):
    """Who reads a picture."""

    lane: Lane

    def redraw(self) -> None:
        """There is a new plane: everything is to be drawn in it."""


class Picture:
    """The plane and the parts that its readers share.

    ``drawing`` is replaced, never changed: the engine reads it.
    """

    def __init__(
        self,
        looks: Looks,
        source: Shard,
        sample: int,
        visible: Filter | None,
        budget: Budget,
    ) -> None:
        self.source = source
        self.drawing = Drawing(sample, visible)
        self.readers: set[Reader] = set()
        #: The plane as the first push of a basis says it.
        self.said_plane = b""
        self._looks = looks
        self._wants_look = True
        self._plane_rows = self._new_rows = self._seen_seq = 0
        self._looking: asyncio.Task[None] | None = None
        dim = source.definition.dim
        self._share = Share(budget, "this map takes")
        self._share.resize(2 * 3 * (8 + 17) * dim)

    @property
    def lane(self) -> Lane:
        """Whose time a sample takes: that of one who reads it."""
        return next(iter(self.readers)).lane

    @property
    def sample_bytes(self) -> int:
        """What its sample takes while it is looked at."""
        window = self.source.window
        rows = most_sample_rows(self.drawing.sample, window)
        return _SAMPLE_COPIES * 4 * window.definition.dim * rows

    def leave(self, reader: Reader) -> None:
        """One reader less; the last one takes the picture along."""
        self.readers.discard(reader)
        self.close_if_unread()

    def close_if_unread(self) -> None:
        """It goes if nobody reads it: a first reader may not have come to be."""
        if not self.readers:
            self._share.close()
            self._looks.closed(self)

    def look(self) -> None:
        """Look at a sample, if one is wanted; at every reader's beat."""
        if self._wants_look:
            self._looks.ask(self)

    def shown(self, part: Part) -> None:
        """A reader was shown a part: rows that nobody saw before may want another plane."""
        if part.fits and part.to_seq > self._seen_seq:
            seen = part.hits.seqs.searchsorted(np.uint64(self._seen_seq), side="right")
            self._new_rows += len(part.hits.seqs) - int(seen)
            self._seen_seq = part.to_seq
        many = max(_LEAST_ROWS, _LOOK_AFTER * self._plane_rows)
        if not part.fits or self._new_rows >= many:
            self._wants_look = True
            self.look()

    def sampled(self, sample: Sample | None) -> None:
        """See ``drawing.Looker``."""
        if sample is None or not sum(map(len, sample.pieces)) or not self.readers:
            self._looks.looked(self)
            return
        self._looking = asyncio.get_running_loop().create_task(self._look(sample))

    async def _look(self, sample: Sample) -> None:
        """Find out whether another plane is due, and if so have everything drawn in it."""
        loop, before = asyncio.get_running_loop(), self.drawing
        try:
            plane = await loop.run_in_executor(_PLANES, _plane_of, before.plane, sample.pieces)
        except Exception as error:
            self._looks.metrics.faults += 1
            as_error(error, "a map's plane")
            return
        finally:
            self._looks.looked(self)
        self._wants_look = False
        self._new_rows, self._plane_rows = 0, sum(map(len, sample.pieces))
        self._seen_seq = sample.last_seq
        if plane is None and sample.stride == before.stride:
            return
        plane = plane or before.plane
        assert plane is not None
        self.drawing = Drawing(
            before.sample, before.visible, sample.stride, plane, before.basis + 1
        )
        narrow = {name: array.astype(np.float32) for name, array in plane._asdict().items()}
        self.said_plane = encode_plane(narrow)
        for reader in list(self.readers):
            reader.redraw()


class Looks:
    """Whose sample is looked at next: one at a time on a server."""

    def __init__(self, submit: Callable[[Look], None], budget: Budget, metrics: Metrics) -> None:
        self.metrics = metrics
        self._submit = submit
        self._share = Share(budget, "this map takes")
        self._pictures: dict[tuple[Shard, int, Filter | None], Picture] = {}
        self._waiting: deque[Picture] = deque()
        self._active: Picture | None = None

    def open(self, source: Shard, sample: int, visible: Filter | None, budget: Budget) -> Picture:
        """The picture of a collection's rows that pass, with this sample; ``budget`` is its
        tenant's. Quota."""
        key = source, sample, visible
        found = self._pictures.get(key)
        if found is None:
            found = Picture(self, source, sample, visible, budget)
            self._share.resize(max(found.sample_bytes, self._share.taken_bytes))
            self._pictures[key] = found
        return found

    def of(self, source: Shard) -> list[Picture]:
        """The pictures of a collection."""
        return [one for one in self._pictures.values() if one.source is source]

    def closed(self, picture: Picture) -> None:
        """A picture has no reader any more."""
        drawing = picture.drawing
        self._pictures.pop((picture.source, drawing.sample, drawing.visible), None)
        if picture in self._waiting:
            self._waiting.remove(picture)
        self._give_back()

    def ask(self, picture: Picture) -> None:
        """Look at a sample of ``picture`` when its turn comes."""
        if picture is not self._active and picture not in self._waiting:
            self._waiting.append(picture)
            self._next()

    def looked(self, picture: Picture) -> None:
        """It is done with."""
        if picture is self._active:
            self._active = None
            self._give_back()
            self._next()

    def _give_back(self) -> None:
        if not self._pictures and self._active is None:
            self._share.close()

    def _next(self) -> None:
        if self._active is None and self._waiting:
            self._active = self._waiting.popleft()
            self._submit(Look(self._active, self._active.lane))


def _plane_of(before: Plane | None, pieces: list[F32]) -> Plane | None:
    return next_plane(before, np.concatenate(pieces))


def next_plane(before: Plane | None, sample: F32) -> Plane | None:
    """A plane that shows ``sample`` better than ``before``, as near to it as can be; or None."""
    plane = picture.principal(sample)
    if before is None:
        return plane
    if picture.captured(plane, sample) <= _BETTER * picture.captured(before, sample):
        return None
    return picture.fitted(plane, before, sample)
