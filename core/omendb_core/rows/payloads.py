"""Each row's metadata as opaque bytes: of a batch on its way, and of a window's rows.

A ``bytes`` object a row costs 33 bytes and what its allocator rounds to; one that a JSON encoder
made may hold on to the kilobytes that it was written into. So a batch is one ``bytes`` with the
length of each row (``packed.py``), and a window's payloads lie one behind the other in blocks
that are mappings of their own, with a place and a length for each slot (``Payloads``): 16 bytes a
row beside its own.

What leaves is only counted; a block goes when nothing in it is alive, as blocks of a stream do, one
after the other. Where rows leave in no order (deletes, updates, replacements) the emptiest blocks
are written together again, a few in one call, so that what is dead stays below a quarter of what is
alive, and a few blocks.

Invariants (``check``): every live payload lies in a block, none over another; ``live`` of a block
is the sum of theirs, ``payload_bytes`` that of all; ``nbytes`` is what all of it takes.
"""

from __future__ import annotations

from array import array
from typing import Final

import numpy as np

from ..model.packed import NO_PAYLOAD, PackedPayloads
from ..model.types import I64, U32, U64
from .memory import own_mapping, touched_bytes

#: A block is an eighth of what is alive, within these: what its last rows keep of it is little
#: beside the rest, and writing one again takes a millisecond or two.
_LEAST_BLOCK_BYTES: Final = 64 << 10
_MOST_BLOCK_BYTES: Final = 1 << 20
_BLOCKS: Final = 8
#: Dead bytes that are let be: a quarter of the live ones, and this.
_LEAST_DEAD_BYTES: Final = 2 * _LEAST_BLOCK_BYTES
_MOST_DEAD: Final = 4
#: Blocks that one change has written together.
_CLEANED_AT_ONCE: Final = 4
_PLACE_BYTES: Final = 8 + 4  # a slot's
_SLOT_BYTES: Final = 4  # a payload's, in its block
_NUMBER_BITS: Final = np.uint64(32)
_OFFSET: Final = np.uint64(2**32 - 1)


class _Block:
    """Payloads behind each other: ``used`` bytes of ``data``, of them ``live``; whose they are."""

    __slots__ = ("data", "live", "slots", "used")

    def __init__(self, nbytes: int) -> None:
        self.data = own_mapping(nbytes)
        self.used = self.live = 0
        self.slots = array("I")

    @property
    def room(self) -> int:
        return len(self.data) - self.used

    @property
    def nbytes(self) -> int:
        return touched_bytes(self.used) + _SLOT_BYTES * len(self.slots)


class KeptPayloads:
    """Payloads of some slots as they were, whatever becomes of their rows: what is written to a
    block once stays in it for as long as it is held. Taken in 3 ns each instead of 150."""

    def __init__(self, blocks: dict[int, _Block], places: U64, lengths: U32) -> None:
        numbers = places >> _NUMBER_BITS
        self._blocks = {number: blocks[number].data for number in np.unique(numbers).tolist()}
        self._places = places
        self._lengths = lengths

    def of(self, which: I64) -> list[bytes]:
        """Those at some places of the slots, each of which has one."""
        places = self._places[which]
        numbers, starts = (places >> _NUMBER_BITS).tolist(), (places & _OFFSET).tolist()
        lengths = self._lengths[which].tolist()
        return [
            self._blocks[number][start : start + size]
            for number, start, size in zip(numbers, starts, lengths, strict=True)
        ]


