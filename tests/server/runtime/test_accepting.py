"""The end of a listening server."""

from __future__ import annotations

import asyncio
import socket

from omendb_ws.runtime.accepting import stop_accepting
from tests.patience import eventually


async def test_what_was_accepted_in_the_turn_of_its_end_is_a_connection() -> None:
    made: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(lambda _, writer: made.append(writer), "127.0.0.1", 0)
    loop, ends = asyncio.get_running_loop(), list[asyncio.Task[None]]()

    async def end() -> None:
        await stop_accepting(server)
        server.close()

    # One turn: the task is made, then the socket is accepted. The next one: it ends the server, and
    # the connection begins.
    with socket.create_connection(server.sockets[0].getsockname()):
        loop.call_soon(lambda: ends.append(loop.create_task(end())))
        await eventually(lambda: ends and ends[0].done() and made)
        made[0].close()
        await made[0].wait_closed()
    await server.wait_closed()


async def test_a_server_that_is_closed_can_be_stopped_again() -> None:
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    server.close()
    await stop_accepting(server)
