"""An answer in its three steps (PROTOCOL section 5): the query vector, the order, the selection.

Fields are those of a search's JSON. Nothing is checked here that the server has to refuse, but
what only a window can tell: examples that are not there, a target that is no vector.
"""

from __future__ import annotations

import math
import struct
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import mpmath

from .expressions import Scored, rank_of
from .numbers import EXACT, PRECISION_BITS, Functions, f32, nearest, norm, score, stored
from .window import Id, Oracle, Row

Fields = Mapping[str, Any]
#: Norms beyond it, or under one part of it for cosine, are refused.
LARGEST_NORM = 2.0**62
LARGEST_F32 = struct.unpack("<f", b"\xff\xff\x7f\x7f")[0]


class Refused(Exception):
    """``code`` of the error, and the ``row`` at fault."""

    def __init__(self, code: str, row: int | None = None) -> None:
        super().__init__(code, row)
        self.code, self.row = code, row


@dataclass(frozen=True)
class Hit:
    """One row of an answer. ``rank``: None for null, and where nothing is ranked."""

    id: Id
    seq: int
    score: float
    rank: float | None = None
    weight: float | None = None


@dataclass
class Ordered:
    row: Row
    score: float
    rank: float | None
    weight: float | None

    @property
    def hit(self) -> Hit:
        return Hit(self.row.id, self.row.seq, self.score, self.rank, self.weight)


def search(
    window: Oracle,
    fields: Fields,
    at: float = 0.0,
    max_k: int = 1000,
    functions: Functions = EXACT,
) -> list[Hit]:
    """The answer to one query vector, or ``positive``, or ``like``. ``at`` in Unix seconds."""
    target, left_out = query_vector(window, fields)
    return answer(window, target, left_out, fields, at, max_k, functions)


def answer(
    window: Oracle,
    target: Sequence[float],
    left_out: set[Id],
    fields: Fields,
    at: float = 0.0,
    max_k: int = 1000,
    functions: Functions = EXACT,
) -> list[Hit]:
    """The same, with a query vector that was found before, as live queries keep it."""
    rows = every_row_that_passes(window, fields, target, left_out)
    ranked = in_order(rows, fields, at, functions)
    return [one.hit for one in selection(ranked, fields, window.metric, max_k)]


# -- the query vector -------------------------------------------------------------------------


def query_vector(window: Oracle, fields: Fields) -> tuple[list[float], set[Id]]:
    """What rows are scored with, bit for bit, and the ids that are no part of the answer."""
    left_out = set(fields.get("exclude") or ())
    if fields.get("like") is not None:
        row = window.find(fields["like"])
        if row is None:
            raise Refused("not_found")
        return list(row.vector), left_out | {row.id}
    if fields.get("positive") is None:
        return stored(window.metric, fields["vector"]), left_out
    positive, negative = fields["positive"], fields.get("negative") or []
    left_out |= {one for one in [*positive, *negative] if not isinstance(one, list)}
    if len(positive) == 1 and not negative and not isinstance(positive[0], list):
        return _example(window, positive[0], 0), left_out
    likes = [_example(window, one, place) for place, one in enumerate(positive)]
    unlikes = [_example(window, one, place) for place, one in enumerate(negative)]
    target = _mean(likes)
    if unlikes:
        target = [p + (p - n) for p, n in zip(target, _mean(unlikes), strict=True)]
    return stored(window.metric, _as_query(target, window.metric)), left_out


def _example(window: Oracle, one: Any, place: int) -> list[float]:
    if isinstance(one, list):
        return stored(window.metric, one)
    row = window.find(one)
    if row is None:
        raise Refused("not_found", place)
    return list(row.vector)


def _mean(examples: Sequence[Sequence[float]]) -> list[float]:
    means = []
    for elements in zip(*examples, strict=True):
        total = elements[0]
        for element in elements[1:]:
            total += element
        means.append(total / len(examples))
    return means


def _as_query(target: Sequence[float], metric: str) -> list[float]:
    rounded = [f32(element) for element in target]
    if not all(map(math.isfinite, rounded)) or norm(rounded) > LARGEST_NORM:
        raise Refused("non_finite")
    if metric == "cosine" and norm(rounded) < 1 / LARGEST_NORM:
        raise Refused("zero_norm")
    return rounded


# -- the order --------------------------------------------------------------------------------


def every_row_that_passes(
    window: Oracle, fields: Fields, target: Sequence[float], left_out: set[Id]
) -> list[tuple[Row, float]]:
    """(row, score), in any order."""
    least = fields.get("min_score")
    found = []
    for row in window.live(fields.get("filter"), fields.get("last")):
        if row.id in left_out:
            continue
        its_score = score(window.metric, row.vector, target)
        if least is None or its_score >= f32(least):
            found.append((row, its_score))
    return found


def in_order(
    rows: Sequence[tuple[Row, float]], fields: Fields, at: float, functions: Functions
) -> list[Ordered]:
    if fields.get("decay") is not None:
        return _decayed(rows, fields["decay"], at, functions)
    if fields.get("rank") is not None:
        return _ranked(rows, fields["rank"], at, functions)
    plain = [Ordered(row, its_score, None, None) for row, its_score in rows]
    return sorted(plain, key=lambda one: (-one.score, -one.row.seq))


