"""A scan on several threads gives the bits of one; late helpers are done without."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
from omendb_core.filters.parser import optional
from omendb_core.model.change import AddRequest, RowBatch
from omendb_core.model.types import Definition, Metric
from omendb_core.scan.choice import choose
from omendb_core.scan.interface import Times
from omendb_core.search.query import Answer, Query
from omendb_core.window import Window

from omendb_ws.engine.reads import split_scan
from omendb_ws.engine.reads.split_scan import (
    FIRST_REST_CALLS,
    MOST_REST_CALLS,
    PIECE_QUERIES,
    Job,
    SplitScan,
    _Rest,
)
from tests.server.raw import PATIENCE_SECONDS, batch, client, running


@pytest.fixture(autouse=True)
def any_window(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small windows are split, too."""
    monkeypatch.setattr(split_scan, "LEAST_ROWS", 1)


def filled(metric: Metric) -> tuple[Window, np.random.Generator]:
    random = np.random.default_rng(3)
    window = Window(Definition(7, 700, metric, columns={"p": "f64"}))
    for start in range(0, 900, 100):
        rows = random.normal(size=(100, 7)).astype(np.float32)
        ids = np.arange(start, start + 100, dtype=np.uint64)
        column = {"p": np.arange(100, dtype=np.float64)}
        change = window.admit_add(AddRequest(RowBatch(rows, ids, columns=column)), start)
        window.apply(change)  # type: ignore[arg-type]
    return window, random


def same(one: Any, other: Any) -> None:
    assert isinstance(one, Answer)
    assert isinstance(other, Answer)
    assert one.counts.tolist() == other.counts.tolist()
    for name in ("ids", "seqs", "scores"):
        mine, theirs = getattr(one.hits, name), getattr(other.hits, name)
        assert mine.tobytes() == theirs.tobytes()


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
@pytest.mark.parametrize("threads", [1, 2, 3, 5])
def test_however_many_threads_the_answers_are_the_same(metric: Metric, threads: int) -> None:
    window, random = filled(metric)
    split = SplitScan(choose(), threads)
    for count in (1, PIECE_QUERIES, 2 * PIECE_QUERIES - 1, 2 * PIECE_QUERIES, 61, 200):
        vectors = random.normal(size=(count, 7)).astype(np.float32)
        k = random.integers(1, 30, count)
        window.state.scan = choose()
        alone = window.search_all(vectors, k)
        window.state.scan = split
        same(window.search_all(vectors, k), alone)


def test_filters_floors_and_lasts_go_with_their_queries() -> None:
    window, random = filled("dot")
    filters = [None, {"p": {"$lt": 40}}, {"p": {"$gte": 90}}]
    queries = [
        Query(
            random.normal(size=(1, 7)).astype(np.float32),
            k=place % 9 + 1,
            filter=optional(filters[place % 3], window.definition.columns),
            min_score=0.5 if place % 2 else None,
            last=50 if place % 5 == 0 else None,
        )
        for place in range(50)
    ]
    window.state.scan = choose()
    alone = window.search(queries)
    window.state.scan = SplitScan(choose(), 2)
    for one, other in zip(window.search(queries), alone, strict=True):
        same(one, other)


def test_half_lives_go_with_their_queries() -> None:
    """Of 40 queries in five pieces each has its own, and rows without a rank come last."""
    window, random = filled("dot")
    ring, count = window.state.ring, 5 * PIECE_QUERIES
    numbers = random.normal(size=ring.capacity) * 100
    numbers[random.random(ring.capacity) < 0.5] = np.nan
    asked = (
        ring,
        window.definition.metric,
        random.normal(size=(count, 7)).astype(np.float32),
        random.integers(1, 700, count),
        np.full(count, -np.inf, np.float32),
        ring.live_words[None],
        np.zeros(count, np.int64),
        Times(None, numbers, 1.0, False),
        10.0 ** random.uniform(-2, 3, count),
    )
    alone, split = (
        scan.top_k_decayed(*asked)  # type: ignore[arg-type]
        for scan in (choose(), SplitScan(choose(), 3))
    )
    assert any(np.isnan(alone.ranks))
    assert [part.tobytes() for part in split] == [part.tobytes() for part in alone]


