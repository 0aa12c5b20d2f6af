"""Bytes and places of all connections: bounded, whatever they send or do not take."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import orjson
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.frames import Opcode

from omendb_ws.access.peer import LOCAL
from omendb_ws.net.connection import Connection
from omendb_ws.net.crowd import Crowd, Member
from omendb_ws.net.half_message import LEAST_PROGRESS_BYTES
from omendb_ws.net.request_head import MAX_HEAD_BYTES
from omendb_ws.net.server import Server
from omendb_ws.net.watch import STRANGERS_SHARE
from omendb_ws.wire import binary, binary_replies
from omendb_ws.wire.messages import Added
from tests.server.net.test_websocket_frames import frame, message
from tests.server.net.test_websocket_frames import socket as bare
from tests.server.raw import (
    PATIENCE_SECONDS,
    batch,
    client,
    engine_held,
    running,
    settings,
    with_keys,
)

MIB = 1 << 20
REQUEST = (
    b"GET /v1 HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


# -- the crowd alone ------------------------------------------------------------------------------


class Guest:
    """A member that says what it is told to."""

    def __init__(self, crowd: Crowd, since: float = math.inf) -> None:
        self.crowd, self.since = crowd, since
        self.held_bytes = 0
        self.is_shed = False
        crowd.enter(self)

    def waits_since(self) -> float:
        return self.since

    has_much_under_way = False
    peer = LOCAL

    def missing_bytes(self) -> int:
        return 0

    def began_at(self) -> float:
        return 0.0

    def hold_on(self) -> None:
        raise AssertionError

    def let_on(self) -> None:
        raise AssertionError

    def shed(self) -> None:
        assert not self.is_shed
        self.is_shed = True
        self.crowd.change(self, 0)
        self.crowd.leave(self)


def crowd(max_members: int = 100, max_bytes: int = 1000) -> tuple[Crowd, list[Member]]:
    shed: list[Member] = []
    return Crowd(max_members, max_bytes, shed.append), shed


def test_who_waits_longest_leaves_first() -> None:
    some, shed = crowd()
    young, old, working = Guest(some, 9.0), Guest(some, 1.0), Guest(some)
    some.change(working, 600)
    some.change(young, 200)
    assert some.is_tight
    some.change(old, 200)
    assert shed == []
    some.change(young, 250)
    assert shed == [old]
    assert (old.is_shed, young.is_shed, working.is_shed) == (True, False, False)
    assert some.held_bytes == 850
    some.change(working, 100)
    assert not some.is_tight


def test_the_oldest_gives_its_place() -> None:
    some, shed = crowd(max_members=2)
    first, second, third = Guest(some), Guest(some), Guest(some)
    assert shed == [first]
    assert list(some) == [second, third]


def test_one_that_grows_much_may_drive_out_thousands_that_hold_little() -> None:
    some, shed = crowd(max_members=4000, max_bytes=4_000_000)
    small = [Guest(some, float(place)) for place in range(3000)]
    for guest in small:
        some.change(guest, 1000)
    some.change(Guest(some), 3_500_000)
    assert some.held_bytes == 3_500_000
    assert shed == small


@pytest.mark.parametrize("seed", range(20))
def test_the_sum_is_that_of_its_members_and_bounded(seed: int) -> None:
    numbers = random.Random(seed)
    some, _ = crowd(max_members=10, max_bytes=1000)
    guests: list[Guest] = []
    for _ in range(500):
        if numbers.random() < 0.2 or not guests:
            guests.append(Guest(some, numbers.choice((1.0, 2.0, math.inf))))
        guest = numbers.choice(guests)
        if numbers.random() < 0.1:
            some.leave(guest)
            guests.remove(guest)
        else:
            some.change(guest, numbers.randrange(500))
        inside = [member for member in some if isinstance(member, Guest)]
        assert some.held_bytes == sum(one.held_bytes for one in inside) <= 1000
        assert len(inside) == len(some) <= 10
        assert not any(one.is_shed for one in inside)


class Loader(Guest):
    """It sends large messages, some in each turn, unless it is held on; then it is answered."""

    def __init__(self, crowd: Crowd, sizes: list[int]) -> None:
        super().__init__(crowd)
        self.sizes = sizes
        self.is_held_on = self.has_much_under_way = False
        self.turn = self.began = 0

    def missing_bytes(self) -> int:
        is_sending = self.held_bytes and not self.has_much_under_way
        return self.sizes[0] - self.held_bytes if is_sending else 0

    def began_at(self) -> float:
        return self.began

    def hold_on(self) -> None:
        self.is_held_on = True

    def let_on(self) -> None:
        self.is_held_on = False

    def send(self, some_bytes: int, turn: int) -> None:
        """What a socket has at a time."""
        if not self.held_bytes:
            self.began = turn
        self.crowd.change(self, min(self.held_bytes + some_bytes, self.sizes[0]))
        self.has_much_under_way = self.held_bytes == self.sizes[0]
        self.is_held_on = not self.crowd.may_go_on(self)

    def answer(self) -> None:
        self.sizes.pop(0)
        self.has_much_under_way = False
        self.crowd.change(self, 0)


@pytest.mark.parametrize("seed", range(30))
def test_all_that_load_get_through_whatever_the_order_and_nobody_leaves(seed: int) -> None:
    numbers = random.Random(seed)
    some, shed = crowd(max_bytes=64_000)
    loaders = [
        Loader(some, [numbers.randrange(500, 8_000) for _ in range(numbers.randrange(1, 6))])
        for _ in range(40)
    ]
    turn = waited = 0
    while going := [one for one in loaders if one.sizes]:
        turn += 1
        able = [one for one in going if one.has_much_under_way or not one.is_held_on]
        assert able, "all wait for each other"
        waited += len(going) - len(able)
        one = numbers.choice(able)
        if one.has_much_under_way:
            one.answer()
        else:
            one.send(numbers.randrange(1, 256), turn)
        assert some.held_bytes <= 64_000
    assert shed == []
    assert waited > 0
    assert some.held_bytes == 0
    assert not some.is_rationing


# -- over sockets ---------------------------------------------------------------------------------


async def settled(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not is_so():  # noqa: ASYNC110 - whatever happens on this loop
            await asyncio.sleep(0)


@asynccontextmanager
async def opened(
    server: Server,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection that has said nothing yet."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def half(size: int, length: int = 16 * MIB) -> bytes:
    """A frame of ``length`` bytes of which ``size`` come."""
    return b"\x82\xff" + length.to_bytes(8, "big") + b"mask" + bytes(size)


HALVES = {
    "a frame": half(MIB),
    "a fragment": b"\x02" + half(MIB)[1:],
    "fragments": b"".join(
        frame(Opcode.CONT if place else Opcode.BINARY, bytes(MIB // 64), False)
        for place in range(64)
    ),
    "many fragments": b"".join(
        frame(Opcode.CONT if place else Opcode.BINARY, b"", False) for place in range(2600)
    ),
}


def patient(**limits: int) -> Server:
    """A server that lets nobody leave for keeping others waiting, until it is told to."""
    return Server(settings(**limits), stall_seconds=3600)


def keep_waiting_no_longer(server: Server) -> None:
    """What the server does now and then, as if its patience had run out."""
    server._known.make_way(asyncio.get_running_loop().time())


@pytest.mark.parametrize("name", HALVES)
async def test_half_messages_are_bounded_and_those_that_do_not_go_on_leave(name: str) -> None:
    async with running(patient(max_connection_bytes=24 * MIB)) as server, client(server) as raw:
        await raw.create()
        async with AsyncExitStack() as stack:
            streams = []
            for _ in range(30):
                streams.append(await stack.enter_async_context(bare(server)))
                streams[-1][1].write(HALVES[name])
                await settled(lambda: streams[-1][1].transport.get_write_buffer_size() == 0)
                await raw.add(len(streams))
                assert server._known.held_bytes <= 21 * MIB
            if name == "many fragments":  # a read of 16 KB makes a megabyte of them
                await settled(lambda: server.metrics.shed_connections["bytes"] >= 4)
            else:
                await settled(lambda: len(server._known._rations._waiting) >= 10)
                assert server.metrics.shed_connections.total() == 0
            keep_waiting_no_longer(server)
            assert server.metrics.shed_connections["bytes"] >= 4
            reader, _ = streams[0]
            assert (await message(reader))[0] == 0x81  # hello
            first, data = await message(reader)
            assert (first, data[:2]) == (0x88, (1013).to_bytes(2, "big"))
        await settled(lambda: server._known.held_bytes == 0 and len(server._known) == 1)
        assert not server._known.is_rationing


LOADERS = 40
LOADED_ROWS = 1400


async def opened_for(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> int:
    """The handle of the collection."""
    writer.write(frame(Opcode.TEXT, b'{"id":0,"op":"open","collection":"items"}'))
    assert (await message(reader))[0] == 0x81  # hello
    return int(orjson.loads((await message(reader))[1])["ok"]["handle"])


@asynccontextmanager
async def loaders(server: Server) -> AsyncIterator[list[asyncio.Task[bytes]]]:
    """Clients that load 1.4 MiB each: all have sent half of their message before any goes on."""
    has_begun = asyncio.Barrier(LOADERS)
    rows = batch(*range(LOADED_ROWS), dim=256)

    async def load(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        data = frame(Opcode.BINARY, binary.encode_add(1, await opened_for(reader, writer), rows))
        writer.write(data[: len(data) // 2])
        await has_begun.wait()
        writer.write(data[len(data) // 2 :])
        first, answer = await message(reader)
        assert first == 0x82, answer
        return answer

    async with AsyncExitStack() as stack:
        streams = [await stack.enter_async_context(bare(server)) for _ in range(LOADERS)]
        tasks = [asyncio.create_task(load(*one)) for one in streams]
        try:
            yield tasks
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)


async def test_many_that_load_at_once_are_slowed_down_and_none_is_closed() -> None:
    limits = {"max_connection_bytes": 32 * MIB, "max_message_bytes": 2 * MIB}
    async with running(patient(**limits)) as server, client(server) as raw:
        await raw.create(dim=256, capacity=LOADED_ROWS)
        server._known.freed.most_bytes = 0
        async with asyncio.timeout(PATIENCE_SECONDS), loaders(server) as loading:
            answers = await asyncio.gather(*loading)
        assert all(isinstance(binary_replies.decode_incoming(one)[1], Added) for one in answers)
        assert server._known._rations.let_on > 0
        assert 20 * MIB < server._known.freed.most_bytes <= 28 * MIB
        assert server.metrics.shed_connections.total() == 0
        await settled(lambda: not server._known.is_rationing)
        assert (await raw.ok("describe", collection="items"))["version"] == LOADERS


async def test_who_sends_half_and_waits_makes_way_for_those_that_load() -> None:
    limits = {"max_connection_bytes": 32 * MIB, "max_message_bytes": 2 * MIB}
    async with (
        running(patient(**limits)) as server,
        client(server) as raw,
        AsyncExitStack() as stack,
    ):
        await raw.create(dim=256, capacity=LOADED_ROWS)
        lurking = []
        while not server._known.is_tight:
            _, writer = await stack.enter_async_context(bare(server))
            before = server._known.held_bytes
            writer.write(half(MIB, 2 * MIB))
            await settled(
                lambda: server._known.is_tight or server._known.held_bytes >= before + MIB  # noqa: B023
            )
            lurking.append(writer)
        rations = server._known._rations
        async with asyncio.timeout(PATIENCE_SECONDS), loaders(server) as loading:
            await settled(lambda: len(rations._waiting) >= LOADERS)
            before = rations.let_on
            for writer in lurking:
                writer.write(b"x")  # it is progress of a kind
            await raw.add(1, dim=256)
            assert rations.let_on == before
            keep_waiting_no_longer(server)
            await asyncio.gather(*loading)
        assert len(lurking) - 1 <= server.metrics.shed_connections["bytes"] <= len(lurking)
        assert (await raw.ok("describe", collection="items"))["version"] == LOADERS + 1


async def test_small_messages_pass_by_large_ones_that_wait() -> None:
    limits = {"max_connection_bytes": 8 * MIB, "max_message_bytes": MIB}
    async with (
        running(patient(**limits)) as server,
        client(server) as raw,
        AsyncExitStack() as stack,
    ):
        await raw.create(capacity=100)
        while not server._known._rations.has_waiting:
            _, writer = await stack.enter_async_context(bare(server))
            writer.write(half(600 << 10, MIB))
            await settled(lambda writer=writer: writer.transport.get_write_buffer_size() == 0)
        for id in range(50):
            await raw.add(id)
        assert server.metrics.shed_connections.total() == 0


async def test_clients_that_never_read_are_bounded_together() -> None:
    async with running(max_connection_bytes=8 * MIB) as server, client(server) as raw:
        await raw.create(dim=256, capacity=2000)
        for start in range(0, 2000, 500):
            ids = range(start, start + 500)
            await raw.ok(
                "add", collection="items", rows=[{"id": id, "vector": [0.5] * 256} for id in ids]
            )
        asked = {"op": "search", "collection": "items", "vector": [1] * 256, "k": 1000,
                 "include": ["vector"]}  # fmt: skip
        async with AsyncExitStack() as stack:
            for _ in range(12):
                _, writer = await stack.enter_async_context(bare(server))
                writer.transport.pause_reading()
                for id in range(8):
                    writer.write(frame(Opcode.TEXT, orjson.dumps({"id": id, **asked})))
                await raw.ok("count", collection="items")
            await settled(lambda: server.metrics.shed_connections["bytes"] > 0)
            assert server._known.held_bytes <= 8 * MIB
            assert await raw.ok("count", collection="items") == {"version": 4, "count": 2000}
        await settled(lambda: server._known.held_bytes == 0)


async def test_where_it_is_tight_requests_come_one_at_a_time_and_all_are_answered() -> None:
    async with running(max_connection_bytes=4 * MIB) as server, client(server) as raw:
        handle = (await raw.create(dim=256, capacity=2000))["handle"]
        vectors = [{"id": id, "vector": [0.5] * 256} for id in range(300)]
        for id in range(40):
            await raw.send("add", id=id, collection="items", rows=vectors)
        for id in range(40):
            assert "ok" in await raw.reply(id)
        assert server.metrics.shed_connections.total() == 0
        assert handle == 1


async def test_who_is_not_read_from_for_the_servers_sake_is_not_the_one_that_leaves() -> None:
    """What came of its next messages waits for the server, however long, and not for the client."""
    limits = {
        "max_connection_bytes": 8 * MIB,
        "max_message_bytes": MIB,
        "max_inflight_bytes": 64 << 10,
    }
    async with (
        running(patient(**limits)) as server,
        client(server) as worker,
        AsyncExitStack() as stack,
    ):
        await worker.create(dim=256, capacity=2000)
        (connection,) = server._known
        assert isinstance(connection, Connection)
        vectors = [{"id": id, "vector": [0.5] * 256} for id in range(300)]

        async def work() -> None:
            for id in range(100, 110):
                await worker.send("add", id=id, collection="items", rows=vectors)

        async with engine_held(server):
            working = asyncio.create_task(work())
            await settled(lambda: connection._is_paused and connection._has_half)
            while not server._known._rations.has_waiting:
                _, writer = await stack.enter_async_context(bare(server))
                writer.write(half(600 << 10, MIB))
                await settled(lambda writer=writer: writer.transport.get_write_buffer_size() == 0)
            keep_waiting_no_longer(server)
            assert server.metrics.shed_connections["bytes"] >= 3
            assert connection in list(server._known)
        await working
        for id in range(100, 110):
            assert "ok" in await worker.reply(id)


async def test_a_request_that_is_under_way_is_held_once() -> None:
    """Not also as what it was cut out of, when no other message may be taken behind it."""
    async with running(max_inflight_bytes=64 << 10) as server, client(server) as raw:
        await raw.create(dim=256, capacity=2000)
        (connection,) = server._known
        assert isinstance(connection, Connection)
        rows = [{"id": id, "vector": [0.5] * 256} for id in range(1000)]
        async with engine_held(server):
            id = await raw.send("add", collection="items", rows=rows)
            await settled(lambda: connection._is_held and not connection._has_half)
            assert connection._session is not None
            asked_bytes = connection._session.inflight_bytes
            assert asked_bytes > MIB // 2
            await settled(lambda: 0 < connection.held_bytes < asked_bytes * 1.1)
        assert "ok" in await raw.reply(id)


async def test_strangers_have_places_of_their_own_and_the_oldest_leaves(tmp_path: Path) -> None:
    server = Server(with_keys(tmp_path, max_unauthenticated_connections=5, max_connections=2))
    async with running(server), client(server, token="token-root") as known, AsyncExitStack() as s:
        silent = []
        for number in range(50):
            # Some say nothing at all, some have shaken hands.
            if number % 2:
                silent.append((await s.enter_async_context(bare(server)))[0])
            else:
                silent.append((await s.enter_async_context(opened(server)))[0])
            await known.ok("ping")
            assert len(server._strangers) <= 5
        await settled(lambda: server.metrics.shed_connections["strangers"] == 45)
        with contextlib.suppress(OSError):
            await silent[0].read()
        async with client(server) as browser:
            await browser.ok("auth", token="token-reader")
            assert len(server._known) == 2
            with pytest.raises(InvalidStatus):
                await connect(
                    server.url, additional_headers={"X-API-Key": "token-root"}, compression=None
                )
            async with client(server) as third:
                assert await third.code("auth", token="token-reader") == "overloaded"
                assert await third.closed() == 1013
            assert await browser.ok("ping") == {}


async def test_upgrades_under_way_have_their_places_already() -> None:
    async with running(max_connections=3) as server, AsyncExitStack() as stack:
        streams = [await stack.enter_async_context(opened(server)) for _ in range(20)]
        for _, writer in streams:
            writer.write(REQUEST)
        said = [(await reader.readline()).split()[1] for reader, _ in streams]
        assert sorted(said) == [b"101"] * 3 + [b"503"] * 17
        assert len(server._known) == 3


async def test_bytes_of_strangers_are_bounded_apart(tmp_path: Path) -> None:
    server = Server(with_keys(tmp_path, max_connection_bytes=STRANGERS_SHARE * MIB))
    async with running(server), client(server, token="token-root") as known:
        async with AsyncExitStack() as stack:
            for number in range(60):
                if number % 2:
                    _, writer = await stack.enter_async_context(bare(server))
                    writer.write(half(60_000, 64 << 10))
                else:
                    _, writer = await stack.enter_async_context(opened(server))
                    writer.write(REQUEST[:-2] + b"X: " + b"x" * (MAX_HEAD_BYTES - 1000))
                await known.ok("ping")
                assert server._strangers.held_bytes <= MIB
            await settled(lambda: server.metrics.shed_connections["strangers"] >= 10)
        await settled(lambda: len(server._strangers) == 0)
        assert server._strangers.held_bytes == 0


async def test_headers_and_tokens_are_not_kept(tmp_path: Path) -> None:
    async with (
        running(Server(with_keys(tmp_path))) as server,
        client(server, token="token-root"),
    ):
        (connection,) = server._sessions
        assert connection.request is not None
        assert not connection.request.headers


@asynccontextmanager
async def half_sent(server: Server) -> AsyncIterator[tuple[Connection, asyncio.StreamWriter]]:
    async with bare(server) as (_, writer):
        writer.write(half(5000))
        await settled(lambda: bool(server._sessions))
        (connection,) = server._sessions
        await settled(lambda: connection._received_bytes > 5000)
        yield connection, writer


async def test_half_a_message_that_does_not_go_on_ends_its_connection() -> None:
    server = Server(settings(), stall_seconds=0.1)
    async with running(server), half_sent(server) as (connection, writer):
        await settled(lambda: connection.protocol.close_sent is not None)
        assert connection.protocol.close_sent is not None
        assert connection.protocol.close_sent.code == 4408
        assert server.metrics.shed_connections["stalled"] == 1
        assert not writer.transport.is_closing()


async def test_half_a_message_that_grows_slowly_and_steadily_may_stay(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [1000.0]
    server = Server(settings(), stall_seconds=3600)
    async with running(server), half_sent(server) as (connection, writer):
        monkeypatch.setattr(
            connection, "loop", type("Loop", (), {"time": staticmethod(lambda: now[0])})()
        )
        connection.half_seconds()
        for _ in range(20):
            now[0] += 29
            assert connection.half_seconds() == 29
            before = connection._received_bytes
            writer.write(bytes(LEAST_PROGRESS_BYTES))
            await settled(lambda: connection._received_bytes > before)  # noqa: B023
            assert connection.half_seconds() == 0
        now[0] += 20
        before = connection._received_bytes
        writer.write(bytes(LEAST_PROGRESS_BYTES - 1))
        await settled(lambda: connection._received_bytes > before)
        assert connection.half_seconds() == 20
        monkeypatch.undo()


# -- what is really held ---------------------------------------------------------------------------


@pytest.fixture
def child() -> Iterator[Callable[..., tuple[int, int]]]:
    """Start a server of its own: its port and process."""
    started: list[subprocess.Popen[str]] = []

    def start(*flags: str, **variables: str) -> tuple[int, int]:
        process = subprocess.Popen(
            [sys.executable, "-m", "omendb_ws", "serve", "--port", "0", *flags],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, **variables},
        )
        started.append(process)
        assert process.stdout is not None
        url = process.stdout.readline().split()[-1]
        return int(url.removesuffix("/v1").rsplit(":", 1)[1]), process.pid

    yield start
    for process in started:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=PATIENCE_SECONDS)


def resident(pid: int) -> int:
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.split("VmRSS:")[1].split()[0]) * 1024


def talk(port: int, data: bytes) -> socket.socket:
    """Send what is taken without waiting long; nobody may be there any more."""
    found = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS)
    with contextlib.suppress(OSError):
        found.sendall(data)
    return found


ATTACKS = {
    # Of a budget of 32, with a read of each that came at once, and what the heap keeps.
    "100 MiB of half frames": (REQUEST + half(4 * MIB), 80, 25),
    "60 MiB of handshakes": (
        REQUEST[:-2] + b"".join(b"X%d: %b\r\n" % (n, b"x" * 8000) for n in range(125)),
        20,
        60,
    ),
}


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
@pytest.mark.parametrize("name", ATTACKS)
def test_memory_that_is_really_held_is_bounded(
    name: str, child: Callable[..., tuple[int, int]]
) -> None:
    port, pid = child(OMENDB_MAX_CONNECTION_BYTES=str(32 * MIB))
    before = resident(pid)
    data, most_mib, count = ATTACKS[name]
    sockets = []
    try:
        for _ in range(count):
            sockets.append(talk(port, data))
            assert resident(pid) - before < most_mib * MIB
    finally:
        for one in sockets:
            one.close()
