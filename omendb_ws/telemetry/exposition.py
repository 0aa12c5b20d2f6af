"""The table of metrics as a page of ``/metrics``: Prometheus's text, or OpenMetrics.

Counts become samples only when somebody scrapes. Knows the table, and nothing of who reads it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import inf
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from .collection_numbers import CollectionNumbers
from .histogram import Histogram
from .metric_rows import COLLECTION_METRICS, TENANT_METRICS, Metric, Value
from .metrics import Metrics, TenantNumbers
from .prometheus import METRICS

# prometheus_client is imported where it is used: a starting server has no time for it.
if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.core import Metric as Family


#: What prometheus_client tells of the process, where there is ``/proc``.
PROCESS: Final = {
    "process_cpu_seconds_total": "counter",
    "process_max_fds": "gauge",
    "process_open_fds": "gauge",
    "process_resident_memory_bytes": "gauge",
    "process_start_time_seconds": "gauge",
    "process_virtual_memory_bytes": "gauge",
}


class Page(NamedTuple):
    """What is answered to a scrape."""

    body: bytes
    content_type: str


class Collector:
    """Turns ``metrics`` into Prometheus families when scraped; gauges are set before.

    Register it with a ``prometheus_client.CollectorRegistry``.
    """

    def __init__(self, metrics: Metrics, table: Sequence[Metric] = METRICS) -> None:
        self._metrics = metrics
        self._table = table

    def collect(self) -> Iterator[Family]:
        """One family for each row of the table."""
        for metric in self._table:
            yield _family(metric, metric.read(self._metrics))

    def describe(self) -> list[Family]:
        """Nothing: it spares the registry a scrape at registration."""
        return []


def _family(metric: Metric, value: Value) -> Family:
    from prometheus_client.core import (
        CounterMetricFamily,
        GaugeMetricFamily,
        HistogramMetricFamily,
    )

    if isinstance(value, Histogram):
        histogram = HistogramMetricFamily(metric.name, metric.help)
        histogram.add_metric([], _buckets(metric, value), value.total / metric.per_unit)
        return histogram
    make = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    family = make(metric.name, metric.help, labels=metric.labels)
    for labels, number in _samples(metric, value):
        family.add_metric(labels, number)
    return family


def _buckets(metric: Metric, value: Histogram) -> list[Any]:
    """(upper bound, values up to it, exemplar), of which OpenMetrics alone has the last."""
    from prometheus_client.samples import Exemplar

    buckets: list[Any] = []
    above = -1.0
    for bound, seen in [*value.coarse(metric.bounds), (inf, value.count)]:
        # Divided, as the nearest float to a bound is written with the fewest digits.
        said = "+Inf" if bound == inf else repr(bound / metric.per_unit)
        found = value.exemplar_within(above, bound) if value.exemplars else None
        exemplar = None
        if found is not None:
            labels = {"trace_id": found[1]}
            exemplar = Exemplar(labels, found[0] / metric.per_unit, found[2])
        buckets.append((said, float(seen), exemplar))
        above = bound
    return buckets


def _samples(
    metric: Metric, value: float | Mapping[Any, float] | None
) -> list[tuple[Sequence[str], float]]:
    """What is read, by the values of the labels."""
    if value is None:
        return []
    if not isinstance(value, Mapping):
        return [((), value)]
    found = {**dict.fromkeys(metric.always, 0), **value}
    return [((key,) if isinstance(key, str) else key, found[key]) for key in sorted(found)]


def render(metrics: Metrics, accept: str = "") -> Page:
    """The page of ``/metrics``, in the format that ``accept`` asks for."""
    from prometheus_client import CollectorRegistry, ProcessCollector

    registry = CollectorRegistry()
    registry.register(Collector(metrics))
    ProcessCollector(registry=registry)
    return _page(registry, accept)


def render_tenant(
    tenant: str,
    numbers: TenantNumbers,
    collections: Mapping[tuple[str, str], CollectionNumbers],
    accept: str = "",
) -> Page:
    """The page of ``/metrics`` as a tenant sees it."""
    from prometheus_client import CollectorRegistry

    alone = Metrics(0.0)
    alone.gauges.tenants = {tenant: numbers}
    alone.gauges.collection_numbers = collections
    registry = CollectorRegistry()
    registry.register(Collector(alone, (*TENANT_METRICS, *COLLECTION_METRICS)))
    return _page(registry, accept)


def _page(registry: CollectorRegistry, accept: str) -> Page:
    from prometheus_client.exposition import choose_encoder

    try:
        encode, content_type = choose_encoder(accept)
    except (ValueError, TypeError):  # a version that is no number
        encode, content_type = choose_encoder("")
    return Page(encode(registry), content_type)
