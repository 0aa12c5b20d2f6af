"""Tallies: what all ``count`` subscriptions share that count the same, whoever they belong to.

Lives on the loop's thread. A tally (``engine/streams/counting.py``) goes with its last reader, and
what it takes of the budget with it.
"""

from __future__ import annotations

from typing import TypeAlias
from weakref import WeakValueDictionary

from omendb_core.counting import CountQuery
from omendb_core.filters.mask_cache import key_of
from omendb_core.model.budget import Budget, Share

from ...engine.model.shard import Shard
from ...engine.streams.counting import Tally

_Key: TypeAlias = tuple[Shard, str, str | None, int]


class OpenTallies:
    """The tallies that somebody reads; one goes with its last reader."""

    def __init__(self) -> None:
        self._tallies: WeakValueDictionary[_Key, Tally] = WeakValueDictionary()

    def __len__(self) -> int:
        return len(self._tallies)

    def open(self, shard: Shard, query: CountQuery, budget: Budget) -> Tally:
        """The tally of what ``query`` counts. Quota."""
        filter_key = "" if query.filter is None else key_of(query.filter)
        key = (shard, filter_key, query.by, query.limit)
        found = self._tallies.get(key)
        if found is None:
            found = Tally(shard, query, Share(budget, "this count takes"))
            self._tallies[key] = found
        return found
