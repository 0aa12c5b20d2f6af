"""Connections to other nodes of the cluster, one for each client and node that answers some of it.

A WebSocket of websockets' own, as clients have; whole messages go past its queue, and are written
with one copy, the masking that the RFC asks of whoever connects. No proxy stands between nodes, and
TLS is that of the node's address (``wss://``). Lives on the loop's thread.
"""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
import struct
from collections.abc import Callable
from typing import Any, Final, cast

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException
from websockets.frames import DATA_OPCODES, Frame, Opcode
from websockets.protocol import Event, State
from websockets.typing import BytesLike, Subprotocol

from ..cluster.directory import Node
from ..http.routes import LINK_PATH, WEBSOCKET_PATH
from ..sessions.routing.parts import LineUser
from ..wire.opcodes import PROTOCOL

try:  # as websockets itself does
    from websockets.speedups import apply_mask
except ImportError:
    from websockets.utils import apply_mask

_OPEN_SECONDS: Final = 5.0
_CLOSE_SECONDS: Final = 1.0
_TEXT: Final = 0x81
_BINARY: Final = 0x82
_MASKED: Final = 0x80
_SHORT: Final = struct.Struct(">BB")
_IN_TWO: Final = struct.Struct(">BBH")
_IN_EIGHT: Final = struct.Struct(">BBQ")
#: At debug websockets logs frames, so what is said of clients: that level is never its own here.
_log = logging.getLogger("omendb_ws.net.websockets_of_nodes")
_log.setLevel(logging.WARNING)


class _Socket(ClientConnection):
    """A connection whose messages go to ``user``, until it has none any more."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.user: LineUser | None = None
        self.heard_count = 0
        self._early: list[tuple[bytes, bool]] = []
        self._parts: list[BytesLike] = []
        self._is_text = False

    def serve(self, user: LineUser) -> None:
        """Give ``user`` what comes, and what has come."""
        self.user = user
        early, self._early = self._early, []
        for data, is_text in early:
            user.heard(data, is_text)

    def data_received(self, data: bytes) -> None:
        """Something came."""
        self.heard_count += 1
        super().data_received(data)

    def process_event(self, event: Event) -> None:
        """Hand on whole messages; leave everything else to websockets."""
        if not isinstance(event, Frame) or event.opcode not in DATA_OPCODES:
            super().process_event(event)
            return
        if event.opcode is not Opcode.CONT:
            self._is_text = event.opcode is Opcode.TEXT
        self._parts.append(event.data)
        if not event.fin:
            return
        parts, self._parts = self._parts, []
        message = bytes(parts[0]) if len(parts) == 1 else b"".join(parts)
        if self.user is None:
            self._early.append((message, self._is_text))
        else:
            self.user.heard(message, self._is_text)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whose it is."""
        super().connection_lost(exc)
        user, self.user = self.user, None
        if user is not None:
            closed = self.protocol.close_rcvd
            user.lost(str(exc or (closed.reason if closed is not None else "it hung up")))


class NodeLine:
    """A line to one node (``sessions/routing/parts.py``)."""

    def __init__(
        self,
        node: Node,
        user: LineUser,
        max_message_bytes: int,
        authorities: ssl.SSLContext | None,
    ) -> None:
        self._user: LineUser | None = user
        self._authorities = authorities if node.address.startswith("wss:") else None
        self._socket: _Socket | None = None
        self._task = asyncio.get_running_loop().create_task(self._open(node, max_message_bytes))

    @property
    def heard_count(self) -> int:
        """See ``Line``."""
        return 0 if self._socket is None else self._socket.heard_count

    def send(self, message: bytes | str) -> None:
        """See ``Line``."""
        socket = self._socket
        assert socket is not None, "it is not open"
        if socket.protocol.state is not State.OPEN or socket.transport.is_closing():
            return  # ``lost`` comes
        is_text = isinstance(message, str)
        data = message.encode() if isinstance(message, str) else message
        mask = random.getrandbits(32).to_bytes(4, "little")
        socket.transport.writelines((_head(len(data), is_text), mask, apply_mask(data, mask)))

    def look(self) -> None:
        """See ``Line``."""
        socket = self._socket
        if socket is not None and socket.protocol.state is State.OPEN:
            socket.protocol.send_ping(b"")
            socket.send_data()

    def hold(self) -> None:
        """See ``Line``."""
        if self._socket is not None and not self._socket.transport.is_closing():
            self._socket.transport.pause_reading()

    def go_on(self) -> None:
        """See ``Line``."""
        if self._socket is not None and not self._socket.transport.is_closing():
            self._socket.transport.resume_reading()

    def close(self) -> None:
        """See ``Line``."""
        self._user = None
        self._task.cancel()
        socket, self._socket = self._socket, None
        if socket is None:
            return
        socket.user = None
        if socket.protocol.state is State.OPEN:
            socket.protocol.send_close(1000, "")
            socket.send_data()
        socket.transport.close()
        asyncio.get_running_loop().call_later(_CLOSE_SECONDS, socket.transport.abort)

    async def _open(self, node: Node, max_message_bytes: int) -> None:
        try:
            socket = await connect(
                address_of(node),
                create_connection=_Socket,
                subprotocols=[Subprotocol(PROTOCOL)],
                compression=None,
                proxy=None,
                ssl=self._authorities,
                logger=_log,
                open_timeout=_OPEN_SECONDS,
                close_timeout=_CLOSE_SECONDS,
                ping_interval=None,
                max_size=max_message_bytes,
            )
        except (OSError, ValueError, WebSocketException) as error:
            user, self._user = self._user, None
            if user is not None:
                user.lost(str(error) or type(error).__name__)
            return
        user = self._user
        if user is None:
            await socket.close()
            return
        self._socket = found = cast(_Socket, socket)
        user.opened()
        found.serve(user)
        if found.connection_lost_waiter.done() and found.user is not None:
            found.user = None
            user.lost("it hung up")


def line_opener(
    max_message_bytes: int, authorities: ssl.SSLContext | None = None
) -> Callable[[Node, LineUser], NodeLine]:
    """What opens lines to nodes with that limit on a message.

    ``authorities``: what their certificates are verified by; None: what the machine trusts.
    """
    return lambda node, user: NodeLine(node, user, max_message_bytes, authorities)


def address_of(node: Node) -> str:
    """Where other nodes connect to."""
    return node.address.removesuffix(WEBSOCKET_PATH) + LINK_PATH


def _head(length: int, is_text: bool) -> bytes:
    """What stands before a whole message that is masked, but for the mask."""
    first = _TEXT if is_text else _BINARY
    if length < 126:
        return _SHORT.pack(first, _MASKED | length)
    if length <= 0xFFFF:
        return _IN_TWO.pack(first, _MASKED | 126, length)
    return _IN_EIGHT.pack(first, _MASKED | 127, length)
