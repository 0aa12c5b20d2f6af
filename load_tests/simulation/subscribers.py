"""Standing queries and what is pushed for them: when each push came, and which row caused it.

The lag of a push is known only when the adds of all processes are: what is kept is the seq of the
row that caused it.
"""

from __future__ import annotations

import asyncio
import struct
import time
from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, get_args

from omendb_core.model.types import F32, Include

from omendb_ws.wire import binary, messages, text, text_replies
from omendb_ws.wire.frames import padded
from omendb_ws.wire.kinds import FLAG_RANKS
from omendb_ws.wire.messages import ErrorReply, Event
from omendb_ws.wire.opcodes import HEADER_BYTES, MAGIC

from . import shaping
from .connection import Connection
from .matches import Match, Matched, MatchSample
from .scenario import Standing
from .views import Answered, Key, View, ViewSample, keyed, keys_of, results_of

Kind = Literal["live", "match", "feed"]
KINDS: Final = get_args(Kind)
NO_CAUSE: Final = -1
#: Vectors that one SUBSCRIBE holds, and requests that are under way at once.
_TOGETHER: Final = 100
#: Nothing more comes if nothing came for so long.
_QUIET_SECONDS: Final = 0.3
_COUNTS: Final = struct.Struct("<III")
_COUNTS_OFFSET: Final = 12
_FLAGS_OFFSET: Final = 3


class Base(NamedTuple):
    """The collection when the load began; every change after it is an add of ``rows`` rows.

    ``id_bytes`` are those of a row's id in a binary push: string ids stand elsewhere.
    """

    version: int
    last_seq: int
    capacity: int
    rows: int
    id_bytes: int = 8

    def last_seq_at(self, version: int) -> int:
        """The newest row at ``version``."""
        return self.last_seq + (version - self.version) * self.rows


@dataclass(frozen=True)
class PushPart:
    """What one process's subscriptions of a kind received: times, causes, rows, a push each.

    ``told``: of each add that a live push tells of, the time of the push and a row; a push that
    stands for several is there several times, and counted in ``merged``.
    ``views`` and ``matched``: of some of them, for the oracle. ``ends``: the last views, with what
    a search answered then.
    """

    kind: str
    connections: int
    subscriptions: int
    received: array[float]
    causes: array[int]
    rows: array[int]
    told: tuple[array[float], array[int]]
    merged: array[float]
    gap_times: list[float]
    errors: dict[str, int]
    views: list[Answered]
    ends: list[tuple[Answered, Answered]]
    matched: list[Matched]


