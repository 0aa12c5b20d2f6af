"""What is tried again, how often, and after how long: exponential back-off with full jitter.

Pure: the random number comes from the caller. Full jitter (a uniform draw from zero to the bound)
spreads the clients of a restarted server best, and costs the single client half the wait.
"""

from __future__ import annotations

from dataclasses import dataclass

from omendb_core.model.errors import (
    BadRequest,
    Behind,
    Draining,
    OmenError,
    Overloaded,
    RateLimited,
    Unavailable,
)

from . import arguments


@dataclass(frozen=True, slots=True)
class Backoff:
    """Attempt ``i`` (from 0) waits between 0 and min(cap, base * 2**i) seconds."""

    base_seconds: float = 0.1
    cap_seconds: float = 10.0

    def __post_init__(self) -> None:
        for name in ("base_seconds", "cap_seconds"):
            object.__setattr__(self, name, arguments.patience(getattr(self, name), name))
        if self.base_seconds > self.cap_seconds:
            raise BadRequest("base_seconds: must be at most cap_seconds")

    def bound_seconds(self, attempt: int) -> float:
        """Return the longest wait before attempt ``attempt``."""
        return min(self.cap_seconds, self.base_seconds * 2.0 ** min(attempt, 60))

    def delay_seconds(self, attempt: int, uniform: float) -> float:
        """Return the wait before attempt ``attempt``, ``uniform`` drawn from [0, 1)."""
        return self.bound_seconds(attempt) * uniform


#: Between two connections of a client that lost one.
RECONNECT = Backoff(base_seconds=0.1, cap_seconds=10.0)
#: Between two sendings of a request that the server could not take just then. A request waits at
#: most for the server's queue deadline (1 s), so the first bounds lie well below that.
RETRY = Backoff(base_seconds=0.05, cap_seconds=2.0)
#: How often a request is sent before its retryable error is the caller's: about 6 s in all.
MAX_ATTEMPTS = 10
#: Refusals that changed nothing and may pass in seconds. (``storage_full`` does not, and
#: ``internal`` leaves the outcome unknown.)
PASSING = (RateLimited, Overloaded, Unavailable, Behind, Draining)


def retry_seconds(error: OmenError, attempt: int, uniform: float) -> float:
    """Return the wait after the refusal number ``attempt`` (from 1), as asked for or longer.

    Up to twice as long as was asked for, so that those who were refused together do not come back
    together.
    """
    asked = error.details.get("retry_after_ms")
    asked_seconds = asked / 1000 if isinstance(asked, int) and asked > 0 else 0.0
    spread = max(RETRY.bound_seconds(attempt - 1), min(asked_seconds, RETRY.cap_seconds))
    return asked_seconds + spread * uniform
