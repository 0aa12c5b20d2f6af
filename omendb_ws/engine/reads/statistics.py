"""The numbers of ``stats`` (PROTOCOL section 6): of the server, and of one collection."""

from __future__ import annotations

import os
import sys
import time
from typing import Any

from ...catalog.catalog import Catalog, Collection
from ...telemetry.metrics import RATES, JournalNumbers, Metrics


def server_stats(metrics: Metrics, now_us: int) -> dict[str, Any]:
    """The server's numbers. On the loop's thread."""
    now_seconds = now_us / 1e6
    return {
        "at": round(time.time(), 3),
        "uptime_s": round(now_seconds - metrics.started_seconds, 3),
        "rss_bytes": resident_bytes(),
        "loop_lag_ms": round(metrics.loop_lag_seconds * 1000, 3),
        "connections": metrics.connections,
        "subscriptions": metrics.subscriptions.total(),
        **metrics.rates(now_seconds),
        "search_ms": metrics.search_us.percentiles_ms(),
        "add_ms": metrics.add_us.percentiles_ms(),
        "push_ms": metrics.push_us.percentiles_ms(),
    }


def collection_stats(collection: Collection, now_us: int) -> dict[str, Any]:
    """A collection's numbers. On the thread that holds its window."""
    described = collection.describe()
    numbers = ("version", "first_seq", "last_seq", "rows", "bytes", "dim", "capacity")
    oldest_us = collection.window.state.oldest_time_us
    time_us = collection.window.admission.admitted.time(collection.time_us(now_us))
    rates = collection.rates.per_second(now_us / 1e6, collection.rate_counters())
    return {
        "at": round(time.time(), 3),
        "collection": collection.name,
        "epoch": collection.epoch,
        **{name: described[name] for name in numbers},
        "oldest_age_s": None if oldest_us is None else round((time_us - oldest_us) / 1e6, 3),
        "live_subscriptions": len(collection.live),
        **dict(zip((*RATES, "evictions_per_s"), rates, strict=True)),
        **_journal_stats(collection),
    }


def _journal_stats(collection: Collection) -> dict[str, Any]:
    """``journal``, for collections that have one."""
    if collection.flights is None or collection.flights.log is None:
        return {}
    numbers = collection.flights.log.numbers()
    return {
        "journal": {
            "bytes": numbers.bytes,
            "segments": numbers.segments,
            "written_bytes": numbers.written_bytes,
            "flushes": numbers.flushes,
            "pending_bytes": numbers.pending_bytes,
            "changes": len(collection.flights.flying),
            "unflushed_s": round(numbers.unflushed_seconds, 3),
        }
    }


def journal_numbers(catalog: Catalog) -> JournalNumbers:
    """All logs together. On the loop's thread."""
    total = catalog.dropped_journals
    for collection in catalog:
        if collection.flights is not None and collection.flights.log is not None:
            total = total.with_log(collection.flights.log.numbers())
    return total


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
