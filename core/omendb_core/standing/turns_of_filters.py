"""Which filters' lists are made anew next: those whose masks are there, and some of the others.

A mask over a wide window takes up to 45 ms (62 conditions over a million rows), and a window keeps
a few of them: so one call makes a block of one such mask, or short ones up to the work of a block.
Filters without a mask have their turns, so that none waits for as long as others come back. Knows
masks and filters by number; nothing of lists.
"""

from __future__ import annotations

import numpy as np

from ..filters.mask_cache import AT_ONCE_NS, MASKS
from ..filters.tree import Filter
from ..model.types import I64
from ..state import WindowState
from .table import DistinctFilters


class TurnsOfFilters:
    """The turns of one window's filters."""

    def __init__(self, state: WindowState, filters: DistinctFilters) -> None:
        self._masks = state.masks
        self._filters = filters
        self._next = 0

    def ready(self, numbers: I64) -> I64:
        """Those of ``numbers``, distinct, whose lists can be made now: ``MASKS`` at most."""
        there: list[int] = []
        missing: list[tuple[int, Filter]] = []
        for number in numbers.tolist():
            filter_ = self._filters.by_number.get(number)
            if filter_ is None or not self._masks.cost_ns(filter_):
                there.append(number)
            else:
                missing.append((number, filter_))
        if not missing:
            return np.array(there[:MASKS], np.int64)
        # What is made puts out what was not used for longest: those that are needed are used first.
        del there[MASKS // 2 :]
        for number in there:
            if (filter_ := self._filters.by_number.get(number)) is not None:
                self._masks.words(filter_)
        return np.array(there + self._made(missing), np.int64)

    def _made(self, missing: list[tuple[int, Filter]]) -> list[int]:
        missing.sort(key=lambda one: (one[0] < self._next, one[0]))
        left = float(AT_ONCE_NS)
        made: list[int] = []
        for number, filter_ in missing[: MASKS // 2]:
            if self._masks.takes_long(filter_):
                if not made:
                    self._next = number
                    if self._masks.make_piece(filter_, "lists"):
                        made.append(number)
                        self._next = number + 1
                break
            left -= self._masks.cost_ns(filter_)
            if made and left < 0:
                break
            made.append(number)
            self._next = number + 1
        return made
