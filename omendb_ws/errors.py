"""What the client raises: the protocol's errors, one class for each code, and ``ConnectionLost``.

The classes of the codes are those of ``omendb_core.model.errors``; the client raises the class that
the server named, and the same ones for what it can refuse by itself. A call that outlives its
``request_timeout_seconds`` raises the built-in ``TimeoutError``.
"""

from __future__ import annotations

from omendb_core.model.errors import (
    BadFilter,
    BadFrame,
    BadId,
    BadK,
    BadMetadata,
    BadName,
    BadRank,
    BadRequest,
    BadVector,
    Behind,
    DimMismatch,
    Draining,
    DuplicateId,
    Exists,
    Forbidden,
    Internal,
    NonFinite,
    NotFound,
    OmenError,
    OutOfOrder,
    Overloaded,
    Quota,
    RateLimited,
    Retryable,
    StorageFailed,
    StorageFull,
    TooLarge,
    Unauthenticated,
    Unavailable,
    Unsupported,
    WrongEpoch,
    ZeroNorm,
)

__all__ = [
    "BadFilter",
    "BadFrame",
    "BadId",
    "BadK",
    "BadMetadata",
    "BadName",
    "BadRank",
    "BadRequest",
    "BadVector",
    "Behind",
    "ConnectionLost",
    "DimMismatch",
    "Draining",
    "DuplicateId",
    "Exists",
    "Forbidden",
    "Internal",
    "NonFinite",
    "NotFound",
    "OmenError",
    "OutOfOrder",
    "Overloaded",
    "Quota",
    "RateLimited",
    "Retryable",
    "StorageFailed",
    "StorageFull",
    "TooLarge",
    "Unauthenticated",
    "Unavailable",
    "Unsupported",
    "WrongEpoch",
    "ZeroNorm",
]


class ConnectionLost(OmenError, ConnectionError):
    """There is no connection (any more). A change that was on its way has an unknown outcome.

    Raised for ``create``, ``drop``, ``delete`` and ``update`` whose reply the connection took with
    it, for adds that were given up half-way, and for every call once the client is closed, could
    not connect, or may not reconnect. It has no code: no server sends it.
    """