def seconds_of(row: Row) -> float:
    """When the row was accepted, in Unix seconds."""
    return row.time_us / 1_000_000


def _decayed(
    rows: Sequence[tuple[Row, float]], decay: Fields, at: float, functions: Functions
) -> list[Ordered]:
    half_life = float(decay["half_life"])
    ranked, unranked = [], []
    for row, its_score in rows:
        time: float | None = seconds_of(row)
        if decay.get("column") is not None:
            value = row.metadata.get(decay["column"])
            time = None if value is None else float(value)
        weight = None if time is None else weight_of(time, at, half_life)
        rank = None
        if time is not None and its_score > 0:
            rank = functions.log2(its_score) + time / half_life
        if rank is not None and math.isfinite(rank):
            ranked.append(Ordered(row, its_score, rank, weight))
        else:
            unranked.append(Ordered(row, its_score, None, weight))
    ranked.sort(key=lambda one: (-(one.rank or 0.0), -one.row.seq))
    unranked.sort(key=lambda one: (-one.score, -one.row.seq))
    return ranked + unranked


def weight_of(time: float, at: float, half_life: float) -> float:
    """2^((time - at) / half_life), as a finite float32."""
    exponent = (time - at) / half_life
    if exponent >= 128:
        return LARGEST_F32
    if exponent < -200:
        return 0.0
    with mpmath.workprec(PRECISION_BITS):
        exact = nearest(mpmath.power(2, mpmath.mpf(exponent)))
    return min(f32(exact), LARGEST_F32)


def _ranked(
    rows: Sequence[tuple[Row, float]], document: Any, at: float, functions: Functions
) -> list[Ordered]:
    ranked = []
    for row, its_score in rows:
        seen = Scored(its_score, row.metadata, at - seconds_of(row))
        rank = rank_of(document, seen, functions)
        if rank is not None:
            ranked.append(Ordered(row, its_score, rank, None))
    return sorted(ranked, key=lambda one: (-(one.rank or 0.0), -one.score, -one.row.seq))


# -- the selection ----------------------------------------------------------------------------


def selection(
    rows: Sequence[Ordered], fields: Fields, metric: str, max_k: int = 1000
) -> list[Ordered]:
    k = fields.get("k", 10)
    if fields.get("mmr") is not None:
        return _relevant_and_novel(rows, fields, metric, max_k)
    may_join = _tests(fields, metric)
    taken: list[Ordered] = []
    for one in rows:
        if len(taken) == k:
            break
        if all(passes(one, taken) for passes in may_join):
            taken.append(one)
    return taken


Test = Callable[[Ordered, Sequence[Ordered]], bool]


def _tests(fields: Fields, metric: str) -> list[Test]:
    """What a row must pass beside those that were taken already."""
    tests: list[Test] = []
    if fields.get("group") is not None:
        tests.append(_room_in_group(fields["group"]))
    if fields.get("spread") is not None:
        most = f32(fields["spread"]["max_similarity"])
        tests.append(
            lambda one, taken: all(
                score(metric, one.row.vector, other.row.vector) < most for other in taken
            )
        )
    return tests


def _room_in_group(group: Fields) -> Test:
    column, size = group["by"], group.get("size", 1)

    def has_room(one: Ordered, taken: Sequence[Ordered]) -> bool:
        mine = one.row.metadata.get(column)
        return sum(is_same(other.row.metadata.get(column), mine) for other in taken) < size

    return has_room


def is_same(one: Any, other: Any) -> bool:
    """As values of one column."""
    if one is None or other is None:
        return one is None and other is None
    return bool(one == other)


def _relevant_and_novel(
    rows: Sequence[Ordered], fields: Fields, metric: str, max_k: int
) -> list[Ordered]:
    mmr, k = fields["mmr"], fields.get("k", 10)
    candidates = mmr.get("candidates", min(10 * k, max_k))
    group = {"group": fields.get("group"), "k": candidates}
    left = selection(rows, group, metric)
    weight = float(mmr["lambda"])
    taken: list[Ordered] = []
    while left and len(taken) < k:
        values = []
        for one in left:
            likeness = max(
                (score(metric, one.row.vector, other.row.vector) for other in taken), default=0.0
            )
            values.append(weight * one.score - (1 - weight) * likeness)
        taken.append(left.pop(values.index(max(values))))
    return taken


# -- counting ---------------------------------------------------------------------------------


def counts(
    window: Oracle, column: str, limit: int = 100, document: Any = None
) -> tuple[list[tuple[Any, int]], int]:
    """``count`` by a column: (value, count), most first, and the rows of values not listed."""
    found: Counter[Any] = Counter(row.metadata.get(column) for row in window.live(document))

    def place(value: Any) -> Any:
        return (-found[value], value is None, 0 if value is None else value)

    ordered = sorted(found, key=place)
    others = sum(found[value] for value in ordered[limit:])
    return [(value, found[value]) for value in ordered[:limit]], others
