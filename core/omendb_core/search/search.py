"""Searches over one window: many queries, their masks, one scan.

Reads the window's state and changes nothing. All queries of a call share one scan, whatever their
``k``, filter, ``last`` or ``min_score``; queries with the same filter and ``last`` share a mask.
Those whose shape is not plain share a scan for the rows that they read first if their orders are
alike (``first_rows``), and are then answered one by one (``shaped``).
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from ..model.errors import NotFound, OmenError, TooLarge
from ..model.types import F32, I64, Hits
from ..scan.decayed import Question
from ..scan.interface import TopK
from ..scan.parts import TopKInParts, top_k_of
from ..scoring import score
from ..state import WindowState
from .examples import as_ids, ids_of, target, visible_slots
from .first_rows import FirstRows, Part, alike, first_depth, first_rows
from .masks import Masks
from .query import Answer, Query, prepare_queries, prepared_of
from .shaped import top_shaped, weights_of

_NO_SLOTS: Final = np.empty(0, np.int64)


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


def search(state: WindowState, queries: list[Query]) -> list[Answer | OmenError]:
    """Answer every query, or say why not; one scan for all of them."""
    outcomes: dict[int, Answer | OmenError] = {}
    masks = Masks(state)
    asked: list[_Asked] = []
    prepared = _prepare_together(state, queries)
    for place, query in enumerate(queries):
        try:
            asked.append(_ask(state, masks, place, query, prepared.get(place)))
        except OmenError as error:
            outcomes[place] = error.with_traceback(None)  # whose frames hold the window
    plain = [one for one in asked if one.query.is_plain]
    if plain:
        _answer(state, plain, _scan(state, masks, plain), outcomes)
    shaped = [one for one in asked if not one.query.is_plain] if len(plain) < len(asked) else []
    for places in alike([one.query for one in shaped]):
        outcomes.update(_together(state, masks, [shaped[place] for place in places]))
    return [outcomes[place] for place in range(len(queries))]


def _together(
    state: WindowState, masks: Masks, asked: list[_Asked]
) -> Iterator[tuple[int, Answer | OmenError]]:
    """Places and outcomes of searches whose orders are alike; several share the first scan."""
    parts = [_part(masks, one) for one in asked]
    first: list[FirstRows | None] = [None]
    if len(asked) > 1:
        first = [*first_rows(state, parts, [first_depth(one.query) for one in asked])]
    for one, part, rows in zip(asked, parts, first, strict=True):
        yield one.place, _finished(_shaped(state, part, rows))


class PlainInParts:
    """As ``search`` answers a plain query, by ``step`` until ``is_done``; then it is ``answer``.

    The window must not change in between. Making it raises what is wrong with the query.
    """

    def __init__(self, state: WindowState, query: Query) -> None:
        masks = Masks(state)
        self._state, self._asked = state, [_ask(state, masks, 0, query, None)]
        self._question, self._left_out = _question(masks, self._asked)
        self._scan = TopKInParts(state.scan, state.ring, state.definition.metric, self._question)

    @property
    def is_done(self) -> bool:
        """Whether all rows were looked at."""
        return self._scan.is_done

    def step(self, rows: int) -> None:
        """Look at so many more."""
        self._scan.step(rows)

    def answer(self) -> Answer:
        """TooLarge where it would hold too many rows."""
        outcomes: dict[int, Answer | OmenError] = {}
        top = _without(self._scan.found, self._left_out, self._question.k)
        _answer(self._state, self._asked, top, outcomes)
        if isinstance(outcomes[0], OmenError):
            raise outcomes[0]
        return outcomes[0]


def search_in_pieces(state: WindowState, query: Query) -> Generator[None, None, Answer]:
    """As ``search`` answers a query whose shape is not plain, in pieces of a millisecond or so.

    Yields after each; the window must not change in between. Raises what is wrong.
    """
    masks = Masks(state)
    part = _part(masks, _ask(state, masks, 0, query, None))
    outcome = yield from _shaped(state, part)
    if isinstance(outcome, OmenError):
        raise outcome
    return outcome


def _finished(steps: Generator[None, None, Answer | OmenError]) -> Answer | OmenError:
    while True:
        try:
            next(steps)
        except StopIteration as end:
            outcome: Answer | OmenError = end.value
            return outcome


def search_all(state: WindowState, vectors: F32, k: I64) -> Answer:
    """Answer many plain searches at once: the best ``k[i]`` of all live rows for each vector.

    ``vectors`` float32 (q, dim) as they came, ``k`` int64 (q,). The same answers as ``search``
    gives, without its steps for each query: 1 µs as against 15. Raises DimMismatch, NonFinite or
    ZeroNorm if any vector is at fault; ``search`` then says whose.
    """
    prepared = prepare_queries(state.definition, vectors)
    count = len(prepared)
    top = state.scan.top_k(
        state.ring,
        state.definition.metric,
        prepared,
        k,
        np.full(count, -np.inf, np.float32),
        state.ring.live_words[None],
        np.zeros(count, np.int64),
    )
    return _all_found(state, top)


class AllInParts:
    """As ``search_all``, by ``step`` until ``is_done``; then it is ``answer``."""

    def __init__(self, state: WindowState, vectors: F32, k: I64) -> None:
        self._state = state
        prepared = prepare_queries(state.definition, vectors)
        metric = state.definition.metric
        live = state.ring.live_words[None]
        self._scan = top_k_of(state.scan, state.ring, metric, prepared, k, live)

    @property
    def is_done(self) -> bool:
        """Whether all rows were looked at."""
        return self._scan.is_done

    def step(self, rows: int) -> None:
        """Look at so many more."""
        self._scan.step(rows)

    def answer(self) -> Answer:
        """What was found."""
        return _all_found(self._state, self._scan.found)


def _all_found(state: WindowState, top: TopK) -> Answer:
    hits = Hits(state.ids.of(top.slots), state.ring.seqs(top.slots), top.scores)
    return Answer(top.counts, hits)


def _prepare_together(state: WindowState, queries: list[Query]) -> dict[int, F32]:
    """Prepared vectors of all queries by place; nothing if any is at fault, or there is only one.

    Prepared alone a vector costs 15 microseconds under ``cosine``, among 64 it costs 0.4.
    """
    if len(queries) < 2:
        return {}
    dim = state.definition.dim
    given = {
        place: one.vectors
        for place, one in enumerate(queries)
        if one.vectors is not None and not one.is_prepared
    }
    if len(given) < 2 or any(vectors.shape[1] != dim for vectors in given.values()):
        return {}
    try:
        prepared = score.prepare(np.concatenate(list(given.values())), state.definition.metric)
    except OmenError:
        return {}
    found, start = {}, 0
    for place, vectors in given.items():  # ``np.split`` takes 1.5 us for each
        found[place] = prepared[start : start + len(vectors)]
        start += len(vectors)
    return found


def _ask(
    state: WindowState, masks: Masks, place: int, query: Query, prepared: F32 | None
) -> _Asked:
    excluded = -1
    if query.like is not None:
        excluded = int(visible_slots(state, query.like, query.visible)[0])
        if excluded < 0:
            raise NotFound(f"like: no row has the id {query.like[0]!s}")
        vectors = state.ring.vectors[excluded : excluded + 1]
    elif query.examples is not None:
        vectors = target(state, query.examples)
    else:
        vectors = prepared_of(state.definition, query) if prepared is None else prepared
    mask = masks.number(query.filter, query.last)
    left_out = _NO_SLOTS
    if query.exclude is not None or query.examples is not None:
        left_out = _left_out(state, query)
    if excluded >= 0 and not query.is_plain:
        left_out, excluded = np.append(left_out, excluded), -1
    if len(left_out):
        mask = masks.without(mask, left_out)
    most = query.max_hits
    is_counted = query.min_score is None and not query.shape.leaves_out
    if most is not None and is_counted and len(vectors) * query.k > most:
        _refuse_over(most, len(vectors) * min(query.k, masks.rows(mask) - (excluded >= 0)))
    return _Asked(place, query, vectors, mask, excluded)


def _left_out(state: WindowState, query: Query) -> I64:
    """Slots of the rows that ``exclude`` and the examples name."""
    found = []
    if query.exclude is not None:
        found.append(state.ids.find(query.exclude))
    if query.examples is not None:
        found.append(state.ids.find(as_ids(state.definition.ids, ids_of(query.examples))))
    slots = np.concatenate(found)
    return slots[slots >= 0]


def _refuse_over(max_hits: int, count: int) -> None:
    if count > max_hits:
        raise TooLarge(f"the answer would hold {count} rows; at most {max_hits} fit in a reply")


def _scan(state: WindowState, masks: Masks, asked: list[_Asked]) -> TopK:
    question, left_out = _question(masks, asked)
    return _without(
        state.scan.top_k(state.ring, state.definition.metric, *question), left_out, question.k
    )


def _question(masks: Masks, asked: list[_Asked]) -> tuple[Question, I64]:
    """What a scan is asked for all queries of a call; the slot that each leaves out, else -1."""
    floors = score.floors([one.query.min_score for one in asked])
    # A row left out by `like` may take a place in the answer: one more is asked for.
    ks = np.array([one.query.k + (one.excluded >= 0) for one in asked], np.int64)
    words, mask_of = masks.together([one.mask for one in asked])
    vectors = (
        asked[0].vectors if len(asked) == 1 else np.concatenate([one.vectors for one in asked])
    )
    left_out = np.array([one.excluded for one in asked], np.int64)
    if len(vectors) > len(asked):
        repeats = [len(one.vectors) for one in asked]
        ks, mask_of = np.repeat(ks, repeats), np.repeat(mask_of, repeats)
        floors, left_out = np.repeat(floors, repeats), np.repeat(left_out, repeats)
    return Question(vectors, ks, floors, words, mask_of), left_out


def _part(masks: Masks, one: _Asked) -> Part:
    floor = score.floors([one.query.min_score])[0]
    return Part(one.query, one.vectors, floor, masks.words[one.mask])


def _shaped(
    state: WindowState, part: Part, first: FirstRows | None = None
) -> Generator[None, None, Answer | OmenError]:
    query = part.query
    top, ranks = yield from top_shaped(state, part, first)
    try:
        if query.max_hits is not None:
            _refuse_over(query.max_hits, len(top.slots))
    except TooLarge as error:
        return error
    hits = state.hits(top.slots, query.include)
    weights = weights_of(state, query, top.slots)
    return Answer(
        top.counts,
        Hits(hits.ids, hits.seqs, top.scores, hits.metadata, hits.vectors, ranks, weights),
    )


def _without(top: TopK, excluded: I64, asked: I64) -> TopK:
    """``top``, of ``asked`` rows for each query, without each one's excluded slot (-1: none), cut
    to one less there."""
    if excluded.max() < 0:
        return top
    query = np.repeat(np.arange(len(top.counts)), top.counts)
    keep = top.slots != excluded[query]
    query = query[keep]
    counts = np.bincount(query, minlength=len(top.counts))
    starts = np.cumsum(counts) - counts
    rank = np.arange(len(query)) - starts[query]
    cut = rank < (asked - (excluded >= 0))[query]
    return TopK(
        counts=np.bincount(query[cut], minlength=len(top.counts)).astype(np.uint32),
        slots=top.slots[keep][cut],
        scores=top.scores[keep][cut],
    )


def _answer(
    state: WindowState, asked: list[_Asked], top: TopK, outcomes: dict[int, Answer | OmenError]
) -> None:
    ids = state.ids.of(top.slots)
    seqs = state.ring.seqs(top.slots)
    ends = top.counts.cumsum().tolist()
    query = start = 0
    for one in asked:
        counts = top.counts[query : query + len(one.vectors)]
        query += len(one.vectors)
        end = ends[query - 1]
        include = one.query.include
        try:
            if one.query.max_hits is not None:
                _refuse_over(one.query.max_hits, end - start)
            slots = top.slots[start:end]
            hits = Hits(
                ids[start:end],
                seqs[start:end],
                top.scores[start:end],
                state.metadata(slots) if include.metadata else None,
                state.ring.vectors[slots] if include.vector else None,
            )
            outcomes[one.place] = Answer(counts, hits)
        except TooLarge as error:
            outcomes[one.place] = error.with_traceback(None)
        start = end
