"""Standing queries and what is pushed for them: when each push came, and which row caused it.

The lag of a push is known only when the adds of all processes are: what is kept is the oldest seq
that is new in it. Live pushes name rows that left, too: an evicted one was pushed out by the row
one capacity later.
"""

from __future__ import annotations

import struct
from array import array
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, get_args

from omendb_core.types import F32

from omendb_ws.wire import binary, messages, text
from omendb_ws.wire.frames import padded
from omendb_ws.wire.messages import ErrorReply, Event
from omendb_ws.wire.opcodes import HEADER_BYTES, MAGIC

from .connection import Connection
from .scenario import Standing

Kind = Literal["live", "match", "feed"]
KINDS: Final = get_args(Kind)
NO_CAUSE: Final = -1
#: Vectors that one SUBSCRIBE may hold.
_MAX_QUERIES: Final = 256
_COUNTS: Final = struct.Struct("<III")
_COUNTS_OFFSET: Final = 12


class Base(NamedTuple):
    """The collection when the load began; every change after it is an add of ``rows`` rows."""

    version: int
    last_seq: int
    capacity: int
    rows: int

    def last_seq_at(self, version: int) -> int:
        """The newest row at ``version``."""
        return self.last_seq + (version - self.version) * self.rows


@dataclass(frozen=True)
class PushPart:
    """What one process's subscriptions of a kind received: times, causes, rows, a push each."""

    kind: str
    connections: int
    subscriptions: int
    received: array[float]
    causes: array[int]
    rows: array[int]
    gap_times: list[float]
    errors: dict[str, int]


class Subscribers:
    """All connections of this process that subscribe to one kind."""

    def __init__(self, kind: Kind, settings: Standing, base: Base) -> None:
        self._kind = kind
        self._settings = settings
        self._base = base
        self._connections = 0
        self._subscriptions = 0
        self._received = array("d")
        self._causes = array("q")
        self._rows = array("q")
        self._gap_times: list[float] = []
        self._errors: dict[str, int] = {}

    async def add(self, connection: Connection, collection: str, vectors: F32) -> None:
        """Subscribe to each of ``vectors`` float32 (n, dim) on ``connection``. Raises its error."""
        versions: dict[int, int] = {}
        if self._kind == "live":
            for start in range(0, len(vectors), _MAX_QUERIES):
                await self._subscribe_live(connection, vectors[start : start + _MAX_QUERIES])
        else:
            for number, vector in enumerate(vectors, 1):
                request = self._request(number, collection, vector[None])
                await connection.ok(text.encode_request(request), number)
        self._connections += 1
        self._subscriptions += len(vectors)
        if not self._settings.reads:
            connection.stop_reading()
            return
        connection.on_message = lambda message, now: self._take(versions, message, now)
        connection.on_lost = lambda code: self._count(f"closed_{code}")

    @property
    def pushes(self) -> int:
        """How many came so far."""
        return len(self._received)

    def part(self) -> PushPart:
        """What came."""
        return PushPart(
            self._kind, self._connections, self._subscriptions, self._received, self._causes,
            self._rows, self._gap_times, self._errors,
        )  # fmt: skip

    def _request(self, number: int, collection: str, vector: F32) -> messages.Subscribe:
        if self._kind == "feed":
            return messages.Subscribe(number, "feed", collection, encoding="binary")
        return messages.Subscribe(
            number, "match", collection, vectors=vector, min_score=self._settings.min_score,
            encoding="binary",
        )  # fmt: skip

    async def _subscribe_live(self, connection: Connection, vectors: F32) -> None:
        every = self._settings.every_ms or None
        frame = binary.encode_subscribe(
            1, connection.handle, vectors, self._settings.k, every_ms=every, encoding="binary"
        )
        reply = await connection.ask(frame, 1)
        if reply[0] != MAGIC:
            said = text.decode_incoming(reply)
            assert isinstance(said, ErrorReply), said
            raise said.error

    def _take(self, versions: dict[int, int], message: bytes, now: float) -> None:
        if message[0] != MAGIC:
            self._event(message, now)
            return
        sub = int.from_bytes(message[4:8], "little")
        rows, _, leaving = _COUNTS.unpack_from(message, _COUNTS_OFFSET)
        at = HEADER_BYTES + padded(int.from_bytes(message[24:28], "little"))
        if self._kind == "live":
            before = versions.get(sub, self._base.version)
            versions[sub] = version = int.from_bytes(message[at : at + 8], "little")
            cause = self._cause(message, at + 8, rows, leaving, before, version)
        else:
            seqs_at = at + 16 + 8 * rows
            cause = int.from_bytes(message[seqs_at : seqs_at + 8], "little") if rows else NO_CAUSE
        self._received.append(now)
        self._causes.append(cause)
        self._rows.append(rows)

    def _cause(
        self, message: bytes, at: int, rows: int, leaving: int, before: int, version: int
    ) -> int:
        """The row whose add changed the answer: the oldest one newer than ``before`` that shows.

        Where rows were evicted, others may have entered in their place long after they were added:
        then the oldest eviction counts, and the row that brought it about. In a push that merges
        several changes that can be a later one than the first, never an earlier one.
        """
        known, newest = self._base.last_seq_at(before), self._base.last_seq_at(version)
        entered: tuple[int, ...] = struct.unpack_from(f"<{rows}Q", message, at + 8 * rows)
        left_at = at + 16 * rows + padded(4 * rows)
        left: tuple[int, ...] = struct.unpack_from(f"<{leaving}Q", message, left_at)
        evicted = [seq + self._base.capacity for seq in left]
        for shown in (evicted, list(entered)):
            if causes := [seq for seq in shown if known < seq <= newest]:
                return min(causes)
        return NO_CAUSE

    def _event(self, message: bytes, now: float) -> None:
        said = text.decode_incoming(message)
        if isinstance(said, Event) and said.event == "gap":
            self._gap_times.append(now)
        elif isinstance(said, ErrorReply):
            self._count(said.error.code)
        elif isinstance(said, Event):
            self._count(said.event)

    def _count(self, what: str) -> None:
        self._errors[what] = self._errors.get(what, 0) + 1
