"""When live rows are to be written again, and which: what bounds a log in which little is evicted.

Segments go when all their rows have left the window. Where a window stays and its rows are updated
or deleted, none would ever go; so once a log is three times as long as what it must hold, a *pass*
begins: at the beginning of a segment, the seqs that are in the window then are written again, piece
by piece among other records. When the last piece is flushed, all segments before that one go. On
the engine's thread; what becomes of the pieces is the writer's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from omendb_core.model.change import AddChange, ExpireChange
from omendb_core.model.logged import Checkpoint, KeptRows
from omendb_core.model.types import Definition

from ..interface import Logged
from .groups import Done, Queued, Turn

#: How many times what it must hold a log may be long.
MOST_TIMES: Final = 3
#: How many segments a log may have in any case.
LEAST_SEGMENTS: Final = 4
#: One piece: a few milliseconds of copying between two changes.
PIECE_BYTES: Final = 4 << 20


def row_bytes(definition: Definition) -> int:
    """What a row takes in a log, at least: its vector, id, seq and time, its typed columns."""
    return definition.dim * 4 + 24 + 8 * len(definition.columns)


class Passes:
    """Which seqs come next. ``first_seq`` and ``last_seq`` follow what was appended."""

    def __init__(self, definition: Definition, segment_bytes: int, checkpoint: Checkpoint) -> None:
        self._capacity = definition.capacity
        self._row_bytes = row_bytes(definition)
        self._piece = max(1, PIECE_BYTES // self._row_bytes)
        self._least_bytes = LEAST_SEGMENTS * segment_bytes
        self.restart(checkpoint)

    def restart(self, checkpoint: Checkpoint) -> None:
        """Stand behind ``checkpoint``, without a pass."""
        self._last_seq = checkpoint.last_seq
        self._horizon = checkpoint.first_seq
        self._next_seq = 0
        self._until = 0
        self.is_running = False

    def appended(self, logged: Logged) -> None:
        """A change was appended."""
        if isinstance(logged, AddChange):
            self._last_seq = logged.first_seq + len(logged.vectors) - 1
        elif isinstance(logged, ExpireChange):
            self._horizon = max(self._horizon, logged.first_seq)

    def is_due(self, log_bytes: int, live_bytes: int) -> bool:
        """Whether a pass is to begin."""
        return not self.is_running and log_bytes > max(MOST_TIMES * live_bytes, self._least_bytes)

    def begin(self) -> None:
        """A pass begins behind what was appended so far."""
        self.is_running = True
        self._next_seq, self._until = self._first_seq, self._last_seq

    def wanted(self) -> tuple[int, int]:
        """The next piece; an empty one, (n, n - 1), if nothing is left of the pass."""
        first = max(self._next_seq, self._first_seq)
        return first, max(first - 1, min(first + self._piece - 1, self._until))

    def kept(self, last_seq: int) -> bool:
        """Rows up to ``last_seq`` were written again; whether the pass is over."""
        self._next_seq = last_seq + 1
        if max(self._next_seq, self._first_seq) <= self._until:
            return False
        self.is_running = False
        return True

    @property
    def _first_seq(self) -> int:
        return max(1, self._last_seq - self._capacity + 1, self._horizon)


class LogCompaction:
    """``interface.Compaction`` by ``passes``, into the queue of a log by ``put``.

    ``is_free``: the log takes more than it must; ``log_bytes``: how long it is.
    """

    def __init__(
        self,
        passes: Passes,
        put: Callable[[Queued], None],
        is_free: Callable[[], bool],
        log_bytes: Callable[[], int],
    ) -> None:
        self._passes = passes
        self._put = put
        self._is_free = is_free
        self._log_bytes = log_bytes
        self._is_asked = False

    def ask(self) -> None:
        """Have a pass begin, however long the log is. From any thread."""
        self._is_asked = True

    @property
    def is_under_way(self) -> bool:
        """Whether a pass is asked for, or runs. From any thread."""
        return self._is_asked or self._passes.is_running

    def wanted_rows(self, live_bytes: int) -> tuple[int, int] | None:
        """See Compaction."""
        if not self._is_free():
            return None
        is_asked, self._is_asked = self._is_asked and not self._passes.is_running, False
        if is_asked or self._passes.is_due(self._log_bytes(), live_bytes):
            self._passes.begin()
            self._put((Turn(), None, 0))
        return self._passes.wanted() if self._passes.is_running else None

    def keep(self, rows: KeptRows) -> None:
        """See Compaction."""
        if not self._passes.is_running:
            return
        if len(rows.times_us):
            self._put((rows, None, rows.vectors.nbytes + rows.times_us.nbytes))
        if self._passes.kept(rows.last_seq):
            self._put((Done(), None, 0))
