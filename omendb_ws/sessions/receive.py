"""What a connection sends: decoded, refused or handed to its op, and answered.

Lives on the loop's thread, above sessions and ops. Invariant: a message that holds an id gets
exactly one reply, now or by ``Session.answered``; an error harms nothing but its own request.
"""

from __future__ import annotations

from collections import deque

from omendb_core.model.errors import Draining, OmenError, RateLimited, Unauthenticated

from .._version import VERSION
from ..access.peer import LOCAL, Peer
from ..access.token_bucket import TokenBucket
from ..wire import binary as binary_wire
from ..wire import long_frames, long_text, searches, text_replies, unread
from ..wire import text as text_wire
from ..wire.encoded import text
from ..wire.messages import Auth, Ping, Refusal, Request
from ..wire.opcodes import PROTOCOL
from ..wire.searches import read_plain
from . import long_requests, ops
from .authentication import described
from .context import Context
from .outbox import Outbox
from .session import Session

#: PROTOCOL section 1.4: what may be an ``auth`` (a token has at most 4,096 bytes), and how much a
#: stranger may say. Parsing 8 KiB takes up to 60 µs, the 64 KiB that a stranger may send 480.
MAX_AUTH_CHARACTERS = 8 << 10
MAX_MESSAGES_BEFORE_AUTH = 100


class Receiver(Session):
    """A session that takes messages."""

    def __init__(self, context: Context, outbox: Outbox, peer: Peer = LOCAL) -> None:
        super().__init__(context, outbox, peer)
        self._bucket = TokenBucket(context.max_messages_per_second or None)
        self._messages_before_auth = 0
        #: What came behind a message that is being read in pieces, in one event.
        self._behind: deque[str | bytes] = deque()

    def greet(self) -> None:
        """Queue ``hello`` (PROTOCOL section 1)."""
        auth = "none"
        if not self.context.gate.is_open:
            auth = "required" if self.principal is None else "ok"
        hello = {
            "protocol": PROTOCOL,
            "server": f"omendb-ws/{VERSION}",
            "auth": auth,
            "limits": self.context.limits.as_hello(),
        }
        if auth == "ok":
            hello |= described(self.who)
        self.outbox.reply(text(text_replies.encode_event("hello", hello)))

    def receive(self, message: str | bytes) -> None:
        """Answer one message, or hand it to the engine."""
        if self.long is not None or self._held_bytes:
            self._behind.append(message)
            return
        metrics = self.context.metrics
        metrics.received_messages += 1
        metrics.received_bytes += len(message)
        if self.outbox.closed or self.is_refused:
            return
        request: Request | searches.PlainSearch | Refusal | None = None
        op = "invalid"
        self.has_replied = False
        try:
            unwelcome = self._unwelcome(message)
            if unwelcome is not None:
                self._refuse_unread(message, unwelcome)
                return
            if len(message) > long_text.MOST_CHARACTERS and (
                isinstance(message, str) or long_frames.is_long(message)
            ):
                self._begin_long_request(message)
                return
            request = self._decode(message)
            if self.principal is None and not isinstance(request, Auth | Ping):
                raise Unauthenticated("send auth with a token first")
            if isinstance(request, Refusal):
                raise request.error
            op = request.op
            if request.id in self._inflight:
                self.refuse_repeated_id(request.id)
            ops.handle(self, request, len(message))
        except Exception as error:
            id = request.id if request is not None else None
            try:
                self.refuse(id, message, error, op)
            except Exception as fault:
                self.refuse(id, message, fault, op)
        metrics.requests[op] += 1
        if self.principal is None:
            self._refuse_talk()

    def _begin_long_request(self, message: str | bytes) -> None:
        """Read ``message`` in pieces, and nothing else meanwhile."""

        def failed(error: Exception) -> None:
            if self.long is message:
                self.refuse(None, message, error, "long request")
                self.end_long_request()

        self.context.long_requests.begin(long_requests.steps(self, message), failed)
        self.long = message

    def hear_behind(self) -> None:
        """See ``Session.hear_behind``."""
        while self._behind and self.long is None and not self._held_bytes:
            self.receive(self._behind.popleft())
        self._progressed()

    def _decode(self, message: str | bytes) -> Request | searches.PlainSearch | Refusal:
        if isinstance(message, str):
            return text_wire.decode_request(message, self.context.limits)
        plain = read_plain(message, self.context.limits)
        if plain is not None:
            return plain
        return binary_wire.decode_request(message, self.context.limits, self.columns_of)

    def _unwelcome(self, message: str | bytes) -> OmenError | None:
        """Why a message is refused whatever it says, so that it need not be read."""
        is_stranger = self.principal is None
        self._messages_before_auth += is_stranger
        try:
            self._take_message()
        except RateLimited as error:
            return error
        if self.context.is_draining:
            return Draining("the server is leaving; reconnect")
        if is_stranger and (isinstance(message, bytes) or len(message) > MAX_AUTH_CHARACTERS):
            return Unauthenticated("send auth with a token first")
        return None

    def _take_message(self) -> None:
        """RateLimited for one more than its connection, or its tenant, may send."""
        bucket, clock_us = self._bucket, self.context.clock_us
        wait_ms = 0 if bucket.per_second is None else bucket.wait_ms(clock_us())
        if wait_ms:
            raise RateLimited("more messages than a second may have", retry_after_ms=wait_ms)
        self.who.take_message(clock_us)
        bucket.spend(1)

    def _refuse_unread(self, message: str | bytes, error: OmenError) -> None:
        self.context.metrics.requests["refused"] += 1
        self.error(unread.id_of(message), error)
        if self.principal is None:
            self._refuse_talk()

    def _refuse_talk(self) -> None:
        if self._messages_before_auth >= MAX_MESSAGES_BEFORE_AUTH and not self.outbox.closed:
            self.refuse_connection("too many messages before a token")

    def close(self) -> None:
        """As ``Session.close``; what came and was not heard is forgotten."""
        super().close()
        self._behind.clear()
