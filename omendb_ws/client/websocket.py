"""The transport over a WebSocket: ``websockets``, past whose queue and parser whole messages go."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import ssl
from collections import deque
from typing import Any, Final, NoReturn
from urllib.parse import urlsplit

from omendb_core.model.errors import (
    BadRequest,
    Forbidden,
    OmenError,
    Unauthenticated,
    Unsupported,
)
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import (
    ConnectionClosed,
    InvalidHandshake,
    InvalidMessage,
    InvalidProxy,
    InvalidStatus,
    InvalidURI,
)
from websockets.frames import DATA_OPCODES, Frame
from websockets.protocol import Event, State
from websockets.typing import BytesLike, Subprotocol

from ..runtime.transport import TEXT_MARK, Closed, Opener, Take
from ..wire.addresses import shown
from ..wire.opcodes import PROTOCOL
from . import arguments
from .websocket_frames import Arriving, Masks, masked

#: Bytes that may wait in the transport before a sender has to: two frames of an add.
WRITE_LIMIT_BYTES = 512 * 1024
#: A server that answers no ping for that long is gone.
KEEPALIVE_SECONDS = 20.0
CLOSE_TIMEOUT_SECONDS = 5.0
#: Part of the time to connect after which a server that says nothing to TLS is taken for a plain
#: one, so that this is said and not that there was no time.
TLS_PART = 0.5
#: What is shown of the body of a refusal.
MAX_SAID_BYTES = 400

#: A server that speaks TLS answers what is no handshake of TLS with an alert.
_TLS_HINT: Final = "; if it speaks TLS, its address begins with wss://"
_TRUST_HINT: Final = "; to trust another authority, name it (tls=, or --ca-file)"
#: OpenSSL's codes for a chain that ends with nobody it knows; others are no matter of trust.
_UNTRUSTED: Final = frozenset({18, 19, 20, 21})
_PLAIN_HINT: Final = "; if it speaks none, its address begins with ws://"
_SCHEME_HINT: Final = "; one is ws://HOST:8765/v1, or wss:// with TLS"
_PATH: Final = "/v1"
#: At debug websockets logs headers and frames, so the token: that level is never its own here.
_log = logging.getLogger("omendb_ws.client.websockets")
_log.setLevel(logging.WARNING)


class Socket(ClientConnection):
    """A connection of ``websockets`` whose messages go past its queue.

    The handshake, pings, the close and everything that can be wrong are websockets', and so is what
    does not come whole in one frame. Whole messages are kept, few of them, while ``take`` is None;
    else it gets each as it comes.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.arrived: deque[bytes] = deque()
        self.take: Take | None = None
        #: What ``take`` raised.
        self.fault: Exception | None = None
        #: Set when a message is kept, ``take`` has failed, or the connection is lost.
        self.news = asyncio.Event()
        self._fragments: list[BytesLike] = []
        self._arriving = Arriving(self.protocol.max_message_size or 0)
        self._masks = Masks()

    def data_received(self, data: bytes) -> None:
        """Take whole messages; leave everything else to websockets."""
        protocol = self.protocol
        if protocol.state is State.OPEN and not self._fragments:
            data = self._arriving.take_whole(data, self._hear)
            if not data:
                return
        self._arriving.rest(data)
        super().data_received(data)
        if protocol.state is not State.CONNECTING or protocol.handshake_exc is not None:
            self._arriving.opened()

    def write_whole(self, message: bytes | bytearray, *, is_text: bool) -> None:
        """Send a message in one frame, at once. The connection is open."""
        self.transport.write(masked(message, self._masks.next(), is_text=is_text))

    def process_event(self, event: Event) -> None:
        """Keep whole messages; leave everything else to websockets."""
        if isinstance(event, Frame):
            self._arriving.parsed(event)
        if not isinstance(event, Frame) or event.opcode not in DATA_OPCODES:
            super().process_event(event)
            return
        fragments = self._fragments
        fragments.append(event.data)
        if event.fin:
            message = b"".join(fragments) if len(fragments) > 1 else bytes(event.data)
            fragments.clear()
            self._hear(message)

    def _hear(self, message: bytes) -> None:
        try:
            (self.take or self.keep)(message)
        except Exception as error:
            self.fault, self.take = error, None
            self.news.set()

    def keep(self, message: bytes) -> None:
        """Keep a message until somebody asks for it."""
        self.arrived.append(message)
        self.news.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever waits for a message."""
        super().connection_lost(exc)
        self.news.set()


class WebSocketTransport:
    """A Transport over one socket."""

    def __init__(self, socket: Socket) -> None:
        self._socket = socket

    async def send(self, message: bytes | bytearray) -> None:
        """See Transport.send; masking copies the message."""
        socket = self._socket
        is_text = message[0] == TEXT_MARK
        try:
            if socket.protocol.state is not State.OPEN:
                await socket.send(message, text=is_text)  # which says how it ended
            else:
                socket.write_whole(message, is_text=is_text)
            if socket.paused:
                await socket.drain()
        except ConnectionClosed as error:
            raise _closed(error) from error
        except OSError as error:
            raise Closed(1006, str(error)) from error

    async def receive(self) -> bytes:
        """See Transport.receive."""
        socket = self._socket
        while not socket.arrived:
            if socket.connection_lost_waiter.done():
                raise _closed(socket.close_exc) from socket.close_exc
            socket.news.clear()
            await socket.news.wait()
        return socket.arrived.popleft()

    async def deliver(self, take: Take) -> NoReturn:
        """See Transport.deliver."""
        socket = self._socket
        while socket.arrived:
            take(socket.arrived.popleft())
        socket.take = take
        try:
            while socket.fault is None:
                if socket.connection_lost_waiter.done():
                    raise _closed(socket.close_exc) from socket.close_exc
                socket.news.clear()
                await socket.news.wait()
            raise socket.fault
        finally:
            socket.take = None

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """See Transport.close; waits at most CLOSE_TIMEOUT_SECONDS for the other side."""
        await self._socket.close(code, reason)


def websocket_opener(
    url: str,
    *,
    tls: ssl.SSLContext | None,
    open_timeout_seconds: float,
    max_message_bytes: int,
) -> Opener:
    """Return what opens a WebSocket to ``url``, the token in its ``Authorization`` header."""
    address = shown(url)
    try:
        parts = urlsplit(url)
        scheme, is_near, _ = parts.scheme, _is_loopback(url), parts.port
    except ValueError as error:
        raise BadRequest(f"url: {address}: {error}") from None
    if tls is not None and scheme != "wss":
        raise BadRequest(f"tls: is for wss:// addresses; {address} is none")
    options: dict[str, Any] = {
        "create_connection": Socket,
        "subprotocols": [Subprotocol(PROTOCOL)],
        "compression": None,
        "logger": _log,
        "open_timeout": open_timeout_seconds,
        "close_timeout": CLOSE_TIMEOUT_SECONDS,
        "ping_interval": KEEPALIVE_SECONDS,
        "ping_timeout": KEEPALIVE_SECONDS,
        "max_size": max_message_bytes,
        "write_limit": WRITE_LIMIT_BYTES,
    }
    if tls is not None:
        options["ssl"] = tls
    if is_near:
        options["proxy"] = None
    if scheme == "wss":
        options["ssl_handshake_timeout"] = TLS_PART * open_timeout_seconds
    return _opener(url, address, scheme, options)


def _opener(url: str, address: str, scheme: str, options: dict[str, Any]) -> Opener:
    """Return what connects so, and tells in words that say what to do why it could not."""

    async def open_websocket(token: str | None) -> WebSocketTransport:
        headers = _authorization(token)
        try:
            socket = await connect(url, additional_headers=headers, **options)
        except OSError as error:
            told = _unreachable(error, scheme)
            raise told from (error if told is not error else error.__cause__)
        except (InvalidURI, ValueError) as error:
            # Names that no address has: brackets without an end, ports that are none, long labels.
            why = error.msg if isinstance(error, InvalidURI) else str(error).replace(url, address)
            said = address or "the empty text"
            hint = "" if scheme in ("ws", "wss") else _SCHEME_HINT
            raise BadRequest(f"url: {said} is not the address of a server: {why}{hint}") from None
        except InvalidStatus as error:
            raise _refused(address, error.response.status_code, error.response.body) from error
        except (InvalidHandshake, InvalidProxy) as error:
            # Whatever answers there is no server of ours, or one that is going just now.
            if ": HTTP/" in str(error.__cause__):  # its first line, which websockets quotes
                raise ConnectionError("no WebSocket there: it answers in an older HTTP") from error
            hint = "" if scheme == "wss" or not isinstance(error, InvalidMessage) else _TLS_HINT
            raise ConnectionError(f"no WebSocket there: {error}{hint}") from error
        assert isinstance(socket, Socket)
        return WebSocketTransport(socket)

    return open_websocket


def _authorization(token: str | None) -> dict[str, str] | None:
    """Return the header for ``token``. Raises Unauthenticated, which never shows it."""
    return None if token is None else {"Authorization": f"Bearer {arguments.token(token)}"}


def _closed(error: ConnectionClosed) -> Closed:
    if error.rcvd is not None:
        return Closed(error.rcvd.code, error.rcvd.reason)
    if error.sent is not None:
        return Closed(error.sent.code, error.sent.reason)
    return Closed(1006, str(error.__cause__ or ""))


def _unreachable(error: OSError, scheme: str) -> OSError:
    """Return ``error`` in words that say what to do; asyncio's tell of a call that failed."""
    if isinstance(error, ConnectionRefusedError):
        return ConnectionRefusedError("connection refused: no server listens there")
    if isinstance(error, ConnectionAbortedError):
        return ConnectionError(f"no TLS there: no answer to its greeting{_PLAIN_HINT}")
    if scheme == "wss" and isinstance(error, ConnectionResetError):
        return ConnectionError(f"no TLS there: it hangs up on its greeting{_PLAIN_HINT}")
    if isinstance(error, ssl.SSLCertVerificationError):
        hint = _TRUST_HINT if error.verify_code in _UNTRUSTED else ""
        return ConnectionError(f"certificate verify failed: {error.verify_message}{hint}")
    # An alert is an answer of somebody who speaks TLS.
    if isinstance(error, ssl.SSLError) and "ALERT" not in str(error):
        return ConnectionError(f"no TLS there: {error}{_PLAIN_HINT}")
    return error


def _refused(url: str, status: int, body: bytes | bytearray | None) -> OmenError | OSError:
    """Return what a refused upgrade means; a 5xx or 429 may pass."""
    said = " ".join(bytes(body or b"")[:MAX_SAID_BYTES].decode(errors="replace").split())
    if status == 401:
        return Unauthenticated(f"{url} refused the credentials (HTTP 401)")
    if status == 403:
        why = said if said.isprintable() and said else "its Origin or Host list"
        return Forbidden(f"{url} refused the connection (HTTP 403): {why}")
    if status >= 500 or status in (408, 425, 429):
        return ConnectionError(f"{url} refused the connection for now (HTTP {status})")
    hint = "" if url.endswith(_PATH) else f"; addresses end in {_PATH}"
    return Unsupported(f"{url} is no endpoint of {PROTOCOL} (HTTP {status}){hint}")


def _is_loopback(url: str) -> bool:
    """Say whether ``url`` names this machine: no proxy stands between."""
    try:
        host = urlsplit(url).hostname or ""
        if host == "localhost":
            return True
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
