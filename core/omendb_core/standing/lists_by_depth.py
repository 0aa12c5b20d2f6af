"""The lists of live queries, those of like depth and kind of keys together, found by handle.

Owns the ``Lists`` of each class of depth (a power of two) and kind, and who owns which row of them;
reads the table of queries. Nothing of windows. A class's arrays go with the last query in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np

from ..model.types import F32, F64, I64, U64
from . import keys as plain
from . import ordered_keys as ordered
from .lists import ORDERED, PLAIN, Keys, Lists
from .table import Table

_NONE: Final = np.empty(0, np.int64)
#: A class's number is its depth, and for lists with an order this more.
_ORDERED_CLASS: Final = 1 << 40


class Entries(NamedTuple):
    """Rows of answers, flat: ``offsets`` uint64, ``scores`` float32; ``ranks`` float64, NaN for
    null, None if none of the queries has an order."""

    offsets: U64
    scores: F32
    ranks: F64 | None


class ListsByDepth:
    """Lists of live queries, by depth. Handles are those of ``table``."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._lists: dict[int, Lists] = {}
        self._owners: dict[int, I64] = {}

    def __iter__(self) -> Iterator[tuple[Lists, I64]]:
        """Each class's lists, and the handle that owns each of their rows."""
        for number, lists in self._lists.items():
            yield lists, self._owners[number]

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        lists = sum(one.nbytes for one in self._lists.values())
        return lists + sum(one.nbytes for one in self._owners.values())

    @staticmethod
    def bytes_for(depth: int, *, is_ordered: bool) -> int:
        """Bytes that the list of one query takes."""
        return Lists.bytes_for(_class_of(depth), ORDERED if is_ordered else PLAIN)

    def give(self, handles: I64) -> None:
        """Give queries without a list empty ones."""
        is_ordered = self._table.shapes.are_ordered(handles)
        depths = self._table.depths[handles] + np.where(is_ordered, _ORDERED_CLASS, 0)
        for of_depth in np.unique(depths).tolist():
            kind = PLAIN if of_depth < _ORDERED_CLASS else ORDERED
            own, most_k = handles[depths == of_depth], _class_of(of_depth % _ORDERED_CLASS)
            number = most_k + (of_depth - of_depth % _ORDERED_CLASS)
            lists = self._lists.get(number) or Lists(most_k, kind)
            places = lists.take(len(own))
            # After a fault there is a class only if somebody has a list of it.
            self._lists[number] = lists
            self._owners.setdefault(number, _NONE)
            self._table.lists[own], self._table.places[own] = number, places
            owners = self._owners[number]
            if len(owners) < len(lists.counts):
                fresh = np.zeros(len(lists.counts) - len(owners), np.int64)
                owners = np.concatenate([owners, fresh])
            owners[places] = own
            self._owners[number] = owners

    def take_back(self, handles: I64) -> None:
        """Take the lists of queries away, of those that have one. After a fault: once more."""
        for number, of_this in self._by_class(handles):
            if number:
                own, lists = handles[of_this], self._lists[number]
                lists.give_back(self._table.places[own])
                self._table.lists[own] = 0
                if lists.is_empty:
                    del self._lists[number], self._owners[number]

    def replace(self, handles: I64, keys: Keys, counts: I64) -> None:
        """Make of ``keys``, flat, the next ``counts[i]`` the list of ``handles[i]``.

        All of one kind.
        """
        starts = np.cumsum(counts) - counts
        for number, of_this in self._by_class(handles):
            places = self._table.places[handles[of_this]]
            self._lists[number].replace(places, keys, starts[of_this], counts[of_this])

    def insert(self, handles: I64, keys: Keys) -> I64:
        """Put ``keys[i]`` into the list of ``handles[i]``, all of one kind; the handles whose list
        has no room. Those are left as they were.
        """
        full = [_NONE]
        for number, of_this in self._by_class(handles):
            places = self._table.places[handles[of_this]]
            order = np.argsort(places, kind="stable")
            rows = self._lists[number].insert(places[order], keys[of_this[order]])
            full.append(self._owners[number][rows])
        return np.concatenate(full)

    def keys_of(self, handle: int) -> Keys:
        """The keys in a query's list."""
        lists = self._lists[int(self._table.lists[handle])]
        place = int(self._table.places[handle])
        keys: Keys = lists.keys[place, lists.entries(place)]
        return keys

    def publish(self, handles: I64) -> I64:
        """Take the best of each list as its query's answer; those that had another one before.

        Handles without a list are passed over.
        """
        changed = [_NONE]
        for lists, own in self.of(handles):
            differs = lists.publish(self._table.places[own], self._table.k[own])
            changed.append(own[differs])
        return np.concatenate(changed)

    def answers(self, handles: I64) -> tuple[I64, Entries]:
        """What was last published for each query: how many rows, and all of them, best first."""
        counts = self.answer_counts(handles)
        starts = np.cumsum(counts) - counts
        total = int(counts.sum())
        offsets, scores = np.empty(total, np.uint64), np.empty(total, np.float32)
        ranks: F64 | None = None
        for number, of_this in self._by_class(handles):
            places = self._table.places[handles[of_this]]
            own_counts = counts[of_this]
            within = np.arange(int(own_counts.sum())) - np.repeat(
                np.cumsum(own_counts) - own_counts, own_counts
            )
            at = np.repeat(starts[of_this], own_counts) + within
            keys = self._lists[number].answers(places)
            if number < _ORDERED_CLASS:
                offsets[at], scores[at] = plain.offsets_of(keys), plain.scores_of(keys)
                continue
            if ranks is None:
                ranks = np.full(total, np.nan)
            ranks[at] = ordered.ranks_of(keys)
            offsets[at], scores[at] = ordered.offsets_of(keys), ordered.scores_of(keys)
        return counts, Entries(offsets, scores, ranks)

    def answer_counts(self, handles: I64) -> I64:
        """How many keys were last published for each query."""
        counts = np.zeros(len(handles), np.int64)
        for number, of_this in self._by_class(handles):
            places = self._table.places[handles[of_this]]
            counts[of_this] = self._lists[number].answer_counts(places)
        return counts

    def of(self, handles: I64) -> Iterator[tuple[Lists, I64]]:
        """Each class's lists, and those of ``handles`` that have one of them."""
        for number, of_this in self._by_class(handles):
            if number:
                yield self._lists[number], handles[of_this]

    def rebase(self, by: int) -> None:
        """Count seqs from a base that is larger by ``by``."""
        for lists in self._lists.values():
            lists.rebase(by)

    def _by_class(self, handles: I64) -> Iterator[tuple[int, I64]]:
        classes = self._table.lists[handles]
        if len(classes) and (classes == classes[0]).all():  # as a rule, and unique is slow
            yield int(classes[0]), np.arange(len(classes))
            return
        for number in np.unique(classes).tolist():
            yield number, np.flatnonzero(classes == number)


def _class_of(depth: int) -> int:
    """The power of two that a list of this depth is made for."""
    return 1 << (depth - 1).bit_length()
