"""The one table of the server's Prometheus metrics; ``exposition.py`` makes their text.

A new metric is an attribute of ``Metrics`` or ``Gauges`` and a row of ``METRICS``. What a label may
say is told from the start, so that a rate has a zero to begin from.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

from omendb_core.model.errors import BY_CODE

from ..wire.opcodes import OPS, SUBSCRIPTION_KINDS
from .histogram import COUNT_BOUNDS, LATENCY_BOUNDS_US
from .metric_rows import (
    CLUSTER_METRICS,
    COLLECTION_METRICS,
    COPY_METRICS,
    HTTP_METRICS,
    TENANT_METRICS,
    Metric,
)

_MICROSECONDS: Final = 1_000_000

#: What the server may be about, of which ``/readyz`` takes one for ready.
STATUSES: Final = ("ok", "recovering", "leaving", "draining", "storage_failed")
#: Statuses of the HTTP API that are told from the start; others once they have been answered.
ANSWERED: Final = (
    "200", "201", "204", "304", "400", "401", "403", "404", "405", "409", "413", "415", "429",
    "500", "501", "503",
)  # fmt: skip

#: Every metric of the server. Counters get Prometheus's ``_total`` when they are scraped.
METRICS: Final = (
    Metric(
        "omendb_build_info",
        "gauge",
        "1; the labels say what runs here.",
        lambda m: {m.gauges.build: 1.0},
        ("version", "protocol", "python", "kernel"),
    ),
    Metric(
        "omendb_status",
        "gauge",
        "1 for what the server is about, 0 for the rest; only ok is ready.",
        lambda m: {m.gauges.status: 1.0},
        ("status",),
        STATUSES,
    ),
    Metric(
        "omendb_requests",
        "counter",
        "Requests received, by op.",
        lambda m: m.requests,
        ("op",),
        (*OPS, "invalid", "refused"),
    ),
    Metric(
        "omendb_errors",
        "counter",
        "Errors sent, by code of the protocol; overloaded ones were shed.",
        lambda m: m.errors,
        ("code",),
        tuple(BY_CODE),
    ),
    Metric(
        "omendb_shed",
        "counter",
        "Requests refused for overload: unread as they came, or after waiting too long.",
        lambda m: Counter(unread=m.shed_unread, waited=m.shed_late),
        ("reason",),
    ),
    Metric("omendb_added_rows", "counter", "Rows accepted.", lambda m: m.added_rows),
    Metric(
        "omendb_left_rows",
        "counter",
        "Rows that left their window: evicted, expired, replaced or deleted.",
        lambda m: m.left_rows,
        ("reason",),
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
        "omendb_passed_on",
        "counter",
        "Requests of clients that another node of the cluster answers.",
        lambda m: m.passed_on,
    ),
    Metric(
        "omendb_lost_links",
        "counter",
        "Connections to other nodes for clients of this one that broke or could not be had.",
        lambda m: m.lost_links,
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
        ("status",),
        ANSWERED,
    ),
    Metric(
        "omendb_shed_connections",
        "counter",
        "Connections that had to leave, by reason: strangers, bytes, stalled.",
        lambda m: m.shed_connections,
        ("reason",),
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
        ("kind",),
        tuple(SUBSCRIPTION_KINDS),
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
    Metric(
        "omendb_nats_connected",
        "gauge",
        "Whether a NATS server is connected, 1 or 0; only in a cluster.",
        lambda m: None if m.gauges.nats is None else int(m.gauges.nats.is_connected),
    ),
    Metric(
        "omendb_nats_losses",
        "counter",
        "Connections to NATS that were lost; only in a cluster.",
        lambda m: None if m.gauges.nats is None else m.gauges.nats.losses,
    ),
    Metric(
        "omendb_log_takeovers",
        "counter",
        "Times that this node took a log of its own over again, after a doubt; only in a cluster.",
        lambda m: None if m.gauges.nats is None else m.gauges.nats.takeovers,
    ),
    *CLUSTER_METRICS,
    Metric(
        "omendb_storage_failed_collections",
        "gauge",
        "Collections that take no more changes: their logs cannot be written.",
        lambda m: m.gauges.storage_failed_collections,
    ),
    Metric(
        "omendb_tls_certificate_expiry_timestamp_seconds",
        "gauge",
        "When the certificate in use expires, as a Unix time; none without TLS.",
        lambda m: m.certificate_expires_at,
    ),
    Metric(
        "omendb_jwks_overdue_seconds",
        "gauge",
        "How much longer than jwt_refresh_seconds no JWKS could be fetched; none without a URL.",
        lambda m: m.gauges.jwks_overdue_seconds,
    ),
    *COPY_METRICS,
    *TENANT_METRICS,
    *COLLECTION_METRICS,
    Metric("omendb_ticks", "counter", "Ticks of the engine.", lambda m: m.ticks),
    Metric(
        "omendb_tick_seconds",
        "histogram",
        "Duration of a tick of the engine.",
        lambda m: m.tick_us,
        bounds=LATENCY_BOUNDS_US,
        per_unit=_MICROSECONDS,
    ),
    Metric(
        "omendb_tick_requests",
        "histogram",
        "Requests that one tick took.",
        lambda m: m.tick_requests,
        bounds=COUNT_BOUNDS,
    ),
    Metric(
        "omendb_scan_queries",
        "histogram",
        "Query vectors that shared one scan.",
        lambda m: m.scan_queries,
        bounds=COUNT_BOUNDS,
    ),
    Metric(
        "omendb_add_seconds",
        "histogram",
        "From the arrival of an add to its acknowledgement.",
        lambda m: m.add_us,
        bounds=LATENCY_BOUNDS_US,
        per_unit=_MICROSECONDS,
    ),
    Metric(
        "omendb_search_seconds",
        "histogram",
        "From the arrival of a search to its answer.",
        lambda m: m.search_us,
        bounds=LATENCY_BOUNDS_US,
        per_unit=_MICROSECONDS,
    ),
    Metric(
        "omendb_push_seconds",
        "histogram",
        "From the arrival of a change to the push that was handed to the socket.",
        lambda m: m.push_us,
        bounds=LATENCY_BOUNDS_US,
        per_unit=_MICROSECONDS,
    ),
)
