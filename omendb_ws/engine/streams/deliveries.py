"""Whose turn it is to be pushed to: what feeds, live and match queries have in common.

Lives on the engine's thread. A stream has at most one unsent push: the next one is made when the
socket took it, from whatever the window holds then, so a slow reader costs its place and one push,
and nobody waits for it. All streams of one connection together hold about ``max_pending_bytes`` of
pushes; the others of that connection wait their turn, and no other connection does. What pushes
take is their connection's time: whoever is too far ahead of others that wait is told later.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final, TypeVar, cast

from ...runtime.faults import as_error
from ...telemetry.metrics import Metrics
from ...wire.encoded import Messages
from ...wire.opcodes import Limits
from ..model.shard import Shard
from ..model.shares import Share, Shares
from ..model.ticket import Effect, Lane
from .delayed import Delayed
from .lane_turns import LaneTurns
from .stream import Bundle, Said
from .stream import Maker as Maker
from .stream import Push as Push
from .stream import Reader as Reader
from .stream import Stream as Stream

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
    def rests_us(self) -> float | None:
        """See ``LaneTurns.rests_us``."""
        return self._pending.rests_us

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
        streams, lane = push.of(), push.stream.lane
        # The only thing here that can fault.
        more = [stream for stream in streams if stream.is_active and stream.has_more]
        lane.push_bytes -= push.size_bytes
        for stream in streams:
            stream.has_unsent = False
        for stream in more:
            self._pending.add(lane, stream)
        for starved in self._starved.pop(lane, ()):
            self._pending.add(lane, starved)

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
                pushes += sum(len(push.of()) for push in made)
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
        for whose, messages in made:
            try:
                push = self._hand_out(whose, messages)
            except Exception as error:  # what was made counts as said
                self._fault(error)
                push = self._hand_out(whose, messages)
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
            weight += PUSH_WEIGHS_BYTES * len(push.of()) + push.size_bytes
        weights[lane.share] = weights.get(lane.share, 0) + weight
        whole += weight
        for share, part in weights.items():
            self._shares.charge_streams(share, took_us * part / whole)
        return sum(push.size_bytes for push in made)

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
            if stream.shard.broken is not None or stream.shard.is_dropped:
                continue  # nobody knows what is true
            if stream.is_of_lists and stream.shard.is_catching_up:
                late = next(one for one in stream.shard.parts if one.is_catching_up)
                self._put_off.setdefault(late, []).append(stream)
                continue
            if stream.lane.push_bytes >= self._limits.max_pending_bytes:
                self._starved.setdefault(stream.lane, {})[stream] = None
                continue
            group.setdefault(stream.maker, []).append(stream)
            expected_bytes += stream.expected_bytes
        return group if count else None

    def _made(self, maker: Maker, streams: list[Stream], now_us: int) -> list[Said]:
        """What ``maker`` makes; after a fault one by one, so that one stream harms no other."""
        made: list[Said] = []
        try:
            for one in maker.make(streams, now_us):
                made.append(one)  # noqa: PERF402 - what was made before a fault must go out
        except Exception as error:
            if len(streams) > 1:
                done = {stream for whose, _ in made for stream in _all_of(whose)}
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

    @staticmethod
    def _hand_out(whose: Stream | list[Stream], messages: Sequence[Messages]) -> Push:
        size_bytes = 0
        for message in messages:
            size_bytes += message.size_bytes
        streams = _all_of(whose)
        lane = streams[0].lane
        push: Push
        if isinstance(whose, Stream):
            push = Push(messages, size_bytes, whose, whose.behind_since_us)
        else:
            arrivals_us = [stream.behind_since_us for stream in whose]
            push = Bundle(messages, size_bytes, whose[0], None, whose, arrivals_us)
        lane.push_bytes += size_bytes
        for stream in streams:
            stream.has_unsent = True
            stream.behind_since_us = None
        return push


def _all_of(whose: Stream | list[Stream]) -> Sequence[Stream]:
    return (whose,) if isinstance(whose, Stream) else whose


Key = TypeVar("Key")
Value = TypeVar("Value")


def forget(of: dict[Shard, dict[Key, Value]], shard: Shard, key: Key) -> None:
    """Take a stream out of its maker's registry; a shard without any is not kept in it."""
    streams = of.get(shard, {})
    streams.pop(key, None)
    if not streams:
        of.pop(shard, None)
