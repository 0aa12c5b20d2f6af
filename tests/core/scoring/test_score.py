import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from omendb_core.model.errors import NonFinite, ZeroNorm
from omendb_core.model.types import F32, METRICS, Metric
from omendb_core.scoring import score

from tests.core import exact
from tests.core.variants import each_variant
from tests.examples import examples

pytestmark = pytest.mark.usefixtures("variant")
__all__ = ["each_variant"]

DIMS = [*range(1, 41), 64, 127, 128, 129, 768]


def bits(values: F32) -> list[int]:
    assert values.dtype == np.float32
    return values.view(np.uint32).tolist()


def random_rows(count: int, dim: int, seed: int = 0) -> F32:
    rng = np.random.default_rng([seed, count, dim])
    scale = np.exp(rng.uniform(-8, 8, (count, 1)))
    return (rng.standard_normal((count, dim)) * scale).astype(np.float32)


@pytest.mark.parametrize("dim", DIMS)
def test_scores_are_the_lane_sums_of_a_naive_loop_to_the_bit(dim: int) -> None:
    rows, queries = random_rows(63, dim), random_rows(63, dim, seed=1)
    for metric in METRICS:
        expected = [
            exact.score_of(metric, row, query) for row, query in zip(rows, queries, strict=True)
        ]
        for count in (1, 2, 63):
            found = score.score_pairs(metric, rows[:count], queries[:count])
            assert bits(found) == bits(np.array(expected[:count]))


@pytest.mark.parametrize("dim", [1, 7, 8, 9, 64, 129, 768])
def test_a_thousand_rows_score_as_each_does_alone(dim: int) -> None:
    rows, queries = random_rows(1000, dim), random_rows(1000, dim, seed=1)
    for metric in METRICS:
        together = score.score_pairs(metric, rows, queries)
        some = [0, 1, 499, 510, 511, 512, 513, 998, 999]
        assert bits(together[some]) == [
            bits(score.score_pairs(metric, rows[i : i + 1], queries[i : i + 1]))[0] for i in some
        ]
        assert bits(together[some]) == [
            exact.score_of(metric, rows[i], queries[i]).view(np.uint32) for i in some
        ]


@pytest.mark.parametrize("dim", [1, 3, 8, 24, 128, 131])
def test_sums_and_norms_follow_the_same_order(dim: int) -> None:
    rows = random_rows(100, dim)
    products = rows.astype(np.float64) ** 2
    assert score.lane_sum(products).tolist() == [exact.lane_sum(p) for p in products.tolist()]
    assert score.norms(rows).tolist() == [exact.norm(row) for row in rows]


def test_the_order_is_not_that_of_a_plain_sum() -> None:
    # 2**53 absorbs the ones in its own lane only: 1 + 1 meet first where the lanes are folded.
    products = np.zeros((1, 16))
    products[0, [0, 8, 4, 12]] = [2.0**53, 1, 1, 1]
    assert score.lane_sum(products)[0] == 2.0**53 + 2
    assert sum(products[0]) == 2.0**53


@pytest.mark.parametrize("metric", METRICS)
def test_scores_do_not_depend_on_memory_layout(metric: Metric) -> None:
    rows, query = random_rows(70, 37), random_rows(1, 37, seed=2)
    queries = np.repeat(query, 70, axis=0)
    expected = bits(score.score_pairs(metric, rows, queries))
    shifted = np.zeros(rows.nbytes + 4, np.uint8)[4:].view(np.float32).reshape(rows.shape)
    shifted[:] = rows
    wide = np.zeros((140, 74), np.float32)
    wide[::2, ::2] = rows
    for same in (np.asfortranarray(rows), shifted, wide[::2, ::2]):
        assert bits(score.score_pairs(metric, same, np.broadcast_to(query, rows.shape))) == expected


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dim", [1, 7, 8, 129])
def test_chosen_rows_score_as_their_copies_do(metric: Metric, dim: int) -> None:
    rng = np.random.default_rng(dim)
    rows, queries = random_rows(50, dim), random_rows(9, dim, seed=1)
    for count in (0, 1, 700):
        slots, askers = rng.integers(0, 50, count), rng.integers(0, 9, count)
        found = score.score_chosen(metric, rows, slots, queries, askers)
        assert bits(found) == bits(score.score_pairs(metric, rows[slots], queries[askers]))


