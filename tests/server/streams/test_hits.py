"""Hits that wait for a reader of a match query: kept as they came, charged at what they take."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from omendb_core.model.budget import Budget, Share
from omendb_core.model.errors import Quota
from omendb_core.model.types import F32, U64

from omendb_ws.engine.streams.hits import WaitingHits


def waiting(max_bytes: int = 1 << 30) -> tuple[WaitingHits, Budget]:
    budget = Budget("max_memory_bytes", max_bytes)
    return WaitingHits(Share(budget, "hits that wait take")), budget


def batch(first_seq: int, count: int) -> tuple[U64, F32]:
    seqs = np.arange(first_seq, first_seq + count, dtype=np.uint64)
    return seqs, (seqs % np.uint64(1000)).astype(np.float32) / 7


#: What comes and goes: so many more hits, a gap in the seqs behind them, a part that is forgotten.
STEPS = st.lists(
    st.tuples(
        st.integers(1, 1500) | st.integers(1, 5), st.integers(0, 2**33), st.none() | st.floats(0, 1)
    ),
    max_size=40,
)


@given(STEPS)
def test_what_waits_is_what_came_and_was_not_forgotten(
    steps: list[tuple[int, int, float | None]],
) -> None:
    hits, budget = waiting()
    seqs, scores = np.empty(0, np.uint64), np.empty(0, np.float32)
    first_seq = 1
    for count, left_out, forgotten in steps:
        coming = batch(first_seq, count)
        hits.add(coming[0].copy(), coming[1].copy())
        seqs, scores = np.concatenate([seqs, coming[0]]), np.concatenate([scores, coming[1]])
        first_seq += count + left_out
        if forgotten is not None:
            place = round(forgotten * len(seqs))
            seq = int(seqs[place - 1]) if place else 0
            hits.forget(seq)
            seqs, scores = seqs[place:], scores[place:]
        assert len(hits) == len(seqs)
        assert hits.first_seq == (int(seqs[0]) if len(seqs) else None)
        for got, wanted in zip(hits.above(0), (seqs, scores), strict=True):
            assert np.array_equal(got, wanted)
        middle = int(seqs[len(seqs) // 2]) if len(seqs) else 0
        assert np.array_equal(hits.above(middle)[0], seqs[seqs > middle])
        assert budget.taken_bytes == hits.nbytes
        assert hits.nbytes >= 12 * len(hits)
        assert (hits.nbytes == 0) == (len(hits) == 0)
    hits.close()
    assert len(hits) == budget.taken_bytes == 0


def test_what_has_no_room_in_the_budget_changes_nothing() -> None:
    hits, budget = waiting(4000)
    hits.add(*batch(1, 100))
    before = budget.taken_bytes
    with pytest.raises(Quota, match="max_memory_bytes"):
        hits.add(*batch(101, 400))
    assert budget.taken_bytes == before == hits.nbytes
    assert hits.above(0)[0].tolist() == list(range(1, 101))
    hits.add(*batch(101, 10))
    assert hits.above(0)[0].tolist() == list(range(1, 111))


def test_no_array_is_made_anew_while_hits_wait() -> None:
    """A reader that is slow is told of few rows at a time, and gets more of them."""
    hits, _ = waiting()
    made: dict[int, np.ndarray] = {}
    for number in range(400):
        hits.add(*batch(number * 10 + 1, 10))
        for chunk in hits._chunks:
            made.setdefault(id(chunk), chunk.seqs)
            assert made[id(chunk)] is chunk.seqs
    assert len(made) < 40
    held = sum(chunk.seqs.nbytes + chunk.scores.nbytes for chunk in hits._chunks)
    assert 12 * 4000 <= held <= 1.25 * 12 * 4000
    objects = sum(sys.getsizeof(chunk.seqs) - chunk.seqs.nbytes for chunk in hits._chunks)
    assert held + 2 * objects <= hits.nbytes


@given(STEPS, st.booleans())
def test_what_each_is_near_to_waits_with_it_and_texts_are_charged(
    steps: list[tuple[int, int, float | None]], are_texts: bool
) -> None:
    hits, budget = waiting()
    expected: list[tuple[int, object]] = []
    first_seq = 1
    for count, left_out, forgotten in steps[:12]:
        seqs, scores = batch(first_seq, count)
        near: np.ndarray = seqs + np.uint64(7)
        if are_texts:
            near = np.array([f"id {seq}" * (int(seq) % 5) for seq in seqs], object)
        hits.add(seqs.copy(), scores, near.copy())
        expected += zip(seqs.tolist(), near.tolist(), strict=True)
        first_seq += count + left_out
        if forgotten is not None:
            place = round(forgotten * len(expected))
            hits.forget(expected[place - 1][0] if place else 0)
            expected = expected[place:]
        found = hits.near_of(len(expected))
        assert ([] if found is None else found.tolist()) == [one for _, one in expected]
        some = expected[len(expected) // 2 :]
        if some:
            behind = hits.near_of(len(some))
            assert behind is not None
            assert behind.tolist() == [one for _, one in some]
        least = sum(sys.getsizeof(one) for _, one in expected) if are_texts else 0
        assert budget.taken_bytes == hits.nbytes >= 20 * len(hits) + least
    hits.close()
    assert budget.taken_bytes == 0


@given(st.lists(st.tuples(st.integers(1, 3), st.none() | st.floats(0, 1)), max_size=30))
def test_one_hit_by_itself_takes_nothing_and_is_as_good_as_any_other(
    steps: list[tuple[int, float | None]],
) -> None:
    hits, budget = waiting()
    expected: list[tuple[int, float]] = []
    first_seq = 1
    for count, forgotten in steps:
        seqs, scores = batch(first_seq, count)
        if count == 1:
            hits.add_one(int(seqs[0]), float(scores[0]))
        else:
            hits.add(seqs.copy(), scores.copy())
        expected += zip(seqs.tolist(), scores.tolist(), strict=True)
        first_seq += count
        if forgotten is not None:
            place = round(forgotten * len(expected))
            hits.forget(expected[place - 1][0] if place else 0)
            expected = expected[place:]
        assert len(hits) == len(expected)
        assert hits.first_seq == (expected[0][0] if expected else None)
        found = hits.above(0)
        assert found[0].dtype == np.uint64
        assert found[1].dtype == np.float32
        assert [*zip(*map(np.ndarray.tolist, found), strict=True)] == expected
        if hits.few is not None:
            assert [*zip(*hits.few, strict=True)] == expected
        assert budget.taken_bytes == hits.nbytes
        assert hits.nbytes >= 12 * len(hits) or (len(hits) == 1 and hits.one is not None)
    hits.clear()
    assert len(hits) == hits.nbytes == budget.taken_bytes == 0
    assert hits.above(0)[0].tolist() == []


def test_a_second_hit_that_has_no_room_leaves_the_first() -> None:
    hits, _ = waiting(100)
    hits.add_one(5, 0.5)
    with pytest.raises(Quota):
        hits.add_one(6, 0.5)
    assert len(hits) == 1
    assert hits.above(0)[0].tolist() == [5]
