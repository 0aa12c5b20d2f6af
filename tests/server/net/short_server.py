"""A server whose patience is short, as a process of its own that ends with its standard input.

    python -m tests.server.net.short_server DIRECTORY EVENT_LOOP

It says where it listens, and logs as any program would.
"""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from omendb_ws.http.api import connection as http_connection
from omendb_ws.net import intake
from omendb_ws.net import server as server_module
from omendb_ws.net.server import Server
from omendb_ws.runtime.event_loops import choose
from tests.patience import PATIENCE_SECONDS
from tests.server.raw import settings

SHORT_SECONDS: Final = 0.5
#: What patience is made of, but for what a server is given.
CONSTANTS: Final = (
    (server_module, "_HANDSHAKE_SECONDS", SHORT_SECONDS),
    (server_module, "_CLOSE_TIMEOUT_SECONDS", SHORT_SECONDS),
    (server_module, "_PING_INTERVAL_SECONDS", SHORT_SECONDS),
    (server_module, "_PING_TIMEOUT_SECONDS", 2 * SHORT_SECONDS),
    (intake, "HEADER_SECONDS", SHORT_SECONDS),
    (http_connection, "HEAD_SECONDS", SHORT_SECONDS),
)


@contextmanager
def running(directory: str, event_loop: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Such a process, and its port; it is asked to end, and killed where it does not."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.server.net.short_server", directory, event_loop],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        yield process, int(process.stdout.readline())
        process.communicate(timeout=PATIENCE_SECONDS)
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


async def serve(directory: str) -> None:
    given = settings(data_dir=directory)
    async with Server(given, stall_seconds=SHORT_SECONDS, auth_seconds=SHORT_SECONDS) as server:
        print(server.port, flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    for module, name, value in CONSTANTS:
        setattr(module, name, value)
    logging.basicConfig(level=logging.INFO)
    with asyncio.Runner(loop_factory=choose(sys.argv[2]).new_loop) as runner:
        runner.run(serve(sys.argv[1]))
