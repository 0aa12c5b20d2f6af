"""Calls that are timed by turns: on a machine with other work, each gets the same weather."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

#: Rounds that are not counted: pages are touched.
_WARM_UP_ROUNDS = 1
_LEAST_ROUNDS = 2
#: Timed calls of a turn, behind some that are not: the others' rows have pushed its own out of the
#: caches, where a server's searches find them. Behind numpy's 51 MB one query of 100,000 x 128 took
#: 680, 500, 450, 290, 185, and from then on 170 us.
_TIMED = 4
_SETTLING = 6
_SETTLING_SECONDS = 0.02


def medians_us(
    calls: Mapping[str, Callable[[], object]],
    runs: int,
    seconds: float,
    before: Callable[[], object] = lambda: None,
) -> dict[str, list[float]]:
    """Microseconds of each call, by name: of each run the median.

    A run takes about ``seconds``, at least two rounds; in a round each has a turn of a few calls,
    of which the first ones are not timed, nor is ``before``, which goes before each call.
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
                spent[name] += _turn(call, before)
        for name, times in spent.items():
            found[name].append(statistics.median(times))
    return found


def _turn(call: Callable[[], object], before: Callable[[], object]) -> list[float]:
    settled_at = time.perf_counter() + _SETTLING_SECONDS
    for _ in range(_SETTLING):
        before()
        call()
        if time.perf_counter() > settled_at:
            break
    times = []
    for _ in range(_TIMED):
        before()
        began = time.perf_counter()
        call()
        times.append((time.perf_counter() - began) * 1e6)
    return times


def times_as_fast(found: Mapping[str, list[float]], ours: str) -> dict[str, float]:
    """How many times as long each of the others took."""
    own = statistics.median(found[ours])
    return {name: statistics.median(one) / own for name, one in found.items() if name != ours}
