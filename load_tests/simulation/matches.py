"""What some match subscriptions were sent, for the oracle: every row that reaches the score, once.

A subscription that is told of a gap is looked at up to there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from .sampling import step
from .scenario import Standing

#: Subscriptions of a process that are looked at, at most, and rows of one.
_MAX_SAMPLED: Final = 50
_MAX_ROWS: Final = 10_000


class Matched(NamedTuple):
    """The rows, (seq, score), that a query was sent, of those above ``from_seq`` to ``to_seq``."""

    query: int
    from_seq: int
    to_seq: int
    hits: list[tuple[int, float]]


class Match:
    """One subscription; ``is_open`` while what it is sent is kept."""

    __slots__ = ("from_seq", "hits", "is_open", "query", "to_seq")

    def __init__(self, query: int, to_seq: int) -> None:
        self.query = query
        self.from_seq = self.to_seq = to_seq
        self.hits: list[tuple[int, float]] = []
        self.is_open = True

    def take(self, to_seq: int, seqs: Sequence[int], scores: Sequence[float]) -> None:
        """A push."""
        if not self.is_open:
            return
        self.hits += zip(seqs, scores, strict=True)
        self.to_seq = to_seq
        self.is_open = len(self.hits) < _MAX_ROWS


class MatchSample:
    """Some of a process's subscriptions."""

    def __init__(self, settings: Standing) -> None:
        self._every = step(settings.verified) if settings.verified else 0
        self._sampled: list[Match] = []

    @property
    def matched(self) -> list[Matched]:
        """What the oracle is to look at."""
        return [Matched(one.query, one.from_seq, one.to_seq, one.hits) for one in self._sampled]

    def offer(self, query: int, to_seq: int) -> Match | None:
        """A new subscription to query number ``query``, sent what is above ``to_seq``."""
        if not self._every or query % self._every or len(self._sampled) >= _MAX_SAMPLED:
            return None
        self._sampled.append(Match(query, to_seq))
        return self._sampled[-1]
