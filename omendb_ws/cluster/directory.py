"""Which nodes hold a collection, and which of them owns it: what a session asks before it routes.

Protocols and plain data. A directory is looked at on the loop's thread and never waits; it may be
a moment behind, so whoever is sent elsewhere may be sent on, or refused as ``unavailable``. A
server by itself has none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeAlias


@dataclass(frozen=True, slots=True)
class Node:
    """A node that is alive: its name, and where others reach it (``ws://host:port/v1``)."""

    name: str
    address: str


@dataclass(frozen=True, slots=True)
class Where:
    """Where one collection is now.

    ``owner`` admits its changes; None: nobody does at this moment, or it is not alive. ``holders``
    are the nodes that are alive and answer reads of it, the owner and this one with them. ``key``
    is its own, and no other collection's of that name; ``shown`` the newest version that this node
    may have shown of it before it let go of its window.
    """

    owner: Node | None
    holders: tuple[Node, ...]
    is_here: bool
    is_owned_here: bool
    key: str = ""
    shown: int = 0


@dataclass(frozen=True, slots=True)
class Replica:
    """What a node has of a collection: ``owner``, ``follower``, ``coming`` until it answers, or
    ``broken``: its log is not what was written, and it shows nobody what it has.
    """

    node: str
    version: int
    state: str


class Directory(Protocol):
    """What a node knows of the collections of its cluster."""

    @property
    def here(self) -> Node:
        """This node."""

    def where(self, tenant: str, name: str) -> Where | None:
        """Where a collection is; None if the cluster has none of that name."""

    def names(self, tenant: str) -> Sequence[str]:
        """What a tenant's collections are called, in order, wherever they are."""

    def nodes(self) -> Sequence[Node]:
        """The nodes that are alive, by name, this one with them."""


class Overview(Protocol):
    """What a node says of its cluster; a moment behind, as ``Directory``."""

    def owner(self, tenant: str, name: str) -> str | None:
        """The node that owns a collection, if one does."""

    def replicas(self, tenant: str, name: str) -> Sequence[Replica]:
        """What the nodes that are alive have of it, in order of their names."""


class Kept(NamedTuple):
    """What nodes kept of a collection whose log is not what was written: the newest version of it.
    ``key`` is the collection's own."""

    key: str
    version: int


class Told(NamedTuple):
    """What a node says of its cluster: the members of a JSON object, and what tells two of these
    apart."""

    members: bytes
    digest: bytes


#: Told what came of something, by whatever thread: None, or why nothing did.
Then: TypeAlias = Callable[[Exception | None], None]


class Operations(Protocol):
    """What operators ask a node about its cluster, and have it do."""

    def status(self, tenant: str | None) -> Mapping[str, Any]:
        """The reply to ``cluster``; what of it is a tenant's, None: all of it. As it was a moment
        ago, and not to be changed by who gets it."""

    def told(self, tenant: str | None) -> Told:
        """The same as JSON."""

    def check_target(self, node: str) -> None:
        """BadRequest where no collection can be moved to ``node``."""

    def check_leaving(self, node: str) -> None:
        """BadRequest where ``node`` cannot be told to leave."""

    def check_healing(self, tenant: str, name: str) -> Kept:
        """What nodes kept of a collection that none of them shows. NotFound; BadRequest where there
        is nothing to heal, or nothing to heal it from."""

    def move_owner(self, tenant: str, name: str, to: str | None, then: Then) -> None:
        """Have a node own a collection; None: whichever the names draw. ``then`` is told NotFound
        too."""

    def evacuate(self, node: str, then: Then) -> None:
        """Have a node that is up hold nothing."""

    def heal(self, key: str, then: Then) -> None:
        """Have a collection healed out of what nodes kept of it."""

    def stay(self, node: str, then: Then) -> None:
        """Have it hold its part again."""
