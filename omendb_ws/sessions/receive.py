"""What a connection sends: decoded, refused or handed to its op, and answered.

Lives on the loop's thread, above sessions and ops. Invariant: a message that holds an id gets
exactly one reply, now or by ``Session.answered``; an error harms nothing but its own request.
"""

from __future__ import annotations

from typing import Any

from omendb_core.model.errors import Draining, OmenError, RateLimited, Unauthenticated

from .._version import VERSION
from ..access.token_bucket import TokenBucket
from ..wire import binary as binary_wire
from ..wire import long_frames, long_text, searches, text_replies, unread
from ..wire import text as text_wire
from ..wire.encoded import text
from ..wire.messages import Auth, Ping, Posted, Refusal, Request, Said, Uploaded
from ..wire.opcodes import PROTOCOL
from ..wire.searches import read_plain
from . import long_requests, ops
from .auditing import target_of
from .authentication import described
from .session import Session
from .shedding import Shedder

#: PROTOCOL section 1.4: how long an ``auth`` may be, and how much a stranger may say. Parsing 8 KiB
#: takes up to 60 µs, the 64 KiB that a stranger may send 480.
MAX_AUTH_CHARACTERS = 8 << 10
MAX_MESSAGES_BEFORE_AUTH = 100


def greet(session: Session) -> None:
    """Queue ``hello`` (PROTOCOL section 1)."""
    auth = "none"
    if not session.context.gate.is_open:
        auth = "required" if session.principal is None else "ok"
    hello: dict[str, Any] = {
        "protocol": PROTOCOL,
        "server": f"omendb-ws/{VERSION}",
        "auth": auth,
        "limits": session.context.limits.as_hello(),
    }
    if session.context.place is not None:
        hello["node"], hello["cluster"] = session.context.place
    if auth == "ok":
        hello |= described(session.who)
    session.outbox.reply(text(text_replies.encode_event("hello", hello)))


class Receiver:
    """Takes the messages of one session."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._bucket = TokenBucket(session.context.max_messages_per_second or None)
        self._messages_before_auth = 0
        self.shedder = Shedder(session, has_rate=self._bucket.per_second is not None)
        session.holds.hear = self.receive

    def receive(self, message: Said) -> None:
        """Answer one message, or hand it to the engine."""
        session = self._session
        if session.holds.bytes_of:
            session.holds.behind.append(message)
            return
        metrics = session.context.metrics
        metrics.received_messages += 1
        metrics.received_bytes += len(message)
        if session.outbox.closed or session.is_refused:
            return
        request: Request | searches.PlainSearch | Refusal | None = None
        op = "invalid"
        session.has_replied = False
        try:
            if self._is_refused_unread(message):
                return
            if len(message) > long_text.MOST_CHARACTERS and (
                isinstance(message, str | Posted)
                or (isinstance(message, bytes) and long_frames.is_long(message))
            ):
                self._begin_long_request(message)
                return
            request = self._decode(message)
            if session.who.principal is None and not isinstance(request, Auth | Ping):
                raise Unauthenticated("send auth with a token first")
            if isinstance(request, Refusal):
                raise request.error
            op = request.op
            session.refuse_repeated_id(request.id)
            if self.shedder.overload.is_shedding:
                self.shedder.refuse_read(message, op)
            ops.handle(session, request, len(message))
        except Exception as error:
            id = request.id if request is not None else None
            try:
                session.refuse(id, message, error, op, target_of(request))
            except Exception as fault:
                session.refuse(id, message, fault, op)
        metrics.requests[op] += 1
        if session.who.principal is None:
            self._refuse_talk()

    def _begin_long_request(self, message: str | bytes | Posted) -> None:
        """Read ``message`` in pieces, and nothing else meanwhile."""
        session = self._session
        hold = session.holds.begin(len(message))

        def failed(error: Exception) -> None:
            if not hold.is_over:
                session.refuse(None, message, error, "long request")
                hold.end()

        try:
            steps = long_requests.steps(session, message, hold)
            session.context.long_requests.begin(steps, failed)
        except BaseException:
            hold.end()
            raise

    def _decode(self, message: Said) -> Request | searches.PlainSearch | Refusal:
        session, limits = self._session, self._session.context.limits
        if isinstance(message, str):
            return text_wire.decode_request(message, limits)
        if isinstance(message, Posted):
            return text_wire.decode_request(message.text, limits, message.given)
        if isinstance(message, Uploaded):
            return message.request
        plain = read_plain(message, limits)
        if plain is not None:
            return plain
        return binary_wire.decode_request(message, limits, session.columns_of)

    def _is_refused_unread(self, message: Said) -> bool:
        """Whether it is refused whatever it says, and that was said."""
        session = self._session
        unwelcome = self._unwelcome(message)
        if unwelcome is None:
            return session.context.overload.is_shedding and self.shedder.sheds(message)
        self._refuse_unread(message, unwelcome)
        return True

    def _unwelcome(self, message: Said) -> OmenError | None:
        """Why a message is refused whatever it says, so that it need not be read."""
        context, is_stranger = self._session.context, self._session.who.principal is None
        self._messages_before_auth += is_stranger
        try:
            self._take_message()
        except RateLimited as error:
            return error
        if context.is_draining:
            return Draining("the server is leaving; reconnect")
        is_text = isinstance(message, str)
        if is_stranger and (not is_text or len(message) > MAX_AUTH_CHARACTERS):
            return Unauthenticated("send auth with a token first")
        return None

    def _take_message(self) -> None:
        """RateLimited for one more than its connection, or its tenant, may send."""
        session, bucket = self._session, self._bucket
        clock_us = session.context.clock_us
        if bucket.per_second is None:
            if session.who.messages is not None:
                session.who.messages.take(1, clock_us)
            return
        now_us = clock_us()
        wait_ms = bucket.wait_ms(now_us)
        if wait_ms:
            raise RateLimited("more messages than a second may have", retry_after_ms=wait_ms)
        if session.who.messages is not None:
            session.who.messages.take(1, clock_us)
        bucket.spend(1, now_us)

    def _refuse_unread(self, message: Said, error: OmenError) -> None:
        session = self._session
        session.context.metrics.requests["refused"] += 1
        session.error(unread.id_of(message), error)
        if session.principal is None:
            self._refuse_talk()

    def _refuse_talk(self) -> None:
        session = self._session
        if self._messages_before_auth >= MAX_MESSAGES_BEFORE_AUTH and not session.outbox.closed:
            session.refuse_connection("too many messages before a token")
