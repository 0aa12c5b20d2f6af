"""Several addresses of one service: nodes of a cluster, or servers that stand in for each other.

Invariant: every attempt begins with the address behind the last one that was tried, so a connection
that is lost is replaced elsewhere, at once. Where the first one begins is random: clients that are
given the same list spread over it.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

from ..runtime.transport import Opener, Transport


class InTurn:
    """An Opener over those of several addresses, each by what it is called.

    Each is given ``open_timeout_seconds``. Raises ConnectionError if none can be reached, and at
    once what more than a missing server is wrong.
    """

    def __init__(
        self, openers: Sequence[tuple[str, Opener]], open_timeout_seconds: float, first: int
    ) -> None:
        self._openers = openers
        self._open_timeout_seconds = open_timeout_seconds
        self._next = first

    async def __call__(self, token: str | None) -> Transport:
        """Open a transport to the first that can be reached."""
        failed: list[str] = []
        for _ in self._openers:
            address, opener = self._openers[self._next]
            self._next = (self._next + 1) % len(self._openers)
            try:
                async with asyncio.timeout(self._open_timeout_seconds):
                    return await opener(token)
            except OSError as error:  # TimeoutError is one
                failed.append(f"{address}: {str(error) or 'no connection in time'}")
        raise ConnectionError("; ".join(failed))


def somewhere(openers: Sequence[tuple[str, Opener]], open_timeout_seconds: float) -> InTurn:
    """As ``InTurn``, from any of them on."""
    return InTurn(openers, open_timeout_seconds, random.randrange(len(openers)))
