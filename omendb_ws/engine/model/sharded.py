"""The shards of one collection together: what is said of them as of one window.

A collection with ``shards`` is several ``Shard``s, each with a window, a log and versions of its
own; work is for one of them, and only what describes all of them looks at all. Lives where they do:
what changes of them is the engine's.
"""

from __future__ import annotations

from typing import Any

from omendb_core.filters.parser import Filter
from omendb_core.model.errors import NotFound
from omendb_core.model.types import Definition
from xxhash import xxh3_64_hexdigest

from ...sharding.numbering import outer_seq
from .shard import Shard


class Sharded:
    """Some shards, in order. ``definition`` is that of all of it."""

    def __init__(self, name: str, definition: Definition, shards: tuple[Shard, ...]) -> None:
        self.name = name
        self.definition = definition
        self.parts = shards
        #: What happens to all of them, and not in one, is counted at the first.
        self.counts = shards[0].counts
        self.epoch = xxh3_64_hexdigest(" ".join(one.epoch for one in shards).encode())

    @property
    def is_made(self) -> bool:
        """Whether the logs of all are there."""
        return all(one.is_made for one in self.parts)

    @property
    def is_dropped(self) -> bool:
        """Whether any is gone."""
        return any(one.is_dropped for one in self.parts)

    @property
    def is_catching_up(self) -> bool:
        """Whether the standing queries of any do."""
        return any(one.is_catching_up for one in self.parts)

    @property
    def broken(self) -> str | None:
        """Why one of them is not to be trusted."""
        reasons = (one.broken for one in self.parts)
        return next((reason for reason in reasons if reason is not None), None)

    @property
    def versions(self) -> list[int]:
        """Of each shard. From any thread, each for itself."""
        return [one.window.version for one in self.parts]

    @property
    def version(self) -> int:
        """Their sum."""
        return sum(self.versions)

    def refuse_broken(self) -> None:
        """Unavailable if one of them can no longer be trusted."""
        for one in self.parts:
            one.refuse_broken()

    def refuse_dropped(self) -> None:
        """NotFound once it is gone."""
        if self.is_dropped:
            raise NotFound(f"collection: there is no {self.name!r}")

    def describe(self, visible: Filter | None = None) -> dict[str, Any]:
        """As ``Shard.describe``; the seqs are the first and the last of any shard."""
        said = [one.describe(visible) for one in self.parts]
        count = len(said)
        firsts = [outer_seq(one["first_seq"], place, count) for place, one in enumerate(said)]
        lasts = [
            outer_seq(one["last_seq"], place, count) if one["last_seq"] else 0
            for place, one in enumerate(said)
        ]
        versions = [one["version"] for one in said]
        return {
            **said[0],
            "collection": self.name,
            "capacity": self.definition.capacity,
            "epoch": self.epoch,
            "version": sum(versions),
            "first_seq": min(firsts),
            "last_seq": max(lasts),
            "rows": sum(one["rows"] for one in said),
            "bytes": None if visible else sum(one["bytes"] for one in said),
            "shards": count,
            "versions": versions,
        }
