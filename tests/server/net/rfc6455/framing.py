"""Sections 5.1 to 5.3, 5.5.2, 5.5.3, 5.6 and 9: single frames."""

from __future__ import annotations

from .table import (
    BINARY,
    CLOSE,
    CONTINUATION,
    FIN,
    KEY,
    MAX_BYTES,
    PING,
    PONG,
    TEXT,
    Case,
    binary,
    close_body,
    frame,
    ping,
    pong,
    text,
)

NAMES = {
    TEXT: "text",
    BINARY: "binary",
    CONTINUATION: "a continuation",
    CLOSE: "close",
    PING: "ping",
    PONG: "pong",
}
BODIES = {CLOSE: close_body(1000)}
ALL_BYTES = bytes(range(256))

MASKING = [
    *(
        Case(
            "5.1", f"{NAMES[opcode]} without a mask", frame(FIN | opcode, body, key=None), [], 1002
        )
        for opcode in NAMES
        for body in (BODIES.get(opcode, b"abc"),)
    ),
    Case("5.1", "an empty text without a mask", frame(FIN | TEXT, key=None), [], 1002),
    Case(
        "5.1",
        "a good text, then one without a mask",
        text("a") + frame(FIN | TEXT, b"b", key=None),
        [(TEXT, b"a")],
        1002,
    ),
    *(
        Case(
            "5.3",
            f"a key of {key.hex()}",
            frame(FIN | TEXT, b"abcdefg", key=key),
            [(TEXT, b"abcdefg")],
        )
        for key in (bytes(4), b"\xff" * 4, b"\x00\x00\x00\x01", b"\x01\x00\x00\x00", b"abcd", KEY)
    ),
    *(
        Case(
            "5.3",
            f"{length} bytes and a key of four",
            binary(ALL_BYTES[:length]),
            [(BINARY, ALL_BYTES[:length])],
        )
        for length in range(1, 10)
    ),
    Case(
        "5.3",
        "another key for each frame",
        b"".join(frame(FIN | BINARY, b"same", key=bytes([n] * 4)) for n in range(5)),
        [(BINARY, b"same")] * 5,
    ),
    Case("5.3", "a key for nothing", frame(FIN | BINARY, key=b"\xaa\xbb\xcc\xdd"), [(BINARY, b"")]),
    Case(
        "5.3", "a masked ping", frame(FIN | PING, b"hey", key=b"\x01\x02\x03\x04"), [(PONG, b"hey")]
    ),
]


