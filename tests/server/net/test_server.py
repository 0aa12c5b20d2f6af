"""The server as a whole: its address, HTTP beside the WebSocket, TLS, what an upgrade needs."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

import orjson
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from omendb_ws.net.server import Server
from tests.certificates import make_certificate
from tests.server.raw import PATIENCE_SECONDS, Raw, client, running, settings, with_keys


async def get(server: Server, path: str, **headers: str) -> tuple[int, bytes]:
    """Status and body of a GET."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    lines = [f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{server.port}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
    async with asyncio.timeout(PATIENCE_SECONDS):
        answer = await reader.read()
    writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), body


async def test_the_address_names_the_port_that_was_free() -> None:
    async with running() as server:
        assert server.port > 0
        assert server.url == f"ws://127.0.0.1:{server.port}/v1"


async def test_a_port_that_is_taken_is_an_error_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match="in use"):
            async with Server(settings(port=port)):
                pass


async def test_http_routes_speak_of_the_running_server() -> None:
    async with running() as server, client(server) as raw:
        await raw.create()
        await raw.add(1)
        assert (await get(server, "/livez"))[0] == 200
        assert (await get(server, "/readyz"))[0] == 200
        status, body = await get(server, "/stats")
        assert (status, orjson.loads(body)["connections"]) == (200, 1)
        status, body = await get(server, "/metrics")
        assert status == 200
        assert b"omendb_added_rows_total 1.0" in body
        server.context.is_draining = True
        assert (await get(server, "/readyz"))[0] == 503
        assert (await get(server, "/livez"))[0] == 200


async def test_statistics_over_http_take_a_token_where_there_are_any(tmp_path: Path) -> None:
    async with running(Server(with_keys(tmp_path))) as server:
        for path in ("/stats", "/metrics"):
            assert (await get(server, path))[0] == 401
            assert (await get(server, path, Authorization="Bearer token-reader"))[0] == 403
            assert (await get(server, path, Authorization="Bearer token-root"))[0] == 200
        assert (await get(server, "/health"))[0] == 200


async def test_it_speaks_tls(tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path)
    server = Server(
        settings(
            tls_certificate_file=certificate.certificate_file, tls_key_file=certificate.key_file
        )
    )
    async with running(server):
        assert server.url.startswith("wss://")
        async with connect(server.url, ssl=certificate.trusting(), compression=None) as connection:
            raw = Raw(connection)
            assert (await raw.named("hello"))["auth"] == "none"
            assert await raw.ok("ping") == {}


async def test_a_foreign_page_is_not_let_in() -> None:
    async with running() as server:
        with pytest.raises(InvalidStatus) as refused:
            await connect(server.url, additional_headers={"Origin": "http://evil.example"})
        assert refused.value.response.status_code == 403


@pytest.mark.parametrize(
    ("offered", "is_welcome"),
    [(None, True), (["omendb.v1"], True), (["x", "omendb.v1"], True), (["omendb.v2"], False)],
)
async def test_the_subprotocol_is_ours_or_none(offered: Any, is_welcome: bool) -> None:
    async with running() as server:
        if not is_welcome:
            with pytest.raises(InvalidStatus) as refused:
                await connect(server.url, subprotocols=offered)
            assert refused.value.response.status_code == 400
            return
        async with connect(server.url, subprotocols=offered) as connection:
            assert connection.subprotocol == ("omendb.v1" if offered else None)
            assert connection.protocol.extensions == []  # compression was offered, and not taken
