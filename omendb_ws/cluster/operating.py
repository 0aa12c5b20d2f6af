"""What a node does for operators of its cluster: the ``Operations`` of the sessions.

What they ask is written into the bucket, and every node does its part of it (``agenda.py``): it is
under way when it is written, and done when the windows have moved. Lives on the loop's thread.
"""

from __future__ import annotations

from typing import Any

from omendb_core.model.errors import BadRequest, NotFound

from ..journal.jetstream.store import JetStreamStore
from .directory import Kept, Then, Told
from .members import LOST
from .seen import Seen
from .status import Status


class Operating:
    """By the node of ``seen``, whose ``store`` it is; ``heals``: see ``Status``."""

    def __init__(self, seen: Seen, store: JetStreamStore, *, heals: bool) -> None:
        self._seen = seen
        self._store = store
        self._heals = heals
        self._status = Status(seen, store.servers, heals=heals)

    def status(self, tenant: str | None) -> dict[str, Any]:
        """See Operations."""
        return self._status.of(tenant)

    def told(self, tenant: str | None) -> Told:
        """See Operations."""
        return self._status.told(tenant)

    def check_target(self, node: str) -> None:
        """See Operations."""
        self._refuse_gone("to", node)
        if node in self._seen.view.leaving:
            raise BadRequest(f"to: node {node} is to leave, and takes nothing")

    def check_leaving(self, node: str) -> None:
        """See Operations."""
        self._refuse_gone("node", node)
        if not self._up() - self._seen.view.leaving - {node}:
            raise BadRequest(f"node: without {node} nobody would hold its collections")

    def check_healing(self, tenant: str, name: str) -> Kept:
        """See Operations."""
        one = self._seen.by_name.get((tenant, name))
        if one is None:
            raise NotFound(f"collection: there is no {name!r}")
        healing = one.healing(self._heals)
        if healing is None:
            raise BadRequest(f"collection: {name} is not to be healed: nodes answer for it")
        if healing == LOST:
            raise BadRequest(f"collection: no node has anything of {name}; restore a backup")
        return Kept(one.key, one.newest_broken)

    def move_owner(self, tenant: str, name: str, to: str | None, then: Then) -> None:
        """See Operations."""
        self._store.wish(lambda wishes: wishes.move_owner(tenant, name, to), then)

    def evacuate(self, node: str, then: Then) -> None:
        """See Operations."""
        incarnation = self._seen.view.members[node].incarnation
        self._store.wish(lambda wishes: wishes.leave(node, incarnation), then)

    def heal(self, key: str, then: Then) -> None:
        """See Operations."""
        self._store.wish(lambda wishes: wishes.heal(key), then)

    def stay(self, node: str, then: Then) -> None:
        """See Operations."""
        self._store.wish(lambda wishes: wishes.stay(node), then)

    def _up(self) -> set[str]:
        return {name for name, one in self._seen.view.members.items() if one.is_alive}

    def _refuse_gone(self, field: str, node: str) -> None:
        up = sorted(self._up())
        if node not in up:
            raise BadRequest(f"{field}: no node that is up is called {node!r}; up: {', '.join(up)}")
