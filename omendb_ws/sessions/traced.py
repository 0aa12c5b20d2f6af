"""Sessions whose requests are traced: the same ones, with a span for each request.

A server that does not trace has none of these objects, so it does not pay for them. Lives on the
loop's thread, above sessions and ``receive.py``.

Invariant: ``current`` is the span of the message that is being heard; it goes with the ticket of
its request, or ends with the reply that is made at once.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from omendb_core.model.change import RowBatch
from omendb_core.model.errors import OmenError

from ..access.peer import LOCAL, Peer
from ..engine.model.ticket import Reply, Ticket
from ..telemetry.tracing import Traces, span_of, trace_id_of
from ..wire import searches, traceparent
from ..wire.encoded import Message
from ..wire.heads import Head
from ..wire.messages import Refusal, Request, Said
from ..wire.unread import FRAME_START
from .context import Context
from .outbox import Outbox
from .receive import Receiver
from .routing.naming import NamingSession
from .routing.pending import Pending
from .routing.routed import RoutedReceiver, RoutedSession
from .routing.vouched import VouchedReceiver, VouchedSession
from .session import Session

if TYPE_CHECKING:
    from opentelemetry.trace import Span

#: The version in a reply: the first field of an ``ok``, the first section of a binary one.
_VERSION: Final = re.compile(rb'\{"id":\d+,"ok":\{"version":(\d+)')
_BINARY_VERSION: Final = struct.Struct("<Q")


@dataclass(slots=True, eq=False)
class TracedTicket(Ticket):
    """A ticket whose request is traced."""

    span: Span | None = None


class TracedSession(Session):
    """``traceparent`` is of the HTTP request that is being answered, whose header had it."""

    def __init__(self, context: Context, outbox: Outbox, peer: Peer = LOCAL) -> None:
        super().__init__(context, outbox, peer)
        assert context.traces is not None
        self.traces: Traces = context.traces
        self.traceparent: str | None = None
        self.current: Span | None = None
        self._spans: set[Span] = set()

    def begin(self, message: Said) -> None:
        """A message is heard."""
        its = traceparent.found_in(message) or traceparent.well_formed(self.traceparent)
        self.current = self.traces.begin(its, self.late_us)

    def end(self, span: Span | None, why: str | None = None) -> None:
        """It is answered; ``why``: it was refused."""
        if span is not None:
            if why is not None:
                self.traces.fail(span, why)
            span.end()
            self._spans.discard(span)
        if span is self.current:
            self.current = None

    def ok(self, request_id: int, body: Mapping[str, object]) -> None:
        """As ``Session.ok``."""
        super().ok(request_id, body)
        self.end(self.current)

    def error(self, request_id: int | None, error: OmenError) -> None:
        """As ``Session.error``."""
        super().error(request_id, error)
        self.end(self.current, error.code)

    def ticket(self, request: Request | searches.PlainSearch, *args: Any, **kwargs: Any) -> Ticket:
        """As ``Session.ticket``: the request's span goes with it."""
        ticket = super().ticket(request, *args, **kwargs)
        span = self.current
        if span is None:
            return ticket
        self.current = None
        self._spans.add(span)
        _describe(span, request, None if ticket.shard is None else ticket.shard.name)
        fields = {name: getattr(ticket, name) for name in Ticket.__dataclass_fields__}
        return TracedTicket(**fields, span=span)

    def resume(self, ticket: Ticket, handle: Callable[[], None]) -> None:
        """As ``Session.resume``, within the span of the request."""
        self.current = span_of(ticket)
        with self.traces.within(self.current):
            super().resume(ticket, handle)
        if self.current is not None:
            self.end(self.current)

    def answered(self, reply: Reply) -> None:
        """As ``Session.answered``; the span ends once that is through."""
        span = span_of(reply.ticket)
        with self.traces.within(span):
            super().answered(reply)
        if span is None or span not in self._spans:
            return
        version = _version_in(reply.message.data)
        if version is not None:
            span.set_attribute("omendb.version", version)
        if reply.queries:
            span.set_attribute("omendb.queries", reply.queries)
        self._exemplify(reply, span)
        self.end(span, reply.error)

    def _exemplify(self, reply: Reply, span: Span) -> None:
        metrics, now_us = self.context.metrics, self.context.clock_us()
        histogram = {"search": metrics.search_us, "add": metrics.add_us}.get(reply.ticket.op)
        if histogram is not None and reply.error is None:
            took_us = now_us - reply.ticket.arrival_us
            histogram.exemplify(took_us, trace_id_of(span), now_us / 1e6)

    def close(self) -> None:
        """As ``Session.close``: whoever waits is not answered any more."""
        super().close()
        for span in [*self._spans, self.current]:
            self.end(span, "the connection is gone")


