"""What is queued for a log, and which of it is written as one group. Plain data, no locks."""

from __future__ import annotations

from collections import deque
from typing import Any, Final, TypeAlias

from omendb_core.model.change import AddChange, Change, DeleteChange, UpdateChange
from omendb_core.model.packed import PackedPayloads

from ..interface import Logged
from .records import HEADER_BYTES

#: One group, in bytes: half of what may wait, so that the next one forms meanwhile.
GROUP_BYTES: Final = 4 << 20


class Turn:
    """In the queue: a pass of compaction begins, and a segment with it."""


class Done:
    """In the queue: a pass has ended."""


Queued: TypeAlias = tuple[Logged | Turn | Done, Any, int]


def take_group(queue: deque[Queued], group: list[Queued]) -> None:
    """Move the next group there: changes and kept rows, or one thing of another kind."""
    size = 0
    while queue and size < GROUP_BYTES:
        is_other = isinstance(queue[0][0], Turn | Done)
        if is_other and group:
            return
        group.append(queue.popleft())
        size += group[-1][2]
        if is_other:
            return


def logged_in(group: list[Queued]) -> list[Logged]:
    """What of it belongs in the log."""
    return [one for one, _, _ in group if not isinstance(one, Turn | Done)]


def size_of(change: Change) -> int:
    """About what a change takes in memory while it waits, in bytes."""
    if isinstance(change, AddChange):
        n = len(change.vectors)
        per_row = 8 * (1 + len(change.columns))
        return HEADER_BYTES + change.vectors.nbytes + n * per_row + _sum(change.payloads)
    if isinstance(change, UpdateChange):
        return HEADER_BYTES + change.seqs.nbytes * 8 + _sum(change.payloads)
    return HEADER_BYTES + (change.seqs.nbytes if isinstance(change, DeleteChange) else 0)


def _sum(payloads: PackedPayloads | None) -> int:
    return 0 if payloads is None else len(payloads.data) + payloads.lengths.nbytes
