"""Collections of several shards, as the catalog makes them and gets them back.

Each shard is stored under a name of its own (``sharding/names.py``) and comes back by itself; the
collection is there once all of them are. Belongs to the loop's thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from omendb_core.model.types import Definition

from ..engine.model.shard import Shard
from ..journal.interface import Stored
from ..sharding.names import collection_of, part_name, read_part


def part_definition(definition: Definition, shards: int) -> Definition:
    """What each of so many shards is: the rows are divided, and the capacity rounded up."""
    if shards == 1:
        return definition
    return replace(definition, capacity=-(-definition.capacity // shards))


def part_names(collection: str, shards: int) -> list[str]:
    """What the shards are called; of one, as its collection."""
    if shards == 1:
        return [collection]
    return [part_name(collection, shard, shards) for shard in range(shards)]


def incomplete(found: Sequence[Stored]) -> set[Stored]:
    """Those of which the store has not all shards, or shards of several cuts of one name.

    A collection that was being made, or dropped, when the server stopped.
    """
    names: dict[tuple[str, str], set[str]] = {}
    for one in found:
        names.setdefault((one.tenant, collection_of(one.name)), set()).add(one.name)
    return {
        one for one in found if not _is_whole(names[one.tenant, collection_of(one.name)], one.name)
    }


def _is_whole(names: set[str], name: str) -> bool:
    part = read_part(name)
    if part is None:
        return len(names) == 1
    return names == set(part_names(part.collection, part.shards))


class Coming:
    """Shards that are back, of collections of which others are not."""

    def __init__(self) -> None:
        self._there: dict[tuple[str, str], dict[int, Shard]] = {}

    def with_one_more(self, shard: Shard) -> tuple[Shard, ...] | None:
        """All shards of a collection once ``shard``, the last of them, is back; else None."""
        part = read_part(shard.name)
        if part is None:
            return (shard,)
        key = shard.tenant, part.collection
        there = self._there.setdefault(key, {})
        there[part.shard] = shard
        if len(there) < part.shards:
            return None
        del self._there[key]
        return tuple(there[number] for number in range(part.shards))

    def take(self, tenant: str, collection: str) -> list[Shard]:
        """Those of a collection that does not come back as a whole, to be dropped."""
        return list(self._there.pop((tenant, collection), {}).values())
