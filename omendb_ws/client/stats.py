"""Statistics of a collection or of the server, and who is in the cluster, as async iterators
(PROTOCOL section 6, "stats" and "cluster").

Knows connections, no socket.
"""

from __future__ import annotations

from typing import Any

from ..wire import messages
from . import requests
from .connection import Connection
from .link import Push
from .requests import Encode
from .subscriptions import Subscription


class _Latest(Subscription[dict[str, Any]]):
    """Pushes of one kind as dicts: always the latest."""

    _kind: messages.SubscriptionKind

    def __init__(
        self, connection: Connection, collection: str | None, fields: dict[str, Any]
    ) -> None:
        super().__init__(connection, collection)
        self._fields = fields
        self._latest: dict[str, Any] | None = None

    def _request(self) -> Encode:
        return requests.plain(messages.Subscribe, kind=self._kind, **self._fields)

    def _keep(self, push: Push, size_bytes: int) -> None:
        if isinstance(push, messages.Event) and push.event == self._kind:
            self._latest = {name: value for name, value in push.body.items() if name != "sub"}

    def _next_item(self) -> dict[str, Any] | None:
        latest, self._latest = self._latest, None
        return latest


class StatsWatch(_Latest):
    """Statistics of a collection or of the server, every ``every_ms``: always the latest.

    Yields the fields of PROTOCOL section 6 "stats" as a dict; what a slow reader did not take in
    time is replaced by what came after.
    """

    _kind = "stats"

    def __init__(self, connection: Connection, collection: str | None, every_ms: int) -> None:
        super().__init__(connection, collection, {"collection": collection, "every_ms": every_ms})


class ClusterWatch(_Latest):
    """Who is in the cluster, and holds what, whenever that has changed: always the latest.

    Yields what ``cluster`` returns: first that of this moment, then, at most each ``every_ms``,
    what is so now.
    """

    _kind = "cluster"

    def __init__(self, connection: Connection, every_ms: int) -> None:
        super().__init__(connection, None, {"every_ms": every_ms})
