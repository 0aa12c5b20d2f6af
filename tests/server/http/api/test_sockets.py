"""What comes over the socket: cut, chunked, pipelined, slow, too long, and never at all."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from omendb_ws.http.api import connection as connections
from omendb_ws.http.api import listener
from omendb_ws.net.server import Server
from tests.patience import PATIENCE_SECONDS
from tests.server.raw import settings

from .served import client_of, served

HOST = b"Host: localhost\r\n"
GET = b"GET /v1/collections HTTP/1.1\r\n" + HOST
POST = b"POST /v1/collections HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\n"
MADE = b'{"collection": "items", "dim": 2, "capacity": 10}'


class Line:
    """A connection that sends bytes as they are."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def send_for_ever(self, data: bytes) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                await self.send(data)
                await asyncio.sleep(0)

    async def head(self) -> tuple[int, dict[str, str]]:
        async with asyncio.timeout(PATIENCE_SECONDS):
            head = (await self._reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.strip().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines)
        return int(first.split(" ")[1]), headers

    async def answer(self) -> tuple[int, Any]:
        """The next answer, which has a Content-Length."""
        status, headers = await self.head()
        async with asyncio.timeout(PATIENCE_SECONDS):
            body = await self._reader.readexactly(int(headers["content-length"]))
        return status, json.loads(body)

    async def ended(self) -> bytes:
        """What came before the end."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            try:
                return await self._reader.read()
            except ConnectionError:
                return b""


@asynccontextmanager
async def line_to(server: Server) -> AsyncIterator[Line]:
    assert server.http_url is not None
    port = int(server.http_url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield Line(reader, writer)
    finally:
        writer.close()


@asynccontextmanager
async def line(**fields: Any) -> AsyncIterator[Line]:
    async with served(settings(**fields)) as server, line_to(server) as found:
        yield found


def posted(body: bytes, more: bytes = b"") -> bytes:
    return POST + more + b"Content-Length: %d\r\n\r\n" % len(body) + body


async def test_requests_in_a_row_are_answered_in_a_row() -> None:
    async with line() as one:
        await one.send((posted(MADE) + GET + b"\r\n") * 2)
        answers = [await one.answer() for _ in range(4)]
        assert [status for status, _ in answers] == [200, 200, 409, 200]
        assert answers[2][1]["error"]["code"] == "exists"


async def test_a_request_may_come_a_byte_at_a_time() -> None:
    async with line() as one:
        for byte in posted(MADE):
            await one.send(bytes([byte]))
        assert (await one.answer())[0] == 200


async def test_a_chunked_body_is_one_body() -> None:
    async with line() as one:
        await one.send(POST + b"Transfer-Encoding: chunked\r\n\r\n")
        for piece in (MADE[:1], MADE[1:20], MADE[20:]):
            await one.send(b"%x;note=1\r\n%b\r\n" % (len(piece), piece))
        await one.send(b"0\r\nTrailer: x\r\n\r\n")
        assert (await one.answer())[0] == 200
        await one.send(GET + b"\r\n")
        assert len((await one.answer())[1]["collections"]) == 1


async def test_who_expects_to_be_asked_is_asked_for_what_is_taken_only() -> None:
    async with line(max_text_bytes=100) as one:
        expects = b"Expect: 100-continue\r\n"
        await one.send(POST + expects + b"Content-Length: %d\r\n\r\n" % len(MADE))
        assert (await one.head())[0] == 100
        await one.send(MADE)
        assert (await one.answer())[0] == 200
        await one.send(POST + expects + b"Content-Length: 101\r\n\r\n")
        status, answer = await one.answer()
        assert (status, answer["error"]["code"]) == (413, "too_large")


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"what is this\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"GET /v1/collections HTTP/9.9\r\n\r\n", 400),
        (GET + b"a b: c\r\n\r\n", 400),
        (GET + b"A: " + b"a" * 9000 + b"\r\n\r\n", 431),
        (GET + b"A: b\r\n" * 200 + b"\r\n", 431),
        (GET + b"A: " + b"a" * 400_000, 431),
        (GET + (b"A: " + b"a" * 400 + b"\r\n") * 100 + b"\r\n", 431),
        (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n\r\n", 431),
        (b"GET /\xff HTTP/1.1\r\n" + HOST + b"\r\n", 400),
        (POST + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", 400),
        (POST + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}", 400),
        (POST + b"Content-Length: -1\r\n\r\n", 400),
        (POST + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n", 400),
    ],
)
async def test_what_is_no_request_gets_the_error_object_and_the_end(
    data: bytes, status: int
) -> None:
    async with line() as one:
        await one.send(data)
        said = await one.ended()
        head, _, body = said.partition(b"\r\n\r\n")
        if b"chunked" in data and b"xyz" in data:  # its request has begun
            return
        assert head.startswith(b"HTTP/1.1 %d " % status), said
        assert json.loads(body)["error"]["code"] == "bad_request"


async def test_a_flood_of_requests_in_a_row_is_cut_off() -> None:
    async with line() as one:
        await one.send((GET + b"\r\n") * 2000)
        assert (await one.ended()).count(b"HTTP/1.1 200") < 2000


async def test_a_body_that_is_refused_is_passed_over_up_to_a_bound() -> None:
    async with line(max_text_bytes=1000, max_message_bytes=1000) as one:
        await one.send(POST + b"Content-Length: 10000000\r\n\r\n")
        assert (await one.answer())[0] == 413
        with pytest.raises(ConnectionError):
            await one.send_for_ever(b" " * 10_000)


async def test_a_client_that_goes_in_the_middle_of_its_body_leaves_nothing() -> None:
    async with served() as server:
        async with line_to(server) as one:
            await one.send(POST + b"Content-Length: 1000\r\n\r\n{")
            await _until(lambda: server.metrics.connections == 1)
        await _until(lambda: server.metrics.connections == 0)
        async with client_of(server) as client:
            assert (await client.get("/v1/collections")).status_code == 200


async def test_connections_that_stand_still_are_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a byte, in half a head, in half a body, and between requests."""
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.2)
    given = settings(http_port=0, http_idle_seconds=1.0)
    async with Server(given, stall_seconds=1.0) as server:
        for data in (b"", GET, posted(MADE)[:-1], GET + b"\r\n"):
            async with line_to(server) as one:
                await one.send(data)
                said = await one.ended()
                assert said.startswith(b"HTTP/1.1 200") or not said
        assert server.metrics.shed_connections["stalled"] == 2


