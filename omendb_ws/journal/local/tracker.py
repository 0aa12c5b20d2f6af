"""What a log has come to: the checkpoint behind its last change, kept while changes pass by.

Knows changes and a definition; nothing of records or files. The same for the writer, which opens
segments with it, and for recovery, which holds a log's changes to it.
"""

from __future__ import annotations

from omendb_core.admission.admitted import Admitted
from omendb_core.model.change import AddChange, ExpireChange, version_before
from omendb_core.model.logged import Checkpoint, KeptRows
from omendb_core.model.types import Definition, WindowLimits

from ..interface import Logged


class Tracker:
    """Follows a log from ``checkpoint`` on."""

    def __init__(
        self, definition: Definition, limits: WindowLimits, checkpoint: Checkpoint
    ) -> None:
        self._capacity = definition.capacity
        self._admitted = Admitted(limits.max_producers)
        self._admitted.resume(checkpoint)
        self._horizon = checkpoint.first_seq

    @property
    def version(self) -> int:
        """The version of the last change."""
        return self._admitted.version

    @property
    def last_seq(self) -> int:
        """The newest sequence number."""
        return self._admitted.last_seq

    @property
    def time_us(self) -> int:
        """The time of the last change."""
        return self._admitted.time_us

    @property
    def first_seq(self) -> int:
        """The oldest sequence number that the window may hold."""
        return max(1, self.last_seq - self._capacity + 1, self._horizon)

    def follow(self, logged: Logged) -> None:
        """Take in what was logged next."""
        if isinstance(logged, KeptRows):
            return
        self._admitted.observe(logged)
        if isinstance(logged, ExpireChange):
            self._horizon = max(self._horizon, logged.first_seq)

    def objection(self, logged: Logged) -> str | None:
        """Why ``logged`` cannot come next; None if it can."""
        before = logged.version if isinstance(logged, KeptRows) else version_before(logged)
        if before != self.version:
            expected = self.version + logged.version - before
            return f"version {logged.version} where {expected} was expected"
        if isinstance(logged, AddChange) and logged.first_seq != self.last_seq + 1:
            return f"seq {logged.first_seq} where {self.last_seq + 1} was expected"
        return None

    def checkpoint(self) -> Checkpoint:
        """The state behind the last change (a copy)."""
        return Checkpoint(
            self.version,
            self.first_seq,
            self.last_seq,
            self._admitted.time_us,
            tuple(self._admitted.producers.state()),
        )
