"""The int8 shadow and its kernels: what its factors promise, and answers over a ring that keeps it.

``test_scan.py`` holds every kernel to the scores of all rows; here is what only the shadow has.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omendb_core import native
from omendb_core.model.types import F32, F64, METRICS, Definition, Metric
from omendb_core.rows import shadow
from omendb_core.rows.ring import Ring, pack
from omendb_core.rows.shadow import Shadow
from omendb_core.scan import choice as scan
from omendb_core.scan.reference import ReferenceScan
from omendb_core.scoring import score
from omendb_core.state import reserved_bytes

from tests.core.hard_data import (
    CASES,
    DATA,
    TINY_DATA,
    assert_same,
    give_shadow,
    make_ring,
    normal,
    rows_of,
    some_of,
)
from tests.examples import examples

pytestmark = pytest.mark.skipif(not native.is_there, reason="there is no C extension here")

KERNELS = native.compiled.kernels() if native.is_there else []


def ring_for(metric: Metric, capacity: int, dim: int) -> Ring:
    definition = Definition(dim, capacity, metric)
    return Ring(capacity, dim, scan.shadow_for(scan.choose(KERNELS[0]), definition))


def append(ring: Ring, rows: F32) -> None:
    ring.kill(ring.overwritten(len(rows)))
    ring.append(rows)


def assert_like_reference(
    ring: Ring, metric: Metric, queries: F32, k: int = 10, mask: Any = None
) -> None:
    words = (ring.live_words if mask is None else ring.live_words & pack(mask))[None]
    count = len(queries)
    asked = (np.full(count, k), np.full(count, -np.inf, np.float32), words, np.zeros(count, int))
    expected = ReferenceScan().top_k(ring, metric, queries, *asked)
    for name in KERNELS:
        assert_same(scan.choose(name).top_k(ring, metric, queries, *asked), expected)


def stored(ring: Ring) -> tuple[F64, F64, F64, F64]:
    """Of each row: y (n, dim) as it is meant, s r as it is kept, and the factors [1] and [2]."""
    kept = ring.shadow
    assert kept is not None
    steps = kept.codes.shape[1]
    codes = kept.codes.transpose(0, 2, 1, 3).reshape(-1, steps * 4)[: ring.used]
    factors = kept.factors.transpose(0, 2, 1).reshape(-1, 3)[: ring.used].astype(np.float64)
    assert (codes[:, ring.dim :] == 128).all(), "what is beyond the dimensions counts"
    assert (codes > 0).all(), "-128 is not a code"
    quantised = (codes[:, : ring.dim].astype(np.float64) - 128) * factors[:, :1]
    meant = ring.vectors[: ring.used].astype(np.float64) - kept.centre
    return meant, quantised, factors[:, 1], factors[:, 2]


def lengths(rows: F64) -> F64:
    return np.sqrt(np.square(rows).sum(axis=1))


@pytest.mark.parametrize(("metric", "name"), CASES)
@pytest.mark.parametrize("dim", [1, 6, 16, 131])
def test_the_factors_of_a_row_bound_what_was_lost(metric: Metric, name: str, dim: int) -> None:
    rng = np.random.default_rng([dim, 1])
    ring = make_ring(rows_of(metric, name, rng, 150, dim))
    give_shadow(ring, metric)
    meant, quantised, one, two = stored(ring)
    length, error = lengths(quantised), lengths(meant - quantised)
    if metric != "dot":
        least = length**2 - one**2
        room = length**2 + one**2
        beyond = np.isinf(one)
        assert (error <= one).all()
        assert (two[~beyond] <= (least - room * 2.0**-19)[~beyond]).all()
        assert (two[~beyond] >= (least - room * 2.0**-17)[~beyond]).all()
    else:
        beyond = np.isinf(one)
        assert (length <= one).all()
        assert (error[~beyond] <= two[~beyond]).all()
    largest = np.abs(meant).max(axis=1)
    assert (beyond == (largest > 2.0**30)).all()
    # What is bounded loosely tells nothing apart.
    fine = (largest < 2.0**30) & (largest > 2.0**-30)
    bound = two if metric == "dot" else one
    assert (bound[fine] <= error[fine] * 1.001 + largest[fine] * 2e-5 * dim**0.5).all()


@pytest.mark.parametrize(("metric", "name"), CASES)
@pytest.mark.parametrize("dim", [1, 6, 16, 100, 131])
def test_the_factors_of_nibbles_bound_what_these_lost(metric: Metric, name: str, dim: int) -> None:
    ring = make_ring(rows_of(metric, name, np.random.default_rng([dim, 2]), 150, dim))
    give_shadow(ring, metric)
    assert ring.shadow is not None
    assert ring.shadow.nibbles is not None
    nibbles, coarse = ring.shadow.nibbles
    both = nibbles.transpose(0, 2, 1, 3)[..., None, :] >> np.array([[0], [4]], np.uint8) & 15
    codes = both.reshape(-1, nibbles.shape[1] * 8)[: ring.used]
    fine = ring.shadow.codes.transpose(0, 2, 1, 3).reshape(-1, ring.shadow.codes.shape[1] * 4)
    assert (codes[:, : fine.shape[1]] == fine[: ring.used] >> 4).all()
    assert (codes[:, dim:] == 8).all()
    scale, one, two, three = (
        coarse.transpose(0, 2, 1).reshape(-1, 4)[: ring.used].astype(np.float64).T
    )
    meant, _, fine_one, _ = stored(ring)
    told = (16.0 * codes[:, :dim] - 120) * scale[:, None]
    length, error, whole = lengths(told), lengths(meant - told), lengths(meant)
    beyond = np.isinf(one)
    assert (beyond == np.isinf(fine_one)).all()
    if metric == "dot":
        assert (length <= one).all()
        assert (error[~beyond] <= two[~beyond]).all()
        assert (three == 0).all()
        return
    assert (error <= one).all()
    least = length**2 - one**2 - (length**2 + one**2) * 2.0**-19
    assert (two[~beyond] <= least[~beyond]).all()
    assert (three[~beyond] <= (whole**2 - (whole**2 + one**2) * 2.0**-19)[~beyond]).all()
    told_well = (np.abs(meant).max(axis=1) > 2.0**-30) & ~beyond
    assert (one[told_well] <= error[told_well] * 1.001 + 1e-4 * whole[told_well]).all()
    loosest = whole**2 * (1 - 2.0**-9) - one**2 * 2.0**-17
    assert (three[told_well] >= loosest[told_well]).all()


@pytest.mark.parametrize("metric", METRICS)
def test_a_ring_keeps_its_shadow_lap_after_lap(metric: Metric) -> None:
    rng = np.random.default_rng(2)
    for dim, capacity in ((5, 100), (32, 64), (9, 63), (64, 300)):
        ring = ring_for(metric, capacity, dim)
        for count in (1, 7, 30, capacity // 2, capacity, 3, capacity - 1, 40):
            append(ring, score.prepare(normal(rng, min(count, capacity), dim), metric))
            meant, quantised, _, _ = stored(ring)
            assert (np.abs(meant - quantised) <= np.abs(meant).max(axis=1)[:, None] / 250).all()
            assert_like_reference(ring, metric, score.prepare(normal(rng, 3, dim), metric))


def test_a_window_reserves_little_more_than_its_rows() -> None:
    kernel = scan.choose(KERNELS[0])
    for dim in (4, 100, 128, 768):
        taken = reserved_bytes(Definition(dim, 100_000, ids="u64"), kernel)
        assert taken <= 100_000 * (1.375 * 4 * dim + 112)


def test_a_shadow_that_is_not_its_rows_is_found_out() -> None:
    ring = make_ring(normal(np.random.default_rng(11), 100, 9))
    for array in ("codes", "factors"):
        give_shadow(ring, "dot")
        ring.check()
        getattr(ring.shadow, array)[3, 1, 2] += 1
        with pytest.raises(AssertionError, match="shadow"):
            ring.check()
    for place in (0, 1):
        give_shadow(ring, "dot")
        assert ring.shadow is not None
        assert ring.shadow.nibbles is not None
        ring.shadow.nibbles[place][0, 1, 2] += 1
        with pytest.raises(AssertionError, match="shadow"):
            ring.check()


@pytest.mark.parametrize("name", ["far from the origin", "one constant coordinate"])
@pytest.mark.parametrize("metric", METRICS)
def test_the_centre_moves_to_where_the_data_is(metric: Metric, name: str) -> None:
    rng = np.random.default_rng(3)
    ring = ring_for(metric, 2000, 24)
    assert ring.shadow is not None
    for part in np.split(rows_of(metric, name, rng, 4500, 24), 5):
        append(ring, part)
    centre = ring.shadow.centre
    assert np.abs(centre).max() > 0
    assert np.abs(ring.vectors - centre).max() < 0.1 * np.abs(ring.vectors).max()
    assert_like_reference(ring, metric, rows_of(metric, name, rng, 5, 24))
    assert_like_reference(ring, metric, some_of(ring.vectors, rng, 5))


def test_the_centre_follows_a_stream_that_moves_on() -> None:
    rng = np.random.default_rng(4)
    ring = ring_for("l2", 1000, 8)
    for step in range(8):
        append(ring, 1000 * (step // 4) - 500 + normal(rng, 1000, 8))
    assert ring.shadow is not None
    assert np.abs(ring.shadow.centre - 500).max() < 1


def test_the_centre_stays_where_moving_gains_little() -> None:
    rng = np.random.default_rng(5)
    ring = ring_for("dot", 1000, 8)
    for _ in range(3):
        append(ring, normal(rng, 1000, 8) + np.float32(0.2))
    assert ring.shadow is not None
    assert not ring.shadow.centre.any()


@pytest.mark.parametrize(("metric", "name"), CASES)
def test_answers_over_a_kept_shadow_are_those_of_the_reference(metric: Metric, name: str) -> None:
    rng = np.random.default_rng(6)
    for dim, capacity in ((3, 300), (40, 3000), (133, 500)):
        ring = ring_for(metric, capacity, dim)
        for _ in range(4):
            append(ring, rows_of(metric, name, rng, capacity // 3, dim))
        queries = np.concatenate(
            (rows_of(metric, name, rng, 9, dim), some_of(ring.vectors, rng, 4))
        )
        assert_like_reference(ring, metric, queries)
        assert_like_reference(ring, metric, queries[:1], 100)
        assert_like_reference(ring, metric, queries, 3, rng.random(capacity) < 0.05)


def gives_up(ring: Ring, metric: Metric, queries: F32) -> int:
    """For how many of the queries every row is scored."""
    found: list[int] = []
    top_k = native.compiled.top_k

    def noting(*arguments: Any) -> tuple[int, int]:
        written, thorough = top_k(*arguments)
        found.append(thorough)
        return written, thorough

    count = len(queries)
    asked = (np.full(count, 10), np.full(count, -np.inf, np.float32))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(native.compiled, "top_k", noting)
        scan.choose(KERNELS[0]).top_k(
            ring, metric, queries, *asked, ring.live_words[None], np.zeros(count, int)
        )
    return found[0]


def test_of_ordinary_data_few_rows_are_scored() -> None:
    rng = np.random.default_rng(7)
    for metric in METRICS:
        ring = make_ring(score.prepare(normal(rng, 20_000, 32), metric))
        give_shadow(ring, metric)
        assert gives_up(ring, metric, score.prepare(normal(rng, 20, 32), metric)) == 0


def test_every_row_is_scored_for_some_queries_of_a_batch_and_not_for_others() -> None:
    rng = np.random.default_rng(8)
    rows = normal(rng, 20_000, 16)
    rows[:15_000] = rows[0]  # whoever is near these finds nothing but ties
    ring = make_ring(rows)
    give_shadow(ring, "l2")
    queries = np.concatenate((rows[:3], rows[16_000:16_007], rows[:2], normal(rng, 2, 16) * 2**31))
    assert 0 < gives_up(ring, "l2", queries) < len(queries)
    assert_like_reference(ring, "l2", queries)


def test_queries_with_masks_of_all_sizes_take_part_in_the_right_pass() -> None:
    rng = np.random.default_rng(9)
    for metric in METRICS:
        ring = make_ring(score.prepare(normal(rng, 5000, 12), metric), 4000)
        give_shadow(ring, metric)
        shares = (1, 0.9, 0.3, 0.03, 0.01, 0.002, 0, 0.02)
        masks = np.stack([ring.live_words & pack(rng.random(4000) < share) for share in shares])
        queries = score.prepare(normal(rng, 50, 12), metric)
        asked = (
            rng.integers(1, 30, 50),
            np.full(50, -np.inf, np.float32),
            masks,
            rng.integers(0, len(masks), 50),
        )
        expected = ReferenceScan().top_k(ring, metric, queries, *asked)
        for name in KERNELS:
            assert_same(scan.choose(name).top_k(ring, metric, queries, *asked), expected)


@st.composite
def streams(draw: st.DrawFn) -> tuple[Ring, Metric, F32, int]:
    metric: Metric = draw(st.sampled_from(METRICS))
    dim = draw(st.integers(1, 70))
    capacity = draw(st.integers(1, 400))
    names = sorted(DATA) if metric == "cosine" else sorted(DATA | TINY_DATA)
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    ring = ring_for(metric, capacity, dim)
    for _ in range(draw(st.integers(1, 4))):
        name = draw(st.sampled_from(names))
        append(ring, rows_of(metric, name, rng, draw(st.integers(1, capacity)), dim))
    queries = np.concatenate(
        (
            rows_of(metric, draw(st.sampled_from(names)), rng, draw(st.integers(1, 14)), dim),
            some_of(ring.vectors[: ring.used], rng, 2),
        )
    )
    return ring, metric, queries, draw(st.integers(1, 50))


@settings(max_examples=examples(60), deadline=None)
@given(streams(), st.floats(0.05, 1))
def test_whatever_follows_whatever_the_answers_are_exact(
    stream: tuple[Ring, Metric, F32, int], share: float
) -> None:
    ring, metric, queries, k = stream
    mask = np.random.default_rng(k).random(ring.capacity) < share
    assert_like_reference(ring, metric, queries, k, mask)


def test_more_dimensions_than_a_shadow_takes_are_scanned_without_one() -> None:
    rng = np.random.default_rng(10)
    ring = ring_for("dot", 30, shadow.MAX_DIM + 1)
    assert ring.shadow is None
    append(ring, normal(rng, 20, ring.dim))
    assert_like_reference(ring, "dot", normal(rng, 2, ring.dim))
    ring = ring_for("dot", 30, shadow.MAX_DIM)
    assert ring.shadow is not None
    append(ring, normal(rng, 20, ring.dim))
    assert_like_reference(ring, "dot", normal(rng, 2, ring.dim), 3)


# -- what the extension refuses -------------------------------------------------------------------


def scan_arguments(**other: Any) -> tuple[Any, ...]:
    kept = Shadow(100, 6, "dot")
    one = np.zeros(1, np.int64)
    arguments = {
        "kernel": "portable",
        "lanes": "portable",
        "codes": kept.codes,
        "factors": kept.factors,
        "nibbles": None,
        "centre": kept.centre,
        "metric": 0,
        "vectors": np.zeros((100, 6), np.float32),
        "last_seq": 100,
        "queries": np.ones((1, 6), np.float32),
        "k": one + 5,
        "min_scores": np.zeros(1, np.float32),
        "masks": np.zeros((1, 2), np.uint64),
        "mask_of": one,
        "counts": np.zeros(1, np.uint32),
        "slots": np.zeros(5, np.int64),
        "scores": np.zeros(5, np.float32),
        "decay": None,
        "threads": 1,
    }
    assert other.keys() <= arguments.keys()
    return tuple((arguments | other).values())


def test_arguments_that_fit_are_taken() -> None:
    assert native.compiled.top_k(*scan_arguments()) == (0, 0)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("kernel", "abacus", "kernel"),
        ("lanes", "abacus", "lanes"),
        ("codes", np.zeros(10, np.uint8), "codes"),
        ("codes", np.zeros(7 * 1 * 256 + 1, np.uint8)[1:], "codes"),
        ("factors", np.zeros(3, np.float32), "factors"),
        ("centre", np.zeros(7, np.float32), "vectors"),
        ("centre", np.zeros(9, np.float32), "codes"),
        ("centre", np.zeros(0, np.float32), "centre"),
        ("metric", 3, "metric"),
        ("metric", -1, "metric"),
        ("vectors", np.zeros((64, 6), np.float32), "codes"),
        ("vectors", np.zeros((100, 5), np.float32), "vectors"),
        ("vectors", np.zeros((100, 8), np.float32)[:, :6], "vectors"),
        ("queries", np.ones((1, 5), np.float32), "queries"),
        ("queries", np.ones((1, 6)), "queries"),
        ("k", np.zeros(1, np.int64), "k"),
        ("k", np.full(1, 6), "k"),
        ("k", np.full(2, 1), "k"),
        ("min_scores", np.zeros(1), "min_scores"),
        ("masks", np.zeros((1, 1), np.uint64), "mask"),
        ("mask_of", np.ones(1, np.int64), "mask_of"),
        ("mask_of", -np.ones(1, np.int64), "mask_of"),
        ("counts", np.zeros(2, np.uint32), "counts"),
        ("slots", np.zeros(4, np.int64), "scores"),
        ("scores", np.zeros(5), "scores"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(name: str, value: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError, IndexError), match=message):
        native.compiled.top_k(*scan_arguments(**{name: value}))


@pytest.mark.parametrize(
    ("first", "rows"),
    [
        (-1, np.zeros((1, 6), np.float32)),
        (98, np.zeros((3, 6), np.float32)),
        (0, np.zeros((1, 5), np.float32)),
        (0, np.zeros((2, 12), np.float32)[:, :6]),
    ],
)
def test_rows_that_do_not_fit_are_not_written(first: int, rows: F32) -> None:
    kept = Shadow(100, 6, "dot")
    with pytest.raises(ValueError, match="rows"):
        kept.write(first, rows)
    assert not kept.codes.any()
