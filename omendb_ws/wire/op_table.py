"""The ops: their fields, replies and rights (PROTOCOL sections 2, 3, 5 and 6).

Part of THE table (``opcodes.py`` hands them on).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final, Literal

from omendb_core.model.types import COLUMN_TYPES, ID_KINDS, METRICS

from .field_types import MAX_TTL_SECONDS, Field
from .limits import (
    MAX_COLUMNS,
    MAX_COUNTED,
    MAX_EVERY_MS,
    MAX_EXAMPLES,
    MAX_REPLICAS,
    MAX_SHARDS,
    MAX_U32,
)
from .rights import RIGHTS as RIGHTS
from .rights import Right as Right

#: How the grants of a token apply to an op: not at all (``none``); it shows what any grant matches
#: (``each``); it needs the right on its collection's name (``name``), and besides only rows are
#: there that pass the grant's filter (``rows``), and what it writes is stamped and held to the
#: filter (``written``).
Grants = Literal["none", "each", "name", "rows", "written"]


#: The field that says of which trace a request is part (PROTOCOL section 2.8).
TRACEPARENT: Final = "traceparent"
#: Fields of every op.
COMMON_FIELDS: Final = frozenset({"id", "op", TRACEPARENT})


@dataclass(frozen=True, slots=True)
class Op:
    """One op of PROTOCOL section 2: fields besides ``COMMON_FIELDS``; fields of ``ok``.

    ``grants`` says how those of a token apply (``Grants``). ``change``: it takes effect in the
    order sent. ``one_of``: exactly one of these fields. ``server_right``: what it takes where
    ``collection`` is left out.
    """

    name: str
    right: Right
    grants: Grants
    fields: tuple[Field, ...] = ()
    reply: tuple[str, ...] = ()
    change: bool = False
    one_of: tuple[str, ...] = ()
    server_right: Right | None = None

    @property
    def field_names(self) -> frozenset[str]:
        """Every field that a request of this op may have."""
        return frozenset(one.name for one in self.fields) | COMMON_FIELDS


DESCRIPTION: Final = (
    "collection", "dim", "metric", "capacity", "ids", "columns", "ttl", "durability", "epoch",
    "version", "first_seq", "last_seq", "rows", "bytes",
)  # fmt: skip

#: Fields of ``stats`` for the server (PROTOCOL section 6).
SERVER_STATS: Final = (
    "at", "uptime_s", "rss_bytes", "loop_lag_ms", "queue_wait_ms", "connections", "subscriptions",
    "adds_per_s",
    "searches_per_s", "pushes_per_s", "merged_per_s", "gaps_per_s", "errors_per_s", "search_ms",
    "add_ms", "push_ms", "tenants",
)  # fmt: skip

#: Fields of ``cluster`` (PROTOCOL section 8).
CLUSTER: Final = (
    "node", "fresh", "collections", "ownerless", "waiting", "nodes", "places", "nats",
)  # fmt: skip

_COLLECTION = Field("collection", "name", required=True)
_INCLUDE = Field("include", "include", choices=("metadata", "vector"))
_FILTER = Field("filter", "filter")
_MIN_SCORE = Field("min_score", "number")
_K = Field("k", "k", least=1, most="max_k")
_IDS = Field("ids", "ids", required=True, most="max_ids")
_SUB = Field("sub", "integer", required=True, most=MAX_U32)
_VECTOR = Field("vector", "vector", attribute="vectors")
_ENCODING = Field("encoding", "choice", choices=("json", "binary"))
_FROM_SEQ = Field("from_seq", "integer", least=1)
#: Of each shard.
_FROM_SEQS = Field("from_seqs", "seqs", least=1)
_EPOCH = Field("epoch", "string")
_LAST = Field("last", "integer", least=1)
#: A read waits until its window has come there (PROTOCOL section 5), of that epoch.
_MIN_VERSION = Field("min_version", "integer")
_VERSION = (_MIN_VERSION, _EPOCH)
_BY = Field("by", "string")
_BY_LIMIT = Field("limit", "integer", least=1, most=MAX_COUNTED)
_EVERY = Field("every", "integer", most=MAX_EVERY_MS, attribute="every_ms")
_DURABILITY = Field("durability", "choice", choices=("memory", "everysec", "always"))
_REPLICAS = Field("replicas", "integer", least=1, most=MAX_REPLICAS)
_END = Field("end", "integer", most=MAX_U32)
_SLOW_EVERY = replace(_EVERY, least=100)

#: What a query can be made of instead of a vector, and what it leaves out.
EXAMPLES: Final = (
    Field("positive", "examples", least=1, most=MAX_EXAMPLES),
    Field("negative", "examples", most=MAX_EXAMPLES),
)
EXCLUDE: Final = Field("exclude", "ids", most="max_ids")
#: The order of an answer, and the selection out of it: values that ``ranking`` reads.
ORDERS: Final = (Field("decay", "object"), Field("rank", "expression"))
SELECTIONS: Final = (Field("group", "object"), Field("spread", "object"))
_AT = Field("at", "number")

_CREATE = (
    _COLLECTION,
    Field("dim", "integer", required=True, least=1, most="max_dim"),
    Field("capacity", "integer", required=True, least=1, most="max_capacity"),
    Field("metric", "choice", choices=METRICS),
    Field("ids", "choice", choices=ID_KINDS),
    Field("columns", "columns", most=MAX_COLUMNS, choices=COLUMN_TYPES),
    Field("ttl", "ttl", most=MAX_TTL_SECONDS),
    _DURABILITY,
    Field("if_exists", "choice", choices=("error", "ok")),
    _REPLICAS,
    Field("shards", "integer", least=1, most=MAX_SHARDS),
)
_SEARCH = (
    _COLLECTION,
    _VECTOR,
    Field("vectors", "vectors", least=1, most="max_queries"),
    Field("like", "id"),
    _K,
    _FILTER,
    _MIN_SCORE,
    _INCLUDE,
    _LAST,
    *EXAMPLES,
    EXCLUDE,
    *ORDERS,
    *SELECTIONS,
    Field("mmr", "object"),
    _AT,
    *_VERSION,
)

#: kind -> fields besides ``id``, ``op`` and ``kind`` (PROTOCOL section 6).
SUBSCRIPTION_KINDS: Final[Mapping[str, tuple[Field, ...]]] = MappingProxyType(
    {
        "live": (
            _COLLECTION,
            _VECTOR,
            *EXAMPLES,
            EXCLUDE,
            *ORDERS,
            *SELECTIONS,
            _K,
            _FILTER,
            _MIN_SCORE,
            _INCLUDE,
            _EVERY,
            _ENCODING,
            *_VERSION,
        ),
        "match": (
            _COLLECTION,
            replace(_VECTOR, required=True),
            replace(_MIN_SCORE, required=True),
            _FILTER,
            _INCLUDE,
            _FROM_SEQ,
            _FROM_SEQS,
            _EPOCH,
            _ENCODING,
            _MIN_VERSION,
        ),
        "feed": (
            _COLLECTION,
            _FILTER,
            _INCLUDE,
            _FROM_SEQ,
            _FROM_SEQS,
            _EPOCH,
            _ENCODING,
            _MIN_VERSION,
        ),
        "novel": (
            _COLLECTION,
            Field("below", "number", required=True),
            _FILTER,
            _INCLUDE,
            _FROM_SEQ,
            _EPOCH,
            _ENCODING,
            _LAST,
            _MIN_VERSION,
        ),
        "count": (_COLLECTION, _FILTER, _BY, _BY_LIMIT, _SLOW_EVERY, *_VERSION),
        "stats": (replace(_COLLECTION, required=False), _SLOW_EVERY, *_VERSION),
        "map": (
            _COLLECTION,
            Field("sample", "integer", least=100, most=20_000),
            _SLOW_EVERY,
            *_VERSION,
        ),
        "cluster": (_SLOW_EVERY,),
    }
)
#: What a move may change; ``min_score`` may be null.
_MOVE = (_SUB, _VECTOR, *EXAMPLES, EXCLUDE, _FILTER, Field("min_score", "threshold"))

_KIND = Field("kind", "choice", required=True, choices=tuple(SUBSCRIPTION_KINDS))


def _all_subscription_fields() -> tuple[Field, ...]:
    found = {one.name: one for fields in SUBSCRIPTION_KINDS.values() for one in fields}
    return (_KIND, *(replace(one, required=False) for one in found.values()))


_OPS = (
    Op("ping", "none", "none"),
    Op("auth", "none", "none", (Field("token", "string", required=True),),
       ("rights", "tenant", "grants", "expires_in_s")),
    Op("create", "admin", "name", _CREATE, (*DESCRIPTION, "handle"), change=True),
    Op("open", "any", "rows", (_COLLECTION,), (*DESCRIPTION, "handle")),
    Op("describe", "any", "rows", (_COLLECTION,), DESCRIPTION),
    Op("list", "any", "each", (), ("collections", "unavailable")),
    Op("drop", "admin", "name", (_COLLECTION,), change=True),
    Op("add", "write", "written",
       (_COLLECTION, Field("rows", "rows", required=True, least=1, most="max_rows"),
        Field("producer", "producer"), Field("batch", "batch", least=1),
        Field("unless_near", "unless_near")),
       ("version", "first_seq", "last_seq", "duplicate", "skipped", "near", "shards"),
       change=True),
    Op("delete", "write", "written", (_COLLECTION, _IDS), ("version", "deleted", "versions"),
       change=True),
    Op("update", "write", "written",
       (_COLLECTION, Field("rows", "rows", required=True, least=1, most="max_rows")),
       ("version", "versions"), change=True),
    Op("get", "read", "rows", (_COLLECTION, _IDS, _INCLUDE, *_VERSION),
       ("version", "rows", "versions")),
    Op("count", "read", "rows", (_COLLECTION, _FILTER, _BY, _BY_LIMIT, *_VERSION),
       ("version", "count", "by", "others", "versions")),
    Op("search", "read", "rows", _SEARCH, ("version", "results", "at", "versions", "took_us"),
       one_of=("vector", "vectors", "like", "positive")),
    Op("subscribe", "read", "rows", _all_subscription_fields(),
       ("sub", "epoch", "version", "versions", "to_seq", "to_seqs", "results", "at", "count",
        "by", "others"),
       server_right="admin"),
    Op("move", "read", "rows", _MOVE, ("version", "versions", "results", "at")),
    Op("unsubscribe", "none", "none", (_SUB,)),
    Op("stats", "read", "rows", (replace(_COLLECTION, required=False),), SERVER_STATS,
       server_right="admin"),
    Op("usage", "any", "none", (), ("tenant", "limits", "use")),
    Op("cluster", "admin", "none", (), CLUSTER),
    Op("move_owner", "admin", "name", (_COLLECTION, Field("to", "string")), ("owner",)),
    Op("evacuate", "admin", "none",
       (Field("node", "string", required=True),
        Field("state", "choice", choices=("leaving", "up"))), ("collections",)),
    Op("heal", "admin", "name", (_COLLECTION,), ("version",)),
    Op("snapshot", "admin", "name",
       (replace(_COLLECTION, required=False), Field("snapshot", "integer", most=MAX_U32), _END),
       ("snapshot", *DESCRIPTION), one_of=("collection", "snapshot", "end")),
    Op("restore", "admin", "name",
       (replace(_COLLECTION, required=False), _DURABILITY, _REPLICAS, _END),
       ("restore", *DESCRIPTION, "handle"), one_of=("collection", "end")),
)  # fmt: skip

#: op -> its row of PROTOCOL section 2.
OPS: Final[Mapping[str, Op]] = MappingProxyType({op.name: op for op in _OPS})


def right_for(op: str, *, whole_server: bool = False) -> Right:
    """The right that ``op`` takes; ``whole_server``: it names no collection (``stats``)."""
    row = OPS[op]
    return row.server_right if whole_server and row.server_right is not None else row.right
