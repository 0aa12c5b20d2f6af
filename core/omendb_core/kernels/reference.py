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
_CHUNK_ESTIMATES: Final = 1 << 18
#: Elements of a chunk's rows at most; they are copied as float64 at worst.
_CHUNK_ELEMENTS: Final = 1 << 21
_MIN_CHUNK_ROWS: Final = 256
#: A mask with fewer than 1/8 of the rows has these copied together.
_SPARSE: Final = 8
#: A chunk in which more than 2 k + this many rows of a query look good is narrowed.
_CROWD: Final = 64


class _Chunk(NamedTuple):
    """Rows in seq order: ``slots`` (n,), ``rows`` (n, dim), ``norms`` (n,); ``mask`` bool.

    ``mask`` (q, n), or (1, n) for all queries; None if every row is meant.
    """

    slots: I64
    rows: F32
    norms: F32
    mask: Bool1 | None


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
            _scan(candidates, Bounds(metric, queries[which]), k[which], chunks)
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


def _batches(queries: I64) -> list[I64]:
    starts = range(0, len(queries), _MAX_QUERIES)
    return [queries[start : start + _MAX_QUERIES] for start in starts]


def _chunk_rows(dim: int, queries: int) -> int:
    return max(_MIN_CHUNK_ROWS, min(_CHUNK_ESTIMATES // queries, _CHUNK_ELEMENTS // dim))


def _dense_chunks(ring: Ring, masks: U64, mask_of: I64) -> Iterator[_Chunk]:
    """The ring's rows where they lie, newest first, with the masks' bits; empty chunks left out."""
    step = _chunk_rows(ring.dim, len(mask_of))
    head = ring.last_seq % ring.capacity if ring.last_seq > ring.capacity else ring.used
    for first, end in ((0, head), (head, ring.used)):
        for stop in range(end, first, -step):
            start = max(first, stop - step)
            words = np.ascontiguousarray(masks[:, start >> 6 : -(-stop // 64)])
            bits = np.unpackbits(words.view(np.uint8), axis=1, bitorder="little")
            mask = bits[:, start & 63 :][:, : stop - start].view(np.bool_)
            if not mask.any():
                continue
            mask_or_all = None if mask.all() else mask if len(mask) == 1 else mask[mask_of]
            yield _Chunk(
                np.arange(start, stop),
                ring.vectors[start:stop],
                ring.norms[start:stop],
                mask_or_all,
            )


def _sparse_chunks(ring: Ring, slots: I64, queries: int) -> Iterator[_Chunk]:
    """Copies of the rows in ``slots``, which are in seq order, newest first."""
    step = _chunk_rows(ring.dim, queries)
    for stop in range(len(slots), 0, -step):
        some = slots[max(0, stop - step) : stop]
        yield _Chunk(some, ring.vectors[some], ring.norms[some], None)


def _in_seq_order(ring: Ring, slots: I64) -> I64:
    """Ascending ``slots``, turned to begin with the oldest row's."""
    if ring.last_seq <= ring.capacity:
        return slots
    head = np.searchsorted(slots, ring.last_seq % ring.capacity)
    return np.concatenate((slots[head:], slots[:head]))


def _scan(candidates: Candidates, bounds: Bounds, k: I64, chunks: Iterator[_Chunk]) -> None:
    crowd = 2 * k + _CROWD
    buffer = np.empty(0, np.float32)
    for chunk in chunks:
        size = len(k) * len(chunk.slots)
        if len(buffer) < size:
            buffer = np.empty(size, np.float32)
        out = buffer[:size].reshape(len(k), -1)
        estimates = bounds.estimate(chunk.rows, chunk.norms, out)
        crowded = _offer(candidates, bounds, chunk, estimates, crowd)
        if len(crowded):
            _narrow(candidates, bounds, chunk, estimates[crowded], crowded, k[crowded])


def _offer(
    candidates: Candidates, bounds: Bounds, chunk: _Chunk, estimates: F32, crowd: I64
) -> I64:
    """Offer what may reach its query's floor; return the queries where that is too much."""
    floors = candidates.floors
    cut = bounds.cut(floors, float(chunk.norms.max()))
    meant = len(chunk.slots) if chunk.mask is None else np.count_nonzero(chunk.mask, axis=1)
    too_many = (floors == -np.inf) & (meant > crowd)
    cut[too_many] = np.inf
    hits = estimates >= cut[:, None]
    if chunk.mask is not None:
        hits &= chunk.mask
    flat = np.flatnonzero(hits)
    queries = flat // len(chunk.slots)
    over = np.bincount(queries, minlength=len(crowd)) > crowd
    if over.any():
        too_many |= over
        few = ~over[queries]
        flat, queries = flat[few], queries[few]
    columns = flat - queries * len(chunk.slots)
    lower, upper = bounds.around(queries, estimates.reshape(-1)[flat], chunk.norms[columns])
    candidates.add(Pairs(queries, chunk.slots[columns], lower, upper))
    return np.flatnonzero(too_many)


def _narrow(
    candidates: Candidates, bounds: Bounds, chunk: _Chunk, estimates: F32, which: I64, k: I64
) -> None:
    """Offer rows of ``chunk`` to queries ``which`` by bounds of their own, then by closer ones."""
    before = candidates.threshold[which]
    lower, upper = bounds.around(which[:, None], estimates, chunk.norms)
    _drop_unmasked(chunk, which, lower, upper)
    candidates.raise_threshold(which, kth_largest(lower, k))
    maybe = _contenders(candidates, which, before, upper)
    crowded = np.count_nonzero(maybe, axis=1) > 2 * k + _CROWD
    maybe[crowded] = False
    _offer_matrix(candidates, chunk, which, maybe, lower, upper)
    if not crowded.any():
        return
    which, before, k = which[crowded], before[crowded], k[crowded]
    lower, upper = bounds.closely(which, chunk.rows)
    _drop_unmasked(chunk, which, lower, upper)
    threshold = kth_largest(lower, k)
    candidates.raise_threshold(which, threshold)
    maybe = _contenders(candidates, which, before, upper)
    maybe &= newest_of_ties(lower, upper, threshold, k)
    _offer_matrix(candidates, chunk, which, maybe, lower, upper)


def _drop_unmasked(chunk: _Chunk, which: I64, lower: F32, upper: F32) -> None:
    if chunk.mask is not None:
        out = ~(chunk.mask if len(chunk.mask) == 1 else chunk.mask[which])
        np.putmask(lower, np.broadcast_to(out, lower.shape), -np.inf)
        np.putmask(upper, np.broadcast_to(out, upper.shape), -np.inf)


def _contenders(candidates: Candidates, which: I64, before: F32, upper: F32) -> Bool1:
    """Rows (h, n) that may still be in the answers.

    Rows of earlier chunks are newer, so one that only ties with their threshold ``before`` is out.
    """
    maybe: Bool1 = upper > before[:, None]
    maybe &= upper >= candidates.floors[which][:, None]
    return maybe


def _offer_matrix(
    candidates: Candidates, chunk: _Chunk, which: I64, maybe: Bool1, lower: F32, upper: F32
) -> None:
    flat = np.flatnonzero(maybe)
    queries = flat // len(chunk.slots)
    slots = chunk.slots[flat - queries * len(chunk.slots)]
    pairs = Pairs(which[queries], slots, lower.reshape(-1)[flat], upper.reshape(-1)[flat])
    candidates.add(pairs)
