"""The rows of a window as they stand at one version, read in pieces while the window moves on.

A ``Snapshot`` goes over the window by seq, oldest first, as rows leave it. What is about to leave,
or to get other metadata, before it came to be read is copied first (``before``): that is all that
a snapshot keeps, and ``kept_bytes`` of its share stand for it. So a reader that keeps up costs next
to nothing, and one that is slow as much as has left meanwhile, at most the window once.

Pieces are what a log holds, too: first what is known of producers, then ``KeptRows`` in no order. A
row comes once. The acceptance times of a stretch come with it, of rows that have died, too; what is
copied by its id has none, as its stretch is still to come, or has come.

Invariants: every row with a seq of the snapshot's window is read, kept, or stands in the window as
it was; ``next_seq`` is at least the window's ``first_seq``, or beyond the snapshot's ``last_seq``.
The window's owner is the snapshot's. An open snapshot and its window refer to each other: ``close``
it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

import numpy as np

from .model.budget import Share
from .model.change import AddChange, Change, DeleteChange, ExpireChange, UpdateChange
from .model.logged import Checkpoint, KeptRows, ProducerState
from .model.types import I64, Bool1, Definition
from .replay import checkpoint_of, rows_kept
from .window import Window

#: A piece: a millisecond or two of copying.
PIECE_BYTES: Final = 1 << 20
PIECE_ROWS: Final = 4096
#: Seqs of a piece, most of whose rows may have died: 8 bytes each.
PIECE_SEQS: Final = 32_768
#: Rows that are copied in one go ahead of those that have to be, so that a stream of single rows
#: does not leave single rows here.
_AHEAD_BYTES: Final = 128 << 10
#: Producers in a piece: 4 µs each.
PIECE_PRODUCERS: Final = 400
#: What kept rows take besides their arrays, in bytes.
_KEPT_BYTES: Final = 2048
#: Stretches of kept rows that go into one piece at most: 20 µs each to write.
PIECE_PARTS: Final = 64


class Snapshot:
    """A window at its version of now; see the module. Everything that was admitted is applied.

    ``share`` is charged what it keeps; Quota where that is not free, also out of ``before``.
    """

    def __init__(self, window: Window, share: Share) -> None:
        producers = window.admission.admitted.producers
        self.definition: Definition = window.definition
        self.checkpoint: Checkpoint = checkpoint_of(window, with_producers=False)
        self.rows = window.rows
        self.read_rows = 0
        self._window: Window | None = window
        self._share = share
        self._names: Sequence[str] = producers.names()
        self._named = 0
        self._known: dict[str, ProducerState] = {}
        self._unsaid = set(self._names)
        self.next_seq = self.checkpoint.first_seq
        self._kept: deque[KeptRows] = deque()
        self._kept_bytes = 0
        #: Which seqs, from ``first_seq`` on, were kept before their stretch was read.
        self._taken: Bool1 | None = None
        if self._names:
            producers.watchers.append(self._keep_producer)
        self._settle(len(self._names) * 64)

    def close(self) -> None:
        """Let the window go, and all that is kept. Again and again."""
        if self._window is not None:
            self._forget_producers(self._window)
            self._window = None
        self._kept.clear()
        self._known.clear()
        self._taken = None
        self._share.close()

    @property
    def kept_bytes(self) -> int:
        """What it keeps now."""
        return self._share.taken_bytes

    @property
    def share_read(self) -> float:
        """How much of it was read, of 1."""
        return 1.0 if not self.rows else self.read_rows / self.rows

    # -- reading ------------------------------------------------------------------------------

    def producers(self) -> list[ProducerState]:
        """Some that are remembered, longest silent first; empty: those were all."""
        if self._named >= len(self._names):
            return []
        assert self._window is not None
        known = self._window.admission.admitted.producers
        names = self._names[self._named : self._named + PIECE_PRODUCERS]
        found = [
            self._known.pop(name) if name in self._known else known.state_of(name) for name in names
        ]
        self._unsaid.difference_update(names)
        self._named += len(names)
        if self._named >= len(self._names):
            self._forget_producers(self._window)
        return found

    def next_rows(self) -> list[KeptRows]:
        """Some rows, about ``PIECE_BYTES`` of them; empty: those were all."""
        found: list[KeptRows] = []
        size_bytes = 0
        while self._kept and size_bytes < PIECE_BYTES and len(found) < PIECE_PARTS:
            found.append(self._kept.popleft())
            size_bytes += _bytes_of(found[-1])
        if found:
            self._settle(self._kept_bytes - size_bytes)
        elif self.next_seq <= self.checkpoint.last_seq:
            found.append(self._stretch(self.checkpoint.last_seq, PIECE_BYTES))
        self.read_rows += sum(len(one.seqs) for one in found)
        return found

    # -- what changes meanwhile ---------------------------------------------------------------

    def before(self, change: Change) -> None:
        """Keep what ``change``, about to be applied, takes out of the window or alters. Quota."""
        window = self._window
        if window is None or not self._is_behind:
            return
        ring = window.state.ring
        match change:
            case AddChange():
                last_seq = ring.last_seq + len(change.vectors)
                self._keep_below(last_seq - ring.capacity + 1)
                if change.ids is not None:
                    found = window.state.ids.find(change.ids)
                    self._keep(found[found >= 0])
            case DeleteChange() | UpdateChange():
                self._keep(ring.slots(change.seqs))
            case ExpireChange():
                self._keep_below(change.first_seq)

    def keep_some_below(self, seq: int) -> bool:
        """A piece of what leaves once the window begins at ``seq``; whether that was all. Quota."""
        if self._window is None or self.next_seq >= min(seq, self.checkpoint.last_seq + 1):
            return True
        self._keep_one_below(seq)
        return self.next_seq >= min(seq, self.checkpoint.last_seq + 1)

    @property
    def _is_behind(self) -> bool:
        """Whether rows are still to be read out of the window."""
        return self.next_seq <= self.checkpoint.last_seq

    def _keep_below(self, seq: int) -> None:
        while self.next_seq < min(seq, self.checkpoint.last_seq + 1):
            self._keep_one_below(seq)

    def _keep_one_below(self, seq: int) -> None:
        needed = min(seq - 1, self.checkpoint.last_seq) - self.next_seq + 1
        ahead = max(needed, _AHEAD_BYTES // _row_bytes(self.definition))
        last_seq = min(self.checkpoint.last_seq, self.next_seq + ahead - 1)
        self._put(self._stretch(last_seq, PIECE_BYTES))

    def _keep(self, slots: I64) -> None:
        """Keep rows that stand in ``slots``, live, unless they were read or kept before."""
        assert self._window is not None
        seqs = self._window.state.ring.seqs(slots)
        is_due = (seqs >= np.uint64(self.next_seq)) & (seqs <= np.uint64(self.checkpoint.last_seq))
        if not is_due.any():
            return
        taken = self._marks()
        places = (seqs - np.uint64(self.checkpoint.first_seq)).astype(np.int64)
        is_due[is_due] = ~taken[places[is_due]]
        slots, places = slots[is_due], places[is_due]
        if not len(slots):
            return
        rows = rows_kept(self._window.state, 1, 0, slots, self.checkpoint.version)
        taken[places] = True
        self._put(rows)

    def _marks(self) -> Bool1:
        if self._taken is None:
            span = self.checkpoint.last_seq - self.checkpoint.first_seq + 1
            self._taken = np.zeros(span, np.bool_)
            self._settle(self._kept_bytes + span)
        return self._taken

    def _put(self, rows: KeptRows) -> None:
        self._settle(self._kept_bytes + _bytes_of(rows))
        self._kept.append(rows)

    def _settle(self, kept_bytes: int) -> None:
        self._share.resize(kept_bytes, what="rows kept for a snapshot take")
        self._kept_bytes = kept_bytes

    def _stretch(self, last_seq: int, most_bytes: int) -> KeptRows:
        """The rows of the next stretch, up to ``last_seq`` at most; they are behind us then."""
        assert self._window is not None
        state = self._window.state
        first_seq = self.next_seq
        assert first_seq >= state.first_seq, "rows left the window unread"
        most_rows = min(PIECE_ROWS, max(1, most_bytes // _row_bytes(self.definition)))
        last_seq = min(last_seq, first_seq + PIECE_SEQS - 1)
        slots = state.ring.live_slots(first_seq, last_seq)
        if self._taken is not None and len(slots):
            seqs = state.ring.seqs(slots)
            places = (seqs - np.uint64(self.checkpoint.first_seq)).astype(np.int64)
            slots = slots[~self._taken[places]]
        keep = min(len(slots), most_rows)
        if keep:
            sizes = np.cumsum(state.payloads.sizes(slots[:keep]))
            keep = max(1, int(np.searchsorted(sizes, most_bytes, side="right")))
        if keep < len(slots):
            last_seq = int(state.ring.seqs(slots[keep : keep + 1])[0]) - 1
            slots = slots[:keep]
        rows = rows_kept(state, first_seq, last_seq, slots, self.checkpoint.version)
        self.next_seq = last_seq + 1
        return rows

    # -- producers ----------------------------------------------------------------------------

    def _keep_producer(self, name: str) -> None:
        if name in self._unsaid and name not in self._known:
            assert self._window is not None
            self._known[name] = self._window.admission.admitted.producers.state_of(name)

    def _forget_producers(self, window: Window) -> None:
        watchers = window.admission.admitted.producers.watchers
        if self._keep_producer in watchers:
            watchers.remove(self._keep_producer)


def _row_bytes(definition: Definition) -> int:
    return definition.dim * 4 + 24 + 8 * len(definition.columns)


def _bytes_of(rows: KeptRows) -> int:
    payload_bytes = 0 if rows.payloads is None else len(rows.payloads.data) + 4 * len(rows.seqs)
    texts = sum(map(len, rows.ids)) + 60 * len(rows.ids) if isinstance(rows.ids, list) else 0
    columns = 8 * len(rows.columns) * len(rows.seqs)
    arrays = rows.vectors.nbytes + rows.times_us.nbytes + 16 * len(rows.seqs)
    return arrays + columns + payload_bytes + texts + _KEPT_BYTES
