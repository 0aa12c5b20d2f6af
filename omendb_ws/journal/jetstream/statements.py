"""What an owner says of its window now and then, so that a follower that differs is found.

The digest of a stretch of rows, at the version where the log stands: the engine makes it while
nothing is pending, and it goes into the stream with a checkpoint. Stretch by stretch, so that no
change waits longer than for some rows that are written again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from omendb_core.model.logged import Checkpoint
from omendb_core.model.types import Definition

from ..interface import Stated
from ..local.compaction import PIECE_BYTES, row_bytes
from ..local.groups import Queued, Turn

#: How many bytes of changes go between two: a checkpoint is due then in any case.
STATED_BYTES: Final = 48 << 20


class Statement(Turn):
    """In the queue: a checkpoint that says so."""

    def __init__(self, stated: Stated) -> None:
        self.stated = stated


class StreamStatements:
    """``interface.Statements`` into the queue of a log, by ``put``; on the engine's thread."""

    def __init__(
        self, definition: Definition, checkpoint: Checkpoint, put: Callable[[Queued], None]
    ) -> None:
        self._rows = max(1, PIECE_BYTES // row_bytes(definition))
        self._put = put
        self._next_seq = checkpoint.first_seq
        self._bytes = 0

    def appended(self, size_bytes: int) -> None:
        """A change was."""
        self._bytes += size_bytes

    def wanted(self, first_seq: int, last_seq: int) -> tuple[int, int] | None:
        """See Statements."""
        if self._bytes < STATED_BYTES or last_seq < first_seq:
            return None
        first = self._next_seq if first_seq <= self._next_seq <= last_seq else first_seq
        return first, min(first + self._rows - 1, last_seq)

    def state(self, stated: Stated) -> None:
        """See Statements."""
        self._bytes = 0
        # Behind the newest row the oldest is next: where rows come in, there are always newer ones.
        is_through = stated.last_seq - stated.first_seq + 1 < self._rows
        self._next_seq = 0 if is_through else stated.last_seq + 1
        self._put((Statement(stated), None, 0))
