"""One connection: who it is, what it asked and was not answered yet, what it opened.

Lives on the loop's thread and knows no socket: the outbox takes what goes back, ``has_room`` is
where whoever reads the socket stops reading (PROTOCOL section 2). Ops, in ``ops.py``, and
``receive.py`` are above it. Invariant: a request under way gets exactly one reply, by ``answered``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final

from omendb_core.model.errors import (
    BadRequest,
    NotFound,
    OmenError,
    Overloaded,
    Quota,
    Unauthenticated,
)
from omendb_core.model.types import ColumnType

from ..access.peer import LOCAL, Peer
from ..access.principal import Principal
from ..catalog.entry import Entry
from ..engine.inbox import Submitted
from ..engine.model.commands import Change
from ..engine.model.ticket import Lane, Reply, Target, Ticket
from ..engine.reads.commands import PlainSearch
from ..runtime.faults import as_error
from ..tenants.account import Account
from ..wire import searches, text_replies, unread
from ..wire.encoded import text
from ..wire.messages import Request, Said
from ..wire.reply_bounds import ENVELOPE_BYTES
from . import auditing
from .context import Context
from .counting import count
from .handles import Handles
from .holds import Holds
from .identity import Identity
from .outbox import Batch, Outbox
from .rates import Taken
from .routing.parts import Routes
from .subscriptions.ending import end_some
from .subscriptions.subscription import Subscription

#: When one who found no place may ask for it again.
PLACE_AFTER_MS: Final = 1_000


class Session:
    """The state of one connection, on the loop's thread. ``routes``: how other nodes are reached
    that answer some; ``is_vouched``: a node speaks in it; ``least``: the version reads wait for."""

    routes: Routes | None = None
    least: Callable[[str], int] | None = None
    is_vouched = False
    refusal: asyncio.TimerHandle | None

    def __init__(self, context: Context, outbox: Outbox, peer: Peer = LOCAL) -> None:
        self.context, self.outbox, self.peer = context, outbox, peer
        self.lane = Lane()
        self.who = Identity(context, self.lane.share, self._tell_expiring, self._expired)
        self.max_reply_bytes = context.limits.max_message_bytes
        self.subscriptions: dict[int, Subscription] = {}
        #: Whether there is a place for one who has authenticated itself, and what to call then.
        self.may_enter: Callable[[], bool] = lambda: True
        self.on_authenticated: Callable[[], None] = lambda: None
        #: What it has unanswered; how long what is being received had waited for its turn.
        self.load, self.late_us = context.overload.load(self.lane), 0
        self._inflight: dict[int, Ticket] = {}
        self._inflight_bytes = self._expected_bytes = 0
        #: What the request that is being handled took of a rate; and those that are unanswered.
        self.taken: Taken | None = None
        self._takings: dict[int, Taken] = {}
        self.handles, self.last_sub = Handles(), 0
        #: How many adds without ids or producer went to collections of several shards.
        self.spread_adds = 0
        self.holds = Holds(context.long_requests, self._progressed)
        #: Whether the message that is being received has its reply; whether a token was wrong, of
        #: which the client hears soon.
        self.has_replied, self.is_refused, self.refusal = False, False, None
        #: Who waits for room, and who for everything to be answered and sent.
        self._call_when_room: Callable[[], None] | None = None
        self._call_when_answered: Callable[[], None] | None = None
        self._progress: asyncio.Event | None = None
        outbox.on_sent = self._went_out

    # -- the connection ---------------------------------------------------------------------------

    def close(self) -> None:
        """The connection is gone: let go of everything. What it changed stays changed."""
        self.lane.is_open = False
        self.outbox.discard()
        self.outbox.on_sent = lambda _: None
        self.holds.clear()
        if self.refusal is not None:
            self.refusal.cancel()
        self.who.leave()
        end_some(self.subscriptions)
        self._inflight.clear()
        self.load.note(0)
        self._takings.clear()
        self._inflight_bytes = self._expected_bytes = 0
        self.handles.clear()
        self._progressed()

    @property
    def is_idle(self) -> bool:
        """Whether everything is answered and sent."""
        return not self._inflight and not self.holds.bytes_of and self.outbox.is_empty

    # -- what goes wrong --------------------------------------------------------------------------

    def refuse(
        self,
        id: int | None,
        message: Said,
        error: Exception,
        op: str,
        target: str | int | None = None,
    ) -> None:
        """The reply to what failed, unless it has one; ``id`` None: it could not be read.

        ``target``: the collection that it went to. After a fault it is called again.
        """
        told = as_error(error, op)
        if told is not error:
            self.context.metrics.faults += 1
            if id is None:  # nothing is wrong with the message
                id = unread.id_of(message)
                id = None if id in self._inflight else id
        if not self.has_replied:
            self.error(id, told)
            auditing.refused(self, op, told, target)

    def refuse_repeated_id(self, request_id: int) -> None:
        """BadRequest where an unanswered request has that id."""
        if request_id in self._inflight:
            raise BadRequest(f"id: {request_id} is that of a request that is not answered yet")

    def columns_of(self, handle: int) -> dict[str, ColumnType] | None:
        """The declared columns of an open collection."""
        with suppress(NotFound):
            return dict(self.handles.find(handle).definition.columns)
        return None

    # -- replies ----------------------------------------------------------------------------------

    def ok(self, request_id: int, body: Mapping[str, object]) -> None:
        """Answer at once."""
        self.outbox.reply(text(text_replies.encode_ok(request_id, body)))
        self.has_replied = True

    def error(self, request_id: int | None, error: OmenError) -> None:
        """Refuse at once; None: as an event."""
        self.context.metrics.errors[error.code] += 1
        self.who.refused(error.code)
        self.outbox.reply(text(text_replies.encode_error(request_id, error)))
        self.has_replied = True

    def ticket(
        self,
        request: Request | searches.PlainSearch,
        shard: Target | None,
        request_bytes: int,
        reply_bytes: int = ENVELOPE_BYTES,
        then: Callable[[bool], None] | None = None,
    ) -> Ticket:
        """What the engine answers a request by."""
        limit = self.max_reply_bytes
        return Ticket(
            asker=self,
            id=request.id,
            op=request.op,
            shard=shard,
            arrival_us=self.context.clock_us() - self.late_us,
            request_bytes=request_bytes,
            reply_bytes=min(reply_bytes, limit),
            max_reply_bytes=limit,
            after=self.lane.queued,
            late_us=self.late_us,
            then=then,
        )

    def submit_change(self, work: Change) -> None:
        """Hand a change to the engine; later reads of this connection wait for it."""
        self.expect(work.ticket, self.context.inbox.submit, work)
        self.lane.queued += 1

    def submit(self, work: Submitted) -> None:
        """Hand a read to the engine, or what waits for nothing and is answered all the same."""
        self.expect(work.ticket, self.context.inbox.submit, work)

    def submit_search(self, work: PlainSearch) -> None:
        """Have a plain search answered, here or by the engine."""
        self.expect(work.ticket, self.context.inbox.search, work)

    def expect(self, ticket: Ticket, submit: Callable[[Any], None], work: Submitted | None) -> None:
        """Hand ``work`` over, which is answered by its ticket; after a fault it was not."""
        self._inflight[ticket.id] = ticket
        if self.taken is not None:
            self._takings[ticket.id] = self.taken
        try:
            self.load.note(len(self._inflight))
            submit(work)
        except BaseException:
            del self._inflight[ticket.id]
            self._takings.pop(ticket.id, None)
            self.load.note(len(self._inflight))
            raise
        self.taken = None
        self._inflight_bytes += ticket.request_bytes
        self._expected_bytes += ticket.reply_bytes

    def answered(self, reply: Reply) -> None:
        """The engine's reply to a request. After a fault it is called again, and goes on."""
        ticket = reply.ticket
        if reply.error is not None:
            auditing.answered(self, reply)
        if self._inflight.get(ticket.id) is ticket:
            self.outbox.reply(reply.message)
            del self._inflight[ticket.id]
            self._inflight_bytes -= ticket.request_bytes
            self._expected_bytes -= ticket.reply_bytes
            taken = self._takings.pop(ticket.id, None) if self._takings else None
            if taken is not None:
                taken.keep() if reply.error is None else taken.give_back()
        elif not self.lane.is_open:
            return
        if ticket.then is not None:
            ticket.then(reply.error is None)
            ticket.then = None
        call = self._call_when_answered
        if call is not None and not self._inflight:
            call()  # first: after a fault it is called again
            if self._call_when_answered is call:  # what it let in may wait, too
                self._call_when_answered = None
        self.load.note(len(self._inflight))
        self._progressed()
        count(reply, self.context)
        if reply.error is not None:
            self.who.refused(reply.error)

    def resume(self, ticket: Ticket, handle: Callable[[], None]) -> None:
        """What ``ticket`` waited for is there: handle its request, which is as if it came now."""
        if self._inflight.get(ticket.id) is not ticket:
            return
        del self._inflight[ticket.id]
        self._inflight_bytes -= ticket.request_bytes
        self._expected_bytes -= ticket.reply_bytes
        self.taken = self._takings.pop(ticket.id, None)
        self.has_replied = False
        handle()

    def when_answered(self, call: Callable[[], None]) -> None:
        """Call once nothing is unanswered; now if that is so."""
        if self._inflight:
            self._call_when_answered = call
        else:
            call()

    def is_heard_late(self, late_us: int, waiting_bytes: int = 0) -> None:
        """The messages from now on have waited so long for their turn, and so much waits."""
        self.late_us = late_us
        if late_us:
            self.context.overload.came_late(self.load, late_us, waiting_bytes)

    # -- back-pressure ----------------------------------------------------------------------------

    @property
    def has_room(self) -> bool:
        """Whether another message may be read (PROTOCOL section 2.7).

        Besides what is unsent, what the unanswered requests may be answered with counts, so that
        a thousand large answers cannot be asked for before the first one is sent.
        """
        limits = self.context.limits
        if not self.lane.is_open:
            return True
        if self.holds.bytes_of:
            return False
        if len(self._inflight) >= limits.max_inflight:
            return False
        if self._inflight_bytes >= limits.max_inflight_bytes:
            return False
        return self.outbox.reply_bytes + self._expected_bytes < limits.max_pending_bytes

    def when_room(self, call: Callable[[], None]) -> None:
        """Call once another message may be read, or the connection is gone."""
        self._call_when_room = call

    @property
    def inflight_bytes(self) -> int:
        """The bytes of requests that are not answered."""
        return self._inflight_bytes + sum(self.holds.bytes_of.values())

    async def wait_idle(self) -> None:
        """Return when everything is answered and sent, or the connection is gone."""
        self._progress = asyncio.Event()
        while self.lane.is_open and not self.is_idle:
            self._progress.clear()
            await self._progress.wait()

    def _went_out(self, batch: Batch) -> None:
        metrics = self.context.metrics
        metrics.sent_messages += len(batch.messages) + batch.in_runs
        metrics.sent_bytes += batch.reply_bytes + batch.push_bytes
        self._progressed()

    def _progressed(self) -> None:
        if self._progress is not None:
            self._progress.set()
        call = self._call_when_room
        if call is not None and self.has_room:
            call()  # first: after a fault it is called again
            self._call_when_room = None

    # -- who it is, and what it may ---------------------------------------------------------------

    @property
    def principal(self) -> Principal | None:
        """Who it acts as; None: not authenticated yet."""
        return self.who.principal

    @property
    def account(self) -> Account:
        """What its tenant may use, and uses. Unauthenticated."""
        return self.who.account

    @property
    def tenant(self) -> str:
        """Whose collections it sees. Unauthenticated."""
        return self.who.tenant

    def become(self, principal: Principal) -> None:
        """Act as ``principal`` from now on. Overloaded, Quota if there is no place for one more."""
        if self.principal is None and not self.may_enter():
            raise Overloaded(
                "max_connections: the server has as many as it takes",
                retry_after_ms=PLACE_AFTER_MS,
            )
        self.who.become(principal)
        self.on_authenticated()

    def refuse_connection(self, message: str) -> None:
        """Say that it is not authenticated, and close; nothing is pushed to it any more."""
        self.outbox.drop_pushes()
        self.error(None, Unauthenticated(message))
        self.outbox.close(4401, "unauthenticated")
        end_some(self.subscriptions)
        auditing.ended(self, message)

    def _tell_expiring(self, left_seconds: float) -> None:
        body = {"expires_in_s": round(left_seconds)}
        self.outbox.reply(text(text_replies.encode_event("expiring", body)))

    def _expired(self) -> None:
        if self.lane.is_open and not self.outbox.closed:
            self.is_refused = True
            self.refuse_connection("the token has expired")

    # -- collections, handles, subscriptions ------------------------------------------------------

    def find(self, target: str | int) -> Entry:
        """A collection by name or handle, for ``reach`` alone. NotFound."""
        if isinstance(target, str):
            return self.context.catalog.find(self.tenant, target)
        return self.handles.find(target)

    def open(self, collection: Entry) -> int:
        """The handle of a collection; the same each time."""
        return self.handles.open(collection)

    def next_sub(self) -> int:
        """A fresh ``sub``. Quota beyond the limits on subscriptions."""
        return self.next_subs(1)[0]

    def next_subs(self, count: int) -> list[int]:
        """Fresh ``sub`` numbers. Quota if so many are beyond a limit: none is used up."""
        limits, metrics = self.context.limits, self.context.metrics
        if len(self.subscriptions) + count > limits.max_subscriptions:
            raise Quota(f"max_subscriptions: {limits.max_subscriptions} on this connection")
        there = metrics.subscriptions.total() + metrics.subscriptions_to_come
        if there + count > limits.max_server_subscriptions:
            raise Quota(f"max_server_subscriptions: {limits.max_server_subscriptions} here")
        self.account.refuse_subscriptions(count)
        first = self.last_sub + 1
        self.last_sub += count
        return list(range(first, first + count))

    def remember(self, subscription: Subscription) -> None:
        """Keep a subscription until it ends, or what it reaches changes."""
        if subscription.collection is not None:
            name = subscription.collection.name
            subscription.forced = self.who.scope("read", name).filter
        self.subscriptions[subscription.sub] = subscription
