"""Pushes of live queries: from what readers were last told to what is true now.

A push is the difference between what its reader was last sent and the answer of this moment.
Whatever was merged, the law holds at every push: what was sent, applied in order, is what search
returns at that version (PROTOCOL section 6).
"""

from __future__ import annotations

from collections.abc import Iterable, Set
from sys import getsizeof
from typing import Any, Final, NamedTuple

import numpy as np
from omendb_core.filters.parser import evaluate
from omendb_core.model.types import I64, U8, U64, Bool1, Hits
from omendb_core.ranking import orders
from omendb_core.ranking.shape import Rank
from omendb_core.scoring import score
from omendb_core.window import Window

from ...wire.encoded import Message, binary, text
from ...wire.live import encode_binary, encode_text
from ...wire.messages import LivePushes
from ...wire.opcodes import LEAVE_REASONS
from .deliveries import Stream
from .live_query import LiveQuery, listed, long_bytes, table_bytes

_NO_ROWS: Final[Set[int]] = frozenset()
_REASON = {name: number for number, name in enumerate(LEAVE_REASONS)}


class Difference(NamedTuple):
    """What a push says: seqs that leave, those of them that enter again, places that enter."""

    leave: list[int]
    updated: Set[int]
    enter: list[int]


def pushes(queries: list[LiveQuery], now_us: int) -> Iterable[tuple[Stream, list[Message]]]:
    """What brings readers to the present, alike in shard, include, encoding, and in whether
    rows have ranks.

    Rows that enter, and reasons of leaving, are looked up once for all: thousands of pushes go out
    in one tick, of a row or two each.
    """
    window = queries[0].shard.window
    version = window.version
    handles = np.array([query.handle for query in queries], np.int64)
    counts, seqs, scores, ranks = window.standing.lists.answers(handles)
    seq_list = seqs.tolist()
    rank_list = None if ranks is None else ranks.tolist()
    speaking: list[LiveQuery] = []
    differences: list[Difference] = []
    end = 0
    for query, count in zip(queries, counts, strict=True):
        start, end = end, end + count
        here = None if rank_list is None else rank_list[start:end]
        difference = _difference(window, query, seq_list[start:end], here, start)
        if difference.leave or difference.enter:
            speaking.append(query)
            differences.append(difference)
        else:
            query.told_version, query.is_dirty = version, False
            query.behind_since_us = None
    if not speaking:
        return
    places = np.array([place for one in differences for place in one.enter], np.int64)
    hits = window.state.hits(window.state.ring.slots(seqs[places]), speaking[0].include)
    entering = None if ranks is None else ranks[places]
    hits = Hits(hits.ids, hits.seqs, scores[places], hits.metadata, hits.vectors, entering)
    messages = _messages(speaking, differences, hits)
    ids = listed(hits.ids)
    end = 0
    for query, difference, message in zip(speaking, differences, messages, strict=True):
        start, end = end, end + len(difference.enter)
        _tell(query, difference, seq_list, ids[start:end], rank_list)
        query.told_version, query.is_dirty = version, False
        query.ready_us = now_us + query.every_us
        yield query, [message]


def _tell(
    query: LiveQuery,
    difference: Difference,
    seqs: list[int],
    ids: list[int | str],
    ranks: list[float] | None,
) -> None:
    """Note what ``query``'s reader is told; ``ids`` are those of the rows that enter."""
    if query.texts is not None:
        gone = long_bytes([query.told[seq] for seq in difference.leave])
        query.texts.settle(query.texts.taken_bytes + long_bytes(ids) - gone)
    for seq in difference.leave:
        del query.told[seq]
    for place, id_ in zip(difference.enter, ids, strict=True):
        query.told[seqs[place]] = id_
    if getsizeof(query.told) > table_bytes(len(query.told)):  # it grew by rows that left
        query.told = dict(query.told.items())
    if ranks is not None:
        _tell_ranks(query, difference, seqs, ranks)


def _tell_ranks(
    query: LiveQuery, difference: Difference, seqs: list[int], ranks: list[float]
) -> None:
    """Note the ranks that ``query``'s reader is told of."""
    told = query.ranks
    assert told is not None
    for seq in difference.leave:
        del told[seq]
    for place in difference.enter:
        told[seqs[place]] = ranks[place]
    if getsizeof(told) > table_bytes(len(told)):
        query.ranks = dict(told.items())


