"""Connections that are not read from for a moment, so that what they send comes in one piece.

All that rest begin again one after the other, some in each turn of the loop, and in between it is
there for the others. Knows no socket.
"""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

from ..runtime.by_turns import ByTurns
from ..runtime.faults import as_error

#: A fifth of what a request may wait for; with 3,000 messages a second of each of them, sixty come
#: in one piece. A piece takes as much as twenty refusals.
REST_SECONDS: Final = 0.02
#: Connections that begin again in one turn of the loop: what sixty messages of each take is up to
#: 0.3 ms, and of 32 connections would be seven.
AT_ONCE: Final = 4


class Resting(Protocol):
    """A connection that rests."""

    def has_rested(self) -> None:
        """It may be read from again."""


class Rests:
    """Those that rest now, and those whose rest is over."""

    def __init__(self) -> None:
        self._resting: list[Resting] = []
        self._rested: ByTurns[Resting] = ByTurns(_go_on, AT_ONCE, _failed)

    def rest(self, connection: Resting, loop: asyncio.AbstractEventLoop) -> None:
        """Have it rest, until it is told that this is over."""
        if not self._resting:
            loop.call_later(REST_SECONDS, self._end, loop)
        self._resting.append(connection)

    def _end(self, loop: asyncio.AbstractEventLoop) -> None:
        resting, self._resting = self._resting, []
        self._rested.give(resting, loop)


def _go_on(connection: Resting) -> None:
    connection.has_rested()


def _failed(error: Exception) -> None:
    as_error(error, "reading on from a connection")
