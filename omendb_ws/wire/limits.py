"""The limits of PROTOCOL section 9, by name, and the bounds that no server moves.

Part of THE table (``opcodes.py`` hands them on). A server's settings fill ``Limits``. Imports no
numpy: settings are read before how many threads its BLAS has is decided.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

#: The largest u32: ids of requests, subs, handles.
MAX_U32: Final = 2**32 - 1
#: Declared columns of a collection (PROTOCOL section 3).
MAX_COLUMNS: Final = 64
#: Nodes of a cluster that hold one collection.
MAX_REPLICAS: Final = 8
#: Windows of one collection.
MAX_SHARDS: Final = 64
MAX_NAME_LENGTH: Final = 64
MAX_STR_ID_BYTES: Final = 256
MAX_PRODUCER_BYTES: Final = 64
#: Examples of a search, positive and negative ones each (PROTOCOL section 5).
MAX_EXAMPLES: Final = 64
#: Values that a ``count`` by a column lists.
MAX_COUNTED: Final = 1000
MAX_EVERY_MS: Final = 60_000
#: Pushes are split at this size (PROTOCOL section 9).
PUSH_BYTES: Final = 1 << 20


def _limit(default: int, about: str) -> Any:
    return field(default=default, metadata={"about": about})


@dataclass(frozen=True, slots=True)
class Limits:
    """Every number of PROTOCOL section 9, by its name."""

    max_message_bytes: int = _limit(16 << 20, "a message, either way")
    max_unauthenticated_bytes: int = _limit(64 << 10, "an incoming message, before authentication")
    max_text_bytes: int = _limit(4 << 20, "an incoming text; longer ones are refused unread")
    max_dim: int = _limit(4096, "dimensions of a collection")
    max_capacity: int = _limit(10_000_000, "rows of a window")
    max_rows: int = _limit(16_384, "rows of an add or update")
    max_k: int = _limit(1000, "k of a search")
    max_queries: int = _limit(256, "vectors of a search")
    max_ids: int = _limit(10_000, "ids of a get, a delete or an exclude")
    max_metadata_bytes: int = _limit(4096, "metadata of a row, as compact JSON")
    max_inflight: int = _limit(1024, "unanswered requests of a connection")
    max_inflight_bytes: int = _limit(64 << 20, "bytes of unanswered requests of a connection")
    max_pending_bytes: int = _limit(4 << 20, "unsent bytes of a connection")
    max_pending_rows: int = _limit(10_000, "rows that wait for a match or novel subscription")
    max_subscriptions: int = _limit(10_000, "subscriptions of a connection")
    max_server_subscriptions: int = _limit(200_000, "subscriptions of the server")
    max_connections: int = _limit(10_000, "connections of the server")
    max_unauthenticated_connections: int = _limit(
        1024,
        "connections not upgraded or authenticated yet; beyond it the oldest is closed",
    )
    max_connection_bytes: int = _limit(
        512 << 20,
        "messages, requests and replies of all connections; beyond it some are closed",
    )
    max_collections: int = _limit(256, "collections of a tenant")
    max_producers: int = _limit(10_000, "producers that a collection remembers")
    max_memory_bytes: int = _limit(
        1 << 30,
        "all windows, reserved at create, and what collections hold besides; a server takes 70% of"
        " its machine's",
    )
    max_payload_bytes: int = _limit(1 << 30, "metadata and string ids of a collection")

    def as_hello(self) -> dict[str, int]:
        """Name to number, as the ``hello`` event says it."""
        return dataclasses.asdict(self)


@dataclass(frozen=True, slots=True)
class Limit:
    """One row of the table of limits."""

    name: str
    default: int
    about: str


LIMITS: Final[Mapping[str, Limit]] = MappingProxyType(
    {
        one.name: Limit(one.name, one.default, one.metadata["about"])  # type: ignore[arg-type]
        for one in dataclasses.fields(Limits)
    }
)
