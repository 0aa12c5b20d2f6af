"""What the server counts, and the one table of its Prometheus metrics.

Counters are plain attributes, each written by one thread, because they are touched for every
request; they become Prometheus samples only when somebody scrapes. ``Metrics`` knows nothing of
the server: gauges are set on it just before a scrape.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeAlias

from .histogram import Histogram, Rates

if TYPE_CHECKING:
    from prometheus_client.core import Metric as Family

    from ..journal.interface import LogNumbers

#: The rates of ``stats`` (PROTOCOL section 6), in the order of ``Metrics.rate_counters``.
RATES: Final = (
    "adds_per_s",
    "searches_per_s",
    "pushes_per_s",
    "merged_per_s",
    "gaps_per_s",
    "errors_per_s",
)


class JournalNumbers(NamedTuple):
    """All logs together: ``LogNumbers``, of which the oldest unflushed byte is the oldest of all.

    Written bytes and flushes count since the server started, those of dropped collections too.
    """

    bytes: int
    pending_bytes: int
    written_bytes: int
    flushes: int
    unflushed_seconds: float

    def with_log(self, log: LogNumbers) -> JournalNumbers:
        """These and one log more."""
        return JournalNumbers(
            self.bytes + log.bytes,
            self.pending_bytes + log.pending_bytes,
            self.written_bytes + log.written_bytes,
            self.flushes + log.flushes,
            max(self.unflushed_seconds, log.unflushed_seconds),
        )

    def with_dropped(self, log: LogNumbers) -> JournalNumbers:
        """These and what stays of a log that is gone."""
        return self._replace(
            written_bytes=self.written_bytes + log.written_bytes,
            flushes=self.flushes + log.flushes,
        )


NO_JOURNAL: Final = JournalNumbers(0, 0, 0, 0, 0.0)


class Metrics:
    """The counts of one server since it started. Who writes what is said beside each."""

    def __init__(self, now_seconds: float) -> None:
        self.started_seconds = now_seconds
        # The loop's thread.
        self.requests: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self.searched = 0
        self.answered_at_once = 0
        self.pushes = 0
        self.stats_merged = 0
        self.received_messages = 0
        self.received_bytes = 0
        self.sent_messages = 0
        self.sent_bytes = 0
        self.connections = 0
        self.connections_opened = 0
        self.failed_logins = 0
        self.shed_connections: Counter[str] = Counter(strangers=0, bytes=0, stalled=0)
        self.subscriptions: Counter[str] = Counter()
        #: Those of requests that are making theirs: they have their places.
        self.subscriptions_to_come = 0
        self.add_us = Histogram()
        self.search_us = Histogram()
        self.push_us = Histogram()
        self.loop_lag_seconds = 0.0
        # The engine's thread.
        self.added_rows = 0
        self.left_rows: Counter[str] = Counter(evicted=0, expired=0, replaced=0, deleted=0)
        self.merged_pushes = 0
        self.gaps = 0
        self.rescans = 0
        self.faults = 0
        self.ticks = 0
        self.tick_us = Histogram()
        self.tick_requests = Histogram()
        self.scan_queries = Histogram()
        # Set before a scrape.
        self.queue_depth = 0
        self.collections = 0
        self.rows = 0
        self.reserved_bytes = 0
        self.payload_bytes = 0
        self.max_memory_bytes = 0
        self.resident_bytes = 0
        self.strangers = 0
        self.connection_bytes = 0
        self.uptime_seconds = 0.0
        self.journal = NO_JOURNAL
        self.journal_flying = 0
        self.recovering_collections = 0
        self.damaged_collections = 0
        self._rates = Rates(now_seconds, self.rate_counters())

    @property
    def merged(self) -> int:
        """Changes and statistics that went out in one push with others."""
        return self.merged_pushes + self.stats_merged

    def rate_counters(self) -> tuple[int, ...]:
        """The counters behind ``RATES``."""
        return (
            self.added_rows,
            self.searched,
            self.pushes,
            self.merged,
            self.gaps,
            self.errors.total(),
        )

    def sample(self, now_seconds: float) -> None:
        """Remember this moment for rates and percentiles; called every second or so."""
        self._rates.sample(now_seconds, self.rate_counters())
        for histogram in (self.add_us, self.search_us, self.push_us):
            histogram.sample(now_seconds)

    def rates(self, now_seconds: float) -> dict[str, float]:
        """``RATES`` over the recent past."""
        rates = self._rates.per_second(now_seconds, self.rate_counters())
        return dict(zip(RATES, rates, strict=True))


Value: TypeAlias = float | Counter[str] | Histogram


class Metric(NamedTuple):
    """One metric: ``label`` names the key of a Counter, ``unit`` divides a Histogram's integers."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    read: Callable[[Metrics], Value]
    label: str | None = None
    unit: float = 1.0


