"""The parts of a server, as its settings want them. ``node.py`` puts them together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from omendb_core.model.budget import Budget
from omendb_core.model.errors import StorageFailed
from omendb_core.scan.choice import choose
from omendb_core.scan.interface import Scan

from .._version import VERSION
from ..catalog.catalog import Catalog
from ..engine.engine import Engine
from ..engine.model.ticket import Effect
from ..engine.reads.split_scan import SplitScan
from ..journal.interface import Store
from ..journal.jetstream.store import ClusterPlace, JetStreamStore
from ..runtime.machine import usable_cores
from ..telemetry.metrics import Metrics
from ..telemetry.tracing import Traces
from ..tenants.accounts import Accounts
from ..tenants.limits import TenantLimits
from .config import Settings

#: More would be waiting for memory.
_MOST_SCAN_THREADS: Final = 4


def read_tenants(settings: Settings) -> TenantLimits:
    """What the tenants file says, if the settings name one. TenantsFileError."""
    if settings.tenants_file is None:
        return TenantLimits()
    return TenantLimits.load(settings.tenants_file, settings.max_tenants)


def make_accounts(settings: Settings, clock_us: Callable[[], int]) -> Accounts:
    """Those of all tenants, and the memory that theirs are parts of."""
    memory = Budget("max_memory_bytes", settings.max_memory_bytes)
    return Accounts(read_tenants(settings), memory, settings.max_tenants, clock_us)


def make_engine(
    settings: Settings, metrics: Metrics, clock_us: Callable[[], int],
    post: Callable[[list[Effect]], None], traces: Traces | None,
) -> Engine:  # fmt: skip
    """An engine, which is told of who traces."""
    told = None if traces is None else traces.engine
    deadline_ms = settings.queue_deadline_ms
    return Engine(metrics, settings.limits(), deadline_ms, clock_us, post, traces=told)


def make_catalog(settings: Settings, accounts: Accounts) -> Catalog:
    """No collections yet."""
    return Catalog(
        settings.limits(),
        _scan(settings.scan_threads),
        settings.default_durability,
        settings.data_dir is not None,
        accounts,
        is_in_cluster=settings.cluster is not None,
    )


def open_store(settings: Settings, open_local: Callable[[str], Store]) -> Store | None:
    """Where the settings have logs kept; None: nowhere.

    Raises StorageFailed, Unavailable, Unsupported; Refused and ExtraMissing of a cluster.
    """
    if settings.cluster is not None and settings.node_name is not None:
        servers = tuple(settings.cluster.split(","))
        credentials, cluster = settings.cluster_credentials, settings.cluster_name
        name = settings.node_name
        monitors = settings.cluster_monitors
        place = ClusterPlace(servers, credentials, cluster, name, VERSION, monitors)
        return JetStreamStore(place)
    data_dir = settings.data_dir
    if data_dir is None:
        return None
    try:
        return open_local(data_dir)
    except OSError as error:
        why = error.strerror or str(error)
        raise StorageFailed(f"data_dir {data_dir}: {why}") from error


def _scan(threads: int) -> Scan:
    """The best kernel here, split over ``threads`` threads; 0: as many as there are cores.

    The one in numpy is not split: it takes much memory for each thread.
    """
    scan = choose()
    threads = threads or min(usable_cores(), _MOST_SCAN_THREADS)
    return SplitScan(scan, threads) if threads > 1 and scan.keeps_shadow else scan
