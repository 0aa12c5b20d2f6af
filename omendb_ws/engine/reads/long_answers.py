"""Searches, gets and counts that take long, by their pieces (``long_reads.py``).

Lives on the engine's thread. All queries of a search, and all rows of a ``get``, are answered at
one version: from the first piece over the window to the last one the shard is *held*, which
keeps its changes waiting, and nothing else. It is held by one read at a time, and changes that have
waited, expiry too, come before the next one. What was found is a copy; it is written, in pieces
again, when the shard is free. A mask is made in pieces before that, and follows the changes in
between.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import replace
from typing import Final

import numpy as np
from omendb_core.model.errors import OmenError, TooLarge
from omendb_core.model.hits_together import joined
from omendb_core.ranking.shape import PLAIN
from omendb_core.search.query import Answer, Query

from ...wire import reply_bounds
from ...wire.messages import Found, Results
from ...wire.opcodes import MAX_U32
from ...wire.text_replies import found_list, results_list
from ..model import replies
from ..model.shard import Shard
from ..pieces.copies import list_written, metadata_written, must_wait, objects_written
from ..pieces.counting import copied_bytes, counted, counts_long
from ..pieces.long_reads import PIECE_US, LongReads, Steps
from ..pieces.masks import mask_made, needs_mask
from .commands import Ask, Count, Get, List, PlainRead, PlainSearch, Search, SnapshotPiece
from .descriptions import described_in_pieces, describes_long
from .shaped import make_timely, most_us, stated
from .wide import MOST_VECTORS, Parts, WideSearches, is_wide, searched

#: What a scan for one vector takes, measured: a millionth of a microsecond an element of the rows,
#: and microseconds a row of the answer.
_ELEMENT_US: Final = 3.5e-6
_FOUND_ROW_US: Final = 1.6
#: What a row of an answer takes to be gathered and written as JSON, and bytes of it besides.
_JSON_ROW_US: Final = 1.5
_JSON_BYTES_A_US: Final = 100
#: What is expected to take no longer is done at once.
AT_ONCE_US: Final = 3_000.0
#: Queries of a piece. With fewer than eight each takes longer, as the rows are read once a piece.
_LEAST_QUERIES: Final = 8
#: Of rows that are hard to tell apart each is scored, four by four with as many queries: fewer take
#: as long (100,000 x 128: one 3.7 ms, four 5). Where these take longer than a piece should, pieces
#: are some of the rows, for so many queries.
_LEAST_HARD_QUERIES: Final = 4
_MOST_HARD_QUERIES: Final = 16
_MOST_QUERIES: Final = 128
#: Rows of an answer from which on fewer queries take no longer each.
_MANY_FOUND: Final = 64
#: Ids of a piece of a ``get``.
_IDS: Final = 1024


def takes_long(work: PlainRead) -> bool:
    """Whether ``work`` is to be done in pieces."""
    if isinstance(work, List | Ask):
        return describes_long(work)
    if isinstance(work, SnapshotPiece) or work.shard.is_dropped:
        return False
    if isinstance(work, PlainSearch):
        asked = work.request
        if is_wide(work.shard):
            return True
        return asked.n > 1 and _batch_us(work.shard, asked.k, asked.n) > AT_ONCE_US
    if isinstance(work, Search):
        if is_wide(work.shard) and work.query.shape == PLAIN:
            return True
        return needs_mask(work.shard, work.query.filter) or _search_us(work) > AT_ONCE_US
    if isinstance(work, Count):
        return counts_long(work.shard, work.query)
    return _rows_us(len(work.ids), work.ticket.reply_bytes) > AT_ONCE_US


def _scan_us(shard: Shard, k: int) -> float:
    window = shard.window
    elements = window.rows * window.definition.dim
    return 1.0 + _ELEMENT_US * elements + _FOUND_ROW_US * min(k, window.rows)


def _batch_us(shard: Shard, k: int, queries: int) -> float:
    """What a scan for some vectors takes, by what one took before where its rows are hard."""
    learned_us = shard.batch_cost.learned_us(queries, shard.window.rows)
    return max(_scan_us(shard, k) * queries, learned_us)


def _search_us(work: Search) -> float:
    query = work.query
    queries = 1 if query.vectors is None else len(query.vectors)
    rows = queries * min(query.k, work.shard.window.rows)
    scan_us = _batch_us(work.shard, query.k, queries) if queries > 1 else 0.0
    is_written = not work.is_binary or query.include.metadata
    written_us = _rows_us(rows, work.ticket.reply_bytes) if is_written else 0.0
    return scan_us + most_us(work.shard, query) + written_us


def _rows_us(rows: int, reply_bytes: int) -> float:
    return rows * _JSON_ROW_US + reply_bytes / _JSON_BYTES_A_US


def steps_of(
    work: PlainRead, long_reads: LongReads, wide: WideSearches, clock_us: Callable[[], int]
) -> Steps:
    """The steps to the reply to ``work``, which takes long."""
    if isinstance(work, PlainSearch):
        if is_wide(work.shard) and work.request.n <= MOST_VECTORS:
            return wide.steps(work)
        return alone(work, long_reads, clock_us)
    if isinstance(work, Search):
        return _search(work, long_reads, clock_us)
    if isinstance(work, Count):
        return _count(work, long_reads)
    if isinstance(work, List | Ask):
        return described_in_pieces(work, clock_us)
    assert isinstance(work, Get)
    return _get(work, long_reads)


def alone(work: PlainSearch, long_reads: LongReads, clock_us: Callable[[], int]) -> Steps:
    """The steps to the reply to a plain search, shared with no other."""
    asked = work.request.whole()
    query = Query(vectors=asked.vectors, k=asked.k)
    whole = Search(work.ticket, work.shard, query, is_single=False, is_binary=True)
    return _search(whole, long_reads, clock_us)


# -- kinds of reads -------------------------------------------------------------------------------


def _search(work: Search, long_reads: LongReads, clock_us: Callable[[], int]) -> Steps:
    shard = work.shard
    yield from mask_made(shard, work.query.filter)
    yield from held(work, long_reads)
    try:
        make_timely(work, clock_us())
        parts = yield from _found(work, long_reads)
        version = shard.window.version
    finally:
        shard.is_being_read = False
    yield True
    counts = np.concatenate([part.counts for part in parts])
    hits = joined([part.hits for part in parts])
    took_us = min(max(clock_us() - work.ticket.arrival_us, 0), MAX_U32)
    results = Results(version, counts, hits, took_us, at=stated(work.query))
    if work.ticket.is_part:
        return replies.results(work.ticket, results, False, True)
    if not work.is_binary:
        objects = yield from objects_written(hits)
        listed = results_list(work.ticket.id, results, work.is_single, objects)
        message = yield from list_written(listed)
        return replies.of_search(work.ticket, results, message)
    texts = None
    if hits.metadata is not None:
        texts = yield from metadata_written(hits)
    return replies.results(work.ticket, results, False, True, texts)


def _found(work: Search, long_reads: LongReads) -> Generator[bool, None, list[Answer]]:
    """What is found for each piece of the queries, all at one version."""
    shard, query = work.shard, work.query
    if query.vectors is None or len(query.vectors) == 1:
        alone = Parts(shard, 1, long_reads) if _is_by_rows(shard, query) else None
        return [(yield from _one_piece(shard, query, 0, alone))]
    count, rows = len(query.vectors), shard.window.rows
    fit = int(PIECE_US / (_batch_us(shard, query.k, count) / count))
    least = max(_LEAST_HARD_QUERIES, min(_LEAST_QUERIES, fit)) if query.k <= _MANY_FOUND else 1
    size = long_reads.size(least, _MOST_QUERIES)
    size.items = max(least, min(_MOST_QUERIES, fit))
    is_by_rows = _is_by_rows(shard, query)
    if is_by_rows:
        most = MOST_VECTORS if is_wide(shard) else _MOST_HARD_QUERIES
        size = long_reads.size(most, most)
    parts: list[Answer] = []
    start, left, took_us = 0, query.max_hits, 0.0
    while start < len(query.vectors):
        chunk = query.vectors[start : start + size.start()]
        asked = replace(query, vectors=chunk, max_hits=left)
        steps = None
        if is_by_rows:
            expected_us = _hard_us(shard, query) * len(chunk) / count
            steps = Parts(shard, len(chunk), long_reads, expected_us)
        part = yield from _one_piece(shard, asked, start, steps)
        piece_us = size.end()
        took_us += piece_us if steps is None else steps.took_us
        start += len(chunk)
        left = None if left is None else left - len(part.hits.seqs)
        parts.append(part)
        yield True
    if query.shape == PLAIN and query.filter is None and not is_wide(shard):
        shard.batch_cost.note(count, rows, took_us)
    return parts


def _is_by_rows(shard: Shard, query: Query) -> bool:
    """Whether the pieces of a search are some rows, and not some of its queries."""
    if query.shape != PLAIN or is_wide(shard):
        return query.shape == PLAIN
    if query.vectors is None or len(query.vectors) < _LEAST_HARD_QUERIES:
        return False
    return _hard_us(shard, query) * _LEAST_HARD_QUERIES > PIECE_US * len(query.vectors)


def _hard_us(shard: Shard, query: Query) -> float:
    """What a scan for the vectors took, as a rule; 0 where that is not known."""
    vectors = 0 if query.vectors is None else len(query.vectors)
    return shard.batch_cost.learned_us(vectors, shard.window.rows)


def _one_piece(
    shard: Shard, query: Query, start: int, steps: Parts | None
) -> Generator[bool, None, Answer]:
    """What some queries find: at once, or in pieces where the answers are shaped, or by ``steps``
    of some rows."""
    shard.refuse_broken()
    try:
        if query.shape != PLAIN:
            return (yield from _shaped(shard, query))
        if steps is not None:
            return (yield from searched(shard, shard.window.search_in_parts(query), steps))
        (outcome,) = shard.window.search([query])
        if isinstance(outcome, OmenError):
            raise outcome
        return outcome
    except TooLarge:
        raise TooLarge("the answer would hold more rows than fit in a reply") from None
    except OmenError as error:
        if query.vectors is not None and (start or error.row is not None):
            error.row = start + (error.row or 0)
        raise


def _shaped(shard: Shard, query: Query) -> Generator[bool, None, Answer]:
    steps = shard.window.search_in_pieces(query)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            found: Answer = end.value
            return found
        yield True


def _get(work: Get, long_reads: LongReads) -> Steps:
    shard = work.shard
    yield from held(work, long_reads)
    try:
        window = shard.window
        least_bytes = reply_bounds.least_found_bytes(window.definition, work.include)
        is_there, parts, rows = [], [], 0
        for start in range(0, max(1, len(work.ids)), _IDS):
            shard.refuse_broken()
            found, hits = window.get(work.ids[start : start + _IDS], work.include, work.visible)
            rows += len(hits.seqs)
            replies.refuse_over(work.ticket, rows * least_bytes)
            is_there.append(found)
            parts.append(hits)
            yield True
        version = window.version
    finally:
        shard.is_being_read = False
    hits = joined(parts)
    found_rows = Found(version, np.concatenate(is_there), hits)
    if work.ticket.is_part:
        return replies.rows(work.ticket, found_rows)
    objects = yield from objects_written(hits)
    message = yield from list_written(found_list(work.ticket.id, found_rows, objects))
    return replies.fitting(work.ticket, message)


def _count(work: Count, long_reads: LongReads) -> Steps:
    def takes_turn() -> bool:
        if not must_wait(work.shard) and long_reads.has_room:
            long_reads.copies(work, copied_bytes(work.shard))
            return True
        return False

    found = yield from counted(work.shard, work.query, takes_turn)
    return replies.counted(work.ticket, found)


# -- what they share ------------------------------------------------------------------------------


def held(work: Search | Get, long_reads: LongReads) -> Generator[bool, None, None]:
    """Return when the shard is held for whoever asks: who lets it go in the end."""
    shard = work.shard
    while must_wait(shard) or not long_reads.has_room:
        yield False
    long_reads.copies(work)
    shard.refuse_broken()
    shard.is_being_read = True
