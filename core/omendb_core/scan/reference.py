"""The reference scan, in numpy: matrix products find candidates, ``score`` decides.

The rows are taken in chunks, newest first. A float32 product estimates all scores of a chunk;
``bounds`` says how far off that may be, so every row that can be among the k best is kept, and
little else. Where the estimates tell too few rows apart (rows of very different norms; data far
from the origin; ties), the query's row of the chunk is narrowed: first by a bound for each row
instead of one for the chunk, then by float64 products, which mostly are the scores themselves.

A mask with few rows is scanned over a copy of these rows: where it holds 2% of 100,000 rows, 64
queries take 12 us each for that, and 270 us otherwise.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np

from ..model.types import F32, F64, I64, U64, Bool1, Metric
from ..rows.ring import Ring, unpack
from . import bounded, decayed, matching
from .bounds import Bounds
from .candidates import BoundedPairs, Candidates, kth_largest, near_kth_largest, newest_of_ties
from .decayed import Question, unranked, with_unranked
from .interface import Pairs, RankedTopK, Subscribed, Times, TopK

# Measured on 100,000 x 128 float32, k = 10, one core of a noisy two-core Zen 5, beside the bare
# product of the same shape, in us a query; batches of 1, 8, 64, 256:
#   product 1510, 425, 252, 245; scan 1850, 500, 278, 256.
#: Queries that are scanned together; more take turns, which bounds the matrix of estimates.
_MAX_QUERIES: Final = 256
#: Estimates in a chunk's matrix: 2 MiB. Half of it and twice as much are 4% slower for 64 queries.
_CHUNK_ESTIMATES: Final = 1 << 19
#: Elements of a chunk's rows: for few queries each chunk costs 40 us beside its product, as all
#: that numpy and Python need has left the cache meanwhile.
_CHUNK_ELEMENTS: Final = 1 << 24
#: The same where the rows are copied: 8 MiB.
_COPY_ELEMENTS: Final = 1 << 21
_MIN_CHUNK_ROWS: Final = 256
#: The first chunk gives the first thresholds, so it is small, and the next ones are larger by this
#: factor, up to the bounds above. From 2048 and 4 to 8192 and 16: 100 us less for one query.
_FIRST_CHUNK_ROWS: Final = 8192
_CHUNK_GROWTH: Final = 16
#: What a row of 128 dimensions takes, in ns: to be copied from a scattered place; to be read for a
#: product; and for each query in it.
_COPY, _READ, _PRODUCT = 40.0, 13.5, 2.5
_ALL: Final = np.uint64(2**64 - 1)
REFERENCE: Final = "reference"


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

    def mask_of(self, which: I64) -> Bool1:
        """Return the mask of queries ``which`` (h, n), or (1, n) for all of them."""
        assert self.mask is not None
        return self.mask if len(self.mask) == 1 else self.mask[which]


class _Scratch(threading.local):
    """The matrices of a thread's scans, at most 2.5 MiB, which are used again.

    Fresh memory for each scan would come in pages that cost up to 2 us each to touch: 0.2 ms for
    one query, 1.5 ms for 64.
    """

    def __init__(self) -> None:
        self._estimates: F32 = np.empty(0, np.float32)
        self._hits: Bool1 = np.empty(0, np.bool_)

    def estimates(self, queries: int, rows: int) -> F32:
        """Return a matrix (queries, rows) of anything."""
        if len(self._estimates) < queries * rows:
            self._estimates = np.empty(queries * rows, np.float32)
        return self._estimates[: queries * rows].reshape(queries, rows)

    def hits(self, queries: int, rows: int) -> Bool1:
        """Return a matrix (queries, rows) of anything."""
        if len(self._hits) < queries * rows:
            self._hits = np.empty(queries * rows, np.bool_)
        return self._hits[: queries * rows].reshape(queries, rows)


_SCRATCH: Final = _Scratch()


class ReferenceScan:
    """The scan in numpy; any number of threads and rings may share one."""

    name = REFERENCE
    keeps_shadow = False

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
        """See ``interface.Scan.top_k``."""
        counts = np.zeros(len(queries), np.uint32)
        slots: list[I64] = []
        scores: list[F32] = []
        owners: list[I64] = []
        for which, chunks in _runs(ring, masks, mask_of):
            candidates = Candidates(ring, metric, queries[which], k[which], min_scores[which])
            _scan(candidates, Bounds(metric, queries[which]), chunks, _SCRATCH)
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

    def top_k_decayed(
        self,
        ring: Ring,
        metric: Metric,
        queries: F32,
        k: I64,
        min_scores: F32,
        masks: U64,
        mask_of: I64,
        times: Times,
        half_lives: F64,
    ) -> RankedTopK:
        """See ``interface.Scan.top_k_decayed``."""
        question = Question(queries, k, min_scores, masks, mask_of)
        if metric == "l2":
            return unranked(self.top_k(ring, metric, *question))
        ranked = decayed.top_ranked(ring, metric, question, times, half_lives)
        return with_unranked(self, ring, metric, question, times, ranked)

    score_bounds = staticmethod(bounded.score_bounds)
    rows_reaching = staticmethod(bounded.rows_reaching)

    def pairs_above(
        self,
        metric: Metric,
        rows: F32,
        row_norms: F32,
        queries: Subscribed,
        floors: F32,
        most: I64,
    ) -> Pairs:
        """See ``interface.Scan.pairs_above``."""
        vectors, norms, _ = queries
        return matching.pairs_above(metric, rows, row_norms, vectors, norms, floors, most)


def _runs(ring: Ring, masks: U64, mask_of: I64) -> Iterator[tuple[I64, Iterator[_Chunk]]]:
    """Queries that are scanned together, ascending, and the chunks they are scanned over."""
    rows = np.bitwise_count(masks).sum(axis=1, dtype=np.int64)
    sparse = _worth_copying(rows, ring.used, np.bincount(mask_of, minlength=len(masks)))
    for which in _batches(np.flatnonzero(~sparse[mask_of])):
        own = mask_of[which]
        asked = np.flatnonzero(np.bincount(own))
        yield which, _dense_chunks(ring, masks[asked], np.searchsorted(asked, own))
    for mask in np.flatnonzero(sparse & (rows > 0)):
        slots = _in_seq_order(ring, np.flatnonzero(unpack(masks[mask], ring.used)))
        for which in _batches(np.flatnonzero(mask_of == mask)):
            yield which, _sparse_chunks(ring, slots, len(which))


def _worth_copying(rows: I64, used: int, queries: I64) -> Bool1:
    """Which masks, of ``rows`` rows for ``queries`` queries each, are scanned over a copy."""
    copied = rows * (_COPY + _READ + _PRODUCT * queries)
    in_place = used * queries * (_READ / max(1, int(queries.sum())) + _PRODUCT)
    worth: Bool1 = copied < in_place
    return worth


def _crowd(k: I64) -> I64:
    """More rows than this that look good in one chunk are too many, and are narrowed."""
    # The next chunk, as many times larger than what was seen, gives so many times k on average.
    return 2 * _CHUNK_GROWTH * k + 64


def _batches(queries: I64) -> list[I64]:
    starts = range(0, len(queries), _MAX_QUERIES)
    return [queries[start : start + _MAX_QUERIES] for start in starts]


def _chunk_rows(elements: int, dim: int, queries: int) -> Iterator[int]:
    """How many rows the first chunk has, the second, and so on without end."""
    most = max(_MIN_CHUNK_ROWS, min(_CHUNK_ESTIMATES // queries, elements // dim))
    rows = min(_FIRST_CHUNK_ROWS, most)
    while True:
        yield rows
        rows = min(rows * _CHUNK_GROWTH, most)


def _dense_chunks(ring: Ring, masks: U64, mask_of: I64) -> Iterator[_Chunk]:
    """The ring's rows where they lie, newest first; chunks without any row of a mask left out."""
    sizes = _chunk_rows(_CHUNK_ELEMENTS, ring.dim, len(mask_of))
    head = ring.last_seq % ring.capacity if ring.last_seq > ring.capacity else ring.used
    seen = 0
    for first, end in ((0, head), (head, ring.used)):
        stop = end
        while stop > first:
            # Few rows before the ring's end give low thresholds: grow from what was seen (without
            # this a batch of 11 took 20 ms instead of 7 where the newest lap had 96 rows).
            step = next(sizes)
            step = min(step, max(_CHUNK_GROWTH * seen, _MIN_CHUNK_ROWS)) if seen else step
            # Whole words, so that words of all ones need not be taken apart.
            start = max(first, (stop - step) & -64)
            seen += stop - start
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
    sizes = _chunk_rows(_COPY_ELEMENTS, ring.dim, queries)
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


