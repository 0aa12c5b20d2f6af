"""A window as PROTOCOL sections 3 to 5 describe it: rows in a dict, plain searches.

``shaping`` answers all others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from .numbers import f32, score, stored

Metadata = dict[str, Any]
Id = int | str


@dataclass
class Row:
    id: Id
    seq: int
    vector: list[float]
    metadata: Metadata
    time_us: int


@dataclass
class Oracle:
    """One collection. ``passes(document, metadata)`` decides filters."""

    capacity: int
    metric: str
    ids: str
    ttl_us: int | None = None
    passes: Callable[[Any, Metadata], bool] = lambda document, metadata: True
    rows: dict[int, Row] = field(default_factory=dict)
    version: int = 0
    last_seq: int = 0
    horizon: int = 1
    time_us: int = 0
    #: seq -> why it left, in the protocol's words
    left: dict[int, str] = field(default_factory=dict)

    @property
    def first_seq(self) -> int:
        return max(1, self.last_seq - self.capacity + 1, self.horizon)

    def add(
        self,
        vectors: Sequence[Sequence[float]],
        ids: Sequence[Id] | None,
        metadata: Sequence[Metadata],
        now_us: int,
    ) -> None:
        self._stamp(now_us)
        # A row both overwritten and replaced by one add is evicted (PROTOCOL section 6's order).
        last_seq = self.last_seq + len(vectors)
        for seq, row in list(self.rows.items()):
            if seq <= last_seq - self.capacity:
                self._leave(seq, "evicted")
            elif ids is not None and row.id in ids:
                self._leave(seq, "replaced")
        for index, vector in enumerate(vectors):
            self.last_seq += 1
            key: Id = self.last_seq if ids is None else ids[index]
            self._times[self.last_seq] = self.time_us
            self.rows[self.last_seq] = Row(
                key, self.last_seq, stored(self.metric, vector), metadata[index], self.time_us
            )

    def delete(self, ids: Sequence[Id]) -> int:
        gone = [seq for seq, row in self.rows.items() if row.id in set(ids)]
        if gone:
            self.version += 1
        for seq in gone:
            self._leave(seq, "deleted")
        return len(gone)

    def update(self, ids: Sequence[Id], metadata: Sequence[Metadata], now_us: int) -> None:
        self._stamp(now_us)
        for key, new in zip(ids, metadata, strict=True):
            self.find(key).metadata = new  # type: ignore[union-attr]

    def expire(self, now_us: int) -> bool:
        """Whether anything changed."""
        if self.ttl_us is None:
            return False
        now_us = max(now_us, self.time_us)
        first = self.first_seq
        while first <= self.last_seq and self._accepted(first) + self.ttl_us <= now_us:
            first += 1
        if first == self.first_seq:
            return False
        self._stamp(now_us)
        for seq in [seq for seq in self.rows if seq < first]:
            self._leave(seq, "expired")
        self.horizon = first
        return True

    def find(self, key: Id) -> Row | None:
        return next((row for row in self.rows.values() if row.id == key), None)

    def live(self, document: Any = None, last: int | None = None) -> list[Row]:
        first = self.first_seq if last is None else self.last_seq - last + 1
        return [
            row
            for row in self.rows.values()
            if row.seq >= first and (document is None or self.passes(document, row.metadata))
        ]

    def search(
        self,
        query: Sequence[float],
        k: int,
        *,
        document: Any = None,
        min_score: float | None = None,
        last: int | None = None,
        like: Id | None = None,
    ) -> list[tuple[Id, int, float]]:
        """(id, seq, score) of the k best; ``query`` as it came, ignored with ``like``."""
        row = None if like is None else self.find(like)
        asked = stored(self.metric, query) if row is None else row.vector
        scored = [
            (row.id, row.seq, score(self.metric, row.vector, asked))
            for row in self.live(document, last)
            if like is None or row.id != like
        ]
        if min_score is not None:
            scored = [hit for hit in scored if hit[2] >= f32(min_score)]
        return sorted(scored, key=lambda hit: (-hit[2], -hit[1]))[:k]

    # -- its own bookkeeping ---------------------------------------------------------------

    _times: dict[int, int] = field(default_factory=dict)

    def _accepted(self, seq: int) -> int:
        return self._times[seq]

    def _stamp(self, now_us: int) -> None:
        self.version += 1
        self.time_us = max(self.time_us, now_us)

    def _leave(self, seq: int, reason: str) -> None:
        del self.rows[seq]
        self.left[seq] = reason
