"""Standing queries over one window: what each answers now, kept by matching what changed.

Two kinds. A *live* query keeps a list of rows and a floor: every row that passes its filter and
whose (score, seq) is above the floor is in the list, so its answer is the list's k best, whatever
leaves. A *match* query keeps nothing: each added row that reaches its ``min_score`` is reported.

``advance`` takes the lists from the state they saw last to the window's state now: rows that left
are taken out, new ones are matched with all queries in one matrix product against their floors
(not against the k-th score: a row below it may be needed when a better one goes). More than 4 k
entries: cut to 2 k, and the floor rises to the best one dropped. Fewer than k while something may
lie below the floor: the list is made anew by a scan, many at a time, and its query says nothing
until then. The k-skyband of the sliding-window literature would be smaller, but is not exact under
deletes, replacements and updates.

Knows the window it stands over, which owns it; nothing of subscriptions, sockets or time.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

import numpy as np

from . import score
from .filters import evaluate
from .kernels.matching import Pairs
from .kernels.scan import has_shadow
from .keys import NO_ROW, encode, offsets_of, rebased, scores_of
from .lists import Lists
from .query import Masks
from .shelves import Shelves
from .standing import NO_FILTER, StandingQuery, Table
from .types import F32, I64, U64, Bool1

if TYPE_CHECKING:
    from .window import Window

#: A list is cut when it is longer than this many k …
CUT_ABOVE: Final = 4
#: … to this many.
CUT_TO: Final = 2
#: Lists made anew in one ``advance``; the others wait for the next. Fewer over wide windows: the
#: scan for them is bounded, to about 4 ms (170 µs a query of 100,000 × 128 and k = 10, on a busy
#: machine), but for the least with which it is still worth its pass over memory.
RENEWED_AT_ONCE: Final = 256
_RENEWED_ELEMENTS: Final = 1 << 28
_LEAST_RENEWED: Final = 8
#: Rows matched in one go: bounds the copy of their vectors.
MATCHED_AT_ONCE: Final = 4096
#: Rows times queries times dimensions of one ``step``: 0.5 ms in C, 4 in numpy. A tile's rows at
#: least.
_STEP_ELEMENTS: Final = 1 << 27
_LEAST_MATCHED: Final = 64
#: Entries of lists that one step looks through for rows that left, and lists that it cuts, or takes
#: answers from: 1 ms of each.
_STEP_ENTRIES: Final = 1 << 15
_STEP_LISTS: Final = 512
#: The base of keys moves up before offsets reach 2**32.
REBASE_ABOVE: Final = 2**31


class Advance(NamedTuple):
    """What one ``advance`` found.

    ``changed`` int64: handles of live queries whose answer may show a change. ``matched`` int64,
    ``seqs`` uint64, ``scores`` float32 (m,): match queries, and the rows that reached them, by seq.
    """

    changed: I64
    matched: I64
    seqs: U64
    scores: F32


_NONE: Final = np.empty(0, np.int64)
_NO_SEQS: Final = np.empty(0, np.uint64)
#: Hits of match queries: handles, seqs, scores.
_Hits: TypeAlias = tuple[I64, U64, F32]
_NO_HITS: Final[_Hits] = (_NONE, _NO_SEQS, np.empty(0, np.float32))


class _Round:
    """An ``advance`` that has begun: what is still to be done of it, and what was found.

    In this order: ``drops``, lists and those of their rows that are looked through for who left;
    ``new`` and ``updated``, slots int64 of rows that are matched; ``to_cut`` and ``to_publish``,
    handles int64 of queries (None before all else is done). ``is_gone`` and ``is_updated`` mark
    rows by their offset from ``first_offset``; ``touched`` bool by handle; ``holds_updated`` are
    handles whose list held an updated row, and ``changed`` those that had another answer.
    """

    def __init__(self, handles: int, first_offset: int) -> None:
        self.first_offset = first_offset
        self.is_gone: Bool1 | None = None
        self.is_updated: Bool1 | None = None
        self.drops: list[tuple[Lists, I64, I64]] = []
        self.new = self.updated = _NONE
        self.to_cut: I64 | None = None
        self.to_publish: I64 | None = None
        self.is_through = False
        self.touched: Bool1 = np.zeros(handles, np.bool_)
        self.matched: list[_Hits] = []
        self.holds_updated: list[I64] = []
        self.changed: list[I64] = []


class Standing:
    """All standing queries of one window. ``renewed`` counts the lists made anew (rescans)."""

    def __init__(self, window: Window) -> None:
        #: Not a reference of its own, which would keep every array of a window that nobody has any
        #: more until Python looks for cycles: gigabytes, at some time.
        self._owner = weakref.ref(window)
        definition = window.definition
        shadowed = has_shadow(window.scan, definition)
        self.table = Table(definition.dim, definition.metric if shadowed else None)
        self._shelves = Shelves(self.table)
        self._base = 0
        #: Rows up to here were matched, or left before.
        self.seen_seq = 0
        self._seen_version = 0
        self._waiting: set[int] = set()
        self._listed: Bool1 = np.zeros(0, np.bool_)
        self._gone: list[U64] = []
        self._updated: list[U64] = []
        self._round: _Round | None = None
        self.renewed = 0

    def __len__(self) -> int:
        return len(self.table)

    @property
    def _window(self) -> Window:
        window = self._owner()
        assert window is not None, "standing queries outlived their window"
        return window

    @property
    def behind(self) -> bool:
        """Whether ``advance`` has something to do."""
        return bool(self._waiting) or self.is_outdated

    @property
    def is_under_way(self) -> bool:
        """Whether an ``advance`` has begun and is not through."""
        return self._round is not None

    @property
    def is_outdated(self) -> bool:
        """Whether the window changed since the last ``advance``, or one is under way."""
        is_behind = self._seen_version != self._window.version
        return len(self.table) > 0 and (is_behind or self._round is not None)

    def is_waiting(self, handle: int) -> bool:
        """Whether a live query's list waits to be made anew: its answer is an old one.

        The ``advance`` that makes it says that the query changed.
        """
        return handle in self._waiting

    @property
    def nbytes(self) -> int:
        """Bytes of all lists and of the table."""
        return self._shelves.nbytes + self.table.nbytes

    def bytes_for(self, k: int | None) -> int:
        """Bytes that one standing query takes.

        The arrays grow by doubling, so ``nbytes`` is up to twice the sum; they go with the last
        query of their size.
        """
        return self.table.row_bytes + (Shelves.bytes_for(k) if k else 0)

    # -- queries come, move and go ------------------------------------------------------------

    def add(self, queries: Sequence[StandingQuery], vectors: F32) -> I64:
        """Take in queries with their prepared ``vectors`` float32 (n, dim); handles int64 (n,).

        Live ones have an answer at once. The lists must have caught up (``advance``).
        """
        self._start_if_first()
        handles = self.table.take(queries)
        try:
            self._begin(handles, vectors)
        except Exception:
            self.remove(handles.tolist())
            raise
        return handles

    def _begin(self, handles: I64, vectors: F32) -> None:
        self.table.set_vectors(handles, vectors)
        table = self.table
        self._shelves.give(handles[table.k[handles] > 0])
        matching = handles[table.k[handles] == 0]
        table.raise_floors(matching, table.bases[matching])
        self._renew_now(handles[table.k[handles] > 0])

    def remove(self, handles: Sequence[int]) -> None:
        """Forget queries."""
        self._shelves.take_back(np.array(handles, np.int64))
        self._waiting.difference_update(handles)
        self.table.give_back(handles)
        if not len(self.table):
            self._round = None

    def move(self, handles: I64, vectors: F32) -> None:
        """Point live queries at other prepared vectors; they have their new answers at once.

        After a fault they stay where they were, and wait for the next ``advance``.
        """
        before = self.table.vectors[handles]
        try:
            self.table.set_vectors(handles, vectors)
            self._renew_now(handles)
        except Exception:
            self.table.set_vectors(handles, before)
            self._wait(handles)
            raise

    def answer(self, handle: int) -> tuple[U64, F32]:
        """Seqs uint64 (n,) and scores float32 (n,) of a live query's answer, best first."""
        _, seqs, scores = self.answers(np.array([handle]))
        return seqs, scores

    def answers(self, handles: I64) -> tuple[list[int], U64, F32]:
        """Answers of several live queries: the length of each; their seqs and scores, flat."""
        counts, keys = self._shelves.answers(handles)
        seqs = offsets_of(keys) + np.uint64(self._base)
        return counts.tolist(), seqs, scores_of(keys)

    def counts(self, handles: I64) -> I64:
        """How many rows each live query answers."""
        return self._shelves.answer_counts(handles)

    # -- the window says what happens ---------------------------------------------------------

    def note_gone(self, slots: I64) -> None:
        """Rows in ``slots`` leave, by deletion or replacement; the ring knows their seqs still."""
        if len(self._listed):
            listed = slots[self._listed[slots]]
            if len(listed):
                self._gone.append(self._window.ring.seqs(listed))

    def note_updated(self, seqs: U64) -> None:
        """The metadata of rows changed."""
        if len(self.table):
            self._updated.append(seqs)

    # -- advance ------------------------------------------------------------------------------

    def advance(self) -> Advance:
        """Bring every list to the window's state now, and return what changed."""
        while True:
            found = self.step()
            if found is not None:
                return found

    def step(self) -> Advance | None:
        """A part of ``advance``; None: it goes on with the next, and until it is through the window
        must not change, no query begin or move, and no answer of a list be told.

        Queries may end in between. After a fault nobody knows what the lists hold.
        """
        round_ = self._round or self._begin_round()
        if round_ is None:
            return Advance(_NONE, *_NO_HITS)
        self._round = round_
        left = 1.0
        while left > 0 and not round_.is_through:
            left -= self._do_piece(round_)
        if not round_.is_through:
            return None
        self._round = None
        self._rebase_if_due()
        self._has_seen_all()
        changed = np.unique(np.concatenate(round_.changed)) if round_.changed else _NONE
        return Advance(changed, *_together(round_.matched))

    def _begin_round(self) -> _Round | None:
        """What is to be done. None without queries: they need nothing."""
        window = self._window
        updated, gone = _joined(self._updated), _joined(self._gone)
        self._updated.clear()
        self._gone.clear()
        if not len(self.table):
            self._has_seen_all()
            return None
        first_new = self.seen_seq + 1
        round_ = _Round(self.table.used, window.first_seq - self._base)
        round_.is_gone = self._by_offset(gone, round_.first_offset)
        round_.is_updated = self._by_offset(updated, round_.first_offset)
        for lists, owners in self._shelves:
            if round_.is_gone is None and round_.is_updated is None:
                rows = np.flatnonzero(lists.oldest < round_.first_offset)
            else:
                rows = np.arange(len(lists.counts))
            round_.drops.append((lists, owners, rows))
        round_.new = window.ring.live_slots(first_new, window.last_seq)
        self._listed[round_.new] = False
        if len(updated):
            # Rows that came since the last advance are matched as they are now.
            round_.updated = self._candidates(updated[updated < first_new])
        return round_

    def _do_piece(self, round_: _Round) -> float:
        """Do some of what is next; how much that was of what a step does."""
        if round_.drops:
            return self._drop_some(round_)
        if len(round_.new):
            count = self._rows_of_step()
            some, round_.new = round_.new[:count], round_.new[count:]
            round_.matched.append(self._match(some, self.table.reach, round_.touched))
            return len(some) / count
        if len(round_.updated):
            count = self._rows_of_step()
            some, round_.updated = round_.updated[:count], round_.updated[count:]
            reach = np.where(self._takes_updated(), self.table.reach, np.float32(np.inf))
            self._match(some, reach, round_.touched)
            return len(some) / count
        if round_.to_cut is None:
            round_.to_cut = np.flatnonzero(round_.touched)
        if len(round_.to_cut):
            some, round_.to_cut = round_.to_cut[:_STEP_LISTS], round_.to_cut[_STEP_LISTS:]
            self._cut_and_find_short(some)
            return len(some) / _STEP_LISTS
        if round_.to_publish is None:
            return self._begin_to_publish(round_)
        some, round_.to_publish = round_.to_publish[:_STEP_LISTS], round_.to_publish[_STEP_LISTS:]
        round_.changed.append(self._shelves.publish(some))
        round_.is_through = not len(round_.to_publish)
        return len(some) / _STEP_LISTS

    def _rows_of_step(self) -> int:
        """How many rows are matched in one step, at most."""
        elements: int = self.table.vectors[: self.table.used].size
        return min(max(_LEAST_MATCHED, _STEP_ELEMENTS // max(1, elements)), MATCHED_AT_ONCE)

    def _begin_to_publish(self, round_: _Round) -> float:
        """Make lists anew; note whose answers are to be taken, and who shows a change whatever
        they are: what happened to ``renewed`` ones while they waited was not looked at."""
        table, touched = self.table, round_.touched
        renewed = self._renew(touched)
        touched[list(self._waiting)] = False
        round_.to_publish = np.flatnonzero(touched)
        shown = np.concatenate([_NONE, *round_.holds_updated])
        shown = np.concatenate([renewed, shown[table.wants_metadata[shown]]])
        round_.changed.append(shown[~np.isin(shown, list(self._waiting))])
        round_.is_through = not len(round_.to_publish)
        return float(len(renewed) > 0)

    def _has_seen_all(self) -> None:
        self.seen_seq, self._seen_version = self._window.last_seq, self._window.version

    def _drop_some(self, round_: _Round) -> float:
        """Take rows below the window, gone ones, and, where there is a filter, updated ones, out of
        some lists. An update is a leave, and a candidate with its old seq."""
        lists, list_owners, rows = round_.drops.pop()
        count = max(1, _STEP_ENTRIES // lists.width)
        if len(rows) > count:
            round_.drops.append((lists, list_owners, rows[count:]))
            rows = rows[:count]
        looked_at = len(rows) / count
        first_offset = round_.first_offset
        hit = lists.oldest[rows] < first_offset
        if round_.is_gone is not None:
            hit |= lists.holding(rows, round_.is_gone, first_offset)
        if round_.is_updated is not None:
            holds = lists.holding(rows, round_.is_updated, first_offset)
            round_.holds_updated.append(list_owners[rows[holds]])
            hit |= holds
        rows = rows[hit]
        if len(rows):
            owners = list_owners[rows]
            lists.drop(rows, self._dead(round_, lists, rows, owners))
            round_.touched[owners] = True
        return looked_at

    def _dead(self, round_: _Round, lists: Lists, rows: I64, owners: I64) -> Bool1:
        """Which entries of lists are to be taken out."""
        first_offset = round_.first_offset
        offsets = offsets_of(lists.keys[rows])
        places = np.minimum(
            offsets - np.uint64(first_offset), self._window.definition.capacity
        ).view(np.int64)
        dead: Bool1 = offsets < first_offset
        if round_.is_gone is not None:
            dead |= round_.is_gone[places]
        if round_.is_updated is not None:
            has_filter = self.table.filters[owners] != NO_FILTER
            dead |= round_.is_updated[places] & has_filter[:, None]
        return dead

    def _by_offset(self, seqs: U64, first_offset: int) -> Bool1 | None:
        """Marks by offset from the window's first seq, as ``Lists.holding`` takes them."""
        if not len(seqs):
            return None
        offsets = seqs - np.uint64(self._base)
        offsets = offsets[offsets >= first_offset]
        if not len(offsets):
            return None
        marks = np.zeros(self._window.definition.capacity + 1, np.bool_)
        marks[(offsets - np.uint64(first_offset)).view(np.int64)] = True
        return marks

    def _match(self, slots: I64, reach: F32, touched: Bool1) -> _Hits:
        """Match live rows with the queries that ``reach`` lets take some; match queries' hits."""
        ring, table, used = self._window.ring, self.table, self.table.used
        found = self._window.scan.pairs_above(
            self._window.definition.metric,
            ring.vectors[slots],
            ring.norms[slots],
            table.subscribed,
            reach[:used],
            table.most[:used],
        )
        if len(found.crowded):
            self._wait(found.crowded)
        if not len(found.rows):
            return _NO_HITS
        handles, rows, scores = self._filtered(found, slots)
        seqs = ring.seqs(rows)
        keys = encode(scores, seqs - np.uint64(self._base))
        live = (table.k[handles] > 0) & (keys > table.floors[handles])
        touched[handles[live]] = True
        self._wait(self._shelves.insert(handles[live], keys[live]))
        self._listed[rows[live]] = True
        matching = table.k[handles] == 0
        return handles[matching], seqs[matching], scores[matching]

    def _filtered(self, found: Pairs, slots: I64) -> tuple[I64, I64, F32]:
        """Those pairs whose row passes its query's filter: handles, slots, scores."""
        handles, scores = found.queries, found.scores
        rows = slots[found.rows]
        numbers = self.table.filters[handles]
        passed = numbers == NO_FILTER
        for number in np.unique(numbers[~passed]).tolist():
            filter_ = self.table.distinct_filters.by_number[number]
            of_this = np.flatnonzero(numbers == number)
            passed[of_this] = evaluate(filter_, self._window.columns, rows[of_this])
        return handles[passed], rows[passed], scores[passed]

    def _takes_updated(self) -> Bool1:
        """Which queries an updated row may enter: live ones with a filter."""
        takes: Bool1 = (self.table.filters != NO_FILTER) & (self.table.k > 0)
        return takes

    def _candidates(self, seqs: U64) -> I64:
        """Slots of those updated rows that are there still, if any query may take one."""
        if not self._takes_updated().any():
            return _NONE
        slots = self._window.ring.slots(np.unique(seqs[seqs >= self._window.first_seq]))
        return slots[self._window.ring.is_live(slots)]

    def _cut_and_find_short(self, handles: I64) -> None:
        table = self.table
        for lists, owners in self._shelves.of(handles):
            k, counts = table.k[owners], lists.counts[table.places[owners]]
            long = owners[counts > CUT_ABOVE * k]
            if len(long):
                floors = lists.cut(table.places[long], CUT_TO * table.k[long])
                open_still = ~np.isin(long, list(self._waiting))
                table.raise_floors(long[open_still], floors[open_still])
            self._wait(owners[(counts < k) & (table.floors[owners] > table.bases[owners])])

    # -- lists made anew ----------------------------------------------------------------------

    def _wait(self, handles: I64) -> None:
        """These lists are incomplete: nothing goes in, nothing is said, until they are renewed."""
        self._waiting.update(handles.tolist())
        self.table.reach[handles] = np.inf

    def _renew(self, touched: Bool1) -> I64:
        if not self._waiting:
            return _NONE
        elements = max(1, self._window.rows) * self._window.definition.dim
        most = min(RENEWED_AT_ONCE, max(_LEAST_RENEWED, _RENEWED_ELEMENTS // elements))
        handles = np.array(sorted(self._waiting)[:most], np.int64)
        self._make_lists(handles)
        touched[handles] = True
        return handles

    def renew(self, handles: I64) -> None:
        """Make the lists of live queries anew, now. The others must have caught up."""
        self._renew_now(handles)

    def waiting_of(self, handles: I64) -> I64:
        """Those of ``handles`` whose list waits to be made anew."""
        if not self._waiting:
            return _NONE
        return handles[np.isin(handles, list(self._waiting))]

    def _renew_now(self, handles: I64) -> None:
        for start in range(0, len(handles), RENEWED_AT_ONCE):
            chunk = handles[start : start + RENEWED_AT_ONCE]
            self._make_lists(chunk)
            self._shelves.publish(chunk)

    def _make_lists(self, handles: I64) -> None:
        """Scan for the best 2 k + 1 rows: 2 k make the list, the last one is its floor."""
        table, window = self.table, self._window
        masks = Masks(window)
        filters = [table.distinct_filters.by_number.get(n) for n in table.filters[handles].tolist()]
        mask_of = np.array([masks.number(filter_, None) for filter_ in filters], np.int64)
        most = CUT_TO * table.k[handles]
        top = window.scan.top_k(
            window.ring,
            window.definition.metric,
            table.vectors[handles],
            most + 1,
            scores_of(table.bases[handles]),
            np.stack(masks.words),
            mask_of,
        )
        keys = encode(top.scores, window.ring.seqs(top.slots) - np.uint64(self._base))
        self._listed[top.slots] = True
        counts = top.counts.astype(np.int64)
        is_over = counts > most
        last = np.cumsum(counts) - 1
        floors = table.bases[handles]
        floors[is_over] = keys[last[is_over]]
        is_kept = np.ones(len(keys), np.bool_)
        is_kept[last[is_over]] = False
        self._shelves.replace(handles, keys[is_kept], counts - is_over)
        table.raise_floors(handles, floors)
        self._waiting.difference_update(handles.tolist())
        self.renewed += len(handles)

    # -- bookkeeping --------------------------------------------------------------------------

    def _start_if_first(self) -> None:
        if not len(self.table):
            self._has_seen_all()
            self._gone.clear()
            self._updated.clear()
            self._listed = np.zeros(self._window.definition.capacity, np.bool_)
        assert not self.is_outdated, "queries came before advance"

    def _rebase_if_due(self) -> None:
        if self._window.last_seq - self._base <= REBASE_ABOVE:
            return
        by = self._window.first_seq - 1 - self._base
        self._base += by
        self.table.floors = rebased(self.table.floors, by)
        self._shelves.rebase(by)

    def check(self) -> None:
        """Raise AssertionError unless every list is all rows above its floor, and 4 k at most."""
        assert not self.behind or self._waiting, "advance has not been called"
        table, window = self.table, self._window
        slots = window.ring.live_slots(window.first_seq, window.last_seq)
        offsets = window.ring.seqs(slots) - np.uint64(self._base)
        for lists, handles in self._shelves.of(np.arange(table.used)):
            lists.check()
            for handle in handles.tolist():
                if handle in self._waiting:
                    continue
                asked = np.broadcast_to(table.vectors[handle], (len(slots), window.definition.dim))
                scores = score.score_pairs(
                    window.definition.metric, window.ring.vectors[slots], asked
                )
                keys = encode(scores, offsets)
                above = keys > table.floors[handle]
                filter_ = table.distinct_filters.by_number.get(int(table.filters[handle]))
                if filter_ is not None:
                    above &= evaluate(filter_, window.columns, slots)
                kept = lists.keys[int(table.places[handle])]
                kept = kept[kept != NO_ROW]
                assert np.array_equal(np.sort(keys[above]), kept), "a list is not what is above"
                assert len(kept) <= CUT_ABOVE * table.k[handle], "a list is too long"


def _joined(parts: list[U64]) -> U64:
    return np.concatenate(parts) if parts else _NO_SEQS


def _together(parts: list[_Hits]) -> _Hits:
    if len(parts) < 2:
        return parts[0] if parts else _NO_HITS
    handles, seqs, scores = zip(*parts, strict=True)
    return np.concatenate(handles), np.concatenate(seqs), np.concatenate(scores)
