"""One request that several shards do, and its one reply.

Runs on the loop's thread. Each shard is asked by a ticket of its own, in the connection's lane, so
that order and what a connection sees of its own changes are as ever; what each says is a value.
Once all have spoken the request is answered, or asked further. Invariant: the session knows of one
ticket, and gets one reply to it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from omendb_core.model.errors import OmenError

from ...engine.inbox import Submitted
from ...engine.model import replies
from ...engine.model.shard import Shard
from ...engine.model.ticket import Lane, PartReply, Reply, Ticket
from ...runtime.faults import as_error
from ..session import Session

#: What is asked of the shard at a place, by a ticket.
Asks: TypeAlias = Callable[[int, Shard, Ticket], Submitted]
#: What all have said, by their places; None: it goes on.
Finish: TypeAlias = Callable[[dict[int, Any]], Reply | None]


class _Part:
    """Who asked one shard."""

    __slots__ = ("gather", "lane", "place", "round")

    def __init__(self, gather: Gather, lane: Lane, place: int, round_: int) -> None:
        self.gather, self.lane, self.place, self.round = gather, lane, place, round_

    def answered(self, reply: Reply) -> None:
        """What the shard says; after a fault it is called again."""
        assert isinstance(reply, PartReply), "a part says values"
        self.gather.took(self.round, self.place, reply.value)


class Gather:
    """The request of ``ticket``, which several shards do.

    ``locate``: of an error of one shard it makes what the request's sender understands. An error of
    one is that of the request, unless it ``tolerates`` some.
    """

    def __init__(
        self,
        session: Session,
        ticket: Ticket,
        locate: Callable[[int, OmenError], None] = lambda _place, _error: None,
        *,
        tolerates: bool = False,
    ) -> None:
        self._session = session
        self.ticket = ticket
        self._locate, self._tolerates = locate, tolerates
        self._has_begun = False
        #: How often shards were asked: what is said twice belongs to one of these.
        self._round = 0
        self._wanted: dict[int, Shard] = {}
        self._said: dict[int, Any] = {}
        self._finish: Finish = lambda _: None

    def begin(
        self, shards: Sequence[tuple[int, Shard]], asks: Asks, finish: Finish, *, changes: bool
    ) -> None:
        """Ask ``shards``, each with its place; the session expects one reply from now on."""
        self._has_begun = True

        def submit(_: object) -> None:
            self.ask(shards, asks, finish, changes=changes)

        self._session.expect(self.ticket, submit, None)

    def ask(
        self, shards: Sequence[tuple[int, Shard]], asks: Asks, finish: Finish, *, changes: bool
    ) -> None:
        """Ask them, further if some were asked before."""
        if not self._has_begun:
            self.begin(shards, asks, finish, changes=changes)
            return
        lane, inbox = self._session.lane, self._session.context.inbox
        self._wanted, self._said, self._finish = dict(shards), {}, finish
        self._round += 1
        for place, shard in shards:
            inbox.submit(asks(place, shard, self._part_ticket(place, shard, len(shards))))
            lane.queued += changes

    def _part_ticket(self, place: int, shard: Shard, count: int) -> Ticket:
        whole, lane = self.ticket, self._session.lane
        return Ticket(
            asker=_Part(self, lane, place, self._round),
            id=whole.id,
            op=whole.op,
            shard=shard,
            arrival_us=whole.arrival_us,
            request_bytes=0,
            reply_bytes=whole.reply_bytes // count,
            max_reply_bytes=whole.max_reply_bytes,
            after=lane.queued,
            late_us=whole.late_us,
            is_part=True,
        )

    def took(self, round_: int, place: int, value: Any) -> None:
        """One has spoken; with the last the request is answered."""
        if round_ != self._round:
            return
        self._said[place] = value
        if len(self._said) < len(self._wanted):
            return
        reply = self._reply()
        if reply is not None:
            self._session.answered(reply)

    def _reply(self) -> Reply | None:
        said = dict(sorted(self._said.items()))
        try:
            for place, value in said.items():
                if isinstance(value, OmenError) and not self._tolerates:
                    self._locate(place, value)
                    return replies.refusal(self.ticket, value)
            return self._finish(said)
        except Exception as error:
            return replies.refusal(self.ticket, as_error(error, self.ticket.op))


class Unheard:
    """Who asks for what nobody waits for."""

    __slots__ = ("lane",)

    def __init__(self, lane: Lane) -> None:
        self.lane = lane

    def answered(self, reply: Reply) -> None:
        """It is done, or logged."""
