"""How often something may happen: a token bucket, which all that is bounded in rate stands on.

Log lines (``few_lines.py``), rates and steps of many addresses (``access/token_bucket.py``) are all
this. Pure; time comes with each call, in microseconds. A clock that goes back earns nothing.
"""

from __future__ import annotations

from typing import Final

#: Parts of tokens do not add up to whole ones, to the bit.
_ALMOST: Final = 1e-9


class Pace:
    """A token comes each ``token_us``; ``burst`` of them are saved up, and they may be owed."""

    __slots__ = ("_at_us", "_spent", "burst", "token_us")

    def __init__(self, token_us: float, burst: float) -> None:
        self.token_us = token_us
        self.burst = burst
        #: What was missing then.
        self._spent = 0.0
        self._at_us = 0

    def spent(self, now_us: int) -> float:
        """What is missing from ``burst``."""
        return max(self._spent - max(now_us - self._at_us, 0) / self.token_us, 0.0)

    def saved(self, now_us: int) -> float:
        """The tokens that are there; below 0, what is owed."""
        return self.burst - self.spent(now_us)

    def spend(self, tokens: float, now_us: int, most: float | None = None) -> None:
        """Something happens that costs so many, whether they are there or not.

        ``most``: no more than that is missing afterwards.
        """
        spent = self.spent(now_us) + tokens
        self._spent = spent if most is None else min(spent, most)
        self._at_us = max(self._at_us, now_us)

    def take(self, now_us: int) -> bool:
        """Spend one, if it is there."""
        if self.saved(now_us) < 1 - _ALMOST:
            return False
        self.spend(1, now_us)
        return True

    def give_back(self, tokens: float) -> None:
        """So many were spent on what did not happen."""
        self._spent = max(self._spent - tokens, 0.0)
