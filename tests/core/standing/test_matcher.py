"""Standing queries through long streams: lists are cut, run short, are renewed, and stay exact."""

from __future__ import annotations

import numpy as np
import pytest
from omendb_core.filters.parser import parse
from omendb_core.model.change import AddRequest, RowBatch, UpdateRequest
from omendb_core.model.logged import Checkpoint
from omendb_core.model.types import F32, Definition
from omendb_core.replay import resume
from omendb_core.scoring import score
from omendb_core.search.query import Answer, Query
from omendb_core.standing import live_lists, renewals
from omendb_core.standing.table import StandingQuery
from omendb_core.window import Window

DIM = 6


class Stream:
    """A window that rows stream into, and live queries of many k over it."""

    def __init__(self, capacity: int, ks: list[int], seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.window = Window(Definition(DIM, capacity, "cosine", "u64", {"n": "i64"}))
        self.next_id = 0
        self.queries = self.rows(len(ks))
        self.ks = ks
        self.handles = self.window.standing.add(
            [StandingQuery(k) for k in ks], score.prepare(self.queries, "cosine")
        ).tolist()

    def rows(self, count: int) -> F32:
        return self.rng.standard_normal((count, DIM)).astype(np.float32)

    def add(self, vectors: F32) -> None:
        ids = np.arange(self.next_id, self.next_id + len(vectors), dtype=np.uint64)
        self.next_id += len(vectors)
        self.window.apply(self.window.admit_add(AddRequest(RowBatch(vectors, ids)), 0))  # type: ignore[arg-type]

    def delete(self, ids: list[int]) -> None:
        change = self.window.admit_delete(np.array(ids, np.uint64), 0)
        if change is not None:
            self.window.apply(change)

    def catch_up(self) -> None:
        while self.window.standing.behind:
            self.window.standing.advance()
        self.window.standing.check()
        answers = self.window.search(
            [Query(query[None], k=k) for query, k in zip(self.queries, self.ks, strict=True)]
        )
        for handle, answer in zip(self.handles, answers, strict=True):
            assert isinstance(answer, Answer)
            seqs, scores = self.window.standing.lists.answer(handle)
            assert answer.hits.scores is not None
            assert seqs.tolist() == answer.hits.seqs.tolist()
            assert scores.tobytes() == answer.hits.scores.tobytes()


def test_a_long_stream_of_small_adds_cuts_and_renews_lists() -> None:
    stream = Stream(capacity=300, ks=[1, 2, 3, 10, 40] * 3)
    cuts = 0
    for _ in range(400):
        stream.add(stream.rows(int(stream.rng.integers(1, 4))))
        floors = stream.window.standing.table.floors.copy()
        stream.catch_up()
        cuts += int((stream.window.standing.table.floors > floors).sum())
    assert cuts > 20
    assert stream.window.standing.lists.renewed > 20


def test_deletes_that_empty_the_best_of_a_list_bring_back_what_was_below_its_floor() -> None:
    stream = Stream(capacity=500, ks=[5])
    stream.add(stream.rows(500))
    stream.catch_up()
    for _ in range(90):
        seqs, _ = stream.window.standing.lists.answer(stream.handles[0])
        stream.delete([int(seq) - 1 for seq in seqs])
        stream.catch_up()
    assert stream.window.rows == 50


def test_rows_that_come_ever_nearer_crowd_the_list_and_it_is_made_anew() -> None:
    stream = Stream(capacity=1000, ks=[1, 4])
    target = stream.queries[0]
    for step in range(30):
        noise = stream.rows(60) / np.float32(1 + step)
        stream.add((target + noise).astype(np.float32))
        stream.catch_up()


def test_many_lists_to_renew_are_spread_over_several_steps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(renewals, "RENEWED_AT_ONCE", 3)
    stream = Stream(capacity=50, ks=[2] * 10)
    stream.add(stream.rows(50))
    standing = stream.window.standing
    first = standing.advance()
    assert len(first.changed) == 3
    assert standing.behind
    said = set(first.changed.tolist())
    while standing.behind:
        later = standing.advance().changed.tolist()
        assert not said & set(later)
        said |= set(later)
    assert said == set(stream.handles)
    stream.catch_up()


def test_the_base_of_keys_moves_with_the_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_lists, "REBASE_ABOVE", 100)
    stream = Stream(capacity=40, ks=[1, 3, 8])
    for _ in range(120):
        stream.add(stream.rows(3))
        stream.catch_up()
    assert stream.window.last_seq == 360


def test_an_add_that_changes_no_answer_names_no_query() -> None:
    stream = Stream(capacity=100, ks=[1])
    stream.add(np.repeat(stream.queries, 20, axis=0))
    stream.catch_up()
    stream.add(-stream.queries)
    assert stream.window.standing.advance().changed.tolist() == []


def test_metadata_names_a_query_that_wants_it_only_if_its_answer_holds_the_row() -> None:
    stream = Stream(capacity=100, ks=[2])
    stream.add(stream.rows(100))
    stream.catch_up()
    prepared = score.prepare(stream.queries, "cosine")
    wants = int(stream.window.standing.add([StandingQuery(2, wants_metadata=True)], prepared)[0])
    best = int(stream.window.standing.lists.answer(wants)[0][0]) - 1
    request = UpdateRequest(np.array([best], np.uint64), [{"n": 1}], [b'{"n":1}'])
    stream.window.apply(stream.window.admit_update(request, 0))
    assert stream.window.standing.advance().changed.tolist() == [wants]


def test_a_filter_used_by_many_is_kept_until_the_last_one_goes() -> None:
    stream = Stream(capacity=10, ks=[])
    stream.add(stream.rows(5))
    standing = stream.window.standing
    filter_ = parse({"n": {"$exists": False}}, {"n": "i64"})
    vectors = score.prepare(stream.rows(3), "cosine")
    handles = standing.add([StandingQuery(2, filter_)] * 3, vectors).tolist()
    assert len(standing.table.distinct_filters.by_number) == 1
    standing.remove(handles[:2])
    assert len(standing.table.distinct_filters.by_number) == 1
    standing.remove(handles[2:])
    assert not standing.table.distinct_filters.by_number
    assert len(standing) == 0


def test_nobody_asking_costs_nothing_and_remembers_nothing() -> None:
    stream = Stream(capacity=10, ks=[1])
    stream.window.standing.remove(stream.handles)
    for _ in range(5):
        stream.add(stream.rows(4))
        assert not stream.window.standing.behind
    stream.handles = stream.window.standing.add(
        [StandingQuery(1)], score.prepare(stream.queries, "cosine")
    ).tolist()
    stream.add(stream.rows(4))
    stream.catch_up()


@pytest.mark.parametrize("last_seq", [2**31, 2**32 - 3, 2**33, 2**52])
def test_queries_come_to_a_window_that_billions_of_rows_went_through(last_seq: int) -> None:
    stream = Stream(capacity=40, ks=[])
    resume(stream.window, Checkpoint(9, last_seq + 1, last_seq, 0))
    for moment in range(12):
        stream.add(stream.rows(7))
        if moment == 2:
            stream.ks = [1, 3, 8]
            stream.queries = stream.rows(3)
            prepared = score.prepare(stream.queries, "cosine")
            asked = [StandingQuery(k) for k in stream.ks]
            stream.handles = stream.window.standing.add(asked, prepared).tolist()
        stream.catch_up()
