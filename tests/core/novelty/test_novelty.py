"""How new each added row is, against plain loops: through evictions, deletes and updates."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omendb_core.filters.parser import optional
from omendb_core.model.change import AddRequest, RowBatch, UpdateRequest
from omendb_core.model.types import Definition, IdKind, Ids, Metric
from omendb_core.novelty.before import Before
from omendb_core.novelty.novelty import Newness
from omendb_core.rows.ring import Ring
from omendb_core.scan.choice import choose
from omendb_core.window import Window

from tests.examples import examples
from tests.filter_oracle import filters_for, metadata_for, passes
from tests.oracle import Oracle, Row
from tests.oracle.numbers import score

from .test_unless_near import COLUMNS, KERNELS, PLACES, key_of, request

#: (filter, last) of those who ask.
Asked = tuple[Any, int | None]


def best_before(
    metric: str, row: Row, others: list[Row], asked: Asked
) -> tuple[float, int, Any] | None:
    """(score, seq, id) of the best row that counts."""
    document, last = asked
    found = [
        (score(metric, other.vector, row.vector), other.seq, other.id)
        for other in others
        if other.seq < row.seq
        and (last is None or other.seq >= row.seq - last)
        and (document is None or passes(document, other.metadata))
    ]
    return max(found, key=lambda one: one[:2], default=None)


@dataclass
class Both:
    """A window and the naive one, and who asks."""

    window: Window
    naive: Oracle
    asked: dict[int, Asked]
    kind: IdKind
    told: int = field(default=0)

    def add(self, vectors: list[list[float]], numbers: list[int], metadata: list[Any]) -> None:
        ids = None if self.kind == "auto" else [key_of(self.kind, one) for one in numbers]
        before = list(self.naive.rows.values())
        change = self.window.admit_add(request(vectors, ids, metadata, self.kind), 0)
        assert change is not None
        first_seq = self.naive.last_seq + 1
        self.naive.add(vectors, ids, metadata, 0)
        came = [self.naive.rows[seq] for seq in range(first_seq, self.naive.last_seq + 1)]
        self.window.apply(change)  # type: ignore[arg-type]
        found = {}
        while self.window.novelty.is_behind:
            newness = self.window.novelty.step()
            if newness is not None:
                found[newness.group] = newness
        assert found.keys() == set(self.asked)
        for number, newness in found.items():
            self.check(newness, self.asked[number], came, before)

    def check(self, newness: Newness, asked: Asked, came: list[Row], before: list[Row]) -> None:
        document, _ = asked
        wanted = [row for row in came if document is None or passes(document, row.metadata)]
        assert newness.seqs.tolist() == [row.seq for row in wanted]
        assert len(newness.near) == len(wanted)
        for place, row in enumerate(wanted):
            others = [other for other in before if self.kind == "auto" or other.id != row.id]
            best = best_before(self.naive.metric, row, others + came, asked)
            if best is None:
                assert newness.scores[place] == -np.inf
            else:
                assert (newness.scores[place], newness.near[place]) == (best[0], best[2])
            self.told += 1

    def delete(self, numbers: list[int]) -> None:
        keys = [key_of(self.kind, one) for one in numbers]
        change = self.window.admit_delete(self.ids(keys), 0)
        assert (change is not None) == bool(self.naive.delete(keys))
        if change is not None:
            self.window.apply(change)

    def update(self, number: int, metadata: Any) -> None:
        key = key_of(self.kind, number)
        if self.naive.find(key) is None:
            return
        payload = json.dumps(metadata).encode() if metadata else None
        asked = UpdateRequest(self.ids([key]), [metadata], [payload])
        self.window.apply(self.window.admit_update(asked, 0))
        self.naive.update([key], [metadata], 0)

    def past(self, asked: Asked, from_seq: int) -> None:
        """What a subscription that begins in the past is told, all of it at once."""
        document, last = asked
        filter_ = optional(document, self.window.definition.columns)
        before = Before(self.window.state, filter_, last)
        rows = sorted(self.naive.live(document), key=lambda row: row.seq)
        rows = [row for row in rows if row.seq >= from_seq]
        left = np.array([row.seq for row in rows], np.uint64)
        while len(left):
            piece = before.piece_of(left)
            found = before.best(piece)
            near = before.ids(found.seqs)
            for place, seq in enumerate(piece.tolist()):
                row = self.naive.rows[seq]
                best = best_before(self.naive.metric, row, self.naive.live(), asked)
                if best is None:
                    assert (found.scores[place], found.seqs[place]) == (-np.inf, 0)
                else:
                    told = found.scores[place], found.seqs[place], near[place]
                    assert told == (best[0], best[1], best[2])
            left = left[len(piece) :]

    def ids(self, keys: list[Any]) -> Ids:
        return keys if self.kind == "str" else np.array(keys, np.uint64)


VECTORS = st.lists(st.sampled_from(PLACES), min_size=2, max_size=2).filter(any)
ASKED = st.tuples(
    st.one_of(st.none(), st.just({}), filters_for(COLUMNS)),
    st.one_of(st.none(), st.integers(1, 12)),
)
STEPS = st.one_of(
    st.tuples(
        st.just("add"),
        st.lists(st.tuples(VECTORS, metadata_for(COLUMNS)), min_size=1, max_size=7),
        st.permutations(range(10)),
    ),
    st.tuples(st.just("delete"), st.lists(st.integers(0, 9), max_size=3)),
    st.tuples(st.just("update"), st.integers(0, 9), metadata_for(COLUMNS)),
    st.tuples(st.just("past"), ASKED, st.integers(1, 20)),
)


@pytest.mark.parametrize("kernel", KERNELS)
@settings(max_examples=examples(150), deadline=None)
@given(
    st.sampled_from(["cosine", "dot", "l2"]),
    st.sampled_from(["auto", "u64", "str"]),
    st.integers(1, 3),
    st.lists(ASKED, min_size=1, max_size=4),
    st.lists(STEPS, min_size=1, max_size=12),
)
def test_each_row_is_held_against_those_that_were_there_before_it(
    kernel: str,
    metric: Metric,
    kind: IdKind,
    piece: int,
    asked: list[Asked],
    steps: list[Any],
) -> None:
    definition = Definition(2, 7, metric, kind, COLUMNS)  # type: ignore[arg-type]
    window = Window(definition, scan=choose(kernel))
    numbers: dict[int, Asked] = {}
    for document, last in asked:
        numbers[window.novelty.join(optional(document, COLUMNS), last)] = document, last  # type: ignore[arg-type]
    both = Both(window, Oracle(7, metric, kind, passes=passes), numbers, kind)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("omendb_core.novelty.before.vectors_of_piece", lambda *_: piece)
        patch.setattr("omendb_core.novelty.before._TAKEN_ELEMENTS", 4)
        for what, *how in steps:
            if what == "add":
                rows, keys = how
                both.add([list(one[0]) for one in rows], keys[: len(rows)], [m for _, m in rows])
            else:
                getattr(both, what)(*how)


def vectors(*values: float) -> AddRequest:
    rows = np.array([[1.0, one] for one in values], np.float32)
    return AddRequest(RowBatch(rows))


def compared(window: Window, asked: AddRequest) -> list[Newness]:
    window.apply(window.admit_add(asked, 0))  # type: ignore[arg-type]
    found = []
    while window.novelty.is_behind:
        newness = window.novelty.step()
        if newness is not None:
            found.append(newness)
    return found


def test_those_who_ask_alike_are_one_group_and_the_last_to_leave_ends_it() -> None:
    window = Window(Definition(2, 10, "dot", "auto", {"a": "f64"}))
    novelty = window.novelty
    one, two = novelty.join(None, None), novelty.join(None, None)
    filtered = novelty.join(optional({"a": 1}, {"a": "f64"}), None)
    assert one == two != filtered
    assert filtered == novelty.join(optional({"a": {"$eq": 1}}, {"a": "f64"}), None)
    assert novelty.join(None, 5) not in (one, filtered)
    assert len(novelty) == 3
    assert len(compared(window, vectors(1, 2))) == 3
    novelty.leave(one)
    assert len(compared(window, vectors(3))) == 3
    novelty.leave(two)
    found = compared(window, vectors(4))
    assert {newness.group for newness in found} == {filtered, 2}


def test_without_anybody_who_asks_nothing_is_taken_down() -> None:
    window = Window(Definition(2, 4, "dot", "auto"))
    window.apply(window.admit_add(vectors(1, 2), 0))  # type: ignore[arg-type]
    assert not window.novelty.is_behind
    number = window.novelty.join(None, None)
    window.apply(window.admit_add(vectors(3), 0))  # type: ignore[arg-type]
    assert window.novelty.is_behind
    window.novelty.leave(number)
    assert not window.novelty.is_behind
    assert window.novelty.step() is None


def test_rows_that_the_add_itself_evicts_count_and_later_ones_do_not() -> None:
    window = Window(Definition(2, 2, "dot", "auto"))
    window.novelty.join(None, None)
    compared(window, vectors(100, 1))
    (found,) = compared(window, vectors(1, 2))  # both others leave
    assert found.scores.tolist() == [101, 201]
    assert list(found.near) == [1, 1]
    (found,) = compared(window, vectors(1))
    assert (found.scores.tolist(), list(found.near)) == ([3], [4])


def test_what_left_is_put_into_its_ring_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("omendb_core.novelty.before._TAKEN_ELEMENTS", 2 * 10)
    window = Window(Definition(2, 100, "cosine", "str"))
    random = np.random.default_rng(0)
    for turn in range(2):
        if turn:
            window.novelty.join(None, None)
        ids = [f"{turn}-{number}" for number in range(100)]
        rows = RowBatch(random.standard_normal((100, 2)).astype(np.float32), ids)
        window.apply(window.admit_add(AddRequest(rows), 0))  # type: ignore[arg-type]
    put: list[int] = []
    append = Ring.append

    def noted(self: Any, vectors: Any) -> Any:
        put.append(len(vectors))
        return append(self, vectors)

    monkeypatch.setattr(Ring, "append", noted)
    counts = []
    while window.novelty.is_behind:
        window.novelty.step()
        counts.append(len(put))
    assert put == [10] * 10
    assert counts[:10] == list(range(1, 11))
