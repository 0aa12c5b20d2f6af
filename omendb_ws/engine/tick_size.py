"""How many reads a tick takes: as many as a tick has time for, by what they took lately.

Lives on the engine's thread; pure. Without it a tick of single vectors over a million rows took 50
ms, and whoever asked for one had to wait for that of others. CPU counts and not time: on a machine
that others use as well, shorter ticks would cost more and bring nothing.
"""

from __future__ import annotations

from typing import Final

from . import read_weights

#: What the reads of a tick should take.
TICK_US: Final = 5_000.0
#: From so many on a vector costs no less, so a tick has as many whatever they take, and fewer tell
#: nothing of what one of many takes.
LEAST_QUERIES: Final = 16
#: How much of a difference is believed, and how many times what was expected a tick tells at most:
#: it may have met what comes once, as a mask that is made.
_BELIEVED: Final = 1 / 4
_MOST_TIMES: Final = 2.0


class TickSize:
    """What a tick takes, in query vectors."""

    def __init__(self) -> None:
        self._each_us = 0.0

    @property
    def queries(self) -> int:
        """So many, and no more are begun."""
        most = read_weights.TICK_QUERIES
        if self._each_us * most <= TICK_US:
            return most
        return min(max(int(TICK_US / self._each_us), LEAST_QUERIES), most)

    def learn(self, queries: int, took_us: float) -> None:
        """Reads that count for so many took so much of the engine's CPU."""
        if queries < LEAST_QUERIES:
            return
        each_us = took_us / queries
        if self._each_us:
            each_us = min(each_us, _MOST_TIMES * self._each_us)
            each_us = self._each_us + (each_us - self._each_us) * _BELIEVED
        self._each_us = each_us
