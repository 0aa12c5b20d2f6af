"""The reference scan, in numpy: matrix products find candidates, ``score`` decides.

The rows are taken in chunks, newest first. A float32 product estimates all scores of a chunk;
``bounds`` says how far off that may be, so every row that can be among the k best is kept, and
little else. Where the estimates tell too few rows apart (the first chunk; data far from the origin;
ties), the query's row of the chunk is narrowed: first by a bound for each row instead of one for
the chunk, then by float64 products, which mostly are the scores themselves.

A mask with few rows is scanned over a copy of these rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np

from ..ring import Ring, unpack
from ..types import F32, I64, U64, Bool1, Metric
from .bounds import Bounds
from .candidates import Candidates, Pairs, kth_largest, newest_of_ties
from .scan import TopK

#: Queries that are scanned together; more take turns, which bounds the matrix of estimates.
_MAX_QUERIES: Final = 256
#: Estimates in a chunk's matrix.
_CHUNK_ESTIMATES: Final = 1 << 19
#: Elements of a chunk's rows at most; they are copied as float64 at worst.
_CHUNK_ELEMENTS: Final = 1 << 22
_MIN_CHUNK_ROWS: Final = 256
_FIRST_CHUNK_ROWS: Final = 2048
_CHUNK_GROWTH: Final = 4
_ALL: Final = np.uint64(2**64 - 1)
#: A mask with fewer than 1/8 of the rows has these copied together.
_SPARSE: Final = 8


class _Chunk(NamedTuple):
    """Rows in seq order: ``rows`` (n, dim), ``norms`` (n,); ``mask`` bool, None if all are meant.

    They are the slots from ``start`` on, or else ``slots`` (n,). ``mask`` is (q, n), or (1, n) for
    all queries.
    """

    start: int
    slots: I64 | None
    rows: F32
    norms: F32
    mask: Bool1 | None

    def slots_of(self, columns: I64) -> I64:
        """Slots of rows by their position in the chunk."""
        return columns + self.start if self.slots is None else self.slots[columns]


class ReferenceScan:
    """The scan in numpy; holds no state."""

    name = "reference"

    def top_k(
        self,
        ring: Ring,
        metric: Metric,
        queries: F32,
        k: I64,
        min_scores: F32,
        masks: U64,
        mask_of: I64,
    ) -> TopK:
        """See ``scan.Scan.top_k``."""
        counts = np.zeros(len(queries), np.uint32)
        slots: list[I64] = []
        scores: list[F32] = []
        owners: list[I64] = []
        for which, chunks in _runs(ring, masks, mask_of):
            candidates = Candidates(ring, metric, queries[which], k[which], min_scores[which])
            _scan(candidates, Bounds(metric, queries[which]), chunks)
            found, found_slots, found_scores = candidates.answer()
            counts[which] = found
            owners.append(np.repeat(which, found))
            slots.append(found_slots)
            scores.append(found_scores)
        if not slots:
            return TopK(counts, np.empty(0, np.int64), np.empty(0, np.float32))
        if len(slots) == 1:
            return TopK(counts, slots[0], scores[0])
        order = np.argsort(np.concatenate(owners), kind="stable")
        return TopK(counts, np.concatenate(slots)[order], np.concatenate(scores)[order])


def _runs(ring: Ring, masks: U64, mask_of: I64) -> Iterator[tuple[I64, Iterator[_Chunk]]]:
    """Queries that are scanned together, ascending, and the chunks they are scanned over."""
    rows = np.bitwise_count(masks).sum(axis=1, dtype=np.int64)
    sparse = rows * _SPARSE < ring.used
    dense_queries = np.flatnonzero(~sparse[mask_of])
    for which in _batches(dense_queries):
        used, own = np.unique(mask_of[which], return_inverse=True)
        yield which, _dense_chunks(ring, masks[used], own)
    for mask in np.flatnonzero(sparse & (rows > 0)):
        slots = _in_seq_order(ring, np.flatnonzero(unpack(masks[mask], ring.used)))
        for which in _batches(np.flatnonzero(mask_of == mask)):
            yield which, _sparse_chunks(ring, slots, len(which))


def _crowd(k: I64) -> I64:
    """More rows than this that look good in one chunk are too many, and are narrowed."""
    # A chunk of four times the rows seen before gives 4 k on average.
    return 2 * _CHUNK_GROWTH * k + 64


def _batches(queries: I64) -> list[I64]:
    starts = range(0, len(queries), _MAX_QUERIES)
    return [queries[start : start + _MAX_QUERIES] for start in starts]


def _chunk_rows(dim: int, queries: int) -> Iterator[int]:
    """How many rows the first chunk has, the second, and so on without end."""
    most = max(_MIN_CHUNK_ROWS, min(_CHUNK_ESTIMATES // queries, _CHUNK_ELEMENTS // dim))
    rows = min(_FIRST_CHUNK_ROWS, most)
    while True:
        yield rows
        rows = min(rows * _CHUNK_GROWTH, most)


def _dense_chunks(ring: Ring, masks: U64, mask_of: I64) -> Iterator[_Chunk]:
    """The ring's rows where they lie, newest first; chunks without any row of a mask left out."""
    sizes = _chunk_rows(ring.dim, len(mask_of))
    head = ring.last_seq % ring.capacity if ring.last_seq > ring.capacity else ring.used
    for first, end in ((0, head), (head, ring.used)):
        stop = end
        while stop > first:
            start = max(first, (stop - next(sizes)) & -64)
            words = masks[:, start >> 6 : -(-stop // 64)]
            if words.any():
                mask = None if (words == _ALL).all() else _bits(words, start, stop, mask_of)
                rows, norms = ring.vectors[start:stop], ring.norms[start:stop]
                yield _Chunk(start, None, rows, norms, mask)
            stop = start


def _bits(words: U64, start: int, stop: int, mask_of: I64) -> Bool1:
    """Return masks of slots ``start … stop - 1`` as ``_Chunk.mask``; words begin with start's."""
    octets = np.ascontiguousarray(words).view(np.uint8)
    bits = np.unpackbits(octets, axis=1, bitorder="little").view(np.bool_)
    mask = bits[:, start & 63 :][:, : stop - start]
    return mask if len(mask) == 1 else mask[mask_of]


def _sparse_chunks(ring: Ring, slots: I64, queries: int) -> Iterator[_Chunk]:
    """Copies of the rows in ``slots``, which are in seq order, newest first."""
    sizes = _chunk_rows(ring.dim, queries)
    stop = len(slots)
    while stop > 0:
        start = max(0, stop - next(sizes))
        some = slots[start:stop]
        yield _Chunk(0, some, ring.vectors[some], ring.norms[some], None)
        stop = start


def _in_seq_order(ring: Ring, slots: I64) -> I64:
    """Ascending ``slots``, turned to begin with the oldest row's."""
    if ring.last_seq <= ring.capacity:
        return slots
    head = np.searchsorted(slots, ring.last_seq % ring.capacity)
    return np.concatenate((slots[head:], slots[:head]))


def _scan(candidates: Candidates, bounds: Bounds, chunks: Iterator[_Chunk]) -> None:
    count, crowd = len(candidates.k), _crowd(candidates.k)
    buffer = np.empty(0, np.float32)
    for chunk in chunks:
        size = count * len(chunk.rows)
        if len(buffer) < size:
            buffer = np.empty(size, np.float32)
        out = buffer[:size].reshape(count, -1)
        estimates = bounds.estimate(chunk.rows, chunk.norms, out)
        crowded = _offer(candidates, bounds, chunk, estimates, crowd)
        if len(crowded):
            some = estimates if len(crowded) == count else estimates[crowded]
            _narrow(candidates, bounds, chunk, some, crowded)


def _offer(
    candidates: Candidates, bounds: Bounds, chunk: _Chunk, estimates: F32, crowd: I64
) -> I64:
    """Offer what may reach its query's floor; return the queries where that is too much."""
    floors = candidates.floors
    cut = bounds.cut(floors, float(chunk.norms.max()))
    meant = len(chunk.rows) if chunk.mask is None else np.count_nonzero(chunk.mask, axis=1)
    too_many = (floors == -np.inf) & (meant > crowd)
    cut[too_many] = np.inf
    hits = estimates >= cut[:, None]
    if chunk.mask is not None:
        hits &= chunk.mask
    flat = np.flatnonzero(hits)
    if not len(flat):
        return np.flatnonzero(too_many)
    queries = flat // len(chunk.rows)
    over = np.bincount(queries, minlength=len(crowd)) > crowd
    if over.any():
        too_many |= over
        few = ~over[queries]
        flat, queries = flat[few], queries[few]
    columns = flat - queries * len(chunk.rows)
    lower, upper = bounds.around(queries, estimates.reshape(-1)[flat], chunk.norms[columns])
    candidates.add(Pairs(queries, chunk.slots_of(columns), lower, upper))
    return np.flatnonzero(too_many)


def _narrow(
    candidates: Candidates, bounds: Bounds, chunk: _Chunk, estimates: F32, which: I64
) -> None:
    """Offer rows of ``chunk`` to queries ``which`` by bounds of their own, then by closer ones.

    ``estimates`` (h, n) are theirs.
    """
    before = candidates.threshold[which]
    lower, upper = bounds.around(which[:, None], estimates, chunk.norms)
    crowded = _pick(candidates, chunk, which, before, lower, upper, newest=False)
    if len(crowded):
        which, before = which[crowded], before[crowded]
        lower, upper = bounds.closely(which, chunk.rows)
        _pick(candidates, chunk, which, before, lower, upper, newest=True)


def _pick(
    candidates: Candidates,
    chunk: _Chunk,
    which: I64,
    before: F32,
    lower: F32,
    upper: F32,
    *,
    newest: bool,
) -> I64:
    """Offer the rows that may be in the answers by their bounds ``lower``, ``upper`` (h, n).

    ``before`` (h,) are the thresholds before this chunk. Where too many rows remain, offer the
    newest of those that tie if ``newest``, else none; return these queries' places in ``which``.
    """
    # Rows of earlier chunks are newer, so one that only ties with their threshold is out.
    maybe: Bool1 = upper > before[:, None]
    maybe &= upper >= candidates.floors[which][:, None]
    if chunk.mask is not None:
        maybe &= chunk.mask if len(chunk.mask) == 1 else chunk.mask[which]
    k = candidates.k[which]
    many = np.flatnonzero(np.count_nonzero(maybe, axis=1) > _crowd(k))
    if len(many):
        possible = np.where(maybe[many], lower[many], np.float32(-np.inf))
        threshold = kth_largest(possible, k[many])
        candidates.raise_threshold(which[many], threshold)
        maybe[many] &= upper[many] >= threshold[:, None]
        still = np.count_nonzero(maybe[many], axis=1) > _crowd(k[many])
        many = many[still]
        if newest:
            ties = newest_of_ties(possible[still], upper[many], threshold[still], k[many])
            maybe[many] &= ties
        else:
            maybe[many] = False
    flat = np.flatnonzero(maybe)
    queries = flat // len(chunk.rows)
    slots = chunk.slots_of(flat - queries * len(chunk.rows))
    bounds_of = lower.reshape(-1)[flat], upper.reshape(-1)[flat]
    candidates.add(Pairs(which[queries], slots, *bounds_of))
    return many
