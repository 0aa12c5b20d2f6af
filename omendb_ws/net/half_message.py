"""The message that a client has begun: since when, and how it grows.

Knows no socket and no clock; lives on the loop's thread.
"""

from __future__ import annotations

from typing import Final

#: A half message that grows by less until it is called stalled has stopped.
LEAST_PROGRESS_BYTES: Final = 1024
#: One that has grown by so much waits for its client only since then. With a patience of 3 s: a
#: client that sends 43 KiB a second is one that goes on.
GOOD_PROGRESS_BYTES: Final = 128 << 10


class HalfMessage:
    """What a connection holds of one. ``received_bytes``, each time: all that ever came."""

    def __init__(self, now: float) -> None:
        #: When it began; when it last grew well.
        self.began_at = self.moved_at = now
        self._grew_at = now
        #: It comes behind that message.
        self._behind = -1
        self._moved_bytes = self._grown_bytes = 0

    def is_behind(self, messages: int) -> bool:
        """Whether it is the one that follows so many whole ones."""
        return self._behind == messages

    def note(self, messages: int, received_bytes: int, now: float) -> None:
        """So many whole ones have come, and bytes."""
        if self._behind != messages:
            self._behind = messages
            self.began_at = self._grew_at = now
            self._grown_bytes = received_bytes
            self.forgive(received_bytes, now)
        elif received_bytes - self._moved_bytes >= GOOD_PROGRESS_BYTES:
            self.forgive(received_bytes, now)

    def forgive(self, received_bytes: int, now: float) -> None:
        """Until now it did not wait for the client."""
        self.moved_at, self._moved_bytes = now, received_bytes

    def stalled_seconds(self, is_awaited: bool, received_bytes: int, now: float) -> float:
        """For how long it has hardly grown although it ``is_awaited``. Ask regularly."""
        if not is_awaited or received_bytes - self._grown_bytes >= LEAST_PROGRESS_BYTES:
            self._grew_at, self._grown_bytes = now, received_bytes
        return now - self._grew_at
