"""What every session of one server shares. Built by ``server.py``; knows no socket."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from .auth import Keyring
from .catalog import Catalog
from .engine import Engine
from .metrics import Metrics
from .wire.opcodes import Limits


def monotonic_us() -> int:
    """The usual clock: microseconds that never go back."""
    return time.monotonic_ns() // 1000


@dataclass(slots=True, eq=False)
class Context:
    """One server's parts. ``keyring`` None: open to all. ``is_draining`` is the server's to set."""

    limits: Limits
    max_messages_per_second: int
    keyring: Keyring | None
    catalog: Catalog
    engine: Engine
    metrics: Metrics
    clock_us: Callable[[], int]
    is_draining: bool = False
