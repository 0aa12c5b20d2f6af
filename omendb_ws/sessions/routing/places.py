"""Where a request of a client is answered: here, at a collection's owner, or at a holder.

Changes are the owner's. A read is answered here if this node holds the collection and has come as
far as the client knows of; else by the node that answered the client before, or the owner, or any
other that holds it. Whoever answers waits for the *floor* first, the newest version that the client
was shown: so it reads what it wrote, and no version goes back. Lives on the loop's thread; knows no
links.
"""

from __future__ import annotations

import random
from contextlib import suppress
from typing import Final

from omendb_core.model.errors import NotFound, OmenError, Unavailable

from ...cluster.directory import Directory, Node, Where
from ...wire.heads import Head
from ...wire.opcodes import OPS
from ..session import Session

#: Ops that this node answers, wherever collections are.
_ALWAYS_HERE: Final = frozenset({"ping", "auth", "list", "usage", "restore", "move_owner", "heal"})


class Places:
    """Of one session. ``changing``: how many of its changes of a collection other nodes have not
    answered."""

    def __init__(self, session: Session, directory: Directory) -> None:
        self._session = session
        self._directory = directory
        #: The newest version that another node stated, of which key, and that node: it is as far.
        self._floors: dict[str, tuple[str, int]] = {}
        self._chosen: dict[str, Node] = {}
        self.changing: dict[str, int] = {}

    def of(self, head: Head, name: str | None) -> Node | None:
        """Who answers; None: this node. Unavailable."""
        if name is None or head.op in _ALWAYS_HERE or head.op not in OPS:
            return None
        where = self._directory.where(self._session.tenant, name)
        if where is None:
            return None
        return self._owner(where, name) if OPS[head.op].change else self._reader(where, name)

    def for_list(self) -> list[Node]:
        """The nodes that together hold all that the client may know of; none: this one does."""
        tenant, who = self._session.tenant, self._session.who.known()
        found: dict[str, Node] = {}
        for name in self._directory.names(tenant):
            where = self._directory.where(tenant, name) if who.sees(name) else None
            if where is None or where.is_here:
                continue
            for node in (where.owner, *where.holders):
                if node is not None:
                    found[node.name] = node
                    break
        return [*found.values(), self._directory.here] if found else []

    def note(self, name: str, key: str, version: int, node: Node) -> None:
        """A node has stated a version, asked while the collection of that name had that key.

        Of another than there is now it says nothing: reads would wait for what never comes.
        """
        where = self._directory.where(self._session.tenant, name)
        if where is not None and where.key == key and version >= self._stated(name, where):
            self._floors[name] = where.key, version
            self._chosen[name] = node

    def floor(self, name: str) -> int:
        """The version that another node's answer about a collection must be of at least; 0: any."""
        where = self._directory.where(self._session.tenant, name)
        return 0 if where is None else max(self._stated(name, where), where.shown)

    def key(self, name: str) -> str:
        """The key of the collection of that name; "": none is known."""
        where = self._directory.where(self._session.tenant, name)
        return "" if where is None else where.key

    def least(self, name: str) -> int:
        """The same where this node answers: what it showed itself it has."""
        if name not in self._floors:
            return 0
        where = self._directory.where(self._session.tenant, name)
        return 0 if where is None else self._stated(name, where)

    def is_there(self, name: str) -> bool:
        """Whether there is such a collection, as far as is known here."""
        try:
            self._session.find(name)
        except NotFound:
            return self._directory.where(self._session.tenant, name) is not None
        except OmenError:  # it is somewhere else, or not to be shown
            pass
        return True

    def _stated(self, name: str, where: Where) -> int:
        key, version = self._floors.get(name, ("", 0))
        return version if key == where.key else 0

    def forget(self, name: str) -> None:
        """It is another collection from now on."""
        self._floors.pop(name, None)
        self._chosen.pop(name, None)

    def avoid(self, node: Node) -> None:
        """That node is gone, as far as is known here."""
        for name in [name for name, chosen in self._chosen.items() if chosen == node]:
            del self._chosen[name]

    def begin_change(self, name: str) -> None:
        """A change is another node's to answer."""
        self.changing[name] = self.changing.get(name, 0) + 1

    def end_change(self, name: str) -> None:
        """It is answered."""
        left = self.changing.pop(name) - 1
        if left:
            self.changing[name] = left

    def _owner(self, where: Where, name: str) -> Node | None:
        if where.is_owned_here:
            return None
        if where.owner is not None:
            return where.owner
        try:
            self._session.find(name)
        except NotFound:
            raise Unavailable(f"{name}: no node owns it at the moment; try again") from None
        except OmenError:  # this node knows why
            pass
        return None

    def _reader(self, where: Where, name: str) -> Node | None:
        if where.is_owned_here:
            return None
        if name in self.changing:
            return self._owner(where, name)
        if where.is_here and self._is_as_far(name, self._stated(name, where)):
            return None
        chosen = self._chosen.get(name)
        if chosen is not None and chosen in where.holders:
            return chosen
        others = [one for one in where.holders if one.name != self._directory.here.name]
        if not others or (self._stated(name, where) and where.owner is not None):
            return self._owner(where, name)
        chosen = self._chosen[name] = random.choice(others)
        return chosen

    def _is_as_far(self, name: str, floor: int) -> bool:
        """Whether the window here has what the client was told."""
        if not floor:
            return True
        with suppress(OmenError):
            return self._session.find(name).shard.window.version >= floor
        return False
