"""Sections 5.4 and 8.1: messages in fragments, and text that is or is not UTF-8."""

from __future__ import annotations

from .table import (
    BINARY,
    CONTINUATION,
    FIN,
    MAX_BYTES,
    PONG,
    TEXT,
    Case,
    binary,
    close,
    frame,
    parts,
    ping,
    pong,
    text,
)

#: More fragments than this end the connection (PROTOCOL section 1); the RFC has no number.
MOST_FRAGMENTS = 4096

FRAGMENTS = [
    *(
        Case(
            "5.4",
            f"{what} in {len(pieces)} fragments {[len(one) for one in pieces]}",
            parts(opcode, *pieces),
            [(opcode, b"".join(pieces))],
        )
        for what, opcode in (("text", TEXT), ("binary", BINARY))
        for pieces in (
            (b"ab", b"cd"),
            (b"a", b"b", b"c"),
            (b"", b"abc"),
            (b"abc", b""),
            (b"a", b"", b"c"),
            (b"", b""),
            (b"", b"", b""),
            tuple(b"%c" % n for n in b"one byte in each"),
            (b"a" * 125, b"b" * 126, b"c" * 65_536),
        )
    ),
    Case(
        "5.4",
        "a ping between fragments",
        parts(TEXT, b"ab", b"cd", between=ping(b"p")),
        [(PONG, b"p"), (TEXT, b"abcd")],
    ),
    Case(
        "5.4",
        "a pong between fragments",
        parts(TEXT, b"ab", b"cd", between=pong(b"p")),
        [(TEXT, b"abcd")],
    ),
    Case(
        "5.4",
        "pings between many fragments",
        parts(BINARY, b"a", b"b", b"c", b"d", between=ping(b"p")),
        [*[(PONG, b"p")] * 3, (BINARY, b"abcd")],
    ),
    Case(
        "5.4",
        "ten pings between two fragments",
        parts(TEXT, b"a", b"b", between=b"".join(ping(b"%d" % n) for n in range(10))),
        [*((PONG, b"%d" % n) for n in range(10)), (TEXT, b"ab")],
    ),
    Case(
        "5.4",
        "a ping before and behind",
        ping(b"1") + parts(TEXT, b"a", b"b") + ping(b"2"),
        [(PONG, b"1"), (TEXT, b"ab"), (PONG, b"2")],
    ),
    Case(
        "5.4",
        "two messages in fragments",
        parts(TEXT, b"a", b"b") + parts(BINARY, b"c", b"d"),
        [(TEXT, b"ab"), (BINARY, b"cd")],
    ),
    Case(
        "5.4",
        "a whole message behind fragments",
        parts(TEXT, b"a", b"b") + binary(b"c"),
        [(TEXT, b"ab"), (BINARY, b"c")],
    ),
    Case("5.4", "a continuation of nothing", frame(FIN | CONTINUATION, b"a"), [], 1002),
    Case("5.4", "an empty continuation of nothing", frame(FIN | CONTINUATION), [], 1002),
    Case("5.4", "a continuation of nothing, to be continued", frame(CONTINUATION, b"a"), [], 1002),
    Case(
        "5.4",
        "a continuation behind a whole message",
        text("a") + frame(FIN | CONTINUATION, b"b"),
        [(TEXT, b"a")],
        1002,
    ),
    Case(
        "5.4",
        "a continuation behind the last fragment",
        parts(TEXT, b"a", b"b") + frame(FIN | CONTINUATION, b"c"),
        [(TEXT, b"ab")],
        1002,
    ),
    *(
        Case("5.4", f"{what} within {whose}", frame(opcode, b"a") + inner, [], 1002)
        for whose, opcode in (("text", TEXT), ("binary", BINARY))
        for what, inner in (
            ("a text", text("b")),
            ("a binary", binary(b"b")),
            ("the beginning of a text", frame(TEXT, b"b")),
            ("the beginning of a binary", frame(BINARY, b"b")),
            ("an empty text", text("")),
        )
    ),
    Case(
        "5.4",
        "a text within fragments, behind a ping",
        frame(TEXT, b"a") + ping(b"p") + text("b"),
        [(PONG, b"p")],
        1002,
    ),
    Case(
        "5.4",
        "half a message, a ping, and a fault",
        frame(TEXT, b"a") + ping(b"p") + frame(FIN | 3),
        [(PONG, b"p")],
        1002,
    ),
    # The RFC lets control frames come between fragments, a close among them. The library takes that
    # for a fault of the client, and answers the close by one that says so.
    Case("5.4", "a close between fragments", frame(TEXT, b"a") + close(1000), [], 1002),
    Case(
        "5.4",
        "as many fragments as may be",
        parts(BINARY, *[b"x"] * MOST_FRAGMENTS),
        [(BINARY, b"x" * MOST_FRAGMENTS)],
    ),
    Case("5.4", "one fragment more", parts(BINARY, *[b"x"] * (MOST_FRAGMENTS + 1)), [], 1009),
    Case(
        "5.4",
        "as many bytes as may be",
        parts(BINARY, bytes(MAX_BYTES - 1), b"x"),
        [(BINARY, bytes(MAX_BYTES - 1) + b"x")],
    ),
    Case("5.4", "one byte more", parts(BINARY, bytes(MAX_BYTES), b"x"), [], 1009),
    Case(
        "5.4", "one byte more, in the first fragment", frame(BINARY, bytes(MAX_BYTES + 1)), [], 1009
    ),
]

