"""One add's rows into a window's ring, ids and times: in one call of the C extension, or in numpy.

First what the rows overwrite leaves, then what has one of their ids, then they come. Knows ring and
ids; what else a window keeps of a row (metadata, standing queries) is told by what this returns.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .. import native
from ..model.change import AddChange
from ..model.types import I64, U64
from .ids import RowIds, StrIds, strings
from .ring import Ring
from .u64_ids import TableIds, given


class Left(NamedTuple):
    """Slots int64 (n,) of the rows that left, still known by their seqs if not overwritten.

    ``evicted`` in seq order; ``replaced`` by rows with their ids, in the order of these.
    """

    evicted: I64
    replaced: I64


def append(ring: Ring, ids: RowIds, times_us: I64, change: AddChange) -> Left:
    """Take the rows of ``change``, which was admitted, in as the next seqs."""
    if not native.is_used:
        return _in_steps(ring, ids, times_us, change)
    if isinstance(ids, TableIds):
        return _in_one_call(ring, ids, given(change.ids), times_us, change)
    if isinstance(ids, StrIds) and isinstance(ids.table, TableIds):
        return _with_texts(ring, ids, ids.table, times_us, change)
    return _in_one_call(ring, None, None, times_us, change)


def _with_texts(ring: Ring, ids: StrIds, table: TableIds, times_us: I64, change: AddChange) -> Left:
    texts = strings(change.ids)
    keys, twins = ids.keys_of_add(texts)
    left = _in_one_call(ring, table, keys, times_us, change)
    ids.texts_left(left.evicted)
    ids.texts_left(left.replaced)
    ids.texts_came(ring.slots_of(change.first_seq, len(texts)), texts, twins)
    return left


def _in_one_call(
    ring: Ring, table: TableIds | None, keys: U64 | None, times_us: I64, change: AddChange
) -> Left:
    evicted, replaced = native.compiled.append(
        native.lanes,
        (ring.vectors, ring.norms, ring.live_words, times_us),
        None if ring.shadow is None else ring.shadow.arrays,
        None if table is None else table.arrays,
        ring.last_seq % ring.capacity,
        change.time_us,
        native.readable(change.vectors),
        None if keys is None else native.readable(keys),
    )
    left = Left(np.frombuffer(evicted, np.int64), np.frombuffer(replaced, np.int64))
    ring.took(len(change.vectors), len(left.evicted) + len(left.replaced))
    return left


def _in_steps(ring: Ring, ids: RowIds, times_us: I64, change: AddChange) -> Left:
    evicted = ring.overwritten(len(change.vectors))
    _kill(ring, ids, evicted)
    replaced = np.empty(0, np.int64)
    if change.ids is not None:
        found = ids.find(change.ids)
        replaced = found[found >= 0]
        _kill(ring, ids, replaced)
    slots = ring.append(change.vectors)
    ids.assign(slots, change.first_seq, change.ids)
    times_us[slots] = change.time_us
    return Left(evicted, replaced)


def _kill(ring: Ring, ids: RowIds, slots: I64) -> None:
    if len(slots):
        ring.kill(slots)
        ids.release(slots)
