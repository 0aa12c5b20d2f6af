"""The other end of a link: a session that another node speaks in, for a client of its own.

It is whoever that node vouches for, and is held to that client's grants, rates of rows, queries
and the engine's time, and memory. What the client's own node counts is not counted again: its
connection, its messages. It passes nothing on: what is not here is ``unavailable``, so no message
goes round in circles.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial

import orjson
from omendb_core.model.errors import BadRequest, NotFound, Unavailable

from ..._version import VERSION
from ...access.peer import LOCAL, Peer
from ...access.vouching import NotVouched, Vouched, new_challenge, verify
from ...catalog.entry import Entry
from ...wire import heads, searches, text_replies
from ...wire.encoded import Message, text
from ...wire.messages import Auth, Refusal, Request, Said
from ...wire.opcodes import PROTOCOL
from ..authentication import end_forbidden, refuse_token
from ..context import Context
from ..outbox import Outbox
from ..receive import Receiver
from .naming import Named, NamingSession
from .parts import AT_LEAST, BIND, MARK_BYTES, OF_NODES, SPEAK, SPOKEN, forget_first


class VouchedSession(NamingSession):
    """A session that a node speaks in."""

    is_vouched = True

    def __init__(self, context: Context, outbox: Outbox, peer: Peer = LOCAL) -> None:
        super().__init__(context, outbox, peer)
        assert context.cluster is not None
        self.parts = context.cluster
        self.named: dict[int, Named] = {}
        self._least: dict[str, int] = {}
        self.least = lambda name: self._least.get(name, 0)
        self.challenge = new_challenge()
        self.last_number = 0

    def greet(self) -> None:
        """Say who this node is, and what the other one has to answer."""
        here = self.parts.directory.here.name
        hello = {
            "protocol": PROTOCOL,
            "server": f"omendb-ws/{VERSION}",
            "auth": "required",
            "node": here,
            "cluster": self.parts.cluster,
            "challenge": self.challenge,
        }
        self.outbox.reply(text(text_replies.encode_event("hello", hello)))

    def spoken_for(self, said: bytes) -> None:
        """Act as whom the other node vouches for; what that does not allow ends first."""
        context, here = self.context, self.parts.directory.here.name
        now_seconds = context.wall_seconds()
        secret = self.parts.secret
        try:
            found = verify(secret, self.challenge, here, said, self.last_number, now_seconds)
            if self.principal is not None and found.principal.tenant != self.tenant:
                raise NotVouched("it is of another tenant than before")
        except NotVouched as error:
            refuse_token(self, None, f"a node is not believed: {error}")
            return
        self.last_number = found.number
        self._become(found)

    def _become(self, found: Vouched) -> None:
        if self.principal is None:
            self.peer, self.last_sub = found.peer, found.first_sub
            self.who.visit(found.principal.tenant)
        self.become(found.principal)
        spoken = Message((SPOKEN + b"%d" % found.number,), False)
        end_forbidden(self, 0, partial(self.outbox.reply, spoken), None)

    def bound(self, said: bytes) -> None:
        """A handle of the client's means that collection."""
        found = orjson.loads(said)
        self.named[found["handle"]] = Named(found["collection"], found["epoch"])
        forget_first(self.named)

    def expected(self, said: bytes) -> None:
        """Reads of a collection wait for a version."""
        found = orjson.loads(said)
        self._least[found["collection"]] = found["version"]
        forget_first(self._least)

    def find(self, target: str | int) -> Entry:
        """As ``Session.find``; Unavailable for what other nodes have."""
        try:
            return super().find(target)
        except NotFound:
            named = self.named.get(target) if isinstance(target, int) else Named(target, None)
            if named is None or not self._is_elsewhere(named.name):
                raise
            raise Unavailable(f"{named.name}: it has just moved; try again") from None

    def _is_elsewhere(self, name: str) -> bool:
        """Whether other nodes have it, and this one has not."""
        with suppress(NotFound):
            super().find(name)
            return False
        return self.parts.directory.where(self.tenant, name) is not None

    def refuse(
        self,
        id: int | None,
        message: Said,
        error: Exception,
        op: str,
        target: str | int | None = None,
    ) -> None:
        """As ``Session.refuse``: the other node has to know whose answer it is."""
        if id is None:
            head = heads.head_of_fault(message)
            id = None if head is None else head.id
        super().refuse(id, message, error, op, target)


class VouchedReceiver(Receiver):
    """Hears what another node says, for its client and for itself."""

    def _is_refused_unread(self, message: Said) -> bool:
        session = self._session
        assert isinstance(session, VouchedSession)
        if isinstance(message, bytes) and message[:1] == OF_NODES:
            self._hear_node(session, message)
            return True
        if session.principal is None:
            refuse_token(session, None, "a node did not say for whom it speaks")
            return True
        return super()._is_refused_unread(message)

    def _hear_node(self, session: VouchedSession, message: bytes) -> None:
        mark, said = message[:MARK_BYTES], message[MARK_BYTES:]
        if mark == SPEAK:
            session.spoken_for(said)
        elif mark == BIND and session.principal is not None:
            session.bound(said)
        elif mark == AT_LEAST and session.principal is not None:
            session.expected(said)
        else:
            refuse_token(session, None, "a node said what is not known here")

    def _take_message(self) -> None:
        """The client's own node counts its messages."""

    def _decode(self, message: Said) -> Request | searches.PlainSearch | Refusal:
        request = super()._decode(message)
        if isinstance(request, Auth):
            return Refusal(request.id, BadRequest("op: auth is for the client's own node"))
        return request
