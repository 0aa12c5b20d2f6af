"""Subscriptions as a connection has them: a ``sub``, its stream in order, its end.

Lives on the loop's thread. A subscription exists from its request on, so that an unsubscribe sent
right behind it finds it; it starts when its reply is queued, and everything after goes into the
same outbox: one stream in order. Where the engine keeps part of it (a feed's cursor), that part is
told when this one ends.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from omendb_core.filters.parser import Filter
from omendb_core.model.budget import Budget, Share

from ...catalog.entry import Entry
from ...engine.model.shard import Shard
from ...engine.model.sharded import Sharded
from ...engine.model.ticket import Lane
from ...engine.streams.commands import Gone, Measure
from ...engine.streams.stream import Bundle, Push, Stream
from ...tenants.account import Account
from ...wire.encoded import Message, text
from ...wire.messages import SubscriptionKind
from ...wire.text_replies import encode_event
from ..context import Context
from ..outbox import Outbox
from .beats import Beat

#: PROTOCOL section 6: how often statistics come unless asked otherwise.
DEFAULT_EVERY_MS = 1000
#: What statistics take, the newest and their timer included: by how a server's memory grows with
#: 2,000 of them.
STATS_BYTES: Final = 1800


class Owner(Protocol):
    """The session that a subscription belongs to."""

    context: Context
    outbox: Outbox
    lane: Lane
    subscriptions: dict[int, Subscription]

    @property
    def account(self) -> Account:
        """What its tenant may use, and uses."""
        ...


class Subscription:
    """One subscription of one connection. ``collection`` None: of the whole server."""

    kind: SubscriptionKind
    #: Requests that have it ask something else, and are not answered; as a rule there are none.
    _moving: set[int] | None = None

    def __init__(self, session: Owner, sub: int, collection: Entry | None) -> None:
        self.session = session
        self.sub = sub
        self.collection = collection
        self.is_ended = self.is_leaving = False
        self._is_begun = self._is_end_said = False
        self._end_reason: str | None = None
        #: The filter that a token forced on it when it began.
        self.forced: Mapping[str, Any] | None = None
        self._context = session.context
        self._account = session.account
        self._account.subscriptions += 1
        self._context.metrics.subscriptions[self.kind] += 1
        if collection is not None:
            collection.listed.subscriptions.add(self)

    @property
    def shard(self) -> Shard | Sharded | None:
        """What the engine knows of its collection."""
        return None if self.collection is None else self.collection.all_of_it

    # Whatever of these faults is called again, and goes on where it was.

    def replied(self, is_ok: bool) -> None:
        """Its subscribe was answered: it starts, or never was."""
        self._is_begun = True
        if not is_ok:
            self.close()
        elif self._end_reason is not None:
            self.end(self._end_reason)
        elif not self.is_ended:
            self.start()

    def moves(self, request_id: int) -> None:
        """A request has it ask something else."""
        self._moving = (self._moving or set()) | {request_id}

    def moved(self, request_id: int, _: bool) -> None:
        """That is answered."""
        self._moving = (self._moving or set()) - {request_id} or None
        if self._end_reason is not None and not self.is_ended:
            self.end(self._end_reason)

    def start(self) -> None:
        """Begin to deliver; the reply is queued."""

    def end(self, reason: str) -> None:
        """The server ends it, and says why; behind the reply to what has asked for it, or moved it.

        Till then nothing more is pushed.
        """
        if not self._is_begun or self._moving:
            self._end_reason = reason
            self.is_leaving = True
        elif not self.is_ended:
            if not self._is_end_said:
                event = encode_event("ended", {"sub": self.sub, "reason": reason})
                self.session.outbox.reply(text(event))
                self._is_end_said = True
            self.close()

    def close(self) -> None:
        """Deliver nothing more, and let go of everything."""
        if self.is_ended:
            return
        self.is_ended = True
        self.session.subscriptions.pop(self.sub, None)
        self._context.metrics.subscriptions[self.kind] -= 1
        self._account.subscriptions -= 1
        if self.collection is not None:
            self.collection.listed.subscriptions.discard(self)

    def _count_push(self, count: int = 1) -> None:
        self._context.metrics.pushes += count
        if self.collection is not None:
            self.collection.all_of_it.counts.pushes += count


class StreamSubscription(Subscription):
    """The outbox's side of a ``Stream`` of the engine: a feed, a live or a match query.

    ``stream`` is set right after construction; None where a fault came between.
    ``reserved_bytes``: memory of the budget that its standing query takes; its stream's from
    ``attach`` on, which may outlive this.
    """

    stream: Stream | None = None

    def __init__(
        self,
        session: Owner,
        kind: SubscriptionKind,
        sub: int,
        collection: Entry,
        reserved_bytes: int = 0,
    ) -> None:
        self.kind = kind
        super().__init__(session, sub, collection)
        self.lane = session.lane
        self._reserved_bytes = reserved_bytes

    def attach(self, stream: Stream) -> None:
        """Its stream is made, and pays for what both take."""
        self.stream = stream
        self.hold(self._account.memory, self._reserved_bytes)

    def hold(self, budget: Budget, reserved_bytes: int) -> None:
        """Its stream pays for what both take."""
        assert self.stream is not None, "it is made"
        self.stream.hold(budget, reserved_bytes)
        self._reserved_bytes = 0

    @property
    def hears(self) -> bool:
        """Whether it is still told anything."""
        return not self.is_ended and self._end_reason is None

    def pushed(self, push: Push) -> None:
        """Queue a push; the engine makes the next when the socket took it."""
        if self.is_ended or self._end_reason is not None:
            self._context.engine.sent(push)
        else:
            self.session.outbox.push_all(push)

    def close(self) -> None:
        """As ``Subscription.close``; the engine forgets its side."""
        if self.is_ended:
            return
        if self.stream is not None:
            self._context.engine.submit(Gone(self.stream))
            self.stream = None  # it has this for its reader: a cycle
        self._account.memory.give_back(self._reserved_bytes)
        self._reserved_bytes = 0
        super().close()

    def sent(self, push: Push) -> None:
        """The socket took it: the engine may make another one."""
        if isinstance(push, Bundle):
            self._count_push(len(push.streams))
            for arrival_us, times in Counter(push.arrivals_us).items():
                self._took_since(arrival_us, times)
        else:
            self._count_push()
            self._took_since(push.arrival_us)
        self._context.engine.sent(push)

    def _took_since(self, arrival_us: int | None, times: int = 1) -> None:
        if arrival_us is not None:
            self._context.metrics.push_us.record(self._context.clock_us() - arrival_us, times)


class StatsSubscription(Subscription):
    """Statistics every so often: always the newest, never a queue of old ones.

    The server's are looked up when the socket can take them; a collection's are measured by the
    engine at each beat.
    """

    kind = "stats"

    def __init__(
        self,
        session: Owner,
        sub: int,
        collection: Entry | None,
        every_ms: int | None,
        share: Share,
        visible: Filter | None,
        server_numbers: Callable[[], dict[str, Any]],
    ) -> None:
        super().__init__(session, sub, collection)
        self.visible = visible
        self._server_numbers = server_numbers
        self._share = share
        self._every_seconds = (every_ms or DEFAULT_EVERY_MS) / 1000
        self._latest: dict[str, Any] | None = None
        self._is_measuring = False
        self._beat: Beat | None = None

    def reply(self, shard: Shard) -> dict[str, Any]:
        """The ``ok`` of a collection's; on the thread that holds its window."""
        whole = None if self.collection is None else self.collection.whole
        if whole is not None:
            versions = whole.versions
            said = {"version": sum(versions), "versions": versions}
            return {"sub": self.sub, "epoch": whole.epoch, **said}
        return {"sub": self.sub, "epoch": shard.epoch, "version": shard.window.version}

    def start(self) -> None:
        """The first statistics come at once."""
        if self._beat is None:
            self._beat = self._context.beats.begin(self._tick, self._every_seconds)
            self._tick()

    def measured(self, stats: dict[str, Any] | None) -> None:
        """The engine's numbers of this moment; None: a fault came between, the next beat asks."""
        self._is_measuring = False
        if stats is not None:
            self._latest = stats
            self._offer()

    def take(self) -> Message | None:
        """What is true when the socket can take it."""
        stats = self._latest
        if self.collection is None:
            stats = self._server_numbers()
        if self.is_ended or stats is None:
            return None
        self._count_push()
        return text(encode_event("stats", {"sub": self.sub, **stats}))

    def close(self) -> None:
        """As ``Subscription.close``; the clock stops."""
        if self._beat is not None:
            self._beat.stop()
        self._share.close()
        super().close()

    def _tick(self) -> None:
        if self.is_ended:
            return
        if self.collection is None:
            self._offer()
        elif not self._is_measuring:
            self._context.engine.submit(Measure(self.session.lane, self))
            self._is_measuring = True

    def _offer(self) -> None:
        if not self.is_ended and not self.session.outbox.offer(self):
            self._context.metrics.stats_merged += 1
            if self.collection is not None:
                self.collection.all_of_it.counts.merged += 1
