"""What a store is besides that other nodes use, too."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from omendb_core.model.logged import Checkpoint
from omendb_core.model.types import WindowLimits

from .interface import Following, Manifest, Receiving, Store, Stored


@runtime_checkable
class SharedStore(Store, Protocol):
    """A store that other nodes use, too."""

    def follow(self, stored: Stored, limits: WindowLimits) -> Following:
        """Begin to read a log that another node owns. Raises Damaged, Purged, Unavailable."""

    def renew(
        self,
        old: Stored,
        manifest: Manifest,
        checkpoint: Checkpoint,
        limits: WindowLimits,
        time_us: int,
    ) -> Receiving:
        """As ``receive``, in place of ``old``, whose log is not what was written."""

    def begin_anew(self, stored: Stored, limits: WindowLimits) -> None:
        """Have a collection that is in memory only begin with nothing, under a new epoch: its log
        is lost, and nobody has its window. Waits. NotFound of any other; as ``create``."""