@given(
    st.sampled_from(METRICS),
    st.integers(1, 70).flatmap(
        lambda dim: hnp.arrays(
            np.float32, (2, dim), elements=st.floats(-(2.0**50), 2.0**50, width=32)
        )
    ),
)
@settings(max_examples=examples(300), deadline=None, derandomize=True)
def test_a_score_is_the_rounded_true_sum_up_to_the_error_of_its_float64_sum(
    metric: Metric, pair: F32
) -> None:
    dim = pair.shape[1]
    summed = exact.terms(metric, pair[0], pair[1])
    # Each term passes through its lane's additions and three more.
    error = (dim / 8 + 4) * 2.0**-53 * math.fsum(map(abs, summed))
    true_sum = math.fsum(summed)
    found = score.score_pairs(metric, pair[:1], pair[1:])[0]
    assert np.float32(true_sum - error) <= found <= np.float32(true_sum + error)


@pytest.mark.parametrize("dim", [1, 8, 100, 768, 4096])
def test_a_score_is_within_one_ulp_of_fsum_unless_its_terms_cancel(dim: int) -> None:
    rows, queries = random_rows(50, dim), random_rows(50, dim, seed=3)
    for metric in METRICS:
        found = score.score_pairs(metric, rows, queries)
        for i in range(50):
            summed = exact.terms(metric, rows[i], queries[i])
            # ``l2`` never cancels. A product sum does where it is 2**-16 of its terms' sizes.
            true_sum, size = math.fsum(summed), math.fsum(map(abs, summed))
            assert metric != "l2" or abs(true_sum) == size
            if abs(true_sum) > size * 2.0**-16:
                rounded = np.float32(true_sum)
                assert abs(float(found[i]) - float(rounded)) <= np.spacing(abs(rounded))


def test_minus_zero_becomes_zero() -> None:
    zero = np.zeros((1, 3), np.float32)
    tiny = np.full((1, 3), 1e-30, np.float32)
    for metric, rows, queries in (
        ("dot", -zero, zero),
        ("dot", -tiny, tiny),  # rounds to −0
        ("l2", zero, zero),
        ("l2", -tiny, tiny),
        ("cosine", np.array([[1, 0, 0]], np.float32), np.array([[-0.0, 1, 0]], np.float32)),
    ):
        assert bits(score.score_pairs(metric, rows, queries)) == [0]  # type: ignore[arg-type]


def test_denormal_scores_are_kept() -> None:
    rows = np.array([[2.0**-75]], np.float32)
    assert score.score_pairs("dot", rows, rows)[0] == np.float32(0)
    assert score.score_pairs("dot", rows, rows * 8)[0] == np.float32(2.0**-147)
    assert score.score_pairs("l2", rows * 64, -rows * 64)[0] == np.float32(-(2.0**-136))


def test_the_largest_vectors_give_finite_scores() -> None:
    rows = np.zeros((1, 100), np.float32)
    rows[0, 50] = 2.0**62
    assert score.prepare(rows, "l2") is rows
    assert score.score_pairs("dot", rows, rows)[0] == np.float32(2.0**124)
    assert score.score_pairs("l2", rows, -rows)[0] == np.float32(-(2.0**126))


def test_no_rows_give_no_scores() -> None:
    none = np.empty((0, 5), np.float32)
    for metric in METRICS:
        assert len(score.score_pairs(metric, none, none)) == 0
        assert score.prepare(none, metric).shape == (0, 5)
    assert len(score.norms(none)) == 0
    assert len(score.ranking(np.empty(0, np.float32), np.empty(0, np.uint64))) == 0


