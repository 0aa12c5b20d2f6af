"""A reverse proxy as many put it before a server: it takes a prefix off every path, and no more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from tests.listening import listening

NOT_FOUND = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    writer.close()


async def _end(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()


@asynccontextmanager
async def prefixed(url: str, prefix: str) -> AsyncIterator[str]:
    """Serve the server at ``url`` under ``prefix``; the address of its page there.

    What is asked for beside the prefix is answered 404. One request a connection, as the server
    closes each; after it the bytes go through, both ways, which is what a WebSocket needs.
    """
    host, port = url.removeprefix("ws://").removesuffix("/v1").split(":")

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        method, path, rest = head.split(b" ", 2)
        if not path.startswith(prefix.encode()):
            writer.write(NOT_FOUND)
            return
        inner_reader, inner_writer = await asyncio.open_connection(host, int(port))
        try:
            inner_writer.write(b" ".join((method, path[len(prefix) - 1 :], rest)))
            await asyncio.gather(_carry(reader, inner_writer), _carry(inner_reader, writer))
        finally:
            await _end(inner_writer)

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(asyncio.IncompleteReadError):
                await pass_on(reader, writer)
        finally:
            await _end(writer)

    async with listening(accept) as own_port:
        yield f"http://127.0.0.1:{own_port}{prefix}"
