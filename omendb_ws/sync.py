"""The synchronous client: ``from omendb_ws.sync import connect``, for notebooks and scripts.

``with connect(url) as db``: the methods of the asyncio client (``omendb_ws.connect``), without
``await``. Safe for threads; subscriptions are iterators with a timeout.
"""

from .client.sync import Client, connect
from .client.sync_subscriptions import (
    ClusterWatch,
    CountWatch,
    Feed,
    LiveQuery,
    MapWatch,
    MatchFeed,
    NovelFeed,
    StatsWatch,
    Subscription,
)

__all__ = [
    "Client",
    "ClusterWatch",
    "CountWatch",
    "Feed",
    "LiveQuery",
    "MapWatch",
    "MatchFeed",
    "NovelFeed",
    "StatsWatch",
    "Subscription",
    "connect",
]
