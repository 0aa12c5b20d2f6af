"""What is known of how long scans take: never less for long than they do, whatever was seen.

The machine's true costs are functions here; nothing is timed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from omendb_core import native
from omendb_core.rows import shadow
from omendb_core.scan import shadowed

from omendb_ws.engine.model.scan_cost import ScanCost
from omendb_ws.engine.reads import reads, split_scan
from omendb_ws.engine.reads.reads import MAX_SCAN_US
from omendb_ws.engine.reads.split_scan import SplitScan
from tests.server.raw import batch, client, running

ROWS = 100_000
MOST_VECTORS = 15  # what is never split


def true_us(vectors: int, rows: int = ROWS) -> float:
    """As measured, 128 dimensions: 170 microseconds alone, 45 each among many."""
    return (130 + 41 * vectors) * rows / 100_000 + 20


def taken(cost: ScanCost, rows: int = ROWS) -> int:
    """How many vectors the loop would take at most."""
    return max(
        (n for n in range(1, MOST_VECTORS + 1) if cost.expected_us(n, rows) <= MAX_SCAN_US),
        default=0,
    )


def test_nothing_is_known_before_a_scan() -> None:
    assert ScanCost().expected_us(1, 1000) == float("inf")


def test_one_scan_bounds_all_others() -> None:
    cost = ScanCost()
    cost.note(2, 100_000, 200.0)
    assert cost.expected_us(1, 100_000) == 200.0
    assert cost.expected_us(2, 50_000) == 200.0
    assert cost.expected_us(3, 100_000) == 300.0
    assert cost.expected_us(2, 300_000) == 600.0
    assert cost.expected_us(8, 200_000) == 1600.0


def test_what_was_seen_of_few_vectors_is_forgotten_upwards_and_downwards() -> None:
    cost = ScanCost()
    for true in (170.0, 1000.0, 60.0):
        for _ in range(30):
            cost.note(1, ROWS, true)
        assert 0.97 * true < cost.expected_us(1, ROWS) < 1.03 * true


def test_one_scan_that_was_put_aside_does_not_count_for_much() -> None:
    cost = ScanCost()
    cost.note(1, ROWS, 150.0)
    cost.note(1, ROWS, 30_000.0)
    assert cost.expected_us(1, ROWS) < MAX_SCAN_US


def test_a_window_of_another_size_is_learned_anew() -> None:
    cost = ScanCost()
    cost.note(1, 1_000, 21.0)
    cost.note(1, 1_000_000, 5_300.0)
    assert cost.expected_us(1, 1_000_000) == 5_300.0
    cost.note(1, 1_000, 21.0)
    assert cost.expected_us(1, 1_000) < 22.0


@given(
    seen=st.lists(
        st.tuples(
            st.integers(1, MOST_VECTORS),
            st.sampled_from([0, 1_000, 30_000, 100_000, 1_000_000]),
            st.floats(1, 1e6),
        ),
        max_size=30,
    ),
    rows=st.sampled_from([1_000, 30_000, 100_000, 1_000_000]),
)
def test_whatever_was_seen_the_loop_soon_keeps_its_budget(
    seen: list[tuple[int, int, float]], rows: int
) -> None:
    cost = ScanCost()
    for vectors, at_rows, us in seen:
        cost.note(vectors, at_rows, us)
    for _ in range(40):  # each takes as many as are thought short, or one by the engine
        for vectors in {max(taken(cost, rows), 1), 1, 2, 4, 8}:
            cost.note(vectors, rows, true_us(vectors, rows))
    for vectors in range(1, MOST_VECTORS + 1):
        known = cost.expected_us(vectors, rows)
        assert known > 0.9 * true_us(1, rows)
        if known <= MAX_SCAN_US / 1.5:  # sizes of a call are learned by powers of two
            assert true_us(vectors, rows) <= MAX_SCAN_US
    assert (taken(cost, rows) > 0) == (true_us(1, rows) <= MAX_SCAN_US)


async def test_a_scan_that_may_be_split_teaches_nothing_and_is_never_the_loops(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(split_scan, "LEAST_ROWS", 1)
    monkeypatch.setattr(reads, "MAX_SCAN_US", 1e9)  # however busy this machine is
    many = np.ones((16, 2), np.float32)
    async with running() as server, client(server) as raw:
        handle = (await raw.create())["handle"]
        await raw.add_binary(handle, batch(1, 2, 3))
        (shard,) = server.context.catalog.shards()
        for _ in range(3):
            await raw.search_binary(handle, many, k=3)
        assert shard.scan_cost.expected_us(1, 3) == float("inf")
        await raw.search_binary(handle, many[:1], k=3)
        assert shard.scan_cost.expected_us(1, 3) < float("inf")
        before = server.metrics.answered_at_once
        for _ in range(3):
            await raw.search_binary(handle, many, k=3)
        assert server.metrics.answered_at_once == before


@pytest.mark.skipif(not native.is_there, reason="there is no C extension here")
async def test_a_query_that_threads_may_share_is_never_the_loops(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reads, "MAX_SCAN_US", 1e9)  # however busy this machine is
    monkeypatch.setattr(shadow, "_LEAST_NIBBLE_ROWS", 1)
    one = np.ones((1, 2), np.float32)
    async with running() as server, client(server) as raw:
        handle = (await raw.create())["handle"]
        await raw.add_binary(handle, batch(1, 2, 3))
        for least_bytes, expected in ((1 << 20, True), (0, False)):
            monkeypatch.setattr(shadowed, "SHARED_BYTES", least_bytes)
            for _ in range(3):
                before = server.metrics.answered_at_once
                await raw.search_binary(handle, one, k=3)
            assert (server.metrics.answered_at_once > before) is expected


def test_what_is_called_unsplit_is_not_split(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []
    monkeypatch.setattr(split_scan._helpers, "help", lambda *job: calls.append(job))

    class Ring:
        rows = ROWS

    class Scan:
        name, keeps_shadow, pairs_above = "none", False, None
        score_bounds = rows_reaching = None

        def top_k(self, ring: Any, metric: Any, queries: Any, *others: Any) -> int:
            return len(queries)

    split = SplitScan(Scan(), 64)  # type: ignore[arg-type]
    rest: Any = (None, None, None, None)
    for count in range(1, MOST_VECTORS + 1):
        assert not split_scan.may_be_split(count, ROWS)
        found: Any = split.top_k(Ring(), "dot", np.zeros((count, 2)), *rest)  # type: ignore[arg-type]
        assert found == count
    assert not calls
    assert split_scan.may_be_split(MOST_VECTORS + 1, ROWS)
