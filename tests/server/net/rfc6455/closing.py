"""Sections 5.5.1 and 7: how connections end."""

from __future__ import annotations

from .table import (
    CLOSE,
    FIN,
    PONG,
    TEXT,
    Case,
    binary,
    close,
    close_body,
    frame,
    ping,
    text,
)

#: Section 7.4.1, and what IANA has registered since (1012 to 1014).
GOOD_CODES = (
    1000,
    1001,
    1002,
    1003,
    1007,
    1008,
    1009,
    1010,
    1011,
    1012,
    1013,
    1014,
    3000,
    3001,
    3999,
    4000,
    4401,
    4999,
)
#: 1005, 1006, 1015 must not be in a frame, 1004 means nothing, below 1000 nothing is used.
BAD_CODES = (
    0,
    1,
    999,
    1004,
    1005,
    1006,
    1015,
    1016,
    1100,
    2000,
    2999,
    5000,
    32_768,
    65_535,
)

ANOTHER = {
    "a text": text("late"),
    "a binary": binary(b"late"),
    "a ping": ping(b"late"),
    "another close": close(1001),
    "half a frame": text("late")[:4],
    "what is no frame": b"\xff" * 20,
    "a frame without a mask": frame(FIN | TEXT, b"late", key=None),
}

CLOSING = [
    *(Case("7.4", f"code {code}", close(code), [], code) for code in GOOD_CODES),
    *(Case("7.4", f"code {code}", close(code), [], 1002) for code in BAD_CODES),
    Case("5.5.1", "a close without a code", frame(FIN | CLOSE), [], 0),
    Case("5.5.1", "half a code", frame(FIN | CLOSE, b"\x03"), [], 1002),
    *(
        Case("5.5.1", f"a reason of {len(reason.encode())} bytes", close(1000, reason), [], 1000)
        for reason in ("x", "going", "κόσμε", "😀" * 30, "x" * 123)
    ),
    Case("5.5", "a reason of 124 bytes", close(1000, "x" * 124), [], 1002),
    *(
        Case("5.5.1", f"{name} behind a close", close(1000) + late, [], 1000)
        for name, late in ANOTHER.items()
    ),
    *(
        Case("7.1.7", f"{name} behind a fault", frame(FIN | 3) + late, [], 1002)
        for name, late in ANOTHER.items()
    ),
    Case("7.1.7", "a close behind a fault", frame(FIN | 3) + close(1000), [], 1002),
    Case(
        "7.1.2",
        "a close behind messages",
        text("a") + text("b") + close(3000),
        [(TEXT, b"a"), (TEXT, b"b")],
        3000,
    ),
    Case("7.1.2", "a close behind a ping", ping(b"a") + close(1001), [(PONG, b"a")], 1001),
    Case(
        "7.1.2",
        "a close behind many messages",
        text("a") * 200 + close(1000),
        [(TEXT, b"a")] * 200,
        1000,
    ),
    Case(
        "5.5.1",
        "a close, its length in two bytes",
        frame(FIN | CLOSE, close_body(1000), length_in=2),
        [],
        1000,
    ),
]
