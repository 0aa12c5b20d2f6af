"""The one table of the server's Prometheus metrics, and their text.

Counts become samples only when somebody scrapes. A new metric is an attribute of ``Metrics`` or
``Gauges`` and a row of ``METRICS``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

from .histogram import Histogram
from .metric_rows import HTTP_METRICS, TENANT_METRICS, Metric, Value
from .metrics import Metrics, TenantNumbers

if TYPE_CHECKING:
    from prometheus_client.core import Metric as Family

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
    Metric(
        "omendb_shed",
        "counter",
        "Requests refused for overload: unread as they came, or after waiting too long.",
        lambda m: Counter(unread=m.shed_unread, waited=m.shed_late),
        "reason",
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
        "omendb_http_answers",
        "counter",
        "Answers of the HTTP API, by status.",
        lambda m: m.http.answers,
        "status",
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
        lambda m: m.gauges.connection_bytes,
    ),
    Metric(
        "omendb_unauthenticated_connections",
        "gauge",
        "Connections that have not authenticated, or upgraded, yet.",
        lambda m: m.gauges.strangers,
    ),
    Metric(
        "omendb_failed_logins", "counter", "Tokens that were not known.", lambda m: m.failed_logins
    ),
    Metric(
        "omendb_reload_failures",
        "counter",
        "Keys, certificates or tenants that could not be read again or fetched.",
        lambda m: m.reload_failures,
    ),
    Metric(
        "omendb_proxy_failures",
        "counter",
        "Connections of trusted proxies that were closed for want of a good PROXY header.",
        lambda m: m.proxy_failures,
    ),
    Metric(
        "omendb_audit_failures",
        "counter",
        "Times that the audit log could not be opened or written.",
        lambda m: m.gauges.audit_failures,
    ),
    Metric(
        "omendb_audit_dropped",
        "counter",
        "Entries of the audit log that are lost: it could not be written for too long.",
        lambda m: m.gauges.audit_dropped,
    ),
    Metric("omendb_connections", "gauge", "WebSocket connections now.", lambda m: m.connections),
    Metric(
        "omendb_subscriptions",
        "gauge",
        "Subscriptions now, by kind.",
        lambda m: m.subscriptions,
        "kind",
    ),
    *HTTP_METRICS,
    Metric("omendb_collections", "gauge", "Collections now.", lambda m: m.gauges.collections),
    Metric("omendb_rows", "gauge", "Live rows of all windows.", lambda m: m.gauges.rows),
    Metric(
        "omendb_reserved_bytes",
        "gauge",
        "Memory reserved by all windows and what they hold.",
        lambda m: m.gauges.reserved_bytes,
    ),
    Metric(
        "omendb_max_memory_bytes",
        "gauge",
        "Memory that may be reserved.",
        lambda m: m.gauges.max_memory_bytes,
    ),
    Metric(
        "omendb_payload_bytes",
        "gauge",
        "Bytes of metadata and string ids of all windows.",
        lambda m: m.gauges.payload_bytes,
    ),
    Metric(
        "omendb_resident_bytes",
        "gauge",
        "Memory of the process that is in RAM.",
        lambda m: m.gauges.resident_bytes,
    ),
    Metric(
        "omendb_uptime_seconds",
        "gauge",
        "Seconds since the server started.",
        lambda m: m.gauges.uptime_seconds,
    ),
    Metric(
        "omendb_loop_lag_seconds",
        "gauge",
        "How late the event loop wakes up: the worst of the last second.",
        lambda m: m.loop_lag_seconds,
    ),
    Metric(
        "omendb_shedding",
        "gauge",
        "1 while requests are refused unread.",
        lambda m: m.gauges.shedding,
    ),
    Metric(
        "omendb_queue_wait_seconds",
        "gauge",
        "How long what is taken up now had waited for others' requests.",
        lambda m: m.queue_wait_seconds,
    ),
    Metric(
        "omendb_queue_depth",
        "gauge",
        "Requests that wait for the engine.",
        lambda m: m.gauges.queue_depth,
    ),
    Metric(
        "omendb_journal_bytes",
        "gauge",
        "Bytes of all logs on the disk.",
        lambda m: m.gauges.journal.bytes,
    ),
    Metric(
        "omendb_journal_written_bytes",
        "counter",
        "Bytes written to logs.",
        lambda m: m.gauges.journal.written_bytes,
    ),
    Metric(
        "omendb_journal_flushes", "counter", "Flushes of logs.", lambda m: m.gauges.journal.flushes
    ),
    Metric(
        "omendb_journal_pending_bytes",
        "gauge",
        "Bytes of changes that wait to be written.",
        lambda m: m.gauges.journal.pending_bytes,
    ),
    Metric(
        "omendb_journal_changes",
        "gauge",
        "Changes that are admitted and not yet as safe as promised.",
        lambda m: m.gauges.journal_pending,
    ),
    Metric(
        "omendb_journal_unflushed_seconds",
        "gauge",
        "How long the oldest written byte has waited for its flush.",
        lambda m: m.gauges.journal.unflushed_seconds,
    ),
    Metric(
        "omendb_recovering_collections",
        "gauge",
        "Collections that are still to come back after the start.",
        lambda m: m.gauges.recovering_collections,
    ),
    Metric(
        "omendb_damaged_collections",
        "gauge",
        "Collections that did not come back: they need repair, memory or space.",
        lambda m: m.gauges.damaged_collections,
    ),
    *TENANT_METRICS,
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

    def __init__(
        self,
        metrics: Metrics,
        refresh: Callable[[], None],
        table: Sequence[Metric] = METRICS,
    ) -> None:
        self._metrics = metrics
        self._refresh = refresh
        self._table = table

    def collect(self) -> Iterator[Family]:
        """One family for each row of the table."""
        self._refresh()
        for metric in self._table:
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
    return _page(Collector(metrics, refresh))


def render_tenant(tenant: str, numbers: TenantNumbers) -> bytes:
    """The page of ``/metrics`` as a tenant sees it."""
    alone = Metrics(0.0)
    alone.gauges.tenants = {tenant: numbers}
    return _page(Collector(alone, lambda: None, TENANT_METRICS))


def _page(collector: Collector) -> bytes:
    from prometheus_client import CollectorRegistry, generate_latest

    registry = CollectorRegistry()
    registry.register(collector)
    return generate_latest(registry)
