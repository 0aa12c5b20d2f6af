"""Reads as the engine is asked for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from omendb_core.counting import CountQuery
from omendb_core.filters.parser import Filter
from omendb_core.model.types import Ids, Include
from omendb_core.search.query import Query

from ...wire import searches
from ..model.commands import Read
from ..model.shard import Shard
from ..model.sharded import Sharded
from ..pieces.snapshots import Reading


@dataclass(slots=True, eq=False)
class Search(Read):
    """PROTOCOL section 5; ``is_single``: asked with ``vector`` or ``like``."""

    shard: Shard
    query: Query
    is_single: bool
    is_binary: bool


@dataclass(slots=True, eq=False)
class PlainSearch(Read):
    """A search with nothing but vectors and ``k``."""

    shard: Shard
    request: searches.PlainSearch


@dataclass(slots=True, eq=False)
class Get(Read):
    """Rows by id."""

    shard: Shard
    ids: Ids
    include: Include
    visible: Filter | None = None


@dataclass(slots=True, eq=False)
class Count(Read):
    """How many rows pass a filter, and by the values of a column."""

    shard: Shard
    query: CountQuery


@dataclass(slots=True, eq=False)
class List(Read):
    """Describe a tenant's collections; rows that pass ``visible``, of each, are counted.

    ``unavailable`` says of others why they are not there.
    """

    collections: list[Shard | Sharded]
    visible: list[Filter | None]
    unavailable: list[dict[str, Any]]


@dataclass(slots=True, eq=False)
class Ask(Read):
    """What ``say`` says, on the engine's thread, once the changes before it are done; it is given
    the time (µs).

    Of a collection: while that is there, and once it is known which rows are ``visible``.
    """

    shard: Shard | Sharded | None
    visible: Filter | None
    say: Callable[[int], dict[str, Any]]


@dataclass(slots=True, eq=False)
class SnapshotPiece(Read):
    """The next bytes of a snapshot."""

    reading: Reading


#: A read that is no standing query.
PlainRead: TypeAlias = Search | PlainSearch | Get | Count | List | Ask | SnapshotPiece
