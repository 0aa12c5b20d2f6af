"""A client as it should be, byte by byte: it answers pings, and asks one thing after the other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson

from tests.patience import PATIENCE_SECONDS
from tests.server.net.hostile import Opened, Place, opened
from tests.server.net.rfc6455.handshakes import Request
from tests.server.net.rfc6455.table import pong, text

#: Of the collection that it fills and searches.
ROWS = 500


class Good:
    """``answers``: how often it was answered."""

    def __init__(self, one: Opened) -> None:
        self._one = one
        self.answers = 0

    async def upgrade(self, token: str | None) -> None:
        added = () if token is None else (f"Authorization: Bearer {token}",)
        self._one.writer.write(Request("1.3", "good", 101, added=added).data)
        head = await self._one.reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 "), head

    async def ask(self, op: str, **fields: Any) -> Any:
        """What its reply says."""
        self._one.writer.write(text(orjson.dumps({"id": 7, "op": op, **fields})))
        while True:
            opcode, data = await self._frame()
            if opcode == 9:
                self._one.writer.write(pong(data))
            elif opcode == 1 and b'"event"' not in data[:9]:
                self.answers += 1
                return orjson.loads(data)["ok"]

    async def fill(self, **fields: Any) -> None:
        """A collection of ``ROWS`` rows with some metadata."""
        metadata = {"note": "n" * 1000}
        rows = [{"id": n, "vector": [n, 1], "metadata": metadata} for n in range(ROWS)]
        given = {"dim": 2, "capacity": ROWS, "metric": "dot", **fields}
        await self.ask("create", collection="items", **given)
        await self.ask("add", collection="items", rows=rows)

    async def search(self) -> None:
        found = await self.ask("search", collection="items", vector=[1, 0], k=2)
        assert [hit["id"] for hit in found["results"]] == [ROWS - 1, ROWS - 2]

    async def _frame(self) -> tuple[int, bytes]:
        first, length = await self._one.reader.readexactly(2)
        if length >= 126:
            more = await self._one.reader.readexactly(2 if length == 126 else 8)
            length = int.from_bytes(more, "big")
        return first & 0x0F, await self._one.reader.readexactly(length)


@asynccontextmanager
async def good(place: Place, token: str | None = None) -> AsyncIterator[Good]:
    async with asyncio.timeout(PATIENCE_SECONDS), opened(place) as one:
        found = Good(one)
        await found.upgrade(token)
        yield found