def _difference(
    window: Window, query: LiveQuery, now: list[int], ranks: list[float] | None, start: int
) -> Difference:
    """From what ``query``'s reader has to the seqs ``now``, whose places begin at ``start``."""
    told = query.told
    updated: Set[int] = _NO_ROWS
    if window.state.updated_after(query.told_version):  # else no row has another rank, either
        if query.include.metadata:
            updated = _updated(window, query, now)
        if ranks is not None:
            updated = updated | _reranked(query, now, ranks)
    leave = told.keys() - now
    if updated:
        leave |= updated
    enter = [place for place, seq in enumerate(now, start) if seq not in told or seq in updated]
    return Difference(sorted(leave), updated, enter)


def _updated(window: Window, query: LiveQuery, now: list[int]) -> set[int]:
    """Rows told of whose metadata changed since."""
    known = [seq for seq in now if seq in query.told]
    versions = window.state.update_versions(np.array(known, np.uint64))
    return {
        seq for seq, version in zip(known, versions.tolist(), strict=True)
        if version > query.told_version
    }  # fmt: skip


def _reranked(query: LiveQuery, now: list[int], ranks: list[float]) -> set[int]:
    """Rows told of whose rank changed since. (Null is a NaN, which differs from itself.)"""
    told = query.ranks or {}
    return {
        seq
        for seq, rank in zip(now, ranks, strict=True)
        if (was := told.get(seq, rank)) != rank and (was == was or rank == rank)
    }


def _messages(
    queries: list[LiveQuery], differences: list[Difference], enter: Hits
) -> list[Message]:
    """The push of each query; ``enter`` are the rows that enter any of them, in order."""
    window = queries[0].shard.window
    leave_ids = [
        query.told[seq]
        for query, difference in zip(queries, differences, strict=True)
        for seq in difference.leave
    ]
    leave_seqs = np.array([seq for one in differences for seq in one.leave], np.uint64)
    pushes = LivePushes(
        window.version,
        [query.sub for query in queries],
        [len(one.leave) for one in differences],
        leave_ids,
        leave_seqs,
        reasons_of(queries, differences, leave_seqs, leave_ids),
        [len(one.enter) for one in differences],
        enter,
    )
    if queries[0].is_binary:
        return [binary(data) for data in encode_binary(pushes)]
    return [text(data) for data in encode_text(pushes)]


def reasons_of(
    queries: list[LiveQuery],
    differences: list[Difference],
    seqs: U64,
    ids: list[int | str],
) -> U8:
    """Why rows left: the first that holds now, in the order of PROTOCOL section 6."""
    window = queries[0].shard.window
    slots = window.state.ring.slots(seqs)
    is_aged = seqs < window.first_seq
    is_dead = ~(is_aged | window.state.ring.is_live(slots))
    reasons = np.full(len(seqs), _REASON["displaced"], np.uint8)
    reasons[is_aged] = _REASON["expired"]
    reasons[seqs + np.uint64(window.definition.capacity) <= window.last_seq] = _REASON["evicted"]
    dead = np.flatnonzero(is_dead)
    if len(dead):
        gone: Any = [ids[place] for place in dead.tolist()]
        is_str = window.definition.ids == "str"
        found = window.state.ids.find(gone if is_str else np.array(gone, np.uint64))
        reasons[dead] = np.where(found < 0, _REASON["deleted"], _REASON["replaced"])
    has_order = queries[0].order is not None
    end = 0
    for query, difference in zip(queries, differences, strict=True):
        start, end = end, end + len(difference.leave)
        may_filter = query.query.filter is not None or (has_order and isinstance(query.order, Rank))
        if not may_filter and not difference.updated:
            continue
        own = np.arange(start, end)[reasons[start:end] == _REASON["displaced"]]
        if may_filter:
            reasons[own[~_passes(window, query, slots[own])]] = _REASON["filtered"]
        back = [
            place
            for place in own.tolist()
            if int(seqs[place]) in difference.updated and reasons[place] == _REASON["displaced"]
        ]
        reasons[back] = _REASON["updated"]
    return reasons


def _passes(window: Window, query: LiveQuery, slots: I64) -> Bool1:
    """Which rows, that are there, pass ``query``'s filter and have a rank, where that counts."""
    passed: Bool1 = np.ones(len(slots), np.bool_)
    if query.query.filter is not None:
        passed &= evaluate(query.query.filter, window.state.columns, slots)
    if isinstance(query.order, Rank):
        assert query.handle is not None
        scores = score.score_chosen(
            window.definition.metric,
            window.state.ring.vectors,
            slots,
            window.standing.table.vectors[[query.handle]],
            np.zeros(len(slots), np.int64),
        )
        passed &= ~np.isnan(orders.ranks(query.order, window.state, slots, scores))
    return passed
