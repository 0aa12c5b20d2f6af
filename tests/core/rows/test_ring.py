import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from omendb_core.model.types import F32
from omendb_core.rows.ring import Ring, pack, unpack, words_for
from omendb_core.rows.shadow import Shadow

from tests.examples import examples


def rows(seqs: range, dim: int = 3) -> F32:
    """Rows that say which seq they are."""
    return np.array([[seq, -seq, seq / 2][:dim] for seq in seqs], np.float32).reshape(-1, dim)


def push(ring: Ring, count: int) -> list[int]:
    """Append ``count`` rows as a window does; return the seqs that had to go."""
    dead = ring.overwritten(count)
    gone = ring.seqs(dead).tolist()
    ring.kill(dead)
    ring.append(rows(range(ring.last_seq + 1, ring.last_seq + 1 + count)))
    ring.check()
    return gone


class RingMachine(RuleBasedStateMachine):
    """The ring against a dict from seq to row."""

    @initialize(capacity=st.one_of(st.integers(1, 6), st.integers(60, 70), st.integers(126, 200)))
    def create(self, capacity: int) -> None:
        self.capacity = capacity
        self.ring = Ring(capacity, 3)
        self.live: dict[int, list[float]] = {}
        self.last_seq = 0
        self.horizon = 1

    @rule(part=st.floats(0, 1))
    def append(self, part: float) -> None:
        count = max(1, round(part * self.capacity))
        seqs = range(self.last_seq + 1, self.last_seq + 1 + count)
        leaving = [seq for seq in sorted(self.live) if seq <= seqs[-1] - self.capacity]
        dead = self.ring.overwritten(count)
        assert self.ring.seqs(dead).tolist() == leaving
        self.ring.kill(dead)
        slots = self.ring.append(rows(seqs))
        assert slots.tolist() == [(seq - 1) % self.capacity for seq in seqs]
        for seq in leaving:
            del self.live[seq]
        for seq, row in zip(seqs, rows(seqs).tolist(), strict=True):
            self.live[seq] = row
        self.last_seq = seqs[-1]

    @precondition(lambda self: self.live)
    @rule(data=st.data())
    def kill_some(self, data: st.DataObject) -> None:
        seqs = data.draw(st.lists(st.sampled_from(sorted(self.live)), unique=True))
        self.ring.kill(self.ring.slots(np.array(seqs, np.uint64)))
        for seq in seqs:
            del self.live[seq]

    @rule(ahead=st.integers(-5, 80))
    def expire(self, ahead: int) -> None:
        first_seq = min(max(1, self.last_seq - self.capacity + ahead), self.last_seq + 1)
        self.ring.kill(self.ring.live_slots(1, first_seq - 1))
        self.ring.expire(first_seq)
        self.horizon = max(self.horizon, first_seq)
        self.live = {seq: row for seq, row in self.live.items() if seq >= first_seq}

    @rule(first=st.integers(-3, 400), last=st.integers(-3, 400))
    def look_at_a_range(self, first: int, last: int) -> None:
        expected = [seq for seq in sorted(self.live) if first <= seq <= last]
        assert self.ring.seqs(self.ring.live_slots(first, last)).tolist() == expected

    @rule(first=st.integers(-3, 400))
    def mask_the_newest(self, first: int) -> None:
        words = self.ring.words_from(first)
        slots = np.flatnonzero(unpack(words, len(words) * 64))
        expected = range(max(first, self.ring.first_seq), self.last_seq + 1)
        assert sorted(self.ring.seqs(slots).tolist()) == list(expected)

    @invariant()
    def agrees(self) -> None:
        ring = self.ring
        ring.check()
        assert ring.rows == len(self.live)
        assert ring.last_seq == self.last_seq
        assert ring.first_seq == max(1, self.last_seq - self.capacity + 1, self.horizon)
        seqs = np.array(sorted(self.live), np.uint64)
        slots = ring.slots(seqs)
        assert ring.is_live(slots).all()
        assert ring.seqs(slots).tolist() == seqs.tolist()
        assert ring.vectors[slots].tolist() == [self.live[seq] for seq in seqs.tolist()]
        dead = np.setdiff1d(np.arange(self.capacity), slots)
        assert not ring.is_live(dead).any()
        assert ring.oldest_live() == (int(slots[0]) if len(slots) else None)


