"""Where one request ends and the next begins: nothing is taken for what it is not, or kept in vain.

Who is in front of the server and who attacks it may take the same bytes for different requests.
"""

from __future__ import annotations

import tracemalloc

import pytest

from omendb_ws.http.api.body import Body
from tests.patience import eventually
from tests.server.raw import settings

from .served import served
from .test_sockets import GET, HOST, MADE, POST, Line, line, line_to

CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
UPGRADE = b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
#: As Java's client and ``curl --http2`` send with the first request of a connection.
H2C = (
    b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
    b"HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA\r\n"
)


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


def framed(body: bytes, how: str) -> bytes:
    """The end of a head, and a body."""
    if how == "length":
        return b"Content-Length: %d\r\n\r\n" % len(body) + body
    half = len(body) // 2
    chunks = chunk(body[:half]) + chunk(body[half:])
    return b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\nHost: elsewhere\r\n\r\n"


@pytest.mark.parametrize("pieces", ["whole", "head, body", "bytes"])
@pytest.mark.parametrize("how", ["length", "chunked"])
async def test_another_protocol_that_is_offered_is_ignored(how: str, pieces: str) -> None:
    async with line() as one:
        data = GET + H2C + b"\r\n" + POST + H2C + framed(MADE, how) + GET + H2C + b"\r\n"
        if pieces == "whole":
            sent = [data]
        elif pieces == "bytes":
            sent = [bytes([byte]) for byte in data]
        else:
            sent = [part + b"\r\n\r\n" for part in data.split(b"\r\n\r\n")]
            sent[-1] = sent[-1].removesuffix(b"\r\n\r\n")
        for piece in sent:
            await one.send(piece)
        answers = [await one.answer() for _ in range(3)]
        assert [status for status, _ in answers] == [200, 200, 200]
        assert [len(answers[at][1]["collections"]) for at in (0, 2)] == [0, 1]
        await one.send(GET + b"\r\n")
        assert (await one.answer())[0] == 200


@pytest.mark.parametrize("how", ["length", "chunked"])
@pytest.mark.parametrize(
    "offer",
    [H2C, b"Connection: close, Upgrade\r\nUpgrade: h2c\r\n",
     b"Connection: Upgrade\r\nUpgrade: TLS/1.2\r\nUpgrade: h2c\r\n"],
)  # fmt: skip
async def test_a_body_behind_an_offer_is_never_a_request(offer: bytes, how: str) -> None:
    async with line() as one:
        await one.send(POST + offer + framed(GET + b"\r\n", how))
        status, body = await one.answer()
        assert (status, body["error"]["code"]) == (400, "bad_request")
        assert body["error"]["message"].startswith("not JSON")
        if b"close" in offer:
            assert await one.ended() == b""
        else:
            await one.send(GET + b"\r\n")
            assert await one.answer() == (200, {"collections": []})


@pytest.mark.parametrize(
    "head",
    [
        H2C + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        H2C + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n",
        H2C + b"Transfer-Encoding: gzip\r\n\r\n",
        H2C + b"Transfer-Encoding: chunked, gzip\r\n\r\n",
        H2C + b"Transfer-Encoding: chunked\r\n\r\nno number\r\n",
        b"Connection: Upgrade\r\nUpgrade: h2c, websocket\r\nContent-Length: 5\r\n\r\n",
        b"Connection: Upgrade\r\nUpgrade: h2c\r\nUpgrade: WebSocket/13\r\n"
        b"Content-Length: 5\r\n\r\n",
    ],
)
async def test_a_body_whose_end_is_not_clear_is_refused_behind_an_offer_too(head: bytes) -> None:
    async with line() as one:
        await one.send(POST + head)
        assert (await one.answer())[0] == 400
        await _try(one, GET + b"\r\n")
        assert await one.ended() == b""


async def test_an_older_http_is_answered_behind_an_offer_and_ends() -> None:
    async with line() as one:
        older = POST.replace(b"HTTP/1.1", b"HTTP/1.0")
        await one.send(older + H2C + framed(MADE, "length") + GET + b"\r\n")
        assert (await one.answer())[0] == 200
        assert await one.ended() == b""


async def test_a_body_behind_an_offer_has_the_limits_of_any() -> None:
    async with line(max_text_bytes=100) as one:
        await one.send(POST + H2C + b"Content-Length: 101\r\n\r\n")
        assert (await one.answer())[0] == 413
        await one.send(b" " * 101 + POST + H2C + b"Expect: 100-continue\r\n")
        await one.send(b"Content-Length: %d\r\n\r\n" % len(MADE))
        assert (await one.head())[0] == 100
        await one.send(MADE)
        assert (await one.answer())[0] == 200


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

        await eventually(counts)
