"""Snapshots that are being read: rows of a shard at one version, a piece at each request.

Lives on the engine's thread. A piece takes a few milliseconds at most, and so does what is kept of
a change (it is of the change's size); what expires at once is kept in pieces, and waits until
then. Whatever a snapshot keeps is charged to its tenant; where there is no room it is *lost*: it
ends, and nothing else does.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from omendb_core.model.budget import Share
from omendb_core.model.change import Change
from omendb_core.model.errors import NotFound, OmenError
from omendb_core.snapshot import Snapshot

from ...journal.archive import ArchiveWriter, Head
from ...journal.local.files import Buffer
from ...runtime.faults import as_error
from ...telemetry.metrics import CopyNumbers
from ..model.shard import Shard

#: What expires at once is kept for so long in a tick.
_KEEP_US: Final = 2_000


class Reading:
    """A snapshot, and the bytes that its reader is sent. ``number`` is its name on a server.

    The loop makes it, with a ``share`` of its tenant's budget; all else is the engine's, as are
    the server's ``numbers`` of snapshots.
    """

    def __init__(
        self, number: int, shard: Shard, share: Share, wall_us: int, numbers: CopyNumbers
    ) -> None:
        self.number = number
        self.shard = shard
        self.share = share
        self._wall_us = wall_us
        self._numbers = numbers
        self._snapshot: Snapshot | None = None
        self._archive = ArchiveWriter()
        self._has_begun = self._has_producers = False
        self._lost: OmenError | None = None
        #: Bytes that were made and did not fit into a message.
        self._left = memoryview(b"")
        self._is_made = False
        self.is_over = False

    def begin(self, now_us: int) -> dict[str, Any]:
        """Hold to the window's version of now; what its reader is told. Quota, Unavailable."""
        shard = self.shard
        shard.refuse_broken()
        self._snapshot = Snapshot(shard.window, self.share)
        shard.snapshots.append(self)
        self._numbers.under_way += 1
        self._now_us = shard.time_us(now_us)
        return {"snapshot": self.number, **shard.describe()}

    def piece(self, most_bytes: int) -> tuple[Sequence[Buffer], bool]:
        """The next bytes, and whether they are the last ones. OmenError if it was lost."""
        found, is_last = self._next(most_bytes)
        self._numbers.bytes += sum(map(len, found))
        return found, is_last

    def _next(self, most_bytes: int) -> tuple[Sequence[Buffer], bool]:
        if self._lost is not None:
            raise type(self._lost)(self._lost.message)
        if self.is_over:
            raise NotFound(f"snapshot: {self.number} is read to its end")
        if not self._left:
            self.shard.refuse_broken()
            made, self._is_made = self._make()
            if sum(map(len, made)) <= most_bytes:
                self.is_over = self._is_made
                return made, self.is_over
            self._left = memoryview(b"".join(made))
        found, self._left = self._left[:most_bytes], self._left[most_bytes:]
        self.is_over = self._is_made and not self._left
        return [found], self.is_over

    def _make(self) -> tuple[list[Buffer], bool]:
        """What comes next, and whether it is the last that there is."""
        snapshot, archive = self._snapshot, self._archive
        assert snapshot is not None, "it is made to its end"
        version = snapshot.checkpoint.version
        if not self._has_begun:
            self._has_begun = True
            return archive.begin(self._head(snapshot)), False
        if not self._has_producers:
            producers = snapshot.producers()
            if producers:
                return archive.producers(version, producers), False
            self._has_producers = True
        rows = snapshot.next_rows()
        if rows:
            return [buffer for one in rows for buffer in archive.rows(one)], False
        found = archive.end(version, snapshot.read_rows)
        self._let_go(is_whole=True)
        return found, True

    def before(self, change: Change) -> None:
        """A change is about to be applied; a fault, or no room, is this snapshot's alone."""
        snapshot = self._snapshot
        if snapshot is None:
            return
        try:
            snapshot.before(change)
        except Exception as error:
            self.lose(as_error(error, "keeping rows for a snapshot"))

    def keep_some_below(self, seq: int) -> bool:
        """See Copying."""
        if self._snapshot is None:
            return True
        try:
            return self._snapshot.keep_some_below(seq)
        except Exception as error:
            self.lose(as_error(error, "keeping rows for a snapshot"))
            return True

    def lose(self, error: OmenError) -> None:
        """It cannot be read any further; its reader is told at the next request."""
        if not self.is_over:
            self._lost = error
            self._let_go()

    def end(self) -> None:
        """Nobody reads it any more. Again and again."""
        self.is_over = True
        self._left = memoryview(b"")
        self._let_go()

    def _let_go(self, *, is_whole: bool = False) -> None:
        snapshot, self._snapshot = self._snapshot, None
        if snapshot is not None:
            snapshot.close()
        self.share.close()
        if self in self.shard.snapshots:
            self.shard.snapshots.remove(self)
            self._numbers.under_way -= 1
            self._numbers.done += is_whole
            self._numbers.failed += not is_whole

    def _head(self, snapshot: Snapshot) -> Head:
        shard = self.shard
        return Head(
            shard.name, shard.definition, shard.durability, shard.epoch, snapshot.checkpoint,
            snapshot.rows, self._now_us, self._wall_us,
        )  # fmt: skip


def before(shard: Shard, change: Change) -> None:
    """Tell those who read ``shard`` of a change that is about to be applied."""
    for one in list(shard.snapshots):
        one.before(change)


def is_kept(shard: Shard, now_us: int, clock_ns: Callable[[], int] = time.perf_counter_ns) -> bool:
    """Whether those who read ``shard`` have all that expires now; if not, they keep some of it."""
    ttl_seconds = shard.definition.ttl_seconds
    if not shard.snapshots or ttl_seconds is None:
        return True
    time_us = shard.window.admission.admitted.time(shard.time_us(now_us))
    seq = shard.window.state.first_seq_after(time_us - round(ttl_seconds * 1e6))
    until_ns = clock_ns() + _KEEP_US * 1000
    for one in list(shard.snapshots):
        while not one.keep_some_below(seq):
            if clock_ns() >= until_ns:
                return False
    return True


def let_go(shard: Shard) -> None:
    """The collection is gone."""
    for one in list(shard.snapshots):
        one.lose(NotFound(f"collection: {shard.name!r} was dropped while it was read"))
