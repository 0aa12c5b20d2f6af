"""What a reader of the pages has: a server with the demo's collection, and its stream.

In threads of this process, and without the demo's searches: 250 a second are
half a core for as long as a module of tests takes.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import omendb_ws
from omendb_ws.demo import digits, workload
from omendb_ws.demo.run import HELD_OUT
from omendb_ws.node.config import Settings
from tests.cli.here import server
from tests.patience import PATIENCE_SECONDS

ROWS_PER_SECOND = 500.0


@contextmanager
def streaming_demo() -> Iterator[str]:
    """Gives the server's address once the window is full."""
    is_full = threading.Event()
    running: list[tuple[asyncio.AbstractEventLoop, asyncio.Task[None]]] = []

    async def stream(url: str) -> None:
        streamed, _ = digits.split(digits.load(), HELD_OUT)
        async with omendb_ws.connect(url) as db:
            await workload.create(db)
            await workload.fill(db, streamed)
            task = asyncio.create_task(workload.stream(db, streamed, ROWS_PER_SECOND))
            running.append((asyncio.get_running_loop(), task))
            is_full.set()
            with suppress(asyncio.CancelledError):
                await task

    with server(Settings(port=0)) as url:
        thread = threading.Thread(target=asyncio.run, args=(stream(url),))
        thread.start()
        try:
            assert is_full.wait(PATIENCE_SECONDS)
            yield url
        finally:
            for loop, task in running:
                loop.call_soon_threadsafe(task.cancel)
            thread.join(PATIENCE_SECONDS)
