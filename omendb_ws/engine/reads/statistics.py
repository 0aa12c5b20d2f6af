"""The numbers of one collection for ``stats`` (PROTOCOL section 6)."""

from __future__ import annotations

import time
from typing import Any

from omendb_core.filters.parser import Filter

from ...telemetry.metrics import RATES
from ..model.shard import Shard
from ..model.sharded import Sharded


def collection_stats(shard: Shard, now_us: int, visible: Filter | None = None) -> dict[str, Any]:
    """A collection's numbers. On the thread that holds its window.

    To whom only rows that pass ``visible`` are there, most of them are null.
    """
    described = shard.describe(visible)
    numbers = ("version", "first_seq", "last_seq", "rows", "bytes", "dim", "capacity")
    oldest_us = shard.window.state.oldest_time_us
    time_us = shard.window.admission.admitted.time(shard.time_us(now_us))
    rates = shard.rates.per_second(now_us / 1e6, shard.rate_counters())
    found = {
        "at": round(time.time(), 3),
        "collection": shard.name,
        "epoch": shard.epoch,
        **{name: described[name] for name in numbers},
        "oldest_age_s": None if oldest_us is None else round((time_us - oldest_us) / 1e6, 3),
        "live_subscriptions": shard.live_queries,
        **dict(zip((*RATES, "evictions_per_s"), rates, strict=True)),
        **_journal_stats(shard),
    }
    if visible is not None:
        hidden = ("oldest_age_s", "live_subscriptions", "evictions_per_s", "journal", *RATES)
        found |= dict.fromkeys(name for name in hidden if name in found)
    return found


def stats_of(shard: Shard | Sharded, now_us: int, visible: Filter | None = None) -> dict[str, Any]:
    """Of a collection, whatever it is cut into."""
    if isinstance(shard, Sharded):
        return sharded_stats(shard, now_us, visible)
    return collection_stats(shard, now_us, visible)


def sharded_stats(whole: Sharded, now_us: int, visible: Filter | None = None) -> dict[str, Any]:
    """The same of several shards: sums, and of ages the oldest."""
    each = [collection_stats(shard, now_us, visible) for shard in whole.parts]
    found = {name: _together(name, [one[name] for one in each]) for name in each[0]}
    described = whole.describe(visible)
    return found | {name: described[name] for name in described if name in found}


def _together(name: str, values: list[Any]) -> Any:
    there = [one for one in values if one is not None]
    if name in ("at", "oldest_age_s", "unflushed_s", "live_subscriptions"):
        return max(there, default=None)
    if not there or isinstance(there[0], str):
        return there[0] if there else None
    if isinstance(there[0], dict):
        return {key: _together(key, [one[key] for one in there]) for key in there[0]}
    return sum(there)


def _journal_stats(shard: Shard) -> dict[str, Any]:
    """``journal``, for collections that have one."""
    if shard.pending is None or shard.pending.log is None:
        return {}
    numbers = shard.pending.log.numbers()
    return {
        "journal": {
            "bytes": numbers.bytes,
            "segments": numbers.segments,
            "written_bytes": numbers.written_bytes,
            "flushes": numbers.flushes,
            "pending_bytes": numbers.pending_bytes,
            "changes": len(shard.pending.changes),
            "unflushed_s": round(numbers.unflushed_seconds, 3),
        }
    }
