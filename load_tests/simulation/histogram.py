"""Latencies as HdrHistograms: three significant digits from 1 µs to an hour, and mergeable.

Knows numpy and ``hdrh``. Values go in as float64 seconds and come out as the result's figures. What
leaves a process is ``encoded``; merging what came from several is exact: counts are added.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from hdrh.histogram import HdrHistogram  # type: ignore[import-untyped]
from omendb_core.model.types import F64

from .results import CurvePoint, Percentiles

_LOWEST_US: Final = 1
_HIGHEST_US: Final = 3_600_000_000
_DIGITS: Final = 3
#: Bits of a value that three digits need: HdrHistogram itself keeps 11.
_KEPT_BITS: Final = 11
#: Percentiles of a curve: even in the number of nines, which is how such curves are drawn.
CURVE: Final = (
    0.0, 10.0, 20.0, 30.0, 40.0, 50.0, 55.0, 60.0, 65.0, 70.0, 75.0, 80.0, 85.0, 90.0, 92.0, 94.0,
    95.0, 96.0, 97.0, 98.0, 98.5, 99.0, 99.3, 99.5, 99.7, 99.8, 99.9, 99.95, 99.99, 99.999, 100.0,
)  # fmt: skip


class Latencies:
    """A histogram of latencies."""

    def __init__(self) -> None:
        self._histogram = HdrHistogram(_LOWEST_US, _HIGHEST_US, _DIGITS)

    def record(self, seconds: F64) -> None:
        """Count ``seconds`` float64 (n,); beyond an hour counts as an hour."""
        if not len(seconds):
            return
        micros = np.clip(np.rint(np.asarray(seconds) * 1e6), 1, _HIGHEST_US).astype(np.int64)
        # Fewer distinct values to hand over one by one; the histogram drops these bits anyway.
        surplus = np.maximum(np.frexp(micros.astype(np.float64))[1] - _KEPT_BITS, 0)
        values, counts = np.unique(micros >> surplus << surplus, return_counts=True)
        for value, count in zip(values.tolist(), counts.tolist(), strict=True):
            self._histogram.record_value(value, count)

    def merge(self, other: Latencies) -> None:
        """Add what ``other`` counted."""
        self._histogram.add(other._histogram)

    def encoded(self) -> bytes:
        """As HdrHistogram's own V2 text."""
        return bytes(self._histogram.encode())

    @classmethod
    def decoded(cls, text: bytes) -> Latencies:
        """What ``encoded`` gave, perhaps in another process."""
        made = cls()
        made._histogram.decode_and_add(text)
        return made

    @property
    def count(self) -> int:
        """How many were counted."""
        return int(self._histogram.get_total_count())

    def ms(self, percentile: float) -> float | None:
        """So many percent took at most this long; None where nothing was counted."""
        if not self.count:
            return None
        return float(self._histogram.get_value_at_percentile(percentile)) / 1000

    def percentiles(self) -> Percentiles:
        """The figures of the result."""
        if not self.count:
            return Percentiles(0, None, None, None, None, None, None)
        inner: Any = self._histogram
        found = [self.ms(one) for one in (50.0, 90.0, 99.0, 99.9, 100.0)]
        return Percentiles(self.count, float(inner.get_mean_value()) / 1000, *found)

    def curve(self) -> list[CurvePoint]:
        """Latency by percentile; a percentile that so few values cannot tell is left out."""
        count = self.count
        found = []
        for percentile in CURVE:
            ms = self.ms(percentile)
            if ms is not None and (percentile == 100.0 or count * (100 - percentile) >= 100):
                found.append(CurvePoint(percentile, ms))
        return found
