"""Binary messages put together by hand, straight from the words of PROTOCOL section 7.

Shares nothing with the codec, so that a slip in its tables cannot hide in both.
"""

from __future__ import annotations

import struct


def frame(
    kind: int,
    *sections: bytes,
    flags: int = 0,
    id: int = 0,
    handle: int = 0,
    n: int = 0,
    dim: int = 0,
    k: int = 0,
    took_us: int = 0,
    json: bytes = b"",
    magic: int = 0xDB,
    protocol: int = 1,
    json_bytes: int | None = None,
) -> bytes:
    """A message; any field can be made wrong."""
    length = len(json) if json_bytes is None else json_bytes
    head = struct.pack("<4B", magic, protocol, kind, flags)
    head += struct.pack("<7I", id, handle, n, dim, k, length, took_us)
    return head + b"".join(part + bytes(-len(part) % 8) for part in (json, *sections))


def f32(*values: float) -> bytes:
    return struct.pack(f"<{len(values)}f", *values)


def f64(*values: float) -> bytes:
    return struct.pack(f"<{len(values)}d", *values)


def i64(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}q", *values)


def u64(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}Q", *values)


def u32(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}I", *values)


def u8(*values: int) -> bytes:
    return bytes(values)
