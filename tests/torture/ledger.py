"""What one connection did to its own rows, and what it was told: kept outside the server.

A worker owns a range of ids, so its rows hang on its own changes alone, in the order in which it
sent them. A log keeps that order. So after a crash its rows must be what its first changes made,
all acknowledged ones and perhaps some more, and none of a later one.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any, TypeAlias

#: id -> (serial of the vector, metadata).
Rows: TypeAlias = dict[int, tuple[int, int]]


@dataclass(slots=True)
class Change:
    """One change that was sent; ``serial`` is in the vectors or the metadata that it writes."""

    op: str
    ids: list[int]
    serial: int
    batch: int | None = None

    def apply(self, rows: Rows) -> Rows:
        """What ``rows`` become."""
        after = dict(rows)
        for id in self.ids:
            if self.op == "add":
                after[id] = (self.serial, self.serial)
            elif self.op == "delete":
                after.pop(id, None)
            else:
                after[id] = (after[id][0], self.serial)
        return after

    def request(self, collection: str, producer: str) -> dict[str, Any]:
        """The fields of the request."""
        fields: dict[str, Any] = {"op": self.op, "collection": collection}
        if self.op == "delete":
            return fields | {"ids": self.ids}
        metadata = {"s": self.serial}
        if self.op == "update":
            return fields | {"rows": [{"id": id, "metadata": metadata} for id in self.ids]}
        rows = [
            {"id": id, "vector": [float(id), float(self.serial), 0.5, 1.0], "metadata": metadata}
            for id in self.ids
        ]
        return fields | {"rows": rows, "producer": producer, "batch": self.batch}


@dataclass(slots=True)
class Ledger:
    """``safe`` is what acknowledged changes made; ``sent`` what is not acknowledged, in order."""

    first_id: int
    chance: random.Random
    safe: Rows = field(default_factory=dict)
    sent: list[Change] = field(default_factory=list)
    serial: int = 0
    batch: int = 0
    version: int = 0
    last_add: tuple[Change, int, int] | None = None
    acknowledged: int = 0

    def next_change(self, ids: int) -> Change:
        """Another change, decided by chance: adds, replaces, deletes, updates."""
        self.serial += 1
        rows = self.safe
        for change in self.sent:
            rows = change.apply(rows)
        kind = self.chance.random()
        mine = range(self.first_id, self.first_id + ids)
        if kind < 0.2 and rows:
            return Change("delete", self.chance.sample(mine, 3), self.serial)
        if kind < 0.35 and rows:
            some = self.chance.sample(sorted(rows), min(2, len(rows)))
            return Change("update", some, self.serial)
        self.batch += 1
        count = self.chance.randint(1, min(6, ids))
        return Change("add", self.chance.sample(mine, count), self.serial, self.batch)

    def acknowledge(self, ok: dict[str, Any]) -> None:
        """The oldest unacknowledged change was answered."""
        change = self.sent.pop(0)
        before = self.safe
        self.safe = change.apply(before)
        self.acknowledged += 1
        assert ok["version"] >= self.version, (ok, self.version)
        self.version = ok["version"]
        if change.op == "add":
            assert ok["last_seq"] - ok["first_seq"] + 1 == len(change.ids), (ok, change)
            assert "duplicate" not in ok, (ok, change)
            self.last_add = (change, ok["first_seq"], ok["last_seq"])
        elif change.op == "delete":
            gone = sum(id in before for id in change.ids)
            assert ok["deleted"] == gone, (ok, change, before)

    def possible(self) -> list[tuple[int, Rows]]:
        """What the rows may be after a crash: how many of ``sent`` were taken, and the rows."""
        found = [(0, self.safe)]
        for taken, change in enumerate(self.sent, 1):
            found.append((taken, change.apply(found[-1][1])))
        return found
