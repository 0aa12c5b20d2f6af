"""The answers of live subscriptions as pushes make them, and a sample of them for the oracle.

By the protocol's law a view is the snapshot with each push applied, and equals what a search
answers at the push's version. All views are kept, because they tell which rows changed an answer;
the oracle gets some: snapshots, views after a push, and each as it is at the end, when nothing is
left to come, so that a push which never came is found too.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from omendb_core.model.types import F32

from omendb_ws.wire import binary, binary_replies, text_replies
from omendb_ws.wire.messages import ErrorReply, Results
from omendb_ws.wire.opcodes import MAGIC

from . import shaping
from .connection import Connection
from .sampling import Sampling, step
from .scenario import Standing

#: Subscriptions of a process whose views are looked at, at most.
_MAX_SAMPLED: Final = 50
_AGAIN_SECONDS: Final = 0.05
_MINUS_INFINITY: Final = float("-inf")
#: What a row is ordered by before its seq: rank and score. All ranks are 0 in a plain order, and
#: those that are null under ``decay`` come last.
Key = tuple[float, float]
_NOTHING: Final[Key] = (_MINUS_INFINITY, _MINUS_INFINITY)


class Answered(NamedTuple):
    """The rows, best first, that a query had at ``version``: (seq, score)."""

    query: int
    version: int
    hits: list[tuple[int, float]]


class View:
    """One subscription's answer: ``keys`` by seq, at ``version``."""

    __slots__ = ("is_sampled", "k", "keys", "query", "version")

    def __init__(self, query: int, k: int, version: int, keys: Iterable[tuple[int, Key]]) -> None:
        self.query = query
        self.k = k
        self.version = version
        self.keys = dict(keys)
        self.is_sampled = False

    @property
    def floor(self) -> Key:
        """The key of the worst row where there are k."""
        return min(self.keys.values()) if len(self.keys) >= self.k else _NOTHING

    def apply(self, version: int, left: Sequence[int], entered: Iterable[tuple[int, Key]]) -> None:
        """A push."""
        self.version = version
        for seq in left:
            self.keys.pop(seq, None)
        self.keys.update(entered)

    def answered(self) -> Answered:
        """As a search would have answered it."""
        order = sorted(self.keys.items(), key=lambda one: (one[1], one[0]), reverse=True)
        return Answered(self.query, self.version, [(seq, score) for seq, (_, score) in order])


class ViewSample:
    """The views of some subscriptions of a process, now and then."""

    def __init__(self, settings: Standing) -> None:
        self._settings = settings
        self._every = step(settings.verified) if settings.verified else 0
        self._sampled: list[tuple[View, F32]] = []
        self._looks: Sampling[Answered] = Sampling(1)
        #: With what a search answered then.
        self.ends: list[tuple[Answered, Answered]] = []

    @property
    def answered(self) -> list[Answered]:
        """What the oracle is to look at."""
        return [*self._looks.kept, *[end for end, _ in self.ends]]

    def offer(self, view: View, vector: F32) -> None:
        """A new subscription to ``vector`` (dim,)."""
        if self._every and view.query % self._every == 0 and len(self._sampled) < _MAX_SAMPLED:
            view.is_sampled = True
            self._sampled.append((view, vector))
            self.look(view)

    def look(self, view: View) -> None:
        """A sampled view has changed."""
        if self._looks.is_due():
            self._looks.keep(view.answered())

    async def settle(self, asking: Connection, give_up_at: float) -> None:
        """Take the views as they are at the end.

        A view is at its end when it is what a search answers (and the oracle looks at that, too).
        If that never comes, the oracle gets the view for the version of the search, and will
        differ.
        """
        give_up_at += self._settings.every_ms / 1000  # so long a push may take its time
        for number, (view, vector) in enumerate(self._sampled):
            while True:
                settled = await self._search(asking, number, view.query, vector)
                if settled.hits == view.answered().hits or time.perf_counter() > give_up_at:
                    break
                await asyncio.sleep(_AGAIN_SECONDS)
            self.ends.append((view.answered()._replace(version=settled.version), settled))

    async def _search(self, asking: Connection, number: int, query: int, vector: F32) -> Answered:
        settings = self._settings
        shape = settings.shape(query)
        given = dict(settings.filter) or None
        frame = binary.encode_search(
            number, asking.handle, shaping.asked_with(shape, vector[None]), settings.k, given,
            shaping=shape,
        )  # fmt: skip
        results = results_of(await asking.ask(frame, number))
        (hits,) = lists(results)
        return Answered(query, results.version, hits)


def results_of(reply: bytes) -> Results:
    """The answer to SUBSCRIBE or SEARCH. Raises the error that it is."""
    if reply[0] != MAGIC:
        said = text_replies.decode_incoming(reply)
        assert isinstance(said, ErrorReply), said
        raise said.error
    found = binary_replies.decode_incoming(reply)
    assert isinstance(found, tuple)
    assert isinstance(found[1], Results)
    return found[1]


def keys_of(
    seqs: Sequence[int], scores: Sequence[float], ranks: Sequence[float] | None
) -> list[tuple[int, Key]]:
    """What rows are ordered by; ``ranks`` None: by their scores."""
    if ranks is None:
        return [(seq, (0.0, score)) for seq, score in zip(seqs, scores, strict=True)]
    found = zip(seqs, scores, ranks, strict=True)
    return [(seq, (rank if rank == rank else _MINUS_INFINITY, score)) for seq, score, rank in found]


def keyed(results: Results) -> Iterator[list[tuple[int, Key]]]:
    """The same of each query's rows."""
    ranks, end = results.hits.ranks, 0
    for some in lists(results):
        rows, end = slice(end, end + len(some)), end + len(some)
        of_some = None if ranks is None else ranks[rows].tolist()
        yield keys_of([seq for seq, _ in some], [score for _, score in some], of_some)


def lists(results: Results) -> Iterator[list[tuple[int, float]]]:
    """(seq, score) of each query's rows."""
    hits, end = results.hits, 0
    assert hits.scores is not None
    for count in results.counts.tolist():
        rows = slice(end, end + count)
        end = rows.stop
        yield list(zip(hits.seqs[rows].tolist(), hits.scores[rows].tolist(), strict=True))
