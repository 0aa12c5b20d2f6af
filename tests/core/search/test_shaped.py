"""Shaped searches against plain loops over every row, through all fields together."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omendb_core.filters.parser import optional
from omendb_core.model.change import AddRequest, RowBatch
from omendb_core.model.errors import DimMismatch, NotFound, TooLarge, ZeroNorm
from omendb_core.model.types import Definition, Include, Metric
from omendb_core.ranking import orders
from omendb_core.ranking.shape import Decay, Group, Mmr, Shape, Spread
from omendb_core.search.query import Answer, Examples, Query
from omendb_core.window import Window

from tests.core.exact import normalised, score_of
from tests.core.windows import COLUMNS
from tests.examples import examples

AT = 50.0


def filled(metric: Metric, rows: int, seed: int, capacity: int = 64) -> Window:
    """A window of rows in small batches, some seconds apart; a few ids come twice."""
    random = np.random.default_rng(seed)
    window = Window(Definition(3, capacity, metric, "u64", COLUMNS))
    now_us, done = 0, 0
    while done < rows:
        count = int(random.integers(1, 6))
        vectors = random.integers(-2, 3, (count, 3)).astype(np.float32)
        vectors[:, 0] += (vectors == 0).all(axis=1)
        metadata: list[dict[str, Any]] = [
            {
                key: value
                for key, value in {
                    "price": float(random.integers(0, 5)),
                    "stock": int(random.integers(0, 60)),
                    "new": bool(random.random() < 0.5),
                    "kind": str(random.choice(["a", "b", "c"])),
                }.items()
                if random.random() < 0.8
            }
            for _ in range(count)
        ]
        payloads = [json.dumps(one).encode() if one else None for one in metadata]
        ids = np.unique(random.integers(0, 2 * rows, count).astype(np.uint64))
        n = len(ids)
        batch = RowBatch(vectors[:n], ids, {}, metadata[:n], payloads[:n])
        change = window.admit_add(AddRequest(batch), now_us)
        window.apply(change)  # type: ignore[arg-type]
        now_us += int(random.integers(0, 3)) * 1_000_000
        done += n
    return window


def value_of(window: Window, slot: int, column: str) -> Any:
    """A column's value of a row; None for null."""
    if window.state.columns.is_null(column, np.array([slot]))[0]:
        return None
    return window.state.columns.values(column, np.array([slot]))[0].item()


def naive(window: Window, query: Query, vector: Any) -> list[tuple[int, float]]:
    """Slots and scores of an answer by the text of PROTOCOL section 5, loop by loop."""
    state, shape = window.state, query.shape
    metric = window.definition.metric
    left_out = [] if query.exclude is None else [int(one) for one in query.exclude]
    rows = []
    for slot in state.ring.live_slots(state.first_seq, state.last_seq).tolist():
        score = float(score_of(metric, state.ring.vectors[slot], vector))
        seq = int(state.ring.seqs(np.array([slot]))[0])
        if int(state.ids.of(np.array([slot]))[0]) in left_out:
            continue
        if query.min_score is not None and score < np.float32(query.min_score):
            continue
        key: tuple[float, ...] = (score, seq)
        if isinstance(shape.order, Decay):
            column = shape.order.column
            t = state.times_us[slot] / 1e6 if column is None else value_of(window, slot, column)
            rank = math.nan
            if score > 0 and t is not None:
                one = np.array([slot]), np.array([score], np.float32)
                rank = float(orders.ranks(shape.order, state, *one)[0])
                about = math.log2(score) + t / shape.order.half_life_seconds
                assert rank == pytest.approx(about, rel=1e-12, abs=1e-12)
            key = (0, score, seq) if math.isnan(rank) else (1, rank, seq)
        rows.append((key, slot, score))
    rows.sort(reverse=True)
    return selected(window, query, [(slot, score) for _, slot, score in rows])


