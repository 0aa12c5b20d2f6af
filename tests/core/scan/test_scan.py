import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from omendb_core.model.types import F32, I64, METRICS, U64, Metric
from omendb_core.rows.ring import Ring, pack, unpack
from omendb_core.scan import bounds, candidates, interface, reference
from omendb_core.scan import choice as scan
from omendb_core.scan.decayed import Question
from omendb_core.scan.parts import TopKInParts
from omendb_core.scan.reference import ReferenceScan
from omendb_core.scoring import score

from tests.core import exact
from tests.core.hard_data import (
    CASES,
    assert_same,
    give_shadow,
    make_ring,
    normal,
    rows_of,
    some_of,
)
from tests.examples import examples


def assert_exact(
    ring: Ring,
    metric: Metric,
    queries: F32,
    k: int | list[int] = 10,
    min_scores: list[float] | None = None,
    masks: U64 | None = None,
    mask_of: list[int] | None = None,
) -> interface.TopK:
    """Hold every kernel against the scores of all rows; return the answer."""
    count = len(queries)
    ks: I64 = np.broadcast_to(np.array(k, np.int64), count).copy()
    least = np.array(min_scores or [-np.inf] * count, np.float32)
    words = ring.live_words[None] if masks is None else masks
    owners = np.array(mask_of or [0] * count, np.int64)
    expected = exact.top_k(ring, metric, queries, ks, least, words, owners)
    give_shadow(ring, metric)
    for name in scan.names():
        found = scan.choose(name).top_k(ring, metric, queries, ks, least, words, owners)
        assert_same(found, expected)
        for rows in {max(ring.used // 3, 1), max(ring.used // 20, 1)}:
            question = Question(queries, ks, least, words, owners)
            assert_same(found_in_parts(scan.choose(name), ring, metric, question, rows), expected)
    return expected


def found_in_parts(
    kernel: interface.Scan, ring: Ring, metric: Metric, question: Question, rows: int
) -> interface.TopK:
    parts = TopKInParts(kernel, ring, metric, question)
    steps = 0
    while not parts.is_done:
        parts.step(rows)
        steps += 1
    assert steps >= -(-ring.used // (rows + 64))
    return parts.found


@dataclass(frozen=True)
class Sizes:
    """The constants of numpy's kernel made small: small windows go through every path of it."""

    first_chunk_rows: int
    min_chunk_rows: int
    chunk_estimates: int
    close_elements: int
    undecided: int
    few: int


SIZES = {
    "as they are": None,
    "small chunks": Sizes(10, 128, 1, 100, 1 << 16, 0),
    "eager decisions": Sizes(100, 90, 1 << 10, 1, 0, 0),
}


@pytest.fixture(params=SIZES.values(), ids=SIZES.keys())
def _sizes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: Sizes | None = request.param
    if sizes:
        set_sizes(monkeypatch, sizes)


def set_sizes(monkeypatch: pytest.MonkeyPatch, sizes: Sizes) -> None:
    monkeypatch.setattr(scan, "names", lambda: [reference.REFERENCE])  # the others have their own
    monkeypatch.setattr(reference, "_FIRST_CHUNK_ROWS", sizes.first_chunk_rows)
    monkeypatch.setattr(reference, "_MIN_CHUNK_ROWS", sizes.min_chunk_rows)
    monkeypatch.setattr(reference, "_CHUNK_ESTIMATES", sizes.chunk_estimates)
    monkeypatch.setattr(bounds, "_CLOSE_ELEMENTS", sizes.close_elements)
    monkeypatch.setattr(candidates, "_UNDECIDED", sizes.undecided)
    monkeypatch.setattr(candidates, "_FEW", sizes.few)


@pytest.mark.usefixtures("_sizes")
@pytest.mark.parametrize(("metric", "name"), CASES)
def test_answers_are_exact_on_hard_data(metric: Metric, name: str) -> None:
    rng = np.random.default_rng(1)
    for dim in (1, 7, 33):
        rows = rows_of(metric, name, rng, 900, dim)
        ring = make_ring(rows, 700)
        fresh = rows_of(metric, name, rng, 3, dim)
        queries = np.concatenate((fresh, some_of(rows, rng, 2)))
        assert_exact(ring, metric, queries, [1, 2, 10, 1, 10])


@pytest.mark.parametrize("metric", METRICS)
def test_answers_are_exact_in_a_larger_window(metric: Metric) -> None:
    rng = np.random.default_rng(2)
    rows = score.prepare(normal(rng, 23_000, 64), metric)
    ring = make_ring(rows, 20_011)
    for count in (1, 8, 40):
        assert_exact(ring, metric, score.prepare(normal(rng, count, 64), metric))


@pytest.mark.usefixtures("_sizes")
def test_batches_that_take_turns_are_put_together_in_order() -> None:
    rng = np.random.default_rng(19)
    ring = make_ring(normal(rng, 500, 5), 400)
    sparse = ring.live_words & pack(rng.random(400) < 0.1)
    owners = rng.integers(0, 2, 600).tolist()
    masks = np.stack([ring.live_words, sparse])
    assert_exact(ring, "dot", normal(rng, 600, 5), 3, masks=masks, mask_of=owners)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("name", ["all the same", "ties far from the origin", "one huge row"])
def test_answers_are_exact_where_whole_chunks_tie(metric: Metric, name: str) -> None:
    rng = np.random.default_rng(3)
    rows = rows_of(metric, name, rng, 12_000, 24)
    ring = make_ring(rows, 10_000)
    assert_exact(ring, metric, np.concatenate((rows[:2], rows_of(metric, name, rng, 3, 24))))


@pytest.mark.usefixtures("_sizes")
@pytest.mark.parametrize("capacity", [1, 2, 63, 64, 65, 127, 129])
@pytest.mark.parametrize("dim", [1, 2, 3, 4, 5, 127])
def test_answers_are_exact_in_tiny_windows(capacity: int, dim: int) -> None:
    rng = np.random.default_rng([capacity, dim])
    for metric in METRICS:
        for count in (1, capacity - 1, capacity, capacity + 1, 3 * capacity - 1):
            rows = score.prepare(normal(rng, max(count, 1), dim), metric)
            ring = make_ring(rows[:count], capacity)
            assert_exact(ring, metric, score.prepare(normal(rng, 2, dim), metric), [1, 100])


@pytest.mark.usefixtures("_sizes")
def test_each_query_of_a_batch_has_its_own_k_mask_and_min_score() -> None:
    rng = np.random.default_rng(4)
    for metric in METRICS:
        rows = score.prepare(some_of(normal(rng, 400, 9), rng, 1500), metric)
        ring = make_ring(rows, 1200)
        shares = (1, 0.9, 0.5, 0.12, 0.05, 0)
        masks = np.stack([ring.live_words & pack(rng.random(1200) < share) for share in shares])
        masks = np.concatenate((masks, np.zeros_like(masks[:1])))
        masks[-1, 17] = 1 << 63
        queries = some_of(rows, rng, 40)
        k = rng.choice([1, 2, 3, 10, 100, 1000], 40).tolist()
        mask_of = rng.integers(0, len(masks), 40).tolist()
        # A score that rows have: equality counts.
        least = score.score_pairs(metric, queries, some_of(rows, rng, 40))
        least[rng.random(40) < 0.3] = -np.inf
        least[rng.random(40) < 0.1] = np.inf
        assert_exact(ring, metric, queries, k, least.tolist(), masks, mask_of)


@pytest.mark.usefixtures("_sizes")
@pytest.mark.parametrize("share", [0.999, 0.5, 0.13, 0.12, 0.01])
def test_masked_rows_are_never_found_and_never_hide_others(share: float) -> None:
    rng = np.random.default_rng(5)
    for metric in METRICS:
        rows = score.prepare(normal(rng, 2000, 12), metric)
        ring = make_ring(rows, 1501)
        queries = score.prepare(normal(rng, 4, 12), metric)
        # The best rows of the first query are all out.
        best = exact.top_k(
            ring,
            metric,
            queries[:1],
            np.array([200]),
            np.array([-np.inf], np.float32),
            ring.live_words[None],
            np.array([0]),
        )
        mask = rng.random(1501) < share
        mask[best.slots] = False
        words = ring.live_words & pack(mask)
        assert_exact(ring, metric, queries, [10, 1, 300, 1000], masks=words[None])


def test_a_mask_of_one_row_finds_that_row_wherever_it_is() -> None:
    rng = np.random.default_rng(6)
    ring = make_ring(normal(rng, 300, 4), 200)
    for slot in (0, 1, 63, 64, 99, 100, 101, 199):
        words = pack(np.arange(200) == slot)[None]
        found = assert_exact(ring, "dot", normal(rng, 2, 4), masks=words)
        assert found.slots.tolist() == [slot, slot]


def test_a_mask_of_no_rows_and_an_empty_ring_find_nothing() -> None:
    rng = np.random.default_rng(7)
    ring = make_ring(normal(rng, 100, 4))
    nothing = np.zeros_like(ring.live_words)[None]
    assert assert_exact(ring, "l2", normal(rng, 3, 4), masks=nothing).counts.tolist() == [0, 0, 0]
    empty = Ring(100, 4)
    assert assert_exact(empty, "l2", normal(rng, 3, 4)).counts.tolist() == [0, 0, 0]


def test_no_queries_get_no_answers() -> None:
    ring = make_ring(normal(np.random.default_rng(8), 100, 4))
    found = assert_exact(ring, "dot", np.empty((0, 4), np.float32))
    assert (len(found.counts), len(found.slots), len(found.scores)) == (0, 0, 0)


def test_more_than_there_is_gives_what_there_is() -> None:
    rng = np.random.default_rng(9)
    ring = make_ring(normal(rng, 50, 4), 80)
    assert assert_exact(ring, "dot", normal(rng, 2, 4), 1000).counts.tolist() == [50, 50]


@pytest.mark.usefixtures("_sizes")
def test_of_equal_scores_the_newest_win() -> None:
    rows = np.ones((1000, 3), np.float32)
    rows[::2] *= -1
    ring = make_ring(rows, 700)  # seqs 301 … 1000, in slots 300 … 699, 0 … 299
    for metric in ("dot", "l2"):
        found = assert_exact(ring, metric, np.ones((1, 3), np.float32), 7)  # type: ignore[arg-type]
        assert ring.seqs(found.slots).tolist() == [1000, 998, 996, 994, 992, 990, 988]


def test_rows_of_earlier_laps_are_forgotten() -> None:
    rng = np.random.default_rng(10)
    rows = normal(rng, 1000, 5)
    rows[:900] *= 100  # would win, were they still there
    ring = make_ring(rows, 100)
    found = assert_exact(ring, "dot", normal(rng, 5, 5), 100)
    assert found.counts.tolist() == [100] * 5


def test_dead_rows_do_not_matter_whatever_they_hold() -> None:
    rng = np.random.default_rng(11)
    rows = normal(rng, 3000, 6)
    rows[::3] *= np.float32(2.0**60)
    ring = make_ring(rows)
    ring.kill(np.arange(0, 3000, 3))
    found = assert_exact(ring, "l2", normal(rng, 5, 6), 50)
    assert (found.slots % 3 != 0).all()


def test_one_huge_row_among_many_leaves_the_others_exact() -> None:
    rng = np.random.default_rng(12)
    rows = normal(rng, 9000, 16)
    rows[8500] = 2.0**60
    for metric in ("dot", "l2"):
        ring = make_ring(rows)
        assert_exact(ring, metric, normal(rng, 6, 16), 20)  # type: ignore[arg-type]
        assert_exact(ring, metric, rows[8500:8501], 20)  # type: ignore[arg-type]


@pytest.mark.parametrize("metric", METRICS)
def test_a_query_is_answered_alike_alone_and_in_any_batch(metric: Metric) -> None:
    rng = np.random.default_rng(13)
    rows = score.prepare(normal(rng, 3000, 31), metric)
    ring = make_ring(rows)
    queries = score.prepare(normal(rng, 70, 31), metric)
    together = assert_exact(ring, metric, queries, 5)
    for i in (0, 1, 35, 69):
        alone = assert_exact(ring, metric, queries[i : i + 1], 5)
        assert alone.slots.tolist() == together.slots[5 * i : 5 * i + 5].tolist()
        assert alone.scores.tobytes() == together.scores[5 * i : 5 * i + 5].tobytes()


def test_one_kernel_serves_several_threads_and_batches_of_any_size() -> None:
    rng = np.random.default_rng(22)
    ring = make_ring(normal(rng, 4000, 20))
    give_shadow(ring, "l2")
    kernel = scan.choose()
    batches = [normal(rng, count, 20) for count in (1, 60, 3, 1, 17, 33, 2, 64)]

    def answer(top_k: Callable[..., interface.TopK], queries: F32) -> list[list[float]]:
        count = len(queries)
        k, least = np.full(count, 5), np.full(count, -np.inf, np.float32)
        masks, mask_of = ring.live_words[None], np.zeros(count, np.int64)
        found = top_k(ring, "l2", queries, k, least, masks, mask_of)
        return [column.tolist() for column in found]

    expected = [answer(exact.top_k, queries) for queries in batches]

    def many_times(_: int) -> None:
        for _ in range(10):
            assert [answer(kernel.top_k, queries) for queries in batches] == expected

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(many_times, range(4)))


@st.composite
def windows(draw: st.DrawFn) -> tuple[Ring, Metric, F32, list[int], list[float], U64, list[int]]:
    """Rings full of ties, and questions to them."""
    metric: Metric = draw(st.sampled_from(["dot", "l2"]))
    dim = draw(st.integers(1, 9))
    element = st.sampled_from([0.0, -0.0, 1.0, -1.0, 2.0, 1e-30, 3e-42, 1e15, 1000.25, 1000.5])
    count = draw(st.integers(1, 150))
    rows = draw(hnp.arrays(np.float32, (count, dim), elements=element))
    ring = make_ring(rows, draw(st.integers(1, 160)))
    asked = draw(st.integers(1, 4))
    queries = draw(hnp.arrays(np.float32, (asked, dim), elements=element))
    masks = [ring.live_words]
    for _ in range(draw(st.integers(0, 2))):
        kept = draw(hnp.arrays(np.bool_, ring.capacity, elements=st.booleans()))
        masks.append(ring.live_words & pack(kept))
    return (
        ring,
        metric,
        queries,
        draw(st.lists(st.sampled_from([1, 2, 5, 40, 200]), min_size=asked, max_size=asked)),
        draw(st.lists(st.sampled_from([-np.inf, 0, 1, -2]), min_size=asked, max_size=asked)),
        np.stack(masks),
        draw(st.lists(st.integers(0, len(masks) - 1), min_size=asked, max_size=asked)),
    )


@given(windows(), st.sampled_from(list(SIZES.values())))
@settings(max_examples=examples(250), deadline=None, derandomize=True)
def test_answers_are_exact_whatever_the_window(
    window: tuple[Ring, Metric, F32, list[int], list[float], U64, list[int]], sizes: Sizes | None
) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        if sizes:
            set_sizes(monkeypatch, sizes)
        assert_exact(*window)


@pytest.mark.usefixtures("_sizes")
def test_the_newest_ties_win_in_a_sparse_mask_too() -> None:
    rng = np.random.default_rng(20)
    ring = make_ring(np.ones((6000, 3), np.float32), 4000)
    mask = ring.live_words & pack(rng.random(4000) < 0.1)
    assert_exact(ring, "dot", np.ones((2, 3), np.float32), [1, 20], masks=mask[None])


@pytest.mark.usefixtures("_sizes")
@pytest.mark.parametrize("metric", METRICS)
def test_rows_that_score_exactly_min_score_are_found_among_thousands_that_do(
    metric: Metric,
) -> None:
    rng = np.random.default_rng(21)
    rows = np.repeat(score.prepare(normal(rng, 1, 9), metric), 3000, axis=0)
    queries = score.prepare(normal(rng, 2, 9), metric)
    exactly = score.score_pairs(metric, rows[:2], queries)
    found = assert_exact(make_ring(rows), metric, queries, [1, 10], exactly.tolist())
    assert found.counts.tolist() == [1, 10]
    above = np.nextafter(exactly, np.float32(np.inf))
    assert assert_exact(make_ring(rows), metric, queries, 10, above.tolist()).counts.sum() == 0


@pytest.mark.parametrize("name", ["all the same", "far from the origin", "random"])
def test_memory_does_not_grow_with_rows_that_no_bound_tells_apart(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A bound so wide that float64 products, too, leave every row of the window a candidate.
    monkeypatch.setattr(bounds, "_U64", 1e6)
    monkeypatch.setattr(reference, "_CHUNK_ESTIMATES", 1 << 12)
    monkeypatch.setattr(candidates, "_UNDECIDED", 1 << 12)
    rng = np.random.default_rng(14)
    rows = rows_of("l2", name, rng, 60_000, 16)
    ring = make_ring(rows)
    queries = some_of(rows, rng, 8)
    assert_exact(ring, "l2", queries)
    k, least = np.full(8, 10), np.full(8, -np.inf, np.float32)
    tracemalloc.start()
    try:
        ReferenceScan().top_k(
            ring, "l2", queries, k, least, ring.live_words[None], np.zeros(8, np.int64)
        )
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # As candidates all pairs would take 8 * 60,000 * 24 bytes, and 128 bytes each when gathered.
    assert peak_bytes < 6 << 20


def test_the_tests_own_oracle_reads_masks_as_the_ring_does() -> None:
    ring = make_ring(np.arange(10, dtype=np.float32)[:, None])
    ring.kill(np.array([9, 3]))
    found = assert_exact(ring, "dot", np.ones((1, 1), np.float32), 3)
    assert found.slots.tolist() == [8, 7, 6]
    assert np.flatnonzero(unpack(ring.live_words, 10)).tolist() == [0, 1, 2, 4, 5, 6, 7, 8]
