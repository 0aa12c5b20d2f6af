"""Any order of adds, deletes, updates, expiries and searches: the window equals the oracle.

Vectors come from a small grid so that ties, replacements and exact duplicates are common; the
window is small so that it wraps all the time. A second window replays the changes, in numpy alone.
"""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from omendb_core.filters import parser as filters
from omendb_core.model.change import AddRequest, Change, RowBatch, UpdateRequest
from omendb_core.model.errors import NotFound
from omendb_core.model.types import ColumnType, Definition, IdKind, Ids, Include, Metric
from omendb_core.replay import replay
from omendb_core.scan.reference import ReferenceScan
from omendb_core.search.query import Answer, Query
from omendb_core.window import Window

from tests.core.variants import NUMPY, computing_with
from tests.examples import examples
from tests.filter_oracle import filters_for, passes
from tests.oracle import Oracle

COLUMNS: dict[str, ColumnType] = {"price": "f64", "stock": "i64", "new": "bool", "kind": "str"}
DIM = 3
TTL_SECONDS = 5
element = st.sampled_from([0.0, 1.0, -1.0, 0.5, 3.0, -0.1])
vector = st.lists(element, min_size=DIM, max_size=DIM).filter(any)
metadata = st.fixed_dictionaries(
    {},
    optional={
        "price": st.one_of(st.none(), st.sampled_from([0.0, 1.5, 9.0, -2.0])),
        "stock": st.one_of(st.none(), st.integers(-3, 3)),
        "new": st.one_of(st.none(), st.booleans()),
        "kind": st.one_of(st.none(), st.sampled_from(["a", "b", "ü", ""])),
        "note": st.sampled_from(["x", [1], {"y": None}]),
    },
)


def payloads(rows: list[dict[str, Any]]) -> list[bytes | None]:
    return [json.dumps(row).encode() if row else None for row in rows]


def f32_matrix(vectors: list[list[float]]) -> np.ndarray:
    return np.array(vectors, np.float32).reshape(len(vectors), DIM)


