"""A row of the table of Prometheus metrics, and the rows of tenants and of the HTTP port.

``prometheus.py`` has the table.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Final, Literal, NamedTuple, TypeAlias

from .histogram import Histogram
from .metrics import Metrics

Value: TypeAlias = float | Counter[str] | Histogram


class Metric(NamedTuple):
    """One metric: ``label`` names the key of a Counter, ``unit`` divides a Histogram's integers."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    read: Callable[[Metrics], Value]
    label: str | None = None
    unit: float = 1.0


def _of_tenants(name: str, kind: Literal["counter", "gauge"], help: str) -> Metric:
    """A number of ``TenantNumbers``, by tenant."""

    def read(metrics: Metrics) -> Counter[str]:
        tenants = metrics.gauges.tenants
        return Counter({tenant: getattr(one, name) for tenant, one in tenants.items()})

    return Metric(f"omendb_tenant_{name}", kind, help, read, "tenant")


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
        "reason",
    ),
    Metric(
        "omendb_http_requests",
        "counter",
        "Requests of the HTTP API, by method.",
        lambda m: m.http.requests,
        "method",
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
