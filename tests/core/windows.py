"""Random histories of a window, for tests of what must bring one back; and what "back" means."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
from omendb_core.model.change import AddRequest, Change, Repeated, RowBatch, UpdateRequest
from omendb_core.model.types import (
    ColumnType,
    Definition,
    IdKind,
    Ids,
    Include,
    StrColumn,
    WindowLimits,
)
from omendb_core.novelty.unless_near import UnlessNear
from omendb_core.window import Window

COLUMNS: dict[str, ColumnType] = {"price": "f64", "stock": "i64", "new": "bool", "kind": "str"}
LIMITS = WindowLimits(max_producers=3)
KINDS = ["a", "b", "ü", "", "long" * 20]


def definition(
    ids: IdKind = "u64", capacity: int = 9, dim: int = 3, ttl: float | None = 5.0
) -> Definition:
    return Definition(dim, capacity, "dot", ids, COLUMNS, ttl)


class History:
    """Makes changes of a window one after the other; each is admitted, and not applied here.

    ``leaves_out``: of some adds the rows are left out that something is near, often all of them.
    """

    def __init__(self, window: Window, seed: int, *, leaves_out: bool = False) -> None:
        self.leaves_out = leaves_out
        self.window = window
        self.random = np.random.default_rng(seed)
        self.now_us = 1_000_000
        self.batches: dict[str, int] = {}

    def change(self) -> Change:
        """The next one."""
        while True:
            kind = self.random.choice(["add", "add", "add", "delete", "update", "time"])
            made = getattr(self, kind)()
            if made is not None:
                return made  # type: ignore[no-any-return]

    def add(self) -> Change | None:
        count = int(self.random.integers(1, min(self.window.definition.capacity, 6) + 1))
        vectors = self.random.standard_normal((count, self.window.definition.dim)).astype(
            np.float32
        )
        frame = self.random.random() < 0.3
        rows: list[Any] = [self.metadata() for _ in range(count)]
        batch = RowBatch(
            vectors,
            self.ids(count),
            columns=self.frame_columns(count) if frame else {},
            metadata=None if frame else rows,
            payloads=None if frame else [json.dumps(row).encode() if row else None for row in rows],
        )
        producer, number = None, None
        if self.random.random() < 0.5:
            producer = f"p{self.random.integers(5)}"
            known = {
                name: last for name, last, _ in self.window.admission.admitted.producers.state()
            }
            number = known.get(producer, 0) + 1
        asked = AddRequest(batch, producer, number)
        judgement = None
        if self.leaves_out and self.random.random() < 0.5 and self.window.has_caught_up:
            judged = self.window.judge_add(asked, UnlessNear(self.random.choice([-9.0, 0.5, 9.0])))
            assert not isinstance(judged, Repeated)
            judged.finish()
            judgement = judged
        made = self.window.admit_add(asked, self.now_us, judgement)
        assert not isinstance(made, Repeated)
        return made

    def delete(self) -> Change | None:
        keys = self.some_live(3)
        return self.window.admit_delete(keys, self.now_us) if len(keys) else None

    def update(self) -> Change | None:
        keys = self.some_live(3)
        if not len(keys):
            return None
        rows = [self.metadata() for _ in range(len(keys))]
        payloads = [json.dumps(row).encode() if row else None for row in rows]
        return self.window.admit_update(UpdateRequest(keys, rows, payloads), self.now_us)

    def time(self) -> Change | None:
        self.now_us += int(self.random.choice([-1, 1, 2, 7])) * 1_000_000
        return self.window.admit_expire(self.now_us)

    def ids(self, count: int) -> Ids | None:
        if self.window.definition.ids == "auto":
            return None
        keys = self.random.permutation(12)[:count]
        if self.window.definition.ids == "str":
            return [f"ïd-{key}" for key in keys]
        return keys.astype(np.uint64) * np.uint64(2**60)

    def some_live(self, most: int) -> Ids:
        window = self.window
        slots = window.state.ring.live_slots(window.first_seq, window.last_seq)
        picked = self.random.permutation(slots)[: self.random.integers(1, most + 1)]
        return window.state.ids.of(picked)

    def metadata(self) -> dict[str, Any]:
        every = {
            "price": float(self.random.integers(5)),
            "stock": int(self.random.integers(-3, 3)),
            "new": bool(self.random.integers(2)),
            "kind": KINDS[self.random.integers(len(KINDS))],
            "other": [1, "x"],
        }
        return {name: value for name, value in every.items() if self.random.random() < 0.4}

    def frame_columns(self, count: int) -> dict[str, Any]:
        codes = self.random.choice(np.array([0, 1, 2**32 - 1], np.uint32), count)
        return {
            "kind": StrColumn(codes, ("b", "ü")),
            "price": self.random.choice(np.array([1.5, np.nan]), count),
        }


def history(window: Window, seed: int, count: int, *, leaves_out: bool = False) -> Iterator[Change]:
    """``count`` changes, each applied."""
    source = History(window, seed, leaves_out=leaves_out)
    for _ in range(count):
        change = source.change()
        window.apply(change)
        yield change


def assert_same(found: Window, expected: Window) -> None:
    """Both windows are the same: to the bit in what they hold, and in what they would admit."""
    found.check()
    assert (found.version, found.first_seq, found.last_seq, found.rows) == (
        expected.version,
        expected.first_seq,
        expected.last_seq,
        expected.rows,
    )
    slots = expected.state.ring.live_slots(expected.first_seq, expected.last_seq)
    assert found.state.ring.live_slots(found.first_seq, found.last_seq).tolist() == slots.tolist()
    include = Include(metadata=True, vector=True)
    ours, theirs = found.state.hits(slots, include), expected.state.hits(slots, include)
    assert list(ours.ids) == list(theirs.ids)
    assert ours.vectors is not None
    assert theirs.vectors is not None
    assert ours.vectors.tobytes() == theirs.vectors.tobytes()
    assert ours.metadata == theirs.metadata
    assert found.state.payloads.of(slots) == expected.state.payloads.of(slots)
    assert found.state.columns.objects(slots) == expected.state.columns.objects(slots)
    assert found.payload_bytes == expected.payload_bytes
    if expected.first_seq <= expected.last_seq:
        seqs = np.arange(expected.first_seq, expected.last_seq + 1, dtype=np.uint64)
        every = expected.state.ring.slots(seqs)
        assert found.state.times_us[every].tolist() == expected.state.times_us[every].tolist()
    assert found.admission.admitted.time_us == expected.admission.admitted.time_us
    assert (
        found.admission.admitted.producers.state() == expected.admission.admitted.producers.state()
    )
