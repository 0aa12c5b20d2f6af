"""A connection until its request is whole and answered: what comes before ``connection.py``.

websockets parses and answers; here its parser gets a whole head (``request_head.py``), and what it
would hang up on without a word is answered all the same.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from websockets.asyncio.server import ServerConnection

from ..access.peer import Peer
from ..http import routes
from .request_head import RequestHead, fault_of


class Handshaking(ServerConnection):
    """A connection that is not upgraded yet, with limits on what it may send until then."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.head = RequestHead()
        #: Where its client is, by somebody who is believed; None: at the socket's other end.
        self.told_peer: Peer | None = None
        #: Whether headers of its request may tell more of that.
        self.is_forwarded = True
        #: Whether the request is still to come.
        self.is_shaking = True
        #: Whether the client ended its side before the answer went out.
        self.ends_after_answer = False

    @property
    def peer(self) -> Peer:
        """Where its client is, as far as that is known."""
        return self.told_peer or Peer.of(self.remote_address)

    def shake_hands(self, data: bytes) -> bytes:
        """Give websockets the request when it is whole, and only that; what follows it."""
        found = self.head.feed(data)
        if found is None:
            if self.head.is_full or self.head.is_no_http:
                self._refuse_head(self.head.fault())
            return b""
        self.is_shaking = False
        head, rest = found
        protocol = self.protocol
        protocol.receive_data(head)
        if protocol.handshake_exc is not None and protocol.writes[:1] == [b""]:
            # websockets would hang up without a word.
            protocol.writes.insert(0, routes.plain(fault_of(head)).serialize())
        ServerConnection.data_received(self, b"")
        return rest

    def waits_with_end(self) -> bool:
        """The client sends nothing more; whether that waits until its request is answered."""
        if self.is_shaking and self.head.held_bytes:
            self._refuse_head(self.head.fault())
        is_unanswered = self.request is not None and self.response is None
        if is_unanswered and self.transport.can_write_eof():
            self.ends_after_answer = True
        return self.ends_after_answer

    def end_soon(self) -> None:
        """The answer goes out now: the end that waited for it comes next."""
        self.ends_after_answer = False
        self.loop.call_soon(self._come_to_end)

    def _come_to_end(self) -> None:
        if not self.transport.is_closing():
            self.eof_received()
            self.transport.close()

    def _refuse_head(self, status: HTTPStatus) -> None:
        self.is_shaking = False
        self.head = RequestHead()
        self.protocol.send_response(routes.plain(status))
        ServerConnection.data_received(self, b"")
