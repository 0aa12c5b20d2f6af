"""What a client takes is what its machine acknowledges, not what the kernel here takes in lumps.

And how the watch looks at all of them.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from websockets.asyncio.client import connect

from omendb_ws.net import watch
from omendb_ws.net.connection import Connection
from omendb_ws.net.server import Server
from omendb_ws.runtime.unacknowledged import _IS_KNOWN, unacknowledged_bytes
from tests.certificates import make_certificate
from tests.patience import eventually
from tests.server.net.test_flow import fill
from tests.server.raw import PATIENCE_SECONDS, Raw, client, running, settings

pytestmark = pytest.mark.skipif(not _IS_KNOWN, reason="the system does not tell")
#: Long ago, but not long enough to be closed.
AGE_SECONDS = 25.0


@asynccontextmanager
async def slow(server: Server, tls: ssl.SSLContext | None) -> AsyncIterator[Raw]:
    """A client with a small buffer that reads nothing by itself."""
    plain = socket.socket()
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 10)
    plain.setblocking(False)
    await asyncio.get_running_loop().sock_connect(plain, ("127.0.0.1", server.port))
    options = {} if tls is None else {"ssl": tls, "server_hostname": "localhost"}
    async with connect(
        server.url, sock=plain, compression=None, max_size=None, max_queue=1, close_timeout=0,
        **options,
    ) as found:  # fmt: skip
        raw = Raw(found)
        await raw.named("hello")
        found.transport.pause_reading()
        try:
            yield raw
        finally:
            found.transport.abort()


def served_by_tls(folder: Path) -> tuple[dict[str, str], ssl.SSLContext]:
    """Settings of a server, and a client's context that trusts it."""
    made = make_certificate(folder)
    files = {"tls_certificate_file": made.certificate_file, "tls_key_file": made.key_file}
    return files, made.trusting()


def waiting(connection: Connection) -> tuple[int, int]:
    """What this process holds, and what the kernel does."""
    found = connection.transport.get_extra_info("socket")
    return connection.transport.get_write_buffer_size(), unacknowledged_bytes(found.fileno())


async def stuck(connection: Connection) -> None:
    """Return when nothing moves any more."""
    same, before = 0, (0, 0)
    async with asyncio.timeout(PATIENCE_SECONDS):
        while same < 200 or not all(before):
            now = waiting(connection)
            same, before = (same + 1 if now == before else 0), now
            await asyncio.sleep(0)


@pytest.mark.parametrize("is_tls", [False, True])
async def test_a_client_that_takes_a_little_is_not_stalled(is_tls: bool, tmp_path: Path) -> None:
    files, tls = served_by_tls(tmp_path) if is_tls else ({}, None)
    server = Server(settings(**files), stall_seconds=3600)
    async with running(server):
        async with client(server, **({"ssl": tls} if tls else {})) as other:
            await fill(other, 256, 1000)
        async with slow(server, tls) as raw:
            asked = {"collection": "items", "vector": [1] * 256, "k": 1000, "include": ["vector"]}
            for _ in range(30):
                await raw.send("search", **asked)
            (connection,) = server._sessions
            await stuck(connection)
            for _ in range(20):
                connection.stalled_seconds()
                connection._progress.taken_at -= AGE_SECONDS
                assert connection.stalled_seconds() >= AGE_SECONDS
                held, unacknowledged = waiting(connection)
                raw.socket.transport.resume_reading()
                async with asyncio.timeout(PATIENCE_SECONDS):
                    while waiting(connection)[1] == unacknowledged:  # noqa: ASYNC110 - the kernel's
                        await asyncio.sleep(0)
                raw.socket.transport.pause_reading()
                assert connection.stalled_seconds() == 0
                # The lump: as a rule this process could hand on nothing yet.
                if waiting(connection)[0] == held:
                    break
                await stuck(connection)
            else:
                pytest.fail("the kernel took more at once, whenever the client took a little")


async def test_what_was_not_acknowledged_at_the_end_counts_too() -> None:
    """All is in the kernel: this process holds nothing, and the client takes nothing."""
    server = Server(settings(), stall_seconds=3600)
    async with running(server), client(server) as other:
        await fill(other, 256, 1000)
        async with slow(server, None) as raw:
            asked = {"collection": "items", "vector": [1] * 256, "k": 200, "include": ["vector"]}
            await raw.send("search", **asked)
            connection = next(
                one
                for one in server._sessions
                if one.remote_address[1] == raw.socket.local_address[1]
            )
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not waiting(connection)[1]:  # noqa: ASYNC110 - the kernel's
                    await asyncio.sleep(0)
            held, before = waiting(connection)
            assert not held
            connection.stalled_seconds()
            connection._progress.taken_at -= AGE_SECONDS
            assert waiting(connection)[1] == before
            assert connection.stalled_seconds() >= AGE_SECONDS


def test_of_a_socket_that_is_gone_nothing_is_told() -> None:
    assert unacknowledged_bytes(-1) == 0
    one, other = socket.socketpair()
    with one, other:
        number = one.fileno()
    assert unacknowledged_bytes(number) == 0


async def test_looking_at_all_connections_leaves_others_their_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(watch, "_LOOKED_AT_ONCE", 2)
    loop = asyncio.get_running_loop()
    turn, turns = 0, []

    def count() -> None:
        nonlocal turn, counting
        turn += 1
        counting = loop.call_soon(count)

    monkeypatch.setattr(watch.Watch, "_end_if_stalled", lambda *_: turns.append(turn))
    async with running(Server(settings(), stall_seconds=1.0)) as server, AsyncExitStack() as stack:
        for _ in range(5):
            await stack.enter_async_context(client(server))
        turns.clear()
        counting = loop.call_soon(count)
        await eventually(lambda: len(turns) >= 10)
        counting.cancel()
        assert len(set(turns[:5])) >= 3
