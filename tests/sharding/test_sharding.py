"""Shards as pure functions: routing, numbers, names, and answers put together, beside the union.

The union is one list of all rows, scored by the definition and sorted by (score, seq).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omendb_core.model.change import RowBatch
from omendb_core.model.types import NULL_CODE, CountsBy, Hits, StrColumn
from omendb_core.ranking import orders
from omendb_core.ranking.shape import Decay, Order, Rank
from omendb_core.ranking.tree import Number
from xxhash import xxh3_64_intdigest

from omendb_ws.sharding.merging import counted_together, found_together, merged
from omendb_ws.sharding.names import collection_of, part_name, read_part
from omendb_ws.sharding.numbering import outer_seq, outer_seqs, own_seqs, shards_of
from omendb_ws.sharding.routing import Layout
from omendb_ws.sharding.splitting import rows_at
from omendb_ws.wire.counts import counted_all, counted_by
from omendb_ws.wire.messages import Found, Results
from tests.examples import examples

SHARDS = st.integers(1, 64)


@given(st.lists(st.integers(1, 2**40), min_size=1), SHARDS)
def test_a_seq_outside_says_the_shard_and_the_seq_within_it(own: list[int], shards: int) -> None:
    seqs = np.array(own, np.uint64)
    for shard in {0, shards // 2, shards - 1}:
        outer = outer_seqs(seqs, shard, shards)
        assert outer.tolist() == [(one - 1) * shards + shard + 1 for one in own]
        assert outer.tolist() == [outer_seq(one, shard, shards) for one in own]
        assert own_seqs(outer, shards).tolist() == own
        assert set(shards_of(outer, shards).tolist()) == {shard}


def test_ids_go_where_the_protocol_says() -> None:
    u64 = np.array([0, 1, 7, 2**64 - 1], np.uint64)
    wanted = [xxh3_64_intdigest(int(one).to_bytes(8, "little"), 0) % 5 for one in u64]
    assert Layout(5, "u64").shards_of(u64).tolist() == wanted
    texts = ["", "a", "größe", "x" * 300]
    wanted = [xxh3_64_intdigest(one.encode(), 0) % 5 for one in texts]
    assert Layout(5, "str").shards_of(texts).tolist() == wanted
    # Values of the reference implementation.
    assert xxh3_64_intdigest(b"", 0) == 0x2D06800538D394C2


@given(st.lists(st.integers(0, 2**53), max_size=50), SHARDS)
def test_every_id_is_routed_to_one_shard_and_keeps_its_place(ids: list[int], shards: int) -> None:
    given_ids = np.array(ids, np.uint64)
    routed = Layout(shards, "u64").route(given_ids)
    assert sorted(np.concatenate([one.places for one in routed]).tolist()) == list(range(len(ids)))
    for one in routed:
        assert np.array_equal(one.ids, given_ids[one.places])


def test_an_auto_id_is_its_seq() -> None:
    routed = Layout(4, "auto").route(np.array([0, 1, 2, 6, 9], np.uint64))
    assert [one.places.tolist() for one in routed] == [[0, 1, 4], [2, 3], [], []]
    assert [list(map(int, one.ids)) for one in routed] == [[0, 1, 3], [1, 2], [], []]


def test_a_shard_has_a_name_that_no_collection_can_have() -> None:
    assert read_part(part_name("clicks.v-2", 3, 16)) == ("clicks.v-2", 3, 16)
    assert read_part("clicks.v-2") is None
    assert collection_of("clicks#3.16") == collection_of("clicks") == "clicks"


# -- answers --------------------------------------------------------------------------------------


def _few(draw: Any, count: int) -> Any:
    """Numbers of which many are equal."""
    return np.array(draw(st.lists(st.integers(-2, 2), min_size=count, max_size=count)), np.float32)


def _hits(seqs: Any, scores: Any, ranks: Any) -> Hits:
    return Hits(np.array(seqs, np.uint64) + np.uint64(1000), seqs, scores, ranks=ranks)


@st.composite
def cases(draw: Any) -> tuple[list[list[Hits]], int, Order | None, int]:
    """Rows by query and shard, by the shard's seqs, in its order; the order; k."""
    shards, queries, k = draw(SHARDS), draw(st.integers(1, 3)), draw(st.integers(1, 6))
    orders_: list[Order | None] = [None, Decay(1.0), Rank(Number(1.0))]
    order: Order | None = draw(st.sampled_from(orders_))
    found: list[list[Hits]] = []
    for _ in range(queries):
        of_query: list[Hits] = []
        for _ in range(shards):
            count = draw(st.integers(0, 4))
            seqs = np.array(sorted(draw(st.sets(st.integers(1, 9), max_size=count))), np.uint64)
            scores = _few(draw, len(seqs))
            ranks = None if order is None else _few(draw, len(seqs)).astype(np.float64)
            if ranks is not None:
                ranks[ranks == 2] = np.nan
            best = orders.in_order(order, ranks, scores, seqs)
            ranks = None if ranks is None else ranks[best]
            of_query.append(_hits(seqs[best], scores[best], ranks))
        found.append(of_query)
    return found, shards, order, k


def _first(hits: Hits, k: int) -> Hits:
    ranks = None if hits.ranks is None else hits.ranks[:k]
    assert hits.scores is not None
    return Hits(hits.ids[:k], hits.seqs[:k], hits.scores[:k], ranks=ranks)


