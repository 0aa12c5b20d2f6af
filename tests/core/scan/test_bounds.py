import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from omendb_core.model.types import F32, METRICS, Metric
from omendb_core.scan.bounds import Bounds
from omendb_core.scan.candidates import kth_largest, near_kth_largest, newest_of_ties
from omendb_core.scoring import score

from tests.core.hard_data import CASES, make_ring, normal, rows_of, some_of
from tests.examples import examples


def assert_bounds_hold(metric: Metric, queries: F32, rows: F32) -> None:
    ring = make_ring(rows)
    shape = len(queries), len(rows)
    scores = np.stack(
        [score.score_pairs(metric, rows, np.broadcast_to(q, rows.shape)) for q in queries]
    )
    tested = Bounds(metric, queries)
    estimates = tested.estimate(rows, ring.norms, np.empty(shape, np.float32))
    which = np.arange(len(queries))
    for lower, upper in (
        tested.around(which[:, None], estimates, ring.norms),
        tested.closely(which, rows),
    ):
        assert lower.dtype == upper.dtype == np.float32
        assert (lower <= scores).all()
        assert (scores <= upper).all()
    # With a row's own score as floor, its estimate must pass the cut.
    for column in range(0, len(rows), max(1, len(rows) // 50)):
        cut = tested.cut(scores[:, column], float(ring.norms.max()))
        assert (estimates[:, column] >= cut).all()


@pytest.mark.parametrize(("metric", "name"), CASES)
@pytest.mark.parametrize("dim", [1, 17, 128, 1000])
def test_every_bound_holds_on_hard_data(metric: Metric, name: str, dim: int) -> None:
    rng = np.random.default_rng(dim)
    rows = rows_of(metric, name, rng, 120, dim)
    queries = np.concatenate((rows_of(metric, name, rng, 6, dim), some_of(rows, rng, 6)))
    assert_bounds_hold(metric, queries, rows)
    assert_bounds_hold(metric, rows_of(metric, "random", rng, 5, dim), rows)


@pytest.mark.parametrize("row_scale", [1e-44, 1e-38, 2.0**-75, 1e-15, 1, 2.0**60])
@pytest.mark.parametrize("query_scale", [1e-44, 1e-38, 2.0**-75, 1e-15, 1, 2.0**60])
def test_every_bound_holds_between_any_two_magnitudes(row_scale: float, query_scale: float) -> None:
    rng = np.random.default_rng(15)
    for metric in ("dot", "l2"):
        for dim in (1, 3, 40):
            rows = (np.clip(normal(rng, 50, dim), -3, 3) / dim * row_scale).astype(np.float32)
            queries = (np.clip(normal(rng, 9, dim), -3, 3) / dim * query_scale).astype(np.float32)
            assert_bounds_hold(metric, queries, rows)  # type: ignore[arg-type]


@given(
    st.sampled_from(["dot", "l2"]),
    st.integers(1, 12).flatmap(
        lambda dim: hnp.arrays(
            np.float32, (7, dim), elements=st.floats(-(2.0**59), 2.0**59, width=32)
        )
    ),
)
@settings(max_examples=examples(300), deadline=None, derandomize=True)
def test_every_bound_holds_for_any_floats(metric: Metric, vectors: F32) -> None:
    assert_bounds_hold(metric, vectors[:2], vectors[2:])


@pytest.mark.parametrize("dim", [64, 4096])
def test_a_bound_holds_when_blas_adds_in_the_worst_order(dim: int) -> None:
    # Ones and a bit, the bit so large that each addition, one after the other, just loses it.
    row = np.ones(dim, np.float32)
    total = np.float32(1)
    for i in range(1, dim):
        row[i] = np.nextafter(np.float32(1 + np.spacing(total) / 2), np.float32(0))
        total += row[i]
    assert total == dim
    rows, queries = row[None], np.ones((1, dim), np.float32)
    decided = score.score_pairs("dot", rows, queries)[0]
    tested = Bounds("dot", queries)
    norms = score.norms(rows).astype(np.float32)
    lower, upper = tested.around(np.array([[0]]), np.array([[total]]), norms)
    assert lower[0, 0] <= decided <= upper[0, 0]
    # And this is a hard case: the error is a good part of what the bound allows.
    assert decided - total > (upper[0, 0] - total) / 6


def test_bounds_are_narrow_on_ordinary_data() -> None:
    rng = np.random.default_rng(16)
    for metric in METRICS:
        rows = score.prepare(normal(rng, 500, 128), metric)
        queries = score.prepare(normal(rng, 4, 128), metric)
        ring = make_ring(rows)
        tested = Bounds(metric, queries)
        out = np.empty((4, 500), np.float32)
        estimates = tested.estimate(rows, ring.norms, out)
        spread = np.std(estimates)
        lower, upper = tested.around(np.arange(4)[:, None], estimates, ring.norms)
        assert (upper - lower).max() < spread / 500
        lower, upper = tested.closely(np.arange(4), rows)
        assert (lower == upper).mean() > 0.99


def test_close_bounds_decide_ties_far_from_the_origin() -> None:
    rng = np.random.default_rng(17)
    rows = np.repeat(1000 + normal(rng, 1, 64), 300, axis=0)
    queries = 1000 + normal(rng, 20, 64)
    lower, upper = Bounds("l2", queries).closely(np.arange(20), rows)
    assert (lower == upper).all()


def test_kth_largest_takes_a_k_for_each_query() -> None:
    rng = np.random.default_rng(18)
    values = normal(rng, 6, 40)
    for k in ([3] * 6, [1, 2, 40, 41, 1000, 7]):
        expected = [
            sorted(row)[-wanted] if wanted <= 40 else -np.inf
            for row, wanted in zip(values.tolist(), k, strict=True)
        ]
        assert kth_largest(values, np.array(k)).tolist() == expected


@pytest.mark.parametrize("columns", [1, 15, 160, 161, 500])
def test_the_quick_kth_largest_is_never_above_the_true_one(columns: int) -> None:
    rng = np.random.default_rng(columns)
    ks = np.array([1, 1, 2, 10, 1, 3])
    for values in (normal(rng, 6, columns), rng.integers(0, 3, (6, columns)).astype(np.float32)):
        quick, true = near_kth_largest(values, ks), kth_largest(values, ks)
        assert (quick <= true).all()
        assert (quick[:2] == true[:2]).all() or columns % 16


@given(
    st.integers(1, 12),
    hnp.arrays(np.float32, (3, 9), elements=st.sampled_from([0.0, 1.0, 2.0, 3.0])),
    hnp.arrays(np.float32, (3, 9), elements=st.sampled_from([0.0, 0.0, 0.0, 1.0, 2.0])),
)
@settings(max_examples=examples(400), deadline=None, derandomize=True)
def test_no_tie_is_dropped_that_could_be_in_the_answer(k: int, lower: F32, width: F32) -> None:
    ks = np.full(3, k)
    upper = lower + width
    kept = newest_of_ties(lower, upper, kth_largest(lower, ks), ks)
    for row in range(3):
        for column in range(9):
            surely_better = sum(
                (lower[row, other], other) > (upper[row, column], column)
                for other in range(9)
                if other != column
            )
            assert kept[row, column] or surely_better >= k
        if not width[row].any():
            assert kept[row].sum() == min(k, 9)
