"""What a connection asks of the session that it gives its messages to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from ..wire.encoded import Numbered


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

    def is_heard_late(self, late_us: int, waiting_bytes: int = 0) -> None:
        """The messages from now on have waited so long for their turn, and so much waits."""

    def close(self) -> None:
        """The connection is gone."""


class Overload(Protocol):
    """How much there is to do."""

    @property
    def is_shedding(self) -> bool:
        """Whether anything is refused unread."""


class Shedder(Protocol):
    """Who says what is refused unread. ``has_refused``: something was, since that was set back."""

    has_refused: bool

    @property
    def overload(self) -> Overload:
        """What every message asks first."""

    @property
    def is_on(self) -> bool:
        """Whether messages are refused now whatever they say but for their op."""

    def id_of(self, start: bytes) -> int | None:
        """The id of a text that begins so and may be refused unread; else None."""

    def refuse(self, ids: Sequence[int], size_bytes: int) -> list[Numbered]:
        """Messages with these ids are, so long all together: the texts that are heard."""


class Hearer(Protocol):
    """Who hears the messages."""

    @property
    def shedder(self) -> Shedder:
        """Who says which are refused unread."""

    def receive(self, message: str | bytes) -> None:
        """A whole message."""
