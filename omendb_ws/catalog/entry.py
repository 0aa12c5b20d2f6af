"""What a name leads to: a collection as the loop knows it, and the shards that keep its rows.

A collection is one shard today, and whoever hands work to the engine says which: ``shard``. What a
collection is called and made of never changes. Belongs to the loop's thread.

Invariant: an entry refers to its shards, and no shard to an entry, so that a window goes with the
last reference to it.
"""

from __future__ import annotations

from ..engine.model.shard import Shard


class Entry:
    """A collection."""

    __slots__ = ("definition", "durability", "listed", "name", "shard", "shards", "tenant")

    def __init__(self, shard: Shard) -> None:
        self.shards = (shard,)
        #: The only one.
        self.shard = shard
        self.listed = shard.listed
        self.tenant = shard.tenant
        self.name = shard.name
        self.durability = shard.durability
        self.definition = shard.definition

    @property
    def epoch(self) -> str:
        """Changes when its history may have."""
        return self.shard.epoch
