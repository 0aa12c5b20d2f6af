"""Typed messages: what the bytes of the protocol mean, in both directions.

Knows the engine's types, no index, no socket. ``text.py``, ``binary.py`` and ``binary_replies.py``
turn bytes into these and back. ``collection`` is a name, or the ``handle`` of a binary message. Ids
of rows in JSON stay as they were sent (``rows.py`` reads them once the collection's kind of ids is
known).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, TypeAlias

from omendb_core.model.change import RowBatch, UpdateRequest
from omendb_core.model.errors import OmenError
from omendb_core.model.types import (
    F32,
    U8,
    U32,
    U64,
    Bool1,
    ColumnType,
    Hits,
    IdKind,
    Include,
    Metric,
)

Durability = Literal["memory", "everysec", "always"]
IfExists = Literal["error", "ok"]
Encoding = Literal["json", "binary"]
SubscriptionKind = Literal["live", "match", "feed", "stats", "map"]
JsonObject: TypeAlias = dict[str, Any]
#: What answers carry unless asked for more.
NOTHING = Include()
#: A collection by name, or by the handle of this connection.
Target: TypeAlias = str | int


# -- requests ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ping:
    op: ClassVar[str] = "ping"
    id: int


@dataclass(frozen=True, slots=True)
class Auth:
    op: ClassVar[str] = "auth"
    id: int
    token: str


@dataclass(frozen=True, slots=True)
class Create:
    op: ClassVar[str] = "create"
    id: int
    collection: str
    dim: int
    capacity: int
    metric: Metric = "cosine"
    ids: IdKind = "u64"
    columns: Mapping[str, ColumnType] = field(default_factory=dict)
    ttl: float | None = None
    durability: Durability | None = None
    if_exists: IfExists = "error"


@dataclass(frozen=True, slots=True)
class Open:
    op: ClassVar[str] = "open"
    id: int
    collection: str


@dataclass(frozen=True, slots=True)
class Describe:
    op: ClassVar[str] = "describe"
    id: int
    collection: str


@dataclass(frozen=True, slots=True)
class List:
    op: ClassVar[str] = "list"
    id: int


@dataclass(frozen=True, slots=True)
class Drop:
    op: ClassVar[str] = "drop"
    id: int
    collection: str


@dataclass(frozen=True, slots=True)
class Add:
    """``rows``: a RowBatch from a binary message or a long text, else the JSON list as it came.

    An error of the rows of a binary message stands in their place: a repeated batch is answered
    before its rows are looked at (PROTOCOL section 4).
    """

    op: ClassVar[str] = "add"
    id: int
    collection: Target
    rows: RowBatch | list[Any] | OmenError
    producer: str | None = None
    batch: int | None = None
    binary: bool = False


@dataclass(frozen=True, slots=True)
class Delete:
    op: ClassVar[str] = "delete"
    id: int
    collection: str
    ids: list[Any]


@dataclass(frozen=True, slots=True)
class Update:
    op: ClassVar[str] = "update"
    id: int
    collection: str
    rows: list[Any] | UpdateRequest


@dataclass(frozen=True, slots=True)
class Get:
    op: ClassVar[str] = "get"
    id: int
    collection: str
    ids: list[Any]
    include: Include = NOTHING


@dataclass(frozen=True, slots=True)
class Count:
    op: ClassVar[str] = "count"
    id: int
    collection: str
    filter: JsonObject | None = None


@dataclass(frozen=True, slots=True)
class Search:
    """``vectors`` float32 (q, dim), or ``like``, an id as it came.

    ``single``: the answer is one list, not one for each query (``vector`` and ``like``).
    """

    op: ClassVar[str] = "search"
    id: int
    collection: Target
    vectors: F32 | None
    like: Any = None
    single: bool = False
    k: int = 10
    filter: JsonObject | None = None
    min_score: float | None = None
    include: Include = NOTHING
    last: int | None = None
    binary: bool = False


@dataclass(frozen=True, slots=True)
class Subscribe:
    """One subscription, or with ``binary`` one for each row of ``vectors`` (kind 7)."""

    op: ClassVar[str] = "subscribe"
    id: int
    kind: SubscriptionKind
    collection: Target | None = None
    vectors: F32 | None = None
    k: int = 10
    filter: JsonObject | None = None
    min_score: float | None = None
    include: Include = NOTHING
    every_ms: int | None = None
    from_seq: int | None = None
    epoch: str | None = None
    encoding: Encoding = "json"
    sample: int = 2000
    binary: bool = False


@dataclass(frozen=True, slots=True)
class Move:
    op: ClassVar[str] = "move"
    id: int
    sub: int
    vectors: F32
    binary: bool = False


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    op: ClassVar[str] = "unsubscribe"
    id: int
    sub: int


@dataclass(frozen=True, slots=True)
class Stats:
    op: ClassVar[str] = "stats"
    id: int
    collection: str | None = None


Request: TypeAlias = (
    Ping | Auth | Create | Open | Describe | List | Drop | Add | Delete | Update | Get | Count
    | Search | Subscribe | Move | Unsubscribe | Stats
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Refusal:
    """A message that is no request: ``id`` None where none could be read (an error event)."""

    id: int | None
    error: OmenError


# -- what answers are made of -----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Added:
    """The acknowledgement of an add; the seqs are None where a duplicate's are forgotten."""

    version: int
    first_seq: int | None
    last_seq: int | None
    duplicate: bool = False


