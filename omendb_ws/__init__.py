"""OmenDB-WS: live, exact vector search over a sliding window, through a WebSocket.

``connect``, the classes it answers with, and the errors (also in ``omendb_ws.errors``) can be
imported from here; ``omendb_ws.sync`` is the same without ``await``. Each is loaded when it is
first asked for, so that the command line starts fast.
"""

import importlib as _importlib
import typing as _typing

if _typing.TYPE_CHECKING:
    from . import errors, sync
    from .client import (
        Added,
        Answer,
        Backoff,
        Client,
        ClusterWatch,
        Connecting,
        Counts,
        CountWatch,
        Description,
        Feed,
        FeedRows,
        Gap,
        Left,
        LiveAnswer,
        LiveQuery,
        MapWatch,
        MatchFeed,
        NovelFeed,
        Picture,
        Plane,
        Row,
        Rows,
        ShardAdded,
        Snapshot,
        StatsWatch,
        UnavailableCollection,
        connect,
    )
    from .errors import (
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
        ConnectionLost,
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
    "Added",
    "Answer",
    "Backoff",
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
    "Client",
    "ClusterWatch",
    "Connecting",
    "ConnectionLost",
    "CountWatch",
    "Counts",
    "Description",
    "DimMismatch",
    "Draining",
    "DuplicateId",
    "Exists",
    "Feed",
    "FeedRows",
    "Forbidden",
    "Gap",
    "Internal",
    "Left",
    "LiveAnswer",
    "LiveQuery",
    "MapWatch",
    "MatchFeed",
    "NonFinite",
    "NotFound",
    "NovelFeed",
    "OmenError",
    "OutOfOrder",
    "Overloaded",
    "Picture",
    "Plane",
    "Quota",
    "RateLimited",
    "Retryable",
    "Row",
    "Rows",
    "ShardAdded",
    "Snapshot",
    "StatsWatch",
    "StorageFailed",
    "StorageFull",
    "TooLarge",
    "Unauthenticated",
    "Unavailable",
    "UnavailableCollection",
    "Unsupported",
    "WrongEpoch",
    "ZeroNorm",
    "connect",
    "errors",
    "sync",
]


def __getattr__(name: str) -> _typing.Any:
    if name in ("errors", "sync"):
        return _importlib.import_module(f".{name}", __name__)
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    for room in ("errors", "client"):
        found = getattr(_importlib.import_module(f".{room}", __name__), name, None)
        if found is not None:
            globals()[name] = found
            return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
