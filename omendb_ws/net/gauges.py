"""What a listening server looks up just before a scrape of ``/metrics``. On the loop's thread."""

from __future__ import annotations

from omendb_core.scan.choice import choose

from ..node.node import Node
from ..sessions.server_view import ServerView
from ..telemetry.exposition import Page, render_tenant
from ..telemetry.server_stats import resident_bytes
from .crowd import Crowd


def refresh(node: Node, strangers: Crowd, known: Crowd, waiting: int, status: str) -> None:
    """Set the gauges to what is true now; ``waiting``: sockets that are no strangers yet."""
    context = node.context
    gauges, catalog, metrics = context.metrics.gauges, context.catalog, context.metrics
    gauges.queue_depth = context.engine.depth
    gauges.shedding = int(context.overload.is_shedding)
    gauges.collections = len(catalog)
    gauges.rows = sum(shard.window.rows for shard in catalog.shards())
    gauges.payload_bytes = sum(shard.window.payload_bytes for shard in catalog.shards())
    gauges.reserved_bytes = catalog.reserved_bytes
    gauges.max_memory_bytes = context.limits.max_memory_bytes
    gauges.resident_bytes = resident_bytes()
    gauges.strangers = len(strangers) + waiting
    gauges.connection_bytes = strangers.held_bytes + known.held_bytes
    gauges.uptime_seconds = context.clock_us() / 1e6 - metrics.started_seconds
    gauges.status = status
    gauges.build = (*gauges.build[:-1], choose().name)
    gauges.tenants = context.server_view.by_tenant()
    gauges.collection_numbers = context.server_view.by_collection()
    gauges.jwks_overdue_seconds = node.keys.overdue_seconds()
    node.refresh_journal_gauges()
    node.refresh_audit_gauges()


def tenant_page(view: ServerView, tenant: str, accept: str) -> Page:
    """What a tenant sees of its own."""
    return render_tenant(tenant, view.numbers(tenant), view.by_collection_of(tenant), accept)
