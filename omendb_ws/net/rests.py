"""Connections that are not read from for a moment, so that what they send comes in one piece.

All that rest begin again at once: in between the loop is there for the others. Knows no socket.
"""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

from ..runtime.faults import as_error

#: A tenth of what a request may wait for; with 3,000 messages a second of each of them, thirty come
#: in one piece.
REST_SECONDS: Final = 0.01


class Resting(Protocol):
    """A connection that rests."""

    def has_rested(self) -> None:
        """It may be read from again."""


class Rests:
    """Those that rest now."""

    def __init__(self) -> None:
        self._resting: list[Resting] = []

    def rest(self, connection: Resting, loop: asyncio.AbstractEventLoop) -> None:
        """Have it rest, until it is told that this is over."""
        if not self._resting:
            loop.call_later(REST_SECONDS, self._end)
        self._resting.append(connection)

    def _end(self) -> None:
        resting, self._resting = self._resting, []
        for connection in resting:
            try:
                connection.has_rested()
            except Exception as error:  # the others must not rest for ever
                as_error(error, "reading on from a connection")
                connection.has_rested()
