"""What a node does for operators of its cluster: the ``Operations`` of the sessions.

Lives on the loop's thread.
"""

from __future__ import annotations

from typing import Any

from ..journal.jetstream.store import JetStreamStore
from .seen import Seen
from .status import Status


class Operating:
    """By the node of ``seen``, whose ``store`` it is."""

    def __init__(self, seen: Seen, store: JetStreamStore) -> None:
        self._status = Status(seen, store.servers)

    def status(self, tenant: str | None) -> dict[str, Any]:
        """See Operations."""
        return self._status.of(tenant)
