"""What comes every so often, for all subscriptions of one server: one timer, and some in each turn.

Lives on the loop's thread. The loop calls every timer that is due in one turn, and 10,000 of one
connection's held it for as long as they took together; here so many go in a turn, those that have
waited longest first, and the others in the turns behind it.

Invariant: while a beat has not stopped, the timer is set for the earliest, or is just being called.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable
from typing import Final

from ...runtime.faults import as_error

#: 8 µs each with what they queue: a millisecond of each turn.
BEATS_AT_ONCE: Final = 128
#: uvloop rounds to milliseconds, and may call that much too early.
_EARLY_SECONDS: Final = 0.001
#: Places of beats that have stopped and are kept until their time, beside as many as still go on.
_STOPPED: Final = 64


class Beat:
    """One of them; ``call`` None: it has stopped."""

    __slots__ = ("_beats", "call", "every_seconds")

    def __init__(self, beats: Beats, call: Callable[[], None], every_seconds: float) -> None:
        self._beats = beats
        self.call: Callable[[], None] | None = call
        self.every_seconds = every_seconds

    def stop(self) -> None:
        """Never again; what it called is let go."""
        if self.call is not None:
            self.call = None
            self._beats.stopped()


class Beats:
    """All of a server's."""

    def __init__(self) -> None:
        #: A heap of (when it is due, order of arrival, beat).
        self._due: list[tuple[float, int, Beat]] = []
        self._numbers = itertools.count()
        self._going = 0
        self._timer: asyncio.Handle | None = None
        #: When that is; uvloop has no timer, and no time of it, for what is due already.
        self._timer_due = 0.0

    def begin(self, call: Callable[[], None], every_seconds: float) -> Beat:
        """Call every so often until it is stopped, the first time when that has passed."""
        loop = asyncio.get_running_loop()
        beat = Beat(self, call, every_seconds)
        due = loop.time() + every_seconds
        if self._timer is None or due < self._timer_due:
            if self._timer is not None:
                self._timer.cancel()
            self._set_timer(loop, due)
        heapq.heappush(self._due, (due, next(self._numbers), beat))
        self._going += 1
        return beat

    def stopped(self) -> None:
        """One of them has: forget those that have, once there are many."""
        self._going -= 1
        if not self._going and self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._going or len(self._due) > 2 * self._going + _STOPPED:
            self._due = [entry for entry in self._due if entry[2].call is not None]
            heapq.heapify(self._due)

    def _run(self) -> None:
        """Those that are due, or some of them."""
        loop = asyncio.get_running_loop()
        self._timer = None
        try:
            for _ in range(BEATS_AT_ONCE):
                if not self._due or self._due[0][0] > loop.time() + _EARLY_SECONDS:
                    break
                due, number, beat = self._due[0]
                if beat.call is None:
                    heapq.heappop(self._due)
                    continue
                # A loop that was late does not catch up with a burst.
                later = max(due + beat.every_seconds, loop.time())
                heapq.heapreplace(self._due, (later, number, beat))
                try:
                    beat.call()
                except Exception as error:  # it has its next
                    as_error(error, "a beat of a subscription")
        finally:
            if self._going and self._timer is None:
                self._set_timer(loop, self._due[0][0])

    def _set_timer(self, loop: asyncio.AbstractEventLoop, due: float) -> None:
        self._timer_due = due
        self._timer = loop.call_at(due, self._run)
