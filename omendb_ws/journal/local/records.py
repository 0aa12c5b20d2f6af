"""Bytes of one record: the header, its checksums, and where a record begins. docs/journal.md.

A segment is a file of records, each at a multiple of 8 bytes: a header of 64 bytes, then the
payload: a JSON object, then arrays, each padded with zeros to a multiple of 8. Pure; knows
nothing of files, and of what is inside a payload only that JSON comes first (``layout.py``).

Both checksums are XXH3 (64 bits) with a seed of segment and place: the segment's random seed plus
the record's offset. So bytes that an older file left on the disk, or a record that landed in
another place, never match; and any record can be verified without those before it, which is how
recovery tells a damaged log from a torn end. (Chaining each checksum to the one before would lose
that. XXH3 rather than CRC-32C: over 256 KiB 120 and 34 GB/s, and it takes any buffer as it lies.)
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import numpy as np
import xxhash
from numpy.typing import NDArray

from .files import Buffer

MAGIC: Final = 0x4D4F  # "OM"
FORMAT: Final = 1

#: The header as docs/journal.md shows it: name, struct code.
HEADER_FIELDS: Final = (
    ("magic", "H"),
    ("format", "B"),
    ("type", "B"),
    ("n", "I"),
    ("dim", "I"),
    ("json_bytes", "I"),
    ("payload_bytes", "I"),
    ("flushed_to", "I"),
    ("version", "Q"),
    ("seq", "Q"),
    ("time_us", "q"),
    ("payload_checksum", "Q"),
    ("header_checksum", "Q"),
)
_HEADER: Final = struct.Struct("<" + "".join(code for _, code in HEADER_FIELDS))
HEADER_BYTES: Final = _HEADER.size
_CHECKED_BYTES: Final = HEADER_BYTES - 8
_CHECKSUM: Final = struct.Struct("<Q")
ALIGNMENT: Final = 8
#: The largest payload, and the largest offset that ``flushed_to`` can tell in steps of 8.
MAX_PAYLOAD_BYTES: Final = 2**32 - ALIGNMENT
#: No segment is longer: it begins with one record, and the last one begins below 64 MiB.
MAX_FILE_BYTES: Final = 2 * MAX_PAYLOAD_BYTES
_MASK_64: Final = 2**64 - 1
_PREFIX: Final = MAGIC | FORMAT << 16
_ZEROS: Final = bytes(ALIGNMENT)
_STEP_BYTES: Final = 1 << 20


class Type(IntEnum):
    """What a record is."""

    OPEN = 1  #: a segment begins: the collection, and the checkpoint behind all before
    ADD = 2
    DELETE = 3
    UPDATE = 4
    EXPIRE = 5
    KEEP = 6  #: live rows written again
    MARK = 7  #: nothing, but ``flushed_to``
    CLOSE = 8  #: a clean stop


_TYPES: Final = frozenset(map(int, Type))


@dataclass(frozen=True, slots=True)
class Header:
    """The fields that writer and reader speak of; ``flushed_to`` in bytes."""

    type: Type
    n: int
    dim: int
    json_bytes: int
    payload_bytes: int
    flushed_to: int
    version: int
    seq: int
    time_us: int
    payload_checksum: int = 0


@dataclass(frozen=True, slots=True)
class Body:
    """A record before it has a place: what its header says, and its payload's buffers.

    ``buffers`` are padded already; together they are ``payload_bytes`` long.
    """

    type: Type
    version: int
    buffers: Sequence[Buffer] = ()
    payload_bytes: int = 0
    json_bytes: int = 0
    n: int = 0
    dim: int = 0
    seq: int = 0
    time_us: int = 0

    @property
    def record_bytes(self) -> int:
        """What it takes in a segment."""
        return HEADER_BYTES + self.payload_bytes


def padding(size: int) -> bytes:
    """The zeros that follow ``size`` bytes."""
    return _ZEROS[: -size % ALIGNMENT]


def encode(body: Body, seed: int, offset: int, flushed_to: int) -> list[Buffer]:
    """The record's buffers for the place ``offset`` of the segment with ``seed``."""
    place = seed + offset & _MASK_64
    digest = xxhash.xxh3_64(seed=place)
    for buffer in body.buffers:
        digest.update(buffer)
    header = _HEADER.pack(
        MAGIC,
        FORMAT,
        body.type,
        body.n,
        body.dim,
        body.json_bytes,
        body.payload_bytes,
        flushed_to // ALIGNMENT,
        body.version,
        body.seq,
        body.time_us,
        digest.intdigest(),
        0,
    )[:_CHECKED_BYTES]
    checksum = _CHECKSUM.pack(xxhash.xxh3_64_intdigest(header, place))
    return [header + checksum, *body.buffers]


def read_header(data: memoryview, seed: int, offset: int) -> Header | None:
    """The header at ``offset`` of a segment's bytes; None if there is no valid one."""
    if offset + HEADER_BYTES > len(data):
        return None
    magic, format_, type_, n, dim, json, size, flushed, version, seq, time_us, checksum, own = (
        _HEADER.unpack_from(data, offset)
    )
    if magic != MAGIC or format_ != FORMAT or type_ not in _TYPES:
        return None
    checked = data[offset : offset + _CHECKED_BYTES]
    if own != xxhash.xxh3_64_intdigest(checked, seed + offset & _MASK_64):
        return None
    flushed_to = flushed * ALIGNMENT
    return Header(Type(type_), n, dim, json, size, flushed_to, version, seq, time_us, checksum)


def format_of(data: memoryview) -> int | None:
    """The format that the first record of a segment names, whether it is valid or not."""
    if len(data) < HEADER_BYTES or int.from_bytes(data[:2], "little") != MAGIC:
        return None
    return data[2]


def payload(data: memoryview, header: Header, seed: int, offset: int) -> memoryview | None:
    """The payload of the record at ``offset``; None if it is cut off or not what was written."""
    start = offset + HEADER_BYTES
    if start + header.payload_bytes > len(data):
        return None
    found = data[start : start + header.payload_bytes]
    if xxhash.xxh3_64_intdigest(found, seed + offset & _MASK_64) != header.payload_checksum:
        return None
    return found


def headers_after(data: memoryview, seed: int, offset: int) -> list[tuple[int, Header]]:
    """Every valid header at or behind ``offset``, a multiple of 8, wherever it stands."""
    words: NDArray[np.uint64] = np.frombuffer(
        data[offset : offset + (len(data) - offset) // ALIGNMENT * ALIGNMENT], "<u8"
    )
    places = np.flatnonzero((words & np.uint64(0xFFFFFF)) == np.uint64(_PREFIX))
    found = []
    for place in (places * ALIGNMENT + offset).tolist():
        header = read_header(data, seed, place)
        if header is not None:
            found.append((place, header))
    return found


def end_of_data(data: memoryview, start: int) -> int:
    """The offset, from ``start`` on, behind which there is nothing but zeros."""
    values = np.frombuffer(data, np.uint8)
    end = len(values)
    while end > start:
        first = max(start, end - _STEP_BYTES)
        written = np.flatnonzero(values[first:end])
        if len(written):
            return first + int(written[-1]) + 1
        end = first
    return start
