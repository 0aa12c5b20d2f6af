"""Live queries: what their readers were last told, and what brings them to what is true now.

Lives on the engine's thread. The window's ``standing`` says whose answer may have changed; a push
is made when the reader can take it, as the difference between what it was last sent and the answer
of that moment. So a slow reader costs the rows it was last told, never a queue; and whatever was
merged, the law holds at every push: what was sent, applied in order, is what search returns at that
version (PROTOCOL section 6).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence, Set
from functools import cache
from sys import getsizeof
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from omendb_core.filters.parser import evaluate
from omendb_core.model.budget import Share
from omendb_core.model.types import F32, I64, U8, U64, Hits, Include
from omendb_core.search.query import prepare_queries
from omendb_core.standing.table import StandingQuery

from ...telemetry.metrics import Metrics
from ...wire.encoded import Message, binary, text
from ...wire.live import encode_binary, encode_text
from ...wire.messages import LivePushes, Results
from ...wire.opcodes import LEAVE_REASONS
from ..model.ticket import Answer
from .deliveries import Deliveries, Maker, Reader, Stream, forget

if TYPE_CHECKING:
    from omendb_core.window import Window

    from ..model.collection import Collection

_NO_ROWS: Final[Set[int]] = frozenset()
#: What CPython takes for one.
_INTEGER_BYTES: Final = 32
#: What an id of 47 characters takes more. Longer ones are counted as readers are told of them.
TEXT_BYTES: Final = 64
_REASON = {name: number for number, name in enumerate(LEAVE_REASONS)}


class LiveQuery(Stream):
    """One reader's standing query. Only ``LiveQueries`` changes it.

    ``handle`` is the window's, None before the reply and after the end. ``told``: seq -> id of the
    rows its reader has now, at version ``told_version``. ``every_us``: least time between pushes.
    ``is_beginning``: its list is there, or about to be, and its reply is not. ``texts``: what long
    ids in ``told`` take of the budget; None where ids are numbers.
    """

    __slots__ = ("every_us", "handle", "is_beginning", "is_dirty", "query", "ready_us", "texts",
                 "told", "told_version")  # fmt: skip

    is_of_lists = True

    def __init__(
        self,
        maker: Maker,
        reader: Reader,
        collection: Collection,
        is_binary: bool,
        include: Include,
        usual_bytes: int,
        query: StandingQuery,
        every_us: int,
        texts: Share | None = None,
    ) -> None:
        super().__init__(maker, reader, collection, is_binary, include, usual_bytes)
        self.query = query
        self.every_us = every_us
        self.texts = texts
        self.handle: int | None = None
        self.told: dict[int, int | str] = {}
        self.told_version = 0
        self.is_beginning = self.is_dirty = False
        self.ready_us = 0

    @property
    def has_more(self) -> bool:
        """Whether its answer may have changed since its last push."""
        return self.is_dirty


class _Difference(NamedTuple):
    """What a push says: seqs that leave, those of them that enter again, places that enter."""

    leave: list[int]
    updated: Set[int]
    enter: list[int]


class LiveQueries:
    """All live queries of the server."""

    def __init__(self, metrics: Metrics, deliveries: Deliveries) -> None:
        self._queries: dict[Collection, dict[int, LiveQuery]] = {}
        self._metrics = metrics
        self._deliveries = deliveries

    # -- queries come, move and go ----------------------------------------------------------------

    def of(self, collection: Collection) -> list[LiveQuery]:
        """The live queries of a collection."""
        return list(self._queries.get(collection, {}).values())

    def start(self, queries: Sequence[LiveQuery], vectors: F32) -> Results:
        """Begin to deliver queries of one collection; their snapshots. OmenError: none began.

        The window's standing queries must have caught up.
        """
        collection = queries[0].collection
        window = collection.window
        prepared = prepare_queries(window.definition, vectors)
        handles = window.standing.add([query.query for query in queries], prepared)
        self.begin(queries, handles.tolist())
        try:
            return self._snapshots(collection, queries)
        except Exception:
            for query in queries:
                self.stop(query)
            raise

    def move(self, query: LiveQuery, vectors: F32, reply: Callable[[Results], Answer]) -> Answer:
        """Point a query at another vector; the ``reply`` that tells its new snapshot.

        Where none can be made it stays where it was, and what its reader was told, too.
        """
        window = query.collection.window
        handles = np.array([query.handle], np.int64)
        before = window.standing.table.vectors[handles]
        window.standing.move(handles, prepare_queries(window.definition, vectors))
        is_told = False
        try:
            found = self.answers(query.collection, handles, query.include)
            answer = reply(found)
            if answer.error is None:
                ids, seqs = listed(found.hits.ids), found.hits.seqs.tolist()
                self.tell([query], found.counts.tolist(), ids, seqs, found.version)
                is_told = True
            return answer
        finally:
            if not is_told:
                window.standing.move(handles, before)

    def stop(self, query: LiveQuery) -> None:
        """End a query."""
        self.stop_many([query])

    def stop_many(self, queries: Sequence[LiveQuery]) -> None:
        """End queries of one collection; one of them may be there twice."""
        collection = queries[0].collection
        handles = list({query.handle for query in queries if query.handle is not None})
        for query in queries:
            self._deliveries.stop(query)
        for handle in handles:
            forget(self._queries, collection, handle)
        collection.live_queries = len(self._queries.get(collection, ()))
        if handles and not collection.is_dropped:
            collection.window.standing.remove(handles)
        for query in queries:
            query.handle = None
            query.query = query.query.without_filter()

    def _snapshots(self, collection: Collection, queries: Sequence[LiveQuery]) -> Results:
        """What the queries answer now, which their readers are told by a reply."""
        handles = np.array([query.handle for query in queries], np.int64)
        found = self.answers(collection, handles, queries[0].include)
        counts = found.counts.tolist()
        self.tell(queries, counts, listed(found.hits.ids), found.hits.seqs.tolist(), found.version)
        return found

    def answers(self, collection: Collection, handles: I64, include: Include) -> Results:
        """What the queries of ``handles`` answer now."""
        window = collection.window
        counts, seqs, scores = window.standing.lists.answers(handles)
        hits = window.state.hits(window.state.ring.slots(seqs), include)
        hits = Hits(hits.ids, seqs, scores, hits.metadata, hits.vectors)
        return Results(window.version, np.array(counts, np.uint32), hits)

    def tell(
        self,
        queries: Sequence[LiveQuery],
        counts: Sequence[int],
        ids: Sequence[int | str],
        seqs: Sequence[int],
        version: int,
    ) -> None:
        """Note that readers are told these rows, query after query, as of ``version``."""
        end = 0
        for query, count in zip(queries, counts, strict=True):
            start, end = end, end + count
            if query.texts is not None:
                query.texts.settle(_long_bytes(ids[start:end]))
            query.told = dict(zip(seqs[start:end], ids[start:end], strict=True))
            query.told_version = version
            query.is_dirty = False

    def begin(self, queries: Sequence[LiveQuery], handles: Sequence[int]) -> None:
        """Deliver queries that were told what they answered at some version, from now on."""
        collection = queries[0].collection
        for query, handle in zip(queries, handles, strict=True):
            query.handle = handle
            query.is_active = True
            self._queries.setdefault(collection, {})[handle] = query
            collection.live_queries = len(self._queries[collection])

    # -- what changed -----------------------------------------------------------------------------

    def changed(self, collection: Collection, handles: I64, arrival_us: int | None) -> None:
        """The answers of ``handles`` may have changed since they were last told."""
        for handle in handles.tolist():
            query = self._queries.get(collection, {}).get(handle)
            if query is None:
                continue
            query.is_dirty = True
            if not self._deliveries.ready(query, arrival_us):
                self._metrics.merged_pushes += 1
                collection.counts.merged += 1

    def make(
        self, streams: Sequence[LiveQuery], now_us: int
    ) -> Iterable[tuple[Stream, list[Message]]]:
        """See ``deliveries.Maker``."""
        alike: dict[tuple[Collection, Include, bool], list[LiveQuery]] = {}
        for query in streams:
            if not query.is_dirty or _is_waiting(query):
                continue
            if query.ready_us > now_us:
                self._deliveries.look_again(query, query.ready_us)
            else:
                kind = query.collection, query.include, query.is_binary
                alike.setdefault(kind, []).append(query)
        for queries in alike.values():
            yield from _pushes(queries, now_us)


def _is_waiting(query: LiveQuery) -> bool:
    """Whether nobody knows what ``query`` answers now; it is said to have changed when known."""
    assert query.handle is not None
    return query.collection.window.standing.lists.is_waiting(query.handle)


def told_bytes(k: int) -> int:
    """Bytes that ``k`` rows take which a reader was told, with ids that are numbers."""
    return _table_bytes(k) + 2 * _INTEGER_BYTES * k


def _long_bytes(ids: Sequence[int | str]) -> int:
    """Bytes of ids that are texts, beyond what every row has for its own."""
    usual_bytes = _INTEGER_BYTES + TEXT_BYTES
    return sum(size - usual_bytes for size in map(getsizeof, ids) if size > usual_bytes)


@cache
def _table_bytes(rows: int) -> int:
    """Bytes of a dict that so many rows were put into one after the other."""
    return getsizeof(dict(zip(range(rows), range(rows), strict=True)))


def _pushes(queries: list[LiveQuery], now_us: int) -> Iterable[tuple[Stream, list[Message]]]:
    """What brings readers to the present, alike in collection, include and encoding.

    Rows that enter, and reasons of leaving, are looked up once for all: thousands of pushes go out
    in one tick, of a row or two each.
    """
    window = queries[0].collection.window
    version = window.version
    handles = np.array([query.handle for query in queries], np.int64)
    counts, seqs, scores = window.standing.lists.answers(handles)
    seq_list = seqs.tolist()
    speaking: list[LiveQuery] = []
    differences: list[_Difference] = []
    end = 0
    for query, count in zip(queries, counts, strict=True):
        start, end = end, end + count
        difference = _difference(window, query, seq_list[start:end], start)
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
    hits = Hits(hits.ids, hits.seqs, scores[places], hits.metadata, hits.vectors)
    messages = _messages(speaking, differences, hits)
    ids = listed(hits.ids)
    end = 0
    for query, difference, message in zip(speaking, differences, messages, strict=True):
        start, end = end, end + len(difference.enter)
        if query.texts is not None:
            gone = _long_bytes([query.told[seq] for seq in difference.leave])
            query.texts.settle(query.texts.taken_bytes + _long_bytes(ids[start:end]) - gone)
        for seq in difference.leave:
            del query.told[seq]
        for place, id_ in zip(difference.enter, ids[start:end], strict=True):
            query.told[seq_list[place]] = id_
        if getsizeof(query.told) > _table_bytes(len(query.told)):  # it grew by rows that left
            query.told = dict(query.told.items())
        query.told_version, query.is_dirty = version, False
        query.ready_us = now_us + query.every_us
        yield query, [message]


def _difference(window: Window, query: LiveQuery, now: list[int], start: int) -> _Difference:
    """From what ``query``'s reader has to the seqs ``now``, whose places begin at ``start``."""
    told = query.told
    updated = _updated(window, query, now) if query.include.metadata else _NO_ROWS
    leave = told.keys() - now
    if updated:
        leave |= updated
    enter = [place for place, seq in enumerate(now, start) if seq not in told or seq in updated]
    return _Difference(sorted(leave), updated, enter)


