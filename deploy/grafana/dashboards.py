"""The dashboards of Grafana: ``python deploy/grafana/dashboards.py`` writes ``dashboards/*.json``.

They are what stands here, and nothing else: a test makes them again and compares the bytes, looks
up every metric that they ask for, and looks for a panel of every metric that there is. Units and
types are Grafana's names.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

FOLDER: Final = Path(__file__).with_name("dashboards")
#: The oldest Grafana whose panels look so.
SCHEMA_VERSION: Final = 39
_SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
_WIDTH, _HEIGHT = 24, 8


class Query(NamedTuple):
    """PromQL, in which ``%s`` stands for the series that are chosen above; and its legend."""

    expression: str
    legend: str


class Panel(NamedTuple):
    """A graph, or numbers (``stat``), a third of the page wide."""

    title: str
    about: str
    unit: str
    queries: tuple[Query, ...]
    kind: str = "timeseries"


class Row(NamedTuple):
    """Panels under a heading."""

    title: str
    panels: tuple[Panel, ...]


class Dashboard(NamedTuple):
    """``variables``: labels to choose by, each with the metric that has it."""

    name: str
    title: str
    chosen: str
    rows: tuple[Row, ...]
    variables: tuple[tuple[str, str], ...] = ()


def rate(metric: str, legend: str = "", by: str = "") -> Query:
    """How fast a counter grows, of each server, or by a label."""
    labels = ", ".join(filter(None, ["instance", by]))
    legend = legend or (f"{{{{{by}}}}}" if by else "{{instance}}")
    return Query(f"sum by ({labels}) (rate({metric}%s[$__rate_interval]))", legend)


def gauge(metric: str, legend: str = "{{instance}}") -> Query:
    """What a gauge says."""
    return Query(f"{metric}%s", legend)


def quantiles(histogram: str) -> tuple[Query, ...]:
    """The median, and two of the slow ones."""
    bucket = f"sum by (instance, le) (rate({histogram}_bucket%s[$__rate_interval]))"
    return tuple(
        Query(f"histogram_quantile({share}, {bucket})", f"p{str(share)[2:].ljust(2, '0')}")
        for share in (0.5, 0.99, 0.999)
    )


def graph(title: str, about: str, unit: str, *queries: Query) -> Panel:
    """A panel of lines."""
    return Panel(title, about, unit, queries)


def stat(title: str, about: str, unit: str, *queries: Query) -> Panel:
    """A panel of numbers."""
    return Panel(title, about, unit, queries, "stat")


# -- as Grafana has it ----------------------------------------------------------------------------


def _panel(panel: Panel, chosen: str, number: int, x: int, y: int, width: int) -> dict[str, Any]:
    options: dict[str, Any] = {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    if panel.kind == "stat":
        options = {"reduceOptions": {"calcs": ["lastNotNull"]}, "textMode": "value_and_name"}
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.about,
        "datasource": _SOURCE,
        "gridPos": {"x": x, "y": y, "w": width, "h": _HEIGHT},
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "options": options,
        "targets": [
            {
                "refId": chr(ord("A") + at),
                "datasource": _SOURCE,
                "expr": query.expression.replace("%s", f"{{{chosen}}}"),
                "legendFormat": query.legend,
            }
            for at, query in enumerate(panel.queries)
        ],
    }


def _panels(dashboard: Dashboard) -> list[dict[str, Any]]:
    panels: list[dict[str, Any]] = []
    y, number = 0, 0
    for row in dashboard.rows:
        number += 1
        place = {"x": 0, "y": y, "w": _WIDTH, "h": 1}
        panels.append(
            {"id": number, "type": "row", "title": row.title, "gridPos": place, "panels": []}
        )
        y += 1
        for at, panel in enumerate(row.panels):
            number += 1
            x = 8 * (at % 3)
            panels.append(_panel(panel, dashboard.chosen, number, x, y + _HEIGHT * (at // 3), 8))
        y += _HEIGHT * -(-len(row.panels) // 3)
    return panels


def _variable(label: str, query: str) -> dict[str, Any]:
    return {
        "name": label,
        "type": "query",
        "datasource": _SOURCE,
        "query": {"query": f"label_values({query}, {label})", "refId": label},
        "definition": f"label_values({query}, {label})",
        "includeAll": True,
        "multi": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
        "refresh": 2,
        "sort": 1,
    }


def document(dashboard: Dashboard) -> dict[str, Any]:
    """The dashboard as Grafana imports it."""
    source = {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "source"}
    variables = [("instance", "omendb_build_info"), *dashboard.variables]
    return {
        "uid": f"omendb-{dashboard.name}",
        "title": f"OmenDB: {dashboard.title}",
        "tags": ["omendb"],
        "schemaVersion": SCHEMA_VERSION,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": [source, *(_variable(*one) for one in variables)]},
        "links": [
            {"type": "dashboards", "tags": ["omendb"], "title": "OmenDB", "keepTime": True,
             "includeVars": True, "asDropdown": False}
        ],
        "panels": _panels(dashboard),
    }  # fmt: skip


def text(dashboard: Dashboard) -> str:
    """The bytes of its file."""
    return json.dumps(document(dashboard), indent=1, ensure_ascii=False) + "\n"


def write(dashboards: Sequence[Dashboard]) -> None:
    """Write them all."""
    for dashboard in dashboards:
        (FOLDER / f"{dashboard.name}.json").write_text(text(dashboard), "utf-8")


# -- what they show -------------------------------------------------------------------------------

_SERVER: Final = 'instance=~"$instance"'
_TENANT: Final = 'instance=~"$instance",tenant=~"$tenant"'
_COLLECTION: Final = 'instance=~"$instance",tenant=~"$tenant",collection=~"$collection"'

OVERVIEW: Final = Dashboard(
    "overview",
    "overview",
    _SERVER,
    (
        Row("Is it well?", (
            stat("Status", "1 for what the server is about; only ok is ready.", "short",
                 Query("omendb_status%s == 1", "{{instance}} {{status}}")),
            stat("What runs", "Version, kernel of the scan, Python.", "short",
                 gauge("omendb_build_info", "{{instance}} {{version}} {{kernel}} {{python}}")),
            stat("Up since", "How long the server, and its process, have run.", "s",
                 gauge("omendb_uptime_seconds"),
                 Query("time() - process_start_time_seconds%s", "process {{instance}}")),
            graph("Errors", "Refused requests a second, by code.", "reqps",
                  rate("omendb_errors_total", by="code")),
            graph("Faults and reloads", "Errors of the server itself; files that were not read.",
                  "short", rate("omendb_faults_total", "faults"),
                  rate("omendb_reload_failures_total", "reloads that failed")),
            graph("Certificate and JWKS", "Until it expires; since keys were due.", "s",
                  Query("omendb_tls_certificate_expiry_timestamp_seconds%s - time()",
                        "certificate"),
                  gauge("omendb_jwks_overdue_seconds", "JWKS overdue")),
        )),
        Row("What it does", (
            graph("Requests", "A second, by op.", "reqps", rate("omendb_requests_total", by="op")),
            graph("Rows", "Accepted, and gone from their windows, a second.", "rowsps",
                  rate("omendb_added_rows_total", "added"),
                  rate("omendb_left_rows_total", by="reason")),
            graph("Searches", "Query vectors answered a second; at once: by the loop.", "reqps",
                  rate("omendb_searches_total", "answered"),
                  rate("omendb_searches_at_once_total", "at once")),
            graph("Search latency", "From the arrival of a search to its answer.", "s",
                  *quantiles("omendb_search_seconds")),
            graph("Add latency", "From the arrival of an add to its acknowledgement.", "s",
                  *quantiles("omendb_add_seconds")),
            graph("Push latency", "From the arrival of a change to the push of it.", "s",
                  *quantiles("omendb_push_seconds")),
            graph("Pushes", "A second; merged and missed by readers slower than the stream.", "cps",
                  rate("omendb_pushes_total", "pushes"),
                  rate("omendb_merged_pushes_total", "merged"),
                  rate("omendb_gaps_total", "gaps")),
            graph("Subscriptions", "Now, by kind.", "short",
                  gauge("omendb_subscriptions", "{{kind}}"),
                  gauge("omendb_event_streams", "event streams")),
            graph("Collections and rows", "Now.", "short",
                  gauge("omendb_collections", "collections"), gauge("omendb_rows", "rows")),
        )),
        Row("Load", (
            graph("Shed", "Requests refused for overload a second; 1 while it sheds.", "reqps",
                  rate("omendb_shed_total", by="reason"), gauge("omendb_shedding", "is shedding")),
            graph("Waiting", "For others' requests; how late the loop wakes up.", "s",
                  gauge("omendb_queue_wait_seconds", "queue"),
                  gauge("omendb_loop_lag_seconds", "loop's lag")),
            graph("Queue", "Requests that wait for the engine.", "short",
                  gauge("omendb_queue_depth")),
            graph("Tick", "Duration of a tick of the engine.", "s",
                  *quantiles("omendb_tick_seconds")),
            graph("Ticks", "A second, and what one takes: requests, queries of a scan.", "short",
                  rate("omendb_ticks_total", "ticks"),
                  Query("rate(omendb_tick_requests_sum%s[$__rate_interval])"
                        " / rate(omendb_tick_requests_count%s[$__rate_interval])",
                        "requests a tick"),
                  Query("rate(omendb_scan_queries_sum%s[$__rate_interval])"
                        " / rate(omendb_scan_queries_count%s[$__rate_interval])",
                        "queries a scan")),
            graph("Processor", "Cores that the process uses.", "short",
                  rate("process_cpu_seconds_total")),
        )),
        Row("Memory and descriptors", (
            graph("Reserved", "Of the memory that may be reserved.", "percentunit",
                  Query("omendb_reserved_bytes%s / omendb_max_memory_bytes%s", "{{instance}}")),
            graph("Memory", "Reserved, in metadata, and in RAM.", "bytes",
                  gauge("omendb_reserved_bytes", "reserved"),
                  gauge("omendb_payload_bytes", "metadata and ids"),
                  gauge("omendb_resident_bytes", "in RAM"),
                  gauge("process_resident_memory_bytes", "in RAM, by the process"),
                  gauge("process_virtual_memory_bytes", "virtual")),
            graph("Descriptors", "Open, and how many may be.", "short",
                  gauge("process_open_fds", "open"), gauge("process_max_fds", "at most")),
        )),
        Row("Connections", (
            graph("Connections", "Now.", "short", gauge("omendb_connections", "connections"),
                  gauge("omendb_unauthenticated_connections", "not authenticated"),
                  gauge("omendb_http_connections", "TCP, of the HTTP API")),
            graph("Accepted and shed", "Connections a second, and those that had to leave.", "cps",
                  rate("omendb_connections_opened_total", "WebSocket"),
                  rate("omendb_http_connections_opened_total", "HTTP API"),
                  rate("omendb_shed_connections_total", by="reason"),
                  rate("omendb_http_shed_connections_total", "HTTP API: {{reason}}", "reason")),
            graph("Bytes held", "By connections: half messages, requests, unsent replies.", "bytes",
                  gauge("omendb_connection_bytes")),
            graph("Messages", "A second.", "cps",
                  rate("omendb_received_messages_total", "received"),
                  rate("omendb_sent_messages_total", "sent")),
            graph("Traffic", "A second.", "Bps", rate("omendb_received_bytes_total", "received"),
                  rate("omendb_sent_bytes_total", "sent")),
            graph("Who did not come in", "Wrong tokens; no PROXY header; audit log.", "cps",
                  rate("omendb_failed_logins_total", "wrong tokens"),
                  rate("omendb_proxy_failures_total", "no PROXY header"),
                  rate("omendb_audit_failures_total", "audit log not written"),
                  rate("omendb_audit_dropped_total", "audit entries lost")),
        )),
        Row("HTTP API", (
            graph("Requests", "A second, by method.", "reqps",
                  rate("omendb_http_requests_total", by="method")),
            graph("Answers", "A second, by status.", "reqps",
                  rate("omendb_http_answers_total", by="status")),
            graph("Under way", "Requests now, event streams among them; keys remembered.", "short",
                  gauge("omendb_http_requests_under_way", "requests"),
                  gauge("omendb_idempotency_keys", "idempotency keys"),
                  rate("omendb_repeated_adds_total", "repeated adds a second")),
        )),
    ),
)  # fmt: skip

COLLECTION: Final = Dashboard(
    "collection",
    "collections",
    _COLLECTION,
    (
        Row("Which is hot?", (
            graph("Engine", "Of each second, how much of the engine's changes, reads and standing"
                  " queries take.", "percentunit",
                  rate("omendb_collection_engine_seconds_total", by="collection")),
            graph("Queries", "Query vectors answered a second.", "reqps",
                  rate("omendb_collection_queries_total", by="collection")),
            graph("Rows", "Accepted a second.", "rowsps",
                  rate("omendb_collection_added_rows_total", by="collection")),
        )),
        Row("Windows", (
            graph("Rows", "Live.", "short", gauge("omendb_collection_rows", "{{collection}}")),
            graph("How full", "Live rows of those that there is room for.", "percentunit",
                  Query("omendb_collection_rows%s / omendb_collection_capacity_rows%s",
                        "{{collection}}")),
            graph("Pushed out", "Rows a second that newer ones pushed out.", "rowsps",
                  rate("omendb_collection_evicted_rows_total", by="collection")),
            graph("Reserved", "By the window.", "bytes",
                  gauge("omendb_collection_reserved_bytes", "{{collection}}")),
            graph("Metadata and ids", "Bytes.", "bytes",
                  gauge("omendb_collection_payload_bytes", "{{collection}}")),
            graph("Refused", "Requests a second.", "reqps",
                  rate("omendb_collection_errors_total", by="collection")),
        )),
        Row("Subscriptions", (
            graph("Subscriptions", "Now; live queries among them.", "short",
                  gauge("omendb_collection_subscriptions", "{{collection}}"),
                  gauge("omendb_collection_live_queries", "live queries of {{collection}}")),
            graph("Pushes", "A second.", "cps",
                  rate("omendb_collection_pushes_total", by="collection")),
            graph("Slow readers", "Merged pushes, and gaps, a second.", "cps",
                  rate("omendb_collection_merged_pushes_total", "merged: {{collection}}",
                       "collection"),
                  rate("omendb_collection_gaps_total", "gaps: {{collection}}", "collection")),
        )),
        Row("Logs", (
            graph("On the disk", "Bytes of the log.", "bytes",
                  gauge("omendb_collection_journal_bytes", "{{collection}}")),
            graph("Unflushed", "How long the oldest written byte has waited.", "s",
                  gauge("omendb_collection_journal_unflushed_seconds", "{{collection}}")),
        )),
    ),
    (
        ("tenant", "omendb_collection_rows"),
        ("collection", 'omendb_collection_rows{tenant=~"$tenant"}'),
    ),
)  # fmt: skip

TENANT: Final = Dashboard(
    "tenant",
    "tenants",
    _TENANT,
    (
        Row("What they ask for", (
            graph("Engine", "Of each second, how much of the engine's their work takes.",
                  "percentunit", rate("omendb_tenant_engine_seconds_total", by="tenant")),
            graph("Told later", "Of each second, how long subscriptions waited for their time.",
                  "percentunit", rate("omendb_tenant_rested_seconds_total", by="tenant")),
            graph("Rows", "Of adds and updates, let in a second.", "rowsps",
                  rate("omendb_tenant_rows_total", by="tenant")),
            graph("Queries", "Vectors let in a second.", "reqps",
                  rate("omendb_tenant_queries_total", by="tenant")),
            graph("Messages", "Let in a second.", "cps",
                  rate("omendb_tenant_messages_total", by="tenant")),
            graph("Over a rate", "Refusals a second.", "reqps",
                  rate("omendb_tenant_rate_limited_total", by="tenant")),
            graph("Over a budget", "Refusals a second.", "reqps",
                  rate("omendb_tenant_over_quota_total", by="tenant")),
        )),
        Row("What they have", (
            graph("Memory", "Reserved.", "bytes",
                  gauge("omendb_tenant_reserved_bytes", "{{tenant}}")),
            graph("Connections", "Now.", "short", gauge("omendb_tenant_connections", "{{tenant}}")),
            graph("Subscriptions", "Now.", "short",
                  gauge("omendb_tenant_subscriptions", "{{tenant}}")),
            graph("Collections", "Now.", "short", gauge("omendb_tenant_collections", "{{tenant}}")),
        )),
    ),
    (("tenant", "omendb_tenant_connections"),),
)  # fmt: skip

JOURNAL: Final = Dashboard(
    "journal",
    "journal",
    _SERVER,
    (
        Row("Collections", (
            graph("Coming back", "Collections that are still to come back.", "short",
                  gauge("omendb_recovering_collections")),
            graph("Damaged", "Collections that need repair, memory or space.", "short",
                  gauge("omendb_damaged_collections")),
            graph("Failed", "Collections that take no changes: their logs cannot be written.",
                  "short", gauge("omendb_storage_failed_collections")),
        )),
        Row("Logs", (
            graph("Written", "Bytes a second.", "Bps", rate("omendb_journal_written_bytes_total")),
            graph("Flushes", "A second.", "cps", rate("omendb_journal_flushes_total")),
            graph("Unflushed", "How long the oldest written byte has waited for its flush.", "s",
                  gauge("omendb_journal_unflushed_seconds")),
            graph("Waiting", "Bytes of changes that wait to be written.", "bytes",
                  gauge("omendb_journal_pending_bytes")),
            graph("Pending changes", "Admitted, and not yet as safe as promised.", "short",
                  gauge("omendb_journal_changes")),
            graph("On the disk", "Bytes of all logs.", "bytes", gauge("omendb_journal_bytes")),
        )),
        Row("Snapshots and restores", (
            graph("Under way", "Now, by op.", "short",
                  gauge("omendb_copies_under_way", "{{op}}")),
            graph("Whole, and not", "A second; those that did not come to their end.", "cps",
                  rate("omendb_copies_total", by="op"),
                  rate("omendb_copy_failures_total", "failed: {{op}}", "op")),
            graph("Copied", "Bytes a second.", "Bps", rate("omendb_copied_bytes_total", by="op")),
        )),
        Row("The cluster's NATS", (
            graph("Connected", "1 where a server of NATS is.", "short",
                  gauge("omendb_nats_connected")),
            graph("Lost", "Connections to NATS that were lost, a second.", "cps",
                  rate("omendb_nats_losses_total")),
            graph("Taken over again", "Logs that were in doubt, a second.", "cps",
                  rate("omendb_log_takeovers_total")),
            graph("Nodes", "That are seen alive, by each of them.", "short",
                  gauge("omendb_cluster_nodes")),
            graph("Collections", "Without an owner; owned, and followed, by each node.", "short",
                  gauge("omendb_cluster_ownerless_collections", "no owner, says {{instance}}"),
                  gauge("omendb_cluster_owned_collections", "owned by {{instance}}"),
                  gauge("omendb_cluster_followed_collections", "followed by {{instance}}")),
            graph("Lag", "Changes that the followed collection furthest behind lacks.", "short",
                  gauge("omendb_cluster_lag_versions")),
            graph("Made again", "Windows that were not what their owner had, a second.", "cps",
                  rate("omendb_cluster_rebuilt_total")),
            graph("Healed", "Collections made anew of a window, a second; and those that wait"
                  " until somebody asks for it.", "short",
                  rate("omendb_cluster_healed_total", "healed by {{instance}}"),
                  gauge("omendb_cluster_waiting_collections", "waiting, says {{instance}}")),
            graph("Passed on", "Messages that another node answers, a second.", "cps",
                  rate("omendb_passed_on_total")),
            graph("Lost links", "Connections to other nodes that broke, a second.", "cps",
                  rate("omendb_lost_links_total")),
        )),
    ),
)  # fmt: skip

DASHBOARDS: Final = (OVERVIEW, COLLECTION, TENANT, JOURNAL)

if __name__ == "__main__":
    write(DASHBOARDS)
