"""What was admitted to one durable collection and is not applied yet, in order.

Owned by the engine's thread; ``durability.py`` is what uses it. A *pending* change is one that the
log has been given and has not settled (said that it is committed, or why it is not), or something
that must come after such changes: the reply to a repeated batch, the place in its connection's
order of a request that was refused at once.

Invariants: pending changes are finished in the order in which they became pending. While the
collection waits for something (``waits_for``), none is added: they are ``parked``, in order.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Literal, TypeAlias

from omendb_core.model.change import Change as CoreChange
from omendb_core.model.change import Repeated
from omendb_core.model.errors import OmenError, StorageFailed

from ...journal.follower_log import FollowerLog
from ...journal.interface import Damaged, Log
from .ticket import Command, Lane

#: What the next change waits for: nothing; room in the queue before the log; that no change is
#: pending (``rest``); the store, which makes or drops the collection.
Waits: TypeAlias = Literal["", "room", "rest", "store"]


@dataclass(slots=True, eq=False)
class PendingChange:
    """``work`` None: nobody asked for it. Neither: it only keeps a place.

    ``is_settled``: whether the log is through with it; ``error``: why it was not made safe.
    """

    work: Command | None
    admitted: CoreChange | Repeated | None
    lane: Lane | None
    is_settled: bool
    error: OmenError | None = None


class PendingChanges:
    """Those of one collection, oldest first. ``log`` is None until the store has made it.

    ``error``: why changes were refused since none was pending last. ``must_rewind``: something was
    admitted that the log was never given; admission is put back to what is safe when nothing is
    pending. ``is_stepping_down``: another node owns the log, and this one is to follow it.
    """

    __slots__ = (
        "changes", "error", "is_expiring", "is_stepping_down", "log", "must_rewind", "parked",
        "waits_for",
    )  # fmt: skip

    def __init__(self, log: Log | None = None) -> None:
        self.log = log
        self.changes: deque[PendingChange] = deque()
        self.parked: deque[Command] = deque()
        self.waits_for: Waits = "" if log is not None else "store"
        self.error: OmenError | None = None
        self.is_expiring = self.must_rewind = self.is_stepping_down = False

    @property
    def has_failed(self) -> bool:
        """Whether the log is finished, and nothing more can be made safe. From any thread."""
        return self.log is not None and isinstance(self.log.error, StorageFailed | Damaged)

    @property
    def is_follower(self) -> bool:
        """Whether another node admits changes. From any thread."""
        return isinstance(self.log, FollowerLog)

    def park(self, work: Command, waits_for: Waits) -> None:
        """Keep ``work``, and all that follow it, until there is what it waits for."""
        self.parked.append(work)
        self.waits_for = waits_for

    @property
    def may_append(self) -> bool:
        """Whether a change can go into the log right away."""
        return not self.waits_for and self.log is not None and self.log.has_room

    @property
    def is_at_rest(self) -> bool:
        """Whether nothing is pending, and the log is the engine's to ask."""
        return not self.changes and self.waits_for != "store" and not self.is_stepping_down

    @property
    def is_next_settled(self) -> bool:
        """Whether the log is through with the next pending change."""
        return bool(self.changes) and self.changes[0].is_settled

    @property
    def may_go_on(self) -> bool:
        """Whether there is now what the parked changes wait for."""
        if self.waits_for == "rest":
            return not self.changes
        return self.waits_for == "room" and self.log is not None and self.log.has_room
