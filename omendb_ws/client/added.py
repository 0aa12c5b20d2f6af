"""What ``add`` returns, and how it is read from the acknowledgements of its messages. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from omendb_core.model.types import IdKind, Ids

from ..wire import messages


class ShardAdded(NamedTuple):
    """What one shard of a collection took of an add; the seqs are None where no row is its."""

    shard: int
    first_seq: int | None
    last_seq: int | None
    version: int


@dataclass(frozen=True, slots=True)
class Added:
    """The acknowledgement of one add, all its frames together.

    ``version`` is that of the last frame. ``first_seq`` and ``last_seq`` are those of its first
    and last row, None where a repeated frame's are forgotten, or there are several shards; rows of
    others may lie between them if it took several frames. ``duplicate``: a frame had to be sent
    again after a lost connection, and the server had it already. ``rows`` is how many the call had.

    Of an add with ``unless_near``: ``skipped`` are the places, ascending, of the rows that were
    left out, and ``near`` is for each the id of the row that it was near to; both are None where a
    frame was a ``duplicate``, for then nobody knows any more. ``first_seq`` and ``last_seq`` are
    those of rows that went in, None if none did.

    ``shards``: of a collection with several, what each one took that the add went to.
    """

    version: int
    first_seq: int | None
    last_seq: int | None
    rows: int
    duplicate: bool = False
    skipped: Sequence[int] | None = None
    near: Sequence[int | str] | None = None
    shards: tuple[ShardAdded, ...] = ()


def read_added(added: messages.Added, rows: int, kind: IdKind) -> Added:
    """Return the acknowledgement of ``rows`` rows that went out as one message."""
    return Added(
        added.version,
        added.first_seq,
        added.last_seq,
        rows,
        added.duplicate,
        added.skipped,
        read_near(added.near, kind),
        read_shards({}, added),
    )


def read_shards(before: dict[int, ShardAdded], added: messages.Added) -> tuple[ShardAdded, ...]:
    """Return what each shard took of the messages so far, which ``before`` holds by shard."""
    for one in added.shards or ():
        now = ShardAdded(one["shard"], one["first_seq"], one["last_seq"], one["version"])
        was = before.get(now.shard)
        if was is not None:
            first_seq = was.first_seq or now.first_seq
            last_seq = now.last_seq or was.last_seq
            now = ShardAdded(now.shard, first_seq, last_seq, now.version)
        before[now.shard] = now
    return tuple(before[shard] for shard in sorted(before))


def read_near(near: Ids | None, kind: IdKind) -> list[int | str] | None:
    """Return ids out of a JSON section as the collection has them."""
    if near is None:
        return None
    return [str(one) if kind == "str" else int(one) for one in near]
