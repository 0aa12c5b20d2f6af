"""Sequence numbers over all shards, and back (PROTOCOL section 3, "Shards").

A shard counts its own rows 1, 2, 3 …; outside, ``seq = (own - 1) * shards + shard + 1``. So numbers
are unique, each says its shard, and within one they keep its order. Pure.
"""

from __future__ import annotations

from omendb_core.model.types import I64, U64


def outer_seqs(own: U64, shard: int, shards: int) -> U64:
    """The seqs uint64 (n,) that rows of ``shard`` have outside."""
    found: U64 = (own - 1) * shards + (shard + 1)
    return found


def outer_seq(own: int, shard: int, shards: int) -> int:
    """The same of one."""
    return (own - 1) * shards + shard + 1


def outer_to_seq(own: int, shard: int, shards: int) -> int:
    """How far a shard is, outside; 0 before its first row."""
    return 0 if own == 0 else outer_seq(own, shard, shards)


def own_from_seq(outer: int, shard: int, shards: int) -> int:
    """The first seq within a shard that is ``outer`` or later outside."""
    return max(0, -((shard + 1 - outer) // shards)) + 1


def own_seqs(outer: U64, shards: int) -> U64:
    """What seqs uint64 (n,), each at least 1, are within their shards."""
    found: U64 = (outer - 1) // shards + 1
    return found


def shards_of(outer: U64, shards: int) -> I64:
    """The shards int64 (n,) that seqs are of, each at least 1."""
    return ((outer - 1) % shards).astype("int64")
