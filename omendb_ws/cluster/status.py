"""What a node tells operators of its cluster: who is there, who holds how much, servers of NATS.

A tenant's part has its own collections and rows, and null for what is nobody's in particular. Lives
on the loop's thread. What this node holds is known from its catalog, everything else from the
bucket, a moment later. Looked up once in a turn of the loop, whoever asks: one connection may ask
10,000 times in it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

from .members import Collection, Member
from .seen import Seen


class Status:
    """By the node of ``seen``; ``servers`` are those of NATS, and whether each is connected."""

    def __init__(self, seen: Seen, servers: Callable[[], list[tuple[str, bool]]]) -> None:
        self._seen = seen
        self._servers = servers
        #: By tenant; None: all of it.
        self._found: dict[str | None, dict[str, Any]] = {}

    def of(self, tenant: str | None) -> dict[str, Any]:
        """See Operations."""
        found = self._found.get(tenant)
        if found is None:
            if not self._found:
                asyncio.get_running_loop().call_soon(self._found.clear)
            found = self._found[tenant] = self._look(tenant)
        return found

    def _look(self, tenant: str | None) -> dict[str, Any]:
        seen, view = self._seen, self._seen.view
        there = [one for one in view.collections.values() if tenant is None or one.tenant == tenant]
        told = [self._told(one, there, tenant) for _, one in sorted(view.members.items())]
        servers = [{"address": one, "connected": is_it} for one, is_it in self._servers()]
        return {
            "node": seen.here.name,
            "collections": len(there),
            "ownerless": sum(seen.owner(one.tenant, one.name) is None for one in there),
            "nodes": told,
            "nats": servers if tenant is None else None,
        }

    def _told(
        self, member: Member, there: Iterable[Collection], tenant: str | None
    ) -> dict[str, Any]:
        seen, name = self._seen, member.name
        windows = [seen.windows(one.tenant, one.name).get(name) for one in there]
        held = [window for window in windows if window is not None]
        owned = [one for one in there if seen.owner(one.tenant, one.name) == name]
        state = "leaving" if name in seen.view.leaving else "up"
        return {
            "node": name,
            "address": member.address if tenant is None else None,
            "version": member.version,
            "state": state if member.is_alive else "gone",
            "collections": len(held),
            "owned": len(owned),
            "rows": sum(window.rows for window in held),
            "since": member.since,
        }
