"""Over HTTP, too, what a client takes is what its machine acknowledges (``tests/server/net``)."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from omendb_ws.http.api.connection import HttpConnection
from omendb_ws.net.server import Server
from omendb_ws.runtime.unacknowledged import _IS_KNOWN, unacknowledged_bytes
from tests.patience import PATIENCE_SECONDS
from tests.server.net.test_flow import fill
from tests.server.raw import client, running, settings

pytestmark = pytest.mark.skipif(not _IS_KNOWN, reason="the system does not tell")
SEARCH = b'{"vector": [%b], "k": 1000, "include": ["vector"]}' % b",".join([b"1"] * 256)
REQUEST = (
    b"POST /v1/collections/items/search HTTP/1.1\r\nHost: localhost\r\n"
    b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(SEARCH), SEARCH)
)


@asynccontextmanager
async def asked(
    server: Server, searches: int
) -> AsyncIterator[tuple[HttpConnection, asyncio.Transport]]:
    """Both ends of a connection whose client asks, and reads nothing by itself."""
    listener = server._http._listener
    assert listener is not None
    plain = socket.socket()
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 << 10)
    plain.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(plain, ("127.0.0.1", listener.port))
    transport, _ = await loop.create_connection(asyncio.Protocol, sock=plain)
    try:
        transport.pause_reading()
        transport.write(REQUEST * searches)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not (there := listener.connections) or not waiting(there[0])[1]:  # noqa: ASYNC110
                await asyncio.sleep(0)
        yield there[0], transport
    finally:
        transport.abort()


def waiting(connection: HttpConnection) -> tuple[int, int]:
    """What this process holds, and what the kernel does."""
    found = connection.transport.get_extra_info("socket")
    return connection.transport.get_write_buffer_size(), unacknowledged_bytes(found.fileno())


async def stuck(connection: HttpConnection) -> tuple[int, int]:
    """What waits, once nothing moves any more."""
    same, before = 0, (0, 0)
    async with asyncio.timeout(PATIENCE_SECONDS):
        while same < 200 or not all(before):
            now = waiting(connection)
            same, before = (same + 1 if now == before else 0), now
            await asyncio.sleep(0)
    return before


async def test_a_client_that_takes_a_little_is_not_stalled() -> None:
    server = Server(settings(http_port=0), stall_seconds=3600)
    async with running(server):
        async with client(server) as other:
            await fill(other, 256, 1000)
        async with asked(server, 20) as (connection, transport):
            now = asyncio.get_running_loop().time()
            for _ in range(20):
                held, unacknowledged = await stuck(connection)
                now += 40
                connection.look(now)
                now += 25
                assert connection.stalled_seconds(now) >= 25
                transport.resume_reading()
                async with asyncio.timeout(PATIENCE_SECONDS):
                    while waiting(connection)[1] == unacknowledged:  # noqa: ASYNC110
                        await asyncio.sleep(0)
                transport.pause_reading()
                assert connection.stalled_seconds(now) == 0
                # The lump: as a rule this process could hand on nothing yet.
                if waiting(connection)[0] == held:
                    break
            else:
                pytest.fail("the kernel took more at once, whenever the client took a little")


async def test_what_only_the_kernel_holds_counts_too() -> None:
    server = Server(settings(http_port=0), stall_seconds=30)
    async with running(server), client(server) as other:
        await fill(other, 256, 100)
        async with asked(server, 1) as (connection, _):
            now = asyncio.get_running_loop().time()
            assert connection.look(now) is None
            held, unacknowledged = waiting(connection)
            assert not held
            assert unacknowledged
            assert connection.look(now + 29) is None
            assert connection.look(now + 31) == "takes nothing"