RingMachine.TestCase.settings = settings(
    max_examples=examples(60), stateful_step_count=25, deadline=None, derandomize=True
)
TestRingAgainstADict = RingMachine.TestCase


def test_a_new_ring_is_empty() -> None:
    ring = Ring(100, 7)
    ring.check()
    assert (ring.rows, ring.first_seq, ring.last_seq) == (0, 1, 0)
    assert ring.live_slots(1, 1000).size == 0
    assert ring.overwritten(100).size == 0
    assert not ring.words_from(1).any()


@pytest.mark.parametrize("dim", [1, 3, 16, 100])
def test_vectors_are_aligned_to_cache_lines(dim: int) -> None:
    for capacity in (1, 5, 64, 1000):
        ring = Ring(capacity, dim)
        assert ring.vectors.ctypes.data % 64 == 0
        assert ring.vectors.flags.c_contiguous
        assert ring.vectors.shape == (capacity, dim)


def test_the_oldest_rows_give_way_one_by_one() -> None:
    ring = Ring(5, 3)
    assert push(ring, 3) == []
    assert push(ring, 3) == [1]
    assert push(ring, 1) == [2]
    assert push(ring, 5) == [3, 4, 5, 6, 7]
    assert push(ring, 5) == [8, 9, 10, 11, 12]
    assert ring.first_seq == 13
    assert ring.vectors[:, 0].tolist() == [16, 17, 13, 14, 15]


def test_only_live_rows_are_overwritten() -> None:
    ring = Ring(70, 3)
    push(ring, 70)
    ring.kill(np.array([0, 2, 64], np.int64))
    ring.check()
    assert ring.rows == 67
    assert push(ring, 4) == [2, 4]
    assert ring.rows == 69


def test_append_copies_what_it_is_given() -> None:
    ring = Ring(4, 3)
    mine = rows(range(1, 3))
    ring.append(mine)
    mine[:] = 9
    assert ring.vectors[0].tolist() == [1, -1, 0.5]


def test_append_takes_views_of_received_frames() -> None:
    frame = bytes(4) + rows(range(1, 4)).tobytes()
    received = np.frombuffer(frame, np.float32, offset=4).reshape(3, 3)
    assert not received.flags.writeable
    ring = Ring(2, 3)
    ring.append(received[:2])
    assert ring.vectors.tolist() == [[1, -1, 0.5], [2, -2, 1]]


def test_the_horizon_never_moves_back() -> None:
    ring = Ring(10, 3)
    push(ring, 10)
    ring.kill(ring.live_slots(1, 6))
    ring.expire(7)
    ring.expire(3)
    assert ring.first_seq == 7
    ring.kill(ring.live_slots(7, 10))
    ring.expire(11)
    ring.check()
    assert (ring.rows, ring.first_seq, ring.last_seq) == (0, 11, 10)
    assert not ring.words_from(1).any()
    push(ring, 1)
    assert (ring.first_seq, ring.last_seq) == (11, 11)


def test_seqs_beyond_32_bits_keep_their_slots() -> None:
    ring = Ring(1000, 3)
    ring.last_seq = 2**52 - 1
    ring.horizon = 2**52
    slots = ring.append(rows(range(700)))
    seqs = np.arange(2**52, 2**52 + 700, dtype=np.uint64)
    assert ring.seqs(slots).tolist() == seqs.tolist()
    assert ring.slots(seqs).tolist() == slots.tolist()
    ring.check()


