"""What a name leads to: a collection as the loop knows it, and the shards that keep its rows.

A collection is one shard, ``shard``, or several, which are ``whole`` together: then it has no
``shard``, so that whoever knows of one only cannot take the first for all of it. What a collection
is called and made of never changes. Belongs to the loop's thread.

Invariant: an entry refers to its shards, and no shard to an entry, so that a window goes with the
last reference to it.
"""

from __future__ import annotations

from dataclasses import replace

from ..engine.model.shard import Shard
from ..engine.model.sharded import Sharded
from ..sharding.names import collection_of
from ..sharding.routing import Layout


class Entry:
    """A collection."""

    __slots__ = (
        "definition", "durability", "layout", "listed", "name", "shard", "shards", "tenant",
        "whole",
    )  # fmt: skip

    shard: Shard

    def __init__(self, *shards: Shard) -> None:
        first, count = shards[0], len(shards)
        self.shards = shards
        self.listed = first.listed
        self.tenant = first.tenant
        self.name = collection_of(first.name)
        self.durability = first.durability
        self.definition = first.definition
        self.layout = Layout(count, first.definition.ids)
        self.whole: Sharded | None = None
        if count == 1:
            self.shard = first
            return
        capacity = count * first.definition.capacity
        self.definition = replace(first.definition, capacity=capacity)
        self.whole = Sharded(self.name, self.definition, shards)
        for shard in shards:  # there is one name that leads to all of them
            shard.listed = self.listed

    @property
    def has_log(self) -> bool:
        """Whether what is done to it is logged."""
        return self.shards[0].pending is not None

    @property
    def all_of_it(self) -> Shard | Sharded:
        """Its shard, or all of them."""
        return self.shard if self.whole is None else self.whole

    @property
    def epoch(self) -> str:
        """Changes when its history may have."""
        return self.shard.epoch if self.whole is None else self.whole.epoch