GOOD_TEXTS = {
    "ASCII": "Hello, World!",
    "NUL": "a\x00b",
    "two bytes": "\u0080é\u07ff",
    "three bytes": "\u0800€\ud7ff\ue000\uffff",
    "four bytes": "\U00010000😀\U0010ffff",
    "Greek": "κόσμε",
    "characters that are none": "\ufffe\uffff\U0001fffe\U0010fffe\ufdd0",
    "a byte order mark": "\ufeffabc",
    "a character for what is none": "\ufffd",
    "all lengths by turns": "aé€😀" * 8,
}
BAD_TEXTS = {
    "an overlong NUL": b"\xc0\x80",
    "an overlong slash": b"\xc0\xaf",
    "an overlong slash of three": b"\xe0\x80\xaf",
    "an overlong slash of four": b"\xf0\x80\x80\xaf",
    "the longest overlong of two": b"\xc1\xbf",
    "the longest overlong of three": b"\xe0\x9f\xbf",
    "the longest overlong of four": b"\xf0\x8f\xbf\xbf",
    "the first surrogate": b"\xed\xa0\x80",
    "the last surrogate": b"\xed\xbf\xbf",
    "a pair of surrogates": b"\xed\xa0\xbd\xed\xb8\x80",
    "beyond the last character": b"\xf4\x90\x80\x80",
    "a start of f5": b"\xf5\x80\x80\x80",
    "five bytes": b"\xf8\x88\x80\x80\x80",
    "six bytes": b"\xfc\x84\x80\x80\x80\x80",
    "fe": b"\xfe",
    "ff": b"\xff",
    "a continuation byte alone": b"\x80",
    "two continuation bytes": b"\x80\xbf",
    "two of two bytes": b"\xc3",
    "two of three bytes": b"\xe2\x82",
    "one of three bytes": b"\xe2",
    "three of four bytes": b"\xf0\x9f\x98",
    "one of four bytes": b"\xf0",
    "two bytes, broken off": b"\xc3(",
    "three bytes, broken off": b"\xe2\x82(",
    "three bytes, broken in the middle": b"\xe2(\xac",
    "four bytes, broken off": b"\xf0\x9f\x98(",
    "bytes of another alphabet": "naïve".encode("latin-1"),
    "a good text with one bad byte": "κόσμε".encode() + b"\xed\xa0\x80" + b"edited",
}


def _halved(data: bytes, at: int) -> bytes:
    return parts(TEXT, data[:at], data[at:])


UTF_8 = [
    *(
        Case("8.1", f"{name}, whole", text(said), [(TEXT, said.encode())])
        for name, said in GOOD_TEXTS.items()
    ),
    *(
        Case(
            "8.1",
            f"{name}, a byte in each fragment",
            parts(TEXT, *(bytes([one]) for one in said.encode())),
            [(TEXT, said.encode())],
        )
        for name, said in GOOD_TEXTS.items()
    ),
    *(
        Case(
            "8.1",
            f"€ and 😀, cut after {at}",
            _halved("€😀".encode(), at),
            [(TEXT, "€😀".encode())],
        )
        for at in range(8)
    ),
    Case(
        "8.1",
        "a character cut by a ping",
        parts(TEXT, b"\xe2", b"\x82\xac", between=ping(b"\xff")),
        [(PONG, b"\xff"), (TEXT, "€".encode())],
    ),
    *(
        Case("8.1", f"{name}, whole", text("a") + text(data), [(TEXT, b"a")], 1007)
        for name, data in BAD_TEXTS.items()
    ),
    *(
        Case("8.1", f"{name}, in fragments", _halved(b"ok " + data, 4), [], 1007)
        for name, data in BAD_TEXTS.items()
    ),
    *(
        Case("8.1", f"{name}, in binary", binary(data), [(BINARY, data)])
        for name, data in BAD_TEXTS.items()
        if len(data) == 1
    ),
    *(
        Case("8.1", f"{name}, as the reason of a close", close(1000, data), [], 1007)
        for name, data in BAD_TEXTS.items()
    ),
    Case("8.1", "a bad byte at the end of a long text", text(b"x" * 70_000 + b"\xff"), [], 1007),
]
