"""Live queries over several shards: they begin, move and end, and are pushed to.

Lives on the engine's thread. Their parts begin as live queries of each shard do, which may take
several ticks. Once all have, ``start`` makes the answer of one moment, which is the reply; what
changes the answer of any part from then on has the whole looked at again. A push says what
``search`` says at its ``versions`` (PROTOCOL section 6), whatever was merged into it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from sys import getsizeof
from typing import cast

import numpy as np
from omendb_core.model.errors import NotFound, Quota, Unsupported
from omendb_core.model.hits_together import joined

from ...telemetry.metrics import Metrics
from ...wire.encoded import Message, binary, text
from ...wire.live import encode_binary, encode_text
from ...wire.messages import LivePushes, Results
from ..model.ended import EndedOne
from ..model.shard import Subscriber
from ..model.ticket import Effect, Reply
from . import snapshots
from .commands import Together
from .deliveries import Deliveries, Stream
from .gathered_query import GatheredQuery, PartQuery
from .gathered_rows import Rows, difference, hits_of, reasons
from .gathered_selection import answer
from .live import LiveQueries
from .live_pushes import Difference
from .live_query import listed, long_bytes, table_bytes


class GatheredQueries:
    """All live queries of the server over several shards; ``live`` has their parts."""

    def __init__(
        self,
        metrics: Metrics,
        deliveries: Deliveries,
        live: LiveQueries,
        clock_us: Callable[[], int],
    ) -> None:
        self._metrics = metrics
        self._deliveries = deliveries
        self._live = live
        self._clock_us = clock_us
        #: Those that cannot go on.
        self._ending: list[EndedOne] = []

    def end_some(self, effects: list[Effect]) -> None:
        """The readers hear of their end, whose selections need more than there is."""
        effects += self._ending
        self._ending = []

    def start(self, work: Together) -> Reply:
        """Begin to deliver queries whose parts have begun, or moved; the reply that tells what
        they answer now. OmenError: none began, or moved.

        The lists of every shard must have caught up.
        """
        asked = list(zip(work.queries, work.parts, strict=True))
        if work.moves and not work.queries[0].is_active:
            raise NotFound(f"sub: there is no {work.queries[0].sub}")
        for _, parts in asked:
            _make_whole(parts)
        now_us = self._clock_us()
        at = max(shard.seconds(now_us) for shard in work.shard.parts)
        rows = [answer(query, parts, self._live) for query, parts in asked]
        hits = [
            hits_of(parts, one, query.include, at)
            for (query, parts), one in zip(asked, rows, strict=True)
        ]
        versions = work.shard.versions
        counts = np.array([len(one.seqs) for one in rows], np.uint32)
        stated = None if work.parts[0][0].order is None else at
        subs = None if work.moves else [query.sub for query in work.queries]
        found = Results(sum(versions), counts, joined(hits), 0, subs, at=stated, versions=versions)
        reply = snapshots.gathered(work, found)
        if reply.error is None:
            for (query, parts), one, own in zip(asked, rows, hits, strict=True):
                self._take_over(query, parts)
                _tell_all(query, one, listed(own.ids), versions)
        return reply

    def _take_over(self, query: GatheredQuery, parts: Sequence[PartQuery]) -> None:
        """It consists of ``parts`` from now on."""
        before, query.parts, query.coming = query.parts, parts, ()
        query.is_active, query.is_beginning = True, False
        if before is not parts:
            for part in before:
                self._live.stop(part)

    def stop(self, query: GatheredQuery) -> None:
        """End a query."""
        self._deliveries.stop(query)
        query.is_beginning = False
        for part in (*query.parts, *query.coming):
            self._live.stop(part)
        query.told, query.ranks = {}, None
        for share in (query.texts, query.deeper):
            if share is not None:
                share.close()

    def make(
        self, streams: Sequence[GatheredQuery], now_us: int
    ) -> Iterable[tuple[Stream, list[Message]]]:
        """See ``deliveries.Maker``."""
        for query in streams:
            if not query.is_dirty or not query.is_known:
                continue
            if query.ready_us > now_us:
                self._deliveries.look_again(query, query.ready_us)
                continue
            if any(part.shard.window.standing.is_outdated for part in query.parts):
                self._deliveries.look_again(query, now_us)
                continue
            try:
                rows = answer(query, query.parts, self._live)
            except (Quota, Unsupported) as error:
                self._ending.append(EndedOne(cast("Subscriber", query.reader), error.code))
                self._deliveries.stop(query)
                continue
            message = _push(query, rows)
            if message is not None:
                query.ready_us = now_us + query.every_us
                yield query, [message]


def _make_whole(parts: Sequence[PartQuery]) -> None:
    """Make those lists that changes have made too short since they were begun."""
    for part in parts:
        if part.handle is None:
            raise NotFound(f"collection: there is no {part.shard.name!r}")
        lists = part.shard.window.standing.lists
        for _ in lists.renew_in_pieces(lists.waiting_of(np.array([part.handle], np.int64))):
            pass


def _push(query: GatheredQuery, rows: Rows) -> Message | None:
    """What brings its reader to the present, which is ``rows``; None: nothing."""
    versions = query.shard.versions
    said = difference(query, rows)
    if not said.leave and not said.enter:
        query.told_versions, query.is_dirty, query.behind_since_us = versions, False, None
        return None
    here = np.array(said.enter, np.int64)
    entering = rows.at(here)
    hits = hits_of(query.parts, entering, query.include)
    leave_ids, leave_seqs, why = reasons(query, said)
    pushes = LivePushes(
        sum(versions),
        [query.sub],
        [len(said.leave)],
        leave_ids,
        leave_seqs,
        why,
        [len(said.enter)],
        hits,
        versions,
    )
    message = binary(encode_binary(pushes)[0]) if query.is_binary else text(encode_text(pushes)[0])
    _tell(query, said, entering, listed(hits.ids))
    query.told_versions, query.is_dirty = versions, False
    return message


def _tell_all(query: GatheredQuery, rows: Rows, ids: list[int | str], versions: list[int]) -> None:
    """Note that its reader is told these rows, and has no others."""
    seqs = rows.seqs.tolist()
    if query.texts is not None:
        query.texts.settle(long_bytes(ids))
    query.told = dict(zip(seqs, ids, strict=True))
    query.ranks = None if rows.ranks is None else dict(zip(seqs, rows.ranks.tolist(), strict=True))
    query.told_versions, query.is_dirty = versions, False


def _tell(query: GatheredQuery, said: Difference, entering: Rows, ids: list[int | str]) -> None:
    """Note what its reader is told."""
    if query.texts is not None:
        gone = long_bytes([query.told[seq] for seq in said.leave])
        query.texts.settle(query.texts.taken_bytes + long_bytes(ids) - gone)
    seqs = entering.seqs.tolist()
    for seq in said.leave:
        del query.told[seq]
    query.told.update(zip(seqs, ids, strict=True))
    if getsizeof(query.told) > table_bytes(len(query.told)):  # it grew by rows that left
        query.told = dict(query.told.items())
    if entering.ranks is not None:
        assert query.ranks is not None, "its rows have ranks"
        for seq in said.leave:
            del query.ranks[seq]
        query.ranks = {**query.ranks, **dict(zip(seqs, entering.ranks.tolist(), strict=True))}
