"""Connections that begin with a PROXY header: it is read before TLS and the request.

For a port of which ``proxy_protocol`` says so. Of a connection from a trusted proxy the header is
read from the socket, to its last byte and no further; any other connection goes on at once. The
listener is asyncio's: what it accepts is taken out of its transport, which has not read yet, by a
second descriptor of the socket. Lives on the loop's thread.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import ssl
from collections.abc import Callable
from functools import partial
from typing import Any, Final, NamedTuple, Protocol, cast

from ..access.peer import Peer
from ..access.proxies import TrustedProxies
from ..runtime.faults import as_error
from ..runtime.few_lines import FewLines, more
from ..telemetry.metrics import Metrics
from .proxy_protocol import ProxyHeaderError, Source, read

log = logging.getLogger(__name__)

#: For a whole header: a proxy sends it before all else.
HEADER_SECONDS: Final = 5.0


class Begins(Protocol):
    """A connection that is given its socket in time."""

    told_peer: Peer | None
    is_forwarded: bool
    protocol: Any


class Limits(NamedTuple):
    """``waiting``: connections whose header, or handshake of TLS, is still to come."""

    waiting: int
    handshake_seconds: float
    close_seconds: float


class Intake:
    """Takes what a listener accepts, and hands it on to connections.

    ``admits`` says whether a connection may have that descriptor.
    """

    def __init__(
        self,
        proxies: TrustedProxies,
        context: ssl.SSLContext | None,
        limits: Limits,
        admits: Callable[[int], bool],
        metrics: Metrics,
        clock_us: Callable[[], int],
    ) -> None:
        self._proxies = proxies
        self._context = context
        self._limits = limits
        self._admits = admits
        self._metrics = metrics
        self._clock_us = clock_us
        self._lines = FewLines()
        self._is_closed = False
        #: In the order in which they came.
        self._waiting: dict[asyncio.Task[None], None] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def accepted(self, transport: asyncio.Transport, connection: Begins) -> None:
        """Take a socket out of ``transport``, and give it to ``connection`` in time."""
        accepted = transport.get_extra_info("socket")
        peer = Peer.of(transport.get_extra_info("peername"))
        own = None
        try:
            if accepted is not None and not self._is_closed and self._admits(accepted.fileno()):
                own = socket.socket(fileno=os.dup(accepted.fileno()))
                own.setblocking(False)
        except OSError as error:
            log.warning("a connection from %s is lost: %s", peer, error.strerror or error)
        finally:
            transport.abort()
        if own is not None:
            task = asyncio.get_running_loop().create_task(self._go_on(own, connection, peer))
            self._waiting[task] = None
            task.add_done_callback(partial(self._done, own))
            if len(self._waiting) > self._limits.waiting:
                self._metrics.shed_connections["strangers"] += 1
                oldest = next(iter(self._waiting))
                del self._waiting[oldest]  # now: of many that come at once each has one leave
                oldest.cancel()

    def connecting(self, make: Callable[..., Begins]) -> Callable[..., Accepting]:
        """What a listener makes of what it accepts: ``make``'s connections, in time."""
        return lambda *args, **kwargs: Accepting(self, make(*args, **kwargs))

    def close(self) -> None:
        """Nobody else comes in, and who waits leaves."""
        self._is_closed = True
        for task in list(self._waiting):
            task.cancel()

    def _done(self, own: socket.socket, task: asyncio.Task[None]) -> None:
        """It went on, or leaves, maybe before ``_go_on`` has run at all."""
        self._waiting.pop(task, None)
        own.close()

    async def _go_on(self, own: socket.socket, connection: Begins, peer: Peer) -> None:
        """Read the header, if there is to be one, and let the connection begin."""
        try:
            if self._proxies.trust(peer.host):
                async with asyncio.timeout(HEADER_SECONDS):
                    source = await _header(own)
                if source is None:  # somebody looked whether this port is open
                    return
                connection.told_peer = source.peer or peer
                connection.is_forwarded = source.peer is not None
        except (ProxyHeaderError, OSError) as error:  # a TimeoutError is an OSError
            self._refused(peer, error)
            return
        await self._begin(socket.socket(fileno=own.detach()), connection)

    async def _begin(self, given_up: socket.socket, connection: Begins) -> None:
        """From here on the socket is the transport's, which closes it whatever happens."""
        given: dict[str, Any] = {}
        if self._context is not None:
            given["ssl"] = self._context
            given["ssl_handshake_timeout"] = self._limits.handshake_seconds
            given["ssl_shutdown_timeout"] = self._limits.close_seconds
        loop = asyncio.get_running_loop()
        try:
            protocol = cast(asyncio.Protocol, connection)
            await loop.connect_accepted_socket(lambda: protocol, given_up, **given)
        except OSError:  # the client went, or spoke no TLS
            pass
        except Exception as error:
            as_error(error, "a connection that begins")

    def _refused(self, peer: Peer, error: Exception) -> None:
        self._metrics.proxy_failures += 1
        passed_over = self._lines.next(self._clock_us())
        if passed_over is not None:
            why = str(error) if isinstance(error, ProxyHeaderError) else "no PROXY header in time"
            log.warning("closing a connection from %s: %s%s", peer, why, more(passed_over))


class Accepting(asyncio.Protocol):
    """What the listener makes of a connection, until its socket is taken."""

    def __init__(self, intake: Intake, connection: Begins) -> None:
        self._intake = intake
        self._connection = connection
        #: websockets asks what it was given for it when a subprotocol is chosen.
        self.protocol = connection.protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Nothing has been read yet."""
        self._intake.accepted(cast(asyncio.Transport, transport), self._connection)


async def _header(own: socket.socket) -> Source | None:
    """A whole header, and nothing of what follows it; None: there came nothing at all."""
    loop = asyncio.get_running_loop()
    data = b""
    while isinstance(found := read(data), int):
        more_bytes = await loop.sock_recv(own, found)
        if not more_bytes:
            if data:
                raise ProxyHeaderError("it ended within its PROXY header")
            return None
        data += more_bytes
    return found
