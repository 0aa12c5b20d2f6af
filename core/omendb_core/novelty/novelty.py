"""How new the rows of each add are, for everybody who asks: once for all that ask alike.

A row is compared with the rows that were alive in the window just before its add, and with the rows
of the add before it. The rows that left by the add are taken down before it is applied
(``note_add``); then it is applied, and the comparison follows by ``step``. Until that is through
(``is_behind``) the window must not change.

Invariant: without groups nothing is taken down, and nothing compared.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from ..filters.masks import evaluate
from ..filters.tree import Filter
from ..model.change import AddChange
from ..model.types import F32, U64, Bool1, Ids
from ..state import WindowState
from .before import Before, Gone


@dataclass(slots=True)
class Group:
    """Those who ask with one filter and one ``last``, and how many they are."""

    filter: Filter | None
    last: int | None
    members: int = 0


class Newness(NamedTuple):
    """Rows of one add, for one group: those that pass its filter, in order; all (n,).

    ``scores`` float32: that of the best row before each, -inf where there is none; ``near``: its
    id, whatever where there is none.
    """

    group: int
    seqs: U64
    scores: F32
    near: Ids


@dataclass(slots=True)
class _Round:
    """An add that is being compared: ``waiting`` are groups that have not begun."""

    first_seq: int
    count: int
    gone: Gone
    passing: dict[int, Bool1]
    waiting: list[int]
    group: int = -1
    before: Before | None = None
    seqs: U64 = field(default_factory=lambda: np.empty(0, np.uint64))
    done: list[tuple[U64, F32, U64]] = field(default_factory=list)


class Novelty:
    """The groups of one window, and the add that they are told of next."""

    def __init__(self, state: WindowState) -> None:
        self._state = state
        #: By number; read by who applies changes.
        self.groups: dict[int, Group] = {}
        self._numbers: dict[tuple[str | None, int | None], int] = {}
        self._next = 0
        self._round: _Round | None = None

    def __len__(self) -> int:
        return len(self.groups)

    @property
    def is_behind(self) -> bool:
        """Whether an add was applied, and is not compared yet."""
        return self._round is not None

    # -- groups -------------------------------------------------------------------------------

    def join(self, filter_: Filter | None, last: int | None) -> int:
        """The number of the group that asks so; whoever joins leaves it again."""
        key = (None if filter_ is None else filter_.canonical, last)
        number = self._numbers.get(key)
        if number is None:
            number, self._next = self._next, self._next + 1
            self._numbers[key] = number
            self.groups[number] = Group(filter_, last)
        self.groups[number].members += 1
        return number

    def leave(self, number: int) -> None:
        """One less asks so."""
        group = self.groups[number]
        group.members -= 1
        if group.members:
            return
        del self.groups[number]
        self._numbers = {key: one for key, one in self._numbers.items() if one != number}
        round_ = self._round
        if round_ is None:
            return
        if number in round_.waiting:
            round_.waiting.remove(number)
        if round_.group == number:
            round_.before = None
        if round_.before is None and not round_.waiting:
            self._round = None

    # -- adds ---------------------------------------------------------------------------------

    def note_add(self, change: AddChange) -> None:
        """``change`` is about to be applied."""
        if not self.groups or change.is_empty:
            return
        assert self._round is None, "the add before was not compared yet"
        gone = Gone(self._state, change)
        passing = {
            number: gone.passing(self._state, group.filter) for number, group in self.groups.items()
        }
        self._round = _Round(
            change.first_seq, len(change.vectors), gone, passing, list(self.groups)
        )

    def step(self) -> Newness | None:
        """Compare a piece more; what a group is to be told, if that was its last one.

        The window must not have changed since the add was applied.
        """
        round_ = self._round
        if round_ is None:
            return None
        if round_.before is None:
            self._begin_group(round_)
        before = round_.before
        assert before is not None, "a group has begun"
        if len(round_.seqs) and not before.is_ready():
            return None
        if len(round_.seqs):
            piece = before.piece_of(round_.seqs)
            best = before.best(piece)
            round_.done.append((piece, best.scores, best.seqs))
            round_.seqs = round_.seqs[len(piece) :]
        if len(round_.seqs):
            return None
        found = self._found(round_, before)
        round_.before = None
        if not round_.waiting:
            self._round = None
        return found

    def _begin_group(self, round_: _Round) -> None:
        number = round_.waiting.pop()
        group, state = self.groups[number], self._state
        slots = state.ring.slots_of(round_.first_seq, round_.count)
        if group.filter is not None:
            slots = slots[evaluate(group.filter, state.columns, slots)]
        round_.group = number
        round_.seqs, round_.done = state.ring.seqs(slots), []
        round_.before = Before(
            state, group.filter, group.last, round_.gone, round_.passing[number], round_.first_seq
        )

    def _found(self, round_: _Round, before: Before) -> Newness:
        none = (np.empty(0, np.uint64), np.empty(0, np.float32), np.empty(0, np.uint64))
        seqs, scores, near = (np.concatenate(part) for part in zip(none, *round_.done, strict=True))
        return Newness(round_.group, seqs, scores, before.ids(near))
