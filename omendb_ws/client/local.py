"""The transport to a server in this process: ``memory://`` and ``memory://NAME``.

The near end of ``omendb_ws.node.local``, which is imported when the first one is asked for: this
file alone of the client does that, so a client of a server elsewhere never loads the engine.

Bare ``memory://`` is a server of this connection's own, on the connection's loop. One with a name
is for every connection of the process that says the name, whatever its loop or thread, so it lives
on the loop of ``background.py``.
"""

from __future__ import annotations

import asyncio
import re
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

from omendb_core.model.errors import BadRequest

from ..errors import ConnectionLost
from ..runtime.channel import Channel
from ..runtime.transport import Opener, Take, Transport
from . import background

if TYPE_CHECKING:
    from ..node.local import LocalServers

SCHEME: Final = "memory://"
_NAME: Final = re.compile(r"[A-Za-z0-9._-]{0,64}")

T = TypeVar("T")


class LocalTransport:
    """A Transport over two channels. ``wait_ended`` returns once the server is done."""

    def __init__(
        self, arriving: Channel, leaving: Channel, wait_ended: Callable[[], Awaitable[None]]
    ) -> None:
        self._arriving = arriving
        self._leaving = leaving
        self._wait_ended = wait_ended
        # A client that was forgotten with its loop must not keep a server alive.
        weakref.finalize(self, leaving.close, 1001, "forgotten").atexit = False

    async def send(self, message: bytes | bytearray) -> None:
        """See Transport.send; only a bytearray is copied."""
        self._leaving.put([bytes(message)])
        await self._leaving.room()

    async def receive(self) -> bytes:
        """See Transport.receive."""
        return await self._arriving.get()

    async def deliver(self, take: Take) -> NoReturn:
        """See Transport.deliver."""
        while True:
            take(await self._arriving.get())

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """See Transport.close; a server whose last connection this was has ended then."""
        self._leaving.close(code, reason)
        with suppress(ConnectionLost):
            await self._wait_ended()


def local_opener(url: str, server_settings: Mapping[str, Any] | None) -> Opener:
    """Return what opens a connection to the server in this process that ``url`` names.

    Opening raises BadRequest for a bad name, or settings that are wrong or not the server's.
    """
    from ..node.local import LocalServer, local_settings

    name = url.removeprefix(SCHEME)

    async def open_local(token: str | None) -> Transport:
        if not _NAME.fullmatch(name):
            raise BadRequest(f"{url}: a name is up to 64 of A-Z a-z 0-9 . _ -")
        near = asyncio.get_running_loop()
        if not name:
            server = LocalServer(local_settings(server_settings), _nothing)
            leaving, arriving = Channel(near, near), Channel(near, near)
            return _transport(arriving, leaving, server.connect(leaving, arriving), near)
        home = background.shared().loop
        return await _on(home, _connect_named(name, server_settings, near, home))

    return open_local


#: The servers that have a name, by the loop that they live on: that of ``background.py``, of which
#: a forked process has another. Only that loop's thread looks at its own.
_named: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, LocalServers] = (
    weakref.WeakKeyDictionary()
)


async def _connect_named(
    name: str,
    server_settings: Mapping[str, Any] | None,
    near: asyncio.AbstractEventLoop,
    home: asyncio.AbstractEventLoop,
) -> LocalTransport:
    from ..node.local import LocalServers

    servers = _named.setdefault(home, LocalServers())
    leaving, arriving = Channel(near, home), Channel(home, near)
    serving = await servers.connect(name, server_settings, leaving, arriving)
    return _transport(arriving, leaving, serving, home)


def _transport(
    arriving: Channel,
    leaving: Channel,
    serving: asyncio.Task[None],
    home: asyncio.AbstractEventLoop,
) -> LocalTransport:
    return LocalTransport(arriving, leaving, lambda: _on(home, _end_of(serving)))


async def _end_of(serving: asyncio.Task[None]) -> None:
    await asyncio.wait([serving])


async def _on(loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, T]) -> T:
    """Run ``coroutine`` on ``loop``, this one or that of another thread. Raises ConnectionLost."""
    if loop is asyncio.get_running_loop():
        return await coroutine
    try:
        future = asyncio.run_coroutine_threadsafe(coroutine, loop)
    except RuntimeError:
        coroutine.close()
        raise ConnectionLost("the loop of the server has ended") from None
    return await asyncio.wrap_future(future)


def _nothing() -> None:
    pass
