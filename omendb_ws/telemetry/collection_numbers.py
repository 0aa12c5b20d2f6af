"""The numbers of collections, of which as many are told one by one as a setting says.

A label for each collection would give a server of many tenants a hundred thousand series. So the
busiest have their own, by the time of the engine that they take, and all others are one. Knows
nothing of the rest.

Invariants: at most ``most`` have their own; what the others have done together never goes back.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple, TypeAlias

#: All others, where the busiest are named: no collection can be called so.
OTHERS: Final = "_others"
#: How often places may change hands; a series that comes and goes is of no use.
REVIEW_SECONDS: Final = 60.0
#: How much of what it has done counts for a collection's place a review later: half after 10 min.
_KEPT_OF_USE: Final = 0.933
#: One without a place gets that of another if it does so many times as much.
_LEAD: Final = 2.0


class CollectionNumbers(NamedTuple):
    """What a collection has now, and, from ``added_rows`` on, what it has done."""

    rows: int = 0
    capacity_rows: int = 0
    reserved_bytes: int = 0
    payload_bytes: int = 0
    subscriptions: int = 0
    live_queries: int = 0
    journal_bytes: int = 0
    journal_unflushed_seconds: float = 0.0
    added_rows: int = 0
    evicted_rows: int = 0
    queries: int = 0
    pushes: int = 0
    merged_pushes: int = 0
    gaps: int = 0
    errors: int = 0
    engine_seconds: float = 0.0


#: Where the numbers begin that only grow.
_DONE: Final = CollectionNumbers._fields.index("added_rows")
_UNFLUSHED: Final = CollectionNumbers._fields.index("journal_unflushed_seconds")

#: Tenant, name and epoch.
Key: TypeAlias = tuple[str, str, str]
#: What has been done, in the order of the fields.
_Done: TypeAlias = tuple[float, ...]

_NOTHING: Final[_Done] = tuple(CollectionNumbers()[_DONE:])


class Busiest:
    """Which collections are told one by one, for one that looks on; ``tenant`` names the rest's."""

    def __init__(self, most: int, tenant: str) -> None:
        self._most = most
        self._rest_of = tenant
        self._named: set[Key] = set()
        self._use: dict[Key, float] = {}
        self._done: dict[Key, _Done] = {}
        self._rest: _Done = _NOTHING
        self._reviewed_seconds: float | None = None

    def look(
        self, collections: Iterable[tuple[Key, CollectionNumbers]], now_seconds: float
    ) -> dict[tuple[str, str], CollectionNumbers]:
        """By tenant and name; the others together under ``OTHERS``.

        What one of those does between the last look and its end is not counted.
        """
        now = dict(collections)
        since = self._since(now)
        self._give_free_places(now)
        for key, more in since.items():
            if key not in self._named:
                self._rest = tuple(map(sum, zip(self._rest, more, strict=True)))
        self._review(now_seconds)
        told = {(tenant, name): now[tenant, name, epoch] for tenant, name, epoch in self._named}
        told[self._rest_of, OTHERS] = self._others(now)
        return told

    def _since(self, now: dict[Key, CollectionNumbers]) -> dict[Key, _Done]:
        """What each has done since the last look, which is its use."""
        before = self._done
        self._done = {key: numbers[_DONE:] for key, numbers in now.items()}
        since = {}
        for key, done in self._done.items():
            was = before.get(key, _NOTHING)
            since[key] = tuple(after - then for after, then in zip(done, was, strict=True))
        self._use = {key: self._use.get(key, 0.0) + more[-1] for key, more in since.items()}
        return since

    def _give_free_places(self, now: dict[Key, CollectionNumbers]) -> None:
        self._named &= now.keys()
        free = self._most - len(self._named)
        if free > 0:
            self._named.update(self._unnamed()[:free])

    def _review(self, now_seconds: float) -> None:
        """Now and then busier ones get the places of others."""
        reviewed = self._reviewed_seconds
        if reviewed is not None and now_seconds - reviewed < REVIEW_SECONDS:
            return
        self._reviewed_seconds = now_seconds
        idlest = sorted(self._named, key=self._use.__getitem__)
        for old, new in zip(idlest, self._unnamed(), strict=False):
            if self._use[new] <= _LEAD * self._use[old]:
                break
            self._named.remove(old)
            self._named.add(new)
        self._use = {key: use * _KEPT_OF_USE for key, use in self._use.items()}

    def _unnamed(self) -> list[Key]:
        """Those without a place, the busiest first."""
        unnamed = [key for key in self._use if key not in self._named]
        return sorted(unnamed, key=lambda key: (-self._use[key], key))

    def _others(self, now: dict[Key, CollectionNumbers]) -> CollectionNumbers:
        others = [numbers for key, numbers in now.items() if key not in self._named]
        if not others:
            return CollectionNumbers._make((*CollectionNumbers()[:_DONE], *self._rest))
        there = [sum(column) for column in zip(*others, strict=True)][:_DONE]
        there[_UNFLUSHED] = max(one.journal_unflushed_seconds for one in others)
        return CollectionNumbers._make((*there, *self._rest))
