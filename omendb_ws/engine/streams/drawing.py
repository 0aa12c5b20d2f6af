"""The engine's side of ``map`` subscriptions: rows placed in a plane, samples copied, in pieces.

Lives on the engine's thread. A picture shows the rows whose seq is a multiple of ``stride``, a
power of two that leaves at most ``sample`` of them; so which rows are shown depends on the window
alone, and a new row is shown or not for good.

What is asked waits in ``Drawings``, which takes a slice of each tick. A *part* is some of the rows
that a reader has not been shown, in order, and says how far it goes; readers that ask for the same
part in the same tick share it. A sample is only what a plane is found from, and need not be of one
version: its rows are copied as they are when their piece comes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeAlias

import numpy as np
from omendb_core import picture
from omendb_core.filters.parser import Filter, evaluate
from omendb_core.model.types import F32, I64, Hits
from omendb_core.picture import Plane
from omendb_core.state import NOTHING
from omendb_core.window import Window

from ...runtime.faults import as_error
from ...telemetry.metrics import Metrics
from ...wire.hits import place_objects
from ..model.commands import Signal
from ..model.shard import Shard
from ..model.shares import Share, Shares
from ..model.ticket import Effect, Lane
from .lane_turns import LaneTurns

#: How long drawing holds up a tick, but for the piece that runs over.
SLICE_US: Final = 2_000
#: Elements of the rows that one piece reads: 1 MiB, about half a millisecond.
PIECE_ELEMENTS: Final = 1 << 18
#: What a sample's copy may take; of wider rows it has fewer.
MAX_SAMPLE_BYTES: Final = 16 << 20
#: Fewer than this share of ``sample`` are shown: the stride is made smaller.
_TOO_FEW: Final = 0.25


@dataclass(frozen=True, slots=True, eq=False)
class Drawing:
    """What all readers of a picture are shown: rows at ``stride``, in ``plane``; None: nothing.

    Only rows that pass ``visible`` are there for them.
    """

    sample: int
    visible: Filter | None = None
    stride: int = 1
    plane: Plane | None = None
    basis: int = 0


class Reader(Protocol):
    """Who is shown rows: ``drawing`` up to ``to_seq``, ``part_rows`` at a time."""

    lane: Lane
    source: Shard
    drawing: Drawing
    to_seq: int
    part_rows: int

    def drawn(self, part: Part) -> None:
        """On the loop's thread."""

    def undrawn(self) -> None:
        """A fault came between, or the shard is gone."""


class Looker(Protocol):
    """Who wants a sample."""

    source: Shard
    drawing: Drawing

    def sampled(self, sample: Sample | None) -> None:
        """On the loop's thread; None: a fault came between, or the shard is gone."""


@dataclass(slots=True, eq=False)
class Draw(Signal):
    """Signal: draw the next part for a reader."""

    reader: Reader

    @property
    def lane(self) -> Lane:
        """Whose time it takes."""
        return self.reader.lane


@dataclass(slots=True, eq=False)
class Look(Signal):
    """Signal: copy a sample; ``lane``: whose time that takes."""

    looker: Looker
    lane: Lane


@dataclass(slots=True, eq=False)
class Part:
    """Rows behind ``from_seq`` up to ``to_seq`` as JSON; ``fits``: the stride is what it should be.

    ``has_more``: there are rows behind ``to_seq``.
    """

    drawing: Drawing
    version: int
    first_seq: int
    from_seq: int
    to_seq: int
    fits: bool
    has_more: bool
    hits: Hits
    places: Any
    _objects: list[bytes] | None = None

    @property
    def objects(self) -> list[bytes]:
        """The rows, written once for all who share them."""
        if self._objects is None:
            self._objects = place_objects(self.hits, self.places.astype(np.float32))
        return self._objects


@dataclass(slots=True, eq=False)
class Sample:
    """Rows float32 (n, dim) of a window at ``stride``, in pieces; up to ``last_seq``."""

    stride: int
    last_seq: int
    pieces: list[F32]


@dataclass(slots=True, eq=False)
class Drawn:
    """Effect: a part for a reader; None: there is none."""

    reader: Reader
    part: Part | None

    def deliver(self) -> None:
        """Hand it over."""
        if self.part is None:
            self.reader.undrawn()
        else:
            self.reader.drawn(self.part)


@dataclass(slots=True, eq=False)
class Sampled:
    """Effect: a sample for a picture; None: there is none."""

    looker: Looker
    sample: Sample | None

    def deliver(self) -> None:
        """Hand it over."""
        self.looker.sampled(self.sample)


