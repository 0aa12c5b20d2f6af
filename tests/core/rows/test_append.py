"""One add in one call of the extension, and in steps of numpy: the same window and rows gone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omendb_core import native
from omendb_core.model.change import AddChange
from omendb_core.model.types import F32, I64, IdKind, Ids
from omendb_core.rows.append import append
from omendb_core.rows.ids import RowIds, make_ids
from omendb_core.rows.ring import Ring
from omendb_core.rows.shadow import Shadow

from tests.core.variants import NUMPY, VARIANTS, computing_with
from tests.examples import examples

pytestmark = pytest.mark.skipif(not native.is_there, reason="there is no C extension here")

DIM = 11


class Rows:
    """What ``append`` writes, driven with one variant."""

    def __init__(self, variant: str, kind: IdKind, capacity: int) -> None:
        self.variant = variant
        with computing_with(variant):
            self.ring = Ring(capacity, DIM, Shadow(capacity, DIM, "cosine", has_nibbles=True))
            self.ids: RowIds = make_ids(kind, self.ring)
        self.times_us: I64 = np.zeros(capacity, np.int64)

    def add(self, vectors: F32, ids: Ids | None, time_us: int) -> tuple[list[int], list[int]]:
        change = AddChange(0, time_us, self.ring.last_seq + 1, vectors, ids, {}, None, None, None)
        with computing_with(self.variant):
            left = append(self.ring, self.ids, self.times_us, change)
            self.ring.check()
            self.ids.check()
        return left.evicted.tolist(), left.replaced.tolist()

    def kill(self, slots: I64) -> None:
        with computing_with(self.variant):
            self.ring.kill(slots)
            self.ids.release(slots)

    def state(self) -> list[object]:
        ring = self.ring
        live = ring.live_slots(1, ring.last_seq)
        assert ring.shadow is not None
        assert ring.shadow.nibbles is not None
        return [
            ring.last_seq, ring.first_seq, ring.rows, ring.live_words.tolist(), live.tolist(),
            self.ids.of(live), ring.vectors.tobytes(), self.times_us.tolist(),
            ring.shadow.codes.tobytes(), ring.shadow.factors.tobytes(),
            *(array.tobytes() for array in ring.shadow.nibbles),
        ]  # fmt: skip


def same(one: Rows, other: Rows) -> None:
    for mine, theirs in zip(one.state(), other.state(), strict=True):
        assert np.array_equal(mine, theirs) if isinstance(mine, np.ndarray) else mine == theirs


@given(
    variant=st.sampled_from(VARIANTS[1:] or [NUMPY]),
    kind=st.sampled_from(["auto", "u64", "str"]),
    hashes=st.sampled_from([None, 1, 3]),
    capacity=st.sampled_from([1, 2, 5, 63, 64, 65, 130, 200]),
    seed=st.integers(0, 2**32),
    steps=st.integers(1, 12),
)
@settings(max_examples=examples(150), deadline=None, derandomize=True)
def test_any_history_of_adds_and_deaths_leaves_the_same_rows(
    variant: str, kind: IdKind, hashes: int | None, capacity: int, seed: int, steps: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        if hashes is not None:  # string ids whose keys run into each other
            patch.setattr(
                "omendb_core.rows.ids._hashed", lambda text: sum(text.encode()) % hashes - 1
            )
        play(variant, kind, capacity, seed, steps)


def play(variant: str, kind: IdKind, capacity: int, seed: int, steps: int) -> None:
    rng = np.random.default_rng(seed)
    one, other = Rows(variant, kind, capacity), Rows(NUMPY, kind, capacity)
    for step in range(steps):
        count = int(rng.integers(1, capacity + 1))
        vectors = rng.standard_normal((count, DIM)).astype(np.float32)
        ids: Ids | None = None
        if kind != "auto":
            ids = rng.permutation(np.arange(2 * capacity, dtype=np.uint64))[:count]
        if kind == "str":
            ids = [f"item {number}" for number in ids]
        assert one.add(vectors, ids, step) == other.add(vectors, ids, step)
        same(one, other)
        live = one.ring.live_slots(1, one.ring.last_seq)
        dying = rng.permutation(live)[: int(rng.integers(0, len(live) + 1)) // 2]
        one.kill(dying)
        other.kill(dying)
        same(one, other)


def test_rows_and_ids_that_lie_anywhere_in_memory_are_taken() -> None:
    one, other = Rows(VARIANTS[1], "u64", 70), Rows(NUMPY, "u64", 70)
    vectors = np.arange(60 * DIM, dtype=np.float32).reshape(60, DIM)
    ids = np.arange(60, dtype=np.uint64)
    frame = bytearray(3 + vectors.nbytes + ids.nbytes)
    frame[3:] = vectors.tobytes() + ids.tobytes()
    views = np.frombuffer(frame, np.float32, 60 * DIM, 3).reshape(60, DIM)
    own = np.frombuffer(frame, np.uint64, 60, 3 + vectors.nbytes)
    wide = np.zeros((120, 2 * DIM), np.float32)
    wide[::2, ::2] = vectors
    for given_vectors, given_ids in (
        (views, own),
        (wide[::2, ::2], ids[::-1]),
        (np.asfortranarray(vectors), np.repeat(ids, 2)[::2]),
        (np.broadcast_to(vectors[0], (60, DIM)), ids),
    ):
        assert one.add(given_vectors, given_ids, 1) == other.add(given_vectors, given_ids, 1)
        same(one, other)


def test_more_rows_than_let_the_interpreter_go_are_the_same_rows() -> None:
    one, other = Rows(VARIANTS[1], "u64", 9_000), Rows(NUMPY, "u64", 9_000)
    rng = np.random.default_rng(3)
    for step in range(3):
        vectors = rng.standard_normal((8_000, DIM)).astype(np.float32)
        ids = rng.permutation(np.arange(12_000, dtype=np.uint64))[:8_000]
        assert one.add(vectors, ids, step) == other.add(vectors, ids, step)
    same(one, other)


def test_rows_of_a_ring_too_large_for_the_caches_are_the_same() -> None:
    capacity, dim = 270_000, 16  # 17 MB
    rng = np.random.default_rng(4)
    rings = []
    vectors = rng.standard_normal((3, 150, dim)).astype(np.float32)
    for variant in (VARIANTS[1], NUMPY):
        with computing_with(variant):
            ring = Ring(capacity, dim)
            ring.took(capacity - 201, capacity - 201)
            times_us = np.zeros(capacity, np.int64)
            for batch in vectors:
                change = AddChange(0, 1, ring.last_seq + 1, batch, None, {}, None, None, None)
                append(ring, make_ids("auto", ring), times_us, change)
            ring.check()
        rings.append(ring)
    one, other = rings
    assert one.rows == 450
    assert np.array_equal(one.vectors, other.vectors)
    assert np.array_equal(one.live_words, other.live_words)
    assert np.array_equal(one.vectors[:249].ravel(), vectors.ravel()[201 * dim :])
