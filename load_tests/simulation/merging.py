"""The reports of all processes as the one result: counts are added, histograms merged.

Pure; where a figure of the result is computed, it is computed here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np
from omendb_core.model.types import F64, I64, Bool1

from .arrivals import LATE_SECONDS
from .histogram import Latencies
from .recording import Part, Span
from .requests import AddLog
from .results import Interval, Operation, Push, Truth
from .scenario import Requests
from .subscribers import PushPart

#: An offered rate is reached if no more than this share of it, or this many requests, are missing.
REACHED_SHARE: Final = 0.97
_REACHED_SLACK: Final = 2.0


def is_reached(offered: float, achieved: float, seconds: float) -> bool:
    """Whether ``achieved`` requests a second are what was ``offered``."""
    missing = (offered - achieved) * seconds
    return missing <= max((1 - REACHED_SHARE) * offered * seconds, _REACHED_SLACK)


def merged(encoded: Iterable[bytes]) -> Latencies:
    """One histogram out of many."""
    total = Latencies()
    for one in encoded:
        total.merge(Latencies.decoded(one))
    return total


def operation(settings: Requests, parts: Sequence[Part], span: Span) -> Operation:
    """One kind of request over all processes."""
    seconds = span.ends - span.counts_from
    corrected = merged(one.corrected for one in parts)
    uncorrected = merged(one.uncorrected for one in parts)
    is_open = settings.arrivals != "closed"
    achieved = sum(one.answered for one in parts) / seconds
    offered = sum(one.offered or 0 for one in parts) / seconds if is_open else None
    return Operation(
        name=parts[0].name,
        arrivals=settings.arrivals,
        in_flight=settings.places,
        rows_a_request={"add": settings.rows, "search": settings.vectors}.get(parts[0].name, 1),
        offered_per_second=offered,
        achieved_per_second=achieved,
        is_reached=None if offered is None else is_reached(offered, achieved, seconds),
        sent=sum(one.sent for one in parts),
        count=sum(one.count for one in parts),
        errors=dict(sum((Counter(one.errors) for one in parts), Counter())),
        unanswered=sum(one.unanswered for one in parts),
        unsent=sum(one.unsent for one in parts),
        late_sends=sum(one.late_sends for one in parts),
        generator_late_sends=sum(one.generator_late_sends for one in parts),
        late_ms=LATE_SECONDS * 1000,
        corrected=corrected.percentiles(),
        uncorrected=uncorrected.percentiles(),
        refused=merged(one.refused for one in parts).percentiles(),
        over_time=_over_time(parts, span),
        corrected_curve=corrected.curve(),
        uncorrected_curve=uncorrected.curve(),
    )


def _over_time(parts: Sequence[Part], span: Span) -> list[Interval]:
    numbers = sorted(
        {one for part in parts for one in (*part.by_interval, *part.errors_by_interval)}
    )
    found = []
    for number in numbers:
        of_it = merged(part.by_interval[number] for part in parts if number in part.by_interval)
        errors = sum(part.errors_by_interval.get(number, 0) for part in parts)
        found.append(_interval(number, of_it, errors, span))
    return found


def _interval(number: int, latencies: Latencies, errors: int, span: Span) -> Interval:
    return Interval(
        at_seconds=number * span.interval_seconds,
        seconds=min(
            span.interval_seconds, span.ends - span.counts_from - number * span.interval_seconds
        ),
        count=latencies.count,
        errors=errors,
        p50_ms=latencies.ms(50.0),
        p99_ms=latencies.ms(99.0),
        max_ms=latencies.ms(100.0),
    )


def push(parts: Sequence[PushPart], log: AddLog, span: Span, truth: Truth | None) -> Push:
    """The pushes of one kind over all processes. ``log``: the adds of all of them."""
    received, causes, rows = (
        np.concatenate([np.array(getattr(one, name)) for one in parts])
        for name in ("received", "causes", "rows")
    )
    in_span = _is_in(received, span)
    intended = _intended_at(causes, log)
    counted = in_span & ~np.isnan(intended)
    lags, at = (received - intended)[counted], span.intervals(received[counted])
    total, over_time = Latencies(), []
    for number in np.unique(at).tolist():
        of_it = Latencies()
        of_it.record(lags[at == number])
        total.merge(of_it)
        over_time.append(_interval(number, of_it, 0, span))
    pushes = int(in_span.sum())
    told_at, told_of = (
        np.concatenate([np.array(one.told[part]) for one in parts]) for part in (0, 1)
    )
    told = Latencies()
    told.record(_lags(told_at, told_of.astype(np.int64), log, span))
    return Push(
        kind=parts[0].kind,
        connections=sum(one.connections for one in parts),
        subscriptions=sum(one.subscriptions for one in parts),
        pushes=pushes,
        pushes_per_second=pushes / (span.ends - span.counts_from),
        rows=int(rows[in_span].sum()),
        gaps=sum(one >= span.counts_from for part in parts for one in part.gap_times),
        errors=dict(sum((Counter(one.errors) for one in parts), Counter())),
        merged=sum(int(_is_in(np.array(one.merged), span).sum()) for one in parts),
        lag=total.percentiles(),
        told=told.percentiles(),
        over_time=over_time,
        lag_curve=total.curve(),
        truth=truth,
    )


def _is_in(times: F64, span: Span) -> Bool1:
    return (times >= span.counts_from) & (times < span.ends)


def _lags(received: F64, causes: I64, log: AddLog, span: Span) -> F64:
    lags: F64 = (received - _intended_at(causes, log))[_is_in(received, span)]
    return lags[~np.isnan(lags)]


def _intended_at(causes: Any, log: AddLog) -> F64:
    """When each row was meant to be sent, by seq; NaN where no add of the load brought it."""
    numbers = np.array(log.numbers, np.int64).reshape(-1, 4)
    order = np.argsort(numbers[:, 1])
    first_seqs, rows = numbers[order, 1], numbers[order, 3]
    intended = np.array(log.intended)[order]
    found: F64 = np.full(len(causes), np.nan)
    if not len(order):
        return found
    place = np.searchsorted(first_seqs, causes, "right") - 1
    known = (place >= 0) & (causes < first_seqs[place] + rows[place]) & (intended[place] >= 0)
    found[known] = intended[place][known]
    return found
