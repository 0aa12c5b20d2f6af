"""Ids against a dict, over laps of small rings, with everything that can befall a row."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omendb_core.model.errors import BadId
from omendb_core.model.types import I64, IdKind, Ids
from omendb_core.rows import u64_ids
from omendb_core.rows.ids import StrIds, bytes_for, first_duplicate, make_ids
from omendb_core.rows.ring import Ring
from omendb_core.rows.u64_ids import TableIds, TwoTableIds

from tests.core.variants import each_engine
from tests.examples import examples

__all__ = ["each_engine"]
pytestmark = pytest.mark.usefixtures("engine")

KINDS: tuple[IdKind, ...] = ("u64", "str", "auto")


class Rows:
    """A ring and its ids, driven as a window drives them, beside a dict as the oracle."""

    def __init__(self, kind: IdKind, capacity: int) -> None:
        self.kind = kind
        self.ring = Ring(capacity, 1)
        self.ids = make_ids(kind, self.ring)
        self.seq_of: dict[Any, int] = {}
        self.known: set[Any] = set()

    def as_ids(self, ids: list[Any]) -> Ids:
        return ids if self.kind == "str" else np.array(ids, np.uint64)

    def add(self, ids: list[Any]) -> None:
        """Add one batch of distinct ids (seqs, and so unused, for ``auto``)."""
        first_seq = self.ring.last_seq + 1
        if self.kind == "auto":
            ids = list(range(first_seq, first_seq + len(ids)))
        self.kill(self.ring.overwritten(len(ids)))
        batch = None if self.kind == "auto" else self.as_ids(ids)
        if batch is not None:
            found = self.ids.find(batch)
            self.kill(found[found >= 0])
        slots = self.ring.append(np.ones((len(ids), 1), np.float32))
        self.ids.assign(slots, first_seq, batch)
        oldest = self.ring.first_seq
        self.seq_of |= {id_: first_seq + row for row, id_ in enumerate(ids)}
        self.seq_of = {id_: seq for id_, seq in self.seq_of.items() if seq >= oldest}
        self.known |= set(ids)

    def delete(self, ids: list[Any]) -> None:
        found = self.ids.find(self.as_ids(ids))
        assert (found >= 0).tolist() == [id_ in self.seq_of for id_ in ids]
        self.kill(found[found >= 0])
        for id_ in ids:
            self.seq_of.pop(id_, None)

    def expire(self, first_seq: int) -> None:
        self.kill(self.ring.live_slots(1, first_seq - 1))
        self.ring.expire(first_seq)
        self.seq_of = {id_: seq for id_, seq in self.seq_of.items() if seq >= first_seq}

    def kill(self, slots: I64) -> None:
        if len(slots):
            self.ring.kill(slots)
            self.ids.release(slots)

    def check(self) -> None:
        known = sorted(self.known)
        found = self.ids.find(self.as_ids(known))
        assert found.dtype == np.int64
        slots = found[found >= 0]
        held = dict(zip(self.ids.of(slots), self.ring.seqs(slots).tolist(), strict=True))
        assert {int(k) if self.kind != "str" else k: v for k, v in held.items()} == self.seq_of
        wanted = [
            (self.seq_of[id_] - 1) % self.ring.capacity if id_ in self.seq_of else -1
            for id_ in known
        ]
        assert found.tolist() == wanted
        assert self.ring.rows == len(self.seq_of)
        texts = [id_ for id_ in self.seq_of if isinstance(id_, str)]
        assert self.ids.payload_bytes == sum(len(text.encode()) for text in texts)
        self.ring.check()
        self.ids.check()


EDGES = [0, 1, 2**32, 2**63 - 1, 2**63, 2**64 - 1]
POOLS: dict[IdKind, list[Any]] = {
    "u64": EDGES + [7 + (i << 32) for i in range(10)] + [2, 3, 4, 5, 6, 8, 9],
    "str": ["a", "b", "ab", "ü", "𝄞", "a" * 256, "0", "1"] + [f"row {i}" for i in range(16)],
    "auto": list(range(1, 200)),
}


@st.composite
def histories(
    draw: st.DrawFn, kinds: tuple[IdKind, ...] = KINDS
) -> tuple[IdKind, int, list[tuple[str, Any]]]:
    kind = draw(st.sampled_from(kinds))
    capacity = draw(st.sampled_from([1, 2, 3, 4, 5, 8, 13]))
    pool = draw(st.sampled_from([POOLS[kind], POOLS[kind][:6], POOLS[kind][: capacity + 1]]))
    batch = st.lists(
        st.sampled_from(pool), min_size=1, max_size=min(capacity, len(pool)), unique=True
    )
    step = st.one_of(
        st.tuples(st.just("add"), batch),
        st.tuples(st.just("add"), batch),
        st.tuples(st.just("add"), st.permutations(pool).map(lambda all_: all_[:capacity])),
        st.tuples(st.just("delete"), batch),
        st.tuples(st.just("expire"), st.integers(0, 3)),
    )
    return kind, capacity, draw(st.lists(step, min_size=1, max_size=25))


@settings(max_examples=examples(400), deadline=None, derandomize=True)
@given(histories())
def test_ids_find_what_a_dict_finds_after_any_history(
    history: tuple[IdKind, int, list[tuple[str, Any]]],
) -> None:
    play(*history)


@pytest.mark.parametrize("hashes", [1, 2, 5])
def test_string_ids_whose_hashes_are_the_same_are_told_apart(
    monkeypatch: pytest.MonkeyPatch, hashes: int
) -> None:
    """Keys run into each other all the time, the last into the first."""
    monkeypatch.setattr(
        "omendb_core.rows.ids._hashed", lambda text: sum(text.encode()) % hashes - 1
    )

    @settings(max_examples=examples(300), deadline=None, derandomize=True)
    @given(histories(kinds=("str",)))
    def alike(history: tuple[IdKind, int, list[tuple[str, Any]]]) -> None:
        play(*history)

    alike()


def play(kind: IdKind, capacity: int, steps: list[tuple[str, Any]]) -> None:
    rows = Rows(kind, capacity)
    for step, argument in steps:
        if step == "add":
            rows.add(argument)
        elif step == "delete":
            rows.delete(argument)
        else:
            rows.expire(min(rows.ring.first_seq + argument, rows.ring.last_seq + 1))
        rows.check()


@pytest.mark.parametrize("capacity", [100, 1000, 4096, 6007])
def test_u64_ids_over_many_laps_of_large_batches(capacity: int) -> None:
    random = np.random.default_rng(capacity)
    rows = Rows("u64", capacity)

    def some(ids: Iterable[int], count: int) -> list[int]:
        shuffled: list[int] = random.permutation(np.array(list(ids), np.uint64)).tolist()
        return shuffled[:count]

    while rows.ring.last_seq < 7 * capacity:
        count = int(random.integers(1, min(capacity, 700) + 1))
        fresh = random.integers(0, 2**64, count, dtype=np.uint64).tolist()
        again = some(rows.seq_of, count // 2)
        batch = list(dict.fromkeys(again + fresh))[:count]
        random.shuffle(batch)
        rows.add(batch)
        if random.random() < 0.3:
            rows.delete(some(rows.seq_of, count // 3))
        rows.known = set(some(rows.known, 2000)) | set(rows.seq_of)
        rows.check()


@pytest.mark.parametrize("kind", ["u64", "str"])
@pytest.mark.parametrize("capacity", [1, 2, 3, 5, 64])
def test_batches_as_large_as_the_window_replace_all_of_it(kind: IdKind, capacity: int) -> None:
    rows = Rows(kind, capacity)
    make = str if kind == "str" else int
    rows.add([make(9999)])  # so that every batch spans the end of a lap
    for lap in range(5):
        rows.add([make(lap * (capacity // 2) + i) for i in range(capacity)])
        rows.check()
        assert len(rows.seq_of) == capacity


def test_a_row_again_in_its_own_slot_and_one_lap_later_is_found() -> None:
    rows = Rows("u64", 4)
    for _ in range(3):
        rows.add([5, 6, 7, 8])
        rows.check()
    rows.add([8])
    rows.add([8])
    rows.delete([8])
    rows.check()
    rows.add([8, 5, 6])
    rows.check()


KEYS: dict[str, Callable[[int], int]] = {
    "sequential": lambda i: i,
    "multiples of 2**32": lambda i: i << 32,
    "multiples of 2**44": lambda i: i << 44 & 2**64 - 1,
    "high bit differs": lambda i: i >> 1 | (i & 1) << 63,
    "counting down from the top": lambda i: 2**64 - 1 - i,
    "same low and high words": lambda i: i << 32 | i,
    "multiples of the table size": lambda i: i * u64_ids._prime_size(20_000),
    "byte-swapped": lambda i: int.from_bytes(i.to_bytes(8, "little"), "big"),
}


@pytest.mark.parametrize("pattern", KEYS)
def test_no_pattern_of_keys_makes_long_chains(pattern: str) -> None:
    capacity = 20_000
    ring = Ring(capacity, 1)
    ids = make_ids("u64", ring)
    keys = np.array([KEYS[pattern](i) for i in range(capacity)], np.uint64)
    assert first_duplicate(keys) is None
    longest = 0
    with pytest.MonkeyPatch.context() as patch:
        rounds = count_rounds(patch)
        for start in range(0, capacity, 1000):
            slots = ring.append(np.ones((1000, 1), np.float32))
            ids.assign(slots, start + 1, keys[start : start + 1000])
            longest = max(longest, rounds())
        assert (ids.find(keys) == np.arange(capacity)).all()
        longest = max(longest, rounds())
    assert (ids.find(keys ^ np.uint64(0x5555)) < capacity).all()
    if isinstance(ids, TableIds):
        longest = int(displacements(ids).max())
    # At 2/5 full the chance of a chain of 40 is 2**-53 a key; 20,000 keys, eight patterns. Where
    # they lie side by side, a quarter taken, one of 60 has (1/4 e^(3/4))^60 = 2**-55.
    assert longest < (60 if isinstance(ids, TableIds) else 40)


def count_rounds(patch: pytest.MonkeyPatch) -> Callable[[], int]:
    """How many looks the two tables of numpy took since the last call."""
    rounds = 0
    genuine = u64_ids._Hash.next

    def counting(self: u64_ids._Hash, places: I64, steps: I64) -> I64:
        nonlocal rounds
        rounds += 1
        return genuine(self, places, steps)

    def since() -> int:
        nonlocal rounds
        taken, rounds = rounds, 0
        return taken

    patch.setattr(u64_ids._Hash, "next", counting)
    return since


def displacements(ids: TableIds) -> I64:
    """How far each entry stands from its home, by the hash of ``native/id_table.c``."""
    keys, places, salts = ids.arrays
    taken = np.flatnonzero(places)
    mixed = (keys[places[taken] - 1] ^ salts[0]) * (salts[1] | np.uint64(1))
    mixed = (mixed ^ (mixed >> np.uint64(32))) * (salts[2] | np.uint64(1))
    homes = (mixed >> np.uint64(32)) * np.uint64(len(places)) >> np.uint64(32)
    found: I64 = (taken - homes.view(np.int64)) % len(places)
    return found


def test_u64_ids_reserve_at_most_28_bytes_a_row_whatever_the_capacity() -> None:
    for capacity in [*range(1, 300), 1000, 65_537, 99_999, 100_000, 1_000_003, 10_000_000]:
        assert bytes_for("u64", capacity) <= 28 * capacity + 8
        size = u64_ids._prime_size(capacity)
        assert size > capacity
        assert all(size % factor for factor in range(2, min(size, int(size**0.5) + 2)))
        assert u64_ids._place_count(capacity) > capacity


def test_u64_ids_hold_as_much_as_they_say() -> None:
    ids = make_ids("u64", Ring(1000, 1))
    if isinstance(ids, TableIds):
        held = sum(array.nbytes for array in ids.arrays[:2])
    else:
        assert isinstance(ids, TwoTableIds)
        held = ids._keys.nbytes + sum(table.nbytes for table in ids._tables)
    assert ids.nbytes == held == bytes_for("u64", 1000)


def test_u64_ids_take_a_ring_that_begins_far_on() -> None:
    ring = Ring(10, 1)
    ids = make_ids("u64", ring)
    for first_seq, batch in ((1, [1, 2, 3]), (46, [4, 5, 6, 7, 8, 9]), (63, [9, 4])):
        leaving = ring.live_slots(1, ring.last_seq)
        ring.kill(leaving)
        ids.release(leaving)
        ring.last_seq = first_seq - 1
        slots = ring.append(np.ones((len(batch), 1), np.float32))
        ids.assign(slots, first_seq, np.array(batch, np.uint64))
        assert ids.find(np.array(batch, np.uint64)).tolist() == slots.tolist()
        assert ids.find(np.array([1000], np.uint64)).tolist() == [-1]
        ids.check()


def test_auto_ids_are_the_seqs_of_live_rows_only() -> None:
    rows = Rows("auto", 5)
    for count in (3, 4, 5, 1):
        rows.add([0] * count)
    rows.delete([11])
    asked = np.array([0, 8, 9, 11, 13, 14, 2**63, 2**64 - 1], np.uint64)
    assert rows.ids.find(asked).tolist() == [-1, -1, 3, -1, 2, -1, -1, -1]
    assert rows.ids.of(rows.ids.find(asked[[2, 4]])).tolist() == [9, 13]  # type: ignore[union-attr]
    assert rows.ids.nbytes == bytes_for("auto", 5) == 0
    rows.check()


def test_string_ids_hold_the_text_of_live_rows_only() -> None:
    ring = Ring(50, 1)
    rows = Rows("str", 50)
    rows.ring, rows.ids = ring, make_ids("str", ring)
    for lap in range(6):
        for start in range(0, 50, 10):
            rows.add([f"{lap}-{start + i}-é" for i in range(10)])
    rows.check()
    assert rows.ids.payload_bytes == sum(len(f"5-{i}-é".encode()) for i in range(50))
    rows.delete([f"5-{i}-é" for i in range(50)])
    assert rows.ids.payload_bytes == 0
    assert isinstance(rows.ids, StrIds)
    assert rows.ids._texts.of(np.arange(50)) == [None] * 50
    assert rows.ids.text_bytes == 12 * 50


@pytest.mark.parametrize("character", ["a", "漢", "𝄞"])
def test_memory_of_string_ids_stays_within_what_is_counted(character: str) -> None:
    capacity = 20_000
    ring = Ring(capacity, 1)
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        ids = make_ids("str", ring)
        for first_seq in range(1, 3 * capacity, 1000):
            slots = ring.overwritten(1000)
            ring.kill(slots)
            ids.release(slots)
            slots = ring.append(np.ones((1000, 1), np.float32))
            ids.assign(slots, first_seq, [f"{first_seq + i}{character * 9}" for i in range(1000)])
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown <= ids.nbytes + ids.text_bytes + 50_000


@pytest.mark.parametrize("kind", KINDS)
def test_no_ids_are_found_for_no_ids_and_in_an_empty_ring(kind: IdKind) -> None:
    rows = Rows(kind, 3)
    assert rows.ids.find(rows.as_ids([])).tolist() == []
    assert rows.ids.find(rows.as_ids(POOLS[kind])).tolist() == [-1] * len(POOLS[kind])
    assert len(rows.ids.of(np.empty(0, np.int64))) == 0
    rows.check()


def test_ids_of_the_wrong_kind_are_refused() -> None:
    numbers = np.array([1], np.uint64)
    slots = np.zeros(1, np.int64)
    for kind, wrong in (("u64", ["a"]), ("auto", ["a"]), ("str", numbers)):
        ids = make_ids(kind, Ring(2, 1))  # type: ignore[arg-type]
        with pytest.raises(BadId):
            ids.find(wrong)
    for kind in ("u64", "str"):
        with pytest.raises(BadId):
            make_ids(kind, Ring(2, 1)).assign(slots, 1, None)  # type: ignore[arg-type]


@settings(max_examples=examples(200), deadline=None, derandomize=True)
@given(st.lists(st.sampled_from([0, 1, 2, 5, 2**63, 2**64 - 1]), max_size=7), st.booleans())
def test_the_first_duplicate_is_the_first_id_that_was_there_before(
    ids: list[int], texts: bool
) -> None:
    wanted = next((row for row in range(len(ids)) if ids[row] in ids[:row]), None)
    given_ids: Ids = [str(id_) for id_ in ids] if texts else np.array(ids, np.uint64)
    assert first_duplicate(given_ids) == wanted
