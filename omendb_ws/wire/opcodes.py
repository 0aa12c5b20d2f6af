"""THE table of the protocol: ops, kinds of binary messages, limits, errors, rights, close codes.

Pure data, read by the codec, the server, the documentation and the tests (PROTOCOL sections 1, 2,
3, 5, 6, 7 and 9). A field, section or limit that is not in these tables does not exist: the codec
accepts and lays out exactly what stands here. Knows no bytes and no messages.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final, Literal

from omendb_core.model.errors import BY_CODE
from omendb_core.model.types import COLUMN_TYPES, ID_KINDS, MAX_SAFE_INTEGER, METRICS

from .limits import LIMITS as LIMITS
from .limits import Limit as Limit
from .limits import Limits as Limits

PROTOCOL: Final = "omendb.v1"
ERRORS: Final = BY_CODE
#: The largest u32: ids of requests, subs, handles.
MAX_U32: Final = 2**32 - 1
#: Declared columns of a collection (PROTOCOL section 3).
MAX_COLUMNS: Final = 64
MAX_NAME_LENGTH: Final = 64
MAX_STR_ID_BYTES: Final = 256
MAX_PRODUCER_BYTES: Final = 64
MAX_EVERY_MS: Final = 60_000
#: Pushes are split at this size (PROTOCOL section 9).
PUSH_BYTES: Final = 1 << 20
#: In microseconds still an integer that any JSON reader holds: 285 years.
MAX_TTL_SECONDS: Final = MAX_SAFE_INTEGER // 10**6


CLOSE_CODES: Final[Mapping[int, str]] = MappingProxyType(
    {
        1000: "normal",
        1002: "broken WebSocket",
        1007: "broken WebSocket: text that is not UTF-8",
        1009: "message over max_message_bytes, or in more than 4,096 fragments",
        1012: "server draining, reconnect",
        1013: "out of places or memory, reconnect later",
        4401: "not authenticated in time, wrong, or expired and not refreshed",
        4408: "the client has taken no byte for 30 s although some wait for it, or has begun a"
        " message and does not go on",
    }
)


# -- ops --------------------------------------------------------------------------------------

#: What a token can hold. An op's ``right`` is one of these, ``any`` (at least one), or ``none``.
RIGHTS: Final = ("read", "write", "admin")
Right = Literal["read", "write", "admin", "any", "none"]

#: How a field is read (``fields.READERS``) and what it is called in documents.
FieldType = Literal[
    "string", "name", "choice", "integer", "k", "number", "ttl", "filter", "include",
    "columns", "vector", "vectors", "id", "ids", "rows", "producer", "batch",
]  # fmt: skip

#: FieldType -> the JSON type that it is.
JSON_TYPES: Final[Mapping[FieldType, str]] = MappingProxyType(
    {
        "string": "string",
        "name": "string",
        "choice": "string",
        "integer": "integer",
        "k": "integer",
        "number": "number",
        "ttl": "number or null",
        "filter": "object",
        "include": "list of strings",
        "columns": "object",
        "vector": "list of numbers",
        "vectors": "list of lists of numbers",
        "id": "number or string",
        "ids": "list of numbers or strings",
        "rows": "list of objects",
        "producer": "string",
        "batch": "integer",
    }
)


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a JSON request.

    ``least`` and ``most`` bound an integer, ``most`` a list's length too; a ``most`` that is a
    text is the name of a limit. ``choices`` are the values of a ``choice``. ``attribute`` is the
    name in the message where that carries the unit. Defaults stand in the messages.
    """

    name: str
    type: FieldType
    required: bool = False
    least: int = 0
    most: int | str = MAX_SAFE_INTEGER
    choices: tuple[str, ...] = ()
    attribute: str = ""

    @property
    def target(self) -> str:
        """The attribute of the typed message that holds it."""
        return self.attribute or self.name


@dataclass(frozen=True, slots=True)
class Op:
    """One op of PROTOCOL section 2: fields besides ``id`` and ``op``; fields of ``ok``.

    ``change``: it takes effect in the order sent. ``one_of``: exactly one of these fields.
    ``server_right``: what it takes where ``collection`` is left out.
    """

    name: str
    right: Right
    fields: tuple[Field, ...] = ()
    reply: tuple[str, ...] = ()
    change: bool = False
    one_of: tuple[str, ...] = ()
    server_right: Right | None = None

    @property
    def field_names(self) -> frozenset[str]:
        """Every field that a request of this op may have."""
        return frozenset(one.name for one in self.fields) | {"id", "op"}


DESCRIPTION: Final = (
    "collection", "dim", "metric", "capacity", "ids", "columns", "ttl", "durability", "epoch",
    "version", "first_seq", "last_seq", "rows", "bytes",
)  # fmt: skip

