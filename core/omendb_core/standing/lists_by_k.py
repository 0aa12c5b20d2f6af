"""The lists of live queries, those of like ``k`` together, found by handle.

Owns the ``Lists`` of each class of k (a power of two) and who owns which row of them; reads the
table of queries. Nothing of windows. A class's arrays go with the last query in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from ..model.types import I64, U64
from .lists import Lists
from .table import Table

_NONE: Final = np.empty(0, np.int64)


class ListsByK:
    """Lists of live queries, by k. Handles are those of ``table``."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._lists: dict[int, Lists] = {}
        self._owners: dict[int, I64] = {}

    def __iter__(self) -> Iterator[tuple[Lists, I64]]:
        """Each class's lists, and the handle that owns each of their rows."""
        for most_k, lists in self._lists.items():
            yield lists, self._owners[most_k]

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        lists = sum(one.nbytes for one in self._lists.values())
        return lists + sum(one.nbytes for one in self._owners.values())

    @staticmethod
    def bytes_for(k: int) -> int:
        """Bytes that the list of one query takes."""
        return Lists.bytes_for(_class_of(k))

    def give(self, handles: I64) -> None:
        """Give queries empty lists."""
        k = self._table.k[handles]
        for of_k in np.unique(k).tolist():
            most_k, own = _class_of(of_k), handles[k == of_k]
            lists = self._lists.setdefault(most_k, Lists(most_k))
            places = lists.take(len(own))
            self._table.lists[own], self._table.places[own] = most_k, places
            owners = self._owners.get(most_k, _NONE)
            if len(owners) < len(lists.counts):
                fresh = np.zeros(len(lists.counts) - len(owners), np.int64)
                owners = np.concatenate([owners, fresh])
            owners[places] = own
            self._owners[most_k] = owners

    def take_back(self, handles: I64) -> None:
        """Take the lists of queries away, of those that have one. After a fault: once more."""
        for most_k, of_this in self._by_class(handles):
            if most_k:
                own, lists = handles[of_this], self._lists[most_k]
                lists.give_back(self._table.places[own])
                self._table.lists[own] = 0
                if lists.is_empty:
                    del self._lists[most_k], self._owners[most_k]

    def replace(self, handles: I64, keys: U64, counts: I64) -> None:
        """Make of ``keys``, flat, the next ``counts[i]`` the list of ``handles[i]``."""
        starts = np.cumsum(counts) - counts
        for most_k, of_this in self._by_class(handles):
            places = self._table.places[handles[of_this]]
            self._lists[most_k].replace(places, keys, starts[of_this], counts[of_this])

    def insert(self, handles: I64, keys: U64) -> I64:
        """Put ``keys[i]`` into the list of ``handles[i]``; the handles whose list has no room.

        Those are left as they were.
        """
        full = [_NONE]
        for most_k, of_this in self._by_class(handles):
            places = self._table.places[handles[of_this]]
            order = np.argsort(places, kind="stable")
            rows = self._lists[most_k].insert(places[order], keys[of_this[order]])
            full.append(self._owners[most_k][rows])
        return np.concatenate(full)

    def publish(self, handles: I64) -> I64:
        """Take the best of each list as its query's answer; those that had another one before.

        Handles without a list are passed over.
        """
        changed = [_NONE]
        for most_k, of_this in self._by_class(handles):
            if not most_k:
                continue
            own = handles[of_this]
            differs = self._lists[most_k].publish(self._table.places[own], self._table.k[own])
            changed.append(own[differs])
        return np.concatenate(changed)

    def answers(self, handles: I64) -> tuple[I64, U64]:
        """What was last published for each query: how many keys, and all of them, best first."""
        counts = self.answer_counts(handles)
        starts = np.cumsum(counts) - counts
        found = np.empty(int(counts.sum()), np.uint64)
        for most_k, of_this in self._by_class(handles):
            places = self._table.places[handles[of_this]]
            own_counts = counts[of_this]
            within = np.arange(int(own_counts.sum())) - np.repeat(
                np.cumsum(own_counts) - own_counts, own_counts
            )
            keys = self._lists[most_k].answers(places)
            found[np.repeat(starts[of_this], own_counts) + within] = keys
        return counts, found

    def answer_counts(self, handles: I64) -> I64:
        """How many keys were last published for each query."""
        counts = np.zeros(len(handles), np.int64)
        for most_k, of_this in self._by_class(handles):
            places = self._table.places[handles[of_this]]
            counts[of_this] = self._lists[most_k].answer_counts(places)
        return counts

    def of(self, handles: I64) -> Iterator[tuple[Lists, I64]]:
        """Each class's lists, and those of ``handles`` that have one of them."""
        for most_k, of_this in self._by_class(handles):
            if most_k:
                yield self._lists[most_k], handles[of_this]

    def rebase(self, by: int) -> None:
        """Count seqs from a base that is larger by ``by``."""
        for lists in self._lists.values():
            lists.rebase(by)

    def _by_class(self, handles: I64) -> Iterator[tuple[int, I64]]:
        classes = self._table.lists[handles]
        for most_k in np.unique(classes).tolist():
            yield most_k, np.flatnonzero(classes == most_k)


def _class_of(k: int) -> int:
    """The power of two that k's list is made for."""
    return 1 << (k - 1).bit_length()
