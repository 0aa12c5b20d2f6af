"""Typed answers and pushes: what a server says (``messages.py`` hands them on).

Knows the engine's types, no index, no socket.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from omendb_core.model.errors import OmenError
from omendb_core.model.types import U8, U32, U64, Bool1, Hits, Ids

JsonObject: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Added:
    """The acknowledgement of an add; the seqs are None where a duplicate's are forgotten, or where
    no row went in.

    ``is_compared``: it was asked with ``unless_near``. ``skipped``: places of the rows that were
    left out, and ``near``, the id of the best row near each; None for a duplicate. ``shards``: of a
    collection that has several, what each one says, ``shard`` with it.
    """

    version: int
    first_seq: int | None
    last_seq: int | None
    duplicate: bool = False
    is_compared: bool = False
    skipped: list[int] | None = None
    near: Ids | None = None
    shards: list[JsonObject] | None = None


@dataclass(frozen=True, slots=True)
class Results:
    """The answer to a search: ``counts`` uint32 (q,) rows of ``hits`` for each query.

    ``at``: the Unix time, in seconds, that its ranks and weights are of, where it has any.
    ``to_seq``: where ``match`` subscriptions begin, less one; they have no rows. ``versions``: of
    each shard, where there are several.
    """

    version: int
    counts: U32
    hits: Hits
    took_us: int = 0
    subs: list[int] | None = None
    at: float | None = None
    to_seq: int | None = None
    versions: list[int] | None = None


@dataclass(frozen=True, slots=True)
class SnapshotBytes:
    """Some bytes of a snapshot, a view on the message."""

    data: memoryview
    is_last: bool


@dataclass(frozen=True, slots=True)
class Found:
    """The answer to ``get``: ``found`` bool (n,), one for each id; ``hits`` those, in order.

    ``versions``: of each shard, where there are several.
    """

    version: int
    found: Bool1
    hits: Hits
    versions: list[int] | None = None


@dataclass(frozen=True, slots=True)
class Rows:
    """One push of a ``feed``, ``match`` or ``novel`` subscription (ROWS, or its JSON event).

    ``shard``: whose rows these are, of several.
    """

    sub: int
    kind: Literal["feed", "match", "novel"]
    version: int
    to_seq: int
    hits: Hits
    shard: int | None = None


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
    versions: list[int] | None = None


@dataclass(frozen=True, slots=True)
class LivePushes:
    """Pushes of many ``live`` subscriptions at one version; a ``Live`` for each of ``subs``.

    ``leave_counts`` and ``enter_counts`` say how many of the rows that leave (``leave_ids``,
    ``leave_seqs``, ``leave_reasons``) and enter (``enter``) are whose, in the order of ``subs``.
    ``versions``: of several shards, that of each.
    """

    version: int
    subs: list[int]
    leave_counts: list[int]
    leave_ids: list[int | str]
    leave_seqs: U64
    leave_reasons: U8
    enter_counts: list[int]
    enter: Hits
    versions: list[int] | None = None


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
    Reply | ErrorReply | Event | tuple[int, Added] | tuple[int, Results]
    | tuple[int, SnapshotBytes] | Rows | Live
)  # fmt: skip
