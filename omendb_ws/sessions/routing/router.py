"""Passes a client's messages on to the nodes that answer them, and what they say back.

A message goes on as it came, once its op, collection and id are known (``wire/heads.py``); what
comes back goes to the client as it is. What is rewritten is in ``replies.py``. Subscriptions are
numbered by the node that has them, from where it is told, so that a number says whose it is. Lives
on the loop's thread.

Invariants: a request that was passed on gets exactly one reply, whatever becomes of its node; a
change follows others of its connection to the same place, or waits until they are answered.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final, Protocol

from omendb_core.model.errors import Forbidden, Internal, OmenError, Unavailable

from ...access.peer import Peer
from ...access.principal import Principal
from ...cluster.directory import Node
from ...wire import binary, heads, text_replies
from ...wire.encoded import Message, text
from ...wire.heads import Head
from ...wire.messages import Add, Posted, Request, Said, Uploaded
from ...wire.opcodes import OPS, right_for
from . import replies
from .link import Link
from .listing import Listing
from .naming import HandleNames, Named, NamingSession
from .parts import ClusterParts
from .pending import Pending
from .places import Places

#: Subscriptions of one link, and of this node itself, over a connection's time.
SUBS_OF_A_LINK: Final = 1 << 22
_MOST_LINKS: Final = (1 << 10) - 1
#: Unsent bytes of the client above which other nodes are not heard; they merge pushes meanwhile.
_MOST_UNSENT_BYTES: Final = 512 << 10
#: How long a node that could not be reached is not tried again for this client.
_REST_SECONDS: Final = 0.25


class Client(Protocol):
    """What a session does with what others answer."""

    def handed_on(self, head: Head, name: str | None) -> Any:
        """A request goes to another node; its span, if there is one."""

    def answered_elsewhere(self, pending: Pending, message: Message, error: str | None) -> None:
        """Another node has answered it; ``error``: the code."""


class Router:
    """Of one session."""

    def __init__(self, session: NamingSession, client: Client, parts: ClusterParts) -> None:
        self.session = session
        self.context = session.context
        self.pending: dict[int, Pending] = {}
        self.pending_bytes = 0
        self.when_answered: Callable[[], None] | None = None
        self._client = client
        self._parts = parts
        self._places = Places(session, parts.directory)
        self.least = self._places.least
        self._links: dict[str, Link] = {}
        self._by_number: dict[int, Link] = {}
        self._last_number = 0
        self.handles = HandleNames(session.named, self._places.is_there)
        self._failed_at: dict[str, float] = {}
        #: Where the snapshot is that the connection reads, if it is not here.
        self._snapshot: Link | None = None
        self._again: Said | None = None
        self._is_holding = False

    @property
    def peer(self) -> Peer:
        """Where the client is."""
        return self.session.peer

    def close(self) -> None:
        """The client is gone."""
        for link in self._by_number.values():
            link.close()
        self._by_number.clear()
        self._links.clear()
        self.pending.clear()
        self.pending_bytes = 0

    # -- what the client says ---------------------------------------------------------------------

    def is_again(self, message: Said) -> bool:
        """Whether a message has waited here for others' answers, and was counted then."""
        if message is not self._again:
            return False
        self._again = None
        metrics = self.context.metrics
        metrics.received_messages -= 1
        metrics.received_bytes -= len(message)
        return True

    def passes_on(self, message: Said, request: Request | None = None) -> bool:
        """See ``Routes``."""
        session = self.session
        if session.principal is None:
            return False
        head = heads.head_of(message) if request is None else heads.head_of_request(request)
        if head is None:
            return False
        try:
            session.refuse_repeated_id(head.id)
            return self._route(message, head)
        except OmenError as error:
            self.context.metrics.requests[head.op if head.op in OPS else "invalid"] += 1
            session.error(head.id, error)
            return True

    def _route(self, message: Said, head: Head) -> bool:
        name = self._name_of(head)
        if name is not None and not self._may(head, name):
            return False  # refused here, and in the log
        link: Link | None
        if head.op in ("unsubscribe", "move") and head.number is not None:
            link = self._by_number.get(head.number // SUBS_OF_A_LINK)
        elif head.op == "snapshot" and name is None:
            link = self._snapshot
        else:
            node = self._places.of(head, name)
            link = None if node is None else self._link_to(node)
        if self._must_wait(head, link):
            self._wait(message)
            return True
        if head.op == "list":
            return self._list(message, head)
        if head.op == "snapshot" and name is not None:
            self._snapshot = link
        if link is None:
            return False
        self._pass_on(message, head, name, link)
        return True

    def _list(self, message: Said, head: Head) -> bool:
        """Ask all nodes that hold something which this one has not; of one that cannot be reached
        this one says that it is not there. Unavailable where it does not reach itself."""
        links: list[Link] = []
        for node in self._places.for_list():
            try:
                links.append(self._link_to(node))
            except Unavailable:
                if node.name == self._parts.directory.here.name:
                    raise
        if links:
            self._pass_on(message, head, None, links[0], Listing(links))
        return bool(links)

    def _name_of(self, head: Head) -> str | None:
        if head.handle is None:
            return head.collection
        named = self.session.named.get(head.handle)
        return None if named is None else named.name

    def _may(self, head: Head, name: str) -> bool:
        """Whether the client may know where that collection is."""
        if head.op not in OPS:
            return False
        right = right_for(head.op)
        try:
            self.session.who.scope(None if right in ("any", "none") else right, name)
        except Forbidden:
            return False
        return True

    def _must_wait(self, head: Head, link: Link | None) -> bool:
        """Whether changes on their way to other places must be answered first."""
        if not OPS[head.op].change if head.op in OPS else True:
            return head.op == "list" and bool(self._places.changing)
        lane = self.session.lane
        if link is not None and lane.queued != lane.done:
            return True
        return any(one.is_change and one.link is not link for one in self.pending.values())

    def _wait(self, message: Said) -> None:
        """Hear it again once everything is answered, and what is behind it."""
        holds = self.session.holds
        self._again = message
        holds.behind.appendleft(message)
        self.session.when_answered(holds.begin(len(message)).end)

    def _pass_on(
        self,
        message: Said,
        head: Head,
        name: str | None,
        link: Link,
        listing: Listing | None = None,
    ) -> None:
        context = self.context
        context.metrics.requests[head.op] += 1
        context.metrics.passed_on += 1
        is_change = OPS[head.op].change
        key = "" if name is None else self._places.key(name)
        pending = Pending(head, link, len(message), name, is_change, key, listing=listing)
        sent: str | bytes
        if isinstance(message, Uploaded):
            add = message.request
            assert name is not None
            assert isinstance(add, Add), "bytes of a restore are for this node"
            pending.as_text, named = True, Named(name, None)
            handle = self.handles.of(named)
            link.bind(handle, *named)
            if isinstance(add.rows, OmenError | list):
                raise add.rows if isinstance(add.rows, OmenError) else Unavailable("no rows")
            name_of_batch = (add.producer, add.batch, add.unless_near)
            sent = binary.encode_add(add.id, handle, add.rows, *name_of_batch)
        elif isinstance(message, Posted):
            sent = heads.as_text(message)
        else:
            sent = message
            if head.handle is not None:
                link.bind(head.handle, *self.session.named[head.handle])
        if name is not None and is_change:
            self._places.begin_change(name)
        elif name is not None:
            link.expect(name, key, self._places.floor(name))
        for one in (link,) if listing is None else list(listing.waits):
            one.send(sent)
        self.pending[head.id] = pending
        self.pending_bytes += pending.size_bytes
        pending.span = self._client.handed_on(head, name)

    # -- links ------------------------------------------------------------------------------------

    def _link_to(self, node: Node) -> Link:
        link = self._links.get(node.name)
        if link is not None:
            if link.node == node:
                return link
            link.fail("it is at another address")  # it is back, somewhere else
        now = asyncio.get_running_loop().time()
        if now - self._failed_at.get(node.name, -_REST_SECONDS) < _REST_SECONDS:
            raise Unavailable(f"node {node.name} cannot be reached; try again")
        if self._last_number >= _MOST_LINKS:
            self.session.outbox.close(1012, "too many nodes have gone; reconnect")
            raise Unavailable(f"node {node.name} cannot be reached; reconnect")
        self._last_number += 1
        principal = self.session.who.known()
        first_sub = self._last_number * SUBS_OF_A_LINK
        link = Link(self._parts, node, self._last_number, principal, first_sub, self)
        self._links[node.name] = self._by_number[link.number] = link
        self._hold_or_go_on()
        return link

    def owes(self, link: Link) -> bool:
        """See ``LinkUser``."""
        return any(one.is_owed_by(link) for one in self.pending.values())

    def tell(self, principal: Principal, then: Callable[[], None]) -> None:
        """See ``Routes``."""
        links = [one for one in self._by_number.values() if not one.is_over]
        left = len(links)

        def spoken() -> None:
            nonlocal left
            left -= 1
            if left == 0:
                hold.end()
                then()

        if not links:
            then()
            return
        hold = self.session.holds.begin(0)
        for link in links:
            link.speak(principal, spoken)

    def lost(self, link: Link, why: str) -> None:
        """See ``LinkUser``."""
        node = link.node
        self._by_number.pop(link.number, None)
        if self._links.get(node.name) is link:
            del self._links[node.name]
        self._snapshot = None if self._snapshot is link else self._snapshot
        self._places.avoid(node)
        if not link.was_open:
            self._failed_at[node.name] = asyncio.get_running_loop().time()
        self.context.metrics.lost_links += 1
        if link.subs:  # clients subscribe anew, from where they are
            self.session.outbox.close(1012, f"node {node.name} is gone; reconnect")
        for one in [one for one in self.pending.values() if one.is_owed_by(link)]:
            if one.listing is not None:
                one.listing.miss(link)
                self._listed(one, one.listing)
                continue
            error: OmenError = Unavailable(f"node {node.name} is gone; try again")
            if one.is_change and one.is_sent:
                error = Internal(f"node {node.name} went away: whether it was done is not known")
            self._refuse(one, error)

    # -- what other nodes say ---------------------------------------------------------------------

    def heard(self, link: Link, data: bytes, is_text: bool) -> None:
        """See ``LinkUser``."""
        told = heads.told_by(data, is_text)
        if told is None:
            link.fail("it said what is nothing of the protocol")
        elif told.id is not None:
            self._replied(link, told.id, told.error, data, is_text)
        elif told.event == "ended":
            self._ended(link, told.sub, data)
        elif told.event == "error":
            link.fail("it has ended the connection")
        elif told.sub is not None:
            outbox = self.session.outbox
            outbox.push(Message((data,), is_text), _no_matter, told.sub)
        self._hold_or_go_on()

    def _replied(
        self, link: Link, request_id: int, error: str | None, data: bytes, is_text: bool
    ) -> None:
        pending = self.pending.get(request_id)
        if pending is None or not pending.is_owed_by(link):
            link.fail("it answered what it was not asked")
            return
        if pending.listing is not None:
            pending.listing.take(link, data)
            self._listed(pending, pending.listing)
            return
        if error == "draining":
            self._refuse(pending, Unavailable(f"node {link.node.name} is leaving; try again"))
            return
        message = Message((data,), is_text)
        if error is None:
            message = self._took(pending, data, message)
        self._answer(pending, message, error)

    def _listed(self, pending: Pending, listing: Listing) -> None:
        if not listing.waits:
            self._answer(pending, listing.message(pending.head.id), None)

    def _took(self, pending: Pending, data: bytes, message: Message) -> Message:
        """Learn from an ``ok``; what the client hears of it."""
        op, name, link = pending.head.op, pending.name, pending.link
        if name is not None:
            if op in ("create", "drop"):
                self._places.forget(name)
            version = heads.version_in(data, message.is_text)
            if version is not None and op != "drop":
                self._places.note(name, pending.key, version, link.node)
                link.states(name, pending.key, version)
        if op == "subscribe":
            link.subs.update(heads.subs_in(data, message.is_text))
        elif op == "unsubscribe" and pending.head.number is not None:
            link.subs.discard(pending.head.number)
        elif op in ("open", "create") and name is not None:
            return replies.with_handle(data, lambda epoch: self.handles.of(Named(name, epoch)))
        elif pending.as_text:
            return replies.added_as_text(data)
        return message

    def _ended(self, link: Link, sub: int | None, data: bytes) -> None:
        if sub is not None:
            link.subs.discard(sub)
            self.session.outbox.drop_pushes({sub})
        self.session.outbox.reply(text(data))

    def _refuse(self, pending: Pending, error: OmenError) -> None:
        said = text(text_replies.encode_error(pending.head.id, error))
        self._answer(pending, said, error.code)

    def _answer(self, pending: Pending, message: Message, error: str | None) -> None:
        del self.pending[pending.head.id]
        self.pending_bytes -= pending.size_bytes
        if pending.is_change and pending.name is not None:
            self._places.end_change(pending.name)
        self._client.answered_elsewhere(pending, message, error)
        call = self.when_answered
        if call is not None and not self.pending:
            self.when_answered = None
            call()

    # -- back-pressure ----------------------------------------------------------------------------

    def went_out(self) -> None:
        """The client took something."""
        if self._is_holding:
            self._hold_or_go_on()

    def _hold_or_go_on(self) -> None:
        """Hear other nodes while the client takes what they say."""
        outbox = self.session.outbox
        self._is_holding = outbox.reply_bytes + outbox.push_bytes > _MOST_UNSENT_BYTES
        for link in self._links.values():
            link.hold(self._is_holding)


def _no_matter() -> None:
    """A push went out: its maker is elsewhere."""