class _Copying:
    """A sample on its way: ``slots`` from ``done`` on are still to be copied."""

    def __init__(self, look: Look, window: Window) -> None:
        self.looker = looker = look.looker
        self.lane = look.lane
        drawing = looker.drawing
        stride = stride_for(drawing.stride, _span(window, drawing), drawing.sample)
        slots = shown(window, 1, stride, drawing.visible)
        step = -(-len(slots) // most_sample_rows(drawing.sample, window)) or 1
        self.slots = slots[::step]
        self.sample = Sample(stride, window.last_seq, [])
        self.done = 0

    def copy(self, window: Window) -> bool:
        """Copy a piece; whether that was the last one."""
        rows = max(1, PIECE_ELEMENTS // window.definition.dim)
        slots = self.slots[self.done : self.done + rows]
        self.done += len(slots)
        slots = _seen(window, slots, self.looker.drawing.visible)
        self.sample.pieces.append(window.state.ring.vectors[slots])
        return self.done >= len(self.slots)


_Asked: TypeAlias = Draw | Look | _Copying
#: A part, for whoever asks for it: it does not change while they wait.
_Want: TypeAlias = tuple[Shard, Drawing, int, int]


class Drawings:
    """What maps ask of the engine, in order, and by shares once a tick leaves some over."""

    def __init__(
        self,
        metrics: Metrics,
        shares: Shares,
        clock_ns: Callable[[], int] = time.perf_counter_ns,
    ) -> None:
        self._metrics = metrics
        self._shares = shares
        self._clock_ns = clock_ns
        self._asked: LaneTurns[_Asked] = LaneTurns(shares)
        #: Readers that wait for the same part are told of it together.
        self._alike: dict[_Want, dict[Draw, None]] = {}
        #: How many pieces were done, ever.
        self.pieces = 0

    def __bool__(self) -> bool:
        return bool(self._asked)

    @property
    def rests_us(self) -> float | None:
        """See ``LaneTurns.rests_us``."""
        return self._asked.rests_us

    def add(self, asked: Draw | Look) -> None:
        """Do this, too, when its turn comes."""
        if isinstance(asked, Draw):
            self._alike.setdefault(_want(asked.reader), {})[asked] = None
        self._asked.add(asked.lane, asked)

    def waiting(self) -> Iterable[Share]:
        """Shares of connections that wait."""
        return self._asked.waiting()

    def run(self, found: list[Effect]) -> None:
        """Do pieces for a slice of time, at least one."""
        if not self._asked:
            return
        self._asked.begin()
        started_ns = self._clock_ns()
        until_ns = started_ns + SLICE_US * 1000
        while (turn := self._asked.next()) is not None:
            lane, asked = turn
            try:
                self._do(asked, found)
            except Exception as error:
                self._metrics.faults += 1
                as_error(error, "drawing a map")
                found.append(_nothing_for(asked))
            now_ns = self._clock_ns()
            self._shares.charge_streams(lane.share, (now_ns - started_ns) / 1000)
            started_ns = now_ns
            if now_ns >= until_ns:
                break

    def _do(self, asked: _Asked, found: list[Effect]) -> None:
        if isinstance(asked, Draw):
            self._draw(asked, found)
            return
        if asked.looker.source.is_dropped:
            found.append(_nothing_for(asked))
            return
        self.pieces += 1
        window = asked.looker.source.window
        copying = _Copying(asked, window) if isinstance(asked, Look) else asked
        if copying.copy(window):
            found.append(Sampled(copying.looker, copying.sample))
        else:
            self._asked.add(copying.lane, copying)

    def _draw(self, asked: Draw, found: list[Effect]) -> None:
        """Draw a part for a reader, and for all others who ask for the same one."""
        reader = asked.reader
        wanted = _want(reader)
        if reader.source.is_dropped:
            self._alike.pop(wanted, None)
            found.append(Drawn(reader, None))
            return
        self.pieces += 1
        alike = self._alike[wanted]
        del alike[asked]
        if not alike:
            del self._alike[wanted]
        part = draw(reader.source.window, *wanted[1:])
        found.append(Drawn(reader, part))
        for other in alike:
            found.append(Drawn(other.reader, part))
            self._asked.discard(other.lane, other)
        self._alike.pop(wanted, None)


def _want(reader: Reader) -> _Want:
    return reader.source, reader.drawing, reader.to_seq, reader.part_rows


def _nothing_for(asked: _Asked) -> Effect:
    return Drawn(asked.reader, None) if isinstance(asked, Draw) else Sampled(asked.looker, None)


def draw(window: Window, drawing: Drawing, from_seq: int, most_rows: int) -> Part:
    """At most ``most_rows`` of the rows behind ``from_seq``, where they lie in the plane."""
    assert drawing.plane is not None
    fits = stride_for(drawing.stride, _span(window, drawing), drawing.sample) == drawing.stride
    slots = shown(window, from_seq + 1, drawing.stride, drawing.visible)
    has_more = len(slots) > most_rows
    slots = slots[:most_rows]
    hits = window.state.hits(slots, NOTHING)
    places = picture.place(drawing.plane, window.state.ring.vectors[slots])
    to_seq = int(hits.seqs[-1]) if has_more else window.last_seq
    return Part(
        drawing, window.version, window.first_seq, from_seq, to_seq, fits, has_more, hits, places
    )


def stride_for(stride: int, span: int, sample: int) -> int:
    """The power of two that leaves at most ``sample`` of ``span`` seqs; ``stride`` if it does."""
    is_few = span / stride
    if is_few <= sample and (stride == 1 or is_few >= sample * _TOO_FEW):
        return stride
    least = -(-span // sample)
    return 1 << (least - 1).bit_length() if least > 1 else 1


def _span(window: Window, drawing: Drawing) -> int:
    """How many rows a stride goes through."""
    if drawing.visible is not None:
        return window.count(drawing.visible)
    return window.last_seq - window.first_seq + 1


def shown(window: Window, from_seq: int, stride: int, visible: Filter | None = None) -> I64:
    """Slots of the live rows from ``from_seq`` on that a picture of this stride shows."""
    first = max(from_seq, window.first_seq)
    seqs = np.arange(-(-first // stride) * stride, window.last_seq + 1, stride, dtype=np.uint64)
    slots = window.state.ring.slots(seqs)
    return _seen(window, slots, visible)


def _seen(window: Window, slots: I64, visible: Filter | None) -> I64:
    """Those of ``slots`` whose rows are there now for whom they are drawn."""
    live: I64 = slots[window.state.ring.is_live(slots)]
    if visible is not None:
        live = live[evaluate(visible, window.state.columns, live)]
    return live


def most_sample_rows(sample: int, window: Window) -> int:
    """How many rows a sample of ``window`` has at most."""
    definition = window.definition
    most = MAX_SAMPLE_BYTES // (4 * definition.dim)
    return max(1, min(sample, definition.capacity, most))
