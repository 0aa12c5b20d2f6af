"""A window that rows stream into, and standing queries over it whose answers are searched for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from omendb_core.model.change import AddRequest, RowBatch, UpdateRequest
from omendb_core.model.types import F32, ColumnType, Definition, IdKind, Ids, Metric
from omendb_core.scoring import score
from omendb_core.search.query import Answer, Query
from omendb_core.standing.table import StandingQuery
from omendb_core.window import Window

DIM = 6
#: Acceptance times begin here: microseconds.
START_US = 1_700_000_000_000_000


class Stream:
    """``queries`` and ``asked`` by handle; ``clock_us`` is when the next change is accepted."""

    def __init__(
        self,
        capacity: int,
        asked: Sequence[StandingQuery],
        seed: int = 0,
        metric: Metric = "cosine",
        kind: IdKind = "u64",
        columns: dict[str, ColumnType] | None = None,
        ttl_seconds: float | None = None,
    ) -> None:
        self.rng = np.random.default_rng(seed)
        self.definition = Definition(DIM, capacity, metric, kind, columns or {}, ttl_seconds)
        self.window = Window(self.definition)
        self.next_id = 0
        self.clock_us = START_US
        self.queries: dict[int, F32] = {}
        self.asked: dict[int, StandingQuery] = {}
        self.shown: dict[int, tuple[list[int], bytes, bytes]] = {}
        for one in asked:
            self.ask(self.rows(1), one)

    @property
    def handles(self) -> list[int]:
        return list(self.asked)

    def rows(self, count: int) -> F32:
        return self.rng.standard_normal((count, DIM)).astype(np.float32)

    def id(self, number: int) -> int | str:
        return f"id-{number}" if self.definition.ids == "str" else number

    def ids(self, numbers: Sequence[int]) -> Ids:
        if self.definition.ids == "str":
            return [f"id-{number}" for number in numbers]
        return np.array(numbers, np.uint64)

    # -- what happens to the window -----------------------------------------------------------

    def add(
        self,
        vectors: F32,
        numbers: Sequence[int] | None = None,
        metadata: Sequence[dict[str, Any]] | None = None,
    ) -> None:
        if numbers is None:
            numbers = range(self.next_id, self.next_id + len(vectors))
            self.next_id += len(vectors)
        ids = None if self.definition.ids == "auto" else self.ids(numbers)
        rows = None if metadata is None else list(metadata)
        request = AddRequest(RowBatch(vectors, ids, metadata=rows))
        self.window.apply(self.window.admit_add(request, self.clock_us))  # type: ignore[arg-type]

    def update(self, numbers: Sequence[int], metadata: Sequence[dict[str, Any]]) -> None:
        request = UpdateRequest(self.ids(numbers), list(metadata), [None] * len(numbers))
        self.window.apply(self.window.admit_update(request, self.clock_us))

    def delete(self, ids: Ids) -> None:
        change = self.window.admit_delete(ids, self.clock_us)
        if change is not None:
            self.window.apply(change)

    def expire(self) -> None:
        change = self.window.admit_expire(self.clock_us)
        if change is not None:
            self.window.apply(change)

    # -- what is asked ------------------------------------------------------------------------

    def ask(self, vector: F32, query: StandingQuery) -> int:
        return self.ask_many(vector, [query])[0]

    def ask_many(self, vectors: F32, queries: Sequence[StandingQuery]) -> list[int]:
        self.catch_up()
        prepared = score.prepare(vectors, self.definition.metric)
        handles: list[int] = self.window.standing.add(queries, prepared).tolist()
        for handle, vector, query in zip(handles, vectors, queries, strict=True):
            self.queries[handle], self.asked[handle] = vector[None], query
            self.shown[handle] = self.shows(handle)
        self.compare()
        return handles

    def move(self, handle: int, vector: F32 | None = None, **changes: Any) -> None:
        self.catch_up()
        to = self.queries[handle] if vector is None else vector
        asked = replace(self.asked[handle], **changes)
        prepared = score.prepare(to, self.definition.metric)
        self.window.standing.move(np.array([handle]), prepared, [asked])
        self.queries[handle], self.asked[handle] = to, asked
        self.shown[handle] = self.shows(handle)
        self.compare()

    def remove(self, handle: int) -> None:
        self.window.standing.remove([handle])
        del self.queries[handle], self.asked[handle]
        self.shown.pop(handle, None)

    def answer(self, handle: int) -> list[Any]:
        """Ids, best first."""
        seqs, _ = self.window.standing.lists.answer(handle)
        return list(self.window.state.ids.of(self.window.state.ring.slots(seqs)))

    def scores(self, handle: int) -> list[float]:
        scores: list[float] = self.window.standing.lists.answer(handle)[1].tolist()
        return scores

    # -- the law ------------------------------------------------------------------------------

    def catch_up(self, between: Callable[[], None] | None = None) -> None:
        """Step by step; whose answer changed was named. ``between`` two steps is done once."""
        standing = self.window.standing
        named: set[int] = set()
        for _ in range(10_000):
            if not standing.behind:
                break
            found = standing.step()
            if found is None and between is not None:
                between()
                between = None
            if found is not None:
                named.update(found.changed.tolist())
        assert not standing.behind
        standing.check()
        before, self.shown = self.shown, {handle: self.shows(handle) for handle in self.asked}
        for handle, shown in self.shown.items():
            assert handle in named or handle not in before or before[handle] == shown
        self.compare()

    def shows(self, handle: int) -> tuple[list[int], bytes, bytes]:
        """Seqs, and scores and ranks to the bit."""
        found = self.window.standing.lists.answers(np.array([handle]))
        ranks = b"" if found.ranks is None else found.ranks.tobytes()
        return found.seqs.tolist(), found.scores.tobytes(), ranks

    def compare(self) -> None:
        """Every answer is what a search with the same fields is, to the bit."""
        answers = self.window.search([self.searched(handle) for handle in self.asked])
        for handle, answer in zip(self.asked, answers, strict=True):
            assert isinstance(answer, Answer), answer
            hits = answer.hits
            assert hits.scores is not None
            ranks = b"" if hits.ranks is None else hits.ranks.tobytes()
            found = self.shows(handle)
            assert found == (hits.seqs.tolist(), hits.scores.tobytes(), ranks)

    def searched(self, handle: int) -> Query:
        one = self.asked[handle]
        return Query(
            self.queries[handle],
            k=one.k or 1,
            filter=one.filter,
            min_score=one.min_score,
            exclude=one.exclude,
            shape=one.shape,
            at=self.clock_us / 1e6,
        )
