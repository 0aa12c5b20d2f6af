"""The demo's server, in a process of its own: drawing the view must not slow down searches.

``serving`` starts it; run as a module, this file *is* it. The child serves until its standard
input ends, so it goes when its parent goes, however that comes about. It says one line on standard
output: ``ready URL``, or ``failed`` and why.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import signal
import sys
from collections.abc import AsyncIterator
from typing import Final

#: Longer than a server takes to drain.
_LEAVE_SECONDS: Final = 15.0


class ServerFailed(Exception):
    """The server did not start; the message says why."""


@contextlib.asynccontextmanager
async def serving(port: int) -> AsyncIterator[str]:
    """Start a server on this machine, give its address, drain and end it. Raises ServerFailed."""
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", __name__, str(port)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        said = (await child.stdout.readline()).decode()
        what, _, text = said.strip().partition(" ")
        if what != "ready":
            raise ServerFailed(text or "the server ended before it was ready")
        yield text
    finally:
        child.stdin.close()
        try:
            await asyncio.wait_for(child.wait(), _LEAVE_SECONDS)
        except TimeoutError:
            child.kill()
            await child.wait()


async def _serve(port: int) -> None:
    from ..net.server import Server
    from ..node.config import Settings

    server = Server(Settings.model_validate({"port": port}))
    try:
        async with server:
            print("ready", server.url, flush=True)
            # A thread, because Windows cannot wait for a pipe on the loop.
            await asyncio.to_thread(sys.stdin.buffer.read)
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        reason = "it is taken, perhaps by another demo" if taken else error.strerror
        print(f"failed port {port}: {reason}; --port 0 takes any free one", flush=True)


def main() -> None:
    """Serve on the port of the command line. Ctrl-C is the parent's to handle."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    from ..runtime.event_loops import choose

    with asyncio.Runner(loop_factory=choose().new_loop) as runner:
        runner.run(_serve(int(sys.argv[1])))


if __name__ == "__main__":
    main()