async def test_who_has_to_leave_for_others_is_named_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "omendb_ws.net.watch")
    given = settings(http_port=0, max_unauthenticated_connections=1)
    async with Server(given) as server:
        async with line_to(server) as oldest:
            port = oldest.writer.get_extra_info("sockname")[1]
            await _until(lambda: len(server._strangers) == 1)
            async with line_to(server):
                assert await oldest.ended() == b""
        assert server.metrics.shed_connections["strangers"] == 1
        (line_said,) = (record.getMessage() for record in caplog.records)
        assert line_said == f"shedding 127.0.0.1:{port} (strangers), which holds 0 bytes"


async def test_looking_at_all_connections_leaves_others_their_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(listener, "_LOOKED_AT_ONCE", 2)
    loop, turn, turns = asyncio.get_running_loop(), 0, []

    def count() -> None:
        nonlocal turn
        turn += 1
        counting = loop.call_soon(count)
        stop.append(counting)
        del stop[:-1]

    def look(one: object, now: float) -> None:
        turns.append(turn)

    stop: list[asyncio.Handle] = []
    monkeypatch.setattr(connections.HttpConnection, "look", look)
    async with (
        Server(settings(http_port=0), stall_seconds=1.0) as server,
        AsyncExitStack() as stack,
    ):
        for _ in range(5):
            await stack.enter_async_context(line_to(server))
        await _until(lambda: server.metrics.http.connections == 5)
        turns.clear()
        count()
        await _until(lambda: len(turns) >= 10)
        stop[0].cancel()
        assert len(set(turns[-5:])) >= 3


async def test_what_is_received_and_not_answered_yet_is_charged() -> None:
    async with served() as server:
        before = server._known.held_bytes
        async with line_to(server) as one:
            await one.send(POST + b"Content-Length: 2000000\r\n\r\n" + b" " * 1_000_000)
            await _until(lambda: server._known.held_bytes - before >= 1_000_000)
        await _until(lambda: server._known.held_bytes == before)


async def test_who_need_not_wait_for_others_any_more_is_read_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its body was refused while it waited for its turn, so nobody lets it on."""
    async with served() as server, line_to(server) as one:
        await one.send(GET + b"\r\n")
        assert (await one.answer())[0] == 200
        listener = server._http._listener
        assert listener is not None
        (connection,) = listener.connections
        monkeypatch.setattr(server._known, "may_go_on", lambda _: False)
        connection.weigh()
        assert connection.flow.read_paused
        monkeypatch.undo()
        connection.weigh()
        assert not connection.is_rationed
        await one.send(GET + b"\r\n")
        assert (await one.answer())[0] == 200


async def test_a_leaving_server_waits_for_the_answers_under_way() -> None:
    async with served() as server, line_to(server) as one:
        await one.send(posted(MADE)[:-1])
        await _until(lambda: server.metrics.connections == 1)
        leaving = asyncio.create_task(server.drain())
        await _until(lambda: server.context.is_draining)
        await one.send(MADE[-1:])
        said = await one.ended()
        assert said.startswith(b"HTTP/1.1 503")
        assert b'"code":"draining"' in said
        assert b"retry-after: 5" in said
        await leaving


async def _until(is_so: Any) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not is_so():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
