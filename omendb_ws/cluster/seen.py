"""What a node knows of its cluster, for whoever asks: the ``Directory`` of the sessions.

What is here is known from the catalog, everything else from the bucket, a moment later. On the
loop's thread; the caretaker looks.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..catalog.catalog import Catalog
from ..engine.model.shard import Shard
from .agenda import Held
from .directory import Node, Replica, Where
from .members import Collection, View, Window


class Seen:
    """By the node ``me``; ``look`` again with each ``view``. ``left``: see ``Replicas``."""

    def __init__(self, me: str, catalog: Catalog, left: Mapping[str, int], view: View) -> None:
        self._me = me
        self._left = left
        self._catalog = catalog
        self.address = ""
        self.look(view)

    def look(self, view: View) -> None:
        """All that is known of the cluster is ``view`` now."""
        self.view = view
        self.by_name = {(one.tenant, one.name): one for one in view.collections.values()}

    @property
    def here(self) -> Node:
        """See Directory."""
        return Node(self._me, self.address)

    def nodes(self) -> list[Node]:
        """See Directory."""
        members = self.view.members.values()
        there = {one.name: Node(one.name, one.address) for one in members if one.is_alive}
        return sorted((there | {self._me: self.here}).values(), key=lambda node: node.name)

    def names(self, tenant: str) -> list[str]:
        """See Directory."""
        here = {entry.name for entry in self._catalog.of(tenant)}
        return sorted(here | {name for of, name in self.by_name if of == tenant})

    def where(self, tenant: str, name: str) -> Where | None:
        """See Directory."""
        one = self.by_name.get((tenant, name))
        shard = self._catalog.shard_of(tenant, name)
        if one is None and shard is None:
            return None
        is_owned_here = shard is not None and self._owns(shard, one)
        is_here = shard is not None and shard.broken is None
        others = [] if one is None else [self._node(node) for node in sorted(one.ready)]
        holders = [node for node in others if node is not None and node.name != self._me]
        owner = self.here if is_owned_here else None
        if not is_owned_here and one is not None and one.owner not in (None, self._me):
            owner = self._node(one.owner)
        holders += [self.here] if is_here else []
        key = "" if one is None else one.key
        return Where(owner, tuple(holders), is_here, is_owned_here, key, self._left.get(key, 0))

    @staticmethod
    def _owns(shard: Shard, one: Collection | None) -> bool:
        """Whether changes are answered here; by a broken one only where nobody else does."""
        state = held(shard)
        is_alone = one is None or one.owner is None
        return state is Held.OWNING or (state is Held.BROKEN and is_alone)

    def owner(self, tenant: str, name: str) -> str | None:
        """See Overview."""
        where = self.where(tenant, name)
        if where is None or where.owner is None:
            return None
        # One that is broken here is refused here, and takes no changes.
        return None if where.is_owned_here and not where.is_here else where.owner.name

    def replicas(self, tenant: str, name: str) -> list[Replica]:
        """See Overview."""
        owner = self.owner(tenant, name)
        return [
            Replica(node, window.version, state_of(window, node == owner))
            for node, window in sorted(self.windows(tenant, name).items())
        ]

    def windows(self, tenant: str, name: str) -> dict[str, Window]:
        """What the nodes that are alive hold of a collection, by their names."""
        one, shard = self.by_name.get((tenant, name)), self._catalog.shard_of(tenant, name)
        windows = {} if one is None else dict(one.windows)
        if shard is not None:
            window, is_broken = shard.window, shard.broken is not None
            windows[self._me] = Window(window.version, not is_broken, window.rows, is_broken)
        return windows

    def behind(self, one: Collection) -> int:
        """How many changes of a collection this node lacks, by what its owner said last."""
        shard = self._catalog.shard_of(one.tenant, one.name)
        theirs = one.windows.get(one.owner or "")
        if shard is None or theirs is None or not hasattr(shard, "window"):
            return 0
        return max(0, theirs.version - shard.window.version)

    def _node(self, name: str | None) -> Node | None:
        member = self.view.members.get(name or "")
        return None if member is None else Node(member.name, member.address)


def held(shard: Shard) -> Held:
    """What a shard is to its collection."""
    pending = shard.pending
    assert pending is not None
    if pending.log is None or pending.is_stepping_down:
        return Held.BUSY if pending.log is not None else Held.OWNING
    if shard.is_follower:
        return Held.FOLLOWING if shard.broken is None else Held.BROKEN
    return Held.OWNING if shard.broken is None else Held.BROKEN


def state_of(window: Window, is_owner: bool) -> str:
    """What a window is to its collection, as clients are told."""
    if window.is_broken:
        return Held.BROKEN.value
    if not window.is_ready:
        return Held.COMING.value
    return "owner" if is_owner else "follower"
