"""When rows leave by age: which windows have a ttl, and ten looks a second at them.

Lives on the engine's thread. Expiry is a change like any other; a durable collection's is logged.
"""

from __future__ import annotations

from typing import Final

from ...runtime.faults import as_error
from ...telemetry.metrics import Metrics
from ..model.shard import Shard
from ..pieces.snapshots import is_kept
from .changes import Changes
from .durability import Durability

#: PROTOCOL section 3: expiry is at most a second late; ten steps a second are enough.
EXPIRY_SECONDS: Final = 0.1
_EXPIRY_US: Final = round(EXPIRY_SECONDS * 1e6)


class Expiry:
    """The shards with a ttl that the engine has changed, or got back."""

    def __init__(self, metrics: Metrics, changes: Changes, durability: Durability) -> None:
        self._metrics = metrics
        self._changes = changes
        self._durability = durability
        self._collections: dict[Shard, None] = {}
        #: Those of them of which more rows are due than one change takes out.
        self._unfinished: set[Shard] = set()
        self._next_us = 0
        #: A long read kept some waiting, or more is due: they are looked at in the next tick.
        self._are_late = False
        #: Rows that are due wait: they are being kept for who reads a snapshot, or are many.
        self.is_keeping = False

    @property
    def patience_seconds(self) -> float | None:
        """How long until it wants to look; None if there is nothing to wait for."""
        if any(shard.window.rows for shard in self._collections):
            return EXPIRY_SECONDS
        return None

    def watch(self, shard: Shard) -> None:
        """Look at this shard from now on, if its rows have an age."""
        if shard.definition.ttl_seconds is not None:
            self._collections[shard] = None

    def forget(self, shard: Shard) -> None:
        """A shard is gone."""
        self._collections.pop(shard, None)
        self._unfinished.discard(shard)

    def look(self, now_us: int) -> None:
        """Have leave what is older than its ttl; not more than ten times a second."""
        is_due = now_us >= self._next_us
        if not is_due and not self._are_late:
            return
        if is_due:
            self._next_us = now_us + _EXPIRY_US
        self._are_late = self.is_keeping = False
        for shard in self._collections:
            goes_on = shard.keeps_expiry_waiting or shard in self._unfinished
            if not is_due and not goes_on:
                continue
            shard.keeps_expiry_waiting = shard.is_held
            if not shard.is_held and not is_kept(shard, now_us):
                shard.keeps_expiry_waiting = self.is_keeping = True
            if shard.keeps_expiry_waiting:
                self._are_late = True
                continue
            try:
                if shard.pending is None:
                    self._changes.expire(shard, now_us)
                else:
                    self._durability.expire(shard, now_us)
                self._go_on(shard, now_us)
            except Exception as error:
                self._metrics.faults += 1
                as_error(error, "expiry")

    def _go_on(self, shard: Shard, now_us: int) -> None:
        """Many leave some at a time: the others next, or once the log has these."""
        self._unfinished.discard(shard)
        if shard.broken is None and shard.window.admission.has_due(shard.time_us(now_us)):
            self._unfinished.add(shard)
            self._are_late = True
            self.is_keeping |= shard.pending is None
