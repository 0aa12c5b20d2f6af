"""A log whose window only follows: another node admits its changes.

The engine sees a log that takes nothing now. Once this node owns it a log that takes changes
stands in its place.
"""

from __future__ import annotations

from typing import Any, Final

from omendb_core.model.change import Change
from omendb_core.model.errors import OmenError, Unavailable
from omendb_core.model.logged import Checkpoint

from .interface import Compaction, Damaged, Following, LogNumbers

#: What changes are refused with.
REFUSAL: Final = "collection: another node owns it, and takes its changes; try again"


class FollowerLog:
    """``interface.Log``; see the module."""

    #: Nothing that needs the window: its owner does it.
    compaction: Compaction | None = None
    has_room = True
    wants_rest = False

    def __init__(self, following: Following) -> None:
        self.following = following
        self.stored = following.stored
        self.manifest = following.manifest
        self.error: OmenError | None = Unavailable(REFUSAL)

    def append(self, change: Change, tag: Any) -> None:
        """Never called: ``error`` says so."""
        raise RuntimeError("a follower admitted a change")

    def rewind(self) -> Checkpoint:
        """Never called: nothing was appended."""
        raise RuntimeError("a follower admitted a change")

    def numbers(self) -> LogNumbers:
        """See Log."""
        return self.following.numbers()

    def close(self) -> None:
        """See Log."""
        self.following.close()

    def drop(self) -> None:
        """Unavailable: its owner does it, unless there is nothing to own."""
        if not isinstance(self.error, Damaged):
            raise Unavailable(REFUSAL)
        self.following.drop()
