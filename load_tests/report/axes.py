"""Axes: where a value lies between 0 and 1, and which values get a tick. Pure numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, TypeAlias

Scale: TypeAlias = Literal["linear", "log", "percentile"]

#: Latencies whose largest is this many times the smallest are drawn on a logarithmic axis.
LOG_FROM_RATIO: Final = 25.0


class Tick(NamedTuple):
    """A value with its label; minor ticks have none."""

    value: float
    label: str


@dataclass(frozen=True)
class Axis:
    """``low`` … ``high`` in the unit of ``label``.

    ``percentile``: values are 0 … ``high`` < 100, spread as HdrHistogram does, by log 1/(1 − p).
    """

    label: str
    scale: Scale
    low: float
    high: float

    def place(self, value: float) -> float:
        """0 at ``low``, 1 at ``high``; values outside are moved to the edge."""
        value = min(max(value, self.low), self.high)
        low, here, high = (self._spread(one) for one in (self.low, value, self.high))
        return (here - low) / (high - low) if high > low else 0.5

    def _spread(self, value: float) -> float:
        if self.scale == "log":
            return math.log10(value)
        return nines(value) if self.scale == "percentile" else value

    def ticks(self) -> list[Tick]:
        """Round values within the axis."""
        if self.scale == "percentile":
            wanted = [0.0, 50.0, *(100 - 10.0**-power for power in range(-1, 8))]
            return [Tick(one, f"{one:.10g}%") for one in wanted if one <= self.high]
        if self.scale == "log":
            return _log_ticks(self.low, self.high)
        step = _round_step((self.high - self.low) / 5)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [Tick(at * step, short(at * step)) for at in range(first, last + 1)]


def nines(percentile: float) -> float:
    """How many nines: 90 is 1, 99 is 2."""
    return -math.log10(1 - percentile / 100)


def short(value: float) -> str:
    """A number as it stands at an axis: 0.25, 12, 1.5k, 20M."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.6g}{letter}"
    return f"{value:.6g}"


def linear(label: str, values: Iterable[float], *, from_zero: bool = True) -> Axis:
    """An axis that holds all values; from zero it goes on to a round number above them."""
    found = list(values) or [0.0, 1.0]
    low, high = (0.0 if from_zero else min(found)), max(found)
    if high <= low:
        high = low + max(1.0, abs(low) * 0.1)
    if from_zero:
        step = _round_step(high / 5) / 2
        high = step * math.ceil(high * 1.02 / step)
    return Axis(label, "linear", low, high)


def latency(label: str, values: Iterable[float]) -> Axis:
    """From zero where that shows the small ones, logarithmic where it would not."""
    found = [value for value in values if value > 0]
    if not found or max(found) < LOG_FROM_RATIO * min(found):
        return linear(label, found)
    return Axis(label, "log", _below(min(found) * 0.9), _round_step(max(found) * 1.05))


def percentiles(label: str, values: Iterable[float]) -> Axis:
    """0% … a little beyond the largest value below 100."""
    last = max([90.0, *(one for one in values if one < 100)])
    return Axis(label, "percentile", 0.0, 100 - (100 - last) * 0.7)


def _round_step(least: float) -> float:
    power = 10.0 ** math.floor(math.log10(least))
    return next(power * one for one in (1, 2, 5, 10) if power * one >= least * (1 - 1e-9))


def _below(value: float) -> float:
    power = 10.0 ** math.floor(math.log10(value))
    return max(power * one for one in (1, 2, 5) if power * one <= value * (1 + 1e-9))


def _log_ticks(low: float, high: float) -> list[Tick]:
    decades = math.log10(high / low)
    labelled = (1, 2, 5) if decades <= 2.5 else (1,) if decades > 4 else (1, 3)
    found = []
    for power in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1):
        for lead in range(1, 10):
            value = lead * 10.0**power
            if low * (1 - 1e-9) <= value <= high * (1 + 1e-9):
                found.append(Tick(value, short(value) if lead in labelled else ""))
    return found
