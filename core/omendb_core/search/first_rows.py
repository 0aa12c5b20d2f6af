"""The first rows of shaped searches by score, or under ``decay``, as the scan finds them.

Searches whose orders are alike share one scan, whatever they select, their filters and half-lives.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np

from ..model.types import F32, F64, U64
from ..ranking import orders
from ..ranking.shape import Decay, Order, Rank
from ..scan.decayed import Question
from ..scan.interface import TopK
from ..state import WindowState
from .query import Query

#: Rows that a selection reads first, for each one that it wants.
_READ_FOR_ONE: Final = 2


class Part(NamedTuple):
    """A search: of the rows of ``mask`` (words) that score at least ``floor`` with its vectors.

    ``vectors`` float32 (q, dim), prepared.
    """

    query: Query
    vectors: F32
    floor: np.float32
    mask: U64


class FirstRows(NamedTuple):
    """As ``TopK``; ``ranks`` float64 beside the scores where the order is that of decay."""

    top: TopK
    ranks: F64 | None


def first_depth(query: Query) -> int:
    """How many rows are read first for each vector."""
    shape = query.shape
    if not shape.selects:
        return query.k
    if shape.mmr is not None and shape.group is None:
        return shape.mmr.candidates
    return _READ_FOR_ONE * (query.k if shape.mmr is None else shape.mmr.candidates)


def alike(queries: Sequence[Query]) -> list[list[int]]:
    """Places of shaped queries, those together that one scan may find the first rows of."""
    groups: dict[object, list[int]] = {}
    for place, query in enumerate(queries):
        order = query.shape.order
        if isinstance(order, Rank):
            key: object = place
        else:
            key = "score" if order is None else ("decay", order.column)
        groups.setdefault(key, []).append(place)
    return list(groups.values())


def first_rows(state: WindowState, parts: Sequence[Part], depths: Sequence[int]) -> list[FirstRows]:
    """The first ``depths[i]`` rows for each vector of a part; orders are alike, not ``Rank``."""
    order = parts[0].query.shape.order
    if len(parts) == 1:
        return [_scanned(state, order, _asked_for_one(parts[0], depths[0]))]
    found = _scanned(state, order, _asked_for(parts, depths))
    counts = np.cumsum([0, *map(len, (part.vectors for part in parts))]).tolist()
    rows = np.concatenate(([0], np.cumsum(found.top.counts, dtype=np.int64)))[counts].tolist()
    return [
        FirstRows(
            TopK(
                found.top.counts[counts[place] : counts[place + 1]],
                found.top.slots[start:stop],
                found.top.scores[start:stop],
            ),
            None if found.ranks is None else found.ranks[start:stop],
        )
        for place, (start, stop) in enumerate(pairwise(rows))
    ]


class _Asked(NamedTuple):
    """What the scan is asked; ``half_lives`` float64 (q,), which only decay needs."""

    question: Question
    half_lives: F64


def _asked_for_one(part: Part, depth: int) -> _Asked:
    count = len(part.vectors)
    question = Question(
        part.vectors,
        np.array([depth] * count, np.int64),
        np.array([part.floor] * count, np.float32),
        part.mask[None],
        np.zeros(count, np.int64),
    )
    return _Asked(question, np.array([_half_life(part)] * count, np.float64))


def _asked_for(parts: Sequence[Part], depths: Sequence[int]) -> _Asked:
    repeats = [len(part.vectors) for part in parts]
    masks = {id(part.mask): part.mask for part in parts}
    numbers = {mask: number for number, mask in enumerate(masks)}
    mask_of = np.array([numbers[id(part.mask)] for part in parts], np.int64)
    question = Question(
        np.concatenate([part.vectors for part in parts]),
        np.repeat(np.array(depths, np.int64), repeats),
        np.repeat(np.array([part.floor for part in parts], np.float32), repeats),
        np.stack(list(masks.values())),
        np.repeat(mask_of, repeats),
    )
    return _Asked(question, np.repeat([_half_life(part) for part in parts], repeats))


def _scanned(state: WindowState, order: Order | None, asked: _Asked) -> FirstRows:
    question, metric = asked.question, state.definition.metric
    if not isinstance(order, Decay):
        return FirstRows(state.scan.top_k(state.ring, metric, *question), None)
    times = orders.times_by_slot(order, state)
    found = state.scan.top_k_decayed(state.ring, metric, *question, times, asked.half_lives)
    return FirstRows(TopK(found.counts, found.slots, found.scores), found.ranks)


def _half_life(part: Part) -> float:
    """Seconds; anything where the order is by score."""
    order = part.query.shape.order
    return order.half_life_seconds if isinstance(order, Decay) else 1.0
