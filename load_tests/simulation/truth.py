"""The oracle: what a search must have answered, from the adds and the query alone.

And so what the view of a live subscription must be: the same, at the version of its push.

Written from PROTOCOL section 3, sharing no arithmetic with the engine: rows are in the window while
their seq is among the newest ``capacity``; a score is a sum of float64 products in eight lanes,
rounded to float32; order is by score, then by seq, both descending. Every answer names the version
it reflects, and the acknowledgements say which rows that version had: so the comparison is exact,
however many adds were under way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from omendb_core.model.errors import BadFrame
from omendb_core.model.types import F32, F64, I64, Bool1

from . import shaping
from .matches import Matched
from .requests import AddLog, Sample
from .results import Mismatch, Truth
from .views import Answered, lists, results_of

_LANES: Final = 8
#: Rows that are scored at a time: they stay in the cache.
_BLOCK: Final = 1024
_EXAMPLES: Final = 5


def lane_sums(terms: F64) -> F64:
    """Sum the columns of ``terms`` float64 (n, dim): eight lanes, then folded."""
    lanes = np.zeros((len(terms), _LANES))
    for start in range(0, terms.shape[1], _LANES):
        part = terms[:, start : start + _LANES]
        lanes[:, : part.shape[1]] += part
    half = lanes[:, :4] + lanes[:, 4:]  # 0+4, 1+5, 2+6, 3+7
    folded: F64 = (half[:, 0] + half[:, 2]) + (half[:, 1] + half[:, 3])
    return folded


def kept(vectors: F32, metric: str) -> F32:
    """What a collection keeps of rows, and asks with."""
    if metric != "cosine":
        return vectors
    made = np.empty(vectors.shape, np.float32)
    for start in range(0, len(vectors), _BLOCK):
        wide = vectors[start : start + _BLOCK].astype(np.float64)
        lengths = np.sqrt(lane_sums(wide * wide))
        made[start : start + _BLOCK] = (wide / lengths[:, None]).astype(np.float32)
    return made


def scores(rows: F32, query: F32, metric: str) -> F32:
    """Scores of all ``rows`` (n, dim), as kept, for one ``query`` (dim,), as kept."""
    made = np.empty(len(rows), np.float32)
    wide_query = query.astype(np.float64)
    for start in range(0, len(rows), _BLOCK):
        wide = rows[start : start + _BLOCK].astype(np.float64)
        if metric == "l2":
            sums = -lane_sums((wide - wide_query) ** 2)
        else:
            wide *= wide_query
            sums = lane_sums(wide)
        made[start : start + _BLOCK] = sums.astype(np.float32)
    return made + np.float32(0)  # -0 is 0


@dataclass(frozen=True)
class History:
    """Which row of the pool has which seq, and the newest seq at each version.

    ``places`` int64: of seq 1, 2, … in the pool. ``last_seqs`` int64: at version 0, 1, …; both are
    cut before the first thing that is not known.
    """

    places: I64
    last_seqs: I64


def history(log: AddLog, pool_rows: int) -> History:
    """Put the acknowledged adds of all processes into their order."""
    numbers = np.array(log.numbers, np.int64).reshape(-1, 4)
    numbers = numbers[np.argsort(numbers[:, 0])]
    versions, first_seqs, starts, rows = numbers.T
    ends = first_seqs + rows - 1
    expected = np.concatenate([[1], ends[:-1] + 1])
    known = (versions == np.arange(1, len(versions) + 1)) & (first_seqs == expected)
    count = len(known) if known.all() else int(np.argmin(known))
    if not count:
        return History(np.empty(0, np.int64), np.zeros(1, np.int64))
    offsets = np.arange(ends[count - 1]) - np.repeat(first_seqs[:count] - 1, rows[:count])
    places = (np.repeat(starts[:count], rows[:count]) + offsets) % pool_rows
    return History(places, np.concatenate([[0], ends[:count]]))


@dataclass(frozen=True)
class Shaped:
    """What shapes the answer to each query, and the columns of the pool, None for null.

    ``first_id``: that of the first row; those after it count up.
    """

    shapes: Sequence[shaping.Shape]
    columns: Mapping[str, list[Any]]
    first_id: int = 1

    def seqs(self, ids: Sequence[int]) -> I64:
        """Of rows, by their ids."""
        return np.array(ids, np.int64) - self.first_id + 1


class Oracle:
    """Answers as they must be. ``pool`` and ``queries`` are as they were sent.

    ``passing``: which rows of the pool pass the filter; None: all. ``shaped``: None where no answer
    is.
    """

    def __init__(
        self,
        pool: F32,
        queries: F32,
        history: History,
        capacity: int,
        metric: str,
        k: int,
        passing: Bool1 | None = None,
        shaped: Shaped | None = None,
    ) -> None:
        self._metric = metric
        self._rows = kept(pool, metric)
        self._queries = kept(queries, metric)
        self._history = history
        self._capacity = capacity
        self._k = k
        self._passing = passing
        self._shaped = shaped
        self._scored: dict[int, F32] = {}

    def answer(self, version: int, query: int) -> list[tuple[int, float]] | None:
        """(seq, score) of the k best at ``version``, in order; None if it is not known."""
        if not 0 <= version < len(self._history.last_seqs):
            return None
        last = int(self._history.last_seqs[version])
        first = max(1, last - self._capacity + 1)
        places = self._history.places[first - 1 : last]
        found, seqs = self._of_pool(query)[places], np.arange(first, last + 1)
        if self._passing is not None:
            passes = self._passing[places]
            found, seqs, places = found[passes], seqs[passes], places[passes]
        if self._shaped is not None and self._shaped.shapes[query]:
            return self._shaped_answer(self._shaped, query, found, seqs, places)
        if len(found) > self._k:
            is_near = found >= np.partition(found, -self._k)[-self._k]
            found, seqs = found[is_near], seqs[is_near]
        order = np.lexsort((seqs, found))[::-1][: self._k]
        return list(zip(seqs[order].tolist(), found[order].tolist(), strict=True))

    def _shaped_answer(
        self, shaped: Shaped, query: int, found: F32, seqs: I64, places: I64
    ) -> list[tuple[int, float]]:
        shape = shaped.shapes[query]
        is_in = ~np.isin(seqs, shaped.seqs(shaping.left_out(shape)))
        found, seqs, places = found[is_in], seqs[is_in], places[is_in]
        rows = places.tolist()
        columns = {name: [one[row] for row in rows] for name, one in shaped.columns.items()}

        def likeness(place: int, others: I64) -> F32:
            return scores(self._rows[places[others]], self._rows[places[place]], self._metric)

        taken = shaping.answer(shape, found, seqs, columns, likeness, self._k)
        return [(int(seqs[one]), float(found[one])) for one in taken]

    def matches(
        self, query: int, from_seq: int, to_seq: int, min_score: float
    ) -> list[tuple[int, float]] | None:
        """(seq, score) of the rows above ``from_seq`` up to ``to_seq`` that reach a score, by seq.

        None if one of these rows is not known.
        """
        if to_seq > len(self._history.places):
            return None
        places = self._history.places[from_seq:to_seq]
        found, seqs = self._of_pool(query)[places], np.arange(from_seq + 1, to_seq + 1)
        reaches = found >= np.float32(min_score)
        if self._passing is not None:
            reaches &= self._passing[places]
        return list(zip(seqs[reaches].tolist(), found[reaches].tolist(), strict=True))

    def _of_pool(self, query: int) -> F32:
        if query not in self._scored:
            self._scored[query] = scores(self._rows, self._asked(query), self._metric)
        return self._scored[query]

    def _asked(self, query: int) -> F32:
        shape = self._shaped.shapes[query] if self._shaped is not None else {}
        if self._shaped is None or "positive" not in shape:
            return self._queries[query]
        positive, negative = (
            self._rows[self._history.places[self._shaped.seqs(shape.get(name, ())) - 1]]
            for name in ("positive", "negative")
        )
        target = shaping.target(positive, negative)
        is_stored = len(positive) == 1 and not len(negative)
        return target if is_stored else kept(target[None], self._metric)[0]


def judge(oracle: Oracle, answers: Iterable[Answered | None]) -> Truth:
    """Compare answers with the oracle; None stands for one that could not be read."""
    return _compared(oracle.answer, answers)


def agreement(ends: Iterable[tuple[Answered, Answered]]) -> Truth:
    """Compare the last views with what searches answered then, where no oracle can tell."""
    there = list(ends)
    searches = {(search.version, search.query): search.hits for _, search in there}
    return _compared(lambda version, query: searches[version, query], [view for view, _ in there])


def _compared(
    known: Callable[[int, int], list[tuple[int, float]] | None],
    answers: Iterable[Answered | None],
) -> Truth:
    sampled = compared = wanted = right = 0
    wrong: list[Mismatch] = []
    for answer in answers:
        sampled += 1
        expected = None if answer is None else known(answer.version, answer.query)
        if answer is None or expected is None:
            continue
        compared += 1
        wanted += len(expected)
        right += len({seq for seq, _ in expected} & {seq for seq, _ in answer.hits})
        if expected != answer.hits:
            both = [[[float(x) for x in hit] for hit in one] for one in (expected, answer.hits)]
            wrong.append(Mismatch(answer.version, answer.query, *both))
    recall = right / wanted if wanted else None
    return Truth(sampled, compared, sampled - compared, len(wrong), recall, wrong[:_EXAMPLES])


def judge_matches(oracle: Oracle, matched: Iterable[Matched], min_score: float) -> Truth:
    """Compare what match subscriptions were sent with what they should have been.

    In an example, ``version`` is the last seq that was looked at.
    """
    sampled = compared = wanted = right = 0
    wrong: list[Mismatch] = []
    for one in matched:
        sampled += 1
        expected = oracle.matches(one.query, one.from_seq, one.to_seq, min_score)
        if expected is None:
            continue
        compared += 1
        wanted += len(expected)
        right += len(set(expected) & set(one.hits))
        if expected != one.hits:
            both = [[[float(x) for x in hit] for hit in some] for some in (expected, one.hits)]
            wrong.append(Mismatch(one.to_seq, one.query, *both))
    recall = right / wanted if wanted else None
    return Truth(sampled, compared, sampled - compared, len(wrong), recall, wrong[:_EXAMPLES])


def read(samples: Iterable[Sample]) -> Iterator[Answered | None]:
    """The answers in messages; None for a message that is no answer."""
    for sample in samples:
        try:
            results = results_of(sample.answer)
        except BadFrame:
            yield None
            continue
        for number, hits in enumerate(lists(results)):
            yield Answered(sample.query + number, results.version, hits)
