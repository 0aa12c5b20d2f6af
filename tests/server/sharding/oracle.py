"""A collection of several shards as PROTOCOL section 3 describes it: an oracle for each shard.

What it holds at any ``versions`` is one window of all their rows, by their seqs outside.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from typing import Any

from xxhash import xxh3_64_intdigest

from tests.oracle import Oracle

#: No row leaves a union by itself.
_NEVER_FULL = 10**9


def shard_of(id_: int | str, shards: int) -> int:
    data = id_.encode() if isinstance(id_, str) else id_.to_bytes(8, "little")
    return xxh3_64_intdigest(data) % shards


class ShardedOracle:
    """As many oracles as there are ``shards``, and each at every version that it had."""

    def __init__(self, like: Oracle, shards: int) -> None:
        capacity = -(-like.capacity // shards)
        self.shards = [dataclasses.replace(like, capacity=capacity) for _ in range(shards)]
        for one in self.shards:
            one.rows, one.left, one._times = {}, {}, {}
        self.ids, self.metric = like.ids, like.metric
        self.adds = 0
        self.states: list[dict[int, Oracle]] = [{} for _ in self.shards]
        #: A sum that was said -> the versions that were said with it last.
        self.said: dict[int, list[int]] = {}
        self.note()

    # -- what a machine asks of one oracle -------------------------------------------------------

    @property
    def versions(self) -> list[int]:
        return [one.version for one in self.shards]

    @property
    def version(self) -> int:
        return sum(self.versions)

    @property
    def time_us(self) -> int:
        return max(one.time_us for one in self.shards)

    @time_us.setter
    def time_us(self, time_us: int) -> None:
        for one in self.shards:
            one.time_us = max(one.time_us, time_us)

    @property
    def rows(self) -> dict[int, Any]:
        return self.now().rows

    def find(self, key: int | str) -> Any:
        return self.now().find(key)

    def live(self, document: Any = None, last: int | None = None) -> list[Any]:
        return self.now().live(document, last)

    def now(self) -> Oracle:
        return self.union([copy.copy(one) for one in self.shards])

    def place(self, key: int | str) -> int:
        if self.ids == "auto":
            assert isinstance(key, int)
            return (key - 1) % len(self.shards)
        return shard_of(key, len(self.shards))

    def own_id(self, key: int | str) -> int | str:
        return key if self.ids != "auto" else (int(key) - 1) // len(self.shards) + 1

    def add(
        self,
        vectors: Sequence[Any],
        ids: Sequence[int | str] | None,
        metadata: Sequence[Any],
        now_us: int,
    ) -> None:
        if ids is None:
            self.shards[self.adds % len(self.shards)].add(vectors, None, metadata, now_us)
            self.adds += 1
            return
        self.adds += 1
        for shard, own in self._spread(ids):
            self.shards[shard].add(
                [vectors[place] for place in own],
                [ids[place] for place in own],
                [metadata[place] for place in own],
                now_us,
            )

    def delete(self, ids: Sequence[int | str]) -> int:
        gone = 0
        for shard, own in self._spread(ids):
            gone += self.shards[shard].delete([self.own_id(ids[place]) for place in own])
        return gone

    def update(self, ids: Sequence[int | str], metadata: Sequence[Any], now_us: int) -> None:
        for shard, own in self._spread(ids):
            keys = [self.own_id(ids[place]) for place in own]
            self.shards[shard].update(keys, [metadata[place] for place in own], now_us)

    def expire(self, now_us: int) -> bool:
        return sum(one.expire(now_us) for one in self.shards) > 0

    def _spread(self, ids: Sequence[int | str]) -> list[tuple[int, list[int]]]:
        found: dict[int, list[int]] = {}
        for place, key in enumerate(ids):
            found.setdefault(self.place(key), []).append(place)
        return sorted(found.items())

    # -- at any versions -------------------------------------------------------------------------

    def note(self) -> None:
        for states, one in zip(self.states, self.shards, strict=True):
            if one.version not in states:
                rows = {seq: copy.copy(row) for seq, row in one.rows.items()}
                states[one.version] = dataclasses.replace(one, rows=rows)

    def hear(self, version: int, versions: list[int]) -> None:
        """An answer, or a push, has said these."""
        assert version == sum(versions)
        self.said[version] = versions

    def parts(self, version: int) -> list[Oracle]:
        versions = self.versions if version == self.version else self.said[version]
        return [states[own] for states, own in zip(self.states, versions, strict=True)]

    def __getitem__(self, version: int) -> Oracle:
        """The union at the versions that were said with this sum."""
        return self.union(self.parts(version))

    def union(self, parts: list[Oracle]) -> Oracle:
        found = dataclasses.replace(parts[0], capacity=_NEVER_FULL, rows={}, horizon=1)
        for shard, one in enumerate(parts):
            for row in one.live():
                seq = (row.seq - 1) * len(parts) + shard + 1
                id_ = seq if self.ids == "auto" else row.id
                found.rows[seq] = dataclasses.replace(row, seq=seq, id=id_)
        found.last_seq = max(found.rows, default=0)
        found.version = sum(one.version for one in parts)
        return found

    def why_gone(self, version: int, seq: int, id_: int | str) -> str:
        """Why a row is not there any more (PROTOCOL section 6)."""
        shard, count = (seq - 1) % len(self.shards), len(self.shards)
        own, state = (seq - 1) // count + 1, self.parts(version)[shard]
        if own <= state.last_seq - state.capacity:
            return "evicted"
        if own < state.first_seq:
            return "expired"
        assert own not in state.rows
        return "deleted" if state.find(self.own_id(id_)) is None else "replaced"
