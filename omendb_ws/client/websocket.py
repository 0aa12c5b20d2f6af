"""The transport over a WebSocket: the one file of the client that imports ``websockets``."""

from __future__ import annotations

import ipaddress
import ssl
from typing import Any
from urllib.parse import urlsplit

from omendb_core.errors import BadRequest, Forbidden, OmenError, Unauthenticated, Unsupported
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import (
    ConnectionClosed,
    InvalidHandshake,
    InvalidProxy,
    InvalidStatus,
    InvalidURI,
)
from websockets.typing import Subprotocol

from ..wire.opcodes import PROTOCOL
from .transport import TEXT_MARK, Closed, Opener

#: Bytes that may wait in the transport before a sender has to: two frames of an add.
WRITE_LIMIT_BYTES = 512 * 1024
#: Received WebSocket frames that may wait for the reader before the socket is no longer read.
RECEIVE_QUEUE_FRAMES = 256
#: A server that answers no ping for that long is gone.
KEEPALIVE_SECONDS = 20.0
CLOSE_TIMEOUT_SECONDS = 5.0


class WebSocketTransport:
    """A Transport over one ``websockets`` connection."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection

    async def send(self, message: bytes | bytearray) -> None:
        """See Transport.send; masking copies the message."""
        try:
            await self._connection.send(message, text=message[0] == TEXT_MARK)
        except ConnectionClosed as error:
            raise _closed(error) from error

    async def receive(self) -> bytes:
        """See Transport.receive."""
        try:
            return await self._connection.recv(decode=False)
        except ConnectionClosed as error:
            raise _closed(error) from error

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """See Transport.close; waits at most CLOSE_TIMEOUT_SECONDS for the other side."""
        await self._connection.close(code, reason)


def websocket_opener(
    url: str,
    *,
    tls: ssl.SSLContext | None,
    open_timeout_seconds: float,
    max_message_bytes: int,
) -> Opener:
    """Return what opens a WebSocket to ``url``, the token in its ``Authorization`` header."""
    options: dict[str, Any] = {} if tls is None else {"ssl": tls}
    if _is_loopback(url):
        options["proxy"] = None

    async def open_websocket(token: str | None) -> WebSocketTransport:
        headers = _authorization(token)
        try:
            connection = await connect(
                url,
                subprotocols=[Subprotocol(PROTOCOL)],
                additional_headers=headers,
                compression=None,
                open_timeout=open_timeout_seconds,
                close_timeout=CLOSE_TIMEOUT_SECONDS,
                ping_interval=KEEPALIVE_SECONDS,
                ping_timeout=KEEPALIVE_SECONDS,
                max_size=max_message_bytes,
                max_queue=RECEIVE_QUEUE_FRAMES,
                write_limit=WRITE_LIMIT_BYTES,
                **options,
            )
        except InvalidURI as error:
            raise BadRequest(str(error)) from error
        except InvalidStatus as error:
            raise _refused(url, error.response.status_code) from error
        except (InvalidHandshake, InvalidProxy) as error:
            # Whatever answers there is no server of ours, or one that is going just now.
            raise ConnectionError(f"no WebSocket at {url}: {error}") from error
        return WebSocketTransport(connection)

    return open_websocket


def _authorization(token: str | None) -> dict[str, str] | None:
    """Return the header for ``token``. Raises Unauthenticated, which never shows it."""
    if token is None:
        return None
    if not token.isascii() or not token.isprintable() or not token.strip():
        raise Unauthenticated("a token is visible ASCII")
    return {"Authorization": f"Bearer {token}"}


def _closed(error: ConnectionClosed) -> Closed:
    if error.rcvd is not None:
        return Closed(error.rcvd.code, error.rcvd.reason)
    if error.sent is not None:
        return Closed(error.sent.code, error.sent.reason)
    return Closed(1006, str(error.__cause__ or ""))


def _refused(url: str, status: int) -> OmenError | OSError:
    """Return what a refused upgrade means; a 5xx or 429 may pass."""
    if status == 401:
        return Unauthenticated(f"{url} refused the credentials (HTTP 401)")
    if status == 403:
        return Forbidden(f"{url} refused the connection (HTTP 403): its Origin or Host list")
    if status >= 500 or status in (408, 425, 429):
        return ConnectionError(f"{url} refused the connection for now (HTTP {status})")
    return Unsupported(f"{url} is no endpoint of {PROTOCOL} (HTTP {status})")


def _is_loopback(url: str) -> bool:
    """Say whether ``url`` names this machine: no proxy stands between."""
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
