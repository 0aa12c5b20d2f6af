"""A proxy that ends event streams behind their first events, for clients that read to the end.

Each connection has one request, which passes as it is. So does an answer that is no stream; of a
stream the first event, and then it ends in order, and its connection to the server is gone. Each
event is looked at on the way. Knows as much of HTTP/1.1 as the server writes.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit

import orjson

from tests.listening import listening
from tests.patience import PATIENCE_SECONDS
from tests.server.http.api.event_reader import EventReader

#: Of each stream so many pass: whatever it follows, there is one at once.
EVENTS = 1
_LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)
_STREAM = re.compile(rb"content-type: text/event-stream", re.IGNORECASE)
_NO_BODY = re.compile(rb"HTTP/1\.1 (?:1\d\d|204|304) ")


class Cutting:
    """``events``: how many of each name passed; ``faults``: what was wrong on the way."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self.events: Counter[str] = Counter()
        self.faults: list[str] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection of a client, which has one request."""
        there, back = await asyncio.open_connection(self._host, self._port)
        first = await reader.read(1 << 16)
        back.write(first)
        sending = asyncio.create_task(_send_on(reader, back))
        try:
            await self._answer(there, writer, is_head=first.startswith(b"HEAD "))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # one of them has gone
        finally:
            sending.cancel()
            back.transport.abort()
            writer.close()
            await asyncio.wait([sending])

    async def _answer(
        self, there: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_head: bool
    ) -> None:
        head = b"HTTP/1.1 100"
        while head.startswith(b"HTTP/1.1 100"):
            head = await there.readuntil(b"\r\n\r\n")
            writer.write(head.removesuffix(b"\r\n") + b"connection: close\r\n\r\n")
        if is_head or _NO_BODY.match(head):
            pass
        elif _STREAM.search(head):
            await self._first_events(there, writer)
        else:
            await self._body(head, there, writer)
        await writer.drain()

    async def _body(
        self, head: bytes, there: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        found = _LENGTH.search(head)
        if found is not None:
            writer.write(await there.readexactly(int(found[1])))
            return
        while True:
            line = await there.readuntil(b"\r\n")
            writer.write(line + await there.readexactly(int(line, 16) + 2))
            if int(line, 16) == 0:
                return

    async def _first_events(
        self, there: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        events, seen = EventReader(), 0
        while seen < EVENTS:
            async with asyncio.timeout(PATIENCE_SECONDS):
                line = await there.readuntil(b"\r\n")
                data = await there.readexactly(int(line, 16) + 2)
            writer.write(line + data)
            if int(line, 16) == 0:
                return
            for event in events.feed(data[:-2]):
                seen += 1
                self.events[event.name] += 1
                said = orjson.loads(event.data)
                if said.get("event", event.name) != event.name:
                    self.faults.append(f"{event.name}: {event.data}")
        writer.write(b"0\r\n\r\n")
        await writer.drain()


async def _send_on(reader: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(1 << 16):
            back.write(data)
            await back.drain()


@asynccontextmanager
async def cutting(address: str) -> AsyncIterator[tuple[str, Cutting]]:
    """The address of a proxy to the server at ``address``, and the proxy."""
    parts = urlsplit(address)
    assert parts.hostname is not None
    assert parts.port is not None
    found = Cutting(parts.hostname, parts.port)
    async with listening(found.serve) as port:
        yield f"http://127.0.0.1:{port}", found
