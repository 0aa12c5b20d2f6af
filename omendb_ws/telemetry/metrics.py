"""What the server counts.

Counters are plain attributes, each written by one thread, because they are touched for every
request. ``Metrics`` knows nothing of the server, and nothing of who reads it (``prometheus.py``).
"""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from .._version import VERSION
from ..journal.interface import LogNumbers, NatsNumbers
from ..wire.opcodes import PROTOCOL
from .collection_numbers import CollectionNumbers
from .histogram import Histogram, Rates

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


class ClusterNumbers(NamedTuple):
    """What a node sees of its cluster; see ``metric_rows.CLUSTER_METRICS``."""

    nodes: int
    ownerless_collections: int
    owned_collections: int
    followed_collections: int
    lag_versions: int
    rebuilt: int
    healed: int
    waiting_collections: int


class TenantNumbers(NamedTuple):
    """What one tenant has now, and what it has done: ``/metrics`` says it by tenant."""

    connections: int = 0
    subscriptions: int = 0
    collections: int = 0
    reserved_bytes: int = 0
    rows: int = 0
    queries: int = 0
    messages: int = 0
    rate_limited: int = 0
    over_quota: int = 0
    engine_seconds: float = 0.0
    rested_seconds: float = 0.0


@dataclass(slots=True)
class Gauges:
    """What is looked up only when somebody asks: set just before a scrape."""

    queue_depth: int = 0
    shedding: int = 0
    collections: int = 0
    rows: int = 0
    reserved_bytes: int = 0
    payload_bytes: int = 0
    max_memory_bytes: int = 0
    resident_bytes: int = 0
    strangers: int = 0
    connection_bytes: int = 0
    uptime_seconds: float = 0.0
    journal: JournalNumbers = NO_JOURNAL
    journal_pending: int = 0
    recovering_collections: int = 0
    damaged_collections: int = 0
    #: Version, protocol, Python, kernel of the scan.
    build: tuple[str, ...] = (VERSION, PROTOCOL, platform.python_version(), "")
    status: str = "ok"
    storage_failed_collections: int = 0
    jwks_overdue_seconds: float | None = None
    nats: NatsNumbers | None = None
    cluster: ClusterNumbers | None = None
    tenants: Mapping[str, TenantNumbers] = field(default_factory=dict)
    collection_numbers: Mapping[tuple[str, str], CollectionNumbers] = field(default_factory=dict)
    audit_failures: int = 0
    audit_dropped: int = 0


@dataclass(slots=True)
class HttpNumbers:
    """Of the HTTP port: ``requests`` by method, ``answers`` by status; ``shed_connections`` are
    among all that were shed; ``repeated_adds`` were answered by their ``Idempotency-Key``.
    """

    connections: int = 0
    connections_opened: int = 0
    shed_connections: Counter[str] = field(
        default_factory=lambda: Counter(strangers=0, bytes=0, stalled=0)
    )
    requests: Counter[str] = field(default_factory=Counter)
    requests_under_way: int = 0
    answers: Counter[str] = field(default_factory=Counter)
    event_streams: int = 0
    idempotency_keys: int = 0
    repeated_adds: int = 0


@dataclass(slots=True)
class CopyNumbers:
    """Of snapshots, or of restores: ``failed`` are those that did not come to their end."""

    under_way: int = 0
    done: int = 0
    failed: int = 0
    bytes: int = 0


class Metrics:
    """The counts of one server since it started. Who writes what is said beside each.

    ``certificate_expires_at`` is a Unix time, the loop's to write; None without TLS.
    """

    certificate_expires_at: float | None = None

    def __init__(self, now_seconds: float) -> None:
        self.started_seconds = now_seconds
        # The loop's thread.
        self.requests: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self.searched = 0
        self.answered_at_once = 0
        self.pushes = 0
        self.stats_merged = 0
        self.received_messages = self.received_bytes = 0
        self.sent_messages = self.sent_bytes = 0
        self.passed_on = self.lost_links = 0  # to other nodes of a cluster
        self.connections = 0
        self.connections_opened = 0
        self.failed_logins = 0
        self.reload_failures = 0
        self.proxy_failures = 0
        self.shed_unread = 0
        self.shed_connections: Counter[str] = Counter(strangers=0, bytes=0, stalled=0)
        self.subscriptions: Counter[str] = Counter()
        #: Those of requests that are making theirs: they have their places.
        self.subscriptions_to_come = 0
        self.http, self.restores = HttpNumbers(), CopyNumbers()
        self.add_us = Histogram()
        self.search_us = Histogram()
        self.push_us = Histogram()
        self.loop_lag_seconds = self.queue_wait_seconds = 0.0
        # The engine's thread.
        self.added_rows, self.snapshots = 0, CopyNumbers()
        self.left_rows: Counter[str] = Counter(evicted=0, expired=0, replaced=0, deleted=0)
        self.merged_pushes = 0
        self.gaps = 0
        self.rescans = 0
        self.shed_late = 0
        self.faults = 0
        self.ticks = 0
        self.tick_us = Histogram()
        self.tick_requests = Histogram()
        self.scan_queries = Histogram()
        self.gauges = Gauges()
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
