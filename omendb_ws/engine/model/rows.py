"""Pushes of rows: what feeds, match and novel queries have in common (PROTOCOL section 6).

Runs on the engine's thread. Gaps are stated before the rows behind them; a message of rows is at
most ``PUSH_BYTES`` long, or one row.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from omendb_core.model.errors import TooLarge
from omendb_core.model.types import Definition, Hits, IdKind, Include
from omendb_core.window import Window

from ...sharding.names import PartName
from ...sharding.numbering import outer_seq, outer_seqs, outer_to_seq
from ...telemetry.metrics import Metrics
from ...wire import binary_replies, reply_bounds, text_replies
from ...wire.encoded import Message, binary, text
from ...wire.messages import Rows
from ...wire.opcodes import PUSH_BYTES, Limits
from .shard import Shard

#: A reader that is behind with nothing to deliver hears so after this long (at most 5 s).
SILENCE_US: Final = 3_000_000
#: How much JSON is written for one push: a mebibyte of vectors takes 10 ms.
JSON_PUSH_BYTES: Final = 256 << 10


def push_bytes(limits: Limits) -> int:
    """How long a message of rows may be."""
    return min(PUSH_BYTES, limits.max_message_bytes)


def refuse_rows_over_a_push(
    definition: Definition, include: Include, is_binary: bool, limits: Limits
) -> None:
    """TooLarge if one row might not fit in a push."""
    most = reply_bounds.most_row_bytes(definition, include, is_binary, limits.max_metadata_bytes)
    if most + reply_bounds.ENVELOPE_BYTES > push_bytes(limits):
        raise TooLarge(f"include: a push of one row may take {most} bytes, over the limit")


def room_bytes(include: Include, is_binary: bool, limits: Limits) -> int:
    """Bytes for rows in a push; with metadata half of it, the other half is the metadata's."""
    most = push_bytes(limits) if is_binary else min(push_bytes(limits), JSON_PUSH_BYTES)
    return (most - reply_bounds.ENVELOPE_BYTES) // (1 + include.metadata)


def usual_rows(definition: Definition, include: Include, is_binary: bool, limits: Limits) -> int:
    """How many rows usually fit in a push, at least one."""
    row_bytes = reply_bounds.usual_row_bytes(definition, include, is_binary)
    return max(1, room_bytes(include, is_binary, limits) // row_bytes)


def encode(rows: Rows, is_binary: bool, shard: Shard) -> Message:
    """A message of rows of a shard, which are counted as outside."""
    if shard.place is not None:
        rows = _outside(rows, shard.place, shard.definition.ids)
    if is_binary:
        return binary(binary_replies.encode_rows(rows))
    return text(text_replies.encode_rows(rows))


def _outside(rows: Rows, place: PartName, ids: IdKind) -> Rows:
    seqs = outer_seqs(rows.hits.seqs, place.shard, place.shards)
    hits = replace(rows.hits, seqs=seqs, ids=seqs if ids == "auto" else rows.hits.ids)
    to_seq = outer_to_seq(rows.to_seq, place.shard, place.shards)
    return replace(rows, hits=hits, to_seq=to_seq, shard=place.shard)


def gap(sub: int, from_seq: int, to_seq: int, reason: str, shard: Shard) -> Message:
    """Rows of a shard that are not delivered."""
    place = shard.place
    whose: dict[str, Any] = {"sub": sub}
    if place is not None:
        whose["shard"] = place.shard
        from_seq, to_seq = (outer_seq(one, place.shard, place.shards) for one in (from_seq, to_seq))
    body = {**whose, "from_seq": from_seq, "to_seq": to_seq, "reason": reason}
    return text(text_replies.encode_event("gap", body))


def aged_gaps(
    window: Window, sub: int, from_seq: int, metrics: Metrics, shard: Shard
) -> list[Message]:
    """Gaps over the rows from ``from_seq`` on that left the window by age, ``evicted`` first."""
    messages = []
    evicted_to = window.last_seq - window.definition.capacity
    for reason, to_seq in (("evicted", evicted_to), ("expired", window.first_seq - 1)):
        if to_seq >= from_seq:
            messages.append(gap(sub, from_seq, to_seq, reason, shard))
            from_seq = to_seq + 1
            metrics.gaps += 1
            shard.counts.gaps += 1
    return messages


def part_of(hits: Hits, start: int, end: int) -> Hits:
    """Rows ``start … end - 1`` (views)."""
    return Hits(
        ids=hits.ids[start:end],
        seqs=hits.seqs[start:end],
        scores=None if hits.scores is None else hits.scores[start:end],
        metadata=None if hits.metadata is None else hits.metadata[start:end],
        vectors=None if hits.vectors is None else hits.vectors[start:end],
        ranks=None if hits.ranks is None else hits.ranks[start:end],
        weights=None if hits.weights is None else hits.weights[start:end],
        near=None if hits.near is None else hits.near[start:end],
    )
