"""Changes that take long before they can be admitted: prepared in pieces.

Adds and updates with much metadata have their columns made of it; adds whose rows are compared with
a window for long are compared; the first add to a wide window has the memory of its ids touched.
Lives on the engine's thread. While a change is prepared its window is *held*
(``is_being_prepared``): changes of the shard wait, and nothing else does. A slice of each tick goes
to these pieces, by shares of connections (``shares.py``). What comes of it is put down in the work
(``typed``, ``Add.judgement``), which then goes the way of any change; one that is prepared in no
time does without this.

Invariant: a shard is held from ``begin`` on until ``next_ready`` has handed its change out,
whatever faults.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

from omendb_core.model.change import Repeated, RowBatch
from omendb_core.model.errors import BadMetadata, OmenError
from omendb_core.rows.memory import Untouched
from omendb_core.rows.metadata_pieces import columns_in_pieces

from ..model.commands import Change
from ..model.places import Place, place_of
from ..model.shard import Shard
from ..model.shares import Shares
from ..model.ticket import Lane
from ..pieces.masks import mask_made, needs_mask
from .commands import Add, Update

#: How long all changes together are prepared in one tick, but for the piece that runs over.
SLICE_US: Final = 2_000
#: What is expected to take no longer is done at once.
AT_ONCE_US: Final = 3_000.0
#: What a row takes to be compared, and an element of the rows that it is compared with.
_ROW_US: Final = 2.0
_ELEMENT_US: Final = 3.5e-6
#: Values of metadata that become columns at once: 0.1 µs each, of 16,384 rows of three 5 ms.
VALUES_AT_ONCE: Final = 12_288

#: What may take long to prepare.
_PREPARED: Final = (Add, Update)

_Steps: TypeAlias = Generator[object, None, None]


@dataclass(slots=True)
class Prepared:
    """A change that is prepared, or why it is not."""

    work: Add | Update
    error: Exception | None


class Preparing:
    """The changes that are prepared in pieces: of each shard one."""

    def __init__(self, shares: Shares, clock_ns: Callable[[], int] = time.perf_counter_ns) -> None:
        self._shares = shares
        self._clock_ns = clock_ns
        self._under_way: dict[Shard, tuple[Add | Update, _Steps]] = {}
        #: Of those, by where their connections stood; they stand there or behind (``places.py``).
        self._heap: list[tuple[Place, Shard]] = []
        self._turns = 0
        #: Done, while something else keeps the window from changing.
        self._done: list[Prepared] = []

    def __len__(self) -> int:
        return len(self._under_way) + len(self._done)

    def begin(self, work: Change) -> bool:
        """Prepare ``work`` from this tick on; False if that takes no time, or must wait."""
        if not isinstance(work, _PREPARED):
            return False
        steps = self._steps(work)
        if isinstance(work, Add) and not work.shard.is_dropped:
            untouched = work.shard.window.state.ids.untouched
            if untouched:
                steps = _touched(untouched, steps)
        if steps is None:
            return False
        heapq.heappush(self._heap, (self._behind(work), work.shard))
        self._under_way[work.shard] = work, steps
        work.shard.is_being_prepared = True
        return True

    def _steps(self, work: Add | Update) -> _Steps | None:
        if isinstance(work, Add) and work.unless_near is not None:
            return _compared(work) if _is_to_be_compared(work) else None
        rows = work.request if isinstance(work, Update) else work.request.rows
        if isinstance(rows, OmenError) or rows.metadata is None or rows.typed is not None:
            return None
        if len(rows.metadata) * len(work.shard.definition.columns) <= VALUES_AT_ONCE:
            return None
        return _typed(work)

    def lanes(self) -> Iterable[Lane]:
        """Whose changes are prepared; some more than once."""
        return [work.ticket.asker.lane for work, _ in self._under_way.values()]

    def _behind(self, work: Change) -> Place:
        """Behind those that stand alike."""
        self._turns += 1
        return place_of(self._shares, work.ticket.asker.lane, self._turns)

    def _next(self) -> Shard | None:
        """The shard whose change is next."""
        while self._heap:
            known, shard = self._heap[0]
            now = place_of(self._shares, known.lane, known.number)
            if now[:3] == known[:3]:
                return shard
            heapq.heapreplace(self._heap, (now, shard))
        return None

    def next_ready(self) -> Prepared | None:
        """A change that is through, for the caller to go on with."""
        for one in self._done:
            if not one.work.shard.is_held_otherwise:
                self._done.remove(one)
                one.work.shard.is_being_prepared = False
                return one
        return None

    def run(self) -> None:
        """Do pieces for a slice of time, at least one."""
        started_ns = self._clock_ns()
        until_ns = started_ns + SLICE_US * 1000
        while (shard := self._next()) is not None:
            work, steps = self._under_way[shard]
            is_over, error = False, None
            try:
                next(steps)
            except StopIteration:
                is_over = True
            except Exception as fault:
                is_over, error = True, fault
            now_ns = self._clock_ns()
            self._shares.charge(work.ticket.asker.lane.share, (now_ns - started_ns) / 1000)
            work.ticket.took((now_ns - started_ns) / 1000)
            if is_over:
                heapq.heappop(self._heap)
                del self._under_way[shard]
                self._done.append(Prepared(work, error))
            else:
                heapq.heapreplace(self._heap, (self._behind(work), shard))
            if now_ns >= until_ns:
                break
            started_ns = now_ns


def _touched(untouched: Untouched, steps: _Steps | None) -> _Steps:
    """Has the memory of the ids of a wide window there before its first rows are."""
    while untouched:
        untouched.touch_some()
        yield True
    if steps is not None:
        yield from steps


def _is_to_be_compared(work: Add) -> bool:
    """Whether that takes long, and may begin."""
    if not _takes_long(work):
        return False
    shard, judgement = work.shard, work.judgement
    window, pending = shard.window, shard.pending
    if judgement is not None and judgement.version == window.version:
        return False
    return pending is None or (window.has_caught_up and pending.may_append)


def _takes_long(work: Add) -> bool:
    rows = getattr(work.request.rows, "vectors", None)
    assert work.unless_near is not None, "it is not compared"
    if rows is None:
        return False  # it is refused
    if needs_mask(work.shard, work.unless_near.filter):
        return True
    state = work.shard.window.state
    elements = state.ring.used * state.definition.dim
    return len(rows) * (_ROW_US + _ELEMENT_US * elements) > AT_ONCE_US


def _compared(work: Add) -> _Steps:
    """Leaves the judgement in ``work``. OmenError."""
    assert work.unless_near is not None, "it is not compared"
    yield from mask_made(work.shard, work.unless_near.filter)
    judgement = work.shard.window.judge_add(work.request, work.unless_near, work.guard)
    if isinstance(judgement, Repeated):
        return
    while not judgement.is_through:
        judgement.step()
        yield True
    work.judgement = judgement


def _typed(work: Add | Update) -> _Steps:
    """Leaves the columns in ``work``, or of an add what is wrong: a repeated batch is none."""
    columns = work.shard.definition.columns
    rows_at_once = max(1, VALUES_AT_ONCE // len(columns))
    if isinstance(work, Update):
        made = yield from columns_in_pieces(work.request.metadata, columns, rows_at_once)
        work.request = replace(work.request, typed=made)
        return
    rows = work.request.rows
    assert isinstance(rows, RowBatch), "there is metadata"
    assert rows.metadata is not None
    found: RowBatch | BadMetadata
    try:
        made = yield from columns_in_pieces(rows.metadata, columns, rows_at_once)
        found = replace(rows, typed=made)
    except BadMetadata as error:
        found = error.with_traceback(None)  # whose frames hold the rows
    work.request = replace(work.request, rows=found)
