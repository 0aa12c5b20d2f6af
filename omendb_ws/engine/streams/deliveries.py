"""Whose turn it is to be pushed to: what feeds, live and match queries have in common.

Lives on the engine's thread; ``Push.deliver`` runs on the loop's. A *stream* is the engine's side
of one subscription. It has at most one unsent push: the next one is made when the socket took it,
from whatever the window holds then, so a slow reader costs its place and one push, and nobody
waits for it. All streams of one connection together hold about ``max_pending_bytes`` of pushes; the
others of that connection wait their turn, and no other connection does. What pushes take is
their connection's time: whoever is too far ahead of others that wait is told later.

A *maker* knows what a kind of stream says; it makes the pushes of many streams at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Protocol, TypeVar, cast

from omendb_core.model.budget import Budget
from omendb_core.model.types import Include

from ...runtime.faults import as_error
from ...telemetry.metrics import Metrics
from ...wire.encoded import Message, Pushed
from ...wire.opcodes import Limits
from ..model.shard import Shard
from ..model.shares import Share, Shares
from ..model.ticket import Effect, Lane
from .delayed import Delayed
from .lane_turns import LaneTurns

#: How much one tick builds, and for how long, before searches get their turn again. 4,000 pushes
#: of live queries would take 40 ms.
TICK_PUSH_US: Final = 3_000
TICK_PUSH_BYTES: Final = 4 << 20
TICK_PUSHES: Final = 4000
#: How much is made in one go, by what streams expect: bounds how far a connection's streams may
#: exceed its ``max_pending_bytes``.
GROUP_BYTES: Final = 1 << 20
GROUP_STREAMS: Final = 256
#: What a push takes besides its bytes, in bytes: those that are made together are of many
#: connections, and each bears its part.
PUSH_WEIGHS_BYTES: Final = 2 << 10
#: When a stream whose push could not be made is looked at again, if nothing changes before.
AFTER_A_FAULT_US: Final = 3_000_000


class Reader(Protocol):
    """Who reads a stream: a subscription, on the loop's thread, by its ``sub`` and connection."""

    lane: Lane
    sub: int

    def pushed(self, push: Push) -> None:
        """Queue a push for the socket."""

    def sent(self, push: Push) -> None:
        """The socket took it."""


class Maker(Protocol):
    """Makes what streams of one kind say.

    What it yields counts as said. A fault leaves the others as if they had not been looked at.
    """

    def make(self, streams: Sequence[Any], now_us: int) -> Iterable[tuple[Stream, list[Message]]]:
        """What each of ``streams`` has to say now; one with nothing to say is left out."""


class Stream:
    """One subscription as the engine has it. ``Deliveries`` owns what is not set here at once.

    ``usual_bytes``: about as much as one push takes. ``behind_since_us``: the arrival of the oldest
    change that its reader was not told of. ``due_us``: when it is looked at again unasked.
    """

    __slots__ = (
        "_budget", "_reserved_bytes", "behind_since_us", "due_us", "has_unsent", "include",
        "is_active", "is_binary", "lane", "maker", "reader", "shard", "sub", "usual_bytes",
    )  # fmt: skip

    def __init__(
        self,
        maker: Maker,
        reader: Reader,
        shard: Shard,
        is_binary: bool,
        include: Include,
        usual_bytes: int,
    ) -> None:
        self.maker = maker
        self.reader = reader
        self.lane = reader.lane
        self.sub = reader.sub
        self.shard = shard
        self.is_binary = is_binary
        self.include = include
        self.usual_bytes = usual_bytes
        self.has_unsent = self.is_active = False
        self.behind_since_us: int | None = None
        self.due_us: int | None = None
        self._budget: Budget | None = None
        self._reserved_bytes = 0

    def hold(self, budget: Budget, reserved_bytes: int) -> None:
        """Bytes were taken for it, and are given back when the engine lets go of it."""
        self._budget, self._reserved_bytes = budget, reserved_bytes

    def give_back(self) -> None:
        """Its query is gone, and with it what was taken for it."""
        budget, self._budget = self._budget, None
        if budget is not None:
            budget.give_back(self._reserved_bytes)

    @property
    def expected_bytes(self) -> int:
        """About as much as its next push takes."""
        return self.usual_bytes

    #: Whether it tells of lists, which do not follow their window at once.
    is_of_lists: ClassVar = False

    @property
    def has_more(self) -> bool:
        """Whether, its push taken, it may have something to say right away."""
        return True


