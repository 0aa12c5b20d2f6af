"""Counts of rows, at once or in pieces: for ``count``, and for subscriptions to it.

Lives on the engine's thread. A count by a column of a wide window holds the shard while it
reads it, in pieces of a millisecond or so; what it took along is put in order, in pieces too, when
the shard is free again. 1,000,000 rows with as many values take 50 ms, 10 to 40 of them held.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Final, TypeVar

from omendb_core import counting
from omendb_core.counting import CountQuery, Pieces

from ...wire.counts import Counted, counted_all, counted_by
from ..model.shard import Shard
from .masks import mask_made, needs_mask

_Made = TypeVar("_Made")

#: Rows that a tick counts by value at once: 5 ms where each has a text of its own, mostly 0.3.
_TICK_ROWS: Final = 1 << 14
#: What a count takes along of a row whose number no other has.
_ROW_BYTES: Final = 8 + 2


def counts_long(shard: Shard, query: CountQuery) -> bool:
    """Whether a count is to be made in pieces."""
    is_short = query.by is None or counting.is_short(shard.window.state)
    return needs_mask(shard, query.filter) or not is_short


def count_share(shard: Shard, query: CountQuery) -> float:
    """How much of what a tick has for counts by value one takes, its mask aside."""
    if query.by is None or shard.is_dropped or counts_long(shard, query):
        return 0.0
    return shard.window.rows / _TICK_ROWS


def copied_bytes(shard: Shard) -> int:
    """What a count may hold for a while."""
    return _ROW_BYTES * shard.window.rows


def count_at_once(shard: Shard, query: CountQuery) -> Counted:
    """What ``query`` counts now."""
    window = shard.window
    if query.by is None:
        return counted_all(window.version, window.count(query.filter))
    return counted_by(counting.count_by(window.state, query.filter, query.by, query.limit))


def counted(
    shard: Shard, query: CountQuery, takes_turn: Callable[[], bool]
) -> Generator[bool, None, Counted]:
    """The same in pieces; after each it says whether it did something, or waits.

    ``takes_turn`` says whether the shard may be held now, and is asked until it does.
    """
    yield from mask_made(shard, query.filter)
    if query.by is not None:
        while not takes_turn():
            yield False
            _refuse_gone(shard)
            yield from mask_made(shard, query.filter)  # what waits may lose it
    _refuse_gone(shard)
    if query.by is None:
        return count_at_once(shard, query)
    shard.is_being_read = True
    try:
        state = shard.window.state
        steps = counting.reading(state, query.filter, query.by, query.limit)
        rest = yield from _done(steps, shard)
    finally:
        shard.is_being_read = False
    return counted_by((yield from _done(rest, shard)))


def _done(steps: Pieces[_Made], shard: Shard) -> Generator[bool, None, _Made]:
    while True:
        _refuse_gone(shard)
        try:
            next(steps)
        except StopIteration as end:
            made: _Made = end.value
            return made
        yield True


def _refuse_gone(shard: Shard) -> None:
    shard.refuse_dropped()
    shard.refuse_broken()
