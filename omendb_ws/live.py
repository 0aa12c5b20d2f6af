"""Live queries: what their readers were last told, and what brings them to what is true now.

Lives on the engine's thread. The window's ``standing`` says whose answer may have changed; a push
is made when the reader can take it, as the difference between what it was last sent and the answer
of that moment. So a slow reader costs the rows it was last told, never a queue; and whatever was
merged, the law holds at every push: what was sent, applied in order, is what search returns at that
version (PROTOCOL section 6).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from omendb_core.filters import Filter, evaluate
from omendb_core.query import prepare_queries
from omendb_core.standing import StandingQuery
from omendb_core.types import F32, I64, Hits, Include

from .deliveries import Deliveries, Maker, Reader, Stream
from .metrics import Metrics
from .outbox import Message, binary, text
from .rows import part_of
from .wire.live import encode_binary, encode_text
from .wire.messages import Live, Results
from .wire.opcodes import LEAVE_REASONS
from .work import Lane

if TYPE_CHECKING:
    from omendb_core.window import Window

    from .catalog import Collection

_REASON = {name: number for number, name in enumerate(LEAVE_REASONS)}


class LiveQuery(Stream):
    """One reader's standing query. Only ``LiveQueries`` changes it.

    ``handle`` is the window's, None before the reply and after the end. ``told``: seq -> id of the
    rows its reader has now, at version ``told_version``. ``every_us``: least time between pushes.
    """

    __slots__ = ("every_us", "handle", "include", "is_dirty", "query", "ready_us", "told",
                 "told_version")  # fmt: skip

    def __init__(
        self,
        maker: Maker,
        lane: Lane,
        collection: Collection,
        sub: int,
        is_binary: bool,
        reader: Reader,
        usual_bytes: int,
        query: StandingQuery,
        include: Include,
        every_us: int,
    ) -> None:
        super().__init__(maker, lane, collection, sub, is_binary, reader, usual_bytes)
        self.query = query
        self.include = include
        self.every_us = every_us
        self.handle: int | None = None
        self.told: dict[int, int | str] = {}
        self.told_version = 0
        self.is_dirty = False
        self.ready_us = 0


class _Difference(NamedTuple):
    """What a push says: rows that leave (seq, id, reason), and places of rows that enter."""

    leave: list[tuple[int, int | str, int]]
    enter: list[int]


class LiveQueries:
    """All live queries of the server."""

    def __init__(self, metrics: Metrics, deliveries: Deliveries) -> None:
        self._metrics = metrics
        self._deliveries = deliveries

    # -- queries come, move and go ----------------------------------------------------------------

    def start(self, queries: Sequence[LiveQuery], vectors: F32) -> Results:
        """Begin to deliver queries of one collection; their snapshots. OmenError: none began.

        The window's standing queries must have caught up.
        """
        collection = queries[0].collection
        window = collection.window
        prepared = prepare_queries(window, vectors)
        handles = window.standing.add([query.query for query in queries], prepared)
        for query, handle in zip(queries, handles.tolist(), strict=True):
            query.handle = handle
            query.is_active = True
            collection.live[handle] = query
        return self._snapshots(collection, queries)

    def move(self, query: LiveQuery, vectors: F32) -> Results:
        """Point a query at another vector; its new snapshot. OmenError: it stays where it was."""
        window = query.collection.window
        window.standing.move(np.array([query.handle], np.int64), prepare_queries(window, vectors))
        return self._snapshots(query.collection, [query])

    def stop(self, query: LiveQuery) -> None:
        """End a query."""
        self._deliveries.stop(query)
        if query.handle is not None:
            del query.collection.live[query.handle]
            query.collection.window.standing.remove([query.handle])
            query.handle = None

    def _snapshots(self, collection: Collection, queries: Sequence[LiveQuery]) -> Results:
        """What the queries answer now, which their readers are told by a reply."""
        version = collection.window.version
        counts, hits = _answers(collection.window, queries)
        ids, seqs = _listed(hits.ids), hits.seqs.tolist()
        end = 0
        for query, count in zip(queries, counts, strict=True):
            start, end = end, end + count
            query.told = dict(zip(seqs[start:end], ids[start:end], strict=True))
            query.told_version = version
            query.is_dirty = False
        return Results(version, np.array(counts, np.uint32), hits)

    # -- what changed -----------------------------------------------------------------------------

    def changed(self, collection: Collection, handles: I64, arrival_us: int | None) -> None:
        """The answers of ``handles`` may have changed since they were last told."""
        for handle in handles.tolist():
            query = collection.live.get(handle)
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
        alike: dict[tuple[Collection, Include], list[LiveQuery]] = {}
        for query in streams:
            if not query.is_dirty:
                continue
            if query.ready_us > now_us:
                self._deliveries.look_again(query, query.ready_us)
            else:
                alike.setdefault((query.collection, query.include), []).append(query)
        for queries in alike.values():
            yield from _pushes(queries, now_us)


def _pushes(queries: list[LiveQuery], now_us: int) -> Iterable[tuple[Stream, list[Message]]]:
    """What brings the readers of ``queries``, alike in collection and include, to the present.

    What enters any of them is gathered once for all.
    """
    window = queries[0].collection.window
    handles = np.array([query.handle for query in queries], np.int64)
    counts, seqs, scores = window.standing.answers(handles)
    seq_list = seqs.tolist()
    differences: list[_Difference] = []
    end = 0
    for query, count in zip(queries, counts, strict=True):
        start, end = end, end + count
        differences.append(_difference(window, query, seq_list[start:end], start))
    places = np.array([place for one in differences for place in one.enter], np.int64)
    hits = window.hits(window.ring.slots(seqs[places]), queries[0].include)
    hits = Hits(hits.ids, hits.seqs, scores[places], hits.metadata, hits.vectors)
    ids = _listed(hits.ids)
    end = 0
    for query, difference in zip(queries, differences, strict=True):
        start, end = end, end + len(difference.enter)
        entered = zip((seq_list[place] for place in difference.enter), ids[start:end], strict=True)
        _tell(query, difference, dict(entered), window.version)
        if difference.leave or difference.enter:
            query.ready_us = now_us + query.every_us
            yield query, [_message(query, window.version, difference, part_of(hits, start, end))]
        else:
            query.behind_since_us = None


def _tell(
    query: LiveQuery, difference: _Difference, entered: dict[int, int | str], version: int
) -> None:
    """Note what the reader of ``query`` has now."""
    for seq, _, _ in difference.leave:
        del query.told[seq]
    query.told.update(entered)
    query.told_version = version
    query.is_dirty = False


def _answers(window: Window, queries: Sequence[LiveQuery]) -> tuple[list[int], Hits]:
    """How many rows each of ``queries`` answers, and the rows; they share ``include``."""
    handles = np.array([query.handle for query in queries], np.int64)
    counts, seqs, scores = window.standing.answers(handles)
    hits = window.hits(window.ring.slots(seqs), queries[0].include)
    return counts, Hits(hits.ids, seqs, scores, hits.metadata, hits.vectors)


def _difference(window: Window, query: LiveQuery, now: list[int], start: int) -> _Difference:
    """From what ``query``'s reader has to the seqs ``now``, whose places begin at ``start``."""
    told = query.told
    updated = _updated(window, query, now)
    enter = [start + place for place, seq in enumerate(now) if seq not in told or seq in updated]
    there = set(now)
    leave = [
        (seq, id_, _reason(window, query.query.filter, seq, id_))
        for seq, id_ in told.items()
        if seq not in there
    ]
    leave += [(seq, told[seq], _REASON["updated"]) for seq in updated]
    return _Difference(leave, enter)


