"""Adds whose rows are compared with a window for long: judged in pieces, before they are admitted.

Lives on the engine's thread. While an add is judged its window is *held* (``is_being_compared``):
changes of the collection wait, and nothing else does. A slice of each tick goes to these pieces, by
turns of collections. What comes of it is put down in the add (``Add.judgement``), which then goes
the way of any change; an add that is judged in no time does without this.

Invariant: a collection is held from ``begin`` on until ``run`` has handed its add out, whatever
faults.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Final, TypeAlias

from omendb_core.model.change import Repeated

from ..model.collection import Collection
from ..model.shares import Shares
from ..pieces.masks import mask_made, needs_mask
from .commands import Add

#: How long all adds together are judged in one tick, but for the piece that runs over.
SLICE_US: Final = 2_000
#: What is expected to take no longer is judged at once.
AT_ONCE_US: Final = 3_000.0
#: What a row takes besides, and an element of the rows that it is compared with.
_ROW_US: Final = 2.0
_ELEMENT_US: Final = 3.5e-6

_Steps: TypeAlias = Generator[bool, None, None]


@dataclass(slots=True)
class Judged:
    """An add that is judged, or why it is not."""

    work: Add
    error: Exception | None


class Judging:
    """The adds that are judged in pieces: of each collection one."""

    def __init__(self, shares: Shares, clock_ns: Callable[[], int] = time.perf_counter_ns) -> None:
        self._shares = shares
        self._clock_ns = clock_ns
        self._under_way: dict[Collection, tuple[Add, _Steps]] = {}
        #: Done, while something else keeps the window from changing.
        self._done: list[Judged] = []

    def __len__(self) -> int:
        return len(self._under_way) + len(self._done)

    def begin(self, work: Add) -> bool:
        """Judge ``work`` from this tick on; False if that takes no time, or must wait."""
        collection = work.collection
        if work.unless_near is None or not _takes_long(work):
            return False
        window = collection.window
        judgement = work.judgement
        if judgement is not None and judgement.version == window.version:
            return False
        pending = collection.pending
        if pending is not None and not (window.has_caught_up and pending.may_append):
            return False
        self._under_way[collection] = work, _steps(work)
        collection.is_being_compared = True
        return True

    def run(self) -> list[Judged]:
        """Do pieces for a slice of time, at least one; the adds that are through."""
        started_ns = self._clock_ns()
        until_ns = started_ns + SLICE_US * 1000
        while self._under_way:
            collection, (work, steps) = next(iter(self._under_way.items()))
            is_over, error = False, None
            try:
                next(steps)
            except StopIteration:
                is_over = True
            except Exception as fault:
                is_over, error = True, fault
            del self._under_way[collection]
            if is_over:
                self._done.append(Judged(work, error))
            else:
                self._under_way[collection] = work, steps
            now_ns = self._clock_ns()
            self._shares.charge(work.ticket.asker.lane.share, (now_ns - started_ns) / 1000)
            if now_ns >= until_ns:
                break
            started_ns = now_ns
        ready = [one for one in self._done if not one.work.collection.is_held_otherwise]
        for one in ready:
            self._done.remove(one)
            one.work.collection.is_being_compared = False
        return ready


def _takes_long(work: Add) -> bool:
    rows = getattr(work.request.rows, "vectors", None)
    assert work.unless_near is not None, "it is not compared"
    if rows is None:
        return False  # it is refused
    if needs_mask(work.collection, work.unless_near.filter):
        return True
    state = work.collection.window.state
    elements = state.ring.used * state.definition.dim
    return len(rows) * (_ROW_US + _ELEMENT_US * elements) > AT_ONCE_US


def _steps(work: Add) -> _Steps:
    """Leaves the judgement in ``work``. OmenError."""
    assert work.unless_near is not None, "it is not compared"
    yield from mask_made(work.collection, work.unless_near.filter)
    judgement = work.collection.window.judge_add(work.request, work.unless_near, work.guard)
    if isinstance(judgement, Repeated):
        return
    while not judgement.is_through:
        judgement.step()
        yield True
    work.judgement = judgement
