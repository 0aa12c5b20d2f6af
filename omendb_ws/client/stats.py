"""Statistics of a collection, or of the server, as an async iterator (PROTOCOL section 6, "stats").

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


class StatsWatch(Subscription[dict[str, Any]]):
    """Statistics of a collection or of the server, every ``every_ms``: always the latest.

    Yields the fields of PROTOCOL section 6 "stats" as a dict; what a slow reader did not take in
    time is replaced by what came after.
    """

    def __init__(self, connection: Connection, collection: str | None, every_ms: int) -> None:
        super().__init__(connection, collection)
        self._fields = {"collection": collection, "every_ms": every_ms}
        self._latest: dict[str, Any] | None = None

    def _request(self) -> Encode:
        return requests.plain(messages.Subscribe, kind="stats", **self._fields)

    def _keep(self, push: Push, size_bytes: int) -> None:
        if isinstance(push, messages.Event) and push.event == "stats":
            self._latest = {name: value for name, value in push.body.items() if name != "sub"}

    def _next_item(self) -> dict[str, Any] | None:
        latest, self._latest = self._latest, None
        return latest