@pytest.mark.parametrize("count", [0, 1, 7, 8, 63, 64, 65, 128, 1000])
def test_masks_are_packed_low_bit_first_with_empty_tails(count: int) -> None:
    mask = np.random.default_rng(count).random(count) < 0.5
    words = pack(mask)
    assert words.dtype == np.uint64
    assert len(words) == words_for(count)
    as_integer = sum(int(word) << (64 * i) for i, word in enumerate(words))
    assert as_integer == sum(1 << i for i in range(count) if mask[i])
    assert unpack(words, count).tolist() == mask.tolist()
    assert unpack(words, count // 2).tolist() == mask[: count // 2].tolist()


def test_every_range_of_slots_sets_just_its_bits() -> None:
    # words_from over all starts and ends of a ring of 130 slots, wrapped and not.
    ring = Ring(130, 3)
    for _ in range(9):
        push(ring, 29)
        for first in range(ring.first_seq, ring.last_seq + 2):
            found = unpack(ring.words_from(first), 192)
            expected = np.zeros(192, np.bool_)
            expected[ring.slots(np.arange(first, ring.last_seq + 1, dtype=np.uint64))] = True
            assert (found == expected).all()


@pytest.mark.parametrize("scale", [1e-42, 1e-30, 1e-19, 1, 1e15, 2.0**58])
@pytest.mark.parametrize("dim", [1, 8, 300])
def test_norms_are_near_the_true_ones_at_any_magnitude(scale: float, dim: int) -> None:
    vectors = (np.random.default_rng(5).standard_normal((50, dim)) * scale).astype(np.float32)
    ring = Ring(50, dim)
    ring.append(vectors)
    ring.check()


def test_check_finds_what_is_wrong() -> None:
    def broken() -> Ring:
        ring = Ring(70, 3)
        push(ring, 60)
        return ring

    for harm in (
        lambda ring: setattr(ring, "rows", 59),
        lambda ring: ring.live_words.__setitem__(1, np.uint64(1 << 7)),
        lambda ring: ring.live_words.__setitem__(0, ring.live_words[0] | np.uint64(1 << 62)),
        lambda ring: ring.norms.__setitem__(5, 1),
        lambda ring: ring.vectors.__setitem__((5, 0), np.nan),
        lambda ring: setattr(ring, "horizon", 2),
    ):
        ring = broken()
        harm(ring)
        with pytest.raises(AssertionError):
            ring.check()


def test_its_size_is_known_before_it_is_made() -> None:
    ring = Ring(1000, 20)
    held = ring.vectors.nbytes + ring.norms.nbytes + ring.live_words.nbytes
    assert held <= Ring.bytes_for(1000, 20, has_shadow=False) == ring.nbytes <= held + 64
    shadow = Shadow(1000, 20, "dot")
    held += shadow.codes.nbytes + shadow.factors.nbytes + shadow.centre.nbytes
    ring = Ring(1000, 20, shadow)
    assert held <= Ring.bytes_for(1000, 20, has_shadow=True) == ring.nbytes <= held + 3 * 64


def test_a_large_ring_counts_the_nibbles_of_its_shadow() -> None:
    shadow = Shadow(40_000, 20, "dot", has_nibbles=True)
    assert shadow.nibbles is not None
    ring = Ring(40_000, 20, shadow)
    arrays = ring.vectors, ring.norms, ring.live_words, shadow.codes, shadow.factors, shadow.centre
    held = sum(array.nbytes for array in (*arrays, *shadow.nibbles))
    assert held <= Ring.bytes_for(40_000, 20, has_shadow=True) == ring.nbytes <= held + 5 * 64


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_memory_is_committed_only_as_rows_come() -> None:
    def resident_bytes() -> int:
        status = Path("/proc/self/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) * 1024

    before = resident_bytes()
    ring = Ring(2_000_000, 64)  # 512 MB
    push_these = np.ones((1000, 64), np.float32)
    ring.append(push_these)
    assert ring.nbytes > 512_000_000
    assert resident_bytes() - before < 50 << 20
