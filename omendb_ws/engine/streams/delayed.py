"""Streams that are looked at again at some time, unasked.

Lives on the engine's thread. Most are due together: all that were told of one tick hear again that
nothing came as much later. So there is a list for each time and a heap of the times; with a heap
of streams 100,000 that were due took 0.3 s to come out of it.

Invariant: a stream is due at ``due_us``, and in the list of that time; in others it may stand
still, and is passed over there.
"""

from __future__ import annotations

import heapq
from typing import Final, Generic, Protocol, TypeVar

#: Below so many streams that wait for their time nobody counts those that wait in vain.
LEAST_DELAYED: Final = 1024


class Due(Protocol):
    """A stream; ``due_us`` None: it is not looked at unasked."""

    due_us: int | None


T = TypeVar("T", bound=Due)


class Delayed(Generic[T]):
    """Streams by the time at which they are due."""

    def __init__(self) -> None:
        self._times_us: list[int] = []
        self._streams: dict[int, list[T]] = {}
        self._count = 0
        self._until = LEAST_DELAYED

    def __len__(self) -> int:
        """Places that are taken, in vain or not."""
        return self._count

    @property
    def next_due_us(self) -> int | None:
        """When the next stream is due."""
        return self._times_us[0] if self._times_us else None

    def put(self, stream: T, due_us: int) -> None:
        """Let it be due then at the latest."""
        if stream.due_us is not None and stream.due_us <= due_us:
            return
        stream.due_us = due_us
        streams = self._streams.get(due_us)
        if streams is None:
            streams = self._streams[due_us] = []
            heapq.heappush(self._times_us, due_us)
        streams.append(stream)
        self._count += 1
        if self._count > self._until:
            self._forget_stale()

    def take(self, now_us: int, most: int) -> list[T]:
        """Those that are due, in order, but no more than that; none of them is due any more."""
        found: list[T] = []
        while self._times_us and self._times_us[0] <= now_us and len(found) < most:
            due_us = self._times_us[0]
            streams = self._streams[due_us]
            some, left = streams[: most - len(found)], streams[most - len(found) :]
            if left:
                self._streams[due_us] = left
            else:
                heapq.heappop(self._times_us)
                del self._streams[due_us]
            self._count -= len(some)
            for stream in some:
                if stream.due_us == due_us:
                    stream.due_us = None
                    found.append(stream)
        return found

    def _forget_stale(self) -> None:
        """Let go of streams that ended, or are due at another time, once they are the most."""
        kept = {
            due_us: [one for one in streams if one.due_us == due_us]
            for due_us, streams in self._streams.items()
        }
        self._streams = {due_us: streams for due_us, streams in kept.items() if streams}
        self._times_us = sorted(self._streams)
        self._count = sum(map(len, self._streams.values()))
        self._until = max(LEAST_DELAYED, 2 * self._count)