def _answer(found: list[Hits], k: int, version: int) -> Results:
    cut = [_first(one, k) for one in found]
    ranks = None if cut[0].ranks is None else np.concatenate([one.ranks for one in cut])  # type: ignore[misc]
    hits = Hits(
        np.concatenate([one.ids for one in cut]),  # type: ignore[arg-type]
        np.concatenate([one.seqs for one in cut]),
        np.concatenate([one.scores for one in cut]),  # type: ignore[misc]
        ranks=ranks,
    )
    return Results(version, np.array([len(one.seqs) for one in cut], np.uint32), hits)


@settings(max_examples=examples(200), deadline=None)
@given(cases())
def test_merged_answers_are_those_of_the_union(
    case: tuple[list[list[Hits]], int, Order | None, int],
) -> None:
    found, shards, order, k = case
    answers = [
        _answer([of_query[shard] for of_query in found], k, shard + 1) for shard in range(shards)
    ]
    whole = merged(answers, Layout(shards, "u64"), k, order)
    assert whole.versions == list(range(1, shards + 1))
    assert whole.version == sum(whole.versions)
    start = 0
    for of_query, count in zip(found, whole.counts.tolist(), strict=True):
        seqs = np.concatenate([outer_seqs(h.seqs, s, shards) for s, h in enumerate(of_query)])
        scores = np.concatenate([one.scores for one in of_query])  # type: ignore[misc]
        ranks = None if order is None else np.concatenate([one.ranks for one in of_query])  # type: ignore[misc]
        best = orders.in_order(order, ranks, scores, seqs)[:k]
        assert whole.hits.seqs[start : start + count].tolist() == seqs[best].tolist()
        assert whole.hits.scores is not None
        assert np.array_equal(whole.hits.scores[start : start + count], scores[best])
        start += count
    assert start == len(whole.hits.seqs)


def test_of_equal_scores_the_later_seq_of_all_shards_comes_first() -> None:
    score = np.array([1.0, 1.0], np.float32)
    one = Results(1, np.array([2], np.uint32), _hits(np.array([3, 1], np.uint64), score, None))
    other = Results(1, np.array([2], np.uint32), _hits(np.array([2, 1], np.uint64), score, None))
    whole = merged([one, other], Layout(2, "auto"), 3, None)
    assert whole.hits.seqs.tolist() == [5, 4, 2]
    assert np.array_equal(whole.hits.ids, whole.hits.seqs)


def test_rows_by_id_come_in_the_order_asked() -> None:
    layout, ids = Layout(3, "u64"), np.arange(20, dtype=np.uint64)
    routed = layout.route(ids)
    answers = []
    for one in routed:
        is_there = np.asarray(one.ids) % 3 != 0
        there = np.asarray(one.ids)[is_there]
        answers.append(Found(1, is_there, Hits(there, np.arange(len(there), dtype=np.uint64) + 1)))
    found, hits = found_together(answers, routed, layout)
    assert found.tolist() == [one % 3 != 0 for one in range(20)]
    assert np.asarray(hits.ids).tolist() == [one for one in range(20) if one % 3]


def test_counts_add_up_by_value_and_are_listed_as_those_of_one_window() -> None:
    one = counted_by(CountsBy(3, 6, ["b", None, "a"], [3, 2, 1], 0))
    other = counted_by(CountsBy(4, 5, [None, "a", "é"], [1, 2, 2], 0))
    found = counted_together([one, other], "text", 3)
    assert (found.version, found.count, found.others) == (7, 11, 2)
    assert list(zip(found.values, found.counts, strict=True)) == [("a", 3), ("b", 3), (None, 3)]
    plain = counted_together([counted_all(1, 2), counted_all(1, 5)], None, 100)
    assert (plain.version, plain.count) == (2, 7)


def test_rows_of_one_shard_keep_the_texts_that_they_use_and_no_others() -> None:
    codes = np.array([1, NULL_CODE, 0, 1], np.uint32)
    rows = RowBatch(
        vectors=np.arange(8, dtype=np.float32).reshape(4, 2),
        ids=["a", "b", "c", "d"],
        columns={"t": StrColumn(codes, ("x", "y", "z")), "n": np.arange(4.0)},
        payloads=[b"1", None, b"3", b"4"],
    )
    own = rows_at(rows, np.array([0, 1, 3]))
    assert own.ids == ["a", "b", "d"]
    assert own.vectors.tolist() == [[0, 1], [2, 3], [6, 7]]
    assert own.payloads == [b"1", None, b"4"]
    texts = own.columns["t"]
    assert isinstance(texts, StrColumn)
    assert texts.dictionary == ("y",)
    assert texts.codes.tolist() == [0, NULL_CODE, 0]
    assert own.columns["n"].tolist() == [0, 1, 3]  # type: ignore[union-attr]


@pytest.mark.parametrize("kind", ["u64", "str"])
def test_rows_spread_over_all_shards(kind: Any) -> None:
    ids: Any = (
        np.arange(4096, dtype=np.uint64) if kind == "u64" else [f"id-{n}" for n in range(4096)]
    )
    counts = np.bincount(Layout(8, kind).shards_of(ids), minlength=8)
    assert counts.min() > 400
