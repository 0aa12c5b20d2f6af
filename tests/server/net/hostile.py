"""Clients that do everything but what a client does; each ends when the server ends it.

What each returns says how that was: the close code, the HTTP status, ``CUT`` for an end behind the
upgrade without a code, or "" for an end without a word. One that breaks the connection off by
itself returns "" too. None of them waits for long: the servers that they meet have short patience.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import select
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import NamedTuple

import orjson

from tests.patience import PATIENCE_SECONDS
from tests.server.net.rfc6455.handshakes import Request
from tests.server.net.rfc6455.table import (
    BINARY,
    CONTINUATION,
    FIN,
    TEXT,
    close,
    frame,
    ping,
    text,
)

UPGRADE = Request("1.3", "the example", 101).data
UNFINISHED = UPGRADE[:-2]
PROXY_LINE = b"PROXY TCP4 198.51.100.7 192.0.2.1 4711 8765\r\n"
SEARCH = text(orjson.dumps({"id": 1, "op": "search", "collection": "items", "vector": [1, 1]}))
#: Much to take.
LARGE = text(
    orjson.dumps(
        {
            "id": 1,
            "op": "get",
            "collection": "items",
            "ids": list(range(500)),
            "include": ["metadata"],
        }
    )
)
#: Between two bytes of one who sends slowly, and two requests of those beside it. It is how the
#: attack goes, nothing waits for it.
PACE_SECONDS = 0.02
#: How a connection ended: it was upgraded, and no close code came.
CUT = "cut"


class Place(NamedTuple):
    """Where a server is: ``header`` comes before all else."""

    port: int
    header: bytes = b""
    tls: ssl.SSLContext | None = None


class Opened(NamedTuple):
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def trickle(self, pieces: Iterable[bytes]) -> str:
        """One piece after the other, slowly, until the server ends it."""
        ending = asyncio.create_task(self.ended())
        for piece in pieces:
            if ending.done() or self.writer.transport.is_closing():
                break
            self.writer.write(piece)
            await asyncio.wait([ending], timeout=PACE_SECONDS)
        return await ending

    async def ended(self) -> str:
        """How the server ends it."""
        said = b""
        async with asyncio.timeout(PATIENCE_SECONDS):
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                while more := await self.reader.read(1 << 16):
                    said += more
        # What came in the same turn as the end: a reader that fails keeps it to itself.
        return _meaning(said + bytes(self.reader._buffer))  # type: ignore[attr-defined]

    def reset(self) -> None:
        """Break it off by a RST."""
        found = self.writer.get_extra_info("socket")
        found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


def _meaning(said: bytes) -> str:
    head, _, frames = said.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 101 "):
        return head.split()[1].decode() if head.startswith(b"HTTP") else ""
    at = 0
    while at < len(frames) and frames[at] != 0x88:
        length, size = frames[at + 1], {126: 2, 127: 8}.get(frames[at + 1], 0)
        if size:
            length = int.from_bytes(frames[at + 2 : at + 2 + size], "big")
        at += 2 + size + length
    closing = frames[at : at + 4]
    return str(struct.unpack_from("!H", closing, 2)[0]) if len(closing) == 4 else CUT


@asynccontextmanager
async def opened(place: Place, *, is_speaking: bool = True) -> AsyncIterator[Opened]:
    """A connection. ``is_speaking``: with the PROXY header and TLS behind it, where needed."""
    plain = socket.socket()
    plain.setblocking(False)
    loop = asyncio.get_running_loop()
    try:
        await loop.sock_connect(plain, ("127.0.0.1", place.port))
        tls = place.tls if is_speaking else None
        if is_speaking:
            await loop.sock_sendall(plain, place.header)
        named = {} if tls is None else {"server_hostname": "localhost"}
        reader, writer = await asyncio.open_connection(sock=plain, ssl=tls, **named)
    except BaseException:
        plain.close()
        raise
    try:
        yield Opened(reader, writer)
    finally:
        writer.transport.abort()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


Attack = Callable[[Place], Awaitable[str]]


def saying(first: bytes, then: Iterable[bytes] = (), *, is_bare: bool = False) -> Attack:
    """Says something, and then more of it, slowly, for ever."""

    async def attack(place: Place) -> str:
        async with opened(place, is_speaking=not is_bare) as one:
            one.writer.write(first)
            return await one.trickle(iter(then))

    return attack


def ending(*said: bytes) -> Attack:
    """Says something and that nothing more comes, and waits."""

    async def attack(place: Place) -> str:
        async with opened(place) as one:
            for piece in said:
                one.writer.write(piece)
            one.writer.write_eof()
            return await one.ended()

    return attack


def breaking_off(said: bytes, *, is_bare: bool = False) -> Attack:
    """Says something and breaks off, when the server has had the time to do something about it."""

    async def attack(place: Place) -> str:
        async with opened(place, is_speaking=not is_bare) as one:
            one.writer.write(said)
            await asyncio.sleep(PACE_SECONDS)
            one.reset()
            return ""

    return attack


def taking(some_bytes: int, asked: bytes = UPGRADE + LARGE * 50) -> Attack:
    """Asks for much, and takes so many bytes at a time, of a small buffer, slowly."""

    async def attack(place: Place) -> str:
        plain = socket.socket()
        with plain:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            plain.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(plain, ("127.0.0.1", place.port))
            await loop.sock_sendall(plain, asked)
            watched = select.poll()
            watched.register(plain, select.POLLHUP | select.POLLERR)
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not watched.poll(0):
                    with contextlib.suppress(BlockingIOError, ConnectionError):
                        plain.recv(some_bytes)
                    await asyncio.sleep(PACE_SECONDS)
        return ""

    return attack


def endless(piece: bytes) -> Iterable[bytes]:
    return itertools.repeat(piece)


#: Before the upgrade. What is worth an answer has one.
UNKNOWN: dict[str, tuple[Attack, str]] = {
    "connects and never speaks": (saying(b""), ""),
    "a request byte by byte": (saying(b"GET /v1?", endless(b"x")), ""),
    "header fields for ever, slowly": (saying(UNFINISHED, endless(b"X: y\r\n")), ""),
    "header fields for ever, fast": (saying(UNFINISHED + b"X: y\r\n" * 6000), "431"),
    "a first line for ever": (saying(b"GET /" + b"x" * 40_000), "414"),
    "half a request, and breaks off": (breaking_off(UNFINISHED), ""),
    "connects and breaks off": (breaking_off(b""), ""),
    "no HTTP": (saying(b"\x00\x01\x02"), "400"),
}
_HALF = UPGRADE + frame(FIN | BINARY, bytes(5000))[:1000]
#: Behind it. TLS has no half-closed connections, so those are apart.
OPEN: dict[str, tuple[Attack, str]] = {
    "half a message, and silence": (saying(_HALF), "4408"),
    "half a message, for ever": (saying(_HALF, endless(b"x")), "4408"),
    "half a header": (saying(UPGRADE + b"\x82"), "4408"),
    "half a length": (saying(UPGRADE + b"\x82\xff\x00\x00"), "4408"),
    "fragments for ever, slowly": (
        saying(UPGRADE + frame(TEXT, b"a"), endless(frame(CONTINUATION, b"a"))),
        "4408",
    ),
    "fragments for ever, fast": (
        saying(UPGRADE + frame(TEXT, b"a") + frame(CONTINUATION) * 5000),
        "1009",
    ),
    "half a message, and pings": (
        saying(UPGRADE + frame(TEXT, b"a"), endless(ping(bytes(120)))),
        "4408",
    ),
    "half a ping": (saying(UPGRADE + ping(bytes(100))[:50]), "4408"),
    "a pong never comes": (saying(UPGRADE), "1011"),
    "is told to go, and stays": (saying(UPGRADE + b"\x83\x80mask"), "1002"),
    "says goodbye, and stays": (saying(UPGRADE + close(1000)), "1000"),
    "upgraded, and breaks off": (breaking_off(UPGRADE), ""),
    "half a message, and breaks off": (breaking_off(_HALF), ""),
    "asks for much, and breaks off": (breaking_off(UPGRADE + LARGE * 50), ""),
}
HALF_CLOSED: dict[str, tuple[Attack, str]] = {
    "ends without a word": (ending(), ""),
    "half a request, and its end": (ending(UNFINISHED), "400"),
    "upgraded, and its end": (ending(UPGRADE), CUT),
    "half a message, and its end": (ending(_HALF), CUT),
    "asks, and ends": (ending(UPGRADE, SEARCH * 10), CUT),
    "asks for much and takes nothing": (taking(0), ""),
    "asks for much and takes a byte at a time": (taking(1), ""),
}
TLS: dict[str, tuple[Attack, str]] = {
    "no TLS": (saying(UPGRADE, is_bare=True), ""),
    "never speaks TLS": (saying(b"", is_bare=True), ""),
}
PROXIED: dict[str, tuple[Attack, str]] = {
    "never says where it is": (saying(b"", is_bare=True), ""),
    "a PROXY line byte by byte": (saying(b"PROXY UNKNOWN ", endless(b"x"), is_bare=True), ""),
    "a PROXY line for ever": (saying(b"PROXY UNKNOWN " + b"x" * 500, is_bare=True), ""),
    "a PROXY header of 4,000 bytes, slowly": (
        saying(b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x0f\xa0", endless(b"x"), is_bare=True),
        "",
    ),
    "no PROXY header": (saying(UPGRADE, is_bare=True), ""),
    "half a PROXY header, and breaks off": (breaking_off(PROXY_LINE[:20], is_bare=True), ""),
}


def tls_hello(context: ssl.SSLContext) -> bytes:
    """What a client says first."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


