"""Standing queries over one window: what each answers now, kept by matching what changed.

Two kinds. A *live* query keeps a list of rows and a floor (``live_lists``): every row that passes
its filter and whose (score, seq) is above the floor is in the list, so its answer is the list's k
best, whatever leaves. A *match* query keeps nothing: each added row that reaches its ``min_score``
is reported.

``advance`` takes the lists from the state they saw last to the window's state now: rows that left
are taken out, new ones are matched with all queries in one matrix product against their floors
(not against the k-th score: a row below it may be needed when a better one goes).

Knows the window's state; nothing of subscriptions, sockets or time.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Final

import numpy as np

from ..model.budget import UNLIMITED, Share
from ..model.types import F32, I64, U64, Bool1, Ids
from ..ranking.shape import PLAIN, Shape
from ..state import WindowState
from .exclusions import Exclusions
from .lists import Lists
from .live_lists import LiveLists
from .matching import Matching
from .round import NO_HITS, NONE, Advance, Matched, Round, joined, together
from .shapes import Shapes
from .table import NO_FILTER, StandingQuery, Table

#: Entries of lists that one step looks through for rows that left, and lists that it cuts, or takes
#: answers from: 1 ms of each.
_STEP_ENTRIES: Final = 1 << 15
_STEP_LISTS: Final = 512


class Matcher:
    """All standing queries of one window. ``renewed`` counts the lists made anew (rescans)."""

    def __init__(self, state: WindowState, deeper: Share | None = None) -> None:
        self._state = state
        definition = state.definition
        shadowed = state.ring.shadow is not None
        self.table = Table(definition.dim, definition.metric if shadowed else None)
        deeper = deeper or Share(UNLIMITED, "")
        self.lists = LiveLists(state, self.table, deeper)
        self._matching = Matching(state, self.table, self.lists)
        #: Rows up to here were matched, or left before.
        self.seen_seq = 0
        self._seen_version = 0
        self._gone: list[U64] = []
        self._updated: list[U64] = []
        self._round: Round | None = None

    def __len__(self) -> int:
        return len(self.table)

    @property
    def behind(self) -> bool:
        """Whether ``advance`` has something to do."""
        return self.lists.has_some_to_make or self.is_outdated

    @property
    def is_outdated(self) -> bool:
        """Whether the window changed since the last ``advance``, or one is under way."""
        is_behind = self._seen_version != self._state.version
        return len(self.table) > 0 and (is_behind or self._round is not None)

    @property
    def nbytes(self) -> int:
        """Bytes of all lists and of the table."""
        return self.lists.nbytes + self.table.nbytes

    def bytes_for(self, k: int | None, shape: Shape = PLAIN, exclude: Ids | None = None) -> int:
        """Bytes that one standing query takes, its filter not counted.

        The arrays grow by doubling, so ``nbytes`` is up to twice the sum; they go with the last
        query of their size. What lists take that have to become deeper is charged as they do.
        """
        own_bytes = self.table.row_bytes + Shapes.bytes_for(shape) + Exclusions.bytes_for(exclude)
        return own_bytes + (LiveLists.bytes_for(k, shape) if k else 0)

    # -- queries come, move and go ------------------------------------------------------------

    def add(self, queries: Sequence[StandingQuery], vectors: F32) -> I64:
        """Take in queries with their prepared ``vectors`` float32 (n, dim); handles int64 (n,).

        Live ones have an answer at once. The lists must have caught up (``advance``).
        """
        adding = self.add_in_pieces(queries, vectors)
        while True:
            try:
                next(adding)
            except StopIteration as end:
                handles: I64 = end.value
                return handles

    def add_in_pieces(
        self, queries: Sequence[StandingQuery], vectors: F32
    ) -> Generator[None, None, I64]:
        """The same in pieces, between which the window must not change. Where it does not come to
        its end none of the queries is there.
        """
        if not len(self.table):
            self._begin_following()
        assert not self.is_outdated, "queries came before advance"
        table, is_there = self.table, False
        handles = table.take(queries)
        try:
            table.set_vectors(handles, vectors)
            is_live = table.k[handles] > 0
            matching = handles[~is_live]
            table.raise_floors(matching, table.bases[matching])
            yield from self.lists.begin(handles[is_live])
            is_there = True
        finally:
            if not is_there:
                self.remove(handles.tolist())
        return handles

    def add_deaf(self, queries: Sequence[StandingQuery], vectors: F32) -> I64:
        """Take in match queries that no row reaches before ``listen``; as ``add``."""
        if not len(self.table):
            self._begin_following()
        assert not self.is_outdated, "queries came before advance"
        handles = self.table.take(queries)
        try:
            self.table.set_vectors(handles, vectors)
        except BaseException:
            self.remove(handles.tolist())
            raise
        return handles

    def listen(self, handles: I64) -> None:
        """Match queries of ``add_deaf`` take the rows that come from now on."""
        assert not self.is_outdated, "queries listen before advance"
        self.table.raise_floors(handles, self.table.bases[handles])

    def remove(self, handles: Sequence[int]) -> None:
        """Forget queries."""
        self.lists.remove(np.array(handles, np.int64))
        self.table.give_back(handles)
        if not len(self.table):
            self._round = None
            self._matching.clear()

    def move(
        self, handles: I64, vectors: F32, queries: Sequence[StandingQuery] | None = None
    ) -> None:
        """Point live queries at other prepared ``vectors`` float32 (n, dim), and have them ask
        ``queries`` (None: what they did) but for ``k``; they have their new answers at once.

        After a fault they ask what they did, and wait for the next ``advance``.
        """
        for _ in self.move_in_pieces(handles, vectors, queries):
            pass

    def move_in_pieces(
        self, handles: I64, vectors: F32, queries: Sequence[StandingQuery] | None = None
    ) -> Generator[None, None, None]:
        """The same in pieces, between which the window must not change, and the lists wait. Whoever
        finds that one of these queries has ended closes it, and does not go on.
        """
        table = self.table
        before, asked = table.vectors[handles], table.asked(handles)
        try:
            table.set_vectors(handles, vectors)
            if queries is not None:
                table.ask(handles, queries)
            self.lists.begin_again(handles)
            self.lists.wait(handles)
            yield from self.lists.renew_in_pieces(handles)
        except Exception:
            table.set_vectors(handles, before)
            table.ask(handles, asked)
            self.lists.wait(handles)
            raise

    # -- the window says what happens ---------------------------------------------------------

    def note_gone(self, slots: I64) -> None:
        """Rows in ``slots`` leave, by deletion or replacement; the ring knows their seqs still."""
        listed = self.lists.listed(slots)
        if len(listed):
            self._gone.append(self._state.ring.seqs(listed))

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
            return Advance(NONE, *NO_HITS)
        self._round = round_
        left = 1.0
        while left > 0 and not round_.is_through:
            left -= self._do_piece(round_)
        if not round_.is_through:
            return None
        self._round = None
        self.lists.rebase_if_due()
        self._has_seen_all()
        changed = np.unique(np.concatenate(round_.changed)) if round_.changed else NONE
        return Advance(changed, *together(round_.matched))

    def _begin_round(self) -> Round | None:
        """What is to be done. None without queries: they need nothing."""
        state = self._state
        updated, gone = joined(self._updated), joined(self._gone)
        self._updated.clear()
        self._gone.clear()
        if not len(self.table):
            self._has_seen_all()
            return None
        if self._seen_version != state.version:
            self.lists.search_again()
        first_new = self.seen_seq + 1
        round_ = Round(self.table.used, state.first_seq - self.lists.base)
        round_.is_gone = self._by_offset(gone, round_.first_offset)
        round_.is_updated = self._by_offset(updated, round_.first_offset)
        for lists, owners in self.lists:
            if round_.is_gone is None and round_.is_updated is None:
                rows = np.flatnonzero(lists.oldest < round_.first_offset)
            else:
                rows = np.arange(len(lists.counts))
            round_.drops.append((lists, owners, rows))
        round_.new = state.ring.live_slots(first_new, state.last_seq)
        self.lists.note_new(round_.new)
        if len(updated):
            self.lists.note_updated()
            # Rows that came since the last advance are matched as they are now.
            round_.updated = self._candidates(updated[updated < first_new])
        return round_

    def _do_piece(self, round_: Round) -> float:
        """Do some of what is next; how much that was of what a step does."""
        if round_.drops:
            return self._drop_some(round_)
        if round_.matching is not None:
            return self._match_some(round_, round_.matching)
        if self._matching.is_full:
            return self._matching.enter()
        if len(round_.new):
            round_.matching = self._matching.match(round_.new, round_.touched)
            return 0.0
        if len(round_.updated):
            takes = self._takes_updated()
            round_.matching = self._matching.match(round_.updated, round_.touched, takes)
            return 0.0
        if not self._matching.is_empty:
            return self._matching.enter()
        if round_.to_cut is None:
            round_.to_cut = np.flatnonzero(round_.touched)
        if len(round_.to_cut):
            some, round_.to_cut = round_.to_cut[:_STEP_LISTS], round_.to_cut[_STEP_LISTS:]
            self.lists.cut_and_find_short(some)
            return len(some) / _STEP_LISTS
        if round_.to_publish is None:
            return self._begin_to_publish(round_)
        costs = np.cumsum(self.lists.costs_of_publishing(round_.to_publish[:_STEP_LISTS]))
        count = max(1, int(np.searchsorted(costs, _STEP_LISTS, side="right")))
        some, round_.to_publish = round_.to_publish[:count], round_.to_publish[count:]
        round_.changed.append(self.lists.publish(some))
        round_.is_through = not len(round_.to_publish)
        return float(costs[len(some) - 1]) / _STEP_LISTS

    @staticmethod
    def _match_some(round_: Round, matching: Generator[float, None, Matched]) -> float:
        """Do a piece of what is being matched."""
        try:
            return next(matching)
        except StopIteration as end:
            found: Matched = end.value
        round_.matching = None
        round_.matched.append(found.hits)
        if len(round_.new):
            round_.new = round_.new[found.rows :]
        else:
            round_.updated = round_.updated[found.rows :]
        return 0.0

    def _begin_to_publish(self, round_: Round) -> float:
        """Make lists anew; note whose answers are to be taken, and who shows a change whatever
        they are: what happened to ``renewed`` ones while they waited was not looked at."""
        table, touched = self.table, round_.touched
        if round_.renewing is None:
            round_.renewing = self.lists.renew_some(touched)
        try:
            next(round_.renewing)
        except StopIteration as end:
            renewed: I64 = end.value
        else:
            return 1.0
        touched[list(self.lists.waiting)] = False
        round_.to_publish = np.flatnonzero(touched)
        shown = np.concatenate([NONE, *round_.holds_updated])
        shown = np.concatenate([renewed, shown[table.wants_metadata[shown]]])
        round_.changed.append(shown[~np.isin(shown, list(self.lists.waiting))])
        round_.is_through = not len(round_.to_publish)
        return float(len(renewed) > 0)

    def _begin_following(self) -> None:
        """The first query comes: what happened before is nothing to it."""
        self._has_seen_all()
        self._gone.clear()
        self._updated.clear()
        self.lists.start()

    def _has_seen_all(self) -> None:
        self.seen_seq, self._seen_version = self._state.last_seq, self._state.version

    def _drop_some(self, round_: Round) -> float:
        """Take rows below the window, gone ones, and, where columns matter, updated ones, out of
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

    def _dead(self, round_: Round, lists: Lists, rows: I64, owners: I64) -> Bool1:
        """Which entries of lists are to be taken out."""
        first_offset = round_.first_offset
        offsets = lists.offsets(rows)
        places = np.minimum(
            offsets - np.uint64(first_offset), self._state.definition.capacity
        ).view(np.int64)
        dead: Bool1 = offsets < first_offset
        if round_.is_gone is not None:
            dead |= round_.is_gone[places]
        if round_.is_updated is not None:
            dead |= round_.is_updated[places] & self._takes_updated()[owners][:, None]
        return dead

    def _by_offset(self, seqs: U64, first_offset: int) -> Bool1 | None:
        """Marks by offset from the window's first seq, as ``Lists.holding`` takes them."""
        if not len(seqs):
            return None
        offsets = seqs - np.uint64(self.lists.base)
        offsets = offsets[offsets >= first_offset]
        if not len(offsets):
            return None
        marks = np.zeros(self._state.definition.capacity + 1, np.bool_)
        marks[(offsets - np.uint64(first_offset)).view(np.int64)] = True
        return marks

    def _takes_updated(self) -> Bool1:
        """Which queries an updated row may enter, or stand elsewhere for: live ones with a filter,
        or whose order or selection reads columns."""
        table = self.table
        takes: Bool1 = (table.filters != NO_FILTER) & (table.k > 0)
        if len(table.shapes.reads_columns):
            takes |= table.shapes.reads_columns
        return takes

    def _candidates(self, seqs: U64) -> I64:
        """Slots of those updated rows that are there still, if any query may take one."""
        if not self._takes_updated().any():
            return NONE
        slots = self._state.ring.slots(np.unique(seqs[seqs >= self._state.first_seq]))
        return slots[self._state.ring.is_live(slots)]

    def check(self) -> None:
        """Raise AssertionError unless every list is all rows above its floor, and 4 k at most."""
        assert not self.is_outdated, "advance has not been called"
        self.lists.check()
