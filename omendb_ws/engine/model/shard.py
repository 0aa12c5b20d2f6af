"""One window of a collection, with its log: what the engine knows of it.

A collection is one of them, or several (``sharded.py``); ``catalog/entry.py`` is what its name
leads to.
"""

from __future__ import annotations

import secrets
from functools import cached_property
from typing import Any, Protocol

from omendb_core.filters.parser import Filter
from omendb_core.model.change import Change
from omendb_core.model.errors import NotFound, OmenError, Unavailable
from omendb_core.model.types import Definition
from omendb_core.window import Window

from ...sharding.names import PartName, read_part
from ...telemetry.histogram import Rates
from ...wire.messages import Durability
from .pending import PendingChanges
from .scan_cost import ScanCost
from .ticket import Counts


class Subscriber(Protocol):
    """A subscription to a collection, on the loop's thread."""

    def end(self, reason: str) -> None:
        """The server ends it, and says why."""


class Copying(Protocol):
    """Somebody who reads the window as it stood at one version; of the engine."""

    def before(self, change: Change) -> None:
        """A change is about to be applied."""

    def keep_some_below(self, seq: int) -> bool:
        """Keep some of what leaves once the window begins at ``seq``; whether all of it is."""

    def lose(self, error: OmenError) -> None:
        """It cannot be read any further."""


class Listed:
    """The loop's: whether a name leads to a shard, and who subscribed to it."""

    __slots__ = ("is_listed", "subscriptions")

    def __init__(self) -> None:
        self.is_listed = True
        self.subscriptions: set[Subscriber] = set()


class Shard:
    """A window of a named collection. What that is called and made of is everybody's to read.

    ``listed`` is the loop's, all else that changes is the engine's; the loop sets it before the
    engine has heard of it. ``pending`` is None where there is no log (for ``memory``, but in a
    cluster): ``has_log`` says it of one that is new, and whoever opens a log sets it. ``broken``
    says why the window can no longer be trusted: after a fault in the middle of a change, or as
    its log says; None while it is sound.
    """

    #: The version of the window when it was let go of.
    left_at = 0

    def __init__(
        self,
        tenant: str,
        name: str,
        durability: Durability,
        window: Window,
        now_seconds: float,
        epoch: str | None = None,
        replicas: int = 1,
        *,
        has_log: bool = False,
    ) -> None:
        self.tenant = tenant
        self.name = name
        self.durability = durability
        self.window = window
        self.definition: Definition = window.definition
        self.reserved_bytes = window.nbytes
        self.epoch = epoch or secrets.token_hex(8)
        #: How many nodes should hold it: of one that is made; the cluster knows it later.
        self.replicas = replicas
        self.counts = Counts()
        #: The loop takes samples of ``counts``, which say themselves who writes each.
        self.rates = Rates(now_seconds, self.rate_counters())
        #: How far the time of its log is ahead of the server's clock; see ``time_us``.
        self.ahead_us = 0
        self.listed = Listed()
        #: The one that had its name before, if that was still being dropped.
        self.follows: Shard | None = None
        self.is_dropped = False
        #: Why it is gone here although there is such a collection: other nodes have it.
        self.left: str | None = None
        self.broken: str | None = None
        self.pending: PendingChanges | None = PendingChanges() if has_log else None
        self.scan_cost = ScanCost()
        #: Of scans by the engine, with helpers, and whether a batch was cut into pieces or not.
        self.batch_cost = ScanCost()
        #: A long read goes over the window, or its standing queries are matched with
        #: what came, over several ticks; and changes have waited for that.
        self.is_being_read = self.is_catching_up = self.has_kept_waiting = False
        #: An add is compared with it, over several ticks.
        self.is_being_prepared = False
        #: Rows that are due to expire wait for that.
        self.keeps_expiry_waiting = False
        #: So does a count for who subscribed to it.
        self.keeps_count_waiting = False
        #: A mask of it is being made in pieces.
        self.makes_mask = False
        #: How many live queries stand over it.
        self.live_queries = 0
        #: Who reads it as it stood at one version.
        self.snapshots: list[Copying] = []

    @cached_property
    def place(self) -> PartName | None:
        """Which one of several it is."""
        return read_part(self.name)

    def let_go(self) -> None:
        """Let the window go, which must go with this, its last reference. Again and again."""
        if "window" in self.__dict__:
            self.left_at = self.window.version
            del self.window

    @property
    def is_held(self) -> bool:
        """Whether the window must not change: changes wait."""
        return self.is_being_read or self.is_catching_up or self.is_being_prepared

    @property
    def is_held_otherwise(self) -> bool:
        """Whether it is held for something else than a change that is prepared."""
        return self.is_being_read or self.is_catching_up

    @property
    def is_follower(self) -> bool:
        """Whether another node admits its changes. From any thread."""
        return self.pending is not None and self.pending.is_follower

    @property
    def is_made(self) -> bool:
        """False while the store makes its log."""
        return self.pending is None or self.pending.log is not None or self.is_dropped

    @property
    def version(self) -> int:
        """Of its window. From any thread."""
        return self.window.version

    @property
    def parts(self) -> tuple[Shard]:
        """Itself (``sharded.py`` has several)."""
        return (self,)

    def time_us(self, now_us: int) -> int:
        """What time it is for its rows: a log's time goes on after a restart, however the machine's
        clock was set meanwhile."""
        return now_us + self.ahead_us

    def seconds(self, now_us: int) -> float:
        """The Unix time, by the clock that its rows are stamped with."""
        return self.window.admission.admitted.time(self.time_us(now_us)) / 1e6

    def rate_counters(self) -> tuple[int, ...]:
        """What ``rates`` follows: ``Counts.rated`` and the evictions."""
        return (*self.counts.rated(), self.window.state.evicted)

    def describe(self, visible: Filter | None = None) -> dict[str, Any]:
        """The description of PROTOCOL section 3. On the thread that holds the window.

        To whom only rows that pass ``visible`` are there, it counts those, and says no bytes.
        """
        window, definition = self.window, self.definition
        return {
            "collection": self.name,
            "dim": definition.dim,
            "metric": definition.metric,
            "capacity": definition.capacity,
            "ids": definition.ids,
            "columns": dict(definition.columns),
            "ttl": definition.ttl_seconds,
            "durability": self.durability,
            "epoch": self.epoch,
            "version": window.version,
            "first_seq": window.first_seq,
            "last_seq": window.last_seq,
            "rows": window.rows if visible is None else window.count(visible),
            "bytes": None if visible else window.taken_bytes + window.standing.nbytes,
        }

    def refuse_broken(self) -> None:
        """Unavailable if its window can no longer be trusted."""
        if self.broken is not None:
            raise Unavailable(f"collection: {self.broken}")

    def refuse_dropped(self) -> None:
        """NotFound once the collection is gone."""
        if self.left is not None:
            raise Unavailable(f"collection: {self.left}")
        if self.is_dropped:
            raise NotFound(f"collection: there is no {self.name!r}")
