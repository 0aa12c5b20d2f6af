"""The demo's server, in a process of its own: drawing the view must not slow down searches.

``serving`` starts it; run as a module, this file *is* it. The child serves until its standard
input ends, so it goes when its parent goes, however that comes about. It says one line on standard
output: ``ready`` and its addresses, or ``failed`` and why.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import signal
import sys
from collections.abc import AsyncIterator
from typing import Final, NamedTuple

#: Longer than a server takes to drain.
_LEAVE_SECONDS: Final = 15.0


class ServerFailed(Exception):
    """The server did not start; the message says why."""


class Addresses(NamedTuple):
    """Where the server is, and its HTTP API, if there is one."""

    url: str
    http_url: str | None


@contextlib.asynccontextmanager
async def serving(port: int, http_port: int | None) -> AsyncIterator[Addresses]:
    """Start a server on this machine, say where, drain and end it. Raises ServerFailed."""
    ports = [str(port)] if http_port is None else [str(port), str(http_port)]
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", __name__, *ports),
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
        url, _, http_url = text.partition(" ")
        yield Addresses(url, http_url or None)
    finally:
        child.stdin.close()
        try:
            await asyncio.wait_for(child.wait(), _LEAVE_SECONDS)
        except TimeoutError:
            child.kill()
            await child.wait()


async def _serve(port: int, http_port: int | None) -> None:
    from omendb_core.model.errors import Unsupported

    from ..net.http_port import CannotListen
    from ..net.server import Server
    from ..node.config import Settings

    server = Server(Settings.model_validate({"port": port, "http_port": http_port}))
    try:
        async with server:
            print("ready", server.url, server.http_url or "", flush=True)
            # A thread, because Windows cannot wait for a pipe on the loop.
            await asyncio.to_thread(sys.stdin.buffer.read)
    except Unsupported as error:
        print("failed", error, flush=True)
    except OSError as error:
        port, flag = (
            (error.number, "--http-port") if isinstance(error, CannotListen) else (port, "--port")
        )
        taken = error.errno == errno.EADDRINUSE
        reason = "it is taken, perhaps by another demo" if taken else error.strerror
        print(f"failed port {port}: {reason}; {flag} 0 takes any free one", flush=True)


def main() -> None:
    """Serve on the ports of the command line. Ctrl-C is the parent's to handle."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    from ..runtime.event_loops import choose

    with asyncio.Runner(loop_factory=choose().new_loop) as runner:
        ports = [int(text) for text in sys.argv[1:]]
        runner.run(_serve(ports[0], ports[1] if len(ports) > 1 else None))


if __name__ == "__main__":
    main()
