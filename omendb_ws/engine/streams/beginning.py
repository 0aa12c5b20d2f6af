"""SUBSCRIBE with many vectors: its live queries begin over several ticks, and are answered at once.

Lives on the engine's thread; the steps are a long read (``long_reads.py``). A piece takes some
queries in and makes their lists; those made before are kept up to date with everything that changes
meanwhile. Once all are there, the shard is *held* (``pieces/copies.py``) while their answers
are copied, at the one version that the reply names; only then are they told of and written, in
pieces again. What came since then is in the lists: the first push says it. So what follows the
reply starts exactly after it. So begin few queries, too, whose lists take long; where a piece is a
part of a list the shard is held until it is made. A query whose mask is still to be made
begins so, too, or moves; and one whose list takes long moves so.

After a failure, or the end of the connection, whatever has begun is let go, as streams are that
nobody reads any more: some in each tick.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import Final, TypeVar

import numpy as np
from omendb_core.filters.parser import Filter
from omendb_core.model.errors import NotFound, OmenError
from omendb_core.model.hits_together import joined
from omendb_core.model.types import F32, I64
from omendb_core.ranking.shape import Rank
from omendb_core.scan.parts import is_wide
from omendb_core.search.query import Examples
from omendb_core.standing.table import StandingQuery

from ...wire import reply_bounds
from ...wire.messages import Results
from ..model import replies
from ..model.rows import part_of
from ..model.shard import Shard
from ..pieces.copies import metadata_written, must_wait
from ..pieces.long_reads import LongReads, Steps
from ..pieces.masks import mask_made, needs_mask
from ..pieces.shape_costs import most_us
from . import snapshots
from .commands import Changes, Live, Move, SameAs, Target
from .live import LiveQueries
from .stream import Stream
from .targets import changed, prepared

#: Vectors whose numbers are checked, and readers who are told, in one piece.
_CHECKED_ELEMENTS: Final = 1 << 18
_TOLD_ROWS: Final = 1 << 12
#: Rows that are copied in one piece: with metadata 0.3 µs each.
_COPIED_ROWS: Final = 1 << 12
#: More queries of one request than these begin in pieces.
MOST_AT_ONCE: Final = 16
#: And fewer whose lists are expected to take longer.
AT_ONCE_US: Final = 3_000.0
#: Queries of a piece: fewer cost more each, more make the piece too long. At least, if plain.
LEAST_QUERIES: Final = 8
MOST_QUERIES: Final = 256
#: Of plain ones over a wide window, whose lists are made by one scan in parts.
_WIDE_QUERIES: Final = 64
#: What a list takes, measured: an element of the rows, where so many are made in one scan, and the
#: id of a row that is left out, text or number.
_ELEMENT_US: Final = 3.5e-6
_TEXT_US: Final = 0.5
_NUMBER_US: Final = 0.01
#: How often the lists that changes have made too short are waited for; then they are made while
#: the collection is held: a stream that empties the window faster lets no snapshot of all come to
#: be.
_PATIENCE_TICKS: Final = 64

_Made = TypeVar("_Made")
#: Brings a shard's lists to the present; OmenError if it is gone or broken.
CatchUp = Callable[[Shard], None]
#: Ends queries, some in each tick.
LetGo = Callable[[Sequence[Stream]], None]


def begin_in_pieces(
    work: Live, live: LiveQueries, catch_up: CatchUp, long_reads: LongReads, let_go: LetGo
) -> Steps:
    """Steps to the reply to ``work``. The first one, which is the caller's, only notes that its
    queries are beginning: whoever closes the steps from then on takes that back.
    """
    shard, queries = work.shard, work.queries
    handles: list[int] = []
    has_begun = False
    try:
        for query in queries:
            query.is_beginning = True
        yield False
        shard.refuse_dropped()
        vectors = yield from prepared_in_pieces(shard, work.target)
        yield from mask_made(shard, queries[0].query.filter)
        yield from _lists_made(work, vectors, handles, catch_up, long_reads)
        while not long_reads.has_room:
            yield False
        long_reads.copies(work)
        all_handles = np.array(handles, np.int64)
        found = yield from _copied(work, live, all_handles, catch_up)
        yield from _told(work, live, found)
        texts = None
        if work.is_binary and found.hits.metadata is not None:
            texts = yield from metadata_written(found.hits)
        reply = snapshots.snapshot(work, found, found.counts, 0, len(found.hits.seqs), texts)
        if reply.error is None:
            yield from caught_up(shard, catch_up)
            live.begin(queries, handles)
            has_begun = True
            if shard.window.version != found.version:
                live.changed(shard, all_handles, None)
        return reply
    finally:
        for query in queries:
            query.is_beginning = False
        if not has_begun:
            for query, handle in zip(queries, handles, strict=False):
                query.handle = handle
            let_go(queries[: len(handles)])


def begins_in_pieces(work: Live) -> bool:
    """Whether the queries of ``work`` begin so."""
    if len(work.queries) > MOST_AT_ONCE or begin_us(work) > AT_ONCE_US or _is_wide(work.shard):
        return True
    return needs_mask(work.shard, work.queries[0].query.filter)


def begin_us(work: Live) -> float:
    """How long the lists of its queries may take, about."""
    if work.shard.is_dropped:
        return 0.0
    each_us = _scan_us(work.shard) + _list_us(work.shard, work.queries[0].query)
    return len(work.queries) * each_us


def moves_in_pieces(work: Move) -> bool:
    """Whether the query of ``work`` moves so."""
    shard = work.shard
    if needs_mask(shard, filter_after(work)):
        return True
    if shard.is_dropped or work.query.handle is None:
        return False
    if _is_wide(shard):
        return True
    asked, _ = changed(work.query, work.changes)
    return _scan_us(shard) + _list_us(shard, asked) > AT_ONCE_US


def _is_wide(shard: Shard) -> bool:
    """Whether one scan is done in parts."""
    return not shard.is_dropped and is_wide(shard.window.state.ring)


def _scan_us(shard: Shard) -> float:
    return _ELEMENT_US * shard.window.rows * shard.definition.dim


def _list_us(shard: Shard, asked: StandingQuery) -> float:
    """What a list may take besides the scan."""
    left_out_us = 0.0
    if asked.exclude is not None:
        left_out_us = len(asked.exclude) * (
            _TEXT_US if isinstance(asked.exclude, list) else _NUMBER_US
        )
    assert asked.k is not None, "a live query has a k"
    return left_out_us + most_us(shard, asked.shape, asked.k)


def _lists_made(
    work: Live, vectors: F32, handles: list[int], catch_up: CatchUp, long_reads: LongReads
) -> Generator[bool, None, None]:
    """Return when each query of ``work`` has its list, and its handle is in ``handles``."""
    shard, queries = work.shard, work.queries
    if _are_made_in_pieces(work):
        yield from _parts_made(work, vectors, handles, catch_up)
        return
    # The list of one that decays, or leaves out thousands, may take milliseconds.
    least = LEAST_QUERIES if queries[0].query.is_plain else 1
    size = long_reads.size(least, MOST_QUERIES)
    while len(handles) < len(queries):
        yield from caught_up(shard, catch_up)
        chunk = slice(len(handles), len(handles) + size.start())
        asked = [query.query for query in queries[chunk]]
        handles += shard.window.standing.add(asked, vectors[chunk]).tolist()
        size.end()
        yield True


def _are_made_in_pieces(work: Live) -> bool:
    """Whether the lists of its queries are."""
    shape = work.queries[0].query.shape
    return isinstance(shape.order, Rank) or shape.selects or _is_wide(work.shard)


def _parts_made(
    work: Live, vectors: F32, handles: list[int], catch_up: CatchUp
) -> Generator[bool, None, None]:
    """As ``_lists_made``, where a piece is a part of a list: few lists, while none may change."""
    shard, queries = work.shard, work.queries
    list_us = _list_us(shard, queries[0].query)
    most = _WIDE_QUERIES if queries[0].query.is_plain else LEAST_QUERIES
    items = min(max(1, int(AT_ONCE_US / max(list_us, 1.0))), most)
    while len(handles) < len(queries):
        yield from _free(shard, catch_up)
        chunk = slice(len(handles), len(handles) + items)
        asked = [query.query for query in queries[chunk]]
        shard.is_being_read = True
        try:
            with closing(shard.window.standing.add_in_pieces(asked, vectors[chunk])) as adding:
                made = yield from _done(adding, shard.refuse_broken)
        finally:
            shard.is_being_read = False
        handles += made.tolist()
        yield True


def _free(shard: Shard, catch_up: CatchUp) -> Generator[bool, None, None]:
    """Return when the shard may be held, and its lists follow its window."""
    yield from caught_up(shard, catch_up)
    while must_wait(shard):
        yield False
        yield from caught_up(shard, catch_up)


def _done(
    pieces: Generator[None, None, _Made], look: Callable[[], None]
) -> Generator[bool, None, _Made]:
    """What comes of ``pieces``; after each ``look`` raises if there is no going on."""
    while True:
        try:
            next(pieces)
        except StopIteration as end:
            made: _Made = end.value
            return made
        yield True
        look()


def move_in_pieces(work: Move, live: LiveQueries, catch_up: CatchUp) -> Steps:
    """Steps to the reply to ``work``: the mask of the filter that it asks with is made before, and
    its list while the shard is held.

    The first one is as that of ``begin_in_pieces``.
    """
    query, shard = work.query, work.shard

    def look() -> None:
        shard.refuse_broken()
        if query.handle is None:
            raise NotFound(f"sub: there is no {query.sub}")

    try:
        query.is_beginning = True
        yield False
        shard.refuse_dropped()
        changes = _fixed(work)
        yield from mask_made(shard, filter_after(work))
        yield from _free(shard, catch_up)
        look()
        shard.is_being_read = True
        try:
            moving = live.move_in_pieces(query, changes, partial(snapshots.moved, work))
            with closing(moving):
                return (yield from _done(moving, look))
        finally:
            shard.is_being_read = False
    finally:
        query.is_beginning = False


def filter_after(work: Move) -> Filter | None:
    """The filter of its query once it has moved."""
    asked: Filter | None = work.changes.asked.get("filter", work.query.query.filter)
    return asked


def _fixed(work: Move) -> Changes:
    """Its changes, with a vector in place of examples, as of now."""
    target = work.changes.target
    if not isinstance(target, Examples):
        return work.changes
    work.shard.refuse_broken()
    return replace(work.changes, target=prepared(work.shard.window, [target]))


def caught_up(shard: Shard, catch_up: CatchUp) -> Generator[bool, None, None]:
    """Return when the lists of the shard follow its window."""
    while shard.is_catching_up:
        yield False
    catch_up(shard)


def prepared_in_pieces(shard: Shard, vectors: Target) -> Generator[bool, None, F32]:
    """The vectors as they are scored. NonFinite, ZeroNorm (of examples NotFound), with ``row``."""
    window = shard.window
    if isinstance(vectors, Examples | SameAs):
        shard.refuse_broken()
        return prepared(window, [vectors])
    found = []
    step = max(1, _CHECKED_ELEMENTS // vectors.shape[1])
    for start in range(0, len(vectors), step):
        try:
            found.append(prepared(window, [vectors[start : start + step]]))
        except OmenError as error:
            error.row = start + (error.row or 0)
            raise
        yield True
    return np.concatenate(found)


def _all_answered(shard: Shard, handles: I64, catch_up: CatchUp) -> Generator[bool, None, None]:
    """Return when every list is whole, at one version; or has been waited for in vain."""
    standing = shard.window.standing
    for _ in range(_PATIENCE_TICKS):
        yield from caught_up(shard, catch_up)
        if not len(standing.lists.waiting_of(handles)):
            return
        yield True
    yield from caught_up(shard, catch_up)


def _made_whole(shard: Shard, handles: I64, filter_: Filter | None) -> Generator[bool, None, None]:
    """Make the lists that still wait, while the shard is held; ``filter_`` is that of all."""
    lists = shard.window.standing.lists
    waiting = lists.waiting_of(handles)
    for start in range(0, len(waiting), LEAST_QUERIES):
        yield from mask_made(shard, filter_)
        with closing(lists.renew_in_pieces(waiting[start : start + LEAST_QUERIES])) as making:
            yield from _done(making, shard.refuse_broken)
        yield True
        shard.refuse_broken()


def _copied(
    work: Live, live: LiveQueries, handles: I64, catch_up: CatchUp
) -> Generator[bool, None, Results]:
    """What all queries answer, at one version. TooLarge for more rows than a reply can hold."""
    shard, queries = work.shard, work.queries
    yield from _all_answered(shard, handles, catch_up)
    while must_wait(shard):
        yield False
        yield from _all_answered(shard, handles, catch_up)
    shard.is_being_read = True
    try:
        yield from _made_whole(shard, handles, queries[0].query.filter)
        _refuse_over(work, shard, handles)
        counts = shard.window.standing.lists.counts(handles)
        at = live.now(shard)
        parts = []
        for start, stop in _runs(counts, _COPIED_ROWS):
            shard.refuse_broken()
            parts.append(live.answers(queries[start:stop], handles[start:stop], at))
            yield True
    finally:
        shard.is_being_read = False
    counts_found = np.concatenate([one.counts for one in parts])
    hits = joined([one.hits for one in parts])
    return Results(parts[0].version, counts_found, hits, at=parts[0].at)


def _runs(counts: I64, rows: int) -> Iterator[tuple[int, int]]:
    """Queries ``start … stop - 1`` after each other, with about so many rows together."""
    ends = np.cumsum(counts)
    start = row = 0
    while start < len(counts):
        stop = max(start + 1, int(np.searchsorted(ends, row + rows, side="right")))
        yield start, stop
        start, row = stop, int(ends[stop - 1])


def _told(work: Live, live: LiveQueries, found: Results) -> Generator[bool, None, None]:
    """Note what the reader of each query is about to be told."""
    row = 0
    for start, stop in _runs(found.counts.astype(np.int64), _TOLD_ROWS):
        counts = found.counts[start:stop]
        end = row + int(counts.sum())
        part = Results(found.version, counts, part_of(found.hits, row, end))
        live.tell(work.queries[start:stop], part)
        row = end
        yield True


def _refuse_over(work: Live, shard: Shard, handles: I64) -> None:
    """TooLarge for more rows than a reply can hold, before they are gathered."""
    counts = shard.window.standing.lists.counts(handles)
    row_bytes = reply_bounds.least_row_bytes(
        shard.definition, work.queries[0].include, work.is_binary
    )
    replies.refuse_over(work.ticket, int(counts.sum()) * row_bytes)
