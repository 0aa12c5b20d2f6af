"""Calls that are timed by turns: on a machine with other work, each gets the same weather."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

#: Rounds that are not counted: caches fill, pages are touched.
_WARM_UP_ROUNDS = 1
_LEAST_ROUNDS = 2


def medians_us(
    calls: Mapping[str, Callable[[], object]],
    runs: int,
    seconds: float,
    before: Callable[[], object] = lambda: None,
) -> dict[str, list[float]]:
    """Microseconds of each call, by name: of each run the median.

    A run takes about ``seconds``, at least two rounds; in a round each is called once, after
    ``before``, which is not timed. What is not counted is one round before all.
    """
    found: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(_WARM_UP_ROUNDS):
        for call in calls.values():
            call()
    for _ in range(runs):
        spent: dict[str, list[float]] = {name: [] for name in calls}
        stop_at, rounds = time.perf_counter() + seconds, 0
        while rounds < _LEAST_ROUNDS or time.perf_counter() < stop_at:
            rounds += 1
            for name, call in calls.items():
                before()
                began = time.perf_counter()
                call()
                spent[name].append((time.perf_counter() - began) * 1e6)
        for name, times in spent.items():
            found[name].append(statistics.median(times))
    return found


def times_as_fast(found: Mapping[str, list[float]], ours: str) -> dict[str, float]:
    """How many times as long each of the others took."""
    own = statistics.median(found[ours])
    return {name: statistics.median(one) / own for name, one in found.items() if name != ours}