def test_every_piece_is_done_once_and_stays_in_its_place() -> None:
    done: list[int] = []
    job = Job(lambda place: done.append(place) or place * 10, 40)  # type: ignore[func-returns-value]
    helpers = [threading.Thread(target=job.work) for _ in range(3)]
    for helper in helpers:
        helper.start()
    job.work()
    found, _ = job.wait()
    for helper in helpers:
        helper.join(PATIENCE_SECONDS)
    assert found == [place * 10 for place in range(40)]
    assert sorted(done) == list(range(40))


def test_what_a_piece_raises_is_raised_after_all_are_done() -> None:
    done = []

    def do(place: int) -> int:
        done.append(place)
        if place == 2:
            raise ValueError("on purpose")
        return place

    job = Job(do, 5)
    job.work()
    with pytest.raises(ValueError, match="on purpose"):
        job.wait()
    assert sorted(done) == [0, 1, 2, 3, 4]


def test_a_fault_of_a_helper_is_the_callers_and_the_next_call_works() -> None:
    window, random = filled("dot")
    split = SplitScan(choose(), 2)
    good = split._scan.top_k
    vectors = random.normal(size=(64, 7)).astype(np.float32)
    k = np.full(64, 3)
    window.state.scan = split

    def bad(*args: Any) -> Any:
        raise MemoryError("on purpose")

    split._scan.top_k = bad  # type: ignore[method-assign]
    with pytest.raises(MemoryError):
        window.search_all(vectors, k)
    split._scan.top_k = good  # type: ignore[method-assign]
    assert window.search_all(vectors, k).counts.tolist() == [3] * 64


def test_whoever_had_to_wait_does_without_for_longer_and_longer() -> None:
    rest = _Rest()
    assert not rest.is_on()
    expected = FIRST_REST_CALLS
    while expected < MOST_REST_CALLS:
        rest.note(was_late=True)
        assert [rest.is_on() for _ in range(expected + 1)] == [True] * expected + [False]
        expected *= 2
    for _ in range(3):
        rest.note(was_late=True)
        assert sum(rest.is_on() for _ in range(3 * MOST_REST_CALLS)) == MOST_REST_CALLS
    for _ in range(20):
        rest.note(was_late=False)
        assert not rest.is_on()
    rest.note(was_late=True)
    assert sum(rest.is_on() for _ in range(100)) == FIRST_REST_CALLS


def test_a_forked_process_finds_helpers_of_its_own() -> None:
    job = Job(lambda place: place, 3)
    split_scan._helpers.help(job, 1)
    job.wait()
    before = split_scan._helpers
    split_scan._forked()
    assert split_scan._helpers is not before
    again = Job(lambda place: place, 3)
    split_scan._helpers.help(again, 2)
    assert again.wait()[0] == [0, 1, 2]


def test_without_threads_to_give_searches_are_answered_and_nobody_waits_for_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A system has them again later: the first one helps then."""
    window, random = filled("dot")
    helpers = split_scan._Helpers()
    monkeypatch.setattr(split_scan, "_helpers", helpers)
    window.state.scan = SplitScan(choose(), 3)
    vectors, k = random.normal(size=(64, 7)).astype(np.float32), np.full(64, 3)
    with monkeypatch.context() as out_of_threads:
        out_of_threads.setattr(threading.Thread, "start", no_thread)
        for _ in range(5):
            assert window.search_all(vectors, k).counts.tolist() == [3] * 64
            assert helpers._jobs.empty(), "nobody would ever take it, and it holds a window"
    assert helpers.start(2) == 2


def no_thread(thread: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


async def test_a_server_splits_what_is_large() -> None:
    async with running(scan_threads=3) as server, client(server) as raw:
        handle = (await raw.create(capacity=100))["handle"]
        await raw.add_binary(handle, batch(*range(100)))
        vectors = np.random.default_rng(1).normal(size=(64, 2)).astype(np.float32)
        together = await raw.search_binary(handle, vectors, k=4)
        for place in range(64):
            alone = await raw.search_binary(handle, vectors[place : place + 1], k=4)
            here = slice(4 * place, 4 * place + 4)
            assert together.hits.seqs[here].tolist() == alone.hits.seqs.tolist()
