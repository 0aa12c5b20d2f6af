"""Payloads against a plain dict, and against what they say they take, whatever comes and goes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omendb_core.model.packed import PackedPayloads, packed
from omendb_core.rows import payloads as room
from omendb_core.rows.payloads import Payloads

from tests.examples import examples


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks that a few payloads fill, so that they are written together all the time."""
    monkeypatch.setattr(room, "_LEAST_BLOCK_BYTES", 16)
    monkeypatch.setattr(room, "_LEAST_DEAD_BYTES", 1)
    monkeypatch.setattr(room, "touched_bytes", lambda nbytes: nbytes)
    monkeypatch.setattr(room, "own_mapping", bytearray)


class Held:
    """Payloads, and a dict of what they should hold."""

    def __init__(self, capacity: int) -> None:
        self.payloads = Payloads(capacity)
        self.rows: dict[int, bytes | None] = dict.fromkeys(range(capacity))

    def write(self, batch: dict[int, bytes | None]) -> None:
        slots = np.array(list(batch), np.int64)
        self.payloads.clear(slots)
        assert self.payloads.of(slots) == [None] * len(slots)
        self.payloads.write(slots, packed(batch.values()))
        self.rows |= batch

    def check(self) -> None:
        self.payloads.check()
        every = np.arange(len(self.rows))
        assert self.payloads.of(every) == list(self.rows.values())
        sizes = [len(one or b"") for one in self.rows.values()]
        assert self.payloads.sizes(every).tolist() == sizes
        assert self.payloads.payload_bytes == sum(sizes)


BATCHES = st.lists(
    st.dictionaries(
        st.integers(0, 7), st.one_of(st.none(), st.binary(min_size=1, max_size=20)), min_size=1
    ),
    max_size=30,
)


@pytest.mark.usefixtures("small_blocks")
@settings(max_examples=examples(300), deadline=None, derandomize=True)
@given(BATCHES, st.booleans())
def test_payloads_hold_what_a_dict_holds(
    batches: list[dict[int, bytes | None]], compacts: bool
) -> None:
    held = Held(8)
    for batch in batches:
        held.write(batch)
        held.check()
    if compacts:
        held.payloads.compact()
        held.check()
    held.payloads.clear(np.arange(8))
    held.payloads.check()
    assert held.payloads.payload_bytes == 0


def test_payloads_cost_nothing_until_there_is_one() -> None:
    payloads = Payloads(1000)
    payloads.write(np.arange(1000), None)
    payloads.write(np.arange(1000), packed([None] * 1000))
    payloads.clear(np.arange(1000))
    assert payloads.of(np.array([3, 4])) == [None, None]
    assert payloads.nbytes == 0
    payloads.write(np.array([3]), packed([b"{}"]))
    assert payloads.of(np.array([3, 4])) == [b"{}", None]
    assert payloads.nbytes == 12 * 1000 + 4096 + 4


@pytest.mark.parametrize("size", [20, 80, 4096, 100_000])
def test_a_stream_takes_little_more_than_it_holds(size: int) -> None:
    capacity = 500_000 // size + 10
    held = Payloads(capacity)
    batch = max(1, capacity // 20)
    for start in range(0, 10 * capacity, batch):
        slots = np.arange(start, start + batch) % capacity
        held.clear(slots)
        growth = held.growth(size * batch, batch)
        before = held.nbytes
        held.write(slots, packed([b"x" * size] * batch))
        assert held.nbytes <= before + growth
    held.check()
    assert held.payload_bytes == size * capacity
    assert held.nbytes <= 1.25 * held.payload_bytes + 20 * capacity + (256 << 10)


@pytest.mark.parametrize("seed", range(3))
def test_what_is_dead_stays_small_however_rows_leave(seed: int) -> None:
    """Updates and deletes in no order, growing and shrinking; then nearly all goes."""
    chance = np.random.default_rng(seed)
    capacity = 20_000
    held = Payloads(capacity)
    for _ in range(200):
        slots = chance.choice(capacity, 1000, replace=False)
        held.clear(slots)
        sizes = chance.integers(0, 400, len(slots))
        held.write(slots, packed([b"x" * int(size) or None for size in sizes]))
        dead = held.nbytes - held.payload_bytes - 12 * capacity
        # Of the dead, their slots are kept with them, and pages that are not full.
        assert dead <= 0.3 * held.payload_bytes + 8 * capacity + (512 << 10)
    held.check()
    for start in range(0, capacity - 10, 500):
        held.clear(np.arange(start, min(start + 500, capacity - 10)))
    held.compact()
    held.check()
    assert held.nbytes <= 12 * capacity + held.payload_bytes + (256 << 10)
    held.clear(np.arange(capacity))
    assert held.nbytes == 12 * capacity


def test_one_that_is_longer_than_a_block_has_its_own() -> None:
    held = Payloads(2)
    held.write(np.array([0, 1]), packed([b"a" * 3_000_000, b"b" * 10]))
    assert held.of(np.array([1, 0])) == [b"b" * 10, b"a" * 3_000_000]
    held.check()


def test_a_batch_is_a_sequence_of_its_payloads() -> None:
    plain = [b"ab", None, b"c"]
    batch = packed(plain)
    assert batch.data == b"abc"
    assert (len(batch), list(batch), batch[0], batch[-1], batch[1:]) == (
        3, plain, b"ab", b"c", [None, b"c"],
    )  # fmt: skip
    assert batch == plain
    assert batch != [b"ab"]
    assert batch == packed(batch)
    assert batch.some(np.array([True, True, False])) == [b"ab", None]
    assert isinstance(packed([]), PackedPayloads)


@pytest.mark.usefixtures("small_blocks")
@settings(max_examples=examples(60), deadline=None)
@given(st.lists(st.dictionaries(st.integers(0, 7), st.binary(min_size=1, max_size=9)), max_size=20))
def test_what_is_kept_stays_as_it_was_whatever_is_written_and_cleaned(
    batches: list[dict[int, bytes]],
) -> None:
    held = Held(8)
    kept = []
    for batch in batches:
        if batch:
            held.write(dict(batch))
        slots = np.array([slot for slot, data in held.rows.items() if data], np.int64)
        if len(slots):
            kept.append((held.payloads.kept(slots), held.payloads.of(slots)))
    for later, expected in kept:
        assert later.of(np.arange(len(expected))) == expected
        assert later.of(np.array([len(expected) - 1])) == expected[-1:]
