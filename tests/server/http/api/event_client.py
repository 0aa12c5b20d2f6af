"""A client of event streams over a plain socket: it reads when it is told to, and not before.

Knows HTTP/1.1 as far as streams need it, and never our own client.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlencode, urlsplit

import orjson

from tests.patience import PATIENCE_SECONDS
from tests.server.http.api.event_reader import EventReader, Read

_LIMIT_BYTES = 1 << 24


class Streamed:
    """One request and what it is answered. ``events``: read and not taken."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._events = EventReader()
        self._waiting: list[Read] = []
        self._has_ended = False
        self.status = 0
        self.headers: dict[str, str] = {}
        #: What a page would send as ``Last-Event-ID``: that of the last event that was taken.
        self.last_id = ""

    async def begin(self, request: bytes) -> None:
        """Send the request, read the head of the answer."""
        self._writer.write(request)
        async with asyncio.timeout(PATIENCE_SECONDS):
            head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.split("\r\n")
        self.status = int(first.split()[1])
        for line in lines:
            name, _, value = line.partition(":")
            self.headers[name.lower()] = value.strip()

    async def again(self, request: bytes) -> None:
        """Ask something else on the same connection, behind an answer that has ended."""
        self._events, self._waiting, self._has_ended = EventReader(), [], False
        self.headers.clear()
        await self.begin(request)

    async def body(self) -> Any:
        """The JSON of an answer that is no stream."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            data = await self._reader.readexactly(int(self.headers.get("content-length", 0)))
        return orjson.loads(data) if data else None

    async def event(self, *names: str) -> Read:
        """The next event, of these names if any are given; others are passed over."""
        while True:
            found = await self.next()
            assert found is not None, "the stream has ended"
            if not names or found.name in names:
                return found

    async def next(self) -> Read | None:
        """The next event; None: the stream ended in order. ConnectionError: it broke off."""
        while not self._waiting:
            if self._has_ended:
                return None
            await self.read_some()
        found = self._waiting.pop(0)
        self.last_id = found.id
        return found

    async def until_comment(self, count: int = 1) -> None:
        """Return when so many comments came; what else comes waits."""
        while self._events.comments < count:
            await self.read_some()

    async def read_some(self) -> None:
        """Read one chunk of the answer."""
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                size = int(await self._reader.readuntil(b"\r\n"), 16)
                data = await self._reader.readexactly(size + 2)
        except asyncio.IncompleteReadError as error:
            raise ConnectionError("the stream broke off") from error
        self._has_ended = size == 0
        self._waiting += self._events.feed(data[:-2])

    def stop_reading(self) -> None:
        """Take nothing from the socket any more."""
        assert isinstance(self._writer.transport, asyncio.Transport)
        self._writer.transport.pause_reading()

    def read_on(self) -> None:
        """Take what there is again."""
        assert isinstance(self._writer.transport, asyncio.Transport)
        self._writer.transport.resume_reading()

    async def cut(self) -> None:
        """Be gone at once."""
        self._writer.transport.abort()


@asynccontextmanager
async def streaming(
    address: str,
    path: str,
    *,
    method: str = "GET",
    token: str | None = None,
    last_id: str | None = None,
    receive_bytes: int | None = None,
    headers: dict[str, str] | None = None,
    body: bytes | None = None,
    **fields: Any,
) -> AsyncIterator[Streamed]:
    """The answer to a request for a stream at ``http://…``; ``fields`` in the query or the body.

    ``receive_bytes``: so small is the socket's buffer.
    """
    parts = urlsplit(address)
    assert parts.hostname is not None
    sent = {"Host": parts.netloc, "Accept": "text/event-stream", **(headers or {})}
    if token is not None:
        sent["Authorization"] = f"Bearer {token}"
    if last_id is not None:
        sent["Last-Event-ID"] = last_id
    if method == "POST":
        body = orjson.dumps(fields) if body is None else body
        sent |= {"Content-Type": "application/json", "Content-Length": str(len(body))}
    elif fields:
        path += "?" + urlencode({name: _text(value) for name, value in fields.items()})
    lines = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
    request = f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode() + (body or b"")
    socket_ = socket.socket()
    if receive_bytes is not None:
        socket_.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    socket_.connect((parts.hostname, parts.port))
    socket_.setblocking(False)
    reader, writer = await asyncio.open_connection(sock=socket_, limit=_LIMIT_BYTES)
    try:
        found = Streamed(reader, writer)
        await found.begin(request)
        yield found
    finally:
        writer.transport.abort()


def _text(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()
