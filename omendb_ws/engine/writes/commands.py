"""Changes of collections as the engine is asked for them, what logs and store say, and effects."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from omendb_core.admission.guard import Guard
from omendb_core.filters.parser import Filter
from omendb_core.model.change import AddRequest, UpdateRequest
from omendb_core.model.errors import OmenError
from omendb_core.model.types import Ids
from omendb_core.novelty.unless_near import Judgement, LeftOut, UnlessNear

from ...journal.interface import Log
from ...journal.interface import Stored as StoredCollection
from ..model.commands import Change, Signal
from ..model.ended import Ended
from ..model.pending import PendingChange
from ..model.shard import Shard
from ..model.ticket import Command, Ticket
from ..pieces.snapshots import Reading


class Listing(Protocol):
    """Who lists collections: the catalog."""

    def unlist(self, shard: Shard) -> None:
        """Take the collection out that a shard is of."""


class Holder(Protocol):
    """Who holds the names of collections that are in the store alone."""

    def undrop(self, stored: list[StoredCollection], reason: str) -> None:
        """A drop did not come through: hold the name again."""


@dataclass(slots=True, eq=False)
class Create(Change):
    """Make a collection durable that is in the catalog already; its creator has ``handle``.

    Only rows that pass ``visible`` will be there for it.
    """

    catalog: Listing
    handle: int
    visible: Filter | None = None


@dataclass(slots=True, eq=False)
class _Guarded(Change):
    """A change of rows by somebody who may touch what ``guard`` lets through."""

    guard: Guard


@dataclass(slots=True, eq=False)
class Add(_Guarded):
    """PROTOCOL section 4; ``is_binary``: answered by ADDED.

    With ``unless_near``: its ``judgement``, while that is there and the window is the same, and,
    once it is admitted, who was ``left_out``.
    """

    request: AddRequest
    is_binary: bool
    unless_near: UnlessNear | None = None
    judgement: Judgement | None = None
    left_out: LeftOut | None = None


@dataclass(slots=True, eq=False)
class Delete(_Guarded):
    """PROTOCOL section 4."""

    ids: Ids


@dataclass(slots=True, eq=False)
class Update(_Guarded):
    """PROTOCOL section 4."""

    request: UpdateRequest


#: What changes rows of a window.
RowChange: TypeAlias = Add | Delete | Update


@dataclass(slots=True, eq=False)
class Drop(Change):
    """A barrier: reads that came before it are answered first. ``held`` takes the name again if the
    store cannot drop it."""

    held: Holder


@dataclass(slots=True, eq=False)
class BeginSnapshot(Change):
    """Begin to read a collection as it is once all that is admitted is applied."""

    reading: Reading


@dataclass(slots=True, eq=False)
class EndSnapshot(Signal):
    """Nobody reads it any more."""

    reading: Reading


@dataclass(slots=True, eq=False)
class Handed(Command):
    """What another thread does, and answers by a ``Beat`` with the reply. ``begin`` hands it on."""

    begin: Callable[[Ticket], None]


@dataclass(slots=True, eq=False)
class Settled(Signal):
    """A log says of changes, in order, that they are as safe as promised, or why not."""

    shard: Shard
    changes: Sequence[PendingChange]
    error: OmenError | None


@dataclass(slots=True, eq=False)
class Stored(Signal):
    """What the store was asked for is done: the new ``log`` of a collection, or None for a drop."""

    work: Create | Drop | DropGivenUp
    log: Log | None
    error: Exception | None


@dataclass(slots=True, eq=False)
class Recovered(Signal):
    """A collection is back, and listed from now on."""

    shard: Shard


@dataclass(slots=True, eq=False)
class DropGivenUp(Command):
    """Drop what is in the store and nowhere else; its name is free already.

    It does not wait for changes that its connection sent before: they were for other collections.
    So whatever is made under that name later comes to the store behind it.
    """

    held: Holder
    stored: list[StoredCollection]


#: Requests that wait for nothing.
Asked: TypeAlias = DropGivenUp | Handed


@dataclass(slots=True, eq=False)
class NotDropped:
    """Effect: what was to be dropped is in the store still."""

    held: Holder
    stored: list[StoredCollection]

    def deliver(self) -> None:
        """Hold the name again."""
        self.held.undrop(self.stored, "could not be dropped; try again")


@dataclass(slots=True, eq=False)
class Uncreated:
    """Effect: a collection could not be made durable, and is none."""

    catalog: Listing
    shard: Shard

    def deliver(self) -> None:
        """Take it out of the catalog, and end what subscribed to it."""
        if self.shard.listed.is_listed:
            self.catalog.unlist(self.shard)
        self.shard.let_go()
        Ended(self.shard, "dropped").deliver()