def _of_length(opcode: int, length: int, length_in: int = 0) -> Case:
    data = (ALL_BYTES[:128] if opcode == TEXT else ALL_BYTES) * (length // 128 + 1)
    data = data[:length]
    name = f"{NAMES[opcode]} of {length} bytes"
    if length_in:
        name += f", its length in {length_in} bytes"
    return Case("5.2", name, frame(FIN | opcode, data, length_in=length_in), [(opcode, data)])


#: A length has to be as short as it can be; what is longer is the sender's fault, and does no harm:
#: no section asks a receiver to fail for it.
LENGTHS = [
    *(
        _of_length(opcode, length)
        for opcode in (TEXT, BINARY)
        for length in (
            0,
            1,
            2,
            124,
            125,
            126,
            127,
            128,
            255,
            256,
            65_535,
            65_536,
            65_537,
            MAX_BYTES,
        )
    ),
    *(_of_length(opcode, length, 2) for opcode in (TEXT, BINARY) for length in (0, 1, 125)),
    *(
        _of_length(opcode, length, 8)
        for opcode in (TEXT, BINARY)
        for length in (0, 125, 126, 65_535)
    ),
    Case(
        "5.2", "a ping, its length in 2 bytes", frame(FIN | PING, b"x", length_in=2), [(PONG, b"x")]
    ),
    Case(
        "5.2", "a ping, its length in 8 bytes", frame(FIN | PING, b"x", length_in=8), [(PONG, b"x")]
    ),
    *(
        Case(
            "5.2",
            f"a length of {length:#x}",
            bytes([FIN | TEXT, 0xFF]) + length.to_bytes(8, "big") + KEY,
            [],
            1009,
        )
        for length in (1 << 63, (1 << 64) - 1, (1 << 63) - 1, 1 << 32, 1 << 20)
    ),
    Case("7.4.1", "text that is too long", text(b"x" * (MAX_BYTES + 1)), [], 1009),
    Case("7.4.1", "binary that is too long", binary(bytes(MAX_BYTES + 1)), [], 1009),
    Case(
        "7.4.1",
        "a good one, then one too long",
        binary(b"a") + binary(bytes(MAX_BYTES + 1)),
        [(BINARY, b"a")],
        1009,
    ),
]

RESERVED = [
    *(
        Case(
            "5.2",
            f"{NAMES[opcode]} with reserved bits {bits:03b}",
            (frame(TEXT, b"a") if opcode == CONTINUATION else b"")
            + frame(FIN | bits << 4 | opcode, BODIES.get(opcode, b"abc")),
            [],
            1002,
        )
        for opcode in NAMES
        for bits in range(1, 8)
    ),
    *(
        Case(
            "5.2",
            f"opcode {opcode:#x}, FIN {fin >> 7}, {what}",
            frame(fin | opcode, data),
            [],
            1002,
        )
        for opcode in (0x3, 0x4, 0x5, 0x6, 0x7, 0xB, 0xC, 0xD, 0xE, 0xF)
        for fin in (FIN, 0)
        for what, data in (("empty", b""), ("with data", b"abc"))
    ),
    Case(
        "5.2",
        "a good text, then a reserved opcode",
        text("a") + frame(FIN | 3),
        [(TEXT, b"a")],
        1002,
    ),
    Case(
        "5.2", "a reserved opcode between fragments", frame(TEXT, b"a") + frame(FIN | 3), [], 1002
    ),
    # Nothing was negotiated (section 9.1), so what a compressed message looks like is a fault.
    Case(
        "9.2",
        "a message as permessage-deflate has it",
        frame(0xC1, b"\xf2\x48\xcd\xc9\xc9\x07\x00"),
        [],
        1002,
    ),
    Case(
        "9.2",
        "fragments as permessage-deflate has them",
        frame(0x41, b"\xf2\x48\xcd") + frame(0x80, b"\xc9\xc9\x07\x00"),
        [],
        1002,
    ),
]

PINGS = [
    *(
        Case("5.5.2", f"a ping of {len(data)} bytes", ping(data), [(PONG, data)])
        for data in (b"", b"\x00", b"Hello", b"\xff\xfe\xfd", b"x" * 124, ALL_BYTES[:125])
    ),
    Case(
        "5.5.2",
        "ten pings, answered in order",
        b"".join(ping(bytes([n])) for n in range(10)),
        [(PONG, bytes([n])) for n in range(10)],
    ),
    Case(
        "5.5.2",
        "a ping between two messages",
        text("a") + ping(b"p") + text("b"),
        [(TEXT, b"a"), (PONG, b"p"), (TEXT, b"b")],
    ),
    *(
        Case("5.5.3", f"a pong of {len(data)} bytes that nobody asked for", pong(data), [])
        for data in (b"", b"x", b"\xff\xfe", b"x" * 125)
    ),
    Case(
        "5.5.3",
        "a pong between two pings",
        ping(b"a") + pong(b"x") + ping(b"b"),
        [(PONG, b"a"), (PONG, b"b")],
    ),
    *(
        Case(
            "5.5",
            f"{NAMES[opcode]} of {length} bytes",
            frame(FIN | opcode, close_body(1000) + bytes(length - 2)),
            [],
            1002,
        )
        for opcode in (PING, PONG, CLOSE)
        for length in (126, 127, 65_536)
    ),
    *(
        Case(
            "5.5",
            f"{NAMES[opcode]} in fragments",
            frame(opcode, BODIES.get(opcode, b"a")),
            [],
            1002,
        )
        for opcode in (PING, PONG, CLOSE)
    ),
    Case(
        "5.5",
        "a ping in two fragments",
        frame(PING, b"a") + frame(FIN | CONTINUATION, b"b"),
        [],
        1002,
    ),
]

DATA = [
    Case("5.6", "every byte, in binary", binary(ALL_BYTES), [(BINARY, ALL_BYTES)]),
    Case(
        "5.6",
        "binary that is no UTF-8",
        binary(b"\xff\xc0\x80\xed\xa0\x80"),
        [(BINARY, b"\xff\xc0\x80\xed\xa0\x80")],
    ),
    Case(
        "5.6",
        "text and binary by turns",
        (text("a") + binary(b"b")) * 3,
        [(TEXT, b"a"), (BINARY, b"b")] * 3,
    ),
    Case(
        "6.2",
        "messages come in their order",
        b"".join(text(str(n)) for n in range(50)),
        [(TEXT, str(n).encode()) for n in range(50)],
    ),
    Case("5.7", "the masked Hello", bytes.fromhex("818537fa213d7f9f4d5158"), [(TEXT, b"Hello")]),
    Case("5.7", "the masked pong", bytes.fromhex("8a8537fa213d7f9f4d5158"), []),
    Case("5.7", "the Hello of a server", b"\x81\x05Hello", [], 1002),
]
