"""A row of the table of Prometheus metrics, and the rows of tenants, collections, the HTTP
port and the cluster.

``prometheus.py`` has the table.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final, Literal, NamedTuple, TypeAlias

from .histogram import Histogram
from .metrics import Metrics

#: By the values of its labels, where a metric has some; None: there is no such thing here.
Labelled: TypeAlias = Mapping[str, float] | Mapping[tuple[str, ...], float]
Value: TypeAlias = float | Labelled | Histogram | None


class Metric(NamedTuple):
    """One metric: ``labels`` name the keys of what is read.

    ``always``: the values of a label that are told from the start. ``bounds`` are a Histogram's
    upper ones, which has ``per_unit`` of its integers to one of the metric's unit.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    read: Callable[[Metrics], Value]
    labels: tuple[str, ...] = ()
    always: tuple[str, ...] = ()
    bounds: tuple[int, ...] = ()
    per_unit: int = 1


def _of_tenants(name: str, kind: Literal["counter", "gauge"], help: str) -> Metric:
    """A number of ``TenantNumbers``, by tenant."""

    def read(metrics: Metrics) -> Counter[str]:
        tenants = metrics.gauges.tenants
        return Counter({tenant: getattr(one, name) for tenant, one in tenants.items()})

    return Metric(f"omendb_tenant_{name}", kind, help, read, ("tenant",))


def _of_collections(name: str, kind: Literal["counter", "gauge"], help: str) -> Metric:
    """A number of ``CollectionNumbers``, by collection."""

    def read(metrics: Metrics) -> dict[tuple[str, ...], float]:
        collections = metrics.gauges.collection_numbers
        return {labels: getattr(one, name) for labels, one in collections.items()}

    return Metric(f"omendb_collection_{name}", kind, help, read, ("tenant", "collection"))


def _of_copies(name: str, kind: Literal["counter", "gauge"], help: str, field: str) -> Metric:
    """A number of ``CopyNumbers``, by op."""

    def read(metrics: Metrics) -> Counter[str]:
        both = {"snapshot": metrics.snapshots, "restore": metrics.restores}
        return Counter({op: getattr(one, field) for op, one in both.items()})

    return Metric(f"omendb_{name}", kind, help, read, ("op",))


COPY_METRICS: Final = (
    _of_copies(
        "copies_under_way", "gauge", "Snapshots and restores under way now, by op.", "under_way"
    ),
    _of_copies("copies", "counter", "Snapshots and restores that are whole, by op.", "done"),
    _of_copies(
        "copy_failures",
        "counter",
        "Snapshots and restores that did not come to their end: refused, given up, cut off; by op.",
        "failed",
    ),
    _of_copies("copied_bytes", "counter", "Bytes of snapshots and restores, by op.", "bytes"),
)


def _of_cluster(name: str, kind: Literal["counter", "gauge"], help: str) -> Metric:
    """A number of ``ClusterNumbers``; nothing on a server by itself."""

    def read(metrics: Metrics) -> float | None:
        found = metrics.gauges.cluster
        return None if found is None else float(getattr(found, name))

    return Metric(f"omendb_cluster_{name}", kind, f"{help}; only in a cluster.", read)


#: What a node sees of its cluster.
CLUSTER_METRICS: Final = (
    _of_cluster("nodes", "gauge", "Nodes that this one sees alive, itself included"),
    _of_cluster("ownerless_collections", "gauge", "Collections that no node owns now"),
    _of_cluster("owned_collections", "gauge", "Collections that this node owns"),
    _of_cluster("followed_collections", "gauge", "Collections that this node follows"),
    _of_cluster(
        "lag_versions",
        "gauge",
        "Changes that the followed collection furthest behind lacks, by what owners said of late",
    ),
    _of_cluster(
        "rebuilt",
        "counter",
        "Windows that were made again: they, or their logs, were not what they should have been",
    ),
    _of_cluster(
        "healed",
        "counter",
        "Collections whose logs were not what was written, made anew by this node of what it kept",
    ),
    _of_cluster(
        "waiting_collections",
        "gauge",
        "Collections that no node shows until somebody asks for their healing",
    ),
)

