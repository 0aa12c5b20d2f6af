"""Where one request ends and the next begins: nothing is taken for what it is not, or kept in vain.

Who is in front of the server and who attacks it may take the same bytes for different requests.
"""

from __future__ import annotations

import tracemalloc

import pytest

from omendb_ws.http.api.body import Body
from tests.server.raw import settings

from .served import served
from .test_access import until
from .test_sockets import GET, HOST, MADE, POST, Line, line, line_to

CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
UPGRADE = b"Connection: Upgrade\r\nUpgrade: h2c\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


@pytest.mark.parametrize("name", ["Host", "Origin", "Authorization", "Idempotency-Key"])
async def test_what_stands_behind_a_body_is_no_header(name: str) -> None:
    """A proxy that looks at headers, or adds one, has not looked at these."""
    async with line() as one:
        trailer = f"{name}: http://elsewhere\r\n".encode()
        await one.send(CHUNKED + chunk(MADE) + b"0\r\n" + trailer + b"\r\n")
        assert (await one.answer())[0] == 200
        await one.send(GET + b"\r\n")
        assert (await one.answer())[0] == 200


async def test_a_client_behind_a_proxy_does_not_say_behind_a_body_where_it_is() -> None:
    async with served(settings(trusted_proxies=("127.0.0.1",))) as server, line_to(server) as one:
        trailer = b"X-Forwarded-For: 10.9.9.9\r\n\r\n"
        forwarded = b"X-Forwarded-For: 10.1.1.1\r\n"
        head = POST + forwarded + b"Transfer-Encoding: chunked\r\n\r\n"
        await one.send(head + chunk(MADE) + b"0\r\n" + trailer)
        assert (await one.answer())[0] == 200
        (session,) = server._http.sessions()
        assert session.peer.host == "10.1.1.1"


@pytest.mark.parametrize(
    "broken", [b"no number\r\n", b"2\r\n{}more", b"0\r\nContent-Length: 1\r\n\r\n"]
)
async def test_a_body_that_is_none_is_refused_at_once_and_once(broken: bytes) -> None:
    async with line() as one:
        await one.send(CHUNKED + chunk(MADE[:5]) + broken)
        status, body = await one.answer()
        assert (status, body["error"]["message"]) == (400, "not HTTP/1.1")
        assert await one.ended() == b""


async def test_behind_another_request_it_waits_for_its_turn() -> None:
    async with line() as one:
        await one.send(GET + b"\r\n" + CHUNKED + b"no number\r\n")
        assert (await one.answer())[0] == 200
        assert (await one.answer())[0] == 400
        assert await one.ended() == b""


async def test_a_request_that_was_answered_early_has_no_second_answer() -> None:
    async with line() as one:
        nowhere = b"POST /nowhere HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"
        await one.send(nowhere)
        assert (await one.answer())[0] == 404
        await one.send(b"no number\r\n")
        assert await one.ended() == b""


@pytest.mark.parametrize("length", [b"Content-Length: %d\r\n", b"Transfer-Encoding: chunked\r\n"])
async def test_a_body_is_never_a_request_whatever_its_head_asks_for(length: bytes) -> None:
    async with line() as one:
        inner = GET + b"\r\n"
        head = length % len(inner) if b"%d" in length else length
        await one.send(POST + UPGRADE + head + b"\r\n")
        status, body = await one.answer()
        assert status == 400
        assert body["error"]["message"].startswith("Upgrade: ")
        await _try(one, inner)
        assert await one.ended() == b""


async def _try(one: Line, data: bytes) -> None:
    try:
        await one.send(data)
    except ConnectionError:
        return


async def test_behind_an_upgrade_that_is_not_taken_the_connection_ends_and_says_so() -> None:
    async with line() as one:
        await one.send(GET + UPGRADE + b"\r\n" + GET + b"\r\n")
        status, headers = await one.head()
        assert (status, headers["connection"]) == (200, "close")
        assert (await one.ended()).count(b"collections") == 1


def test_bytes_that_come_two_at_a_time_take_no_more_than_they_are() -> None:
    body = Body(lambda: None)
    data = bytes(range(250)) * 1600
    tracemalloc.start()
    try:
        for at in range(0, len(data), 2):
            body.feed(data[at : at + 2])
        taken_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert body.untaken_bytes == len(data)
    assert taken_bytes < 1.5 * len(data)


async def test_bodies_of_requests_that_wait_for_another_count() -> None:
    async with served(settings()) as server, line_to(server) as one:
        await one.send(POST + b"Content-Length: %d\r\n\r\n" % len(MADE) + MADE)
        assert (await one.answer())[0] == 200
        stream = b"GET /v1/collections/items/stats HTTP/1.1\r\n" + HOST + b"\r\n"
        waiting = POST + b"Content-Length: 10000\r\n\r\n" + b" " * 10_000
        await one.send(stream + waiting * 2)
        listener = server._http._listener
        assert listener is not None
        (connection,) = listener.connections

        def counts() -> bool:
            connection.weigh()
            return connection.held_bytes >= 20_000

        await until(counts)
