"""Searches over one window: many queries, their masks, one scan.

Reads the window's parts and changes nothing. All queries of a call share one scan, whatever their
``k``, filter, ``last`` or ``min_score``; queries with the same filter and ``last`` share a mask.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from . import score
from .errors import DimMismatch, NotFound, OmenError, TooLarge
from .filters import Filter
from .kernels.scan import TopK
from .types import F32, I64, U32, U64, Definition, Hits, Ids, Include

if TYPE_CHECKING:
    from .window import Window

NOTHING = Include()


@dataclass(frozen=True, slots=True)
class Query:
    """One search request: ``vectors`` float32 (q, dim) as they came, or ``like``, a list of one id.

    ``max_hits`` bounds the rows of the whole answer (TooLarge beyond it), before vectors and
    metadata are gathered.
    """

    vectors: F32 | None
    like: Ids | None = None
    k: int = 10
    filter: Filter | None = None
    min_score: float | None = None
    last: int | None = None
    include: Include = NOTHING
    max_hits: int | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """``counts`` uint32 (q,) rows of ``hits`` for each query, each sorted by score, then seq."""

    counts: U32
    hits: Hits


@dataclass(frozen=True, slots=True)
class _Asked:
    """A query that passed its checks: its place in the call, prepared vectors, its mask's number.

    ``excluded`` is the slot that ``like`` leaves out, else -1.
    """

    place: int
    query: Query
    vectors: F32
    mask: int
    excluded: int


class Masks:
    """The distinct masks of one call, as rows of ``words``."""

    def __init__(self, window: Window) -> None:
        self._window = window
        self._numbers: dict[tuple[str, int], int] = {}
        self.words: list[U64] = []

    def number(self, filter_: Filter | None, last: int | None) -> int:
        """The place in ``words`` of the mask of live rows that pass, among the ``last`` newest."""
        window = self._window
        first_seq = window.first_seq
        if last is not None:
            first_seq = max(first_seq, window.last_seq - last + 1)
        key = (filter_.canonical if filter_ is not None else "", first_seq)
        if key not in self._numbers:
            words = window.ring.live_words
            if first_seq > window.first_seq:
                words = words & window.ring.words_from(first_seq)
            if filter_ is not None:
                words = words & window.masks.words(filter_)
            self._numbers[key] = len(self.words)
            self.words.append(words)
        return self._numbers[key]

    def rows(self, number: int) -> int:
        """How many rows a mask holds."""
        return int(np.bitwise_count(self.words[number]).sum())


def search(window: Window, queries: list[Query]) -> list[Answer | OmenError]:
    """Answer every query, or say why not; one scan for all of them."""
    outcomes: dict[int, Answer | OmenError] = {}
    masks = Masks(window)
    asked: list[_Asked] = []
    prepared = _prepare_together(window, queries)
    for place, query in enumerate(queries):
        try:
            asked.append(_ask(window, masks, place, query, prepared.get(place)))
        except OmenError as error:
            outcomes[place] = error
    if asked:
        top = _scan(window, masks, asked)
        _answer(window, asked, top, outcomes)
    return [outcomes[place] for place in range(len(queries))]


def search_all(window: Window, vectors: F32, k: I64) -> Answer:
    """Answer many plain searches at once: the best ``k[i]`` of all live rows for each vector.

    ``vectors`` float32 (q, dim) as they came, ``k`` int64 (q,). The same answers as ``search``
    gives, without its steps for each query: 1 µs as against 15. Raises DimMismatch, NonFinite or
    ZeroNorm if any vector is at fault; ``search`` then says whose.
    """
    prepared = prepare_queries(window, vectors)
    count = len(prepared)
    top = window.scan.top_k(
        window.ring,
        window.definition.metric,
        prepared,
        k,
        np.full(count, -np.inf, np.float32),
        window.ring.live_words[None],
        np.zeros(count, np.int64),
    )
    hits = Hits(window.ids.of(top.slots), window.ring.seqs(top.slots), top.scores)
    return Answer(top.counts, hits)


def _prepare_together(window: Window, queries: list[Query]) -> dict[int, F32]:
    """Prepared vectors of all queries by place; nothing if any is at fault, or there is only one.

    Prepared alone a vector costs 15 microseconds under ``cosine``, among 64 it costs 0.4.
    """
    dim = window.definition.dim
    given = {place: one.vectors for place, one in enumerate(queries) if one.vectors is not None}
    if len(given) < 2 or any(vectors.shape[1] != dim for vectors in given.values()):
        return {}
    try:
        prepared = score.prepare(np.concatenate(list(given.values())), window.definition.metric)
    except OmenError:
        return {}
    ends = np.cumsum([len(vectors) for vectors in given.values()])[:-1]
    return dict(zip(given, np.split(prepared, ends), strict=True))


def _ask(window: Window, masks: Masks, place: int, query: Query, prepared: F32 | None) -> _Asked:
    excluded = -1
    if query.like is not None:
        excluded = int(window.ids.find(query.like)[0])
        if excluded < 0:
            raise NotFound(f"like: no row has the id {query.like[0]!s}")
        vectors = window.ring.vectors[excluded : excluded + 1]
    else:
        vectors = prepare_queries(window, query.vectors) if prepared is None else prepared
    mask = masks.number(query.filter, query.last)
    most = query.max_hits
    if most is not None and query.min_score is None and len(vectors) * query.k > most:
        _refuse_over(most, len(vectors) * min(query.k, masks.rows(mask) - (excluded >= 0)))
    return _Asked(place, query, vectors, mask, excluded)


def check_dim(vectors: F32, definition: Definition) -> None:
    """DimMismatch if query vectors (q, dim) are not of the collection's dimension."""
    if vectors.shape[1] != definition.dim:
        raise DimMismatch(
            f"query has {vectors.shape[1]} dimensions, the collection {definition.dim}"
        )


