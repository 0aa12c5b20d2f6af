"""The HTTP hooks under websockets itself: what really goes over the wire."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import InvalidStatus
from websockets.typing import Origin, Subprotocol

from omendb_ws.http import routes as http
from omendb_ws.http.routes import Policy
from tests.server.http.test_http import Fake

OPEN = Policy(is_open=True)
KEYED = Policy(is_open=False)


@dataclass(frozen=True)
class Address:
    port: int

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/v1"


@contextlib.asynccontextmanager
async def running(policy: Policy = OPEN, status: http.Status = "ok") -> AsyncIterator[Address]:
    """A WebSocket server with our hooks that says what it was upgraded to, and goes on."""

    async def hello(connection: ServerConnection) -> None:
        await connection.send(str(connection.subprotocol))
        await connection.wait_closed()

    async with serve(
        hello,
        "127.0.0.1",
        0,
        process_request=http.process_request(policy, Fake(status=status)),
        select_subprotocol=http.select_subprotocol,
        compression=None,
    ) as server:
        yield Address(server.sockets[0].getsockname()[1])


async def get(
    address: Address, path: str, *lines: str, method: str = "GET", version: str = "1.1"
) -> tuple[int, dict[str, str], bytes]:
    """Status, headers in lower case, and body of a plain request."""
    reader, writer = await asyncio.open_connection("127.0.0.1", address.port)
    request = [f"{method} {path} HTTP/{version}", f"Host: localhost:{address.port}", *lines]
    writer.write("\r\n".join([*request, "", ""]).encode("latin-1"))
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    status_line, *header_lines = head.decode().split("\r\n")
    headers = {}
    for line in header_lines:
        name, _, value = line.partition(": ")
        headers[name.lower()] = value
    return int(status_line.split(" ")[1]), headers, body


async def test_plain_requests_get_plain_answers() -> None:
    async with running() as address:
        code, headers, body = await get(address, "/livez")
        assert (code, body) == (200, b"ok\n")
        code, headers, body = await get(address, "/health", version="1.0")
        assert (code, headers["content-type"]) == (200, "application/json")
        assert int(headers["content-length"]) == len(body)
        assert (await get(address, "/nothing"))[0] == 404
        assert (await get(address, "/livez", method="POST"))[0] == 405


async def test_head_has_no_body() -> None:
    async with running() as address:
        code, headers, body = await get(address, "/metrics", method="HEAD")
        assert (code, body) == (200, b"")
        assert int(headers["content-length"]) > 0


async def test_a_compressed_file_comes_whole_and_is_not_sent_again() -> None:
    async with running() as address:
        _, _, plain = await get(address, "/client/adder.js")
        accept = "Accept-Encoding: gzip"
        code, headers, body = await get(address, "/client/adder.js", accept)
        assert (code, headers["content-encoding"]) == (200, "gzip")
        assert int(headers["content-length"]) == len(body)
        assert gzip.decompress(body) == plain
        known = f"If-None-Match: {headers['etag']}"
        code, _, body = await get(address, "/client/adder.js", accept, known)
        assert (code, body) == (304, b"")


async def test_a_plain_request_to_the_websockets_path_is_told_to_upgrade() -> None:
    async with running() as address:
        code, headers, _ = await get(address, "/v1")
        assert code == 426
        assert headers["upgrade"] == "websocket"


async def test_a_second_host_header_is_refused() -> None:
    async with running() as address:
        assert (await get(address, "/stats"))[0] == 200
        assert (await get(address, "/stats", "Host: evil.com"))[0] == 400


@pytest.mark.parametrize(
    ("offered", "got"),
    [(None, "None"), (["omendb.v1"], "omendb.v1"), (["x", "omendb.v1"], "omendb.v1")],
)
async def test_the_subprotocol_is_negotiated(offered: list[str] | None, got: str) -> None:
    subprotocols = None if offered is None else [Subprotocol(name) for name in offered]
    async with running() as address, connect(address.url, subprotocols=subprotocols) as client:
        assert await client.recv() == got


async def refused(address: Address, **options: object) -> int:
    with pytest.raises(InvalidStatus) as caught:
        async with connect(address.url, **options):  # type: ignore[arg-type]
            pass
    return caught.value.response.status_code


async def test_another_subprotocol_is_refused() -> None:
    async with running() as address:
        assert await refused(address, subprotocols=[Subprotocol("chat")]) == 400


async def test_a_foreign_page_is_refused_and_an_own_one_is_not() -> None:
    async with running() as address:
        assert await refused(address, origin=Origin("http://evil.com")) == 403
        assert await refused(address, origin=Origin("null")) == 403
        own = Origin(f"http://127.0.0.1:{address.port}")
        async with connect(address.url, origin=own) as client:
            assert await client.recv() == "None"


async def test_a_rebound_name_is_refused() -> None:
    async with running() as address:
        code, _, body = await get(address, "/v1", "Upgrade: websocket", "Connection: Upgrade")
        assert code == 400  # let through to websockets, which misses a key
        assert b"Sec-WebSocket-Key" in body
        reader, writer = await asyncio.open_connection("127.0.0.1", address.port)
        writer.write(b"GET /v1 HTTP/1.1\r\nHost: evil.com\r\nUpgrade: websocket\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 403 ")
        writer.close()
        await writer.wait_closed()


async def test_a_draining_server_takes_no_more() -> None:
    async with running(status="draining") as address:
        assert await refused(address) == 503


async def test_statistics_over_the_wire_need_a_token() -> None:
    async with running(KEYED) as address:
        code, headers, _ = await get(address, "/stats")
        assert (code, headers["www-authenticate"]) == (401, "Bearer")
        assert (await get(address, "/stats", "Authorization: Bearer read-token"))[0] == 403
        code, headers, body = await get(address, "/stats", "X-API-Key: admin-token")
        assert (code, body) == (200, b'{"at":1.5,"connections":3}\n')
        assert headers["x-content-type-options"] == "nosniff"


async def test_headers_that_are_no_latin_text_break_nothing() -> None:
    async with running(KEYED) as address:
        assert (await get(address, "/stats", "X-API-Key: \xff\xfe"))[0] == 401
        assert (await get(address, "/livez"))[0] == 200
