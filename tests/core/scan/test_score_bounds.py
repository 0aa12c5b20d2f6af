"""Bounds of the scores of all rows: every decided score lies within them, by every kernel."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from omendb_core import native
from omendb_core.model.types import Metric
from omendb_core.scan import choice as scan
from omendb_core.scoring import score

from tests.core.hard_data import CASES, give_shadow, make_ring, normal, rows_of, some_of
from tests.core.native.test_native import frozen


@pytest.mark.parametrize(("metric", "name"), CASES)
def test_decided_scores_lie_within(metric: Metric, name: str) -> None:
    rng = np.random.default_rng(1)
    for dim in (1, 7, 33):
        rows = rows_of(metric, name, rng, 900, dim)
        ring = make_ring(rows, 700)
        give_shadow(ring, metric)
        queries = np.concatenate((rows_of(metric, name, rng, 6, dim), some_of(rows, rng, 2)))
        for kernel in map(scan.choose, scan.names()):
            for first, stop in ((0, 704), (64, 128), (640, 704), (192, 704)):
                lower, upper = kernel.score_bounds(ring, metric, queries, first, stop)
                assert lower.shape == upper.shape == (8, stop - first)
                slots = np.arange(first, min(stop, 700))
                for query, least, most in zip(queries, lower, upper, strict=True):
                    decided = score.score_pairs(
                        metric, ring.vectors[slots], np.repeat(query[None], len(slots), 0)
                    )
                    assert (least[: len(slots)] <= decided).all()
                    assert (decided <= most[: len(slots)]).all()


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
def test_bounds_are_close_where_rows_are_harmless(metric: Metric) -> None:
    rng = np.random.default_rng(2)
    ring = make_ring(score.prepare(normal(rng, 640, 128), metric))
    give_shadow(ring, metric)
    queries = score.prepare(normal(rng, 1, 128), metric)
    length = 1.0 if metric == "cosine" else 128.0
    for kernel in map(scan.choose, scan.names()):
        lower, upper = kernel.score_bounds(ring, metric, queries, 0, 640)
        assert np.median(upper - lower) < 0.1 * length


def test_rows_beyond_the_shadow_have_any_score() -> None:
    ring = make_ring(np.array([[1, 0], [2.0**40, 0]], np.float32), 2)
    give_shadow(ring, "dot")
    for name in scan.names():
        lower, upper = scan.choose(name).score_bounds(
            ring, "dot", np.array([[1, 1], [2.0**40, 0]], np.float32), 0, 64
        )
        for query, decided in enumerate([[1.0, 2.0**40], [2.0**40, 2.0**80]]):
            assert (lower[query, :2] <= decided).all()
            assert (upper[query, :2] >= decided).all()


def arguments(**changed: Any) -> tuple[Any, ...]:
    ring = make_ring(np.ones((70, 8), np.float32), 70)
    give_shadow(ring, "dot")
    assert ring.shadow is not None
    given = {
        "kernel": "portable",
        "codes": ring.shadow.codes,
        "factors": ring.shadow.factors,
        "centre": ring.shadow.centre,
        "slots": 70,
        "metric": 0,
        "queries": np.ones((2, 8), np.float32),
        "first": 64,
        "lower": np.zeros((2, 64), np.float32),
        "upper": np.zeros((2, 64), np.float32),
    }
    return tuple((given | changed).values())


@pytest.mark.skipif(not native.is_there, reason="there is no C extension here")
@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"kernel": "abacus"}, "abacus"),
        ({"slots": 200}, "codes"),
        ({"queries": np.ones((2, 7), np.float32)}, "queries"),
        ({"queries": np.ones((3, 8), np.float32)}, "queries"),
        ({"first": 63}, "first"),
        ({"first": 128}, "first"),
        ({"first": -64}, "first"),
        ({"lower": np.zeros((2, 32), np.float32), "upper": np.zeros((2, 32), np.float32)}, "lower"),
        ({"lower": np.zeros((2, 64))}, "lower"),
        ({"upper": np.zeros((2, 65), np.float32)}, "upper"),
        ({"lower": frozen(np.zeros((2, 64), np.float32))}, "read-only"),
        ({"upper": frozen(np.zeros((2, 64), np.float32))}, "read-only"),
    ],
)
def test_ranges_and_arrays_that_do_not_fit_are_refused(
    changed: dict[str, Any], message: str
) -> None:
    native.compiled.score_bounds(*arguments())
    with pytest.raises((TypeError, ValueError, BufferError), match=message):
        native.compiled.score_bounds(*arguments(**changed))