def test_scoring_many_pairs_takes_bounded_memory() -> None:
    rows = np.broadcast_to(random_rows(1, 64), (400_000, 64))  # 100 MB, were it copied
    tracemalloc.start()
    try:
        found = score.score_pairs("l2", rows, rows)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert not found.any()
    assert peak_bytes < found.nbytes + (4 << 20)


def test_ranking_is_by_score_and_then_by_newest() -> None:
    scores = np.array([1, 3, 3, -1, 3], np.float32)
    seqs = np.array([9, 5, 2**60 + 1, 7, 2**60], np.uint64)
    assert score.ranking(scores, seqs).tolist() == [2, 4, 1, 0, 3]


@pytest.mark.parametrize("dim", [1, 5, 8, 64, 129])
def test_cosine_normalises_in_float64_and_rounds_once(dim: int) -> None:
    rows = random_rows(600, dim)
    before = rows.copy()
    found = score.prepare(rows, "cosine")
    assert (rows == before).all()
    assert not np.shares_memory(rows, found)
    for i in (0, 1, 511, 512, 599):
        assert bits(found[i]) == bits(exact.normalised(rows[i]))


def test_other_metrics_keep_the_rows_as_they_are() -> None:
    rows = random_rows(10, 6)
    assert score.prepare(rows, "dot") is rows
    assert score.prepare(rows, "l2") is rows


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_refused_with_its_row(metric: Metric, bad: float) -> None:
    rows = random_rows(2000, 40)
    rows[1234, 39] = bad
    rows[1500, 0] = np.nan
    with pytest.raises(NonFinite) as caught:
        score.prepare(rows, metric)
    assert caught.value.row == 1234


@pytest.mark.parametrize("metric", METRICS)
def test_a_norm_above_two_to_the_62_is_refused(metric: Metric) -> None:
    rows = np.full((3, 4), 2.0**61, np.float32)  # norm 2**62 exactly
    score.prepare(rows, metric)
    rows[1, 2] = np.nextafter(rows[1, 2], np.float32(np.inf))
    with pytest.raises(NonFinite, match=r"2\*\*62") as caught:
        score.prepare(rows, metric)
    assert caught.value.row == 1
    rows[1] = np.finfo(np.float32).max
    with pytest.raises(NonFinite, match=r"2\*\*62"):
        score.prepare(rows, metric)


def test_a_norm_below_two_to_the_minus_62_is_refused_under_cosine_only() -> None:
    rows = np.full((3, 4), 2.0**-63, np.float32)  # norm 2**-62 exactly
    assert (score.prepare(rows, "cosine") == 0.5).all()
    rows[2, 3] = np.nextafter(rows[2, 3], np.float32(0))
    for tiny in (rows[2].copy(), np.full(4, 1e-45, np.float32), np.zeros(4, np.float32)):
        rows[2] = tiny
        with pytest.raises(ZeroNorm) as caught:
            score.prepare(rows, "cosine")
        assert caught.value.row == 2
        for metric in ("dot", "l2"):
            assert score.prepare(rows, metric) is rows  # type: ignore[arg-type]


def test_the_first_row_at_fault_is_named() -> None:
    rows = np.ones((4, 2), np.float32)
    rows[1] = 0
    rows[3] = np.nan
    with pytest.raises(ZeroNorm):
        score.prepare(rows, "cosine")
    with pytest.raises(NonFinite) as caught:
        score.prepare(rows, "dot")
    assert caught.value.row == 3


def test_many_large_rows_that_are_each_fine_are_accepted() -> None:
    rows = np.full((100, 4), 2.0**60, np.float32)  # their squares add up beyond float32's range
    assert score.prepare(rows, "dot") is rows
