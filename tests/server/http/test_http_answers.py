"""Whatever comes as a request is answered in HTTP, and the answer can be read."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import random
import re

import pytest

from omendb_ws.net.request_head import MAX_HEAD_BYTES, RequestHead
from omendb_ws.net.server import Server
from tests.server.raw import PATIENCE_SECONDS, client, running

HOST = "Host: 127.0.0.1\r\n"
UPGRADE = (
    "Upgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
)


async def answer(server: Server, request: bytes, step: int = 1 << 20, end: bool = False) -> bytes:
    """All that the server says to ``request``, sent in pieces of ``step`` bytes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        for at in range(0, len(request), step):
            writer.write(request[at : at + step])
            await writer.drain()
        if end:
            writer.write_eof()
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await reader.read()
    finally:
        writer.transport.abort()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def status(said: bytes) -> int:
    found = re.match(rb"HTTP/1\.1 (\d{3}) [^\r\n]+\r\n", said)
    assert found, said
    head, _, body = said.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
    assert length, said
    assert int(length[1]) == len(body)
    return int(found[1])


REQUESTS = {
    "POST with a body": (f"POST /livez HTTP/1.1\r\n{HOST}Content-Length: 2\r\n\r\n{{}}", 405),
    "POST without its body": (f"POST /livez HTTP/1.1\r\n{HOST}Content-Length: 2\r\n\r\n", 405),
    "PUT in chunks": (
        f"PUT /livez HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
        405,
    ),
    "GET with a body": (f"GET /livez HTTP/1.1\r\n{HOST}Content-Length: 2\r\n\r\n{{}}", 200),
    "POST that waits to go on": (
        f"POST /v1 HTTP/1.1\r\n{HOST}Content-Length: 9\r\nExpect: 100-continue\r\n\r\n",
        405,
    ),
    "an odd length": (f"POST /livez HTTP/1.1\r\n{HOST}Content-Length: -x\r\n\r\n", 405),
    "an upgrade with a body": (
        f"GET /v1 HTTP/1.1\r\n{HOST}{UPGRADE}Content-Length: 2\r\n\r\n{{}}",
        400,
    ),
    "DELETE": (f"DELETE /livez HTTP/1.1\r\n{HOST}\r\n", 405),
    "OPTIONS": (f"OPTIONS /health HTTP/1.1\r\n{HOST}\r\n", 405),
    "OPTIONS of all": (f"OPTIONS * HTTP/1.1\r\n{HOST}\r\n", 404),
    "nowhere": (f"POST /x HTTP/1.1\r\n{HOST}Content-Length: 1\r\n\r\nx", 404),
    "two at once": (f"GET /livez HTTP/1.1\r\n{HOST}\r\n" * 2, 200),
    "to be kept": (f"GET /livez HTTP/1.1\r\n{HOST}Connection: keep-alive\r\n\r\n", 200),
    "HTTP/1.0": ("GET /livez HTTP/1.0\r\n\r\n", 200),
    "absolute": (f"GET http://127.0.0.1/livez HTTP/1.1\r\n{HOST}\r\n", 200),
    "absolute with a query": (f"GET http://127.0.0.1?x HTTP/1.1\r\n{HOST}\r\n", 200),
    "absolute, of another host": (
        "GET http://127.0.0.1/stats HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        403,
    ),
    "a long target": (f"GET /{'x' * 9000} HTTP/1.1\r\n{HOST}\r\n", 414),
    "a very long target": ("GET /" + "x" * MAX_HEAD_BYTES, 414),
    "a long header": (f"GET /livez HTTP/1.1\r\nX: {'x' * 9000}\r\n\r\n", 431),
    "much in all": ("GET /livez HTTP/1.1\r\n" + f"X: {'x' * 8000}\r\n" * 5, 431),
    "many headers": ("GET /livez HTTP/1.1\r\n" + "X: x\r\n" * 200 + "\r\n", 431),
    "HTTP/2": ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    "HTTP/3.14": ("GET / HTTP/3.14\r\n\r\n", 505),
    "HTTP/0.9": ("GET /livez\r\n\r\n", 400),
    "no HTTP": ("hello\r\n\r\n", 400),
    "bare line feeds": (f"GET /livez HTTP/1.1\n{HOST}\n", 400),
    "a folded header": (f"GET /livez HTTP/1.1\r\n{HOST}X: y\r\n z\r\n\r\n", 400),
    "a header without a colon": (f"GET /livez HTTP/1.1\r\n{HOST}x\r\n\r\n", 400),
    "letters that are none": (f"GET /\xe4 HTTP/1.1\r\n{HOST}\r\n", 400),
    "empty lines": ("\r\n\r\n", 400),
    "the greeting of TLS": ("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    "that of old SSL": ("\x80\x2e\x01\x00\x02", 400),
    "nothing but a zero": ("\0", 400),
    "a console with a body": (f"GET / HTTP/1.1\r\n{HOST}Content-Length: 3\r\n\r\nabc", 200),
}


@pytest.mark.parametrize("step", [1 << 20, 1])
@pytest.mark.parametrize("name", REQUESTS)
async def test_every_request_is_answered(name: str, step: int) -> None:
    request, wanted = REQUESTS[name]
    if step == 1 and len(request) > 1000:
        step = 997
    async with running() as server:
        said = await answer(server, request.encode("latin-1"), step)
        assert status(said) == wanted
        if wanted == 405:
            assert b"\r\nAllow: GET, HEAD\r\n" in said
        assert server.metrics.faults == 0
        async with client(server) as raw:
            assert await raw.ok("ping") == {}


@pytest.mark.parametrize("request_", [b"GET /livez HTTP/1.1\r\nHost: x\r\n", b"x"])
async def test_a_request_that_ends_early_is_answered(request_: bytes) -> None:
    async with running() as server:
        assert status(await answer(server, request_, end=True)) == 400
        assert await answer(server, b"", end=True) == b""


@pytest.mark.parametrize("method", ["POST", "PUT", "GET"])
async def test_a_client_that_sends_a_long_body_first_reads_the_answer(method: str) -> None:
    def ask(port: int) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS)
        try:
            connection.request(method, "/livez", b"x" * (8 << 20))
            return connection.getresponse().status
        finally:
            connection.close()

    async with running() as server:
        assert await asyncio.to_thread(ask, server.port) == (200 if method == "GET" else 405)


