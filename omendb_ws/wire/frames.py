"""Where everything lies in a binary message: header, sections, padding (PROTOCOL section 7).

Lays out what the table ``opcodes.KINDS`` says, in Python integers, and compares with the length of
the message before any array is made: views on the message are all that reading ever allocates.
Knows no meaning of a field.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from omendb_core.model.errors import BadFrame

from .opcodes import ALIGNMENT, HEADER, HEADER_BYTES, HEADER_FIELDS, Kind, Section


class Header(NamedTuple):
    """The 32 bytes at the beginning, in their order."""

    magic: int
    protocol: int
    kind: int
    flags: int
    id: int
    handle: int
    n: int
    dim: int
    k: int
    json_bytes: int
    took_us: int


def read_header(frame: bytes) -> Header:
    """The header. Raises BadFrame where the message is shorter."""
    if len(frame) < HEADER_BYTES:
        raise BadFrame(f"{len(frame)} bytes are no header of {HEADER_BYTES}")
    return Header._make(HEADER.unpack_from(frame))


def check_reserved(header: Header, kind: Kind) -> None:
    """Refuse unknown flag bits and fields that this kind does not use. Raises BadFrame."""
    if header.flags & ~kind.flag_bits:
        raise BadFrame(f"flags: {kind.name} has no bit {header.flags & ~kind.flag_bits}")
    for name in HEADER_FIELDS[HEADER_FIELDS.index("handle") :]:
        if name not in kind.header and getattr(header, name):
            raise BadFrame(f"{name}: must be 0 in {kind.name}")


def padded(length: int) -> int:
    """``length`` up to the next multiple of 8."""
    return -(-length // ALIGNMENT) * ALIGNMENT


def sections_end(header: Header) -> int:
    """Where the JSON section ends, padded."""
    return HEADER_BYTES + padded(header.json_bytes)


def json_section(frame: bytes, header: Header) -> memoryview:
    """The JSON section as it lies in the message."""
    return memoryview(frame)[HEADER_BYTES : HEADER_BYTES + header.json_bytes]


def present(kind: Kind, header: Header, json: Mapping[str, Any]) -> list[Section]:
    """The sections that this message has, in order."""
    return [
        one
        for one in kind.sections
        if not (one.flag and not header.flags & one.flag)
        and not (one.unless_json and one.unless_json in json)
    ]


def read_sections(
    frame: bytes,
    header: Header,
    sections: Iterable[Section],
    start: int | None = None,
    is_all: bool = True,
) -> tuple[dict[str, NDArray[Any]], int]:
    """Views on the message by name, and where the last one ends, padded.

    From ``start`` on, or after the JSON section, whose padding is looked at then too. ``is_all``:
    the message ends there. Raises BadFrame for a wrong length or padding that is not zero.
    """
    places, gaps = [], []
    if start is None:
        start = sections_end(header)
        gaps.append((HEADER_BYTES + header.json_bytes, start))
    end = start
    for section in sections:
        dtype = np.dtype(section.dtype)
        shape = tuple([1 if name == "1" else getattr(header, name) for name in section.shape])
        count = shape[0] if len(shape) == 1 else math.prod(shape)
        places.append((section.name, dtype, shape, count, end))
        filled = end + count * dtype.itemsize
        end = filled if filled % ALIGNMENT == 0 else padded(filled)
        if end != filled:
            gaps.append((filled, end))
    if end > len(frame) or (is_all and end < len(frame)):
        raise BadFrame(f"length: {len(frame)} bytes, the header says {end}")
    for filled, next_start in gaps:
        if any(frame[filled:next_start]):
            raise BadFrame(f"padding: not zero from byte {filled} to {next_start}")
    views = {}
    for name, dtype, shape, count, first in places:
        view = np.frombuffer(frame, dtype, count, first)
        views[name] = view if len(shape) == 1 else view.reshape(shape)
    return views, end


#: Zeros to append to a section, by its length modulo 8.
PADDING = tuple(bytes(-length % ALIGNMENT) for length in range(ALIGNMENT))


def pack(header: Header, json: bytes, arrays: Iterable[NDArray[Any]]) -> bytes:
    """The message: one copy of everything. Arrays must be C-contiguous and little-endian."""
    pieces: list[Any] = [HEADER.pack(*header)]
    if json:
        pieces += (json, PADDING[len(json) % ALIGNMENT])
    for array in arrays:
        pieces.append(array)
        if array.nbytes % ALIGNMENT:
            pieces.append(PADDING[array.nbytes % ALIGNMENT])
    return b"".join(pieces)


def pack_parts(
    header: Header, json: Sequence[bytes], arrays: Iterable[NDArray[Any]]
) -> tuple[bytes | memoryview, ...]:
    """The same, JSON in parts, without a copy: nobody may change the arrays before it is sent."""
    parts: list[bytes | memoryview] = [HEADER.pack(*header), *json]
    parts.append(PADDING[sum(map(len, json)) % ALIGNMENT])
    for array in arrays:
        if array.nbytes:
            parts.append(array.data.cast("B"))
        parts.append(PADDING[array.nbytes % ALIGNMENT])
    return tuple(part for part in parts if part)
