"""Whether NATS servers flush each message before they acknowledge it (``sync_interval: always``).

NATS does not say it to who uses JetStream, but to who reads its monitoring port (``/varz``). So of
a server that the setting ``cluster_monitors`` does not name nothing is known.
Blocks; knows no loop.
"""

from __future__ import annotations

import json
import urllib.request
from http.client import HTTPException
from typing import Any, Final

from omendb_core.model.errors import Unsupported

#: How long a server may take to answer.
TIMEOUT_SECONDS: Final = 2.0
MAX_BYTES: Final = 1 << 20


def flushing_servers(monitors: tuple[str, ...]) -> frozenset[str]:
    """The names of the servers whose monitoring ports are at ``monitors`` (http://host:port).

    Unsupported if there are none, or one of them does not flush, or does not answer.
    """
    if not monitors:
        raise Unsupported(
            "durability: 'always' needs NATS servers that flush each message, and nothing says"
            " whether these do: set cluster_monitors"
        )
    return frozenset(map(_flushing, monitors))


def refuse_other_servers(flushing: frozenset[str], servers: set[str]) -> None:
    """Unsupported if a stream is on a server of which nothing is known."""
    others = sorted(servers - flushing)
    if others:
        raise Unsupported(
            f"durability: 'always' needs servers that flush each message, and cluster_monitors"
            f" does not name {', '.join(others)}"
        )


def _flushing(monitor: str) -> str:
    """The name of one that does. Unsupported."""
    try:
        with urllib.request.urlopen(f"{monitor}/varz", timeout=TIMEOUT_SECONDS) as answer:
            told: dict[str, Any] = json.loads(answer.read(MAX_BYTES))
        name = str(told["server_name"])
        flushes = told["jetstream"]["config"].get("sync_always") is True
    except (OSError, HTTPException, ValueError, LookupError, TypeError, AttributeError) as error:
        raise Unsupported(
            f"durability: 'always' needs servers that flush each message, and {monitor} does not"
            f" say whether it does: {error}"
        ) from error
    if not flushes:
        raise Unsupported(
            f"durability: 'always' needs sync_interval: always, and the NATS server {name}"
            f" ({monitor}) is not set so"
        )
    return name