def selected(
    window: Window, query: Query, rows: list[tuple[int, float]]
) -> list[tuple[int, float]]:
    """The selection out of rows in order."""
    shape, taken, counts = query.shape, [], dict[Any, int]()
    most = query.k if shape.mmr is None else shape.mmr.candidates
    vectors, metric = window.state.ring.vectors, window.definition.metric
    for slot, score in rows:
        if len(taken) == most:
            break
        if shape.spread is not None and any(
            score_of(metric, vectors[slot], vectors[other])
            >= np.float32(shape.spread.max_similarity)
            for other, _ in taken
        ):
            continue
        if shape.group is not None:
            value = value_of(window, slot, shape.group.column)
            if counts.get(value, 0) == shape.group.size:
                continue
            counts[value] = counts.get(value, 0) + 1
        taken.append((slot, score))
    if shape.mmr is None:
        return taken
    chosen: list[tuple[int, float]] = []
    while taken and len(chosen) < query.k:
        w = shape.mmr.relevance
        best, best_value = None, -math.inf
        for slot, score in taken:
            likeness = max(
                (float(score_of(metric, vectors[slot], vectors[o])) for o, _ in chosen), default=0.0
            )
            value = w * score - (1 - w) * likeness
            if best is None or value > best_value:
                best, best_value = (slot, score), value
        assert best is not None
        chosen.append(best)
        taken.remove(best)
    return chosen


def answered(window: Window, query: Query) -> Answer:
    (found,) = window.search([query])
    assert isinstance(found, Answer), found
    return found


@st.composite
def shapes(draw: st.DrawFn, metric: Metric, k: int) -> Shape:
    half_life = draw(st.sampled_from([1e-3, 0.5, 7.0, 1e12]))
    order = draw(
        st.sampled_from(
            [None, Decay(half_life), Decay(half_life, "price"), Decay(half_life, "stock")]
        )
    )
    group = draw(st.sampled_from([None, *(Group(c, s) for c in COLUMNS for s in (1, 2))]))
    limit = draw(st.floats(-9, 0 if metric == "l2" else 9))
    spread = draw(st.sampled_from([None, Spread(limit)]))
    mmr = None
    if spread is None and draw(st.booleans()):
        mmr = Mmr(draw(st.sampled_from([0.0, 0.3, 1.0])), k + draw(st.integers(0, 20)))
    return Shape(order, group, spread, mmr)


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
@given(data=st.data())
@settings(max_examples=examples(60), deadline=None)
def test_an_answer_is_what_the_text_says(metric: Metric, data: st.DataObject) -> None:
    window = filled(metric, data.draw(st.integers(1, 120)), data.draw(st.integers(0, 2**32 - 1)))
    k = data.draw(st.integers(1, 12))
    count = data.draw(st.integers(1, 3))
    raw = np.random.default_rng(data.draw(st.integers(0, 99))).integers(1, 4, (count, 3))
    query = Query(
        vectors=raw.astype(np.float32),
        k=k,
        min_score=data.draw(st.sampled_from([None, -3.0, 0.0, 0.5])),
        shape=data.draw(shapes(metric, k)),
        exclude=np.array(data.draw(st.lists(st.integers(0, 200), max_size=20)), np.uint64),
        at=AT,
    )
    answer = answered(window, query)
    end = 0
    for vector, length in zip(raw.astype(np.float32), answer.counts.tolist(), strict=True):
        start, end = end, end + length
        asked = normalised(vector) if metric == "cosine" else vector
        wanted = naive(window, query, asked)
        seqs = window.state.ring.seqs(np.array([slot for slot, _ in wanted], np.int64))
        assert answer.hits.seqs[start:end].tolist() == seqs.tolist()
        assert answer.hits.scores is not None
        assert answer.hits.scores[start:end].tolist() == [score for _, score in wanted]


def test_a_weight_is_what_age_takes_off_a_score() -> None:
    window = filled("dot", 20, 1)
    query = Query(np.ones((1, 3), np.float32), k=20, shape=Shape(Decay(2.0, "price")), at=AT)
    hits = answered(window, query).hits
    assert hits.weights is not None
    for slot, weight in zip(window.state.ids.find(hits.ids), hits.weights.tolist(), strict=True):
        price = value_of(window, int(slot), "price")
        if price is None:
            assert math.isnan(weight)
        else:
            assert weight == np.float32(2 ** ((price - AT) / 2.0))


