"""Masks that hold few rows of a window: these are scored, and the answers are the same."""

from __future__ import annotations

import numpy as np
import pytest
from omendb_core import native
from omendb_core.model.types import F32, METRICS, Metric
from omendb_core.rows.ring import Ring, pack
from omendb_core.scan import choice as scan

from tests.core.hard_data import CASES, give_shadow, make_ring, normal, rows_of, some_of
from tests.core.scan.test_decayed import accepted, any_integers, any_numbers, assert_decayed
from tests.core.scan.test_scan import assert_exact

#: Rows of a window: so many that some dozens are few.
ROWS = 3000


def ring_of(metric: Metric, name: str, rng: np.random.Generator, dim: int) -> Ring:
    """A window that wrapped, and lost some rows."""
    ring = make_ring(rows_of(metric, name, rng, ROWS + 700, dim), ROWS)
    ring.kill(ring.live_slots(ring.last_seq - 40, ring.last_seq - 20))
    return ring


def queries_of(ring: Ring, metric: Metric, name: str, rng: np.random.Generator) -> F32:
    fresh = rows_of(metric, name, rng, 3, ring.dim)
    return np.concatenate((fresh, some_of(ring.vectors, rng, 3)))


@pytest.mark.parametrize(("metric", "name"), CASES)
def test_few_rows_of_hard_data_are_found_exactly(metric: Metric, name: str) -> None:
    rng = np.random.default_rng(21)
    for dim in (1, 9, 40):
        ring = ring_of(metric, name, rng, dim)
        queries = queries_of(ring, metric, name, rng)
        for share in (0.001, 0.01, 0.05):
            words = (ring.live_words & pack(rng.random(ROWS) < share))[None]
            for count in (1, 6):
                assert_exact(ring, metric, queries[:count], masks=words)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("wanted", [0, 1, 3, 4, 5, 31, 32, 33, 64])
def test_any_number_of_rows_is_looked_at(metric: Metric, wanted: int) -> None:
    rng = np.random.default_rng([wanted, 22])
    ring = ring_of(metric, "random", rng, 12)
    queries = queries_of(ring, metric, "random", rng)
    chosen = np.zeros(ROWS, np.bool_)
    chosen[rng.choice(np.flatnonzero(ring.is_live(np.arange(ROWS))), wanted, replace=False)] = True
    words = (ring.live_words & pack(chosen))[None]
    for k in (1, 3, 10, ROWS):
        assert_exact(ring, metric, queries[:1], k, masks=words)
        assert_exact(ring, metric, queries, [k, 1, 2, k, 5, 10], masks=words)
    least = [0.1, -np.inf, 0.3, -2.0, np.inf, 0.0]
    assert_exact(ring, metric, queries, 5, least, words)


def test_masks_of_few_and_of_many_rows_share_a_call() -> None:
    rng = np.random.default_rng(23)
    ring = ring_of("cosine", "each twice", rng, 16)
    queries = np.concatenate([queries_of(ring, "cosine", "each twice", rng) for _ in range(4)])
    masks = np.stack([
        ring.live_words & pack(rng.random(ROWS) < share) for share in (1, 0.01, 0.3, 0.02, 0)
    ])  # fmt: skip
    owners = rng.integers(0, len(masks), len(queries)).tolist()
    ks = rng.integers(1, 12, len(queries)).tolist()
    assert_exact(ring, "cosine", queries, ks, masks=masks, mask_of=owners)


def test_a_mask_is_few_rows_in_any_place() -> None:
    rng = np.random.default_rng(24)
    for used in (1, 63, 64, 65, 1500):
        ring = make_ring(normal(rng, used, 8), 1500)
        queries = normal(rng, 2, 8)
        for slot in {0, used // 2, used - 1}:
            chosen = np.arange(1500) == slot
            words = (ring.live_words & pack(chosen))[None]
            assert assert_exact(ring, "dot", queries, masks=words).slots.tolist() == [slot, slot]


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("times", [accepted, any_integers, any_numbers])
def test_few_rows_decay(metric: Metric, times: object) -> None:
    assert callable(times)
    rng = np.random.default_rng(25)
    for name in ("random", "each twice", "one huge coordinate"):
        ring = ring_of(metric, name, rng, 10)
        queries = queries_of(ring, metric, name, rng)
        some = times(ring, rng)
        for share in (0.003, 0.02):
            words = (ring.live_words & pack(rng.random(ROWS) < share))[None]
            assert_decayed(ring, metric, queries[:1], [8], some, [60.0], masks=words)
            half_lives = [1e-3, 60.0, 3600.0, 1e5, 1e9, 1.0]
            least = [-np.inf, 0.1, 0.0, -1.0, 0.2, -np.inf]
            assert_decayed(
                ring, metric, queries, [8, 3, 1, 8, 100, 5], some, half_lives, least, words
            )


@pytest.mark.skipif(not native.is_there, reason="there is no C extension here")
def test_few_rows_are_no_query_that_was_given_up() -> None:
    """What every row is scored for is counted; this is not."""
    rng = np.random.default_rng(26)
    ring = ring_of("dot", "random", rng, 8)
    give_shadow(ring, "dot")
    shadow, words = ring.shadow, ring.live_words & pack(rng.random(ROWS) < 0.01)
    assert shadow is not None
    counts, slots = np.empty(2, np.uint32), np.empty(20, np.int64)
    for name in native.compiled.kernels():
        written, thorough = native.compiled.top_k(
            scan.choose(name).name, native.lanes, shadow.codes, shadow.factors, shadow.nibbles,
            shadow.centre, shadow.metric_code, ring.vectors, ring.last_seq, normal(rng, 2, 8),
            np.full(2, 10), np.full(2, -np.inf, np.float32), words[None], np.zeros(2, np.int64),
            counts, slots, np.empty(20, np.float32), None, 1,
        )  # fmt: skip
        assert (written, thorough) == (int(counts.sum()), 0)
