"""What the demo knows of itself at a moment, and how it is counted. No clock, no socket.

``Tally`` has one owner, the event loop; ``Snapshot`` is what it shows to others. Invariant: what a
tally holds is bounded, however long the demo runs.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from omendb_core.model.types import F32

#: Latencies and shares are taken over this many searches, the newest.
REMEMBERED_SEARCHES: Final = 2_000
#: Points of the little graph of latencies.
REMEMBERED_MEDIANS: Final = 24
#: Rates are taken over this much of the past.
RATE_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True)
class Neighbour:
    """One hit: ``vector`` float32 (64,) as the server stores it."""

    vector: F32
    label: int
    score: float


@dataclass(frozen=True, slots=True)
class Question:
    """A held-out digit, float32 (64,), and the nearest rows of the window right now."""

    vector: F32
    label: int
    neighbours: tuple[Neighbour, ...] = ()


@dataclass(frozen=True, slots=True)
class WindowFigures:
    """What a ``stats`` push says of the collection."""

    rows: int = 0
    capacity: int = 1
    first_seq: int = 1
    last_seq: int = 0
    oldest_age_seconds: float = 0.0

    @property
    def evicted(self) -> int:
        """Rows that have left: nothing is deleted or replaced here, so all below the first."""
        return self.first_seq - 1


@dataclass(frozen=True, slots=True)
class Rates:
    """Per second, over the last ``RATE_SECONDS``."""

    rows: float = 0.0
    evictions: float = 0.0
    searches: float = 0.0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything a view shows. Latencies are round trips as the client sees them."""

    elapsed_seconds: float
    window: WindowFigures
    rates: Rates
    searches: int
    p50_ms: float
    p99_ms: float
    medians_ms: tuple[float, ...]
    right_label_share: float
    label_counts: tuple[int, ...]
    question: Question | None


@dataclass(slots=True)
class Tally:
    """Counts as they grow."""

    window: WindowFigures = WindowFigures()
    label_counts: tuple[int, ...] = ()
    question: Question | None = None
    searches: int = 0
    _latencies_ms: deque[float] = field(default_factory=lambda: deque(maxlen=REMEMBERED_SEARCHES))
    _right_shares: deque[float] = field(default_factory=lambda: deque(maxlen=REMEMBERED_SEARCHES))
    _medians_ms: deque[float] = field(default_factory=lambda: deque(maxlen=REMEMBERED_MEDIANS))
    _moments: deque[tuple[float, int, int, int]] = field(default_factory=deque)

    def searched(self, latency_ms: float, right_share: float) -> None:
        """One search was answered; ``right_share`` of its neighbours show its own digit."""
        self.searches += 1
        self._latencies_ms.append(latency_ms)
        self._right_shares.append(right_share)

    def reported(self, window: WindowFigures, at_seconds: float) -> None:
        """A ``stats`` push has come."""
        self.window = window
        self._medians_ms.append(self._percentiles_ms()[0])
        self._moments.append((at_seconds, window.last_seq, window.evicted, self.searches))
        while len(self._moments) > 2 and self._moments[1][0] <= at_seconds - RATE_SECONDS:
            self._moments.popleft()

    def snapshot(self, elapsed_seconds: float) -> Snapshot:
        """Everything as it is now; the share and the latencies of the newest searches."""
        p50_ms, p99_ms = self._percentiles_ms()
        return Snapshot(
            elapsed_seconds=elapsed_seconds,
            window=self.window,
            rates=self._rates(),
            searches=self.searches,
            p50_ms=p50_ms,
            p99_ms=p99_ms,
            medians_ms=tuple(self._medians_ms),
            right_label_share=sum(self._right_shares) / max(len(self._right_shares), 1),
            label_counts=self.label_counts,
            question=self.question,
        )

    def _rates(self) -> Rates:
        if len(self._moments) < 2:
            return Rates()
        (then, *before), (now, *counts) = self._moments[0], self._moments[-1]
        return Rates(*((new - old) / (now - then) for old, new in zip(before, counts, strict=True)))

    def _percentiles_ms(self) -> tuple[float, float]:
        if not self._latencies_ms:
            return 0.0, 0.0
        p50_ms, p99_ms = np.percentile(np.fromiter(self._latencies_ms, np.float64), [50, 99])
        return float(p50_ms), float(p99_ms)