class Payloads:
    """The payloads of ``capacity`` slots; see the module."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._places: U64 = np.zeros(0, np.uint64)
        self._lengths: U32 = np.zeros(0, np.uint32)
        self._blocks: dict[int, _Block] = {}
        self._last = -1
        self.payload_bytes = 0
        #: Bytes that all of it takes, and that were written to its blocks.
        self.nbytes = self._used_bytes = 0

    def growth(self, payload_bytes: int, count: int) -> int:
        """Bytes more that it takes, at most, once it holds so many of ``payload_bytes`` too."""
        if not payload_bytes:
            return 0
        places = 0 if len(self._lengths) else _PLACE_BYTES * self._capacity
        blocks = payload_bytes // _LEAST_BLOCK_BYTES + 2
        return places + payload_bytes + _SLOT_BYTES * count + touched_bytes(1) * blocks

    def write(self, slots: I64, payloads: PackedPayloads | None) -> None:
        """Set the payloads of rows in ``slots`` int64 (n,), clear before; None: none has one."""
        if payloads is None or not payloads.data:
            return
        lengths = payloads.lengths
        if len(slots) == 1:  # it has one: there is data
            self._append(slots, lengths, payloads.data)
            self._clean(_CLEANED_AT_ONCE)
            return
        there = lengths != NO_PAYLOAD
        if not there.all():
            slots, lengths = slots[there], lengths[there]
        self._append(slots, lengths, payloads.data)
        self._clean(_CLEANED_AT_ONCE)

    def clear(self, slots: I64) -> None:
        """Drop the payloads of ``slots``."""
        if not self._blocks:
            return
        if len(slots) == 1:
            self._clear_one(slots.item())
            return
        sizes = self._lengths[slots]
        slots = slots[sizes > 0]
        if len(slots):
            self._uncount(slots)
            self._lengths[slots] = 0
            self._clean(_CLEANED_AT_ONCE)

    def _clear_one(self, slot: int) -> None:
        """As ``clear``, in 1 µs instead of 5."""
        size = self._lengths.item(slot)
        if size:
            self._uncount_of(self._places.item(slot) >> 32, size)
            self._lengths[slot] = 0
            self._clean(_CLEANED_AT_ONCE)

    def of(self, slots: I64) -> list[bytes | None]:
        """The payloads of rows in ``slots``."""
        if not self._blocks:
            return [None] * len(slots)
        places = self._places[slots]
        numbers = (places >> _NUMBER_BITS).tolist()
        starts = (places & _OFFSET).tolist()
        blocks = self._blocks
        return [
            blocks[number].data[start : start + size] if size else None
            for number, start, size in zip(
                numbers, starts, self._lengths[slots].tolist(), strict=True
            )
        ]

    def kept(self, slots: I64) -> KeptPayloads:
        """The payloads of rows in ``slots``, each of which has one, for later."""
        return KeptPayloads(self._blocks, self._places[slots], self._lengths[slots])

    def sizes(self, slots: I64) -> I64:
        """Bytes of the payloads of rows in ``slots``, 0 where there is none; int64 (n,)."""
        if not self._blocks:
            return np.zeros(len(slots), np.int64)
        return self._lengths[slots].astype(np.int64)

    def compact(self) -> None:
        """Let go of as much as can be."""
        self._last += 1  # what was open may be written again, too
        while self._dead_bytes > _LEAST_BLOCK_BYTES and self._clean_one():
            pass

    def check(self) -> None:
        """Raise AssertionError if an invariant does not hold."""
        held = np.flatnonzero(self._lengths)
        order = held[np.argsort(self._places[held])]
        starts, sizes = self._places[order], self._lengths[order].astype(np.uint64)
        assert (starts[1:] >= starts[:-1] + sizes[:-1]).all(), "payloads lie over each other"
        numbers = (starts >> _NUMBER_BITS).tolist()
        live = dict.fromkeys(self._blocks, 0)
        for number, size in zip(numbers, sizes.tolist(), strict=True):
            live[number] += size
        assert live == {number: block.live for number, block in self._blocks.items()}, (
            "live bytes are miscounted"
        )
        ends = ((starts & _OFFSET) + sizes).tolist()
        known = {number: set(block.slots) for number, block in self._blocks.items()}
        for number, end, slot in zip(numbers, ends, order.tolist(), strict=True):
            assert end <= self._blocks[number].used, "a payload ends behind its block"
            assert slot in known[number], "a block does not know its slot"
        assert self.payload_bytes == sum(live.values()), "payload bytes are miscounted"
        assert self.nbytes == self._taken_bytes(), "what it takes is miscounted"
        used = sum(block.used for block in self._blocks.values())
        assert self._used_bytes == used, "written bytes are miscounted"

    # -- blocks -----------------------------------------------------------------------------------

    def _append(self, slots: I64, lengths: U32, data: bytes) -> None:
        if not len(self._lengths):
            self._places = np.zeros(self._capacity, np.uint64)
            self._lengths = np.zeros(self._capacity, np.uint32)
            self.nbytes += _PLACE_BYTES * self._capacity
        if len(slots) == 1:
            self._append_one(int(slots[0]), data)
            return
        ends = np.cumsum(lengths, dtype=np.int64)
        begin = first = 0
        while first < len(slots):
            number, block = self._open(int(lengths[first]))
            stop = int(np.searchsorted(ends, begin + block.room, side="right"))
            here, end = slice(first, stop), int(ends[stop - 1])
            before = block.nbytes
            starts = ends[here] - lengths[here] + (block.used - begin)
            self._places[slots[here]] = starts.view(np.uint64) | np.uint64(number << 32)
            self._lengths[slots[here]] = lengths[here]
            block.data[block.used : block.used + end - begin] = data[begin:end]
            block.slots.frombytes(slots[here].astype(np.uint32).tobytes())
            block.used += end - begin
            block.live += end - begin
            self.nbytes += block.nbytes - before
            self._used_bytes += end - begin
            self.payload_bytes += end - begin
            first, begin = stop, end

    def _append_one(self, slot: int, data: bytes) -> None:
        """As ``_append``, in 3 µs instead of 20."""
        number, block = self._open(len(data))
        before, end = block.nbytes, block.used + len(data)
        self._places[slot] = number << 32 | block.used
        self._lengths[slot] = len(data)
        block.data[block.used : end] = data
        block.slots.append(slot)
        block.used = end
        block.live += len(data)
        self.nbytes += block.nbytes - before
        self._used_bytes += len(data)
        self.payload_bytes += len(data)

    def _open(self, least_bytes: int) -> tuple[int, _Block]:
        """The block that is written to, with so much room at least."""
        block = self._blocks.get(self._last)
        if block is None or block.room < least_bytes:
            wanted_bytes = min(self.payload_bytes // _BLOCKS, _MOST_BLOCK_BYTES)
            wanted_bytes = max(wanted_bytes, _LEAST_BLOCK_BYTES, least_bytes)
            self._last += 1
            block = self._blocks[self._last] = _Block(touched_bytes(wanted_bytes))
        return self._last, block

    def _uncount(self, slots: I64) -> None:
        """The payloads in ``slots``, which have one, are no longer alive."""
        numbers, which = np.unique(self._places[slots] >> _NUMBER_BITS, return_inverse=True)
        freed = np.bincount(which, self._lengths[slots]).astype(np.int64)
        for number, size in zip(numbers.tolist(), freed.tolist(), strict=True):
            self._uncount_of(number, size)

    def _uncount_of(self, number: int, size: int) -> None:
        """So many bytes of a block are no longer alive."""
        block = self._blocks[number]
        block.live -= size
        self.payload_bytes -= size
        if not block.live:
            self.nbytes -= block.nbytes
            self._used_bytes -= block.used
            del self._blocks[number]

    @property
    def _dead_bytes(self) -> int:
        return self._used_bytes - self.payload_bytes

    def _clean(self, most_blocks: int) -> None:
        """Write the emptiest blocks together while too much is dead."""
        for _ in range(most_blocks):
            if self._dead_bytes * _MOST_DEAD <= self.payload_bytes + _MOST_DEAD * _LEAST_DEAD_BYTES:
                return
            if not self._clean_one():
                return

    def _clean_one(self) -> bool:
        """Write what is alive of the emptiest block behind all others; False if there is none."""
        closed = [(block.live / block.used, number) for number, block in self._blocks.items()
                  if number != self._last]  # fmt: skip
        if not closed:
            self._last += 1  # only the open one is left: the next is another
            return bool(self._blocks)
        share, number = min(closed)
        if share == 1.0:
            return False
        block = self._blocks[number]
        slots = np.unique(np.frombuffer(block.slots, np.uint32)).astype(np.int64)
        is_here = (self._places[slots] >> _NUMBER_BITS) == np.uint64(number)
        slots = slots[is_here & (self._lengths[slots] > 0)]
        lengths = self._lengths[slots]
        data = b"".join(filter(None, self.of(slots)))
        self._uncount(slots)
        self._append(slots, lengths, data)
        return True

    def _taken_bytes(self) -> int:
        blocks = sum(block.nbytes for block in self._blocks.values())
        return _PLACE_BYTES * len(self._lengths) + blocks
