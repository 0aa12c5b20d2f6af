"""A token bucket: how many messages a connection may send. Pure; time comes with each call."""

from __future__ import annotations


class TokenBucket:
    """``per_second`` tokens a second, at most a second's worth saved up; 0 means no limit."""

    def __init__(self, per_second: int) -> None:
        self._per_second = per_second
        self._tokens = float(per_second)
        self._last_us: int | None = None

    def take(self, now_us: int) -> int:
        """Take one token: 0, or in how many milliseconds (≥ 1) there will be one."""
        if not self._per_second:
            return 0
        if self._last_us is not None:
            earned = (now_us - self._last_us) * self._per_second / 1e6
            self._tokens = min(self._tokens + max(earned, 0.0), float(self._per_second))
        self._last_us = now_us
        if self._tokens >= 1.0:
            self._tokens -= 1.0
            return 0
        return max(1, round((1.0 - self._tokens) * 1000 / self._per_second))
