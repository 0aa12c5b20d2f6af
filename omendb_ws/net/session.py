"""What a connection asks of the session that it gives its messages to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class Session(Protocol):
    """Whose messages they are."""

    @property
    def has_room(self) -> bool:
        """Whether another message may be read."""

    def when_room(self, call: Callable[[], None]) -> None:
        """Call once there is room again."""

    @property
    def inflight_bytes(self) -> int:
        """The bytes of messages that are not answered."""

    def is_heard_late(self, late_us: int) -> None:
        """The messages from now on have waited so long for their turn."""

    def close(self) -> None:
        """The connection is gone."""