#: What a tenant is shown of its own. To operators there is a label for each tenant that the
#: tenants file names, and one for all others together.
TENANT_METRICS: Final = (
    _of_tenants("connections", "gauge", "Connections now, by tenant."),
    _of_tenants("subscriptions", "gauge", "Subscriptions now, by tenant."),
    _of_tenants("collections", "gauge", "Collections now, by tenant."),
    _of_tenants("reserved_bytes", "gauge", "Memory reserved now, by tenant."),
    _of_tenants("rows", "counter", "Rows of adds and updates that were let in, by tenant."),
    _of_tenants("queries", "counter", "Query vectors that were let in, by tenant."),
    _of_tenants("messages", "counter", "Messages that were let in, by tenant."),
    _of_tenants("rate_limited", "counter", "Refusals for being over a rate, by tenant."),
    _of_tenants("over_quota", "counter", "Refusals for being over a budget, by tenant."),
    _of_tenants("engine_seconds", "counter", "Time of the engine that it took, by tenant."),
    _of_tenants(
        "rested_seconds",
        "counter",
        "For how long subscriptions waited for engine_ms_per_second, by tenant.",
    ),
)

#: Of the busiest ``max_metrics_collections``; all others together are ``_others``.
COLLECTION_METRICS: Final = (
    _of_collections("rows", "gauge", "Live rows, by collection."),
    _of_collections("capacity_rows", "gauge", "Rows that the window has room for, by collection."),
    _of_collections("reserved_bytes", "gauge", "Memory reserved by the window, by collection."),
    _of_collections("payload_bytes", "gauge", "Bytes of metadata and string ids, by collection."),
    _of_collections("subscriptions", "gauge", "Subscriptions now, by collection."),
    _of_collections("live_queries", "gauge", "Live queries now, by collection."),
    _of_collections("journal_bytes", "gauge", "Bytes of the log on the disk, by collection."),
    _of_collections(
        "journal_unflushed_seconds",
        "gauge",
        "How long the oldest written byte has waited for its flush, by collection.",
    ),
    _of_collections("added_rows", "counter", "Rows accepted, by collection."),
    _of_collections(
        "evicted_rows", "counter", "Rows that newer ones pushed out of the window, by collection."
    ),
    _of_collections("queries", "counter", "Query vectors answered, by collection."),
    _of_collections("pushes", "counter", "Pushes handed to sockets, by collection."),
    _of_collections(
        "merged_pushes",
        "counter",
        "Changes that waited for a slow reader and went out in one push with others,"
        " by collection.",
    ),
    _of_collections(
        "gaps", "counter", "Gaps stated to readers slower than the stream, by collection."
    ),
    _of_collections("errors", "counter", "Requests refused, by collection."),
    _of_collections(
        "engine_seconds",
        "counter",
        "Time of the engine that changes, reads and standing queries took, by collection.",
    ),
)

HTTP_METRICS: Final = (
    Metric(
        "omendb_http_connections",
        "gauge",
        "TCP connections of the HTTP API now; those with a session count as connections, too.",
        lambda m: m.http.connections,
    ),
    Metric(
        "omendb_http_connections_opened",
        "counter",
        "TCP connections of the HTTP API accepted.",
        lambda m: m.http.connections_opened,
    ),
    Metric(
        "omendb_http_shed_connections",
        "counter",
        "Those of the HTTP API among the connections that had to leave, by reason.",
        lambda m: m.http.shed_connections,
        ("reason",),
    ),
    Metric(
        "omendb_http_requests",
        "counter",
        "Requests of the HTTP API, by method.",
        lambda m: m.http.requests,
        ("method",),
        ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST"),
    ),
    Metric(
        "omendb_http_requests_under_way",
        "gauge",
        "Requests of the HTTP API that are being answered, event streams among them.",
        lambda m: m.http.requests_under_way,
    ),
    Metric("omendb_event_streams", "gauge", "Event streams now.", lambda m: m.http.event_streams),
    Metric(
        "omendb_repeated_adds",
        "counter",
        "Adds that were answered by their Idempotency-Key.",
        lambda m: m.http.repeated_adds,
    ),
    Metric(
        "omendb_idempotency_keys",
        "gauge",
        "Idempotency keys that are remembered.",
        lambda m: m.http.idempotency_keys,
    ),
)
