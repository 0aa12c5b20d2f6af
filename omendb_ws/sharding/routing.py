"""Which shard a row belongs to (PROTOCOL section 3, "Shards").

By its id: ``xxh3_64(id, seed 0) mod shards``, of a ``u64`` its eight bytes, little-endian, of a
``str`` its UTF-8; so all that is ever said of one id is said to one shard. An ``auto`` id is a seq,
which says its shard by itself. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from omendb_core.model.types import I64, U64, IdKind, Ids
from xxhash import xxh3_64_intdigest

from .numbering import own_seqs, shards_of


class Routed(NamedTuple):
    """What of a list is for one shard: ``places`` int64 (m,) in the list, ascending, and the
    ``ids`` there, as that shard knows them."""

    places: I64
    ids: Ids


@dataclass(frozen=True, slots=True)
class Layout:
    """How many shards there are, and what tells where a row is."""

    shards: int
    ids: IdKind

    def shards_of(self, ids: Ids) -> I64:
        """The shard of each id, int64 (n,)."""
        if isinstance(ids, list):
            hashes = [xxh3_64_intdigest(one.encode()) % self.shards for one in ids]
            return np.array(hashes, np.int64)
        if self.ids == "auto":
            return shards_of(np.maximum(ids, np.uint64(1)), self.shards)
        data = memoryview(np.ascontiguousarray(ids, "<u8").tobytes())
        starts = range(0, len(data), 8)
        hashes = [xxh3_64_intdigest(data[at : at + 8]) % self.shards for at in starts]
        return np.array(hashes, np.int64)

    def route(self, ids: Ids) -> list[Routed]:
        """What of ``ids`` is for each shard."""
        return [
            Routed(places, self._own(picked_ids(ids, places)))
            for places in self.places(self.shards_of(ids))
        ]

    def places(self, of: I64) -> list[I64]:
        """The places of each shard in ``of``, int64 (n,), which says the shard of each."""
        return [np.flatnonzero(of == shard) for shard in range(self.shards)]

    def _own(self, ids: Ids) -> Ids:
        if self.ids != "auto" or isinstance(ids, list):
            return ids
        own: U64 = own_seqs(np.maximum(ids, np.uint64(1)), self.shards)
        own[ids == 0] = 0  # no row has it
        return own


def picked_ids(ids: Ids, places: I64) -> Ids:
    """The ids at some places."""
    if isinstance(ids, list):
        return [ids[place] for place in places.tolist()]
    found: U64 = ids[places]
    return found
