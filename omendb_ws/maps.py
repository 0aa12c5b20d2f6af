"""``map`` subscriptions: a two-dimensional picture of a window (PROTOCOL section 6).

The picture shows the rows whose seq is a multiple of ``stride``, a power of two that leaves at most
``sample`` of them; so which rows are shown depends on the window alone, and a new row is shown or
not for good. At each beat the subscription (on the loop's thread) has the engine *draw*: place the
rows that came since, and now and then copy a sample. The plane is found from the sample on a thread
of its own, as that takes up to 0.1 s. A new one is taken, under a new ``basis``, when the data has
changed enough for the old one to show clearly less, or when the stride changes.

Bounded: at most one drawing and its messages are under way for each subscription; a slow reader
misses beats, and finds everything it missed in the next push. One thread does all planes.
"""

from __future__ import annotations

import asyncio
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from omendb_core import picture
from omendb_core.picture import Plane
from omendb_core.query import NOTHING
from omendb_core.types import F32, F64, I64, Hits
from omendb_core.window import Window

from .faults import as_error
from .outbox import text
from .rows import push_bytes
from .sizes import ENVELOPE_BYTES
from .subscriptions import DEFAULT_EVERY_MS, Subscription
from .wire.hits import place_objects
from .wire.text import encode_map
from .work import Draw, Effect

if TYPE_CHECKING:
    from .catalog import Collection
    from .metrics import Metrics
    from .session import Session

#: What a sample's copy may take; of wider rows it has fewer.
MAX_SAMPLE_BYTES: Final = 16 << 20
#: A new plane must show so much more of the sample's variance than the old one does.
_BETTER: Final = 1.1
#: After so many new rows, by share of those that the plane was made of, a sample is looked at.
_LOOK_AFTER: Final = 0.25
_LEAST_ROWS: Final = 16
#: Fewer than this share of ``sample`` are shown: the stride is made smaller.
_TOO_FEW: Final = 0.25

_PLANES: Final = ThreadPoolExecutor(1, thread_name_prefix="omendb-map")


@dataclass(frozen=True, slots=True)
class Drawing:
    """What a subscription shows: rows up to ``to_seq`` at ``stride``, in ``plane``.

    ``looks``: whether a sample is wanted. ``plane`` None: nothing yet.
    """

    sample: int
    stride: int = 1
    plane: Plane | None = None
    to_seq: int = 0
    looks: bool = True


@dataclass(slots=True, eq=False)
class Drawn:
    """Effect: rows and their places float64 (n, 2), or a sample float32 (m, dim), or both.

    A ``stride`` other than the one asked with has no rows: all are to be drawn anew.
    """

    subscription: MapSubscription
    version: int
    first_seq: int
    to_seq: int
    stride: int
    hits: Hits | None
    places: F64 | None
    sample: F32 | None

    def deliver(self) -> None:
        """Hand it over."""
        self.subscription.drawn(self)


@dataclass(slots=True, eq=False)
class Undrawn:
    """Effect: a fault came between; the subscription asks again at its next beat."""

    subscription: MapSubscription

    def deliver(self) -> None:
        """Say so."""
        self.subscription.undrawn()


def draw_all(draws: deque[Draw], found: list[Effect], metrics: Metrics) -> None:
    """Do what subscriptions ask for at this beat. On the thread that holds the windows."""
    while draws:
        subscription = draws.popleft().subscription
        if subscription.source.is_dropped:
            continue
        effect: Effect
        try:
            effect = draw(subscription, subscription.source.window)
        except Exception as error:
            metrics.faults += 1
            as_error(error, "drawing a map")
            effect = Undrawn(subscription)
        found.append(effect)


