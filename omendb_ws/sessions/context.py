"""What every session of one server shares. Built by ``node.py``; knows no socket."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from ..access.audit import Audit
from ..access.gate import Gate
from ..access.logins import Logins
from ..catalog.catalog import Catalog
from ..catalog.restoring import Restores
from ..cluster.directory import Operations, Overview
from ..engine.engine import Engine
from ..engine.inbox import Inbox
from ..telemetry.metrics import Metrics
from ..telemetry.tracing import Traces
from ..tenants.accounts import Accounts
from ..wire.opcodes import Limits
from .long_work import LongRequests
from .overload import Overload
from .routing.parts import ClusterParts
from .server_view import ServerView
from .subscriptions.beats import Beats
from .subscriptions.pictures import Looks
from .subscriptions.tallies import OpenTallies

#: Linux: goes on while the machine sleeps, as ``CLOCK_MONOTONIC`` does not there.
_BOOTTIME: Final[int | None] = getattr(time, "CLOCK_BOOTTIME", None)
_elapsed_ns: Final[Callable[[], int]] = (
    time.monotonic_ns if _BOOTTIME is None else partial(time.clock_gettime_ns, _BOOTTIME)
)
_SINCE_1970_NS = time.time_ns() - _elapsed_ns()


def monotonic_us() -> int:
    """The usual clock: microseconds since 1970 as the process began, that never go back or jump.

    The machine's clock may be set while this runs: rows keep their age.
    """
    return (_SINCE_1970_NS + _elapsed_ns()) // 1000


@dataclass(slots=True, eq=False)
class Context:
    """One server's parts.

    ``newer_keys`` fetches keys for a token whose key is not known, and calls back; False: there are
    none to fetch now. ``is_draining`` is the server's to set.
    """

    limits: Limits
    max_messages_per_second: int
    gate: Gate
    logins: Logins
    accounts: Accounts
    catalog: Catalog
    engine: Engine
    inbox: Inbox
    metrics: Metrics
    clock_us: Callable[[], int]
    looks: Looks
    server_view: ServerView
    overload: Overload
    restores: Restores
    traces: Traces | None = None
    audit: Audit = field(default_factory=Audit)
    beats: Beats = field(default_factory=Beats)
    tallies: OpenTallies = field(default_factory=OpenTallies)
    long_requests: LongRequests = field(default_factory=LongRequests)
    newer_keys: Callable[[Callable[[], None]], bool] = lambda _: False
    is_draining: bool = False
    #: This node's name and its cluster's, where it is in one.
    place: tuple[str | None, str] | None = None
    #: What it says of that cluster.
    overview: Overview | None = None
    #: What operators ask it about that cluster.
    operations: Operations | None = None
    #: What it knows of other nodes, and how it reaches them.
    cluster: ClusterParts | None = None
    #: The machine's clock, by which tokens end; it may be set meanwhile.
    wall_seconds: Callable[[], float] = time.time
