"""Plain searches some rows at a time, where one scan takes longer than others wait: over wide
windows, and over rows that are hard to tell apart.

Lives on the engine's thread. A vector's scan over ten million rows takes 30 ms, and that of each of
many 4; so those that come while another is under way are scanned for together, by one scan in parts
of a millisecond or two, as the window does not change meanwhile. Each search is a long read of its
own; whoever has its turn takes the next step for all of its *party*, so that time is charged by
turns.

Invariants: a party holds the shard from its first step to its last, or until all of its members
have left; a member whose party faulted is answered by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Final, Protocol

import numpy as np
from omendb_core.model.types import I64
from omendb_core.scan import parts
from omendb_core.search.query import Answer
from omendb_core.search.search import AllInParts

from ...telemetry.metrics import Metrics
from ...wire import searches
from ...wire.encoded import binary
from ...wire.opcodes import MAX_U32
from ...wire.searches import encode_answers, vectors_of
from ..model.shard import Shard
from ..model.ticket import Reply
from ..pieces.copies import must_wait
from ..pieces.long_reads import PIECE_US, LongReads, PieceSize, Steps
from .commands import PlainSearch

#: Elements of a part, at least and at most, of one vector.
_LEAST_ELEMENTS: Final = 1 << 20
_MOST_ELEMENTS: Final = 1 << 27
#: Vectors of one party.
MOST_VECTORS: Final = 128


class InParts(Protocol):
    """A search that goes on by steps."""

    @property
    def is_done(self) -> bool:
        """Whether all rows were looked at."""
        ...

    def step(self, rows: int) -> None:
        """Look at so many more."""
        ...

    def answer(self) -> Answer:
        """What was found."""
        ...


def is_wide(shard: Shard) -> bool:
    """Whether scans of a shard's window are done in parts."""
    return not shard.is_dropped and parts.is_wide(shard.window.state.ring)


class Parts:
    """The rows of each step of a search for ``vectors`` vectors, by what the last one took.

    ``took_us``: all steps so far. ``expected_us``: what all rows take, where that is known.
    """

    def __init__(
        self, shard: Shard, vectors: int, long_reads: LongReads, expected_us: float = 0.0
    ) -> None:
        dim, rows = shard.definition.dim, shard.window.rows
        least = _LEAST_ELEMENTS // dim
        self.took_us = 0.0
        self._size: PieceSize = long_reads.size(least, _MOST_ELEMENTS // dim)
        self._size.items = parts.step_rows(shard.window.state.ring, vectors)
        if expected_us:
            fit = int(rows * PIECE_US / expected_us)
            self._size.items = max(least, min(self._size.items, fit))

    def step(self, search: InParts) -> None:
        """Take the next one."""
        search.step(self._size.start())
        self.took_us += self._size.end()


def each_k(asked: Sequence[searches.PlainSearch]) -> I64:
    """The ``k`` of each vector."""
    each = np.array([one.k for one in asked], np.int64)
    return each if max(one.n for one in asked) == 1 else np.repeat(each, [one.n for one in asked])


def searched(shard: Shard, search: InParts, steps: Parts) -> Generator[bool, None, Answer]:
    """What ``search`` finds, while its shard is held by whoever asks."""
    while not search.is_done:
        shard.refuse_broken()
        steps.step(search)
        yield True
    return search.answer()


class _Party:
    """Searches of one shard that share a scan."""

    def __init__(self, shard: Shard, long_reads: LongReads, metrics: Metrics) -> None:
        self.vectors = 0
        self.has_begun = self.has_failed = self.is_done = False
        self._members: dict[PlainSearch, None] = {}
        self._asked: list[PlainSearch] = []
        self._shard, self._long_reads, self._metrics = shard, long_reads, metrics
        self._search: AllInParts | None = None
        self._parts: Parts
        self._frames: dict[PlainSearch, bytes] = {}

    @property
    def may_be_joined(self) -> bool:
        """Whether it has not begun, and its members still wait."""
        return bool(self._members) and not (self.has_begun or self.has_failed)

    def join(self, work: PlainSearch) -> None:
        """One more, before the first step."""
        self._members[work] = None
        self.vectors += work.request.n

    def leave(self, work: PlainSearch) -> None:
        """It has its reply, or needs none any more."""
        del self._members[work]
        if not self._members:
            self._let_go()

    def step(self, clock_us: Callable[[], int]) -> bool:
        """Do something, and say whether there was anything to do yet."""
        try:
            if self._search is None:
                return self._begin()
            self._shard.refuse_broken()
            if not self._search.is_done:
                self._parts.step(self._search)
            if self._search.is_done:
                self._finish(self._search, clock_us())
        except Exception:  # each by itself will hear of its own fault
            self.has_failed = True
            self._let_go()
        return True

    def frame(self, work: PlainSearch) -> bytes:
        """The reply to a member."""
        return self._frames.pop(work)

    def _begin(self) -> bool:
        shard, long_reads = self._shard, self._long_reads
        if must_wait(shard) or not long_reads.has_room:
            return False
        self.has_begun = True
        shard.refuse_dropped()
        shard.refuse_broken()
        self._asked = list(self._members)
        requests = [work.request for work in self._asked]
        vectors = vectors_of(requests, shard.definition.dim)
        self._search = shard.window.search_all_in_parts(vectors, each_k(requests))
        for work in self._asked:
            long_reads.copies(work)
        shard.is_being_read = True
        self._parts = Parts(shard, len(vectors), long_reads)
        self._metrics.scan_queries.record(len(vectors))
        return True

    def _finish(self, search: AllInParts, now_us: int) -> None:
        found, version = search.answer(), self._shard.window.version
        self._let_go()
        requests = [work.request for work in self._asked]
        each_us = [min(max(now_us - work.ticket.arrival_us, 0), MAX_U32) for work in self._asked]
        frames = encode_answers(requests, version, found.counts, found.hits, each_us)
        self._frames = dict(zip(self._asked, frames, strict=True))
        self.is_done = True

    def _let_go(self) -> None:
        if self._search is not None:
            self._search = None
            self._shard.is_being_read = False


class WideSearches:
    """The party of each shard that may still be joined. ``alone``: steps to one's own reply."""

    def __init__(
        self,
        long_reads: LongReads,
        metrics: Metrics,
        clock_us: Callable[[], int],
        alone: Callable[[PlainSearch], Steps],
    ) -> None:
        self._long_reads, self._metrics = long_reads, metrics
        self._clock_us, self._alone = clock_us, alone
        self._open: dict[Shard, _Party] = {}

    def steps(self, work: PlainSearch) -> Steps:
        """The steps to the reply to ``work``, together with others."""
        self._open = {shard: one for shard, one in self._open.items() if one.may_be_joined}
        party = self._open.get(work.shard)
        if party is None or party.vectors + work.request.n > MOST_VECTORS:
            party = _Party(work.shard, self._long_reads, self._metrics)
            self._open[work.shard] = party
        steps = self._member(party, work)
        next(steps)  # from here on it leaves again, however it ends
        return steps

    def _member(self, party: _Party, work: PlainSearch) -> Steps:
        party.join(work)
        try:
            yield False
            while not (party.is_done or party.has_failed):
                yield party.step(self._clock_us)
            if party.is_done:
                return Reply(work.ticket, binary(party.frame(work)), queries=work.request.n)
        finally:
            party.leave(work)
        return (yield from self._alone(work))
