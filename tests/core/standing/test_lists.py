"""Lists against plain Python lists, whatever is put in, taken out or cut."""

from __future__ import annotations

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from omendb_core.standing.keys import offsets_of
from omendb_core.standing.lists import Lists


class ListsMachine(RuleBasedStateMachine):
    @initialize(most_k=st.sampled_from([1, 2, 4]))
    def start(self, most_k: int) -> None:
        self.lists = Lists(most_k)
        self.plain: dict[int, set[int]] = {}
        self.next_key = 1

    def fresh(self, count: int, data: st.DataObject) -> list[int]:
        """Distinct keys in no order: high bits drawn, low ones counted."""
        highs = data.draw(st.lists(st.integers(1, 5), min_size=count, max_size=count))
        made = [(high << 32) | (self.next_key + i) for i, high in enumerate(highs)]
        self.next_key += count
        return made

    @rule(count=st.integers(1, 20))
    def take(self, count: int) -> None:
        for row in self.lists.take(count).tolist():
            assert row not in self.plain
            self.plain[row] = set()

    @precondition(lambda self: self.plain)
    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        row = data.draw(st.sampled_from(sorted(self.plain)))
        self.lists.give_back(np.array([row]))
        del self.plain[row]

    @precondition(lambda self: self.plain)
    @rule(data=st.data(), count=st.integers(1, 30))
    def insert(self, data: st.DataObject, count: int) -> None:
        rows = sorted(
            data.draw(st.lists(st.sampled_from(sorted(self.plain)), min_size=count, max_size=count))
        )
        keys = self.fresh(count, data)
        full = self.lists.insert(np.array(rows), np.array(keys, np.uint64)).tolist()
        for row in set(rows):
            coming = {key for at, key in zip(rows, keys, strict=True) if at == row}
            fits = len(self.plain[row]) + len(coming) <= self.lists.width
            assert (row in full) != fits
            if fits:
                self.plain[row] |= coming

    @precondition(lambda self: self.plain)
    @rule(data=st.data())
    def replace(self, data: st.DataObject) -> None:
        rows = data.draw(st.lists(st.sampled_from(sorted(self.plain)), unique=True))
        counts = [data.draw(st.integers(0, self.lists.width)) for _ in rows]
        keys = [self.fresh(count, data) for count in counts]
        flat = np.array([key for each in keys for key in each], np.uint64)
        starts = np.cumsum([0, *counts])[:-1].astype(np.int64)
        self.lists.replace(np.array(rows, np.int64), flat, starts, np.array(counts, np.int64))
        for row, each in zip(rows, keys, strict=True):
            self.plain[row] = set(each)

    @precondition(lambda self: self.plain)
    @rule(below=st.integers(0, 200))
    def drop_what_is_old(self, below: int) -> None:
        rows = np.array(sorted(self.plain))
        self.lists.drop(rows, offsets_of(self.lists.keys[rows]) < below)
        for row in self.plain:
            self.plain[row] = {key for key in self.plain[row] if key % 2**32 >= below}

    @rule(keep=st.integers(1, 6))
    def cut(self, keep: int) -> None:
        rows = [row for row, kept in sorted(self.plain.items()) if len(kept) > keep]
        if rows:
            dropped = self.lists.cut(np.array(rows), np.full(len(rows), keep))
            for row, best in zip(rows, dropped.tolist(), strict=True):
                ordered = sorted(self.plain[row], reverse=True)
                assert best == ordered[keep]
                self.plain[row] = set(ordered[:keep])

    def answers(self, rows: list[int]) -> list[list[int]]:
        """What each list answers, out of the flat keys of all."""
        flat = self.lists.answers(np.array(rows)).tolist()
        counts = self.lists.answer_counts(np.array(rows)).tolist()
        assert sum(counts) == len(flat)
        return [[flat.pop(0) for _ in range(count)] for count in counts]

    @precondition(lambda self: self.plain)
    @rule(data=st.data())
    def publish(self, data: st.DataObject) -> None:
        rows = sorted(self.plain)
        k = data.draw(
            st.lists(st.integers(1, self.lists.most_k), min_size=len(rows), max_size=len(rows))
        )
        before = self.answers(rows)
        changed = self.lists.publish(np.array(rows), np.array(k)).tolist()
        after = self.answers(rows)
        for row, most, old, differs, now in zip(rows, k, before, changed, after, strict=True):
            assert now == sorted(self.plain[row], reverse=True)[:most]
            assert differs == (now != old)

    @rule(data=st.data(), first=st.integers(0, 60))
    def find_holders(self, data: st.DataObject, first: int) -> None:
        wanted = data.draw(st.sets(st.integers(first, first + 99)))
        marks = np.zeros(101, np.bool_)
        marks[[offset - first for offset in wanted]] = True
        rows = sorted(self.plain)
        holds = self.lists.holding(np.array(rows, np.int64), marks, first)
        assert holds.tolist() == [
            bool({key % 2**32 for key in self.plain[row]} & wanted) for row in rows
        ]

    @invariant()
    def holds_what_it_should(self) -> None:
        self.lists.check()
        for row, kept in self.plain.items():
            keys = self.lists.keys[row]
            assert set(keys[keys > 0].tolist()) == kept


TestLists = ListsMachine.TestCase
TestLists.settings = settings(
    max_examples=60, stateful_step_count=30, deadline=None, derandomize=True
)
