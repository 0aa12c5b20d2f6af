"""One query over a window goes by the nibbles of the shadow first: the same answers to the bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from omendb_core import native
from omendb_core.model.types import METRICS, Definition, Metric
from omendb_core.rows.ring import Ring, pack
from omendb_core.rows.shadow import Shadow
from omendb_core.scan import choice as scan
from omendb_core.scan.reference import ReferenceScan
from omendb_core.scoring import score

from tests.core.hard_data import CASES, assert_same, normal, rows_of, some_of

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
