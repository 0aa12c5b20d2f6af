"""Two nodes and a directory that says what the test wants: what links are tested with."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from omendb_ws.cluster.directory import Node, Where
from omendb_ws.net.lines import line_opener
from omendb_ws.net.server import Server
from omendb_ws.node.config import Settings
from omendb_ws.sessions.routing.parts import ClusterParts
from tests.server.raw import Raw, client, settings

SECRET = bytes(range(32))


@dataclass
class Map:
    """Who owns and who holds what, for all nodes: by name those that hold it, the owner first, or
    None. ``shown`` is what nodes that let go have shown."""

    nodes: dict[str, Node] = field(default_factory=dict)
    holders: dict[str, tuple[str | None, ...]] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    shown: dict[str, int] = field(default_factory=dict)


class FakeDirectory:
    """What one node sees of a ``Map``."""

    def __init__(self, map: Map, name: str) -> None:
        self.map = map
        self._name = name

    @property
    def here(self) -> Node:
        return self.map.nodes.get(self._name, Node(self._name, ""))

    def where(self, tenant: str, name: str) -> Where | None:
        names = self.map.holders.get(name)
        if names is None:
            return None
        there = [self.map.nodes[one] for one in names if one in self.map.nodes]
        owner = self.map.nodes.get(names[0] or "")
        is_owner = names[0] == self._name
        key, shown = self.map.keys.get(name, ""), self.map.shown.get(name, 0)
        return Where(owner, tuple(there), self._name in names, is_owner, key, shown)

    def names(self, tenant: str) -> Sequence[str]:
        return sorted(self.map.holders)

    def nodes(self) -> Sequence[Node]:
        return list(self.map.nodes.values())


class Pair:
    """Nodes ``a`` and ``b`` with one map; ``parts`` by name."""

    def __init__(self) -> None:
        self.map = Map()
        self.servers: dict[str, Server] = {}

    def __getitem__(self, name: str) -> Server:
        return self.servers[name]

    def place(self, collection: str, *nodes: str | None) -> None:
        """Have ``nodes`` hold it, the first one owning it."""
        self.map.holders[collection] = nodes


@asynccontextmanager
async def pair(
    given: Settings | None = None,
    names: Sequence[str] = ("a", "b"),
    make: Callable[[Settings, str], Server] = lambda given, _: Server(given),
    **parts: Any,
) -> AsyncIterator[Pair]:
    """Nodes that run; nothing is held by any of them yet. ``make`` makes those of a name."""
    found = Pair()
    async with AsyncExitStack() as stack:
        for name in names:
            server = make(settings() if given is None else given, name)
            opener = line_opener(server.context.limits.max_message_bytes)
            made = ClusterParts(FakeDirectory(found.map, name), "main", SECRET, opener)
            server.context.cluster = replace(made, **parts)
            await stack.enter_async_context(server)
            found.servers[name] = server
            found.map.nodes[name] = Node(name, server.url)
        yield found


@asynccontextmanager
async def held_by_b(
    given: Settings | None = None, token: str | None = None, **parts: Any
) -> AsyncIterator[tuple[Pair, Raw]]:
    """The collection ``items`` is at ``b``; the client is one of ``a``."""
    async with pair(given, **parts) as nodes:
        async with client(nodes["b"], token=token) as raw:
            await raw.create("items", ids="u64")
        nodes.place("items", "b")
        async with client(nodes["a"], token=token) as raw:
            yield nodes, raw
