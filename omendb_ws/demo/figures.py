"""What the demo knows of itself at a moment, and how it is counted. No clock, no socket.

``Tally`` has one owner, the event loop; ``Snapshot`` is what it shows to others.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from omendb_core.types import F32

#: Latencies and shares are taken over this many searches, the newest.
REMEMBERED_SEARCHES: Final = 2_000
#: Seconds of history in the little graphs.
REMEMBERED_SECONDS: Final = 24


@dataclass(frozen=True, slots=True)
class Neighbour:
    """One hit: ``vector`` float32 (64,) as the server stores it."""

    vector: F32
    label: int
    score: float
    seq: int


@dataclass(frozen=True, slots=True)
class Question:
    """A held-out digit, and the nearest rows of the window right now."""

    vector: F32
    label: int
    neighbours: tuple[Neighbour, ...] = ()


@dataclass(frozen=True, slots=True)
class WindowFigures:
    """Of the server's ``stats`` push for the collection."""

    rows: int = 0
    capacity: int = 1
    first_seq: int = 1
    last_seq: int = 0
    oldest_age_seconds: float = 0.0
    rows_per_second: float = 0.0
    evictions_per_second: float = 0.0
    searches_per_second: float = 0.0

    @property
    def evicted(self) -> int:
        """Rows that have left: nothing is deleted or replaced here, so all below the first."""
        return self.first_seq - 1


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything a view shows. Latencies are round trips as the client sees them."""

    elapsed_seconds: float
    window: WindowFigures
    searches: int
    p50_ms: float
    p99_ms: float
    p50_history_ms: tuple[float, ...]
    right_label_share: float
    label_counts: tuple[int, ...]
    question: Question | None


@dataclass(slots=True)
class Tally:
    """Counts as they grow; bounded however long the demo runs."""

    searches: int = 0
    neighbours: int = 0
    right_labels: int = 0
    window: WindowFigures = WindowFigures()
    label_counts: tuple[int, ...] = ()
    question: Question | None = None
    latencies_ms: deque[float] = field(default_factory=lambda: deque(maxlen=REMEMBERED_SEARCHES))
    recent: deque[tuple[int, int]] = field(
        default_factory=lambda: deque(maxlen=REMEMBERED_SEARCHES)
    )
    p50_history_ms: deque[float] = field(default_factory=lambda: deque(maxlen=REMEMBERED_SECONDS))

    def searched(self, latency_ms: float, neighbours: int, right_labels: int) -> None:
        """One search was answered with ``neighbours`` rows, ``right_labels`` of its own digit."""
        self.searches += 1
        self.neighbours += neighbours
        self.right_labels += right_labels
        self.latencies_ms.append(latency_ms)
        self.recent.append((neighbours, right_labels))

    def second_passed(self) -> None:
        """Remember the median of now for the little graph."""
        self.p50_history_ms.append(self._percentiles()[0])

    def snapshot(self, elapsed_seconds: float) -> Snapshot:
        """Everything as it is now; the share and the latencies of the newest searches."""
        p50_ms, p99_ms = self._percentiles()
        neighbours = sum(count for count, _ in self.recent)
        right = sum(count for _, count in self.recent)
        return Snapshot(
            elapsed_seconds=elapsed_seconds,
            window=self.window,
            searches=self.searches,
            p50_ms=p50_ms,
            p99_ms=p99_ms,
            p50_history_ms=tuple(self.p50_history_ms),
            right_label_share=right / max(neighbours, 1),
            label_counts=self.label_counts,
            question=self.question,
        )

    def _percentiles(self) -> tuple[float, float]:
        if not self.latencies_ms:
            return 0.0, 0.0
        p50_ms, p99_ms = np.percentile(np.fromiter(self.latencies_ms, np.float64), [50, 99])
        return float(p50_ms), float(p99_ms)
