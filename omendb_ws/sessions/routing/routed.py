"""A client's session on a node of a cluster: what other nodes answer counts as unanswered here.

Limits on unanswered requests and their bytes, drains and back-pressure are those of one server,
whoever answers. Which message goes where is the ``Router``'s.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from omendb_core.model.errors import BadRequest, Quota

from ...access.peer import LOCAL, Peer
from ...catalog.entry import Entry
from ...wire.encoded import Message
from ...wire.heads import Head
from ...wire.messages import Said
from ..context import Context
from ..outbox import Batch, Outbox
from ..receive import Receiver
from .naming import Named, NamingSession
from .pending import Pending
from .router import SUBS_OF_A_LINK, Router


class RoutedSession(NamingSession):
    """A session whose requests may be answered by other nodes."""

    def __init__(self, context: Context, outbox: Outbox, peer: Peer = LOCAL) -> None:
        super().__init__(context, outbox, peer)
        assert context.cluster is not None
        self.named: dict[int, Named] = {}
        self.routes = self.router = Router(self, self, context.cluster)
        self.least = self.router.least

    def close(self) -> None:
        """As ``Session.close``."""
        self.router.close()
        super().close()

    @property
    def is_idle(self) -> bool:
        """As ``Session.is_idle``."""
        return super().is_idle and not self.router.pending

    @property
    def has_room(self) -> bool:
        """As ``Session.has_room``; what others answer counts as well."""
        router, limits = self.router, self.context.limits
        if router.pending and self.lane.is_open:
            if len(self._inflight) + len(router.pending) >= limits.max_inflight:
                return False
            if self._inflight_bytes + router.pending_bytes >= limits.max_inflight_bytes:
                return False
        return super().has_room

    @property
    def inflight_bytes(self) -> int:
        """As ``Session.inflight_bytes``."""
        return super().inflight_bytes + self.router.pending_bytes

    def refuse_repeated_id(self, request_id: int) -> None:
        """As ``Session.refuse_repeated_id``."""
        super().refuse_repeated_id(request_id)
        if request_id in self.router.pending:
            raise BadRequest(f"id: {request_id} is that of a request that is not answered yet")

    def when_answered(self, call: Callable[[], None]) -> None:
        """As ``Session.when_answered``, by whoever answers."""
        if self._inflight:
            super().when_answered(lambda: self.when_answered(call))
        elif self.router.pending:
            self.router.when_answered = lambda: self.when_answered(call)
        else:
            call()

    def open(self, collection: Entry) -> int:
        """As ``Session.open``: it stays the same when this node lets go of the collection."""
        return self.router.handles.of(Named(collection.name, collection.epoch))

    def next_subs(self, count: int) -> list[int]:
        """As ``Session.next_subs``."""
        if self.last_sub + count >= SUBS_OF_A_LINK:
            raise Quota("sub: this connection has used them all; reconnect")
        return super().next_subs(count)

    def handed_on(self, head: Head, name: str | None) -> Any:
        """See ``Client``."""
        return None

    def answered_elsewhere(self, pending: Pending, message: Message, error: str | None) -> None:
        """See ``Client``."""
        self.outbox.reply(message)
        if error is not None:
            self.context.metrics.errors[error] += 1
            self.who.refused(error)
        self._progressed()

    def _went_out(self, batch: Batch) -> None:
        super()._went_out(batch)
        self.router.went_out()


class RoutedReceiver(Receiver):
    """Passes on what others answer, once it is known that it is not refused unread."""

    def _is_refused_unread(self, message: Said) -> bool:
        routes = self._session.routes
        assert routes is not None
        if routes.is_again(message):
            return routes.passes_on(message)
        return super()._is_refused_unread(message) or routes.passes_on(message)
