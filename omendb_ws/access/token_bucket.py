"""How often something may happen: messages and rows, steps of many addresses.

Pure; time comes with each call, in microseconds.
"""

from __future__ import annotations

from collections import OrderedDict


class TokenBucket:
    """``per_second`` tokens a second, at most a second's worth saved up; None means no limit.

    While any token is there something may happen, whatever it costs: what is spent beyond what is
    there is earned back before anything else may. So a batch that is larger than a second's worth
    goes through at once, and is waited for afterwards.
    """

    __slots__ = ("_last_us", "_tokens", "per_second")

    def __init__(self, per_second: float | None) -> None:
        self.per_second = per_second
        self._tokens = per_second or 0.0
        self._last_us: int | None = None

    def wait_ms(self, now_us: int) -> int:
        """0 if something may happen, or in how many milliseconds (≥ 1) it may."""
        if self.per_second is None:
            return 0
        self._earn(now_us)
        if self._tokens > 0.0:
            return 0
        return int(-self._tokens * 1000 / self.per_second) + 1

    def spend(self, tokens: float) -> None:
        """Something happens that costs so many."""
        if self.per_second is not None:
            self._tokens -= tokens

    def give_back(self, tokens: float) -> None:
        """So many were spent on what did not happen."""
        if self.per_second is not None:
            self._tokens = min(self._tokens + tokens, self.per_second)

    def change(self, per_second: float | None, now_us: int) -> None:
        """Another rate from now on; what is owed stays owed."""
        if self.per_second is None:
            self._tokens = per_second or 0.0
        else:
            self._earn(now_us)
        self.per_second = per_second
        self._last_us = now_us
        self._tokens = min(self._tokens, per_second or 0.0)

    def full_in_seconds(self, now_us: int) -> float:
        """How long until it is as a new one, if nothing happens."""
        if self.per_second is None:
            return 0.0
        self._earn(now_us)
        return (self.per_second - self._tokens) / self.per_second

    def _earn(self, now_us: int) -> None:
        assert self.per_second is not None
        if self._last_us is not None:
            earned = (now_us - self._last_us) * self.per_second / 1e6
            self._tokens = min(self._tokens + max(earned, 0.0), self.per_second)
        self._last_us = now_us


class Paces:
    """A bucket for each key: ``burst`` steps at once, then one each ``step_us``.

    Of a key only the time is kept at which its bucket is full again; beyond ``most_keys`` the one
    that was longest without a step is forgotten.
    """

    def __init__(self, burst: int, step_us: int, most_keys: int) -> None:
        self._burst_us = burst * step_us
        self._step_us = step_us
        self._most_keys = most_keys
        self._full_at_us: OrderedDict[str, int] = OrderedDict()

    def __len__(self) -> int:
        return len(self._full_at_us)

    def step(self, key: str, now_us: int) -> int:
        """Take a step; how many microseconds too early it is."""
        full_at_us = max(self._full_at_us.pop(key, 0), now_us) + self._step_us
        early_us = max(0, full_at_us - now_us - self._burst_us)
        # What is owed is bounded: who stops is soon like any other.
        self._full_at_us[key] = min(full_at_us, now_us + 2 * self._burst_us)
        if len(self._full_at_us) > self._most_keys:
            self._full_at_us.popitem(last=False)
        return early_us

    def may_step(self, key: str, now_us: int) -> bool:
        """Take a step unless it is too early; then nothing is owed for it."""
        full_at_us = max(self._full_at_us.pop(key, 0), now_us)
        may = full_at_us + self._step_us - now_us <= self._burst_us
        self._full_at_us[key] = full_at_us + self._step_us if may else full_at_us
        if len(self._full_at_us) > self._most_keys:
            self._full_at_us.popitem(last=False)
        return may
