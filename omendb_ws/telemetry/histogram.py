"""Histograms and rates: numbers about the recent past, cheap enough for every request.

Knows nothing of the rest; pure but for its own counts. Each object has one writer; another thread
may read it and sees counts that are at most one request old.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

#: Values below this have a bucket each; above it every power of two is cut into eight, so that a
#: percentile is at most 12.5% too large.
_EXACT: Final = 16
#: Enough buckets for 2**40: twelve days in microseconds.
_BUCKETS: Final = 8 * 36 + 16
#: How much of the past percentiles and rates speak of.
RECENT_SECONDS: Final = 10.0
#: Upper bounds of the buckets shown to Prometheus. Of times in microseconds, finest where they
#: are expected: a search at rest takes 300, a push to one of 10,000 live queries 2,300. Each bounds
#: a bucket here, so that counts are exact; for that, none is a round number of milliseconds.
LATENCY_BOUNDS_US: Final = (
    64, 128, 192, 256, 320, 384, 448, 512, 640, 768, 1_024, 1_536, 2_048, 2_560, 3_072, 4_096,
    6_144, 8_192, 16_384, 32_768, 65_536, 131_072, 262_144, 524_288, 1_048_576, 4_194_304,
    16_777_216,
)  # fmt: skip
#: Of numbers of requests and queries: what one tick takes.
COUNT_BOUNDS: Final = tuple(1 << power for power in range(15))
PERCENTILES: Final = (("p50", 0.5), ("p99", 0.99), ("p999", 0.999))


def _bucket(value: int) -> int:
    """The bucket of ``value``; buckets are (lower, upper], so powers of two are upper bounds."""
    value -= 1
    if value < _EXACT:
        return max(value, 0)
    shift = value.bit_length() - 4
    return min(8 * shift + (value >> shift), _BUCKETS - 1)


def _upper(bucket: int) -> int:
    """The largest value of ``bucket``."""
    if bucket < _EXACT:
        return bucket + 1
    shift = (bucket - 8) // 8
    return (bucket - 8 * shift + 1) << shift


def _percentile(counts: list[int], share: float) -> int:
    wanted = share * sum(counts)
    seen = 0
    for bucket, count in enumerate(counts):
        seen += count
        if count and seen >= wanted:
            return _upper(bucket)
    return 0


class Histogram:
    """Counts of non-negative integers in logarithmic buckets.

    ``count`` and ``total`` are of all values ever; ``percentiles`` of those since the snapshots
    that ``sample`` keeps.
    """

    def __init__(self) -> None:
        self.count = 0
        self.total = 0
        self._buckets = [0] * _BUCKETS
        #: Of traced requests the last in each bucket: its value, its trace, the Unix time.
        self.exemplars: dict[int, tuple[int, str, float]] = {}
        self._snapshots: deque[tuple[float, list[int]]] = deque([(0.0, [0] * _BUCKETS)])

    def record(self, value: int, times: int = 1) -> None:
        """Count one value, so many times."""
        self.count += times
        self.total += times * value
        self._buckets[_bucket(value)] += times

    def exemplify(self, value: int, trace_id: str, now_seconds: float) -> None:
        """A value that was recorded is that of a trace."""
        self.exemplars[_bucket(value)] = (value, trace_id, now_seconds)

    def exemplar_within(self, above: float, bound: float) -> tuple[int, str, float] | None:
        """The last of those above one bound and up to the next."""
        found = [one for one in self.exemplars.values() if above < one[0] <= bound]
        return max(found, key=lambda one: one[2], default=None)

    def sample(self, now_seconds: float) -> None:
        """Remember the counts of this moment; called every second or so."""
        self._snapshots.append((now_seconds, self._buckets.copy()))
        while len(self._snapshots) > 2 and self._snapshots[1][0] <= now_seconds - RECENT_SECONDS:
            self._snapshots.popleft()

    def recent(self) -> list[int]:
        """Counts of each bucket since the oldest snapshot."""
        before = self._snapshots[0][1]
        return [now - then for now, then in zip(self._buckets, before, strict=True)]

    def percentile(self, share: float) -> int:
        """An upper bound of the recent values' ``share`` quantile; 0 where there are none."""
        return _percentile(self.recent(), share)

    def percentiles_ms(self) -> dict[str, float]:
        """The recent p50, p99 and p999 of values in microseconds, in milliseconds."""
        counts = self.recent()
        return {name: _percentile(counts, share) / 1000 for name, share in PERCENTILES}

    def coarse(self, bounds: Sequence[int]) -> list[tuple[int, int]]:
        """(upper bound, values up to it) for each of ``bounds``, cumulative."""
        shown = []
        seen = bucket = 0
        for bound in bounds:
            while bucket < _BUCKETS and _upper(bucket) <= bound:
                seen += self._buckets[bucket]
                bucket += 1
            shown.append((bound, seen))
        return shown


class Rates:
    """How fast counters grow: one rate a second for each of a tuple of counters."""

    def __init__(self, now_seconds: float, counters: tuple[float, ...]) -> None:
        self._samples: deque[tuple[float, tuple[float, ...]]] = deque([(now_seconds, counters)])

    def sample(self, now_seconds: float, counters: tuple[float, ...]) -> None:
        """Remember the counters of this moment; called every second or so."""
        self._samples.append((now_seconds, counters))
        while len(self._samples) > 2 and self._samples[1][0] <= now_seconds - RECENT_SECONDS:
            self._samples.popleft()

    def per_second(self, now_seconds: float, counters: tuple[float, ...]) -> tuple[float, ...]:
        """The rates between the oldest sample kept and now."""
        then, before = self._samples[0]
        # Right after the start a second is assumed, so that one request is not a thousand a second.
        elapsed = max(now_seconds - then, 1.0)
        return tuple(
            round((now - old) / elapsed, 3) for now, old in zip(counters, before, strict=True)
        )
