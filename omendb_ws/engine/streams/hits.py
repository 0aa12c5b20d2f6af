"""Hits that wait for one reader of a match or novel query, in chunks that never grow.

Seqs and scores, and for a novel query the id of the row that each is nearest to. An array made anew
for every batch leaves the old one's place as a hole, and those came to a fifth of what thousands of
readers had waiting. So the first batch is kept as it came, and more goes into chunks with room for
what follows. One hit by itself, which is what most queries have if any, is two numbers, for which
there is a place whether it is taken or not.

Invariants: hits ascend by seq, within a chunk and over them; no chunk is empty; one hit is by
itself only where there is no chunk; ``share`` has what all chunks take.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from sys import getsizeof
from typing import Any, Final, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray
from omendb_core.model.budget import Share
from omendb_core.model.types import F32, U64

#: Places of a chunk: a quarter of what waits already, within these.
_LEAST_PLACES: Final = 32
_MOST_PLACES: Final = 512
_GROWN_BY: Final = 4
#: What a chunk takes besides its hits: the object, two arrays, a place in the list; and what waits
#: at all: numbers and the list. As measured with 20,000 of them.
_CHUNK_BYTES: Final = 360
_QUEUE_BYTES: Final = 160
_HIT_BYTES: Final = 8 + 4
_NEAR_BYTES: Final = 8
_NO_SEQS: Final = np.empty(0, np.uint64)
_NO_SCORES: Final = np.empty(0, np.float32)
_T = TypeVar("_T", bound=np.generic)


#: Ids of rows: uint64, or objects, the texts.
Near: TypeAlias = NDArray[Any]


class _Chunk:
    """Hits in the places ``start … end - 1`` of its arrays; ``text_bytes``: what ids take."""

    __slots__ = ("end", "near", "scores", "seqs", "start", "text_bytes")

    def __init__(self, seqs: U64, scores: F32, near: Near | None, end: int) -> None:
        self.seqs = seqs
        self.scores = scores
        self.near = near
        self.start, self.end = 0, end
        self.text_bytes = 0 if near is None else _text_bytes(near[:end])

    @property
    def nbytes(self) -> int:
        return _bytes_for(len(self.seqs), self.near is not None) + self.text_bytes

    def put(self, seqs: U64, scores: F32, near: Near | None) -> int:
        """Keep as many of these as have a place; how many those are."""
        start = self.end
        stop = min(start + len(seqs), len(self.seqs))
        self.seqs[start:stop] = seqs[: stop - start]
        self.scores[start:stop] = scores[: stop - start]
        if self.near is not None and near is not None:
            self.near[start:stop] = near[: stop - start]
            self.text_bytes += _text_bytes(near[: stop - start])
        self.end = stop
        return stop - start


class WaitingHits:
    """A queue of (seq, score), or (seq, score, near), with the memory it is charged.

    ``one``: the only hit, where it waits by itself; its memory is its query's.
    """

    __slots__ = ("_chunks", "_count", "nbytes", "one", "share")

    def __init__(self, share: Share) -> None:
        self.share = share
        self.one: tuple[int, float] | None = None
        self._chunks: list[_Chunk] = []
        self._count = self.nbytes = 0

    def __len__(self) -> int:
        return self._count

    @property
    def first_seq(self) -> int | None:
        """The oldest hit's; None: none waits."""
        if self.one is not None:
            return self.one[0]
        return self._chunks[0].seqs.item(self._chunks[0].start) if self._chunks else None

    def add_one(self, seq: int, score: float) -> None:
        """Keep a hit, a float32 score; where none waits it takes no memory that is not there."""
        if self._count:
            self.add(np.array([seq], np.uint64), np.array([score], np.float32))
        else:
            self.one = seq, score
            self._count = 1

    def add(self, seqs: U64, scores: F32, near: Near | None = None) -> None:
        """Keep these hits, one at least, above those that are there; the arrays are its own now.

        All of them with ``near``, or none. Quota: none is kept.
        """
        if self.one is not None:
            seq, score = self.one
            seqs = np.concatenate([np.array([seq], np.uint64), seqs])
            scores = np.concatenate([np.array([score], np.float32), scores])
            self._add_first(seqs, scores, near)
            self.one = None
            self._count = 0
        elif self._chunks:
            self._add_behind(seqs, scores, near)
        else:
            self._add_first(seqs, scores, near)
        self._count += len(seqs)

    def _add_first(self, seqs: U64, scores: F32, near: Near | None) -> None:
        chunk = _Chunk(seqs, scores, near, len(seqs))
        nbytes = _QUEUE_BYTES + chunk.nbytes
        self.share.resize(nbytes)
        self._chunks.append(chunk)
        self.nbytes = nbytes

    def _add_behind(self, seqs: U64, scores: F32, near: Near | None) -> None:
        last = self._chunks[-1]
        missing = len(seqs) - (len(last.seqs) - last.end)
        sizes = list(self._sizes(missing))
        nbytes = self.nbytes + sum(_bytes_for(size, near is not None) for size in sizes)
        if near is not None:
            nbytes += _text_bytes(near)
        self.share.resize(nbytes)
        fresh = [
            _Chunk(
                np.empty(size, np.uint64),
                np.empty(size, np.float32),
                None if near is None else np.empty(size, near.dtype),
                0,
            )
            for size in sizes
        ]
        for chunk in [last, *fresh]:
            done = chunk.put(seqs, scores, near)
            seqs, scores = seqs[done:], scores[done:]
            near = None if near is None else near[done:]
        self._chunks += fresh
        self.nbytes = nbytes

    def _sizes(self, count: int) -> Iterator[int]:
        """Of the chunks for so many hits, which have no place yet."""
        wanted = max(self._count // _GROWN_BY, _LEAST_PLACES)
        while count > 0:
            size = min(max(count, wanted), _MOST_PLACES)
            yield size
            count -= size

    def above(self, seq: int) -> tuple[U64, F32]:
        """Seqs uint64 (n,) and scores float32 (n,) of the hits above ``seq``; not to be kept."""
        if self.one is not None and self.one[0] > seq:
            return np.array([self.one[0]], np.uint64), np.array([self.one[1]], np.float32)
        if not self._chunks:
            return _NO_SEQS, _NO_SCORES
        seqs = _joined([chunk.seqs[chunk.start : chunk.end] for chunk in self._chunks])
        scores = _joined([chunk.scores[chunk.start : chunk.end] for chunk in self._chunks])
        first = int(seqs.searchsorted(np.uint64(seq), side="right"))
        return seqs[first:], scores[first:]

    @property
    def few(self) -> tuple[list[int], list[float]] | None:
        """All hits, where they are of one chunk; None for none, or more."""
        if self.one is not None:
            return [self.one[0]], [self.one[1]]
        if len(self._chunks) != 1:
            return None
        chunk = self._chunks[0]
        some = slice(chunk.start, chunk.end)
        return chunk.seqs[some].tolist(), chunk.scores[some].tolist()

    def near_of(self, count: int) -> Near | None:
        """The ``near`` of the newest ``count`` hits; not to be kept."""
        found = [
            chunk.near[chunk.start : chunk.end] for chunk in self._chunks if chunk.near is not None
        ]
        return _joined(found)[self._count - count :] if found else None

    def forget(self, seq: int) -> None:
        """Let go of the hits up to ``seq``."""
        if self.one is not None:
            if self.one[0] <= seq:
                self.clear()
            return
        whole = 0
        for chunk in self._chunks:
            if chunk.seqs.item(chunk.end - 1) > seq:
                break
            whole += 1
        some = 0
        if whole < len(self._chunks):
            chunk = self._chunks[whole]
            seqs = chunk.seqs[chunk.start : chunk.end]
            some = int(seqs.searchsorted(np.uint64(seq), side="right"))
        gone = self._chunks[:whole]
        nbytes = self.nbytes - sum(chunk.nbytes for chunk in gone)
        # From here on nothing can fault half way.
        self._count -= some + sum(chunk.end - chunk.start for chunk in gone)
        self.nbytes = nbytes if whole < len(self._chunks) else 0
        if some:
            self._chunks[whole].start += some
        del self._chunks[:whole]
        self.share.settle(self.nbytes)

    def clear(self) -> None:
        """Let go of all."""
        self.one = None
        self._count = 0
        if self._chunks:
            self._chunks.clear()
            self.nbytes = 0
            self.share.resize(0)

    def close(self) -> None:
        """Let go of all, and of its share."""
        self.one = None
        self._chunks.clear()
        self._count = self.nbytes = 0
        self.share.close()


def _bytes_for(places: int, has_near: bool) -> int:
    """Bytes of a chunk, texts not counted."""
    return _CHUNK_BYTES + (_HIT_BYTES + _NEAR_BYTES * has_near) * places


def _text_bytes(near: Near) -> int:
    return sum(map(getsizeof, near.tolist())) if near.dtype == object else 0


def _joined(parts: Sequence[NDArray[_T]]) -> NDArray[_T]:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)
