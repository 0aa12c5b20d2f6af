"""An alarm clock that wakes the event loop within tens of microseconds.

Event loops round their timers up to whole milliseconds, which would make every open-mode send late
by half a millisecond: as much as a search takes. A Linux timerfd is exact and needs no spinning.
Python 3.11 has no name for it, so libc is asked; elsewhere the loop's own timer has to do.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import sys
import time
from collections.abc import Callable
from typing import Final

_CLOCK_MONOTONIC: Final = 1
_ABSOLUTE: Final = 1
#: A time that is past means now; 0 would disarm the timer.
_SOONEST_NS: Final = 1


async def sleep_until(at: float) -> None:
    """Wait until ``at`` (of ``time.perf_counter``), to the fraction of a millisecond."""
    has_come = asyncio.Event()
    alarm = Alarm(has_come.set)
    alarm.set(at)
    try:
        await has_come.wait()
    finally:
        alarm.close()


class _Timer(ctypes.Structure):
    """``struct itimerspec``: interval, then value, each seconds and nanoseconds."""

    _fields_ = [(name, ctypes.c_long) for name in ("every_s", "every_ns", "at_s", "at_ns")]


class Alarm:
    """Calls ``ring`` when the time that was ``set`` (of ``time.perf_counter``) has come."""

    def __init__(self, ring: Callable[[], None]) -> None:
        self._ring = ring
        self._loop = asyncio.get_running_loop()
        self._handle: asyncio.TimerHandle | None = None
        self._timer = -1
        if sys.platform == "linux":
            self._libc = ctypes.CDLL(None, use_errno=True)
            flags = os.O_NONBLOCK | os.O_CLOEXEC
            self._timer = self._libc.timerfd_create(_CLOCK_MONOTONIC, flags)
        if self._timer >= 0:
            self._loop.add_reader(self._timer, self._rang)

    def set(self, at: float) -> None:
        """Ring at ``at``, and not at what was set before."""
        if self._timer < 0:
            self._cancel()
            delay = at - time.perf_counter()
            self._handle = self._loop.call_later(max(0.0, delay), self._ring)
            return
        seconds, nanoseconds = divmod(max(_SOONEST_NS, int(at * 1e9)), 10**9)
        spec = _Timer(0, 0, seconds, nanoseconds)
        if self._libc.timerfd_settime(self._timer, _ABSOLUTE, ctypes.byref(spec), None):
            raise OSError(ctypes.get_errno(), "timerfd_settime")

    def close(self) -> None:
        """Never ring again."""
        self._cancel()
        if self._timer >= 0:
            self._loop.remove_reader(self._timer)
            os.close(self._timer)
            self._timer = -1

    def _cancel(self) -> None:
        if self._handle is not None:
            self._handle.cancel()

    def _rang(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._timer, 8)
        self._ring()