def _scan(
    candidates: Candidates, bounds: Bounds, chunks: Iterator[_Chunk], scratch: _Scratch
) -> None:
    count = len(candidates.k)
    for chunk in chunks:
        shape = count, len(chunk.rows)
        estimates = bounds.estimate(chunk.rows, chunk.norms, scratch.estimates(*shape))
        before = candidates.threshold.copy()
        largest_norm = chunk.norms.max()
        _seed(candidates, bounds, chunk, estimates, largest_norm)
        cut = bounds.cut(candidates.floors, float(largest_norm))
        hits = np.greater_equal(estimates, cut[:, None], out=scratch.hits(*shape))
        crowded = _offer(candidates, bounds, chunk, estimates, hits)
        if len(crowded):
            some = estimates if len(crowded) == count else estimates[crowded]
            _narrow(candidates, bounds, chunk, some, crowded, before[crowded])


def _seed(
    candidates: Candidates,
    bounds: Bounds,
    chunk: _Chunk,
    estimates: F32,
    largest_norm: np.float32,
) -> None:
    """Give queries without a floor, of which this chunk has too many rows, a threshold."""
    k, unset = candidates.k, candidates.floors == -np.inf
    if not unset.any():
        return
    meant = len(chunk.rows) if chunk.mask is None else np.count_nonzero(chunk.mask, axis=1)
    which = np.flatnonzero(unset & (meant > _crowd(k)))
    if len(which):
        some = estimates if len(which) == len(k) else estimates[which]
        if chunk.mask is not None:
            some = np.where(chunk.mask_of(which), some, np.float32(-np.inf))
        kth = near_kth_largest(some, k[which])
        candidates.raise_threshold(which, bounds.around(which, kth, largest_norm)[0])


