"""What a node tells operators of its cluster: who is there, who holds what, servers of NATS.

A tenant's part has its own collections and rows, and null for what is nobody's in particular. Lives
on the loop's thread. What this node holds is known from its catalog, everything else from the
bucket, a moment later. Looked up, and written as JSON, once in a turn of the loop, whoever asks:
one connection may ask 10,000 times in it.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple

from ..wire.hits import dumps
from .directory import Told
from .members import WAITING, Collection, Member, Window
from .seen import Seen, state_of

#: Collections that are told of one by one: 100 to 600 bytes each.
MOST_PLACES: Final = 256


class _Place(NamedTuple):
    """Where a collection is; ``healing`` is None while nodes answer for it."""

    collection: Collection
    owner: str | None
    windows: Mapping[str, Window]
    healing: str | None


class Status:
    """By the node of ``seen``; ``servers`` are those of NATS, and whether each is connected;
    ``heals``: whether collections are healed without being asked for.
    """

    def __init__(
        self, seen: Seen, servers: Callable[[], list[tuple[str, bool]]], *, heals: bool
    ) -> None:
        self._seen = seen
        self._servers = servers
        self._heals = heals
        #: By tenant; None: all of it.
        self._found: dict[str | None, dict[str, Any]] = {}
        self._told: dict[str | None, Told] = {}

    def of(self, tenant: str | None) -> dict[str, Any]:
        """See Operations."""
        found = self._found.get(tenant)
        if found is None:
            if not self._found:
                asyncio.get_running_loop().call_soon(self._forget)
            found = self._found[tenant] = self._look(tenant)
        return found

    def told(self, tenant: str | None) -> Told:
        """See Operations."""
        found = self.of(tenant)
        told = self._told.get(tenant)
        if told is None:
            members = dumps(found)[1:-1]
            told = Told(members, hashlib.blake2b(members, digest_size=16).digest())
            self._told[tenant] = told
        return told

    def _forget(self) -> None:
        self._found.clear()
        self._told.clear()

    def _look(self, tenant: str | None) -> dict[str, Any]:
        seen, view = self._seen, self._seen.view
        there = view.collections.values()
        places = [self._place(one) for one in there if tenant is None or one.tenant == tenant]
        nodes = [self._node(one, places, tenant) for _, one in sorted(view.members.items())]
        servers = [{"address": one, "connected": is_it} for one, is_it in self._servers()]
        return {
            "node": seen.here.name,
            "fresh": view.is_fresh,
            "collections": len(places),
            "ownerless": sum(one.owner is None for one in places),
            "waiting": sum(one.healing == WAITING for one in places),
            "nodes": nodes,
            "places": [_said(one) for one in sorted(places, key=_troubled_first)[:MOST_PLACES]],
            "nats": servers if tenant is None else None,
        }

    def _place(self, one: Collection) -> _Place:
        seen, of = self._seen, (one.tenant, one.name)
        return _Place(one, seen.owner(*of), seen.windows(*of), one.healing(self._heals))

    def _node(self, member: Member, places: Iterable[_Place], tenant: str | None) -> dict[str, Any]:
        name = member.name
        held = [one.windows[name] for one in places if name in one.windows]
        state = "leaving" if name in self._seen.view.leaving else "up"
        return {
            "node": name,
            "address": member.address if tenant is None else None,
            "version": member.version,
            "state": state if member.is_alive else "gone",
            "collections": len(held),
            "owned": sum(one.owner == name for one in places),
            "rows": sum(window.rows for window in held),
            "since": member.since,
        }


def _troubled_first(one: _Place) -> tuple[bool, bool, str, str]:
    return one.healing is None, one.owner is not None, one.collection.tenant, one.collection.name


def _said(one: _Place) -> dict[str, Any]:
    replicas = [
        {"node": node, "version": window.version, "state": state_of(window, node == one.owner)}
        for node, window in sorted(one.windows.items())
    ]
    return {
        "tenant": one.collection.tenant,
        "collection": one.collection.name,
        "owner": one.owner,
        "replicas": replicas,
        "healing": one.healing,
    }
