"""The numbers of the server for ``stats`` (PROTOCOL section 6)."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Sequence
from typing import Any

from .metrics import RATES, Metrics


def server_stats(metrics: Metrics, now_us: int) -> dict[str, Any]:
    """The server's numbers. On the loop's thread."""
    now_seconds = now_us / 1e6
    return {
        "at": round(time.time(), 3),
        "uptime_s": round(now_seconds - metrics.started_seconds, 3),
        "rss_bytes": resident_bytes(),
        "loop_lag_ms": round(metrics.loop_lag_seconds * 1000, 3),
        "queue_wait_ms": round(metrics.queue_wait_seconds * 1000, 3),
        "connections": metrics.connections,
        "subscriptions": metrics.subscriptions.total(),
        **metrics.rates(now_seconds),
        "search_ms": metrics.search_us.percentiles_ms(),
        "add_ms": metrics.add_us.percentiles_ms(),
        "push_ms": metrics.push_us.percentiles_ms(),
    }


def tenant_stats(metrics: Metrics, now_us: int, rates: Iterable[Sequence[float]]) -> dict[str, Any]:
    """What of that is told of one tenant, by the ``rates`` of its collections."""
    now_seconds = now_us / 1e6
    sums = [round(sum(column), 3) for column in zip(*rates, strict=True)] or [0.0] * len(RATES)
    return {
        "at": round(time.time(), 3),
        "uptime_s": round(now_seconds - metrics.started_seconds, 3),
        **dict(zip(RATES, sums, strict=False)),
    }


def resident_bytes() -> int:
    """Memory of this process that is in RAM; 0 where the system does not tell."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError, IndexError):
        return _peak_resident_bytes()


def _peak_resident_bytes() -> int:
    try:
        import resource
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