_MICROSECONDS: Final = 1e-6

#: Every metric of the server. Counters get Prometheus's ``_total`` when they are scraped.
METRICS: Final = (
    Metric("omendb_requests", "counter", "Requests received, by op.", lambda m: m.requests, "op"),
    Metric(
        "omendb_errors",
        "counter",
        "Errors sent, by code of the protocol; overloaded ones were shed.",
        lambda m: m.errors,
        "code",
    ),
    Metric("omendb_added_rows", "counter", "Rows accepted.", lambda m: m.added_rows),
    Metric(
        "omendb_left_rows",
        "counter",
        "Rows that left their window: evicted, expired, replaced or deleted.",
        lambda m: m.left_rows,
        "reason",
    ),
    Metric("omendb_searches", "counter", "Query vectors answered.", lambda m: m.searched),
    Metric(
        "omendb_searches_at_once",
        "counter",
        "Searches answered where they arrived, without the engine's thread.",
        lambda m: m.answered_at_once,
    ),
    Metric("omendb_pushes", "counter", "Pushes handed to sockets.", lambda m: m.pushes),
    Metric(
        "omendb_merged_pushes",
        "counter",
        "Changes that waited for a slow reader and went out in one push with others.",
        lambda m: m.merged,
    ),
    Metric(
        "omendb_gaps", "counter", "Gaps stated to readers slower than the stream.", lambda m: m.gaps
    ),
    Metric("omendb_faults", "counter", "Faults of the server, each logged.", lambda m: m.faults),
    Metric(
        "omendb_received_messages",
        "counter",
        "WebSocket messages received.",
        lambda m: m.received_messages,
    ),
    Metric(
        "omendb_received_bytes",
        "counter",
        "Bytes of WebSocket messages received.",
        lambda m: m.received_bytes,
    ),
    Metric(
        "omendb_sent_messages", "counter", "WebSocket messages sent.", lambda m: m.sent_messages
    ),
    Metric(
        "omendb_sent_bytes", "counter", "Bytes of WebSocket messages sent.", lambda m: m.sent_bytes
    ),
    Metric(
        "omendb_connections_opened",
        "counter",
        "WebSocket connections accepted.",
        lambda m: m.connections_opened,
    ),
    Metric(
        "omendb_shed_connections",
        "counter",
        "Connections that had to leave, by reason: strangers, bytes, stalled.",
        lambda m: m.shed_connections,
        "reason",
    ),
    Metric(
        "omendb_connection_bytes",
        "gauge",
        "Bytes that all connections hold: half messages, requests, unsent replies.",
        lambda m: m.connection_bytes,
    ),
    Metric(
        "omendb_unauthenticated_connections",
        "gauge",
        "Connections that have not authenticated, or upgraded, yet.",
        lambda m: m.strangers,
    ),
    Metric(
        "omendb_failed_logins", "counter", "Tokens that were not known.", lambda m: m.failed_logins
    ),
    Metric("omendb_connections", "gauge", "WebSocket connections now.", lambda m: m.connections),
    Metric(
        "omendb_subscriptions",
        "gauge",
        "Subscriptions now, by kind.",
        lambda m: m.subscriptions,
        "kind",
    ),
    Metric("omendb_collections", "gauge", "Collections now.", lambda m: m.collections),
    Metric("omendb_rows", "gauge", "Live rows of all windows.", lambda m: m.rows),
    Metric(
        "omendb_reserved_bytes",
        "gauge",
        "Memory reserved by all windows and what they hold.",
        lambda m: m.reserved_bytes,
    ),
    Metric(
        "omendb_max_memory_bytes",
        "gauge",
        "Memory that may be reserved.",
        lambda m: m.max_memory_bytes,
    ),
    Metric(
        "omendb_payload_bytes",
        "gauge",
        "Bytes of metadata and string ids of all windows.",
        lambda m: m.payload_bytes,
    ),
    Metric(
        "omendb_resident_bytes",
        "gauge",
        "Memory of the process that is in RAM.",
        lambda m: m.resident_bytes,
    ),
    Metric(
        "omendb_uptime_seconds",
        "gauge",
        "Seconds since the server started.",
        lambda m: m.uptime_seconds,
    ),
    Metric(
        "omendb_loop_lag_seconds",
        "gauge",
        "How late the event loop wakes up: the worst of the last second.",
        lambda m: m.loop_lag_seconds,
    ),
    Metric(
        "omendb_queue_depth",
        "gauge",
        "Requests that wait for the engine.",
        lambda m: m.queue_depth,
    ),
    Metric(
        "omendb_journal_bytes", "gauge", "Bytes of all logs on the disk.", lambda m: m.journal.bytes
    ),
    Metric(
        "omendb_journal_written_bytes",
        "counter",
        "Bytes written to logs.",
        lambda m: m.journal.written_bytes,
    ),
    Metric("omendb_journal_flushes", "counter", "Flushes of logs.", lambda m: m.journal.flushes),
    Metric(
        "omendb_journal_pending_bytes",
        "gauge",
        "Bytes of changes that wait to be written.",
        lambda m: m.journal.pending_bytes,
    ),
    Metric(
        "omendb_journal_changes",
        "gauge",
        "Changes that are admitted and not yet as safe as promised.",
        lambda m: m.journal_flying,
    ),
    Metric(
        "omendb_journal_unflushed_seconds",
        "gauge",
        "How long the oldest written byte has waited for its flush.",
        lambda m: m.journal.unflushed_seconds,
    ),
    Metric(
        "omendb_recovering_collections",
        "gauge",
        "Collections that are still to come back after the start.",
        lambda m: m.recovering_collections,
    ),
    Metric(
        "omendb_damaged_collections",
        "gauge",
        "Collections that did not come back: they need repair, memory or space.",
        lambda m: m.damaged_collections,
    ),
    Metric("omendb_ticks", "counter", "Ticks of the engine.", lambda m: m.ticks),
    Metric(
        "omendb_tick_seconds",
        "histogram",
        "Duration of a tick of the engine.",
        lambda m: m.tick_us,
        unit=_MICROSECONDS,
    ),
    Metric(
        "omendb_tick_requests",
        "histogram",
        "Requests that one tick took.",
        lambda m: m.tick_requests,
    ),
    Metric(
        "omendb_scan_queries",
        "histogram",
        "Query vectors that shared one scan.",
        lambda m: m.scan_queries,
    ),
    Metric(
        "omendb_add_seconds",
        "histogram",
        "From the arrival of an add to its acknowledgement.",
        lambda m: m.add_us,
        unit=_MICROSECONDS,
    ),
    Metric(
        "omendb_search_seconds",
        "histogram",
        "From the arrival of a search to its answer.",
        lambda m: m.search_us,
        unit=_MICROSECONDS,
    ),
    Metric(
        "omendb_push_seconds",
        "histogram",
        "From the arrival of a change to the push that was handed to the socket.",
        lambda m: m.push_us,
        unit=_MICROSECONDS,
    ),
)


