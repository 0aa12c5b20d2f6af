"""Rows that may score what their block asks for: none that does is missed, by every kernel."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from omendb_core import native
from omendb_core.model.types import F32, Metric
from omendb_core.rows.ring import pack
from omendb_core.scan import choice as scan
from omendb_core.scoring import score

from tests.core.hard_data import CASES, give_shadow, make_ring, normal, rows_of, some_of
from tests.core.native.test_native import frozen

ROWS, BLOCK = 700, 128


def scores_of(metric: Metric, rows: F32, query: F32) -> F32:
    return score.score_pairs(metric, rows, np.repeat(query[None], len(rows), 0))


@pytest.mark.parametrize(("metric", "name"), CASES)
def test_every_row_that_scores_enough_is_found(metric: Metric, name: str) -> None:
    rng = np.random.default_rng(1)
    for dim in (1, 7, 33):
        rows = rows_of(metric, name, rng, 900, dim)
        ring = make_ring(rows, ROWS)
        give_shadow(ring, metric)
        queries = np.concatenate((rows_of(metric, name, rng, 6, dim), some_of(rows, rng, 2)))
        wanted = rng.random(ROWS) < 0.8
        for first in (0, 64):
            blocks = -(-(ROWS - first) // BLOCK)
            decided = [scores_of(metric, ring.vectors[:ROWS], query) for query in queries]
            # Scores of some rows, where a rounding may decide; and any score, and none.
            floors = np.array([rng.choice(one, blocks) for one in decided], np.float32)
            floors[rng.random(floors.shape) < 0.1] = np.inf
            floors[0, 0] = -np.inf
            asked = np.repeat(floors, BLOCK, axis=1)[:, : ROWS - first]
            for kernel in map(scan.choose, scan.names()):
                found = kernel.rows_reaching(
                    ring, metric, queries, first, BLOCK, floors, pack(wanted), ROWS
                )
                for query, slots in enumerate(found):
                    reached = (decided[query][first:] >= asked[query]) & (asked[query] < np.inf)
                    reached &= wanted[first:]
                    if slots is None:
                        # What the shadow does not take may be anything.
                        assert kernel.keeps_shadow
                        assert not 2.0**-29 < np.abs(queries[query]).max() < 2.0**29
                        continue
                    assert len(np.unique(slots)) == len(slots)
                    assert np.isin(np.flatnonzero(reached) + first, slots).all()
                    assert wanted[slots].all()
                    assert (slots >= first).all()
                    assert (asked[query][slots - first] < np.inf).all()


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
def test_few_others_are_found_where_rows_are_harmless(metric: Metric) -> None:
    rng = np.random.default_rng(2)
    ring = make_ring(score.prepare(normal(rng, 6400, 128), metric))
    give_shadow(ring, metric)
    queries = score.prepare(normal(rng, 3, 128), metric)
    decided = [scores_of(metric, ring.vectors, query) for query in queries]
    floors = np.repeat([np.sort(one)[-20:-19] for one in decided], 50, axis=1)
    every = pack(np.ones(6400, np.bool_))
    for kernel in map(scan.choose, scan.names()):
        found = kernel.rows_reaching(ring, metric, queries, 0, BLOCK, floors, every, 6400)
        assert all(slots is not None and 20 <= len(slots) <= 60 for slots in found)


@pytest.mark.parametrize("most", [0, 19, 20])
def test_more_rows_than_there_is_room_for_are_told(most: int) -> None:
    ring = make_ring(np.ones((20, 8), np.float32))
    give_shadow(ring, "dot")
    queries = np.ones((2, 8), np.float32)
    floors = np.array([[1], [9]], np.float32)
    every = pack(np.ones(20, np.bool_))
    for kernel in map(scan.choose, scan.names()):
        found = kernel.rows_reaching(ring, "dot", queries, 0, 64, floors, every, most)
        assert found[0] is None if most < 20 else found[0].tolist() == list(range(20))  # type: ignore[union-attr]
        assert found[1] is not None
        assert not len(found[1])


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
        "block_rows": 64,
        "floors": np.zeros((2, 1), np.float32),
        "mask": np.ones(2, np.uint64),
        "counts": np.zeros(2, np.int64),
        "found": np.zeros((2, 3), np.int64),
    }
    return tuple((given | changed).values())


@pytest.mark.skipif(not native.is_there, reason="there is no C extension here")
@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"kernel": "abacus"}, "abacus"),
        ({"slots": 200}, "codes"),
        ({"queries": np.ones((2, 7), np.float32)}, "queries"),
        ({"queries": np.ones((3, 8), np.float32)}, "counts"),
        ({"first": 63}, "first"),
        ({"first": -64}, "first"),
        ({"first": 192}, "first"),
        ({"block_rows": 0}, "block_rows"),
        ({"block_rows": 63}, "block_rows"),
        ({"block_rows": 2**31}, "block_rows"),
        ({"floors": np.zeros(3, np.float32)}, "floors"),
        ({"floors": np.zeros((2, 9), np.float32)}, "floors"),
        ({"floors": np.zeros((2, 1))}, "floors"),
        ({"mask": np.ones(1, np.uint64)}, "mask"),
        ({"counts": np.zeros(3, np.int64)}, "counts"),
        ({"found": np.zeros(5, np.int64)}, "floors"),
        ({"counts": frozen(np.zeros(2, np.int64))}, "read-only"),  # type: ignore[arg-type]
        ({"found": frozen(np.zeros((2, 3), np.int64))}, "read-only"),  # type: ignore[arg-type]
    ],
)
def test_blocks_and_arrays_that_do_not_fit_are_refused(
    changed: dict[str, Any], message: str
) -> None:
    native.compiled.rows_reaching(*arguments())
    with pytest.raises((TypeError, ValueError, BufferError), match=message):
        native.compiled.rows_reaching(*arguments(**changed))
