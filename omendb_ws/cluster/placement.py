"""Which nodes should hold a collection, and which of them should own it: rendezvous hashing. Pure.

Each node draws a number for each collection, and those with the greatest hold it; so every node
comes to the same answer by itself. When a node comes, it takes over its part from all the others;
when one goes, only what it held finds another place. (Thaler and Ravishankar, "A name-based mapping
scheme for rendezvous", 1996.)
"""

from __future__ import annotations

from collections.abc import Iterable

import xxhash


def ranked(key: str, nodes: Iterable[str]) -> list[str]:
    """``nodes`` in the order in which they should hold the collection of ``key``."""

    def drawn(node: str) -> tuple[int, str]:
        return -xxhash.xxh3_64_intdigest(f"{key}\0{node}".encode()), node

    return sorted(set(nodes), key=drawn)


def placed(key: str, replicas: int, nodes: Iterable[str], first: str | None = None) -> list[str]:
    """The nodes that should hold it, whoever should own it in front; fewer if there are fewer.

    ``first`` is the one that was asked to own it; it counts while it is one of ``nodes``.
    """
    order = ranked(key, nodes)
    if first in order:
        order.remove(first)
        order.insert(0, first)
    return order[:replicas]