def prepare_queries(window: Window, vectors: F32 | None) -> F32:
    """Query vectors float32 (q, dim) as they are scored: checked, normalised for ``cosine``.

    Raises DimMismatch, NonFinite or ZeroNorm, with ``row`` where there are several.
    """
    if vectors is None:
        raise TypeError("a query has vectors, or like")
    check_dim(vectors, window.definition)
    try:
        return score.prepare(vectors, window.definition.metric)
    except OmenError as error:
        if len(vectors) == 1:
            error.row = None
        raise


def _refuse_over(max_hits: int, count: int) -> None:
    if count > max_hits:
        raise TooLarge(f"the answer would hold {count} rows; at most {max_hits} fit in a reply")


def _scan(window: Window, masks: Masks, asked: list[_Asked]) -> TopK:
    repeats = [len(one.vectors) for one in asked]
    floors = score.floors([one.query.min_score for one in asked])
    # A row left out by `like` may take a place in the answer: one more is asked for.
    ks = np.array([one.query.k + (one.excluded >= 0) for one in asked], np.int64)
    top = window.scan.top_k(
        window.ring,
        window.definition.metric,
        np.concatenate([one.vectors for one in asked]) if len(asked) > 1 else asked[0].vectors,
        np.repeat(ks, repeats),
        np.repeat(floors, repeats),
        np.stack(masks.words),
        np.repeat(np.array([one.mask for one in asked], np.int64), repeats),
    )
    if any(one.excluded >= 0 for one in asked):
        excluded = np.repeat(np.array([one.excluded for one in asked], np.int64), repeats)
        return _without(top, excluded, np.repeat(ks - 1, repeats))
    return top


def _without(top: TopK, excluded: I64, one_less: I64) -> TopK:
    """``top`` without each query's excluded slot (-1: none), cut to what was asked for."""
    query = np.repeat(np.arange(len(top.counts)), top.counts)
    keep = top.slots != excluded[query]
    query = query[keep]
    counts = np.bincount(query, minlength=len(top.counts))
    starts = np.cumsum(counts) - counts
    rank = np.arange(len(query)) - starts[query]
    most = np.where(excluded >= 0, one_less, np.iinfo(np.int64).max)
    cut = rank < most[query]
    return TopK(
        counts=np.bincount(query[cut], minlength=len(top.counts)).astype(np.uint32),
        slots=top.slots[keep][cut],
        scores=top.scores[keep][cut],
    )


def _answer(
    window: Window, asked: list[_Asked], top: TopK, outcomes: dict[int, Answer | OmenError]
) -> None:
    ids = window.ids.of(top.slots)
    seqs = window.ring.seqs(top.slots)
    ends = np.cumsum(top.counts)
    query = start = 0
    for one in asked:
        counts = top.counts[query : query + len(one.vectors)]
        query += len(one.vectors)
        end = int(ends[query - 1])
        include = one.query.include
        try:
            if one.query.max_hits is not None:
                _refuse_over(one.query.max_hits, end - start)
            slots = top.slots[start:end]
            hits = Hits(
                ids=ids[start:end],
                seqs=seqs[start:end],
                scores=top.scores[start:end],
                metadata=window.metadata(slots) if include.metadata else None,
                vectors=window.ring.vectors[slots] if include.vector else None,
            )
            outcomes[one.place] = Answer(counts, hits)
        except TooLarge as error:
            outcomes[one.place] = error
        start = end