def _offer(
    candidates: Candidates, bounds: Bounds, chunk: _Chunk, estimates: F32, hits: Bool1
) -> I64:
    """Offer ``hits``, which it may overwrite; return the queries that have too many, unserved."""
    crowd = _crowd(candidates.k)
    if chunk.mask is not None:
        hits &= chunk.mask
    too_many = np.zeros(len(crowd), np.bool_)
    if np.count_nonzero(hits) > crowd.sum():
        too_many = np.count_nonzero(hits, axis=1) > crowd
        hits[too_many] = False
    flat = np.flatnonzero(hits)
    queries = flat // len(chunk.rows)
    over = np.bincount(queries, minlength=len(crowd)) > crowd
    if over.any():
        too_many |= over
        few = ~over[queries]
        flat, queries = flat[few], queries[few]
    if len(flat):
        columns = flat - queries * len(chunk.rows)
        lower, upper = bounds.around(queries, estimates.reshape(-1)[flat], chunk.norms[columns])
        candidates.add(BoundedPairs(queries, chunk.slots_of(columns), lower, upper))
    return np.flatnonzero(too_many)


def _narrow(
    candidates: Candidates, bounds: Bounds, chunk: _Chunk, estimates: F32, which: I64, before: F32
) -> None:
    """Offer rows of ``chunk`` to queries ``which`` by bounds of their own, then by closer ones.

    ``estimates`` (h, n) are theirs, and ``before`` (h,) their thresholds before this chunk.
    """
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
        maybe &= chunk.mask_of(which)
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
    candidates.add(BoundedPairs(which[queries], slots, *bounds_of))
    return many