def _updated(window: Window, query: LiveQuery, now: list[int]) -> set[int]:
    """Rows told of whose metadata changed since."""
    if not window.state.updated_after(query.told_version):
        return set()
    known = [seq for seq in now if seq in query.told]
    versions = window.state.update_versions(np.array(known, np.uint64))
    return {
        seq for seq, version in zip(known, versions.tolist(), strict=True)
        if version > query.told_version
    }  # fmt: skip


def _messages(
    queries: list[LiveQuery], differences: list[_Difference], enter: Hits
) -> list[Message]:
    """The push of each query; ``enter`` are the rows that enter any of them, in order."""
    window = queries[0].collection.window
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
        _reasons(queries, differences, leave_seqs, leave_ids),
        [len(one.enter) for one in differences],
        enter,
    )
    if queries[0].is_binary:
        return [binary(data) for data in encode_binary(pushes)]
    return [text(data) for data in encode_text(pushes)]


def _reasons(
    queries: list[LiveQuery],
    differences: list[_Difference],
    seqs: U64,
    ids: list[int | str],
) -> U8:
    """Why rows left: the first that holds now, in the order of PROTOCOL section 6."""
    window = queries[0].collection.window
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
    end = 0
    for query, difference in zip(queries, differences, strict=True):
        start, end = end, end + len(difference.leave)
        if query.query.filter is None and not difference.updated:
            continue
        own = np.arange(start, end)[reasons[start:end] == _REASON["displaced"]]
        if query.query.filter is not None:
            passed = evaluate(query.query.filter, window.state.columns, slots[own])
            reasons[own[~passed]] = _REASON["filtered"]
        back = [place for place in own.tolist() if int(seqs[place]) in difference.updated]
        reasons[back] = _REASON["updated"]
    return reasons


def listed(ids: Any) -> list[int | str]:
    """Ids of answers as a list."""
    found: list[int | str] = ids if isinstance(ids, list) else ids.tolist()
    return found