async def test_head_has_no_body() -> None:
    async with running() as server:
        said = await answer(server, f"HEAD /livez HTTP/1.1\r\n{HOST}\r\n".encode())
        assert said.startswith(b"HTTP/1.1 200 ")
        assert said.endswith(b"\r\n\r\n")


@pytest.mark.parametrize("seed", range(30))
async def test_noise_is_answered_or_left_and_harms_nobody(seed: int) -> None:
    numbers = random.Random(seed)
    whole = f"GET /v1 HTTP/1.1\r\n{HOST}{UPGRADE}\r\n".encode()
    async with running() as server, client(server) as raw:
        for _ in range(20):
            noise = bytearray(whole)
            for _ in range(numbers.randrange(1, 6)):
                at = numbers.randrange(len(noise))
                noise[at : at + numbers.randrange(3)] = numbers.randbytes(numbers.randrange(3))
            said = await answer(server, bytes(noise), numbers.choice((1000, 50)), end=True)
            assert said.startswith(b"HTTP/1.1 ")
        assert await raw.ok("ping") == {}
        assert server.metrics.faults == 0


@pytest.mark.parametrize("step", [1, 2, 3, 5, 1000])
def test_a_head_is_found_however_it_is_cut(step: int) -> None:
    whole = f"GET /v1 HTTP/1.1\r\n{HOST}\r\n".encode()
    stream, head = whole + b"rest", RequestHead()
    for at in range(0, len(stream), step):
        found = head.feed(stream[at : at + step])
        if found is not None:
            assert found[0] == whole
            assert stream == whole + found[1] + stream[at + step :]
            assert head.held_bytes == 0
            return
    raise AssertionError("not found")
