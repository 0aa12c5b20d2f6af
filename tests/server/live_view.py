"""What a reader of ``live`` and ``match`` subscriptions holds, kept to the rules at every message.

Plain dicts and the protocol alone; JSON and binary come out as the same thing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson

from omendb_ws.net.server import Server
from omendb_ws.wire.messages import Live, Results, Rows
from omendb_ws.wire.opcodes import LEAVE_REASONS

from .raw import Raw

#: (id, seq, score)
Hit = tuple[int | str, int, float]


@dataclass
class Row:
    id: int | str
    seq: int
    score: float
    metadata: Any = None
    vector: list[float] | None = None
    #: None for null, and where nothing is ranked.
    rank: float | None = None
    weight: float | None = None


def rows_of(message: list[dict[str, Any]] | Any, ids: str = "u64") -> list[Row]:
    """Rows of a JSON list, or of the hits of a binary message."""
    if isinstance(message, list):
        return [
            Row(
                one["id"] if ids == "str" else int(one["id"]),
                one["seq"],
                float(np.float32(one["score"])),
                one.get("metadata"),
                [float(np.float32(x)) for x in one["vector"]] if "vector" in one else None,
                one.get("rank"),
                None if one.get("weight") is None else float(np.float32(one["weight"])),
            )
            for one in message
        ]
    hits = message
    found = []
    for place, seq in enumerate(hits.seqs.tolist()):
        id_ = hits.ids[place] if ids == "str" else int(hits.ids[place])
        row = Row(id_, seq, float(hits.scores[place]))
        if hits.metadata is not None:
            kept = hits.metadata[place]
            row.metadata = orjson.loads(kept) if isinstance(kept, bytes) else kept
        if hits.vectors is not None:
            row.vector = hits.vectors[place].tolist()
        row.rank = _or_none(hits.ranks, place)
        row.weight = _or_none(hits.weights, place)
        found.append(row)
    return found


def _or_none(values: Any, place: int) -> float | None:
    return None if values is None or np.isnan(values[place]) else float(values[place])


#: "score", "decay" or "rank" -> what its answers are sorted by.
ORDERS: dict[str, Callable[[Row], tuple[float, ...]]] = {
    "score": lambda row: (-row.score, -row.seq),
    "decay": lambda row: (
        (1, -row.score, -row.seq) if row.rank is None else (0, -row.rank, -row.seq)
    ),
    "rank": lambda row: (-(row.rank or 0.0), -row.score, -row.seq),
}


def order_asked(fields: Mapping[str, Any]) -> str:
    """What the answers are ordered by to what these fields ask."""
    return next((name for name in ("decay", "rank") if name in fields), "score")


@dataclass
class View:
    """One live subscription: ``rows`` by seq as the pushes left them. ``leaves`` of the last push:
    (id, seq, reason)."""

    raw: Raw
    sub: int
    rows: dict[int, Row]
    version: int
    ids: str = "u64"
    leaves: list[tuple[int | str, int, str]] = field(default_factory=list)
    entered: list[Row] = field(default_factory=list)
    pushes: int = 0
    order: str = "score"
    #: Of the snapshot.
    at: float | None = None

    @property
    def answer(self) -> list[Row]:
        return sorted(self.rows.values(), key=ORDERS[self.order])

    @property
    def hits(self) -> list[Hit]:
        return [(row.id, row.seq, row.score) for row in self.answer]

    def is_mine(self, event: Any) -> bool:
        return sub_of(event) == self.sub

    async def step(self) -> None:
        """Take the next push."""
        self.apply(await self.raw.event(self.is_mine))

    def apply(self, event: Any) -> None:
        if isinstance(event, Live):
            version, entered = event.version, rows_of(event.enter, self.ids)
            assert (event.enter.ranks is not None) == (self.order != "score")
            leaves = [
                (self.rows[seq].id, seq, LEAVE_REASONS[reason])
                for seq, reason in zip(
                    event.leave_seqs.tolist(), event.leave_reasons.tolist(), strict=True
                )
            ]
        else:
            assert event["event"] == "live", event
            assert event.keys() == {"event", "sub", "version", "leave", "enter"}
            version, entered = event["version"], rows_of(event["enter"], self.ids)
            keys = set() if self.order == "score" else {"rank"}
            assert all(one.keys() & {"rank", "weight"} == keys for one in event["enter"])
            leaves = [
                (one["id"] if self.ids == "str" else int(one["id"]), one["seq"], one["reason"])
                for one in event["leave"]
            ]
        assert version > self.version
        assert leaves or entered, "an empty push"
        for id_, seq, _ in leaves:
            assert self.rows.pop(seq).id == id_
        assert entered == sorted(entered, key=ORDERS[self.order]), "enter is not sorted"
        for row in entered:
            assert row.seq not in self.rows
            self.rows[row.seq] = row
        again = {row.seq for row in entered} & {seq for _, seq, _ in leaves}
        assert again == {seq for _, seq, reason in leaves if reason == "updated"}
        self.version, self.leaves, self.entered = version, leaves, entered
        self.pushes += 1

    async def until(self, is_true: Callable[[View], bool]) -> None:
        while not is_true(self):
            await self.step()

    async def until_version(self, version: int) -> None:
        while self.version < version:
            await self.step()


def sub_of(event: Any) -> int | None:
    return event.sub if isinstance(event, Live | Rows) else event.get("sub")


def view_of(raw: Raw, ok: dict[str, Any], ids: str = "u64", order: str = "score") -> View:
    """The view that the reply to a JSON subscribe begins."""
    stated = set() if order == "score" else {"at"}
    assert ok.keys() == {"sub", "epoch", "version", "results"} | stated, ok
    keys = set() if order == "score" else {"rank", "weight"} if order == "decay" else {"rank"}
    assert all(one.keys() & {"rank", "weight"} == keys for one in ok["results"]), ok
    found = rows_of(ok["results"], ids)
    assert found == sorted(found, key=ORDERS[order])
    rows = {row.seq: row for row in found}
    return View(raw, ok["sub"], rows, ok["version"], ids, order=order, at=ok.get("at"))


async def live(raw: Raw, vector: list[float], name: str = "items", **fields: Any) -> View:
    """Subscribe; the view that the reply begins."""
    ids = fields.pop("id_kind", "u64")
    ok = await raw.ok("subscribe", kind="live", collection=name, vector=vector, **fields)
    return view_of(raw, ok, ids, order_asked(fields))


def views_of(raw: Raw, results: Results, ids: str = "u64", order: str = "score") -> list[View]:
    """The views that the reply to a binary subscribe begins."""
    assert results.subs is not None
    assert len(results.subs) == len(results.counts)
    assert (results.hits.ranks is not None) == (order != "score") == (results.at is not None)
    assert (results.hits.weights is not None) == (order == "decay")
    rows, found, end = rows_of(results.hits, ids), [], 0
    for sub, count in zip(results.subs, results.counts.tolist(), strict=True):
        start, end = end, end + count
        own = rows[start:end]
        assert own == sorted(own, key=ORDERS[order])
        rows_by_seq = {row.seq: row for row in own}
        found.append(View(raw, sub, rows_by_seq, results.version, ids, order=order, at=results.at))
    return found


@dataclass
class Matched:
    """One match subscription: its rows by seq, its gaps, and how far it got."""

    raw: Raw
    sub: int
    to_seq: int
    epoch: str = ""
    ids: str = "u64"
    version: int = 0
    rows: dict[int, Row] = field(default_factory=dict)
    gaps: list[tuple[int, int, str]] = field(default_factory=list)
    pushes: int = 0

    def is_mine(self, event: Any) -> bool:
        return sub_of(event) == self.sub

    async def step(self) -> None:
        self.apply(await self.raw.event(self.is_mine))

    def apply(self, event: Any) -> None:
        if isinstance(event, dict) and event["event"] == "gap":
            assert event.keys() == {"event", "sub", "from_seq", "to_seq", "reason"}
            assert event["from_seq"] > self.to_seq
            assert event["to_seq"] >= event["from_seq"]
            self.gaps.append((event["from_seq"], event["to_seq"], event["reason"]))
            self.to_seq = event["to_seq"]
            return
        if isinstance(event, Rows):
            assert event.kind == "match"
            version, to_seq, found = event.version, event.to_seq, rows_of(event.hits, self.ids)
        else:
            assert event["event"] == "match", event
            version, to_seq = event["version"], event["to_seq"]
            found = rows_of(event["rows"], self.ids)
        assert version >= self.version
        assert to_seq >= self.to_seq
        last = self.to_seq
        for row in found:
            assert last < row.seq <= to_seq, "rows are not in order, or not below to_seq"
            self.rows[row.seq] = row
            last = row.seq
        assert found or to_seq > self.to_seq, "a push that says nothing"
        self.to_seq, self.version = to_seq, version
        self.pushes += 1

    async def until(self, seq: int) -> None:
        while self.to_seq < seq:
            await self.step()

    @property
    def missed(self) -> set[int]:
        """Seqs that lie in a stated gap."""
        return {seq for first, last, _ in self.gaps for seq in range(first, last + 1)}


async def match(
    raw: Raw, vector: list[float], min_score: float, name: str = "items", **fields: Any
) -> Matched:
    """Subscribe to matches."""
    ids = fields.pop("id_kind", "u64")
    ok = await raw.ok(
        "subscribe", kind="match", collection=name, vector=vector, min_score=min_score, **fields
    )
    assert ok.keys() == {"sub", "epoch", "version", "to_seq"}, ok
    return Matched(raw, ok["sub"], ok["to_seq"], ok["epoch"], ids, ok["version"])


class SlowSockets:
    """While ``is_slow``, the engine does not hear that sockets took what was pushed.

    To the engine that is what a reader that does not read is: it makes no other push for it.
    """

    def __init__(self, server: Server) -> None:
        self._engine = server.context.engine
        self._sent = self._engine.sent
        self.is_slow = False
        self.held: list[Any] = []
        self._engine.sent = self._take  # type: ignore[method-assign]

    def _take(self, push: Any) -> None:
        if self.is_slow:
            self.held.append(push)
        else:
            self._sent(push)

    def release(self) -> None:
        self.is_slow = False
        self.take_held()

    def take_held(self) -> None:
        """What was pushed so far is taken now."""
        held, self.held = self.held, []
        for push in held:
            self._sent(push)


@asynccontextmanager
async def slow_sockets(server: Server) -> AsyncIterator[SlowSockets]:
    """Nothing that is pushed inside the block is taken until its end."""
    slow = SlowSockets(server)
    slow.is_slow = True
    yield slow
    slow.release()
