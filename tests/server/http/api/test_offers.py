"""Requests in a row, with offers of other protocols and without: they are answered alike.

``HTTP_OFFERS=3000`` tries as many rows of requests.
"""

from __future__ import annotations

import os
import random
import re

from omendb_ws.net.server import Server
from tests.server.raw import settings

from .served import served
from .test_framing import H2C, framed
from .test_sockets import GET, HOST, line_to

ROWS = int(os.environ.get("HTTP_OFFERS", "60"))
OFFERS = (
    H2C,
    b"Connection: Upgrade\r\nUpgrade: h2c\r\n",
    b"Connection: keep-alive, Upgrade\r\nUpgrade: foo/2, bar\r\n",
    b"connection: upgrade\r\nupgrade: IRC/6.9\r\n",
)
BODIES = (
    b'{"vector":[1,0]}',
    GET + b"\r\n",
    b"0\r\n\r\n",
    b"{}",
    b"x" * 5000,
    b'"%b"' % (b"y" * 300_000),
)
POST = b"POST /search HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\n"
#: The last of a row, after which the server ends the connection.
LAST = b"GET /health HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n"


async def statuses(server: Server, data: bytes, seed: int) -> list[bytes]:
    """What a row of requests is answered, sent in pieces that ``seed`` makes."""
    pieces = random.Random(seed)
    async with line_to(server) as one:
        at = 0
        while at < len(data):
            size = pieces.choice([1, 7, 100, 5000, 100_000])
            await one.send(data[at : at + size])
            at += size
        return re.findall(rb"HTTP/1\.1 (\d+)", await one.ended())


async def test_rows_of_requests_are_answered_alike_whatever_they_offer() -> None:
    made = random.Random(1)
    async with served(settings()) as server:
        for seed in range(ROWS):
            requests = []
            for _ in range(made.randint(1, 5)):
                is_get = made.random() < 0.4
                rest = (
                    b"\r\n"
                    if is_get
                    else framed(made.choice(BODIES), made.choice(["length", "chunked"]))
                )
                offer = made.choice(OFFERS) if made.random() < 0.6 else b""
                requests.append((GET if is_get else POST, offer, rest))
            plain = b"".join(head + rest for head, _, rest in requests) + LAST
            offering = b"".join(map(b"".join, requests)) + LAST
            expected = await statuses(server, plain, seed)
            assert len(expected) == len(requests) + 1
            assert await statuses(server, offering, seed) == expected, seed
        assert server.metrics.faults == 0