class Collector:
    """Turns ``metrics`` into Prometheus families when scraped; ``refresh`` sets the gauges first.

    Register it with a ``prometheus_client.CollectorRegistry``.
    """

    def __init__(self, metrics: Metrics, refresh: Callable[[], None]) -> None:
        self._metrics = metrics
        self._refresh = refresh

    def collect(self) -> Iterator[Family]:
        """One family for each row of ``METRICS``."""
        self._refresh()
        for metric in METRICS:
            yield _family(metric, metric.read(self._metrics))

    def describe(self) -> list[Family]:
        """Nothing: it spares the registry a scrape at registration."""
        return []


def _family(metric: Metric, value: Value) -> Family:
    # Imported here: prometheus_client costs time that a starting server does not have.
    from prometheus_client.core import (
        CounterMetricFamily,
        GaugeMetricFamily,
        HistogramMetricFamily,
    )

    if isinstance(value, Histogram):
        buckets = [(repr(bound * metric.unit), seen) for bound, seen in value.coarse()]
        histogram = HistogramMetricFamily(metric.name, metric.help)
        histogram.add_metric([], [*buckets, ("+Inf", value.count)], value.total * metric.unit)
        return histogram
    make = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    if isinstance(value, Counter):
        labelled = make(metric.name, metric.help, labels=[metric.label or ""])
        for key, count in sorted(dict(value).items()):
            labelled.add_metric([key], count)
        return labelled
    return make(metric.name, metric.help, value=value)


def render(metrics: Metrics, refresh: Callable[[], None]) -> bytes:
    """The page of ``/metrics`` in Prometheus's text format."""
    from prometheus_client import CollectorRegistry, generate_latest

    registry = CollectorRegistry()
    registry.register(Collector(metrics, refresh))
    return generate_latest(registry)
