"""Rows counted by the values of a column (PROTOCOL section 5), in pieces and at one version.

Knows what a window holds; no requests, no time. A count is made in two parts. The first one reads
the window, which must not change until it is through; it returns the second, which needs only what
the first took along. Both are generators that yield after each piece of work, which takes a
millisecond or so, however wide the window is and however many values it holds.

Numbers are sorted within blocks of rows, and these runs merged range after range of values. Texts
and booleans are counted by their codes. Equal numbers are one value: 0.0 and -0.0 are.

Invariants: the rows listed and ``others`` are all rows that pass; of equally many, values come in
their order: null last, false before true, numbers by size, texts by code point, which is the order
of their UTF-8.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from heapq import nsmallest
from itertools import pairwise
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from .filters.parser import Filter, declared, shown
from .model.errors import BadRequest
from .model.types import (
    I64,
    NULL_BOOLEAN,
    NULL_CODE,
    NULL_INTEGER,
    U64,
    Bool1,
    CountsBy,
    Definition,
)
from .rows.ring import unpack, words_for
from .state import WindowState

#: Rows of a block: sorting its numbers takes 0.1 ms with AVX-512 and 1.6 ms without; and entries of
#: runs that are merged at once, which takes 0.8 ms.
BLOCK_ROWS: Final = 1 << 15
#: One in so many entries of a run is looked at to cut the runs into ranges of alike many entries.
#: A range has up to so many entries of each run too many: 39,000 of a window of 10,000,000 rows.
_SAMPLED: Final = 128
#: Texts that are looked at in one piece: 2.5 ms, most of which they take to be fetched.
_TEXTS: Final = 1 << 13

_Made = TypeVar("_Made")
#: Work in pieces.
Pieces: TypeAlias = Generator[None, None, _Made]


@dataclass(frozen=True, slots=True)
class CountQuery:
    """What is counted: rows that pass, and with ``by`` those of its ``limit`` commonest values."""

    filter: Filter | None = None
    by: str | None = None
    limit: int = 100


#: The first part of a count, and what it returns.
Reading: TypeAlias = Pieces[Pieces[CountsBy]]


def check_by(by: str | None, definition: Definition) -> None:
    """BadRequest if there is no such column."""
    if by is not None and by not in definition.columns:
        names = declared(definition.columns)
        raise BadRequest(f"by: {shown(by)} is not a declared column ({names})")


def count_by(state: WindowState, filter_: Filter | None, by: str, limit: int) -> CountsBy:
    """How many of the live rows that pass have each value: the ``limit`` most frequent ones."""
    return _all(_all(reading(state, filter_, by, limit)))


def is_short(state: WindowState) -> bool:
    """Whether all of it is one piece of work."""
    return state.ring.used <= _TEXTS


def reading(state: WindowState, filter_: Filter | None, by: str, limit: int) -> Reading:
    """The same in pieces: the part that reads the window. The filter's mask should be there."""
    count_kind = {"str": _texts, "bool": _booleans}.get(state.definition.columns[by], _numbers)
    return count_kind(state, filter_, by, limit)


def _all(pieces: Pieces[_Made]) -> _Made:
    while True:
        try:
            next(pieces)
        except StopIteration as end:
            made: _Made = end.value
            return made


def _blocks(state: WindowState, filter_: Filter | None, by: str) -> Iterator[NDArray[Any]]:
    """The column's values of the live rows that pass, block after block."""
    words: U64 = state.ring.live_words
    if filter_ is not None:
        words = state.masks.words(filter_) & words
    used = state.ring.used
    for start in range(0, used, BLOCK_ROWS):
        stop = min(start + BLOCK_ROWS, used)
        passed: Bool1 = unpack(words[start >> 6 : words_for(stop)], stop - start)
        yield state.columns.values(by, slice(start, stop))[passed]


def _listed(
    version: int, values: list[Any], counts: list[int], nulls: int, rows: int, limit: int
) -> Pieces[CountsBy]:
    """The end of a second part: ``values`` are the best ``limit`` that are not null, in order."""
    yield
    if nulls:
        place = sum(count >= nulls for count in counts)
        values.insert(place, None)
        counts.insert(place, nulls)
    del values[limit:], counts[limit:]
    return CountsBy(version, rows, values, counts, rows - sum(counts))


# -- booleans, and texts: by their codes -----------------------------------------------------------


def _booleans(state: WindowState, filter_: Filter | None, by: str, limit: int) -> Reading:
    counts = np.zeros(NULL_BOOLEAN + 1, np.int64)
    for values in _blocks(state, filter_, by):
        counts += np.bincount(values, minlength=len(counts))
        yield
    best = _Best(limit, np.empty(0, np.bool_))
    there = np.flatnonzero(counts[:2])
    best.offer(there.astype(np.bool_), counts[there])
    nulls, rows = int(counts[NULL_BOOLEAN]), int(counts.sum())
    return best.listed(state.version, nulls, rows)


def _texts(state: WindowState, filter_: Filter | None, by: str, limit: int) -> Reading:
    counts = np.zeros(state.columns.code_limit(by), np.uint32)
    nulls = rows = 0
    for values in _blocks(state, filter_, by):
        codes = values[values != NULL_CODE]
        rows += len(values)
        nulls += len(values) - len(codes)
        np.add.at(counts, codes, np.uint32(1))
        yield
    best: list[tuple[int, bytes]] = []
    for start in range(0, len(counts), _TEXTS):
        best = _better(state, by, best, start, counts[start : start + _TEXTS], limit)
        yield
    texts = [text.decode() for _, text in best]
    each = [-minus for minus, _ in best]
    return _listed(state.version, texts, each, nulls, rows, limit)


