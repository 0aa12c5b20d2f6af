"""What one window has admitted so far: the last version, seq and time, and each producer's batches.

Knows nothing of what a window holds, so that a log can be followed without one. Every admitted
change, and every replayed one, passes ``observe`` exactly once.
"""

from __future__ import annotations

from ..model.change import AddChange, Change
from ..model.logged import Checkpoint
from .producers import Producers


class Admitted:
    """The counters of one window's log. ``max_producers`` are remembered."""

    def __init__(self, max_producers: int) -> None:
        self.version = 0
        self.last_seq = 0
        self.time_us = 0
        self.producers = Producers(max_producers)

    def time(self, now_us: int) -> int:
        """``now_us``, or the time of the last change if the clock went back."""
        return max(now_us, self.time_us)

    def observe(self, change: Change) -> None:
        """Remember a change as admitted; in order, each once. After a fault nothing is."""
        last_seq = self.last_seq
        if isinstance(change, AddChange):
            last_seq = change.first_seq + len(change.vectors) - 1
            if change.producer is not None and change.batch is not None:
                self.producers.accept(change.producer, change.batch, change.first_seq, last_seq)
        self.version, self.time_us, self.last_seq = change.version, change.time_us, last_seq

    def resume(self, checkpoint: Checkpoint) -> None:
        """Stand where ``checkpoint`` stands; whatever was admitted since is forgotten."""
        self.version = checkpoint.version
        self.last_seq = checkpoint.last_seq
        self.time_us = checkpoint.time_us
        self.producers.resume(checkpoint.producers)
