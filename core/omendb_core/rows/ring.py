"""The window's vectors: a ring of slots, the map between seqs and slots, and the live mask.

Row ``seq`` stands in slot ``(seq - 1) mod capacity``; nothing else keeps time. A row dies before
its slot is written again: whoever owns the ring kills it, and so can tell others of it first.

Invariants (``check``): a live slot holds a seq of ``first_seq … last_seq``; ``rows`` is the number
of live bits; bits beyond the capacity are 0; each live row's ``norms`` entry is near its norm, and
its place in the shadow holds what was made of it.

Knows vectors and seqs; nothing of ids, metadata, metrics or changes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from copy import copy
from typing import Final

import numpy as np

from ..model.types import F32, F64, I64, U64, Bool1
from ..scoring import score
from .memory import ALIGNMENT_BYTES, aligned_zeros
from .shadow import Shadow, worth_nibbles

_WORD_BITS: Final = 64


class Ring:
    """Storage for ``capacity`` rows of ``dim`` float32, reserved at once, committed as it fills.

    ``vectors`` float32 (capacity, dim), 64-byte aligned; ``norms`` float32 (capacity,), within
    ``norm_error`` of the true ones; ``live_words`` as ``types`` says. Slots never written hold
    zeros. Readers share these arrays; only the methods here write them. ``shadow`` is kept with
    them, if there is one.
    """

    def __init__(self, capacity: int, dim: int, shadow: Shadow | None = None) -> None:
        self.capacity = capacity
        self.dim = dim
        self.vectors: F32 = aligned_zeros((capacity, dim), np.float32)
        self.shadow = shadow
        self.norms: F32 = np.zeros(capacity, np.float32)
        self.live_words: U64 = np.zeros(words_for(capacity), np.uint64)
        self.last_seq = 0
        self.horizon = 1
        self.rows = 0

    @property
    def first_seq(self) -> int:
        """The first sequence number of the window (PROTOCOL section 3)."""
        return max(1, self.last_seq - self.capacity + 1, self.horizon)

    @property
    def nbytes(self) -> int:
        """Bytes reserved, committed or not."""
        ring_bytes = self.bytes_for(self.capacity, self.dim, has_shadow=False)
        return ring_bytes + (0 if self.shadow is None else self.shadow.nbytes)

    @staticmethod
    def bytes_for(capacity: int, dim: int, *, has_shadow: bool) -> int:
        """Bytes that a ring of this size reserves."""
        shadow_bytes = 0
        if has_shadow:
            has_nibbles = worth_nibbles(capacity)
            shadow_bytes = Shadow.bytes_for(capacity, dim, has_nibbles=has_nibbles)
        return capacity * (dim + 1) * 4 + ALIGNMENT_BYTES + words_for(capacity) * 8 + shadow_bytes

    @property
    def used(self) -> int:
        """Slots written so far: all that matters lies in slots ``0 … used - 1``."""
        return min(self.last_seq, self.capacity)

    def slots(self, seqs: U64) -> I64:
        """Slots of ``seqs`` uint64 (n,), which are at least 1."""
        return ((seqs - np.uint64(1)) % np.uint64(self.capacity)).astype(np.int64)

    def seqs(self, slots: I64) -> U64:
        """Seqs of the rows that were last written to ``slots``."""
        lap = (self.last_seq - 1) // self.capacity * self.capacity
        seqs = slots + (lap + 1)
        seqs[seqs > self.last_seq] -= self.capacity
        return seqs.view(np.uint64)

    def slots_of(self, first_seq: int, count: int) -> I64:
        """Slots of ``count`` ≤ capacity seqs from ``first_seq`` on, in seq order."""
        return _slots_in(self._pieces(first_seq, count))

    def is_live(self, slots: I64) -> Bool1:
        """Whether each of ``slots`` holds a live row."""
        bits = self.live_words[slots >> 6] >> (slots & 63).view(np.uint64)
        live: Bool1 = (bits & np.uint64(1)).astype(np.bool_)
        return live

    def part(self, first: int, stop: int) -> Ring:
        """The slots ``first … stop - 1`` as a ring of their own, over the same memory, to be read.

        ``first`` is a multiple of 64, and so is ``stop`` or it is the capacity. Its slots count
        from ``first``; its seqs are others, in the order of the slots: whoever asks for rows on
        both sides of the newest one asks twice.
        """
        part = copy(self)
        part.capacity = part.last_seq = part.rows = stop - first
        part.horizon = 1
        part.vectors, part.norms = self.vectors[first:stop], self.norms[first:stop]
        part.live_words = self.live_words[first >> 6 : words_for(stop)]
        part.shadow = None if self.shadow is None else self.shadow.part(first, stop)
        return part

    def live_slots(self, first_seq: int, last_seq: int) -> I64:
        """Slots of the live rows among ``first_seq … last_seq``, in seq order."""
        first_seq = max(first_seq, self.first_seq)
        last_seq = min(last_seq, self.last_seq)
        if self.rows == self.last_seq - self.first_seq + 1:  # a stream in which nothing died early
            return _slots_in(self._pieces(first_seq, last_seq - first_seq + 1))
        return self._live_in(first_seq, last_seq - first_seq + 1)

    def oldest_live(self) -> int | None:
        """The slot of the oldest live row; None if there is none. Looks at words, not at rows."""
        for start, stop in self._pieces(self.first_seq, self.last_seq - self.first_seq + 1):
            words = self.live_words[start >> 6 : words_for(stop)]
            first = int(words[0]) >> (start & 63) << (start & 63)
            at = 0 if first else int((words[1:] != 0).argmax()) + 1 if len(words) > 1 else 0
            word = first if at == 0 else int(words[at])
            slot = (((start >> 6) + at) << 6) + (word & -word).bit_length() - 1
            if word and slot < stop:
                return slot
        return None

    def overwritten(self, n: int) -> I64:
        """Slots of the live rows that the next ``n`` ≤ capacity rows overwrite, in seq order."""
        return self._live_in(self.last_seq + 1, n)

    def append(self, vectors: F32) -> I64:
        """Copy ``vectors`` float32 (n, dim), n ≤ capacity, in as the next seqs; their slots.

        The rows in those slots were killed before (``overwritten``).
        """
        taken = 0
        pieces = self._pieces(self.last_seq + 1, len(vectors))
        for start, stop in pieces:
            part = vectors[taken : taken + stop - start]
            self.vectors[start:stop] = part
            self.norms[start:stop] = _norms(part)
            _set_range(self.live_words, start, stop)
            taken += stop - start
        self._shade(pieces)
        self.took(len(vectors), 0)
        return _slots_in(pieces)

    def took(self, came: int, left: int) -> None:
        """So many rows were written as the next seqs, and so many killed."""
        self.last_seq += came
        self.rows += came - left
        if self.shadow is not None:
            self.shadow.note_written(came, self.vectors[: self.used])

    def _shade(self, pieces: Sequence[tuple[int, int]]) -> None:
        """Keep what was written to ranges of slots in the shadow too."""
        if self.shadow is not None:
            for start, stop in pieces:
                self.shadow.write(start, self.vectors[start:stop])

    def restore(self, slots: I64, vectors: F32) -> None:
        """Copy rows of seqs up to ``last_seq`` in that a log brings late; their slots are dead."""
        self.vectors[slots] = vectors
        self.norms[slots] = _norms(vectors)
        np.bitwise_or.at(self.live_words, slots >> 6, np.uint64(1) << (slots & 63).view(np.uint64))
        self.rows += len(slots)
        self._shade(_runs(slots))
        if self.shadow is not None:
            self.shadow.note_written(len(slots), self.vectors[: self.used])

    def kill(self, slots: I64) -> None:
        """Clear the live bits of ``slots``, which are live and distinct."""
        bits = np.left_shift(np.uint64(1), (slots & 63).view(np.uint64))
        # The bits are set and distinct, so subtracting clears them; and ``subtract.at`` is fast.
        np.subtract.at(self.live_words, slots >> 6, bits)
        self.rows -= len(slots)

    def expire(self, first_seq: int) -> None:
        """Move the expiry horizon up to ``first_seq``; rows below it were killed before."""
        self.horizon = max(self.horizon, first_seq)

    def words_from(self, first_seq: int, last_seq: int | None = None) -> U64:
        """Mask words of the slots of ``first_seq … last_seq`` (None: the newest), live or not."""
        words = np.zeros_like(self.live_words)
        first_seq = max(first_seq, self.first_seq)
        last_seq = self.last_seq if last_seq is None else min(last_seq, self.last_seq)
        for start, stop in self._pieces(first_seq, last_seq - first_seq + 1):
            _set_range(words, start, stop)
        return words

    def check(self) -> None:
        """Raise AssertionError if an invariant does not hold."""
        live = unpack(self.live_words, len(self.live_words) * _WORD_BITS)
        assert not live[self.capacity :].any(), "a bit beyond the capacity is set"
        slots = np.flatnonzero(live)
        assert self.rows == len(slots), "rows is not the number of live bits"
        assert not slots.size or int(slots.max()) < self.used, "an unwritten slot is live"
        seqs = self.seqs(slots)
        assert (seqs >= self.first_seq).all(), "a row below the window is live"
        assert (seqs <= self.last_seq).all(), "a row beyond the window is live"
        assert (self.slots(seqs) == slots).all(), "slots and seqs disagree"
        lengths = score.norms(self.vectors[slots])
        assert np.isfinite(lengths).all(), "a live row is not finite"
        wrong = np.abs(self.norms[slots] - lengths) > norm_error(self.dim, lengths)
        assert not wrong.any(), "a norm is not its row's"
        if self.shadow is not None:
            self.shadow.check(self.vectors[: self.used], slots)

    def _pieces(self, first_seq: int, count: int) -> list[tuple[int, int]]:
        """Ranges of slots, at most two, of ``count`` ≤ capacity seqs from ``first_seq`` on."""
        if count <= 0:
            return []
        start = (first_seq - 1) % self.capacity
        stop = start + count
        if stop <= self.capacity:
            return [(start, stop)]
        return [(start, self.capacity), (0, stop - self.capacity)]

    def _live_in(self, first_seq: int, count: int) -> I64:
        found = []
        for start, stop in self._pieces(first_seq, count):
            first_bit = start & ~63
            words = self.live_words[start >> 6 : words_for(stop)]
            live = unpack(words, stop - first_bit)[start - first_bit :]
            found.append(np.flatnonzero(live) + start)
        return _joined(found)


def norm_error(dim: int, lengths: F64) -> F64:
    """How far ``Ring.norms`` may be from the true norms ``lengths``; see ``_norms``."""
    return lengths * ((dim + 4) * 2.0**-24) + math.sqrt(dim) * 2.0**-74


def words_for(count: int) -> int:
    """Mask words that ``count`` slots take."""
    return -(-count // _WORD_BITS)


def pack(mask: Bool1) -> U64:
    """Mask words of ``mask`` bool (n,): bit b of word w is ``mask[64 w + b]``; tail bits 0."""
    packed = np.zeros(words_for(len(mask)) * 8, np.uint8)
    bits = np.packbits(mask, bitorder="little")
    packed[: len(bits)] = bits
    return packed.view(np.uint64)


def unpack(words: U64, count: int) -> Bool1:
    """Return the first ``count`` bits of mask ``words`` as a bool array (count,)."""
    return np.unpackbits(words.view(np.uint8), count=count, bitorder="little").view(np.bool_)


def _set_range(words: U64, start: int, stop: int) -> None:
    """Set the bits of slots ``start … stop - 1``; start < stop."""
    first, last = start >> 6, (stop - 1) >> 6
    ones = 2**64 - 1
    head = ones << (start & 63) & ones
    tail = ones >> (63 - ((stop - 1) & 63))
    if first == last:
        words[first] |= np.uint64(head & tail)
        return
    words[first] |= np.uint64(head)
    words[first + 1 : last] = np.uint64(ones)
    words[last] |= np.uint64(tail)


def _norms(vectors: F32) -> F32:
    """Norms in float32: near the true ones, as ``norm_error`` says, and cheap.

    A float32 sum of d squares, in any order, errs by at most d u/(1 - d u) relative (u = 2**-24),
    and by 2**-150 for each square that underflows; the root halves the first and rounds once.
    Squares stay below 2**124 here (``score.MAX_NORM``), so nothing overflows.
    """
    lengths: F32 = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    return lengths


def _slots_in(pieces: list[tuple[int, int]]) -> I64:
    return _joined([np.arange(start, stop, dtype=np.int64) for start, stop in pieces])


def _runs(slots: I64) -> list[tuple[int, int]]:
    """Ranges of the consecutive ones among ``slots``, in their order."""
    cuts = np.flatnonzero(np.diff(slots) != 1) + 1
    return [(int(run[0]), int(run[-1]) + 1) for run in np.split(slots, cuts) if len(run)]


def _joined(parts: list[I64]) -> I64:
    if len(parts) == 1:
        return parts[0]
    return np.concatenate(parts) if parts else np.empty(0, np.int64)
