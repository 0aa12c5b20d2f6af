"""The order of decay, held against its definition with every row scored."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omendb_core import native
from omendb_core.model.types import F32, F64, I64, METRICS, NULL_INTEGER, U64, Metric
from omendb_core.rows.ring import Ring, pack, unpack, words_for
from omendb_core.scan import choice as scan
from omendb_core.scan.interface import RankedTopK, Times
from omendb_core.scoring import score
from omendb_core.scoring.functions import log2

from tests.core.hard_data import CASES, give_shadow, make_ring, normal, rows_of, some_of
from tests.core.native.test_native import frozen
from tests.examples import examples

NOW = 1.8e9


def seconds_of(times: Times) -> F64:
    if times.numbers is not None:
        return times.numbers / times.per_second
    assert times.integers is not None
    seconds: F64 = times.integers / times.per_second
    seconds[times.integers == NULL_INTEGER] = np.nan
    return seconds


def defined(
    ring: Ring, metric: Metric, query: F32, k: int, least: float, words: U64, ranks_at: F64
) -> list[tuple[int, float, float]]:
    """(slot, score, rank) of the k best, the slow way; ``ranks_at`` is t / half-life by slot."""
    slots = np.flatnonzero(unpack(words, ring.capacity))
    scores = score.score_pairs(metric, ring.vectors[slots], np.repeat(query[None], len(slots), 0))
    with np.errstate(all="ignore"):
        ranks = np.where(scores > 0, log2(scores.astype(np.float64)), np.nan) + ranks_at[slots]
    ranks[~np.isfinite(ranks)] = np.nan
    rows = [
        (not np.isnan(rank), value if np.isnan(rank) else rank, seq, slot, value, rank)
        for slot, value, rank, seq in zip(
            slots.tolist(), scores.tolist(), ranks.tolist(), ring.seqs(slots).tolist(), strict=True
        )
        if value >= np.float32(least)
    ]
    rows.sort(key=lambda row: row[:3], reverse=True)
    return [(slot, value, rank) for *_, slot, value, rank in rows[:k]]


def assert_decayed(
    ring: Ring,
    metric: Metric,
    queries: F32,
    k: list[int],
    times: Times,
    half_lives: list[float],
    min_scores: list[float] | None = None,
    masks: U64 | None = None,
    mask_of: list[int] | None = None,
) -> None:
    least = min_scores or [-np.inf] * len(queries)
    words = ring.live_words[None] if masks is None else masks
    owners = mask_of or [0] * len(queries)
    with np.errstate(all="ignore"):
        expected = [
            defined(ring, metric, query, k[i], least[i], words[owners[i]],
                    seconds_of(times) / half_lives[i])
            for i, query in enumerate(queries)
        ]  # fmt: skip
    give_shadow(ring, metric)
    for name in scan.names():
        found = scan.choose(name).top_k_decayed(
            ring, metric, queries, np.array(k), np.array(least, np.float32), words,
            np.array(owners), times, np.array(half_lives),
        )  # fmt: skip
        assert_same(found, expected)


def assert_same(found: RankedTopK, expected: list[list[tuple[int, float, float]]]) -> None:
    assert [a.dtype for a in found] == [np.uint32, np.int64, np.float32, np.float64]
    assert found.counts.tolist() == [len(rows) for rows in expected]
    rows = [row for rows in expected for row in rows]
    assert found.slots.tolist() == [slot for slot, _, _ in rows]
    assert found.scores.tolist() == [value for _, value, _ in rows]
    ranks = np.array([rank for _, _, rank in rows])
    assert np.array_equal(found.ranks, ranks, equal_nan=True)


def accepted(ring: Ring, rng: np.random.Generator, step_us: int = 1000) -> Times:
    """Times of acceptance: they never fall along the seqs, and are equal within an add."""
    times = np.zeros(ring.capacity, np.int64)
    slots = ring.live_slots(1, ring.last_seq)
    times[slots] = int(NOW * 1e6) + np.sort(rng.integers(0, 300 * step_us, len(slots)))
    return Times(times, None, 1e6, True)


def any_integers(ring: Ring, rng: np.random.Generator) -> Times:
    """A column: in no order, some null."""
    times = int(NOW) + rng.integers(-100_000, 100_000, ring.capacity)
    times[rng.random(ring.capacity) < 0.2] = NULL_INTEGER
    return Times(times, None, 1.0, False)


def any_numbers(ring: Ring, rng: np.random.Generator) -> Times:
    """A column: of all magnitudes, some null."""
    times = rng.normal(size=ring.capacity) * 10.0 ** rng.uniform(-3, 12, ring.capacity)
    times[rng.random(ring.capacity) < 0.2] = np.nan
    return Times(None, times, 1.0, False)


def no_times(ring: Ring, rng: np.random.Generator) -> Times:
    return Times(None, np.full(ring.capacity, np.nan), 1.0, False)


def hostile_numbers(ring: Ring, rng: np.random.Generator) -> Times:
    """Some whose share of a half-life is no number."""
    return Times(None, rng.choice([1e308, -1e308, 0.0, 1e-308, 5e-324], ring.capacity), 1.0, False)


def with_latest(times: Times, rng: np.random.Generator) -> Times:
    """The same, where it is known what no time of 64 slots is above; it may well be below."""
    numbers = times.numbers
    if times.integers is not None:
        numbers = np.where(times.integers == NULL_INTEGER, np.nan, times.integers)
    assert numbers is not None
    padded = np.full(words_for(len(numbers)) * 64, -np.inf)
    padded[: len(numbers)] = np.where(np.isnan(numbers), -np.inf, numbers)
    latest = padded.reshape(-1, 64).max(axis=1)
    looser = (rng.random(len(latest)) < 0.2) & (np.abs(latest) < 1e300)
    latest[looser] += np.abs(latest[looser]) * 0.1
    return times._replace(latest=latest)


def integers_with_latest(ring: Ring, rng: np.random.Generator) -> Times:
    return with_latest(any_integers(ring, rng), rng)


def numbers_with_latest(ring: Ring, rng: np.random.Generator) -> Times:
    return with_latest(any_numbers(ring, rng), rng)


def hostile_numbers_with_latest(ring: Ring, rng: np.random.Generator) -> Times:
    with np.errstate(all="ignore"):
        return with_latest(hostile_numbers(ring, rng), rng)


TIMES: list[Callable[[Ring, np.random.Generator], Times]] = [
    accepted, any_integers, any_numbers, no_times, hostile_numbers,
    integers_with_latest, numbers_with_latest, hostile_numbers_with_latest,
]  # fmt: skip
HALF_LIVES = [1e-3, 0.05, 1.0, 3600.0, 1e12]


@pytest.mark.parametrize("times", TIMES)
@pytest.mark.parametrize(("metric", "name"), CASES)
def test_answers_are_exact_on_hard_data(
    metric: Metric, name: str, times: Callable[[Ring, np.random.Generator], Times]
) -> None:
    rng = np.random.default_rng(1)
    for dim in (1, 33):
        rows = rows_of(metric, name, rng, 900, dim)
        ring = make_ring(rows, 700)
        fresh = rows_of(metric, name, rng, 3, dim)
        queries = np.concatenate((fresh, some_of(rows, rng, 2)))
        half_lives = HALF_LIVES
        assert_decayed(ring, metric, queries, [1, 2, 10, 700, 10], times(ring, rng), half_lives)


@pytest.mark.parametrize("metric", ["cosine", "dot"])
@pytest.mark.parametrize("half_life", [0.01, 0.3, 1000.0])
def test_answers_are_exact_in_a_larger_window(metric: Metric, half_life: float) -> None:
    rng = np.random.default_rng(2)
    rows = score.prepare(normal(rng, 23_000, 64), metric)
    ring = make_ring(rows, 20_011)
    for count in (1, 8):
        queries = score.prepare(some_of(rows, rng, count) + normal(rng, count, 64), metric)
        times = accepted(ring, rng)
        assert_decayed(ring, metric, queries, [10] * count, times, [half_life] * count)


@pytest.mark.parametrize("metric", METRICS)
def test_queries_of_several_masks_and_floors_are_answered_together(metric: Metric) -> None:
    rng = np.random.default_rng(3)
    rows = score.prepare(normal(rng, 3000, 16), metric)
    ring = make_ring(rows, 2000)
    masks = np.stack(
        [ring.live_words & pack(rng.random(2000) < share) for share in (1, 0.5, 0.01, 0.001, 0)]
    )
    count = 30
    assert_decayed(
        ring,
        metric,
        score.prepare(normal(rng, count, 16), metric),
        rng.integers(1, 40, count).tolist(),
        any_integers(ring, rng),
        (10 ** rng.uniform(-3, 12, count)).tolist(),
        rng.choice([-np.inf, -1.0, 0.0, 0.2, 0.5, 100], count).tolist(),
        masks,
        rng.integers(0, len(masks), count).tolist(),
    )


@pytest.mark.parametrize("wrapped", [0, 30, 64, 458])
@pytest.mark.parametrize("half_life", [0.003, 0.1])
def test_rows_that_a_mask_leaves_out_hide_no_later_ones(wrapped: int, half_life: float) -> None:
    """Words without some of their groups of 16, or without the newest rows of the ring."""
    rng = np.random.default_rng(wrapped)
    capacity = 64 * 40 + 5
    rows = score.prepare(normal(rng, capacity + wrapped, 8), "dot")
    ring = make_ring(rows, capacity)
    slots = np.arange(capacity)
    age = (wrapped - 1 - slots) % capacity
    kept = [
        age >= 10,
        rng.random(capacity // 16 + 1)[slots // 16] < 0.7,
        (age >= 20) & (rng.random(capacity // 16 + 1)[slots // 16] < 0.7),
        (age >= 100) & (slots % 64 < 48),
    ]
    masks = np.stack([ring.live_words & pack(mask) for mask in kept])
    queries = score.prepare(normal(rng, len(masks), 8), "dot")
    times, halves = accepted(ring, rng), [half_life] * len(masks)
    every = list(range(len(masks)))
    assert_decayed(ring, "dot", queries, [5] * len(masks), times, halves, None, masks, every)
    for one in every:
        alone = masks[one : one + 1]
        assert_decayed(ring, "dot", queries[:1], [5], times, [half_life], None, alone)


@pytest.mark.parametrize("capacity", [1, 2, 63, 64, 65, 129])
def test_answers_are_exact_in_tiny_windows(capacity: int) -> None:
    rng = np.random.default_rng(capacity)
    for metric in METRICS:
        for count in (1, capacity, capacity + 1, 3 * capacity - 1):
            rows = score.prepare(normal(rng, count, 5), metric)
            ring = make_ring(rows, capacity)
            queries = score.prepare(normal(rng, 2, 5), metric)
            assert_decayed(ring, metric, queries, [1, 100], accepted(ring, rng), [0.01, 1.0])


def test_equal_ranks_are_ordered_by_seq_alone() -> None:
    """Twice the score a half-life earlier: the same rank, so the newer row is first."""
    rows = np.array([[4.0], [2.0], [1.0], [8.0]], np.float32)
    ring = make_ring(rows, 4)
    times = Times(np.array([0, 10, 20, -10], np.int64), None, 1.0, False)
    query = np.ones((1, 1), np.float32)
    for k in (1, 2, 3, 4):
        assert_decayed(ring, "dot", query, [k], times, [10.0])
    give_shadow(ring, "dot")
    for name in scan.names():
        found = scan.choose(name).top_k_decayed(
            ring, "dot", query, np.array([4]), np.array([-np.inf], np.float32),
            ring.live_words[None], np.array([0]), times, np.array([10.0]),
        )  # fmt: skip
        assert found.slots.tolist() == [3, 2, 1, 0]
        assert found.ranks.tolist() == [2.0] * 4


@settings(max_examples=examples(60), deadline=None)
@given(data=st.data())
def test_any_small_window_is_answered_by_definition(data: st.DataObject) -> None:
    seed = data.draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    metric = data.draw(st.sampled_from(METRICS))
    dim = data.draw(st.integers(1, 9))
    capacity = data.draw(st.integers(1, 200))
    kind = data.draw(st.sampled_from(["normal", "small integers", "near one"]))

    def some(count: int) -> F32:
        if kind == "normal":
            return normal(rng, count, dim)
        if kind == "near one":
            return 1 + normal(rng, count, dim) * np.float32(1e-6)
        return rng.integers(-1, 3, (count, dim)).astype(np.float32) + np.float32(1e-9)

    rows = score.prepare(some(data.draw(st.integers(1, 3 * capacity))), metric)
    ring = make_ring(rows, capacity)
    dead = rng.random(capacity) < data.draw(st.sampled_from([0, 0.3, 0.9]))
    ring.kill(np.flatnonzero(dead & unpack(ring.live_words, capacity)))
    times = data.draw(st.sampled_from(TIMES))(ring, rng)
    count = data.draw(st.integers(1, 8))
    assert_decayed(
        ring,
        metric,
        score.prepare(some(count), metric),
        rng.integers(1, 30, count).tolist(),
        times,
        rng.choice(HALF_LIVES, count).tolist(),
        rng.choice([-np.inf, -2.0, 0.0, 0.5], count).tolist(),
    )


ONES = np.ones((4, 8), np.float32)


@pytest.mark.skipif(not native.is_there, reason="there is no C extension here")
@pytest.mark.parametrize(
    ("decay", "message"),
    [
        ((None, None, 1.0, False, None, np.ones(4), np.zeros(4)), "times"),
        ((np.zeros(4, np.int64), np.zeros(4), 1.0, False, None, np.ones(4), np.zeros(4)), "times"),
        ((np.zeros(3, np.int64), None, 1.0, False, None, np.ones(4), np.zeros(4)), "integers"),
        ((None, np.zeros(5), 1.0, False, None, np.ones(4), np.zeros(4)), "numbers"),
        ((None, np.zeros(4, np.int64), 1.0, False, None, np.ones(4), np.zeros(4)), "numbers"),
        ((None, np.zeros(4), 1.0, False, None, np.ones(3), np.zeros(4)), "half_lives"),
        ((None, np.zeros(4), 1.0, False, None, np.ones(4), np.zeros(3)), "values"),
        ((None, np.zeros(4), 1.0, False, None, np.ones(4), frozen(np.zeros(4))), "read-only"),
        ((None, np.zeros(4), 1.0, False, np.zeros(2), np.ones(4), np.zeros(4)), "latest"),
        ((None, np.zeros(4), 1.0, False, np.zeros(1, int), np.ones(4), np.zeros(4)), "latest"),
        ((None, np.zeros(4), 1.0, False, None, np.ones(4)), "arguments"),
    ],
)
def test_times_of_another_shape_or_type_are_refused(
    decay: tuple[object, ...], message: str
) -> None:
    ring = make_ring(ONES, 4)
    give_shadow(ring, "dot")
    assert ring.shadow is not None
    slots: I64 = np.zeros(4, np.int64)
    with pytest.raises((TypeError, ValueError, BufferError), match=message):
        native.compiled.top_k(
            "portable", "portable", ring.shadow.codes, ring.shadow.factors, None,
            ring.shadow.centre, ring.shadow.metric_code, ring.vectors, 4,
            ONES, np.ones(4, np.int64),
            np.full(4, -np.inf, np.float32), ring.live_words[None], np.zeros(4, np.int64),
            np.zeros(4, np.uint32), slots, np.zeros(4, np.float32), decay, 1,  # type: ignore[arg-type]
        )  # fmt: skip