class TracedReceiver(Receiver):
    """Begins a span for each message that is heard, and ends it where nothing else does."""

    def __init__(self, session: TracedSession) -> None:
        super().__init__(session)
        self._traced = session

    def receive(self, message: Said) -> None:
        """As ``Receiver.receive``."""
        session = self._traced
        if session.holds.bytes_of:  # it is heard later
            super().receive(message)
            return
        session.begin(message)
        with session.traces.within(session.current):
            super().receive(message)
        if session.current is not None and not session.holds.bytes_of:
            session.end(session.current)

    def _decode(self, message: Said) -> Request | searches.PlainSearch | Refusal:
        request = super()._decode(message)
        if self._traced.current is not None and not isinstance(request, Refusal):
            _describe(self._traced.current, request, getattr(request, "collection", None))
        return request


class TracedRoutedSession(RoutedSession, TracedSession):
    """A session of a cluster's node: what others answer is traced here, too."""

    def handed_on(self, head: Head, name: str | None) -> Any:
        """As ``RoutedSession.handed_on``: the span of the message goes with it."""
        span, self.current = self.current, None
        if span is not None:
            self._spans.add(span)
            span.update_name(f"omendb {head.op}")
            span.set_attribute("omendb.op", head.op)
            if name is not None:
                span.set_attribute("omendb.collection", name)
        return span

    def answered_elsewhere(self, pending: Pending, message: Message, error: str | None) -> None:
        """As ``RoutedSession.answered_elsewhere``."""
        super().answered_elsewhere(pending, message, error)
        if pending.span is not None and pending.span in self._spans:
            pending.span.set_attribute("omendb.node", pending.link.node.name)
            self.end(pending.span, error)


class _TracedVouchedSession(VouchedSession, TracedSession):
    """One that another node speaks in."""


class _TracedRoutedReceiver(RoutedReceiver, TracedReceiver):
    """Of a ``TracedRoutedSession``."""


class _TracedVouchedReceiver(VouchedReceiver, TracedReceiver):
    """Of a ``_TracedVouchedSession``."""


def make_session(context: Context, outbox: Outbox, peer: Peer) -> Session:
    """A session of a client; traced where the server traces, routed in a cluster."""
    kind: type[Session]
    if context.cluster is None:
        kind = Session if context.traces is None else TracedSession
    else:
        kind = RoutedSession if context.traces is None else TracedRoutedSession
    return kind(context, outbox, peer)


def make_vouched(context: Context, outbox: Outbox, peer: Peer) -> VouchedSession:
    """A session that another node speaks in."""
    kind = VouchedSession if context.traces is None else _TracedVouchedSession
    return kind(context, outbox, peer)


def receiver(session: Session) -> Receiver:
    """What takes the messages of a session."""
    kind: type[Receiver]
    if isinstance(session, TracedSession):
        kind = TracedReceiver
        if isinstance(session, NamingSession):
            is_vouched = session.is_vouched
            kind = _TracedVouchedReceiver if is_vouched else _TracedRoutedReceiver
        return kind(session)
    kind = Receiver
    if isinstance(session, NamingSession):
        kind = VouchedReceiver if session.is_vouched else RoutedReceiver
    return kind(session)


def _describe(
    span: Span, request: Request | searches.PlainSearch, collection: str | int | None
) -> None:
    span.update_name(f"omendb {request.op}")
    span.set_attribute("omendb.op", request.op)
    if isinstance(collection, str):
        span.set_attribute("omendb.collection", collection)
    rows = getattr(request, "rows", None)
    if isinstance(rows, RowBatch):
        span.set_attribute("omendb.rows", len(rows.vectors))
    elif isinstance(rows, list):
        span.set_attribute("omendb.rows", len(rows))


def _version_in(data: bytes) -> int | None:
    if data[:2] == FRAME_START:
        return int(_BINARY_VERSION.unpack_from(data, 32)[0])
    found = _VERSION.match(data)
    return None if found is None else int(found[1])
