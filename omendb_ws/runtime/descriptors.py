"""File descriptors: how many there may be, and what happens to connections when they run out.

Every connection takes one, and so does every log, for a moment two or three. A log that finds none
refuses changes, so connections are turned away before the last ones are gone: the system gives the
lowest free number, so a new socket's own number tells how many are left. Where even accepting finds
none (a burst, or somebody else in this process), one that is kept in reserve is given up for as
long as it takes to accept and close whoever waits; asyncio alone would leave them waiting, and log
a hundred tracebacks a second.

Knows sockets by number, and one loop's exception handler; nothing of sessions.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from .few_lines import FewLines

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

log = logging.getLogger(__name__)

#: So many are left to logs and all else, or an eighth of all where there are few.
RESERVED: Final = 64
#: How often a line is logged of connections that were turned away.
SAY_US: Final = 10_000_000
#: What macOS takes at most where its limit says "unlimited".
_OPEN_MAX: Final = 10_240
#: asyncio listens again a second after it failed to accept.
_RESUMED_SECONDS: Final = 1.5
_ARE_OUT: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

_Handler = Callable[[asyncio.AbstractEventLoop, dict[str, Any]], object]


def limit() -> int | None:
    """How many this process may have; None where nothing tells, or nothing limits."""
    if resource is None:
        return None
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else soft


def raise_limit() -> None:
    """Take as many as the system lets this process have: the soft limit becomes the hard one."""
    if resource is None:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = [hard, _OPEN_MAX] if hard == resource.RLIM_INFINITY else [hard]
    for number in wanted:
        if soft in (number, resource.RLIM_INFINITY) or (number == _OPEN_MAX and soft > number):
            return
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (number, hard))
            return


def reserved(most: int) -> int:
    """How many of ``most`` connections leave to others."""
    return min(RESERVED, most // 8)


class Descriptors:
    """A reserve of descriptors, and who may have one.

    ``open`` and ``close`` on the loop's thread, as all else.

    ``most_connections``: how many the settings allow, those without a token included.
    """

    def __init__(self, most_connections: int) -> None:
        self._most_connections = most_connections
        self._reserve = -1
        self._refused = 0
        self._lines = FewLines(1, SAY_US)
        self._loop: asyncio.AbstractEventLoop
        self._is_open = False
        #: When asyncio has tried again what it gave up last, on its loop's clock.
        self._resumes_by_seconds = 0.0
        self._handler_before: _Handler | None = None

    def open(self) -> None:
        """Keep one in reserve, and watch the running loop for accepting that fails."""
        self._loop = asyncio.get_running_loop()
        self._is_open = True
        self._handler_before = self._loop.get_exception_handler()
        self._loop.set_exception_handler(self._handle)
        self._take_reserve()
        most = limit()
        if most is not None and self._most_connections > most - reserved(most):
            log.warning(
                "max_connections and max_unauthenticated_connections are %d together, but this"
                " process may have %d files and sockets open: beyond about %d connections it turns"
                " clients away; raise the limit (ulimit -n, LimitNOFILE) or lower them",
                self._most_connections,
                most,
                most - reserved(most),
            )

    def close(self) -> None:
        """Let go of both."""
        self._give_reserve()
        if not self._is_open:
            return
        self._is_open = False
        if self._loop.time() < self._resumes_by_seconds:
            # asyncio will try to listen again on what is closed by then: once for each failure.
            self._loop.call_at(self._resumes_by_seconds, self._unwatch)
        else:
            self._unwatch()

    def _unwatch(self) -> None:
        if self._loop.get_exception_handler() == self._handle:
            self._loop.set_exception_handler(self._handler_before)

    def admits(self, descriptor: int) -> bool:
        """Whether a connection may have this descriptor; if not, it is to be closed at once."""
        most = limit()
        if most is None or descriptor < most - reserved(most):
            return True
        self._say(1)
        return False

    def _handle(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """The loop's exception handler: accepting that found no descriptor; all else as before."""
        error, listener = context.get("exception"), context.get("socket")
        if not self._is_open and _is_of_a_closed_listener(context):
            return
        if isinstance(error, OSError) and error.errno in _ARE_OUT and listener is not None:
            self._resumes_by_seconds = loop.time() + _RESUMED_SECONDS
            self._give_reserve()
            try:
                self._say(close_waiting(listener.fileno()))
            finally:
                self._take_reserve()
        elif self._handler_before is not None:
            self._handler_before(loop, context)
        else:
            loop.default_exception_handler(context)

    def _give_reserve(self) -> None:
        if self._reserve >= 0:
            os.close(self._reserve)
            self._reserve = -1

    def _take_reserve(self) -> None:
        with suppress(OSError):  # then the next time is as bad as asyncio's own
            self._reserve = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)

    def _say(self, count: int) -> None:
        self._refused += count
        if self._refused and self._lines.next(round(self._loop.time() * 1e6)) is not None:
            log.warning(
                "file descriptors are running out (limit %s): %d connections were turned away",
                limit(),
                self._refused,
            )
            self._refused = 0


def _is_of_a_closed_listener(context: dict[str, Any]) -> bool:
    """Whether asyncio says that it cannot listen again: the descriptor is gone."""
    return isinstance(context.get("exception"), ValueError) and "_start_serving" in repr(
        context.get("handle")
    )


def close_waiting(listening: int) -> int:
    """Accept and close every connection that waits at a listening socket; how many."""
    listener = socket.socket(fileno=listening)
    count = 0
    try:
        while True:
            try:
                accepted, _ = listener.accept()
            except OSError:  # none waits any more, or there is no descriptor after all
                return count
            accepted.close()
            count += 1
    finally:
        listener.detach()