class Subscribers:
    """All connections of this process that subscribe to one kind."""

    def __init__(self, kind: Kind, settings: Standing, base: Base) -> None:
        self._kind = kind
        self._settings = settings
        self._base = base
        self._connections: list[Connection] = []
        self._subscriptions = 0
        self._received = array("d")
        self._causes = array("q")
        self._rows = array("q")
        self._told = array("d"), array("q")
        self._merged = array("d")
        self._gap_times: list[float] = []
        self._errors: Counter[str] = Counter()
        self._sample = ViewSample(settings)
        self._matches = MatchSample(settings)

    async def add(
        self, connection: Connection, collection: str, vectors: F32, first_query: int
    ) -> None:
        """Subscribe to each of ``vectors`` float32 (n, dim) on ``connection``. Raises its error.

        ``first_query`` is the number of the first of them among all queries of this kind.
        """
        views: dict[int, View] = {}
        matches: dict[int, Match] = {}
        for start in range(0, len(vectors), _TOGETHER):
            some = vectors[start : start + _TOGETHER]
            if self._kind == "live":
                views |= await self._subscribe_live(connection, some, first_query + start)
            elif self._kind == "match":
                matches |= await self._subscribe_match(connection, some, first_query + start)
            else:
                await self._subscribe_feeds(connection, collection, len(some))
        self._connections.append(connection)
        self._subscriptions += len(vectors)
        connection.on_message = lambda message, now: self._take(views, matches, message, now)
        connection.on_lost = lambda code: self._errors.update([f"closed_{code}"])
        if self._is_slow:
            connection.read_slowly(self._settings.bytes_per_second)

    async def settle(self, asking: Connection | None, give_up_at: float) -> None:
        """Take in what is still to come when nothing is sent any more.

        Those who read slowly read on: their gaps show now, and whether the server gave them up.
        ``asking`` is there to search, where views are looked at.
        """
        if self._is_slow:
            for connection in self._connections:
                connection.read_on()
            await self._until_quiet(give_up_at)
        if asking is not None:
            await self._sample.settle(asking, give_up_at)

    @property
    def pushes(self) -> int:
        """How many came so far."""
        return len(self._received)

    def part(self) -> PushPart:
        """What came."""
        return PushPart(
            self._kind, len(self._connections), self._subscriptions, self._received, self._causes,
            self._rows, self._told, self._merged, self._gap_times, dict(self._errors),
            self._sample.answered, self._sample.ends, self._matches.matched,
        )  # fmt: skip

    @property
    def _is_slow(self) -> bool:
        return not self._settings.reads or self._settings.bytes_per_second > 0

    async def _until_quiet(self, give_up_at: float) -> None:
        before = -1
        while before != self._heard and time.perf_counter() < give_up_at:
            before = self._heard
            await asyncio.sleep(_QUIET_SECONDS)

    @property
    def _heard(self) -> int:
        return len(self._received) + len(self._gap_times) + self._errors.total()

    # -- subscribing

    async def _subscribe_feeds(self, connection: Connection, collection: str, count: int) -> None:
        """So many feeds."""
        asked = []
        for number in range(1, count + 1):
            request = messages.Subscribe(
                number, "feed", collection, filter=dict(self._settings.filter) or None,
                include=self._include, encoding="binary",
            )  # fmt: skip
            asked.append(connection.ok(text.encode_request(request), number))
        await asyncio.gather(*asked)

    async def _subscribe_match(
        self, connection: Connection, vectors: F32, first_query: int
    ) -> dict[int, Match]:
        """Those that are sampled, by ``sub``."""
        settings = self._settings
        frame = binary.encode_subscribe_match(
            1, connection.handle, vectors, settings.min_score, dict(settings.filter) or None,
            self._include, "binary",
        )  # fmt: skip
        results = results_of(await connection.ask(frame, 1))
        sampled = {}
        for query, sub in enumerate(results.subs or [], first_query):
            match = self._matches.offer(query, results.to_seq or 0)
            if match is not None:
                sampled[sub] = match
        return sampled

    async def _subscribe_live(
        self, connection: Connection, vectors: F32, first_query: int
    ) -> dict[int, View]:
        """The views by ``sub``."""
        settings, shape = self._settings, self._settings.shape(first_query)
        # A message with examples makes one subscription.
        at_once = len(vectors) if shaping.asked_with(shape, vectors) is not None else 1
        views = {}
        for start in range(0, len(vectors), at_once):
            some = vectors[start : start + at_once]
            frame = binary.encode_subscribe(
                1, connection.handle, shaping.asked_with(shape, some), settings.k,
                dict(settings.filter) or None, include=self._include,
                every_ms=settings.every_ms or None, encoding="binary", shaping=shape,
            )  # fmt: skip
            results = results_of(await connection.ask(frame, 1))
            made = zip(results.subs or [], keyed(results), some, strict=True)
            for query, (sub, keys, vector) in enumerate(made, first_query + start):
                views[sub] = View(query, settings.k, results.version, keys)
                self._sample.offer(views[sub], vector)
        return views

    @property
    def _include(self) -> Include:
        return Include(vector=self._settings.vector)

    # -- pushes

    def _take(
        self, views: dict[int, View], matches: dict[int, Match], message: bytes, now: float
    ) -> None:
        if message[0] != MAGIC:
            self._event(matches, message, now)
            return
        rows, dim, leaving = _COUNTS.unpack_from(message, _COUNTS_OFFSET)
        at = HEADER_BYTES + padded(int.from_bytes(message[24:28], "little"))
        sub = int.from_bytes(message[4:8], "little")
        if self._kind == "live":
            cause = self._take_live(views[sub], message, at, rows, dim, leaving, now)
        else:
            seqs_at = at + 16 + self._base.id_bytes * rows
            cause = int.from_bytes(message[seqs_at : seqs_at + 8], "little") if rows else NO_CAUSE
            if sub in matches:
                scores = struct.unpack_from(f"<{rows}f", message, seqs_at + 8 * rows)
                to_seq = int.from_bytes(message[at + 8 : at + 16], "little")
                seqs = struct.unpack_from(f"<{rows}Q", message, seqs_at)
                matches[sub].take(to_seq, seqs, scores)
        self._received.append(now)
        self._causes.append(cause)
        self._rows.append(rows)

    def _take_live(
        self, view: View, message: bytes, at: int, rows: int, dim: int, leaving: int, now: float
    ) -> int:
        """Apply a push to its view; the row whose add caused it. ``at``: where its arrays begin."""
        version = int.from_bytes(message[at : at + 8], "little")
        seqs_at = at + 8 + self._base.id_bytes * rows
        scores_at = seqs_at + 8 * rows
        ranks_at = scores_at + padded(4 * rows)
        has_ranks = message[_FLAGS_OFFSET] & FLAG_RANKS
        left_at = ranks_at + (8 * rows if has_ranks else 0) + padded(4 * rows * dim)
        ranks = struct.unpack_from(f"<{rows}d", message, ranks_at) if has_ranks else None
        seqs = struct.unpack_from(f"<{rows}Q", message, seqs_at)
        entered = keys_of(seqs, struct.unpack_from(f"<{rows}f", message, scores_at), ranks)
        left = struct.unpack_from(f"<{leaving}Q", message, left_at)
        causes = self._causes_of(view, version, left, entered)
        self._tell(causes, now)
        view.apply(version, left, entered)
        if view.is_sampled:
            self._sample.look(view)
        return min(causes, default=NO_CAUSE)

    def _causes_of(
        self, view: View, version: int, left: Sequence[int], entered: Sequence[tuple[int, Key]]
    ) -> list[int]:
        """The rows since the push before that changed the answer when they came.

        That is a new row as good as the worst of the answer that it found, or one that evicted a
        row of it. What else entered came up because of those, perhaps long after it was added
        (skipped by ``group`` or ``spread`` until then, it may pass for a cause: a lag is too long).
        """
        base, floor = self._base, view.floor
        known, newest = base.last_seq_at(view.version), base.last_seq_at(version)
        causes = [seq for seq, key in entered if seq > known and key >= floor]
        causes += [at for seq in left if known < (at := seq + base.capacity) <= newest]
        return causes

    def _tell(self, causes: list[int], now: float) -> None:
        """Note the adds that a push of now tells of."""
        base = self._base
        adds = {(seq - base.last_seq - 1) // base.rows: seq for seq in causes}
        if len(adds) > 1:
            self._merged.append(now)
        for seq in adds.values():
            self._told[0].append(now)
            self._told[1].append(seq)

    def _event(self, matches: dict[int, Match], message: bytes, now: float) -> None:
        said = text_replies.decode_incoming(message)
        if isinstance(said, Event) and said.event == "gap":
            self._gap_times.append(now)
            match = matches.get(said.body["sub"])
            if match is not None:
                match.is_open = False
        elif isinstance(said, ErrorReply):
            self._errors.update([said.error.code])
        elif isinstance(said, Event):
            self._errors.update([said.event])