def _updated(window: Window, query: LiveQuery, now: list[int]) -> set[int]:
    """Rows told of whose metadata changed since, where metadata is told."""
    if not query.include.metadata or not window.updated_after(query.told_version):
        return set()
    known = [seq for seq in now if seq in query.told]
    versions = window.update_versions(np.array(known, np.uint64))
    return {
        seq for seq, version in zip(known, versions.tolist(), strict=True)
        if version > query.told_version
    }  # fmt: skip


def _reason(window: Window, filter_: Filter | None, seq: int, id_: int | str) -> int:
    """Why a row left an answer: the first that holds now, in the order of PROTOCOL section 6."""
    if seq <= window.last_seq - window.definition.capacity:
        return _REASON["evicted"]
    if seq < window.first_seq:
        return _REASON["expired"]
    slots = window.ring.slots(np.array([seq], np.uint64))
    if not window.ring.is_live(slots)[0]:
        ids = [id_] if isinstance(id_, str) else np.array([id_], np.uint64)
        gone = window.ids.find(ids)[0] < 0
        return _REASON["deleted"] if gone else _REASON["replaced"]
    if filter_ is not None and not evaluate(filter_, window.columns, slots)[0]:
        return _REASON["filtered"]
    return _REASON["displaced"]


def _message(query: LiveQuery, version: int, difference: _Difference, enter: Hits) -> Message:
    live = Live(
        sub=query.sub,
        version=version,
        leave_ids=[id_ for _, id_, _ in difference.leave],
        leave_seqs=np.array([seq for seq, _, _ in difference.leave], np.uint64),
        leave_reasons=np.array([reason for _, _, reason in difference.leave], np.uint8),
        enter=enter,
    )
    return binary(encode_binary(live)) if query.is_binary else text(encode_text(live))


def _listed(ids: Any) -> list[int | str]:
    found: list[int | str] = ids if isinstance(ids, list) else ids.tolist()
    return found
