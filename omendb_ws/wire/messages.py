"""Typed messages: what the bytes of the protocol mean, in both directions.

Knows the engine's types, no index, no socket. Requests are here; what answers them is in
``replies.py`` and handed on. ``text.py``, ``binary.py`` and the modules of their replies turn bytes
into these and back. ``collection`` is a name, or the ``handle`` of a binary message. Ids of rows in
JSON stay as they were sent (``rows.py`` reads them once the collection's kind of ids is known).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, TypeAlias

from omendb_core.model.change import RowBatch, UpdateRequest
from omendb_core.model.errors import OmenError
from omendb_core.model.types import (
    F32,
    ColumnType,
    IdKind,
    Include,
    Metric,
)

from .replies import Added as Added
from .replies import ErrorReply as ErrorReply
from .replies import Event as Event
from .replies import Found as Found
from .replies import Incoming as Incoming
from .replies import JsonObject as JsonObject
from .replies import Live as Live
from .replies import LivePushes as LivePushes
from .replies import Reply as Reply
from .replies import Results as Results
from .replies import Rows as Rows
from .replies import SnapshotBytes as SnapshotBytes

Durability = Literal["memory", "everysec", "always"]
IfExists = Literal["error", "ok"]
Encoding = Literal["json", "binary"]
SubscriptionKind = Literal["live", "match", "feed", "novel", "count", "stats", "map", "cluster"]
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
    replicas: int | None = None
    shards: int | None = None


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
    before its rows are looked at (PROTOCOL section 4). ``unless_near``: ``score``, and ``filter``
    if there is one.
    """

    op: ClassVar[str] = "add"
    id: int
    collection: Target
    rows: RowBatch | list[Any] | OmenError
    producer: str | None = None
    batch: int | None = None
    unless_near: JsonObject | None = None
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
    min_version: int | None = None
    epoch: str | None = None


@dataclass(frozen=True, slots=True)
class Count:
    op: ClassVar[str] = "count"
    id: int
    collection: str
    filter: JsonObject | None = None
    by: str | None = None
    limit: int = 100
    min_version: int | None = None
    epoch: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Near:
    """What a query is made of instead of a vector, and what it leaves out.

    Ids are as they came. An example is an id, or a vector float32 (dim,).
    """

    positive: list[Any] | None = None
    negative: list[Any] | None = None
    exclude: list[Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Shaped(Near):
    """And what shapes its answer, as it came: ``ranking`` reads it once the columns are known."""

    decay: JsonObject | None = None
    rank: Any = None
    group: JsonObject | None = None
    spread: JsonObject | None = None


@dataclass(frozen=True, slots=True)
class Search(Shaped):
    """``vectors`` float32 (q, dim), ``like``, an id as it came, or ``positive``.

    ``single``: the answer is one list, not one for each query (all but ``vectors``). ``at``: Unix
    seconds.
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
    mmr: JsonObject | None = None
    at: float | None = None
    min_version: int | None = None
    epoch: str | None = None
    binary: bool = False


@dataclass(frozen=True, slots=True)
class Subscribe(Shaped):
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
    from_seqs: list[int] | None = None
    epoch: str | None = None
    encoding: Encoding = "json"
    below: float | None = None
    last: int | None = None
    sample: int = 2000
    by: str | None = None
    limit: int = 100
    min_version: int | None = None
    binary: bool = False


@dataclass(frozen=True, slots=True)
class Move(Near):
    """What is None stays; ``min_score`` does if it ``keeps_min_score``, else it is replaced."""

    op: ClassVar[str] = "move"
    id: int
    sub: int
    vectors: F32 | None = None
    filter: JsonObject | None = None
    min_score: float | None = None
    keeps_min_score: bool = True
    binary: bool = False


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    op: ClassVar[str] = "unsubscribe"
    id: int
    sub: int


@dataclass(frozen=True, slots=True)
class Usage:
    op: ClassVar[str] = "usage"
    id: int


@dataclass(frozen=True, slots=True)
class Cluster:
    op: ClassVar[str] = "cluster"
    #: It is about the server.
    collection: ClassVar[None] = None
    id: int


@dataclass(frozen=True, slots=True)
class MoveOwner:
    """``to`` None: the node that would own it if nobody had asked."""

    op: ClassVar[str] = "move_owner"
    id: int
    collection: str
    to: str | None = None


@dataclass(frozen=True, slots=True)
class Evacuate:
    """``state``: what the node is to be from now on."""

    op: ClassVar[str] = "evacuate"
    id: int
    node: str
    state: Literal["leaving", "up"] = "leaving"


@dataclass(frozen=True, slots=True)
class Heal:
    op: ClassVar[str] = "heal"
    id: int
    collection: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One of them: begin to read ``collection``; the next bytes of ``snapshot``; no more of
    ``end``."""

    op: ClassVar[str] = "snapshot"
    id: int
    collection: str | None = None
    snapshot: int | None = None
    end: int | None = None


@dataclass(frozen=True, slots=True)
class Restore:
    """One of them: begin to make ``collection``; nothing more comes of ``end``, and it is none."""

    op: ClassVar[str] = "restore"
    id: int
    collection: str | None = None
    durability: Durability | None = None
    replicas: int | None = None
    end: int | None = None


@dataclass(frozen=True, slots=True)
class RestoreBytes:
    """The next bytes of the snapshot that the restore ``restore`` is made of."""

    op: ClassVar[str] = "restore"
    id: int
    restore: int
    data: memoryview


@dataclass(frozen=True, slots=True)
class Stats:
    op: ClassVar[str] = "stats"
    id: int
    collection: str | None = None


Request: TypeAlias = (
    Ping | Auth | Create | Open | Describe | List | Drop | Add | Delete | Update | Get | Count
    | Search | Subscribe | Move | Unsubscribe | Stats | Usage | Cluster | MoveOwner
    | Evacuate | Heal | Snapshot | RestoreBytes | Restore
)  # fmt: skip


#: Fields of a request that are known beside its text: ``id``, ``op`` and others.
Given: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Posted:
    """A request whose text holds its other fields, and none of those that are ``given``."""

    text: str
    given: Given

    def __len__(self) -> int:
        return len(self.text)


@dataclass(frozen=True, slots=True)
class Uploaded:
    """A request whose rows, or bytes, came by themselves, and not in a message; of
    ``size_bytes``."""

    request: Add | RestoreBytes
    size_bytes: int

    def __len__(self) -> int:
        return self.size_bytes


#: What a connection may say: a message, or what stands for one where it came by other ways.
Said: TypeAlias = str | bytes | Posted | Uploaded


@dataclass(frozen=True, slots=True)
class Refusal:
    """A message that is no request: ``id`` None where none could be read (an error event)."""

    id: int | None
    error: OmenError
