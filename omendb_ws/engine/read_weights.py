"""What reads count for in a tick, in query vectors.

Lives on the engine's thread; pure.
"""

from __future__ import annotations

from typing import Final

from omendb_core.filters.parser import Filter

from .model.commands import Read
from .model.shard import Shard
from .pieces.counting import count_share
from .pieces.masks import mask_share
from .reads.commands import Ask, Count, List, PlainSearch, Search, SnapshotPiece
from .reads.descriptions import describing_share
from .reads.long_answers import takes_long
from .reads.shaped import tick_us
from .streams.beginning import MOST_AT_ONCE, begin_us, begins_in_pieces
from .streams.commands import Live
from .streams.counting import BeginCount

#: Query vectors of one tick: bounds its memory and its duration. From 16 on a vector costs no less,
#: and while one tick works the next one's requests come in: with eight messages of 32 vectors in
#: flight, all in one tick, the engine waited for the next ones.
TICK_QUERIES: Final = 128
#: What a query vector is expected to take, where something else is counted as so many.
QUERY_US: Final = 50.0
#: What a piece of a snapshot counts for: one or two milliseconds.
PIECE_QUERIES: Final = 32


def weight(work: Read) -> int:
    """How many query vectors a read counts for: by its mask, too, where that is to be made."""
    if isinstance(work, PlainSearch):
        return work.request.n
    if isinstance(work, Search):
        queries = 1 if work.query.vectors is None else len(work.query.vectors)
        queries += 0 if takes_long(work) else int(tick_us(work) / QUERY_US)
        return queries + _mask_weight(work.shard, work.query.filter)
    if isinstance(work, Live):
        queries = min(len(work.queries), MOST_AT_ONCE)  # more begin in pieces
        queries += 0 if begins_in_pieces(work) else int(begin_us(work) / QUERY_US)
        return queries + _mask_weight(work.shard, work.queries[0].query.filter)
    if isinstance(work, Count | BeginCount):
        share = count_share(work.shard, work.query)
        mask = _mask_weight(work.shard, work.query.filter)
        return 1 + mask + int(TICK_QUERIES * share)
    if isinstance(work, SnapshotPiece):
        return PIECE_QUERIES
    if isinstance(work, List | Ask):
        return 1 + int(TICK_QUERIES * describing_share(work))
    return 1


def _mask_weight(shard: Shard, filter_: Filter | None) -> int:
    return int(TICK_QUERIES * mask_share(shard, filter_))
