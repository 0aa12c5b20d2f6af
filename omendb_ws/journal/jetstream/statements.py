"""What an owner says of its window now and then, so that a follower that differs is found.

The digest of a stretch of rows, at the version where the log stands: the engine makes it while
nothing is pending, and it goes into the stream with a checkpoint. Stretch by stretch, so that no
change waits longer than for some rows that are written again. Where something is pending all the
time a statement becomes *overdue*: then changes wait until nothing is, once in so many MiB.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from omendb_core.model.logged import Checkpoint
from omendb_core.model.types import Definition

from ..interface import Stated
from ..local.compaction import PIECE_BYTES, row_bytes
from ..local.groups import Queued, Turn

#: How many bytes of changes go between two: a checkpoint is due then in any case.
STATED_BYTES: Final = 48 << 20
#: How long changes go on without one, in seconds.
STATED_SECONDS: Final = 30.0
#: How many times as much a statement may wait for a moment in which nothing is pending.
OVERDUE_TIMES: Final = 2


class Statement(Turn):
    """In the queue: a checkpoint that says so."""

    def __init__(self, stated: Stated) -> None:
        self.stated = stated


class StreamStatements:
    """``interface.Statements`` into the queue of a log, by ``put``; on the engine's thread."""

    def __init__(
        self,
        definition: Definition,
        checkpoint: Checkpoint,
        put: Callable[[Queued], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._rows = max(1, PIECE_BYTES // row_bytes(definition))
        self._put = put
        self._next_seq = checkpoint.first_seq
        self._bytes = 0
        #: When the first change behind the last statement was appended.
        self._since = 0.0

    def appended(self, size_bytes: int) -> None:
        """A change was."""
        if not self._bytes:
            self._since = self._clock()
        self._bytes += size_bytes

    @property
    def is_overdue(self) -> bool:
        """Whether changes should wait for one."""
        return self._is_due(OVERDUE_TIMES)

    def _is_due(self, times: int) -> bool:
        if not self._bytes:
            return False
        is_long = self._clock() - self._since >= times * STATED_SECONDS
        return is_long or self._bytes >= times * STATED_BYTES

    def wanted(self, first_seq: int, last_seq: int) -> tuple[int, int] | None:
        """See Statements."""
        if not self._is_due(1):
            return None
        if last_seq < first_seq:  # there is nothing to be said
            self._bytes = 0
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
