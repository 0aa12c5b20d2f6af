"""What this machine does with rows and queries of a size, measured in a second or two.

A server in this process, reached as a client reaches one but without a socket, gets rows and
searches from one connection; what standing queries cost an add is measured on a window by itself.
What was measured with fewer rows or queries is scaled: a search looks at every row, an add is
compared with every standing query.
"""

from __future__ import annotations

import statistics
import time
from typing import Any, Final, NamedTuple

import numpy as np
from omendb_core.model.change import AddChange, AddRequest, RowBatch
from omendb_core.model.types import F32, Definition
from omendb_core.search.query import prepare_queries
from omendb_core.standing.table import StandingQuery
from omendb_core.window import Window

from ..client import Client, connect
from ..node.sizing import Wanted
from ..wire.limits import Limits

#: Rows of an add, and searches of a request; both are fewer where vectors are so long that a
#: message would not take them.
BATCH_ROWS: Final = 500
BATCH_QUERIES: Final = 32
_MOST_BATCH_BYTES: Final = 8 << 20
#: A window that is measured has at most so many bytes of vectors, and so many standing queries.
_MOST_VECTOR_BYTES: Final = 256 << 20
_MOST_STANDING: Final = 1_000
_LEAST_SEARCHES: Final = 5
_NAME: Final = "sized"


class Rates(NamedTuple):
    """What one connection gets; ``adds_with_subscriptions`` without the pushes themselves."""

    rows_measured: int
    adds_per_second: float
    search_seconds: float
    batched_searches_per_second: float
    adds_with_subscriptions_per_second: float


async def measure(wanted: Wanted, seconds: float) -> Rates:
    """Measure for about ``seconds``; each part is measured once at least.

    Limits of sizes are what the size needs, as a server may have them so. Raises OmenError for what
    none has.
    """
    definition = wanted.definition
    rows = max(1, min(definition.capacity, _MOST_VECTOR_BYTES // (4 * definition.dim)))
    generator = np.random.default_rng(0)
    batch_rows = max(1, min(BATCH_ROWS, _MOST_BATCH_BYTES // (4 * definition.dim)))
    vectors = generator.standard_normal((batch_rows, definition.dim), dtype=np.float32)
    usual = Limits()
    settings = {
        "queue_deadline_ms": 3_600_000,
        "max_dim": max(usual.max_dim, definition.dim),
        "max_capacity": max(usual.max_capacity, rows),
        "max_k": max(usual.max_k, wanted.k),
    }
    async with connect("memory://", server_settings=settings) as db:
        await db.create(
            _NAME, dim=definition.dim, capacity=rows, metric=definition.metric, ids=definition.ids
        )
        added, adds = await _adds(db, vectors, wanted, rows, 0.4 * seconds)
        there = min(added, rows)
        scale = definition.capacity / there
        single = await _searches(db, vectors[0], wanted.k, 0.2 * seconds)
        batched = await _searches(db, vectors[:BATCH_QUERIES], wanted.k, 0.2 * seconds)
    standing = _standing_seconds(wanted, vectors, 0.2 * seconds)
    return Rates(
        there, adds, single * scale, min(BATCH_QUERIES, len(vectors)) / (batched * scale),
        1 / (1 / adds + standing) if standing else adds,
    )  # fmt: skip


async def _adds(
    db: Client, vectors: F32, wanted: Wanted, rows: int, seconds: float
) -> tuple[int, float]:
    """How many rows went in, and how many do in a second."""
    metadata = _metadata(wanted.metadata_bytes)
    added, started = 0, time.perf_counter()
    while True:
        first = added
        given: dict[str, Any] = {} if metadata is None else {"metadata": [metadata] * len(vectors)}
        if wanted.definition.ids == "u64":
            given["ids"] = np.arange(first, first + len(vectors), dtype=np.uint64)
        elif wanted.definition.ids == "str":
            given["ids"] = [f"row-{number}" for number in range(first, first + len(vectors))]
        await db.add(_NAME, vectors, **given)
        added += len(vectors)
        spent = time.perf_counter() - started
        if spent >= seconds:
            return added, added / spent


def _metadata(nbytes: int) -> dict[str, str] | None:
    """Metadata of so many bytes as compact JSON, as far as an object can be so short."""
    return {"m": "x" * max(nbytes - len('{"m":""}'), 0)} if nbytes else None


async def _searches(db: Client, vectors: F32, k: int, seconds: float) -> float:
    """The median time of a search of these."""
    spent: list[float] = []
    until = time.perf_counter() + seconds
    while len(spent) < _LEAST_SEARCHES or time.perf_counter() < until:
        started = time.perf_counter()
        await db.search(_NAME, vectors, k)
        spent.append(time.perf_counter() - started)
    return statistics.median(spent)


def _standing_seconds(wanted: Wanted, vectors: F32, seconds: float) -> float:
    """By how much all standing queries lengthen the add of a row."""
    if not wanted.subscriptions:
        return 0.0
    count = min(wanted.subscriptions, _MOST_STANDING)
    dim, metric = wanted.definition.dim, wanted.definition.metric
    window = Window(Definition(dim=dim, capacity=20 * len(vectors), metric=metric, ids="auto"))
    for _ in range(20):
        _add(window, vectors)
    queries = np.random.default_rng(1).standard_normal((count, dim), dtype=np.float32)
    window.standing.add(
        [StandingQuery(k=wanted.k)] * count, prepare_queries(window.definition, queries)
    )
    window.standing.advance()
    spent: list[float] = []
    until = time.perf_counter() + seconds
    while not spent or time.perf_counter() < until:
        _add(window, vectors)
        started = time.perf_counter()
        window.standing.advance()
        spent.append(time.perf_counter() - started)
    return statistics.median(spent) / len(vectors) * wanted.subscriptions / count


def _add(window: Window, vectors: F32) -> None:
    change = window.admit_add(AddRequest(RowBatch(vectors)), 1)
    assert isinstance(change, AddChange)
    window.apply(change)
