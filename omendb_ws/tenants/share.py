"""A tenant's share of the engine's time: its weight, and what it has had.

``weight`` and the rate are its account's to set, on the loop's thread; the rest is the engine's
(``engine/model/shares.py``).
"""

from __future__ import annotations

from typing import Final

from ..runtime.pace import Pace

#: What part of a second's worth is left for requests: what subscriptions are told waits before
#: those are refused, so that a tenant that is told much may still ask for something.
FOR_REQUESTS: Final = 1 / 10


class TenantShare:
    """``weight``: how many times the time of a tenant of weight 1.

    ``start_us``: where its next piece of work begins on the clock of the tenants; ``now_us``: the
    clock of its connections; ``used_us``: what its work has taken, ever; ``rested_us``: for how
    long its subscriptions waited because it had had its time.
    """

    __slots__ = (
        "_paid_us",
        "_rests_from_us",
        "_rests_us",
        "now_us",
        "pace",
        "rested_us",
        "start_us",
        "used_us",
        "weight",
    )

    def __init__(self, weight: float = 1.0) -> None:
        self.weight = weight
        self.start_us = self.now_us = self.used_us = 0.0
        self.pace: Pace | None = None
        self._paid_us = self.rested_us = 0.0
        #: When it was looked last, and for how long it was to rest from then on.
        self._rests_from_us, self._rests_us = 0, 0.0

    def limit(self, ms_per_second: float | None) -> None:
        """How much of a second the engine may work for it; None: all."""
        self._paid_us = self.used_us
        self.pace = (
            None if ms_per_second is None else Pace(1e3 / ms_per_second, ms_per_second * 1e3)
        )

    def rests_us(self, now_us: int) -> float:
        """For how long its subscriptions are told nothing, because it has had its time.

        Asked while there is something to tell them.
        """
        pace = self.pace
        if pace is None:
            return 0.0
        used_us = self.used_us
        pace.spend(used_us - self._paid_us, now_us)
        self._paid_us = used_us
        self.rested_us += min(now_us - self._rests_from_us, self._rests_us)
        self._rests_from_us = now_us
        self._rests_us = max((pace.burst * FOR_REQUESTS - pace.saved(now_us)) * pace.token_us, 0.0)
        return self._rests_us