@dataclass(frozen=True, slots=True)
class Results:
    """The answer to a search: ``counts`` uint32 (q,) rows of ``hits`` for each query."""

    version: int
    counts: U32
    hits: Hits
    took_us: int = 0
    subs: list[int] | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """The answer to ``get``: ``found`` bool (n,), one for each id; ``hits`` those, in order."""

    version: int
    found: Bool1
    hits: Hits


@dataclass(frozen=True, slots=True)
class Rows:
    """One push of a ``feed`` or ``match`` subscription (ROWS, or its JSON event)."""

    sub: int
    kind: Literal["feed", "match"]
    version: int
    to_seq: int
    hits: Hits


@dataclass(frozen=True, slots=True)
class Live:
    """One push of a ``live`` subscription (LIVE, or its JSON event).

    What leaves: ``leave_ids`` (None in binary, which names rows by seq only), ``leave_seqs`` uint64
    (m,), ``leave_reasons`` uint8 (m,) into ``opcodes.LEAVE_REASONS``; ``enter`` is sorted.
    """

    sub: int
    version: int
    leave_ids: list[int | str] | None
    leave_seqs: U64
    leave_reasons: U8
    enter: Hits


@dataclass(frozen=True, slots=True)
class LivePushes:
    """Pushes of many ``live`` subscriptions at one version; a ``Live`` for each of ``subs``.

    ``leave_counts`` and ``enter_counts`` say how many of the rows that leave (``leave_ids``,
    ``leave_seqs``, ``leave_reasons``) and enter (``enter``) are whose, in the order of ``subs``.
    """

    version: int
    subs: list[int]
    leave_counts: list[int]
    leave_ids: list[int | str]
    leave_seqs: U64
    leave_reasons: U8
    enter_counts: list[int]
    enter: Hits


@dataclass(frozen=True, slots=True)
class Reply:
    """A JSON reply as a client sees it."""

    id: int
    ok: JsonObject


@dataclass(frozen=True, slots=True)
class ErrorReply:
    """An error as a client sees it; ``id`` None: the error event."""

    id: int | None
    error: OmenError


@dataclass(frozen=True, slots=True)
class Event:
    """A JSON push or ``hello`` as a client sees it."""

    event: str
    body: JsonObject


#: What a client receives; the int beside a binary answer is its request's id.
Incoming: TypeAlias = (
    Reply | ErrorReply | Event | tuple[int, Added] | tuple[int, Results] | Rows | Live
)  # fmt: skip
