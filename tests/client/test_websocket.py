"""What a WebSocket server that is none of ours, or not in the mood, makes of connecting."""

from __future__ import annotations

from http import HTTPStatus

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

from omendb_ws import errors
from omendb_ws.client import connect
from omendb_ws.client.websocket import _is_loopback


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, errors.Unsupported),
        (401, errors.Unauthenticated),
        (403, errors.Forbidden),
        (404, errors.Unsupported),
        (429, errors.ConnectionLost),
        (500, errors.ConnectionLost),
        (503, errors.ConnectionLost),
    ],
)
async def test_a_refused_upgrade_says_whether_to_come_back(
    status: int, error: type[errors.OmenError]
) -> None:
    def refuse(connection: ServerConnection, request: Request) -> Response:
        return connection.respond(HTTPStatus(status), "no\n")

    async def nothing(connection: ServerConnection) -> None:
        pass

    async with serve(nothing, "127.0.0.1", 0, process_request=refuse) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        with pytest.raises(error, match=str(status)):
            await connect(f"ws://127.0.0.1:{port}/v1")


async def test_a_server_that_speaks_something_else_is_not_supported() -> None:
    async def chat(connection: ServerConnection) -> None:
        await connection.send('{"event":"welcome"}')
        await connection.wait_closed()

    async with serve(chat, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        with pytest.raises(errors.Unsupported):
            await connect(f"ws://127.0.0.1:{port}/v1")


@pytest.mark.parametrize(
    ("url", "is_loopback"),
    [
        ("ws://localhost:1/v1", True),
        ("ws://127.0.0.1/v1", True),
        ("ws://127.9.9.9:1/v1", True),
        ("ws://[::1]:1/v1", True),
        ("wss://db.example:1/v1", False),
        ("ws://10.0.0.1:1/v1", False),
        ("ws:///v1", False),
    ],
)
def test_no_proxy_stands_between_us_and_this_machine(url: str, is_loopback: bool) -> None:
    assert _is_loopback(url) is is_loopback
