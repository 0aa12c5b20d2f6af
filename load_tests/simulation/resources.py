"""What the processes take: CPU and memory out of ``/proc``, looked at once an interval.

Where there is no ``/proc`` (no Linux), or the process is not of this machine, figures are None.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np

from .recording import Span
from .results import ResourcePoint, Resources

_TICKS_A_SECOND: Final = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096


def cpu_seconds(process_id: int | str | None) -> float | None:
    """User and system time that a process, or a thread (``PID/task/TID``), has taken."""
    if process_id is None:
        return None
    try:
        fields = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) / _TICKS_A_SECOND


def resident_bytes(process_id: int | None) -> int | None:
    """Memory of a process that is in RAM."""
    if process_id is None:
        return None
    try:
        return int(Path(f"/proc/{process_id}/statm").read_text().split()[1]) * _PAGE_BYTES
    except OSError:
        return None


class Monitor:
    """Looks at the server and the generator's processes, and keeps what it saw."""

    def __init__(self, server: int | None, generators: Sequence[int | None]) -> None:
        self._server = server
        self._generators = generators
        self._looks: list[tuple[float, float, float | None, int | None]] = []
        self._resident_before = resident_bytes(server)

    def look(self, at: float) -> None:
        """Look, at the time ``at`` of ``time.perf_counter``."""
        generators = sum(cpu_seconds(one) or 0.0 for one in self._generators)
        server = cpu_seconds(self._server), resident_bytes(self._server)
        self._looks.append((at, generators, *server))

    def resources(self, span: Span, before: dict[str, float], after: dict[str, float]) -> Resources:
        """The figures between the looks within ``span``; there must be at least two."""
        slack = span.interval_seconds / 2
        looks = [
            one for one in self._looks if span.counts_from - slack <= one[0] <= span.ends + slack
        ]
        looks = looks if len(looks) > 1 else self._looks
        points = []
        for earlier, later in pairwise(looks):
            points.append(
                ResourcePoint(
                    at_seconds=later[0] - span.counts_from,
                    generator_cpu_percent=_percent(earlier[0], later[0], earlier[1], later[1])
                    or 0.0,
                    server_cpu_percent=_percent(earlier[0], later[0], earlier[2], later[2]),
                    server_resident_bytes=later[3],
                )
            )
        first, last = looks[0], looks[-1]
        return Resources(
            generator_processes=len(self._generators),
            generator_cpu_percent=_percent(first[0], last[0], first[1], last[1]) or 0.0,
            server_cpu_percent=_percent(first[0], last[0], first[2], last[2]),
            server_resident_bytes_before=self._resident_before,
            server_resident_bytes_after=last[3],
            server_resident_slope_bytes_per_second=_slope(points),
            over_time=points,
            metrics_before=before,
            metrics_after=after,
        )


def _percent(start: float, end: float, before: float | None, after: float | None) -> float | None:
    if before is None or after is None or end <= start:
        return None
    return 100 * (after - before) / (end - start)


def _slope(points: Sequence[ResourcePoint]) -> float | None:
    """Of a straight line through the resident bytes."""
    seen = [
        (one.at_seconds, one.server_resident_bytes)
        for one in points
        if one.server_resident_bytes is not None
    ]
    if len(seen) < 2:
        return None
    times, sizes = np.array(seen, np.float64).T
    return float(np.polyfit(times, sizes, 1)[0])
