"""The end of a listening server. Knows asyncio only."""

from __future__ import annotations

import asyncio


async def stop_accepting(server: asyncio.Server) -> None:
    """Have ``server`` accept nothing more; what it has accepted are connections then.

    To be done before it is closed: before Python 3.13 the transport of a socket accepted in
    this turn finds the server closed, fails, and leaves the socket to the collector (CPython issue
    109564). uvloop knows no such turn.
    """
    loop = asyncio.get_running_loop()
    if isinstance(loop, asyncio.SelectorEventLoop):
        for one in server.sockets:
            loop.remove_reader(one.fileno())
        await asyncio.sleep(0)
