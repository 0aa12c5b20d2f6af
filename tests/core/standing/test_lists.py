"""Lists against plain Python lists, whatever is put in, taken out or cut."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from omendb_core import native
from omendb_core.standing import keys, ordered_keys
from omendb_core.standing.keys import offsets_of
from omendb_core.standing.lists import ORDERED, PLAIN, KeyKind, Keys, Lists

from tests.examples import examples


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
    max_examples=examples(60), stateful_step_count=30, deadline=None, derandomize=True
)


@pytest.mark.skipif(not native.is_there, reason="there is no extension")
@settings(max_examples=examples(150), deadline=None, derandomize=True)
@given(st.integers(0, 2**32), st.sampled_from([PLAIN, ORDERED]), st.integers(1, 5))
def test_the_extension_inserts_and_publishes_as_numpy_does(
    seed: int, kind: KeyKind, most_k: int
) -> None:
    random = np.random.default_rng(seed)
    both = [Lists(most_k, kind), Lists(most_k, kind)]
    rows = both[0].take(5)
    assert both[1].take(5).tolist() == rows.tolist()
    offset = 1
    for _ in range(12):
        coming = np.sort(random.choice(rows, int(random.integers(0, 12))))
        new = some_keys(random, kind, offset, len(coming))
        offset += len(coming)
        asked = np.unique(random.choice(rows, 4))
        k = random.integers(1, most_k + 1, len(asked))
        found = []
        for lists, is_used in zip(both, (True, False), strict=True):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(native, "is_used", is_used)
                full = lists.insert(coming, new)
                long = rows[lists.counts[rows] > most_k * 4]
                if len(long):
                    lists.cut(long, np.full(len(long), 2 * most_k))
                found.append((full.tolist(), lists.publish(asked, k).tolist()))
            lists.check()
        assert found[0] == found[1]
        for name in ("keys", "counts", "oldest", "published"):
            assert getattr(both[0], name).tobytes() == getattr(both[1], name).tobytes()


def some_keys(random: np.random.Generator, kind: KeyKind, offset: int, count: int) -> Keys:
    """Keys of rows with few scores and ranks, some of them null."""
    offsets = np.arange(offset, offset + count, dtype=np.uint64)
    scores = random.integers(-2, 3, count).astype(np.float32)
    if kind is PLAIN:
        return keys.encode(scores, offsets)
    ranks = random.choice([-1.5, 0.0, 2.0, np.nan], count)
    return ordered_keys.encode(ranks, scores, offsets, random.random(count) < 0.5)


@pytest.mark.skipif(not native.is_there, reason="there is no extension")
def test_the_extension_refuses_lists_that_do_not_fit_each_other() -> None:
    lists = Lists(2)
    [row] = lists.take(1).tolist()
    good = keys.encode(np.ones(1, np.float32), np.ones(1, np.uint64))
    insert, publish = native.compiled.lists_insert, native.compiled.lists_publish
    flat, published = lists.keys.reshape(-1), lists.published.reshape(-1)
    one, full = np.array([row]), np.empty(1, np.int64)
    offsets = np.ones(1, np.uint64)
    for bad in (np.array([-1]), np.array([len(lists.counts)])):
        with pytest.raises(IndexError, match="rows"):
            insert(flat, False, lists.width, bad, good, offsets, lists.counts, lists.oldest, full)
        with pytest.raises(IndexError, match="rows"):
            publish(flat, False, lists.width, bad, one, published, 2, np.empty(1, np.uint8))
    with pytest.raises(IndexError, match="counts"):
        insert(flat, False, lists.width, one, good, offsets, lists.counts + 99, lists.oldest, full)
    with pytest.raises(IndexError, match="k"):
        publish(flat, False, lists.width, one, np.array([3]), published, 2, np.empty(1, np.uint8))
    with pytest.raises(ValueError, match="keys"):
        insert(flat[1:], False, lists.width, one, good, offsets, lists.counts, lists.oldest, full)
    with pytest.raises(ValueError, match="published"):
        publish(flat, False, lists.width, one, one, published[2:], 2, np.empty(1, np.uint8))
    lists.check()
    assert not lists.counts.any()
