"""A server in a thread, with whatever settings a test wants."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from load_tests.simulation.results import Result
from omendb_ws.net.server import Server
from omendb_ws.node.config import Settings
from tests.patience import PATIENCE_SECONDS, UNHURRIED


@contextmanager
def served(settings: dict[str, Any], **more: Any) -> Iterator[str]:
    """The address of ``Server(Settings(**settings), **more)``, which is in no hurry."""
    address: Future[str] = Future()
    loop = asyncio.new_event_loop()
    leave = asyncio.Event()

    async def serve() -> None:
        try:
            async with Server(Settings(**{**UNHURRIED, "port": 0, **settings}), **more) as server:
                address.set_result(server.url)
                await leave.wait()
        except BaseException as error:
            if not address.done():
                address.set_exception(error)
            raise

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    try:
        yield address.result(timeout=PATIENCE_SECONDS)
    finally:
        loop.call_soon_threadsafe(leave.set)
        thread.join()
        loop.close()


def long_enough(run: Callable[[], Result], kinds: Collection[str] = ()) -> Result:
    """The first run in which all that is asked, and pushes of all ``kinds``, came at least once or
    failed: runs are short, and while a machine stands still for as long nothing comes."""
    until = time.monotonic() + PATIENCE_SECONDS
    while True:
        made = run()
        counts = [one.count or one.errors for one in made.operations]
        counts += [one.pushes or one.errors for one in made.pushes if one.kind in kinds]
        if all(counts) or time.monotonic() > until:
            return made


def unhurried(folder: Path) -> str:
    """The file, in ``folder``, that makes a server of its own one that is in no hurry."""
    path = folder / "omendb.toml"
    path.write_text("".join(f"{name} = {value}\n" for name, value in UNHURRIED.items()))
    return str(path)