def test_a_weight_is_finite_however_far_in_the_future_a_row_is() -> None:
    window = filled("dot", 20, 1)
    query = Query(np.ones((1, 3), np.float32), k=20, shape=Shape(Decay(1e-3, "stock")), at=-1e9)
    weights = answered(window, query).hits.weights
    assert weights is not None
    assert set(weights[~np.isnan(weights)].tolist()) == {float(np.finfo(np.float32).max)}


def test_one_stored_example_is_asked_with_as_it_is_stored() -> None:
    window = filled("cosine", 40, 3)
    some = window.state.ids.of(window.state.ring.live_slots(1, 100)[:1])
    like = answered(window, Query(None, like=some, k=9))
    example = answered(window, Query(None, examples=Examples((int(some[0]),)), k=9))
    assert example.hits.seqs.tolist() == like.hits.seqs.tolist()
    assert example.hits.scores is not None
    assert like.hits.scores is not None
    assert example.hits.scores.tolist() == like.hits.scores.tolist()


def test_the_target_is_the_mean_and_away_from_the_negative_one() -> None:
    window = filled("dot", 40, 4)
    one, two, three = (
        int(x) for x in window.state.ids.of(window.state.ring.live_slots(1, 100)[:3])
    )
    vectors = window.state.ring.vectors[window.state.ids.find(np.array([one, three], np.uint64))]
    given_vector = np.array([1.5, -2.0, 0.25], np.float32)
    mean = (vectors[0].astype(np.float64) + given_vector) / 2
    target = (mean + (mean - vectors[1])).astype(np.float32)
    asked = answered(window, Query(None, examples=Examples((one, given_vector), (three,)), k=20))
    plain = Query(target[None], k=20, exclude=np.array([one, three], np.uint64))
    assert asked.hits.seqs.tolist() == answered(window, plain).hits.seqs.tolist()
    assert two not in (one, three)


def test_a_faulty_example_is_named_with_its_place() -> None:
    window = filled("cosine", 10, 5)
    some = int(window.state.ids.of(window.state.ring.live_slots(1, 100)[:1])[0])
    (found,) = window.search([Query(None, examples=Examples((some, 10**9), (10**9,)))])
    assert isinstance(found, NotFound)
    assert found.row == 1
    assert found.message.startswith("positive: ")
    (found,) = window.search([Query(None, examples=Examples((some,), (np.zeros(2, np.float32),)))])
    assert isinstance(found, DimMismatch)
    assert found.row == 0
    assert found.message.startswith("negative: ")


def test_a_target_of_zero_has_no_direction() -> None:
    window = filled("cosine", 10, 5)
    one = np.array([1, 0, 0], np.float32)
    (found,) = window.search([Query(None, examples=Examples((one, -one)))])
    assert isinstance(found, ZeroNorm)
    assert found.row is None


def test_rows_left_out_by_id_do_not_come_back_by_a_replacement() -> None:
    window = filled("dot", 30, 6)
    ids = window.state.ids.of(window.state.ring.live_slots(1, 100))
    query = Query(np.ones((1, 3), np.float32), k=50, exclude=ids[:4])
    assert not set(ids[:4].tolist()) & set(np.asarray(answered(window, query).hits.ids).tolist())
    batch = RowBatch(np.full((1, 3), 9, np.float32), np.array(ids[:1], np.uint64))
    window.apply(window.admit_add(AddRequest(batch), 10**9))  # type: ignore[arg-type]
    assert not set(ids[:4].tolist()) & set(np.asarray(answered(window, query).hits.ids).tolist())


def test_a_shaped_answer_is_held_to_the_rows_that_fit() -> None:
    window = filled("dot", 30, 7)
    query = Query(np.ones((2, 3), np.float32), k=5, shape=Shape(Decay(1.0)), at=AT, max_hits=9)
    (found,) = window.search([query])
    assert isinstance(found, TooLarge)


@pytest.mark.parametrize(
    ("shape", "rows"), [(Shape(group=Group("new")), 3), (Shape(spread=Spread(-1e9)), 1)]
)
def test_what_a_selection_leaves_out_takes_no_room(shape: Shape, rows: int) -> None:
    window = filled("dot", 30, 7)
    query = Query(np.ones((1, 3), np.float32), k=20, shape=shape, max_hits=rows)
    assert len(answered(window, query).hits.seqs) == rows
    (found,) = window.search([replace(query, max_hits=rows - 1)])
    assert isinstance(found, TooLarge)


