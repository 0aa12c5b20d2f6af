"""Rings and vectors that are hard for a scan: ties, cancellation, extreme magnitudes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from omendb_core import native
from omendb_core.model.types import F32, METRICS, Metric
from omendb_core.rows.ring import Ring
from omendb_core.rows.shadow import Shadow
from omendb_core.scan.interface import TopK
from omendb_core.scoring import score

Rng = np.random.Generator


def make_ring(vectors: F32, capacity: int | None = None) -> Ring:
    """A ring that took ``vectors`` one after the other; it wraps where they are too many."""
    count, dim = vectors.shape
    ring = Ring(capacity or max(count, 1), dim)
    step = max(1, ring.capacity // 3)
    for start in range(0, count, step):
        part = vectors[start : start + step]
        ring.kill(ring.overwritten(len(part)))
        ring.append(part)
    ring.check()
    return ring


def give_shadow(ring: Ring, metric: Metric) -> None:
    """Let the ring keep a shadow for ``metric`` from now on, if a kernel here can use one."""
    if native.is_there:
        ring.shadow = Shadow(ring.capacity, ring.dim, metric, has_nibbles=True)
        ring.shadow.write(0, ring.vectors[: ring.used])
        ring.shadow.note_written(ring.last_seq, ring.vectors[: ring.used])


def assert_same(found: TopK, expected: TopK) -> None:
    """The same answers to the bit, in arrays of the same types."""
    assert [a.dtype for a in found] == [np.uint32, np.int64, np.float32]
    assert found.counts.tolist() == expected.counts.tolist()
    assert found.slots.tolist() == expected.slots.tolist()
    assert found.scores.tobytes() == expected.scores.tobytes()


def normal(rng: Rng, count: int, dim: int) -> F32:
    return rng.standard_normal((count, dim)).astype(np.float32)


def some_of(rows: F32, rng: Rng, count: int) -> F32:
    return rows[rng.integers(0, len(rows), count)]


def with_huge_row(rng: Rng, count: int, dim: int) -> F32:
    rows = normal(rng, count, dim)
    rows[rng.integers(count)] *= np.float32(1e15)
    return rows


def with_huge_coordinate(rng: Rng, count: int, dim: int) -> F32:
    rows = normal(rng, count, dim)
    rows[:, rng.integers(dim)] *= np.float32(1e6)
    return rows


def with_constant_coordinate(rng: Rng, count: int, dim: int) -> F32:
    rows = normal(rng, count, dim)
    rows[:, rng.integers(dim)] = 1e6
    return rows


#: name -> rows (count, dim) that are hard for someone. Those in the second table have rows of
#: norm 0 or nearly, which cosine does not take.
DATA: dict[str, Callable[[Rng, int, int], F32]] = {
    "random": normal,
    "few distinct": lambda rng, n, d: some_of(normal(rng, 3, d), rng, n),
    "each twice": lambda rng, n, d: some_of(normal(rng, -(-n // 2), d), rng, n),
    "all the same": lambda rng, n, d: np.repeat(normal(rng, 1, d), n, axis=0),
    "nearly the same": lambda rng, n, d: normal(rng, 1, d) + normal(rng, n, d) * np.float32(1e-7),
    "far from the origin": lambda rng, n, d: 1000 + normal(rng, n, d),
    "ties far from the origin": lambda rng, n, d: 1000 + np.round(normal(rng, n, d)),
    "one huge coordinate": with_huge_coordinate,
    "one constant coordinate": with_constant_coordinate,
    "one huge row": with_huge_row,
    "small integers": lambda rng, n, d: rng.integers(1, 4, (n, d)).astype(np.float32),
    "signs": lambda rng, n, d: rng.choice(np.array([-1, 1], np.float32), (n, d)),
    "near the largest norm": lambda rng, n, d: normal(rng, n, d) * np.float32(2.0**58 / d**0.5),
}
TINY_DATA: dict[str, Callable[[Rng, int, int], F32]] = {
    "zeros": lambda rng, n, d: np.zeros((n, d), np.float32),
    "denormal": lambda rng, n, d: normal(rng, n, d) * np.float32(1e-40),
    "products underflow": lambda rng, n, d: normal(rng, n, d) * np.float32(1e-21),
    "norms of all sizes": lambda rng, n, d: (
        normal(rng, n, d) * np.exp(rng.uniform(-80, 35, (n, 1))).astype(np.float32)
    ),
}
CASES = [(metric, name) for metric in METRICS for name in DATA] + [
    (metric, name) for metric in ("dot", "l2") for name in TINY_DATA
]


def rows_of(metric: Metric, name: str, rng: Rng, count: int, dim: int) -> F32:
    return score.prepare((DATA | TINY_DATA)[name](rng, count, dim), metric)