@dataclass(slots=True, eq=False)
class Push(Pushed):
    """Effect: messages of one stream, in order, that count as one push."""

    stream: Stream
    arrival_us: int | None

    @property
    def maker(self) -> object:
        """See ``Pushed.maker``."""
        return self.stream.reader

    def deliver(self) -> None:
        """Queue them for the socket."""
        self.stream.reader.pushed(self)

    def went_out(self) -> None:
        """See ``Pushed``."""
        self.stream.reader.sent(self)


class Deliveries:
    """The turns of all streams of the server."""

    def __init__(
        self,
        metrics: Metrics,
        limits: Limits,
        shares: Shares,
        clock_ns: Callable[[], int] = time.perf_counter_ns,
    ) -> None:
        self._metrics = metrics
        self._limits = limits
        self._shares = shares
        self._clock_ns = clock_ns
        self._pending: LaneTurns[Stream] = LaneTurns(shares)
        self._starved: dict[Lane, dict[Stream, None]] = {}
        #: Streams of lists that nobody may tell of now.
        self._put_off: dict[Shard, list[Stream]] = {}
        self._delayed: Delayed[Stream] = Delayed()

    @property
    def is_busy(self) -> bool:
        """Whether a push could be made right now."""
        return bool(self._pending)

    @property
    def next_due_us(self) -> int | None:
        """When the next stream is to be looked at unasked."""
        return self._delayed.next_due_us

    def waiting(self) -> Iterable[Share]:
        """See ``LaneTurns.waiting``."""
        return self._pending.waiting()

    def ready(self, stream: Stream, arrival_us: int | None = None) -> bool:
        """``stream`` may have something to say; False if its reader must take a push first."""
        if stream.behind_since_us is None:
            stream.behind_since_us = arrival_us
        if stream.has_unsent:
            return False
        if stream.is_active:
            self._pending.add(stream.lane, stream)
        return True

    def look_again(self, stream: Stream, due_us: int) -> None:
        """Let ``stream`` be ready at ``due_us`` at the latest."""
        self._delayed.put(stream, due_us)

    def stop(self, stream: Stream) -> None:
        """End a stream; what is unsent of it still counts until it is sent."""
        stream.is_active = False
        stream.due_us = None
        self._pending.discard(stream.lane, stream)
        starved = self._starved.get(stream.lane)
        if starved is not None:
            starved.pop(stream, None)
            if not starved:
                del self._starved[stream.lane]

    def go_on(self, shard: Shard) -> None:
        """Its lists have caught up: what was put off is looked at again, before what changed since.

        Behind it, those whose lists change most often would be told again and again, and others
        never, where lists change faster than all can be told.
        """
        for stream in reversed(self._put_off.pop(shard, ())):
            if self.ready(stream) and stream.is_active:
                self._pending.put_first(stream.lane, stream)

    def sent(self, push: Push) -> None:
        """The socket took a push: its stream may have another, and others of its connection too."""
        stream = push.stream
        has_more = stream.is_active and stream.has_more  # the only thing here that can fault
        stream.lane.push_bytes -= push.size_bytes
        stream.has_unsent = False
        if has_more:
            self._pending.add(stream.lane, stream)
        for starved in self._starved.pop(stream.lane, ()):
            self._pending.add(stream.lane, starved)

    def push(self, effects: list[Effect], now_us: int) -> None:
        """What can be delivered now, as far as one tick goes, to ``effects`` as it is made."""
        for stream in self._delayed.take(now_us, TICK_PUSHES):
            self.ready(stream)
        if not self._pending:
            return
        self._pending.begin()
        built_bytes = pushes = 0
        started_ns = self._clock_ns()
        until_ns = started_ns + TICK_PUSH_US * 1000
        while built_bytes < TICK_PUSH_BYTES and pushes < TICK_PUSHES:
            groups = self._next_group()
            if groups is None:
                break
            for maker, streams in groups.items():
                before = len(effects)
                self._make(maker, streams, effects, now_us)
                made = cast(list[Push], effects[before:])
                pushes += len(made)
                now_ns = self._clock_ns()
                built_bytes += self._charge(streams, made, (now_ns - started_ns) / 1000)
                started_ns = now_ns
            if started_ns >= until_ns:
                break

    def _make(
        self, maker: Maker, streams: list[Stream], effects: list[Effect], now_us: int
    ) -> None:
        """The pushes of ``streams``, as far as they have something to say, to ``effects``."""
        try:
            made = self._made(maker, streams, now_us)
        except Exception as error:
            made = []
            self._look_later(streams, now_us, error)
        for stream, messages in made:
            try:
                push = self._hand_out(stream, messages)
            except Exception as error:  # what was made counts as said
                self._fault(error)
                push = self._hand_out(stream, messages)
            effects.append(push)

    def _charge(self, streams: list[Stream], made: list[Push], took_us: float) -> int:
        """Of what a group took each connection bears its part; how many bytes were made.

        Those that had something to say bear all of it, unless nobody had.
        """
        if not made:
            for stream in streams:
                self._shares.charge_streams(stream.lane.share, took_us / len(streams))
            return 0
        lane, whole, weight = made[0].stream.lane, 0, 0
        weights: dict[Share, int] = {}
        for push in made:
            if push.stream.lane is not lane:
                weights[lane.share] = weights.get(lane.share, 0) + weight
                whole, lane, weight = whole + weight, push.stream.lane, 0
            weight += PUSH_WEIGHS_BYTES + push.size_bytes
        weights[lane.share] = weights.get(lane.share, 0) + weight
        whole += weight
        for share, part in weights.items():
            self._shares.charge_streams(share, took_us * part / whole)
        return whole - PUSH_WEIGHS_BYTES * len(made)

    def _next_group(self) -> dict[Maker, list[Stream]] | None:
        """Streams that are told together; None: none is left that need not wait for others."""
        group: dict[Maker, list[Stream]] = {}
        expected_bytes = count = 0
        while expected_bytes < GROUP_BYTES and count < GROUP_STREAMS:
            turn = self._pending.next()
            if turn is None:
                break
            _, stream = turn
            count += 1
            if stream.shard.broken is not None:
                continue  # nobody knows what is true
            if stream.is_of_lists and stream.shard.is_catching_up:
                self._put_off.setdefault(stream.shard, []).append(stream)
                continue
            if stream.lane.push_bytes >= self._limits.max_pending_bytes:
                self._starved.setdefault(stream.lane, {})[stream] = None
                continue
            group.setdefault(stream.maker, []).append(stream)
            expected_bytes += stream.expected_bytes
        return group if count else None

    def _made(
        self, maker: Maker, streams: list[Stream], now_us: int
    ) -> list[tuple[Stream, list[Message]]]:
        """What ``maker`` makes; after a fault one by one, so that one stream harms no other."""
        made: list[tuple[Stream, list[Message]]] = []
        try:
            for one in maker.make(streams, now_us):
                made.append(one)  # noqa: PERF402 - what was made before a fault must go out
        except Exception as error:
            if len(streams) > 1:
                done = {stream for stream, _ in made}
                for stream in streams:
                    if stream not in done:
                        made += self._made(maker, [stream], now_us)
                return made
            self._look_later(streams, now_us, error)
        return made

    def _look_later(self, streams: list[Stream], now_us: int, error: Exception) -> None:
        """After a fault: the next change tries again, or the time does."""
        self._fault(error)
        for stream in streams:
            self.look_again(stream, now_us + AFTER_A_FAULT_US)

    def _fault(self, error: Exception) -> None:
        self._metrics.faults += 1
        as_error(error, "a push")

    def _hand_out(self, stream: Stream, messages: list[Message]) -> Push:
        size_bytes = 0
        for message in messages:
            size_bytes += message.size_bytes
        stream.has_unsent = True
        stream.lane.push_bytes += size_bytes
        push = Push(messages, size_bytes, stream, stream.behind_since_us)
        stream.behind_since_us = None
        return push


Key = TypeVar("Key")
Value = TypeVar("Value")


def forget(of: dict[Shard, dict[Key, Value]], shard: Shard, key: Key) -> None:
    """Take a stream out of its maker's registry; a shard without any is not kept in it."""
    streams = of.get(shard, {})
    streams.pop(key, None)
    if not streams:
        of.pop(shard, None)