#: Fields of ``stats`` for the server (PROTOCOL section 6).
SERVER_STATS: Final = (
    "at", "uptime_s", "rss_bytes", "loop_lag_ms", "connections", "subscriptions", "adds_per_s",
    "searches_per_s", "pushes_per_s", "merged_per_s", "gaps_per_s", "errors_per_s", "search_ms",
    "add_ms", "push_ms",
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
_EPOCH = Field("epoch", "string")
_EVERY = Field("every", "integer", most=MAX_EVERY_MS, attribute="every_ms")
_SLOW_EVERY = replace(_EVERY, least=100)

_CREATE = (
    _COLLECTION,
    Field("dim", "integer", required=True, least=1, most="max_dim"),
    Field("capacity", "integer", required=True, least=1, most="max_capacity"),
    Field("metric", "choice", choices=METRICS),
    Field("ids", "choice", choices=ID_KINDS),
    Field("columns", "columns", most=MAX_COLUMNS, choices=COLUMN_TYPES),
    Field("ttl", "ttl", most=MAX_TTL_SECONDS),
    Field("durability", "choice", choices=("memory", "everysec", "always")),
    Field("if_exists", "choice", choices=("error", "ok")),
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
    Field("last", "integer", least=1),
)

#: kind -> fields besides ``id``, ``op`` and ``kind`` (PROTOCOL section 6).
SUBSCRIPTION_KINDS: Final[Mapping[str, tuple[Field, ...]]] = MappingProxyType(
    {
        "live": (
            _COLLECTION,
            replace(_VECTOR, required=True),
            _K,
            _FILTER,
            _MIN_SCORE,
            _INCLUDE,
            _EVERY,
            _ENCODING,
        ),
        "match": (
            _COLLECTION,
            replace(_VECTOR, required=True),
            replace(_MIN_SCORE, required=True),
            _FILTER,
            _INCLUDE,
            _FROM_SEQ,
            _EPOCH,
            _ENCODING,
        ),
        "feed": (_COLLECTION, _FILTER, _INCLUDE, _FROM_SEQ, _EPOCH, _ENCODING),
        "stats": (replace(_COLLECTION, required=False), _SLOW_EVERY),
        "map": (_COLLECTION, Field("sample", "integer", least=100, most=20_000), _SLOW_EVERY),
    }
)
_KIND = Field("kind", "choice", required=True, choices=tuple(SUBSCRIPTION_KINDS))


def _all_subscription_fields() -> tuple[Field, ...]:
    found = {one.name: one for fields in SUBSCRIPTION_KINDS.values() for one in fields}
    return (_KIND, *(replace(one, required=False) for one in found.values()))


_OPS = (
    Op("ping", "none"),
    Op("auth", "none", (Field("token", "string", required=True),),
       ("rights", "tenant", "expires_in_s")),
    Op("create", "admin", _CREATE, (*DESCRIPTION, "handle"), change=True),
    Op("open", "any", (_COLLECTION,), (*DESCRIPTION, "handle")),
    Op("describe", "any", (_COLLECTION,), DESCRIPTION),
    Op("list", "any", (), ("collections",)),
    Op("drop", "admin", (_COLLECTION,), change=True),
    Op("add", "write",
       (_COLLECTION, Field("rows", "rows", required=True, least=1, most="max_rows"),
        Field("producer", "producer"), Field("batch", "batch", least=1)),
       ("version", "first_seq", "last_seq", "duplicate"), change=True),
    Op("delete", "write", (_COLLECTION, _IDS), ("version", "deleted"), change=True),
    Op("update", "write",
       (_COLLECTION, Field("rows", "rows", required=True, least=1, most="max_rows")),
       ("version",), change=True),
    Op("get", "read", (_COLLECTION, _IDS, _INCLUDE), ("version", "rows")),
    Op("count", "read", (_COLLECTION, _FILTER), ("version", "count")),
    Op("search", "read", _SEARCH, ("version", "results", "took_us"),
       one_of=("vector", "vectors", "like")),
    Op("subscribe", "read", _all_subscription_fields(),
       ("sub", "epoch", "version", "to_seq", "results"), server_right="admin"),
    Op("move", "read", (_SUB, replace(_VECTOR, required=True)),
       ("version", "results")),
    Op("unsubscribe", "none", (_SUB,)),
    Op("stats", "read", (replace(_COLLECTION, required=False),), SERVER_STATS,
       server_right="admin"),
)  # fmt: skip

#: op -> its row of PROTOCOL section 2.
OPS: Final[Mapping[str, Op]] = MappingProxyType({op.name: op for op in _OPS})


def right_for(op: str, *, whole_server: bool = False) -> Right:
    """The right that ``op`` takes; ``whole_server``: it names no collection (``stats``)."""
    row = OPS[op]
    return row.server_right if whole_server and row.server_right is not None else row.right


# -- binary messages --------------------------------------------------------------------------

MAGIC: Final = 0xDB
PROTOCOL_BYTE: Final = 1
#: magic, protocol, kind, flags, id, handle, n, dim, k, json_bytes, took_us.
HEADER: Final = struct.Struct("<BBBBIIIIIII")
HEADER_BYTES: Final = HEADER.size
HEADER_FIELDS: Final = (
    "magic", "protocol", "kind", "flags", "id", "handle", "n", "dim", "k", "json_bytes", "took_us",
)  # fmt: skip
#: Every section is padded with zeros to a multiple of this.
ALIGNMENT: Final = 8


@dataclass(frozen=True, slots=True)
class Section:
    """An array of a binary message: little-endian ``dtype``, ``shape`` in ``n``, ``k``, ``dim``.

    ``flag``: there only with that flag bit. ``unless_json``: not there if the JSON section has
    this field.
    """

    name: str
    dtype: str
    shape: tuple[str, ...]
    flag: int = 0
    unless_json: str = ""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of binary message (PROTOCOL section 7).

    ``flags``: bit -> what it says. ``header``: the fields from ``handle`` on that it uses; the
    others are 0. ``json``: fields that its JSON section may have. ``columns_flag``: the bit with
    which one array [n] per name in JSON ``columns`` follows the sections.
    """

    number: int
    name: str
    direction: Literal["request", "reply", "push"]
    header: tuple[str, ...]
    sections: tuple[Section, ...]
    json: tuple[str, ...] = ()
    flags: Mapping[int, str] = field(default_factory=dict)
    columns_flag: int = 0

    @property
    def flag_bits(self) -> int:
        """Every flag that it knows."""
        return sum(self.flags)


#: Flag bits of ADD, of ADDED, of ROWS, and of every answer with rows.
FLAG_IDS: Final = 1
FLAG_COLUMNS: Final = 2
FLAG_DUPLICATE: Final = 1
FLAG_MATCH: Final = 1
FLAG_VECTORS: Final = 2

#: type of a column -> dtype of its array in ADD.
COLUMN_DTYPES: Final[Mapping[str, str]] = MappingProxyType(
    {"f64": "<f8", "i64": "<i8", "bool": "|u1", "str": "<u4"}
)
#: number -> reason of a leaving row in LIVE.
LEAVE_REASONS: Final = (
    "displaced", "evicted", "expired", "replaced", "deleted", "filtered", "updated",
)  # fmt: skip


_VERSION = Section("version", "<u8", ("1",))


def _hits(count: str) -> tuple[Section, ...]:
    return (
        Section("ids", "<u8", (count,), unless_json="ids"),
        Section("seqs", "<u8", (count,)),
        Section("scores", "<f4", (count,)),
        Section("vectors", "<f4", (count, "dim"), flag=FLAG_VECTORS),
    )


_QUERIES = Section("vectors", "<f4", ("n", "dim"))
_KINDS = (
    Kind(
        1, "ADD", "request", ("handle", "n", "dim", "json_bytes"),
        (Section("ids", "<u8", ("n",), flag=FLAG_IDS), _QUERIES),
        json=("columns", "dictionaries", "metadata", "ids", "producer", "batch"),
        flags={FLAG_IDS: "ids as u64", FLAG_COLUMNS: "columns"}, columns_flag=FLAG_COLUMNS,
    ),
    Kind(
        2, "ADDED", "reply", (),
        (_VERSION, Section("first_seq", "<u8", ("1",)), Section("last_seq", "<u8", ("1",))),
        flags={FLAG_DUPLICATE: "duplicate"},
    ),
    Kind(
        3, "SEARCH", "request", ("handle", "n", "dim", "k", "json_bytes"), (_QUERIES,),
        json=("filter", "min_score", "include", "last"),
    ),
    Kind(
        4, "RESULTS", "reply", ("n", "dim", "k", "json_bytes", "took_us"),
        (_VERSION, Section("counts", "<u4", ("n",)), *_hits("k")),
        json=("metadata", "ids", "subs"), flags={FLAG_VECTORS: "vectors"},
    ),
    Kind(
        5, "LIVE", "push", ("n", "dim", "k", "json_bytes"),
        (_VERSION, *_hits("n"), Section("leave_seqs", "<u8", ("k",)),
         Section("leave_reasons", "|u1", ("k",))),
        json=("metadata", "ids"), flags={FLAG_VECTORS: "vectors"},
    ),
    Kind(
        6, "ROWS", "push", ("n", "dim", "json_bytes"),
        (_VERSION, Section("to_seq", "<u8", ("1",)),
         *(replace(one, flag=FLAG_MATCH) if one.name == "scores" else one for one in _hits("n"))),
        json=("metadata", "ids"), flags={FLAG_MATCH: "match, with scores", FLAG_VECTORS: "vectors"},
    ),
    Kind(
        7, "SUBSCRIBE", "request", ("handle", "n", "dim", "k", "json_bytes"), (_QUERIES,),
        json=("kind", "filter", "min_score", "include", "every", "encoding"),
    ),
    Kind(8, "MOVE", "request", ("handle", "n", "dim"), (_QUERIES,)),
)  # fmt: skip

#: number -> its row of PROTOCOL section 7.
KINDS: Final[Mapping[int, Kind]] = MappingProxyType({one.number: one for one in _KINDS})
#: The same by name.
KIND_NUMBERS: Final[Mapping[str, int]] = MappingProxyType({one.name: one.number for one in _KINDS})