class WindowMachine(RuleBasedStateMachine):
    rows_metadata: st.SearchStrategy[dict[str, Any]] = metadata

    @initialize(
        metric=st.sampled_from(["cosine", "dot", "l2"]),
        ids=st.sampled_from(["auto", "u64", "str"]),
        capacity=st.sampled_from([1, 2, 5, 9, 64, 67]),
        ttl=st.booleans(),
    )
    def start(self, metric: Metric, ids: IdKind, capacity: int, ttl: bool) -> None:
        self.begin(metric, ids, capacity, ttl)

    def begin(self, metric: Metric, ids: IdKind, capacity: int, ttl: bool) -> None:
        self.definition = Definition(
            DIM, capacity, metric, ids, COLUMNS, TTL_SECONDS if ttl else None
        )
        self.window = Window(self.definition)
        with computing_with(NUMPY):
            self.replayed = Window(self.definition, scan=ReferenceScan())
        self.oracle = Oracle(
            capacity, metric, ids, TTL_SECONDS * 1_000_000 if ttl else None, passes
        )
        self.now_us = 1_000_000
        self.keys = (
            [f"id-{n}" for n in range(12)] if ids == "str" else [0, 2**64 - 1, *range(1, 11)]
        )

    def take(self, change: Change | None) -> None:
        if change is not None:
            self.window.apply(change)
            with computing_with(NUMPY):
                replay(self.replayed, change)

    def ids(self, keys: list[Any]) -> Ids:
        return list(keys) if self.definition.ids == "str" else np.array(keys, np.uint64)

    def keys_there(self) -> list[Any]:
        return [row.id for row in self.oracle.rows.values()]

    @rule(data=st.data(), count=st.integers(1, 12))
    def add(self, data: st.DataObject, count: int) -> None:
        count = min(count, self.definition.capacity)
        vectors = data.draw(st.lists(vector, min_size=count, max_size=count))
        rows = data.draw(st.lists(self.rows_metadata, min_size=count, max_size=count))
        keys = None
        if self.definition.ids != "auto":
            keys = data.draw(st.permutations(self.keys))[:count]
        self.add_rows(vectors, keys, rows)

    def add_rows(
        self, vectors: list[list[float]], keys: list[Any] | None, rows: list[dict[str, Any]]
    ) -> None:
        floats = f32_matrix(vectors)
        batch = RowBatch(
            floats,
            None if keys is None else self.ids(keys),
            metadata=rows,
            payloads=payloads(rows),
        )
        self.take(self.window.admit_add(AddRequest(batch), self.now_us))  # type: ignore[arg-type]
        self.oracle.add(floats.tolist(), keys, rows, self.now_us)

    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        pool = self.keys if self.definition.ids != "auto" else list(range(1, 40))
        keys = data.draw(st.lists(st.sampled_from(pool), max_size=5))
        change = self.window.admit_delete(self.ids(keys), self.now_us)
        deleted = self.oracle.delete(keys)
        assert (len(change.seqs) if change else 0) == deleted
        if change:
            self.oracle.time_us = max(self.oracle.time_us, self.now_us)
        self.take(change)

    @precondition(lambda self: self.oracle.rows)
    @rule(data=st.data())
    def update(self, data: st.DataObject) -> None:
        there = st.sampled_from(sorted(self.keys_there(), key=str))
        keys = data.draw(st.lists(there, min_size=1, max_size=4, unique=True))
        rows = data.draw(st.lists(self.rows_metadata, min_size=len(keys), max_size=len(keys)))
        request = UpdateRequest(self.ids(keys), rows, payloads(rows))
        self.take(self.window.admit_update(request, self.now_us))
        self.oracle.update(keys, rows, self.now_us)

    @rule(seconds=st.sampled_from([-3, 0, 1, 4, 20]))
    def let_time_pass(self, seconds: int) -> None:
        self.now_us += seconds * 1_000_000
        change = self.window.admit_expire(self.now_us)
        assert (change is not None) == self.oracle.expire(self.now_us)
        self.take(change)

    @rule(data=st.data())
    def search(self, data: st.DataObject) -> None:
        asked = data.draw(st.lists(st.fixed_dictionaries(self.search_fields()), max_size=4))
        queries = [self.query(one) for one in asked]
        for one, query, answer in zip(asked, queries, self.window.search(queries), strict=True):
            if one["like"] is not None and self.oracle.find(one["like"]) is None:
                assert isinstance(answer, NotFound)
                continue
            assert isinstance(answer, Answer), answer
            self.compare(one, query, answer)

    def search_fields(self) -> dict[str, Any]:
        likely = [None, None, *sorted(self.keys_there(), key=str)[:3], self.keys[-1]]
        return {
            "vectors": st.lists(vector, min_size=1, max_size=3),
            "k": st.sampled_from([1, 2, 10, 100]),
            "filter": st.one_of(st.none(), filters_for(COLUMNS)),
            "min_score": st.one_of(st.none(), st.sampled_from([-4.0, 0.0, 0.5, 1.0, 1e300])),
            "last": st.one_of(st.none(), st.integers(1, 8)),
            "like": st.sampled_from(likely),
        }

    def query(self, one: dict[str, Any]) -> Query:
        like = None if one["like"] is None else self.ids([one["like"]])
        document = one["filter"]
        return Query(
            vectors=f32_matrix(one["vectors"]) if like is None else None,
            like=like,
            k=one["k"],
            filter=None if document is None else filters.parse(document, COLUMNS),
            min_score=one["min_score"],
            last=one["last"],
            include=Include(metadata=True, vector=True),
        )

    def compare(self, one: dict[str, Any], query: Query, answer: Answer) -> None:
        vectors = [[0.0] * DIM] if query.vectors is None else query.vectors.tolist()
        assert len(answer.counts) == len(vectors)
        expected = [
            hit
            for asked in vectors
            for hit in self.oracle.search(
                asked,
                one["k"],
                document=one["filter"],
                min_score=None if one["min_score"] is None else min(one["min_score"], 3e38),
                last=one["last"],
                like=one["like"],
            )
        ]
        hits = answer.hits
        assert hits.scores is not None
        found = list(zip(list(hits.ids), hits.seqs.tolist(), hits.scores.tolist(), strict=True))
        assert found == expected
        assert not any(math.copysign(1, s) < 0 for s in hits.scores.tolist() if s == 0)
        self.compare_rows(hits)

    def compare_rows(self, hits: Any) -> None:
        for place, seq in enumerate(hits.seqs.tolist()):
            row = self.oracle.rows[seq]
            assert hits.vectors[place].tolist() == row.vector
            kept = hits.metadata[place]
            assert (json.loads(kept) if isinstance(kept, bytes) else kept) == row.metadata

    @rule(document=st.one_of(st.none(), filters_for(COLUMNS)))
    def count(self, document: Any) -> None:
        parsed = None if document is None else filters.parse(document, COLUMNS)
        assert self.window.count(parsed) == len(self.oracle.live(document))

    @rule(data=st.data(), most=st.integers(1, 6))
    def read_as_a_feed(self, data: st.DataObject, most: int) -> None:
        document = data.draw(st.one_of(st.none(), filters_for(COLUMNS)))
        parsed = None if document is None else filters.parse(document, COLUMNS)
        cursor, seen = self.window.first_seq, []
        while cursor <= self.window.last_seq:
            hits, to_seq = self.window.read(
                cursor, most, 40, parsed, Include(metadata=True, vector=True)
            )
            assert cursor <= to_seq <= self.window.last_seq
            assert len(hits.seqs) <= most
            seen += hits.seqs.tolist()
            self.compare_rows(hits)
            cursor = to_seq + 1
        assert seen == sorted(row.seq for row in self.oracle.live(document))

    @invariant()
    def both_windows_are_the_oracle(self) -> None:
        for window in (self.window, self.replayed):
            window.check()
            assert window.version == self.oracle.version
            assert window.last_seq == self.oracle.last_seq
            assert window.first_seq == self.oracle.first_seq
            assert window.rows == len(self.oracle.rows)
        gone = list(self.oracle.left.values())
        window = self.window
        assert window.state.evicted == gone.count("evicted")
        assert window.state.replaced == gone.count("replaced")
        assert window.state.deleted == gone.count("deleted")
        assert window.state.expired == gone.count("expired")


TestWindow = WindowMachine.TestCase
TestWindow.settings = settings(
    max_examples=examples(120), stateful_step_count=30, deadline=None, derandomize=True
)


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
def test_the_oracle_and_a_score_by_hand_agree(metric: Metric) -> None:
    oracle = Oracle(4, metric, "auto")
    oracle.add([[3.0, 0.0, 4.0]], None, [{}], 0)
    by_hand = {"cosine": 0.6, "dot": 3.0, "l2": -20.0}[metric]
    assert oracle.search([1.0, 0.0, 0.0], 1)[0][2] == np.float32(by_hand)
