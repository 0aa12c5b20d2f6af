"""One query over a window goes by the nibbles of the shadow first: the same answers to the bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from omendb_core import native
from omendb_core.model.types import METRICS, Definition, Metric
from omendb_core.rows.ring import Ring, pack, words_for
from omendb_core.rows.shadow import Shadow
from omendb_core.scan import choice as scan
from omendb_core.scan.interface import Times
from omendb_core.scan.reference import ReferenceScan
from omendb_core.scoring import score

from tests.core.hard_data import CASES, assert_same, normal, rows_of, some_of
from tests.core.scan.test_decayed import (
    accepted,
    any_integers,
    any_numbers,
    assert_decayed,
    hostile_numbers,
    no_times,
)

pytestmark = pytest.mark.skipif(not native.is_there, reason="there is no C extension here")

KERNELS = native.compiled.kernels() if native.is_there else []


def ring_of(metric: Metric, rows: Any, capacity: int) -> Ring:
    """Of the last ``capacity`` rows; by laps, so that the newest one is anywhere."""
    shadow = Shadow(capacity, rows.shape[1], metric, has_nibbles=True)
    ring = Ring(capacity, rows.shape[1], shadow)
    for start in range(0, len(rows), 700):
        some = rows[start : start + 700]
        ring.kill(ring.overwritten(len(some)))
        ring.append(some)
    return ring


def assert_alike(
    ring: Ring, metric: Metric, queries: Any, k: int = 10, words: Any = None, least: float = -np.inf
) -> None:
    """Every kernel, asked one query at a time, answers as the reference."""
    mask = (ring.live_words if words is None else words)[None]
    for query in queries:
        asked = (np.full(1, k), np.full(1, least, np.float32), mask, np.zeros(1, int))
        expected = ReferenceScan().top_k(ring, metric, query[None], *asked)
        for name in KERNELS:
            assert_same(scan.choose(name).top_k(ring, metric, query[None], *asked), expected)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dim", [3, 8, 36, 100])
def test_a_sweep_over_many_runs_finds_the_best(metric: Metric, dim: int) -> None:
    rng = np.random.default_rng([dim, 3])
    centres = normal(rng, 40, dim)
    rows = centres[rng.integers(0, 40, 21_000)] + 0.3 * normal(rng, 21_000, dim)
    rows = score.prepare(rows.astype(np.float32), metric)
    ring = ring_of(metric, rows, 12_345)
    queries = np.concatenate((rows[-2:], score.prepare(normal(rng, 2, dim), metric)))
    for k in (1, 10, 150):
        assert_alike(ring, metric, queries, k)
    assert_alike(ring, metric, queries, 10, least=0.5)
    ring.kill(ring.live_slots(ring.last_seq - 300, ring.last_seq - 5))
    assert_alike(ring, metric, queries)


@pytest.mark.parametrize(("metric", "name"), CASES)
def test_a_sweep_is_exact_on_hard_data(metric: Metric, name: str) -> None:
    rng = np.random.default_rng(9)
    rows = rows_of(metric, name, rng, 3000, 24)
    ring = ring_of(metric, rows, 2500)
    queries = np.concatenate((rows_of(metric, name, rng, 2, 24), some_of(rows, rng, 2)))
    assert_alike(ring, metric, queries)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("name", ["far from the origin", "random"])
def test_a_sweep_is_exact_where_the_centre_moved(metric: Metric, name: str) -> None:
    rng = np.random.default_rng(10)
    rows = score.prepare(normal(rng, 4000, 20) + (name != "random") * 30, metric)
    ring = ring_of(metric, rows, 4000)
    assert ring.shadow is not None
    ring.shadow.move_centre(rows.mean(axis=0), ring.vectors)
    assert_alike(ring, metric, np.concatenate((rows[:3], -rows[:1])))


@pytest.mark.parametrize("share", [0.999, 0.95, 0.9])
def test_rows_of_no_mask_are_left_out(share: float) -> None:
    rng = np.random.default_rng(11)
    rows = score.prepare(normal(rng, 5000, 16), "cosine")
    ring = ring_of("cosine", rows, 5000)
    words = ring.live_words & pack(rng.random(5000) < share)
    assert_alike(ring, "cosine", rows[:8], words=words)


def test_a_window_keeps_nibbles_where_it_is_large() -> None:
    kernel = scan.choose(KERNELS[0])
    for capacity, expected in ((1000, False), (100_000, True)):
        shadow = scan.shadow_for(kernel, Definition(8, capacity, "dot"))
        assert shadow is not None
        assert (shadow.nibbles is not None) is expected


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda nibbles, coarse: (nibbles[:-1], coarse), "nibbles"),
        (lambda nibbles, coarse: (nibbles.astype(np.int8), coarse), "nibbles"),
        (lambda nibbles, coarse: (nibbles, coarse[:, :3].copy()), "coarse"),
        (lambda nibbles, coarse: (nibbles, coarse.astype(np.float64)), "coarse"),
        (lambda nibbles, coarse: (nibbles,), "arguments"),
        (lambda nibbles, coarse: (nibbles, None), "bytes-like"),
        (lambda nibbles, coarse: [nibbles, coarse], "tuple"),
    ],
)
def test_nibbles_of_another_shape_or_type_are_refused(change: Any, message: str) -> None:
    ring = ring_of("dot", np.ones((70, 9), np.float32), 70)
    assert ring.shadow is not None
    assert ring.shadow.nibbles is not None
    ring.shadow.nibbles = change(*ring.shadow.nibbles)
    with pytest.raises((TypeError, ValueError, BufferError), match=message):
        assert_alike(ring, "dot", np.ones((1, 9), np.float32))
    with pytest.raises((TypeError, ValueError, BufferError), match=message):
        ring.shadow.write(0, ring.vectors[:3])


def in_runs(rng: np.random.Generator, rows: int, share: float) -> Any:
    """Rows that lie together: some stretches of a window."""
    chosen = np.zeros(rows, np.bool_)
    while chosen.mean() < share:
        start = int(rng.integers(0, rows))
        chosen[start : start + int(rng.integers(1, rows // 4))] = True
    return pack(chosen)


@pytest.mark.parametrize("metric", METRICS)
def test_words_without_a_row_of_the_mask_are_passed_over(metric: Metric) -> None:
    rng = np.random.default_rng(12)
    rows = score.prepare(normal(rng, 13_000, 12), metric)
    ring = ring_of(metric, rows, 9_999)
    for share in (0.1, 0.3, 0.6, 0.9):
        words = ring.live_words & in_runs(rng, 9_999, share)
        assert_alike(ring, metric, rows[-3:], words=words)
    for last in (900, 5_000, 9_990):
        words = ring.live_words & ring.words_from(ring.last_seq - last + 1)
        assert_alike(ring, metric, rows[-3:], words=words)
        assert_alike(ring, metric, rows[-1:], 100, words, least=0.3)


@pytest.mark.parametrize("metric", ["dot", "cosine"])
@pytest.mark.parametrize("times", [accepted, any_integers, any_numbers, no_times, hostile_numbers])
def test_a_sweep_finds_the_best_of_decay(metric: Metric, times: Any) -> None:
    rng = np.random.default_rng(13)
    centres = normal(rng, 30, 16)
    rows = centres[rng.integers(0, 30, 6_000)] + 0.3 * normal(rng, 6_000, 16)
    rows = score.prepare(rows.astype(np.float32), metric)
    ring = ring_of(metric, rows, 4_500)
    ring.kill(ring.live_slots(ring.last_seq - 200, ring.last_seq - 100))
    some = times(ring, rng)
    latest = latest_by_word(some, ring) if times is not no_times else None
    for number, half_life in enumerate((1e-3, 0.05, 3.0, 1e4, 1e9)):
        words = ring.live_words
        if number % 2:
            words = words & in_runs(rng, 4_500, 0.5)
        for known in {None, latest is not None}:
            kept = some._replace(latest=latest if known else None)
            asked = (ring, metric, rows[number : number + 1], [1 + 7 * number], kept, [half_life])
            assert_decayed(*asked, masks=words[None])
            assert_decayed(*asked, [0.2], masks=words[None])


def latest_by_word(times: Times, ring: Ring) -> Any:
    """What no number of the slots of each word is greater than."""
    numbers = times.numbers if times.numbers is not None else times.integers
    assert numbers is not None
    padded = np.full(64 * words_for(ring.capacity), -np.inf)
    padded[: ring.capacity] = np.nan_to_num(numbers.astype(np.float64), nan=-np.inf)
    return padded.reshape(-1, 64).max(axis=1)