def draw(subscription: MapSubscription, window: Window) -> Drawn:
    """What one subscription shows next, or what it must know for that."""
    asked = subscription.drawing
    span = window.last_seq - window.first_seq + 1
    stride = stride_for(asked.stride, span, asked.sample)
    hits = places = sample = None
    if asked.plane is not None and stride == asked.stride:
        slots = _shown(window, asked.to_seq + 1, stride)
        if len(slots):
            hits = window.hits(slots, NOTHING)
            places = picture.place(asked.plane, window.ring.vectors[slots])
    if asked.looks or stride != asked.stride:
        slots = _shown(window, 1, stride)
        most = max(1, MAX_SAMPLE_BYTES // (4 * window.definition.dim))
        step = -(-len(slots) // most) or 1
        sample = window.ring.vectors[slots[::step]]
    first_seq, to_seq = window.first_seq, window.last_seq
    return Drawn(subscription, window.version, first_seq, to_seq, stride, hits, places, sample)


def stride_for(stride: int, span: int, sample: int) -> int:
    """The power of two that leaves at most ``sample`` of ``span`` seqs; ``stride`` if it does."""
    shown = span / stride
    if shown <= sample and (stride == 1 or shown >= sample * _TOO_FEW):
        return stride
    least = -(-span // sample)
    return 1 << (least - 1).bit_length() if least > 1 else 1


def _shown(window: Window, from_seq: int, stride: int) -> I64:
    """Slots of the live rows from ``from_seq`` on that a picture of this stride shows."""
    first = max(from_seq, window.first_seq)
    seqs = np.arange(-(-first // stride) * stride, window.last_seq + 1, stride, dtype=np.uint64)
    slots = window.ring.slots(seqs)
    live: I64 = slots[window.ring.is_live(slots)]
    return live


def next_plane(before: Plane | None, sample: F32) -> Plane | None:
    """A plane that shows ``sample`` better than ``before``, as near to it as can be; or None."""
    plane = picture.principal(sample)
    if before is None:
        return plane
    if picture.captured(plane, sample) <= _BETTER * picture.captured(before, sample):
        return None
    return picture.fitted(plane, before, sample)


class MapSubscription(Subscription):
    """The picture of one window, ``source``; ``drawing`` is replaced, never changed."""

    kind = "map"

    def __init__(
        self,
        session: Session,
        sub: int,
        collection: Collection,
        sample: int,
        every_ms: int | None,
        reserved_bytes: int,
    ) -> None:
        super().__init__(session, sub, collection)
        self.source = collection
        self.drawing = Drawing(sample)
        self._every_seconds = (every_ms or DEFAULT_EVERY_MS) / 1000
        self._reserved_bytes = reserved_bytes
        self._basis = 0
        self._unsaid_plane: Plane | None = None
        self._plane_rows = self._new_rows = 0
        self._unsent = 0
        self._is_busy = False
        self._looking: asyncio.Task[None] | None = None
        self._beat: asyncio.TimerHandle | None = None

    @staticmethod
    def bytes_for(dim: int) -> int:
        """Bytes that one takes while nothing is being drawn."""
        return 3 * 8 * dim + (4 << 10)

    def reply(self, collection: Collection) -> dict[str, Any]:
        """The ``ok`` of its subscribe; on the thread that holds the window."""
        return {"sub": self.sub, "epoch": collection.epoch, "version": collection.window.version}

    def start(self) -> None:
        """The first picture comes at once."""
        self._tick(asyncio.get_running_loop().time())

    def close(self) -> None:
        """As ``Subscription.close``; the clock stops."""
        if self._beat is not None:
            self._beat.cancel()
        if not self.is_ended:
            self._context.catalog.budget.give_back(self._reserved_bytes)
        super().close()

    def undrawn(self) -> None:
        """The engine could not draw."""
        self._is_busy = False

    def drawn(self, drawn: Drawn) -> None:
        """What the engine drew."""
        self._is_busy = False
        if self.is_ended:
            return
        if drawn.stride == self.drawing.stride and self.drawing.plane is not None:
            self._show(drawn)
        if drawn.sample is not None and len(drawn.sample):
            self._is_busy = True
            look = self._look(drawn.sample, drawn.stride)
            self._looking = asyncio.get_running_loop().create_task(look)

    # -- time -------------------------------------------------------------------------------------

    def _tick(self, due: float) -> None:
        if self.is_ended:
            return
        loop = asyncio.get_running_loop()
        # A loop that was late does not catch up with a burst.
        due = max(due + self._every_seconds, loop.time())
        self._beat = loop.call_at(due, self._tick, due)
        if self._unsent:
            self._context.metrics.stats_merged += 1
            self.source.counts.merged += 1
        elif not self._is_busy:
            self._ask()

    def _ask(self) -> None:
        self._is_busy = True
        self._context.engine.submit(Draw(self))

    # -- rows and planes --------------------------------------------------------------------------

    def _show(self, drawn: Drawn) -> None:
        """Send the rows that are new, and remember how far they go."""
        shown = 0
        if drawn.hits is not None and drawn.places is not None:
            shown = len(drawn.hits.seqs)
            objects = place_objects(drawn.hits, drawn.places.astype(np.float32))
            for rows in _parts(objects, push_bytes(self._context.limits) - ENVELOPE_BYTES):
                self._push(drawn, rows)
        asked = self.drawing
        if asked.to_seq:  # else these are the rows that the plane was made of
            self._new_rows += shown
        looks = self._new_rows >= max(_LEAST_ROWS, _LOOK_AFTER * self._plane_rows)
        self.drawing = replace(asked, to_seq=drawn.to_seq, looks=looks)

    def _push(self, drawn: Drawn, rows: list[bytes]) -> None:
        """Send some of the rows; the first push of a basis says what its plane is."""
        plane, self._unsaid_plane = self._unsaid_plane, None
        said = None
        if plane is not None:
            said = {name: array.astype(np.float32) for name, array in plane._asdict().items()}
        event = encode_map(self.sub, drawn.version, drawn.first_seq, self._basis, rows, said)
        self._unsent += 1
        self.session.outbox.push(text(event), self._sent)

    def _sent(self) -> None:
        self._unsent -= 1
        self._count_push()

    async def _look(self, sample: F32, stride: int) -> None:
        """Find out whether another plane is due, and if so draw everything in it."""
        asked = self.drawing
        loop = asyncio.get_running_loop()
        try:
            plane = await loop.run_in_executor(_PLANES, next_plane, asked.plane, sample)
        except Exception as error:
            self._context.metrics.faults += 1
            as_error(error, "a map's plane")
            return
        finally:
            self._is_busy = False
        self._new_rows, self._plane_rows = 0, len(sample)
        if plane is None and stride == asked.stride:
            self.drawing = replace(asked, looks=False)
            return
        self._basis += 1
        self._unsaid_plane = plane = plane or asked.plane
        self.drawing = replace(asked, stride=stride, plane=plane, to_seq=0, looks=False)
        if not self.is_ended:
            self._ask()


def _parts(objects: list[bytes], most_bytes: int) -> list[list[bytes]]:
    """``objects`` in messages of at most ``most_bytes``, commas counted, or one object."""
    ends = np.cumsum([len(one) + 1 for one in objects])
    parts, start = [], 0
    while start < len(objects):
        before = int(ends[start - 1]) if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + most_bytes, side="right")))
        parts.append(objects[start:stop])
        start = stop
    return parts
