"""One query on several threads: the same bits, no thread left behind, forks that go on."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from omendb_core import native
from omendb_core.model.types import F32, METRICS, Metric
from omendb_core.rows.ring import Ring
from omendb_core.scan import shadowed
from omendb_core.scan.reference import ReferenceScan
from omendb_core.scan.shadowed import ShadowedScan
from omendb_core.scoring import score

from tests.core.hard_data import CASES, assert_same, normal, rows_of
from tests.core.scan.test_decayed import accepted, any_numbers
from tests.core.scan.test_sweep import ring_of

pytestmark = pytest.mark.skipif(not native.is_there, reason="there is no C extension here")

KERNELS = native.compiled.kernels() if native.is_there else []


@pytest.fixture(autouse=True)
def any_window(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Small windows are shared, too; helpers end with the test."""
    monkeypatch.setattr(shadowed, "SHARED_BYTES", 0)
    yield
    native.compiled.dismiss_helpers()
    assert native.compiled.dismiss_helpers() == 0


def asked_of(ring: Ring, k: int = 10) -> tuple[Any, ...]:
    return np.full(1, k), np.full(1, -np.inf, np.float32), ring.live_words[None], np.zeros(1, int)


def windows(metric: Metric, dim: int = 12) -> tuple[Ring, F32]:
    rng = np.random.default_rng(dim)
    rows = score.prepare(normal(rng, 30_000, dim), metric)
    return ring_of(metric, rows, 25_000), rows


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("threads", [2, 5])
def test_threads_find_what_one_finds(metric: Metric, threads: int) -> None:
    ring, rows = windows(metric)
    for k in (1, 10, 400):
        asked = asked_of(ring, k)
        for query in rows[-5:]:
            expected = ReferenceScan().top_k(ring, metric, query[None], *asked)
            for name in KERNELS:
                shared = ShadowedScan(name, threads)
                assert_same(shared.top_k(ring, metric, query[None], *asked), expected)


@pytest.mark.parametrize("times", [accepted, any_numbers])
def test_threads_find_what_one_finds_under_decay(times: Any) -> None:
    ring, rows = windows("cosine")
    some = times(ring, np.random.default_rng(3))
    for half_life in (0.01, 1.0, 1e6):
        asked = (*asked_of(ring, 20), some, np.array([half_life]))
        for query in rows[-3:]:
            expected = ReferenceScan().top_k_decayed(ring, "cosine", query[None], *asked)
            for name in KERNELS:
                found = ShadowedScan(name, 4).top_k_decayed(ring, "cosine", query[None], *asked)
                assert [one.tolist() for one in found] == [one.tolist() for one in expected]


@pytest.mark.parametrize(("metric", "name"), CASES)
def test_threads_are_exact_on_hard_data(metric: Metric, name: str) -> None:
    rows = rows_of(metric, name, np.random.default_rng(12), 20_000, 9)
    ring = ring_of(metric, rows, 20_000)
    shared = ShadowedScan(KERNELS[0], 3)
    for query in rows[:2]:
        expected = ReferenceScan().top_k(ring, metric, query[None], *asked_of(ring))
        assert_same(shared.top_k(ring, metric, query[None], *asked_of(ring)), expected)


def test_searches_from_many_threads_do_not_disturb_each_other() -> None:
    ring, rows = windows("cosine")
    shared, asked = ShadowedScan(KERNELS[0], 3), asked_of(ring)
    expected = [ReferenceScan().top_k(ring, "cosine", row[None], *asked) for row in rows[:4]]
    faults: list[BaseException] = []

    def search(place: int) -> None:
        try:
            for _ in range(50):
                found = shared.top_k(ring, "cosine", rows[place : place + 1], *asked)
                assert_same(found, expected[place])
        except BaseException as fault:
            faults.append(fault)

    searchers = [threading.Thread(target=search, args=(place,)) for place in range(4)]
    for searcher in searchers:
        searcher.start()
    for searcher in searchers:
        searcher.join()
    assert not faults


def test_helpers_come_when_they_are_needed_and_go_when_they_are_told() -> None:
    ring, rows = windows("dot")
    native.compiled.dismiss_helpers()
    ShadowedScan(KERNELS[0], 1).top_k(ring, "dot", rows[:1], *asked_of(ring))
    assert native.compiled.dismiss_helpers() == 0
    for _ in range(100):  # after helpers were late a few searches do without
        ShadowedScan(KERNELS[0], 4).top_k(ring, "dot", rows[:1], *asked_of(ring))
        if (count := native.compiled.dismiss_helpers()) > 0:
            break
    assert count == 3


def test_a_query_that_reads_little_is_not_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shadowed, "SHARED_BYTES", 1 << 20)
    ring, rows = windows("dot")
    native.compiled.dismiss_helpers()
    ShadowedScan(KERNELS[0], 4).top_k(ring, "dot", rows[:1], *asked_of(ring))
    assert native.compiled.dismiss_helpers() == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_has_helpers_of_its_own() -> None:
    ring, rows = windows("dot")
    shared, asked = ShadowedScan(KERNELS[0], 3), asked_of(ring)
    expected = shared.top_k(ring, "dot", rows[:1], *asked)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            assert native.compiled.dismiss_helpers() == 0
            for _ in range(70):
                assert_same(shared.top_k(ring, "dot", rows[:1], *asked), expected)
            status = 0
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert_same(shared.top_k(ring, "dot", rows[:1], *asked), expected)
