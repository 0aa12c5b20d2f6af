"""How often something may happen: messages and rows, steps of many addresses.

Pure; time comes with each call, in microseconds.
"""

from __future__ import annotations

from collections import OrderedDict

from ..runtime.pace import Pace


class TokenBucket:
    """``per_second`` tokens a second, at most a second's worth saved up; None means no limit.

    While any token is there something may happen, whatever it costs: what is spent beyond what is
    there is earned back before anything else may. So a batch that is larger than a second's worth
    goes through at once, and is waited for afterwards.
    """

    __slots__ = ("_pace", "per_second")

    def __init__(self, per_second: float | None) -> None:
        self.per_second = per_second  # every request asks for it
        self._pace = None if per_second is None else _pace(per_second)

    def wait_ms(self, now_us: int) -> int:
        """0 if something may happen, or in how many milliseconds (≥ 1) it may."""
        if self._pace is None:
            return 0
        saved = self._pace.saved(now_us)
        return 0 if saved > 0.0 else int(-saved * 1000 / self._pace.burst) + 1

    def spend(self, tokens: float, now_us: int) -> None:
        """Something happens that costs so many."""
        if self._pace is not None:
            self._pace.spend(tokens, now_us)

    def give_back(self, tokens: float) -> None:
        """So many were spent on what did not happen."""
        if self._pace is not None:
            self._pace.give_back(tokens)

    def change(self, per_second: float | None, now_us: int) -> None:
        """Another rate from now on; what is owed stays owed, and what is saved up, saved."""
        before, self.per_second = self._pace, per_second
        self._pace = None if per_second is None else _pace(per_second)
        if before is not None and self._pace is not None:
            saved = min(before.saved(now_us), self._pace.burst)
            self._pace.spend(self._pace.burst - saved, now_us)

    def full_in_seconds(self, now_us: int) -> float:
        """How long until it is as a new one, if nothing happens."""
        return 0.0 if self._pace is None else self._pace.spent(now_us) / self._pace.burst


def _pace(per_second: float) -> Pace:
    return Pace(1e6 / per_second, per_second)


class Paces:
    """A pace for each key: ``burst`` steps at once, then one each ``step_us``.

    Beyond ``most_keys`` the one that was longest without a step is forgotten.
    """

    def __init__(self, burst: int, step_us: int, most_keys: int) -> None:
        self._burst = burst
        self._step_us = step_us
        self._most_keys = most_keys
        self._paces: OrderedDict[str, Pace] = OrderedDict()

    def __len__(self) -> int:
        return len(self._paces)

    def step(self, key: str, now_us: int) -> int:
        """Take a step; how many microseconds too early it is."""
        pace = self._latest(key)
        pace.spend(1, now_us)
        early_us = max(0, round(-pace.saved(now_us) * self._step_us))
        # What is owed is bounded: who stops is soon like any other.
        pace.spend(0, now_us, most=2 * self._burst)
        return early_us

    def may_step(self, key: str, now_us: int) -> bool:
        """Take a step unless it is too early; then nothing is owed for it."""
        return self._latest(key).take(now_us)

    def _latest(self, key: str) -> Pace:
        pace = self._paces.get(key)
        if pace is None:
            pace = self._paces[key] = Pace(self._step_us, self._burst)
            if len(self._paces) > self._most_keys:
                self._paces.popitem(last=False)
        else:
            self._paces.move_to_end(key)
        return pace