def test_shaped_and_plain_queries_share_a_call() -> None:
    window = filled("dot", 60, 8)
    vectors = np.ones((1, 3), np.float32)
    filter_ = optional({"new": True}, COLUMNS)
    queries = [
        Query(vectors, k=4),
        Query(vectors, k=4, shape=Shape(Decay(1.0)), at=AT, filter=filter_),
        Query(vectors, k=4, exclude=np.array([1, 2, 3], np.uint64), include=Include(True, True)),
        Query(vectors, k=4, shape=Shape(group=Group("kind"))),
    ]
    together = window.search(queries)
    alone = [answered(window, one) for one in queries]
    for one, other in zip(together, alone, strict=True):
        assert isinstance(one, Answer)
        assert one.hits.seqs.tolist() == other.hits.seqs.tolist()
    assert [isinstance(one, Answer) and one.hits.ranks is not None for one in together] == [
        False, True, False, False,
    ]  # fmt: skip


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
@given(data=st.data())
@settings(max_examples=examples(60), deadline=None)
def test_searches_that_share_a_scan_answer_as_they_do_alone(
    metric: Metric, data: st.DataObject
) -> None:
    window = filled(metric, data.draw(st.integers(1, 120)), data.draw(st.integers(0, 2**32 - 1)))
    queries = []
    for number in range(data.draw(st.integers(2, 6))):
        k = data.draw(st.integers(1, 12))
        count = data.draw(st.integers(1, 3))
        vectors = np.random.default_rng(number).integers(1, 4, (count, 3)).astype(np.float32)
        queries.append(
            Query(
                vectors=vectors,
                k=k,
                min_score=data.draw(st.sampled_from([None, -3.0, 0.5])),
                filter=data.draw(st.sampled_from([None, optional({"new": True}, COLUMNS)])),
                last=data.draw(st.sampled_from([None, 20])),
                shape=data.draw(shapes(metric, k)),
                exclude=data.draw(st.sampled_from([None, np.arange(0, 90, 3, dtype=np.uint64)])),
                at=AT,
                max_hits=data.draw(st.sampled_from([None, 2])),
            )
        )
    for query, found in zip(queries, window.search(queries), strict=True):
        (alone,) = window.search([query])
        assert type(found) is type(alone)
        if not isinstance(found, Answer) or not isinstance(alone, Answer):
            continue
        assert found.counts.tolist() == alone.counts.tolist()
        assert found.hits.seqs.tolist() == alone.hits.seqs.tolist()
        for name in ("scores", "ranks", "weights"):
            one, other = getattr(found.hits, name), getattr(alone.hits, name)
            assert (one is None) == (other is None)
            assert one is None or one.tobytes() == other.tobytes()


def test_searches_whose_orders_are_alike_share_a_scan(monkeypatch: pytest.MonkeyPatch) -> None:
    window = filled("dot", 60, 8)
    scanned: list[int] = []
    for name in ("top_k", "top_k_decayed"):
        scan = getattr(window.state.scan, name)

        def counting(*arguments: Any, scan: Any = scan) -> Any:
            scanned.append(len(arguments[2]))
            return scan(*arguments)

        monkeypatch.setattr(window.state.scan, name, counting)
    vectors = np.ones((1, 3), np.float32)
    window.search(
        [
            Query(vectors, k=4),
            Query(vectors, k=4, shape=Shape(group=Group("kind", 9))),
            Query(vectors, k=3, shape=Shape(Decay(9.0)), at=AT),
            Query(vectors, k=9, shape=Shape(Decay(5.0, "price")), at=AT),
            Query(vectors, k=2, shape=Shape(mmr=Mmr(0.5, 5))),
            Query(vectors, k=4, shape=Shape(Decay(1.0), Group("kind", 9)), at=AT),
        ]
    )
    assert sorted(scanned) == [1, 1, 2, 2]


def test_a_shape_that_selects_nothing_out_is_the_plain_search() -> None:
    window = filled("dot", 60, 9)
    plain = Query(np.ones((1, 3), np.float32), k=7)
    shaped = replace(plain, shape=Shape(group=Group("kind", 1000)))
    assert answered(window, plain).hits.seqs.tolist() == answered(window, shaped).hits.seqs.tolist()