def tls_halves(context: ssl.SSLContext, header: bytes = b"") -> dict[str, tuple[Attack, str]]:
    """Handshakes of TLS that stop on their way. ``header`` comes before them."""
    hello = header + tls_hello(context)
    return {
        "half a hello": (saying(hello[:-50], is_bare=True), ""),
        "half a hello, byte by byte": (
            saying(hello[:-300], (bytes([one]) for one in hello[-300:-1]), is_bare=True),
            "",
        ),
        "a hello, and silence": (saying(hello, is_bare=True), ""),
        "half a hello, and breaks off": (breaking_off(hello[:-50], is_bare=True), ""),
        "a hello, and breaks off": (breaking_off(hello, is_bare=True), ""),
    }


#: To the HTTP API.
_GET = b"GET /v1/collections HTTP/1.1\r\nHost: 127.0.0.1\r\n"
_POST = _GET.replace(b"GET", b"POST") + b"Content-Type: application/json\r\n"
_SOME = _POST + b"Content-Length: 1000\r\n\r\n"
_IDS = orjson.dumps({"ids": list(range(500)), "include": ["metadata"]})
_ROWS = _POST.replace(
    b"collections", b"collections/items/rows/get"
) + b"Content-Length: %d\r\n\r\n%b" % (len(_IDS), _IDS)
HTTP: dict[str, tuple[Attack, str]] = {
    "connects and never speaks": (saying(b""), ""),
    "connects and breaks off": (breaking_off(b""), ""),
    "ends without a word": (ending(), ""),
    "a first line byte by byte": (saying(b"GET /", endless(b"x")), ""),
    "header fields for ever, slowly": (saying(_GET, endless(b"X: y\r\n")), ""),
    "half a head, and breaks off": (breaking_off(_GET), ""),
    "half a body, and silence": (saying(_SOME + b"{"), ""),
    "half a body, for ever": (saying(_SOME + b"{", endless(b" ")), ""),
    "half a body, and breaks off": (breaking_off(_SOME + b"{"), ""),
    "chunks for ever": (
        saying(_POST + b"Transfer-Encoding: chunked\r\n\r\n", endless(b"1\r\n \r\n")),
        "",
    ),
    "asks, and stays": (saying(_GET + b"\r\n"), "200"),
    "asks, and speaks no HTTP": (saying(_GET + b"\r\n" + b"\x00\x01\x02"), "200"),
    "asks a hundred times": (saying((_GET + b"\r\n") * 100), "200"),
    "asks for much and takes nothing": (taking(0, _ROWS * 12), ""),
    "asks for much and takes a byte at a time": (taking(1, _ROWS * 12), ""),
    "asks for much, and breaks off": (breaking_off(_ROWS * 12), ""),
}
