"""What a process holds, looked at once an interval: memory, descriptors, threads. Linux only."""

from __future__ import annotations

import os
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

_MIB: Final = 1 << 20


class Sample(NamedTuple):
    """One look. ``at_seconds`` counts from the start of the soak."""

    at_seconds: float
    resident_bytes: int
    descriptors: int
    threads: int


def look(pid: int, at_seconds: float) -> Sample:
    """What the process holds now. OSError if there is no such process."""
    status = dict(
        line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines()
    )
    return Sample(
        at_seconds,
        resident_bytes=int(status["VmRSS"].split()[0]) * 1024,
        descriptors=len(os.listdir(f"/proc/{pid}/fd")),
        threads=int(status["Threads"]),
    )


class Verdict(NamedTuple):
    """What the samples after the settling say."""

    slope_mib_per_minute: float
    descriptors: tuple[float, float]  # medians of the first and of the last quarter
    threads: tuple[float, float]

    def faults(self, most_mib_per_minute: float, most_more: int) -> list[str]:
        """What grew, in words."""
        found = []
        if self.slope_mib_per_minute > most_mib_per_minute:
            found.append(f"memory grew by {self.slope_mib_per_minute:.2f} MiB a minute")
        for name, (before, after) in (("descriptors", self.descriptors), ("threads", self.threads)):
            if after > before + most_more:
                found.append(f"{name} went from {before:g} to {after:g}")
        return found


def judge(samples: Sequence[Sample], settled_seconds: float) -> Verdict:
    """The slope of a straight line through the memory, and whether the others stayed.

    Samples before ``settled_seconds`` are left out: windows fill, caches and heaps find their size.
    ValueError with fewer than eight left.
    """
    kept = [one for one in samples if one.at_seconds >= settled_seconds]
    if len(kept) < 8:
        raise ValueError(f"{len(kept)} samples after {settled_seconds:g} s tell nothing")
    times = np.array([one.at_seconds for one in kept]) / 60
    sizes = np.array([one.resident_bytes for one in kept]) / _MIB
    quarter = len(kept) // 4
    first, last = kept[:quarter], kept[-quarter:]
    return Verdict(
        float(np.polyfit(times, sizes, 1)[0]),
        (_median(first, "descriptors"), _median(last, "descriptors")),
        (_median(first, "threads"), _median(last, "threads")),
    )


def _median(samples: Sequence[Sample], name: str) -> float:
    return statistics.median(getattr(one, name) for one in samples)
