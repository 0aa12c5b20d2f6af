"""Answering the reads of a tick: all searches of a shard in one scan.

Runs on the engine's thread, after the tick's changes. A fault in one read is that read's alone: if
a shared scan fails, its searches are done again one by one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final

from omendb_core.model.errors import OmenError
from omendb_core.model.types import Include
from omendb_core.scan.shadowed import is_long
from omendb_core.search.query import Answer, Query

from ...runtime.faults import as_error
from ...telemetry.metrics import Metrics
from ...telemetry.tracing import EngineTraces
from ...wire import reply_bounds
from ...wire.encoded import binary
from ...wire.messages import Found, Results
from ...wire.opcodes import HEADER_BYTES, MAX_U32
from ...wire.searches import encode_answers, vectors_of
from ..model import replies
from ..model.shard import Shard
from ..model.ticket import Effect, Reply
from ..pieces.counting import count_at_once
from ..reads.commands import PlainRead
from .commands import Ask, Count, Get, List, PlainSearch, Search, SnapshotPiece
from .descriptions import described
from .shaped import make_timely, stated
from .split_scan import may_be_split
from .wide import each_k

_NOTHING = Include()
#: How long the loop may be kept from its sockets: less than what is done in pieces there, of 1 ms.
#: By the engine's thread a search takes 100 to 200 µs more and twice the CPU, so what a scan of
#: 100,000 x 128 takes where caches and cores are others' too, up to 400 µs, should be below.
MAX_SCAN_US: Final = 500.0


def is_short(works: Sequence[PlainSearch]) -> bool:
    """Whether searches are expected to take no longer than the loop's thread has for them."""
    shard = works[0].shard
    if shard.is_dropped or any(work.shard is not shard for work in works):
        return False
    vectors, rows = sum(work.request.n for work in works), shard.window.rows
    if may_be_split(vectors, rows) or is_long(shard.window.state.ring.shadow):
        return False  # a helper that the system puts aside would hold up the loop
    return shard.scan_cost.expected_us(vectors, rows) <= MAX_SCAN_US


class Reads:
    """Answers reads. ``clock_us`` is the server's."""

    def __init__(self, metrics: Metrics, clock_us: Callable[[], int]) -> None:
        self._metrics = metrics
        self._clock_us = clock_us
        #: See ``Moment.traces``.
        self.traces: EngineTraces | None = None

    def answer(self, works: Sequence[PlainRead], found: list[Effect]) -> None:
        """One reply for each work, in any order, to ``found`` as they are made."""
        searches: dict[Shard, list[Search]] = {}
        plain: dict[Shard, list[PlainSearch]] = {}
        for work in works:
            if isinstance(work, PlainSearch):
                plain.setdefault(work.shard, []).append(work)
            elif isinstance(work, Search):
                searches.setdefault(work.shard, []).append(work)
            else:
                found.append(self._one(work))
        for shard, group in searches.items():
            found.extend(self._searches(shard, group))
        for shard, alike in plain.items():
            found.extend(self._plain_searches(shard, alike))

    def _one(self, work: Get | Count | List | Ask | SnapshotPiece) -> Reply:
        try:
            return self._plain(work)
        except Exception as error:
            return self._refused(work, error)

    def _plain(self, work: Get | Count | List | Ask | SnapshotPiece) -> Reply:
        if isinstance(work, List | Ask):
            return described(work, self._clock_us())
        if isinstance(work, SnapshotPiece):
            most_bytes = work.ticket.max_reply_bytes - HEADER_BYTES
            return replies.snapshot(work.ticket, *work.reading.piece(most_bytes))
        shard = work.shard
        shard.refuse_dropped()
        shard.refuse_broken()
        if isinstance(work, Get):
            return _get(work)
        return replies.counted(work.ticket, count_at_once(shard, work.query))

    def _plain_searches(self, shard: Shard, works: list[PlainSearch]) -> list[Reply]:
        """Answers in bulk; where one is at fault, one by one, so that it says whose fault it is."""
        asked = [work.request for work in works]
        try:
            shard.refuse_dropped()
            shard.refuse_broken()
            window = shard.window
            vectors = vectors_of(asked, window.definition.dim)
            started_ns = time.perf_counter_ns()
            found = window.search_all(vectors, each_k(asked))
            took_us = (time.perf_counter_ns() - started_ns) / 1000
            if not may_be_split(len(vectors), window.rows):
                shard.scan_cost.note(len(vectors), window.rows, took_us)
            shard.batch_cost.note(len(vectors), window.rows, took_us)
            self._metrics.scan_queries.record(len(vectors))
            if self.traces is not None:
                self.traces.scanned([work.ticket for work in works])
            now_us = self._clock_us()
            each_us = [min(max(now_us - work.ticket.arrival_us, 0), MAX_U32) for work in works]
            frames = encode_answers(asked, window.version, found.counts, found.hits, each_us)
            if self.traces is not None:
                self.traces.encoded([work.ticket for work in works])
        except Exception:
            return self._searches(shard, [_whole(work) for work in works])
        return [
            Reply(work.ticket, binary(frame), queries=work.request.n)
            for work, frame in zip(works, frames, strict=True)
        ]

    def _searches(self, shard: Shard, works: list[Search]) -> list[Reply]:
        try:
            shard.refuse_dropped()
            shard.refuse_broken()
        except OmenError as error:
            return [replies.refusal(work.ticket, error) for work in works]
        try:
            now_us = self._clock_us()
            for work in works:
                make_timely(work, now_us)
            outcomes = shard.window.search([work.query for work in works])
            pairs = list(zip(works, outcomes, strict=True))
        except Exception as error:
            if len(works) == 1:
                return [self._refused(works[0], error)]
            return [one for work in works for one in self._searches(shard, [work])]
        self._metrics.scan_queries.record(sum(map(_queries, works)))
        version = shard.window.version
        if self.traces is not None:
            self.traces.scanned([work.ticket for work in works])
        made = [self._outcome(work, outcome, version) for work, outcome in pairs]
        if self.traces is not None:
            self.traces.encoded([work.ticket for work in works])
        return made

    def _outcome(self, work: Search, outcome: Answer | OmenError, version: int) -> Reply:
        if isinstance(outcome, OmenError):
            return self._refused(work, outcome)
        try:
            took_us = min(max(self._clock_us() - work.ticket.arrival_us, 0), MAX_U32)
            results = Results(version, outcome.counts, outcome.hits, took_us, at=stated(work.query))
            return replies.results(work.ticket, results, work.is_single, work.is_binary)
        except Exception as error:
            return self._refused(work, error)

    def _refused(self, work: PlainRead, error: Exception) -> Reply:
        if not isinstance(error, OmenError):
            self._metrics.faults += 1
        return replies.refusal(work.ticket, as_error(error, work.ticket.op))


def _get(work: Get) -> Reply:
    window = work.shard.window
    found, hits = window.get(work.ids, _NOTHING, work.visible)
    least_bytes = reply_bounds.least_found_bytes(window.definition, work.include) * len(hits.seqs)
    replies.refuse_over(work.ticket, least_bytes)
    if work.include != _NOTHING:
        found, hits = window.get(work.ids, work.include, work.visible)
    return replies.rows(work.ticket, Found(window.version, found, hits))


def _whole(work: PlainSearch) -> Search:
    asked = work.request.whole()
    query = Query(vectors=asked.vectors, k=asked.k)
    return Search(work.ticket, work.shard, query, is_single=False, is_binary=True)


def _queries(work: Search) -> int:
    return 1 if work.query.vectors is None else len(work.query.vectors)
