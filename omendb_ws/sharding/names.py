"""What the shards of a collection are called, within the server and in its store.

``clicks`` of four shards is ``clicks#0.4`` … ``clicks#3.4``: no client can say such a name. So a
store keeps a log for each shard and need not know of the others; what belongs together, and whether
all of it is there, is in the names. Pure.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

_PART: Final = re.compile(r"(.+)#(\d+)\.(\d+)")


class PartName(NamedTuple):
    """Shard number ``shard`` of the ``shards`` of ``collection``."""

    collection: str
    shard: int
    shards: int


def part_name(collection: str, shard: int, shards: int) -> str:
    """What a shard is called."""
    return f"{collection}#{shard}.{shards}"


def read_part(name: str) -> PartName | None:
    """Which shard a name is of; None: of a whole collection."""
    found = _PART.fullmatch(name)
    return None if found is None else PartName(found[1], int(found[2]), int(found[3]))


def collection_of(name: str) -> str:
    """The collection that a name is of, or of whose shard it is."""
    return name if "#" not in name else name.rpartition("#")[0]
