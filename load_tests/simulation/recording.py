"""What one kind of request met with, in one process: raw times while it runs, figures afterwards.

While the load runs, an answer costs three appended floats; histograms are made when it is over.
``Part`` is what leaves the process. All times are of ``time.perf_counter``, which is one clock for
all processes of a machine.
"""

from __future__ import annotations

from array import array
from collections import Counter
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from omendb_core.model.types import F64, I64

from .arrivals import LATE_SECONDS
from .histogram import Latencies


class Span(NamedTuple):
    """When a run ``began``, from when on it counts, when it ends, and its intervals."""

    began: float
    counts_from: float
    ends: float
    interval_seconds: float

    def intervals(self, times: F64) -> I64:
        """The number of the interval of each of ``times``."""
        found: I64 = ((times - self.counts_from) / self.interval_seconds).astype(np.int64)
        return found


@dataclass(frozen=True)
class Part:
    """The figures of one kind of request of one process; histograms are encoded.

    ``answered`` counts what was answered without error *within* the span, of whatever age; all
    else is about requests that were meant to be sent within the span.
    """

    name: str
    offered: int | None
    answered: int
    sent: int
    count: int
    errors: dict[str, int]
    errors_by_interval: dict[int, int]
    unanswered: int
    unsent: int
    late_sends: int
    generator_late_sends: int
    corrected: bytes
    uncorrected: bytes
    refused: bytes
    by_interval: dict[int, bytes]


class Progress(NamedTuple):
    """Since the last one: answers, errors, p50 and p99 in ms (corrected)."""

    name: str
    answers: int
    errors: int
    p50_ms: float
    p99_ms: float


class Recording:
    """Times of answered requests, and the others by what became of them."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._intended = array("d")
        self._sent = array("d")
        self._received = array("d")
        self._errors: list[tuple[float, float, float, str]] = []
        self._open: list[tuple[float, float]] = []
        self._generator_late = array("d")
        self._shown = 0
        self._shown_errors = 0

    def answered(self, intended: float, sent: float, received: float) -> None:
        """An answer without error."""
        self._intended.append(intended)
        self._sent.append(sent)
        self._received.append(received)

    def failed(self, intended: float, sent: float, received: float, code: str) -> None:
        """An error, by its code."""
        self._errors.append((intended, sent, received, code))

    def never_answered(self, intended: float, sent: float) -> None:
        """Sent, and no answer came before the end."""
        self._open.append((intended, sent))

    def generator_was_late(self, intended: float) -> None:
        """Sent over LATE_SECONDS late although there was a place: not the server's doing."""
        self._generator_late.append(intended)

    def progress(self) -> Progress:
        """What came since the last call."""
        start, end = self._shown, len(self._received)
        received, intended = (np.array(one[start:end]) for one in (self._received, self._intended))
        errors = len(self._errors) - self._shown_errors
        self._shown, self._shown_errors = end, len(self._errors)
        ms = (received - intended) * 1000 if end > start else np.zeros(1)
        p50, p99 = np.percentile(ms, (50, 99)).tolist()
        return Progress(self.name, end - start, errors, p50, p99)

    def part(self, span: Span, plan: F64 | None, unsent_from: int) -> Part:
        """The figures. ``plan``: intended times of an open run; unsent from ``unsent_from`` on."""
        intended, sent, received = (
            np.array(one) for one in (self._intended, self._sent, self._received)
        )
        in_span = (intended >= span.counts_from) & (intended < span.ends)
        corrected, uncorrected = Latencies(), Latencies()
        waits, places = (received - intended)[in_span], span.intervals(intended[in_span])
        by_interval = {}
        for place in np.unique(places).tolist():
            of_interval = Latencies()
            of_interval.record(waits[places == place])
            corrected.merge(of_interval)
            by_interval[place] = of_interval.encoded()
        uncorrected.record((received - sent)[in_span])
        errors = [one for one in self._errors if span.counts_from <= one[0] < span.ends]
        unanswered = [one for one in self._open if span.counts_from <= one[0] < span.ends]
        unsent = _within(plan[unsent_from:], span) if plan is not None else np.empty(0)
        # What nobody answered waited at least until the end: leaving it out would flatter.
        corrected.record(span.ends - np.array([one[0] for one in unanswered]))
        corrected.record(span.ends - unsent)
        refused = Latencies()
        refused.record(np.array([one[2] - one[1] for one in errors]))
        waited = [(one[0], one[1]) for one in errors] + unanswered
        others = np.array([sent_at - meant for meant, sent_at in waited])
        late = np.concatenate([(sent - intended)[in_span], others]) > LATE_SECONDS
        at = span.intervals(np.array([one[0] for one in errors])).tolist()
        return Part(
            name=self.name,
            offered=None if plan is None else len(_within(plan, span)),
            answered=int(((received >= span.counts_from) & (received < span.ends)).sum()),
            sent=int(in_span.sum()) + len(errors) + len(unanswered),
            count=int(in_span.sum()),
            errors=dict(Counter(one[3] for one in errors)),
            errors_by_interval=dict(Counter(at)),
            unanswered=len(unanswered),
            unsent=len(unsent),
            late_sends=int(late.sum()),
            generator_late_sends=len(_within(np.array(self._generator_late), span)),
            corrected=corrected.encoded(),
            uncorrected=uncorrected.encoded(),
            refused=refused.encoded(),
            by_interval=by_interval,
        )


def _within(times: F64, span: Span) -> F64:
    found: F64 = times[(times >= span.counts_from) & (times < span.ends)]
    return found
