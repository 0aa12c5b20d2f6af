"""``map`` subscriptions: a two-dimensional picture of a window (PROTOCOL section 6).

Lives on the loop's thread. At each beat the subscription has the engine *draw* the rows that its
reader was not shown yet, a part at a time (``drawing.py``); plane and stride are the picture's,
which all who ask for the same sample share (``pictures.py``).

Bounded: one part is drawn, or unsent, for each subscription, the next one when the socket took it.
So a slow reader misses beats, and finds everything it missed in the next parts.
"""

from __future__ import annotations

from typing import Any, Final

from omendb_core.model.budget import Share
from omendb_core.model.types import Definition, Include

from ...catalog.entry import Entry
from ...engine.model.shard import Shard
from ...engine.streams.drawing import PIECE_ELEMENTS, Draw, Drawing, Part
from ...wire.encoded import text
from ...wire.reply_bounds import ENVELOPE_BYTES, most_row_bytes
from ...wire.text_replies import encode_map
from .beats import Beat
from .pictures import Picture
from .subscription import DEFAULT_EVERY_MS, Owner, Subscription

#: What a push holds at most, but for the plane.
PART_BYTES: Final = 128 << 10
_LEAST_ROWS: Final = 16
#: What a subscription takes besides: objects, a timer.
_READER_BYTES: Final = 4 << 10
#: An element of a plane as JSON, at most.
_PLANE_ELEMENT_BYTES: Final = 17


def rows_of_part(definition: Definition) -> int:
    """How many rows one push shows at most."""
    row_bytes = most_row_bytes(definition, Include(), False, 0)
    return max(_LEAST_ROWS, min(PIECE_ELEMENTS // definition.dim, PART_BYTES // row_bytes))


def bytes_for(definition: Definition) -> int:
    """Bytes that one subscription takes: what it is, and a part of its picture."""
    row_bytes = most_row_bytes(definition, Include(), False, 0)
    plane_bytes = 3 * _PLANE_ELEMENT_BYTES * definition.dim
    part_bytes = rows_of_part(definition) * row_bytes
    return _READER_BYTES + ENVELOPE_BYTES + part_bytes + plane_bytes


class MapSubscription(Subscription):
    """A reader of the picture of one window, ``source``, shown so far up to ``to_seq``."""

    kind = "map"

    def __init__(
        self,
        session: Owner,
        sub: int,
        collection: Entry,
        picture: Picture,
        every_ms: int | None,
        share: Share,
    ) -> None:
        super().__init__(session, sub, collection)
        self.lane = session.lane
        self.source = collection.shard
        self.drawing: Drawing = picture.drawing
        self.to_seq = 0
        self.part_rows = rows_of_part(collection.definition)
        self._picture = picture
        self._share = share
        self._every_seconds = (every_ms or DEFAULT_EVERY_MS) / 1000
        self._has_more = self._is_drawing = False
        self._unsent = self._said_basis = 0
        self._beat: Beat | None = None
        picture.readers.add(self)

    def reply(self, shard: Shard) -> dict[str, Any]:
        """The ``ok`` of its subscribe; on the thread that holds the window."""
        return {"sub": self.sub, "epoch": shard.epoch, "version": shard.window.version}

    def start(self) -> None:
        """The first picture comes at once."""
        if self._beat is None:
            self._beat = self._context.beats.begin(self._tick, self._every_seconds)
            self._tick()

    def close(self) -> None:
        """As ``Subscription.close``; the clock stops."""
        if self._beat is not None:
            self._beat.stop()
        if not self.is_ended:
            self._picture.leave(self)
            self._share.close()
        super().close()

    # -- time -------------------------------------------------------------------------------------

    def _tick(self) -> None:
        if self.is_ended:
            return
        self._picture.look()
        if self._unsent:
            self._context.metrics.stats_merged += 1
            self.source.counts.merged += 1
        else:
            self._ask()

    def redraw(self) -> None:
        """See ``pictures.Reader``."""
        self._has_more = True
        self._go_on()

    def _go_on(self) -> None:
        """Draw what is known to be there, if the reader took what was drawn before."""
        if self._has_more and not self._unsent and self._is_begun and not self.is_ended:
            self._ask()

    def _ask(self) -> None:
        picture = self._picture
        if self._is_drawing or picture.drawing.plane is None:
            return
        if self.drawing is not picture.drawing:
            self.drawing, self.to_seq = picture.drawing, 0
        self._is_drawing, self._has_more = True, False
        self._context.engine.submit(Draw(self))

    # -- rows -------------------------------------------------------------------------------------

    def undrawn(self) -> None:
        """The engine could not draw; the next beat asks again."""
        self._is_drawing = False

    def drawn(self, part: Part) -> None:
        """What the engine drew: send it, unless there is another plane by now."""
        self._is_drawing = False
        if self.is_ended:
            return
        if part.drawing is not self._picture.drawing:
            self.redraw()
            return
        if part.fits:
            if part.objects:
                self._push(part)
            self.to_seq = part.to_seq
            self._has_more = part.has_more
        self._picture.shown(part)
        self._go_on()

    def _push(self, part: Part) -> None:
        """Send rows; the first push of a basis says what its plane is."""
        basis = part.drawing.basis
        said = b"" if basis == self._said_basis else self._picture.said_plane
        self._said_basis = basis
        event = encode_map(self.sub, part.version, part.first_seq, basis, part.objects, said)
        self._unsent += 1
        self.session.outbox.push(text(event), self._sent, self)

    def _sent(self) -> None:
        self._unsent -= 1
        self._count_push()
        self._go_on()