def _better(
    state: WindowState,
    by: str,
    best: list[tuple[int, bytes]],
    start: int,
    counts: NDArray[np.uint32],
    limit: int,
) -> list[tuple[int, bytes]]:
    """The ``limit`` best of ``best`` and of the codes from ``start`` on: (minus count, text).

    Where many are equally frequent, and there is room for some of them, their texts decide; only
    those are fetched.
    """
    worst = best[-1] if len(best) == limit else (-1, None)
    codes = np.flatnonzero(counts >= -worst[0])
    if len(codes) > limit:
        least = int(np.partition(counts[codes], len(codes) - limit)[len(codes) - limit])
    else:
        least = -worst[0]
    above = codes[counts[codes] > least]
    minus = (-counts[above].astype(np.int64)).tolist()
    found = list(zip(minus, _of(state, by, start, above), strict=True))
    ties = _of(state, by, start, codes[counts[codes] == least])
    if worst[1] is not None and least == -worst[0]:
        last = worst[1]
        ties = [text for text in ties if text < last]
    found += [(-least, text) for text in nsmallest(limit, ties)]
    return sorted(best + found)[:limit]


def _of(state: WindowState, by: str, start: int, codes: I64) -> list[bytes]:
    return state.columns.texts(by, (codes + start).tolist())


# -- numbers: by sorting ---------------------------------------------------------------------------


class _Run(NamedTuple):
    """The distinct numbers of a block, sorted, and how often each is there: uint16, both (n,)."""

    numbers: NDArray[Any]
    counts: NDArray[np.uint16]


class _Best:
    """The ``limit`` most frequent values of those offered so far; of equally many the first."""

    def __init__(self, limit: int, values: NDArray[Any]) -> None:
        self._limit = limit
        self._values = values
        self._counts: I64 = np.empty(0, np.int64)

    def offer(self, values: NDArray[Any], counts: I64) -> None:
        """Values (n,), ascending and behind all that were offered before; their counts (n,)."""
        if len(self._counts) == self._limit:
            more = counts > self._counts[-1]
            values, counts = values[more], counts[more]
        values = np.concatenate([self._values, values])
        counts = np.concatenate([self._counts, counts])
        order = np.argsort(-counts, kind="stable")[: self._limit]
        self._values, self._counts = values[order], counts[order]

    def listed(self, version: int, nulls: int, rows: int) -> Pieces[CountsBy]:
        """The end of a second part, where so many of so many rows are null."""
        values, counts = self._values.tolist(), self._counts.tolist()
        return _listed(version, values, counts, nulls, rows, self._limit)


def _numbers(state: WindowState, filter_: Filter | None, by: str, limit: int) -> Reading:
    runs: list[_Run] = []
    is_float = state.definition.columns[by] == "f64"
    nulls = rows = 0
    for values in _blocks(state, filter_, by):
        numbers = values[~np.isnan(values)] if is_float else values[values != NULL_INTEGER]
        rows += len(values)
        nulls += len(values) - len(numbers)
        if len(numbers):
            runs.append(_run(numbers + 0.0 if is_float else numbers))  # -0.0 + 0.0 is 0.0
        yield
    best = _Best(limit, state.columns.values(by, slice(0, 0)))
    return _merged(runs, best, state.version, nulls, rows)


def _run(numbers: NDArray[Any]) -> _Run:
    numbers = np.sort(numbers)
    starts = _starts(numbers)
    return _Run(numbers[starts], np.diff(starts, append=len(numbers)).astype(np.uint16))


def _starts(numbers: NDArray[Any]) -> I64:
    """Where each distinct one of sorted numbers (n,), n ≥ 1, begins."""
    is_first = np.ones(len(numbers), np.bool_)
    np.not_equal(numbers[1:], numbers[:-1], out=is_first[1:])
    return np.flatnonzero(is_first)


def _merged(runs: list[_Run], best: _Best, version: int, nulls: int, rows: int) -> Pieces[CountsBy]:
    """The second part: equal numbers of all runs together, a range of numbers at a time."""
    edges = (yield from _edges(runs)) if runs else []
    for low, high in pairwise(edges):
        parts = [
            _Run(run.numbers[start:stop], run.counts[start:stop])
            for run, start, stop in zip(runs, low.tolist(), high.tolist(), strict=True)
        ]
        numbers = np.concatenate([part.numbers for part in parts])
        order = np.argsort(numbers, kind="stable")  # which merges what is sorted in parts
        numbers = numbers[order]
        counts = np.concatenate([part.counts for part in parts])[order]
        starts = _starts(numbers)
        best.offer(numbers[starts], np.add.reduceat(counts, starts, dtype=np.int64))
        yield
    return (yield from best.listed(version, nulls, rows))


def _edges(runs: list[_Run]) -> Pieces[list[I64]]:
    """Where each run is cut: the places (runs,) at which a range begins, and those behind all."""
    ends = np.array([len(run.numbers) for run in runs], np.int64)
    edges = [np.zeros(len(runs), np.int64)]
    if int(ends.sum()) > BLOCK_ROWS:
        sampled = np.sort(np.concatenate([run.numbers[::_SAMPLED] for run in runs]))
        step = BLOCK_ROWS // _SAMPLED
        cuts = np.unique(sampled[step::step])
        yield
        places = []
        for run in runs:
            places.append(np.searchsorted(run.numbers, cuts))
            yield
        edges += list(np.array(places).T)
    return [*edges, ends]
