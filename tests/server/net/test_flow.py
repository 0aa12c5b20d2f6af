"""Back-pressure: no reader and no flood makes the server grow (PROTOCOL sections 1, 2 and 9)."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import orjson
import pytest
from omendb_core.model.types import Include
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from omendb_ws.net.connection import Connection
from omendb_ws.net.server import Server
from omendb_ws.runtime.progress import Progress
from omendb_ws.sessions.session import Session
from omendb_ws.wire import binary
from tests.server.raw import (
    PATIENCE_SECONDS,
    Raw,
    batch,
    client,
    engine_held,
    rows,
    running,
    settings,
)

#: A client that takes one message from the socket and then none: its own buffers are as small as
#: the library lets them be.
DEAF = {"max_queue": 1, "ping_interval": None}


def session_of(server: Server, raw: Raw) -> tuple[Connection, Session]:
    """The server's end of a connection."""
    port = raw.socket.local_address[1]
    return next(
        (connection, session)
        for connection, session in server._sessions.items()
        if connection.remote_address[1] == port
    )


async def settled(look: Any, is_reached: Any) -> None:
    """Return when ``is_reached`` says so of what ``look`` finds."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not is_reached(look()):  # noqa: ASYNC110 - the server's side has no event for us
            await asyncio.sleep(0.001)


async def fill(raw: Raw, dim: int, count: int) -> int:
    """A collection of ``count`` rows; its handle."""
    handle = (await raw.create(capacity=count, dim=dim))["handle"]
    for start in range(0, count, 100):
        await raw.add_binary(handle, batch(*range(start, min(start + 100, count)), dim=dim))
    return int(handle)


async def test_a_client_that_never_reads_is_bounded_and_harms_nobody() -> None:
    limits = {"max_pending_bytes": 1 << 20, "max_message_bytes": 2 << 20}
    async with running(**limits) as server, client(server) as other:
        await fill(other, 256, 1000)
        async with client(server, **DEAF) as deaf:
            handle = (await deaf.ok("open", collection="items"))["handle"]
            connection, session = session_of(server, deaf)
            worst = 0

            async def flood() -> None:
                vector = np.ones((1, 256), np.float32)
                for number in range(10_000):
                    frame = binary.encode_search(
                        number, handle, vector, k=1000, include=Include(vector=True)
                    )
                    await deaf.socket.send(frame)

            flooding = asyncio.create_task(flood())
            last, still = -1, 0
            async with asyncio.timeout(PATIENCE_SECONDS):
                # Until the kernel takes no more, and no further message is read.
                while still < 5:
                    is_full = connection.transport.get_write_buffer_size() > 0
                    is_still = last == server.metrics.requests["search"]
                    still = still + 1 if is_full and is_still else 0
                    last = server.metrics.requests["search"]
                    for _ in range(20):
                        assert "ok" in await other.ask("ping")
                        held = session.outbox.reply_bytes + session._expected_bytes
                        held += connection.transport.get_write_buffer_size()
                        worst = max(worst, held)
            assert not session.has_room
            # One message more than the limit may be on its way, and one in the socket's buffer.
            assert worst <= limits["max_pending_bytes"] + 3 * (1 << 20)
            assert len(session._inflight) <= 2
            assert not flooding.done()
            flooding.cancel()
            deaf.socket.transport.abort()
        assert len((await other.ok("search", collection="items", vector=[1] * 256))["results"])
        await settled(lambda: server.metrics.connections, lambda count: count == 1)


async def test_a_client_that_takes_no_byte_is_told_4408_and_closed() -> None:
    server = Server(settings(max_pending_bytes=1 << 20), stall_seconds=0.2)
    async with running(server), client(server) as other:
        await fill(other, 256, 1000)
        async with client(server, **DEAF) as deaf:
            asked = {"collection": "items", "vector": [1] * 256, "k": 1000, "include": ["vector"]}
            for _ in range(30):  # more than the kernel's buffers take
                await deaf.send("search", **asked)
            await settled(lambda: server._sessions.values(), _is_one_closed)
            assert await other.ok("ping") == {}
            assert await deaf.closed() == 4408


def _is_one_closed(sessions: Any) -> bool:
    return any(not session.lane.is_open for session in sessions)


class Pipe:
    """A transport of which a test says how much it holds, and a loop of which it says the time."""

    def __init__(self) -> None:
        self.unsent_bytes = 0
        self.now = 100.0

    def get_write_buffer_size(self) -> int:
        return self.unsent_bytes

    def get_extra_info(self, name: str) -> None:
        """There is no socket."""

    def time(self) -> float:
        return self.now


async def test_only_a_client_that_takes_nothing_is_stalled() -> None:
    connection = Connection.__new__(Connection)
    pipe = Pipe()
    connection.transport = connection.loop = pipe  # type: ignore[assignment]
    connection._written_bytes = 0
    connection._progress = Progress(pipe.now)
    pipe.now += 1000
    assert connection.stalled_seconds() == 0  # idle
    connection._written_bytes = pipe.unsent_bytes = 5000
    assert connection.stalled_seconds() == 0  # just now
    pipe.now += 20
    assert connection.stalled_seconds() == 20
    pipe.unsent_bytes -= 1  # one byte is enough
    assert connection.stalled_seconds() == 0
    pipe.now += 29
    connection._written_bytes += 100  # more is written, and nothing taken
    pipe.unsent_bytes += 100
    assert connection.stalled_seconds() == 29
    pipe.unsent_bytes = 0
    assert connection.stalled_seconds() == 0


async def test_a_flood_of_pings_from_a_client_that_never_reads_is_bounded() -> None:
    limits = {"max_pending_bytes": 1 << 20}
    async with running(**limits) as server, client(server) as other:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1024)
        writer.write(
            b"GET /v1 HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        await reader.readuntil(b"\r\n\r\n")
        reader._transport.pause_reading()  # type: ignore[attr-defined]
        port = writer.get_extra_info("sockname")[1]
        connection = next(one for one in server._sessions if one.remote_address[1] == port)
        ping = b"\x89\xfd\0\0\0\0" + b"x" * 125
        worst = stuck = 0
        async with asyncio.timeout(PATIENCE_SECONDS):
            while stuck < 20:
                if writer.transport.get_write_buffer_size() < 1 << 20:
                    writer.write(ping * 4000)
                before = connection._written_bytes
                for _ in range(5):
                    assert await other.ok("ping") == {}
                worst = max(worst, connection.transport.get_write_buffer_size())
                stuck = stuck + 1 if before == connection._written_bytes else 0
        assert worst > 1 << 19
        assert worst <= (1 << 20) + (512 << 10)
        writer.transport.abort()


async def test_reading_stops_while_too_many_requests_wait_and_goes_on_after() -> None:
    async with running(max_inflight=10) as server, client(server) as raw:
        await raw.create(capacity=1000)
        _, session = session_of(server, raw)
        async with engine_held(server):
            sent = [await raw.send("count", collection="items") for _ in range(100)]
            await settled(lambda: len(session._inflight), lambda count: count == 10)
            received = server.metrics.received_messages
            for _ in range(20):
                await asyncio.sleep(0)
            assert server.metrics.received_messages == received
            assert len(session._inflight) == 10
        for id in sent:
            assert (await raw.reply(id))["ok"]["count"] == 0


async def test_reading_stops_while_the_waiting_requests_are_too_long() -> None:
    async with running(max_inflight_bytes=100_000) as server, client(server) as raw:
        handle = (await raw.create(capacity=10_000, dim=100))["handle"]
        _, session = session_of(server, raw)
        async with engine_held(server):
            frames = [
                binary.encode_add(number, handle, batch(*range(50), dim=100))
                for number in range(100, 120)
            ]
            for frame in frames:
                await raw.send_binary(frame)
            await settled(lambda: session._inflight_bytes, lambda size: size >= 100_000)
            assert session._inflight_bytes <= 100_000 + len(frames[0])
            assert not session.has_room
        for number in range(100, 120):
            assert (await raw.reply(number)).version == number - 99
        assert session._inflight_bytes == 0
        assert session._expected_bytes == 0


async def test_a_slow_reader_of_many_feeds_costs_no_more_than_its_share() -> None:
    limits = {"max_pending_bytes": 1 << 20}
    async with running(**limits) as server, client(server) as writer:
        handle = (await writer.create(capacity=2000, dim=256, columns={"p": "f64"}))["handle"]
        async with client(server, **DEAF) as deaf:
            for number in range(50):  # different filters, so that nothing is shared
                await deaf.ok(
                    "subscribe",
                    kind="feed",
                    collection="items",
                    include=["vector"],
                    filter={"p": {"$ne": number}},
                )
            _, session = session_of(server, deaf)
            for start in range(0, 6000, 500):
                await writer.add_binary(handle, batch(*range(start, start + 500), dim=256))
            assert session.outbox.push_bytes <= (1 << 20) + (1 << 20)
            assert session.lane.push_bytes <= (1 << 20) + (1 << 20)
            # When it reads again it hears of all that it missed, feed by feed.
            seen = dict.fromkeys(range(1, 51), 0)
            while min(seen.values()) < 6000:
                event = await deaf.event()
                assert event["event"] in ("feed", "gap")
                if event["event"] == "gap":
                    assert event["from_seq"] == seen[event["sub"]] + 1
                else:
                    assert all(row["seq"] > seen[event["sub"]] for row in event["rows"])
                seen[event["sub"]] = event["to_seq"]
            await deaf.ok("ping")
            await settled(lambda: session.lane.push_bytes, lambda size: size == 0)


async def test_connections_are_bounded() -> None:
    async with running(max_connections=2) as server, client(server) as raw, client(server):
        with pytest.raises(InvalidStatus) as refused:
            await connect(server.url, compression=None)
        assert refused.value.response.status_code == 503
        assert await raw.ok("ping") == {}
    async with running(max_connections=1) as server:
        for _ in range(3):
            async with client(server) as raw:
                assert await raw.ok("ping") == {}
            await settled(lambda: server.metrics.connections, lambda count: count == 0)


async def test_a_connection_that_breaks_off_leaves_nothing_and_its_changes_stand() -> None:
    async with running() as server, client(server) as raw:
        await raw.create(capacity=1000)
        async with client(server) as other, engine_held(server):
            for number in range(50):
                await other.send("add", collection="items", rows=rows(number))
                await other.send("search", collection="items", vector=[1, 0])
            await settled(lambda: server.context.engine.depth, lambda depth: depth == 100)
            other.socket.transport.abort()
            await settled(lambda: server.metrics.connections, lambda count: count == 1)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (await raw.ok("describe", collection="items"))["version"] < 50:
                pass
        assert server.metrics.searched == 0
        with pytest.raises(ConnectionClosed):
            await other.socket.recv()


async def test_a_client_may_send_close_at_any_time() -> None:
    async with running() as server, client(server) as raw:
        await raw.create()
        await raw.send("search", collection="items", vector=[1, 0])
        await raw.socket.close()
        await settled(lambda: server.metrics.connections, lambda count: count == 0)
        assert orjson.dumps(server.stats())
