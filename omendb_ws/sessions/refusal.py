"""What whoever is refused for overload is told, and when it shall come back. Pure."""

from __future__ import annotations

from typing import Final

from omendb_core.model.errors import Overloaded

from ..wire import text_replies

#: How many targets somebody is told to stay away at most, and how much the newest look counts.
_LONGEST: Final = 10.0
_NEWEST: Final = 1 / 4
_MESSAGE: Final = "more is asked than can be answered in time; nothing was done"
_ID_ZERO: Final = b'{"id":0'


class Refusal:
    """``retry_after_ms`` is what who is refused is told; ``count``: how often that was."""

    def __init__(self, target_us: float) -> None:
        self._target_ms = target_us / 1000
        self.count = self._count_before = 0
        self.retry_after_ms = max(1, round(self._target_ms))
        self._said_ms, self._said = 0, b""

    def look(self, came: int) -> None:
        """The more are refused for each that is let in, the later they shall come back."""
        refused = self.count - self._count_before
        self._count_before = self.count
        times = min(1.0 + refused / max(came, 1), _LONGEST)
        asked_ms = self.retry_after_ms + (times * self._target_ms - self.retry_after_ms) * _NEWEST
        self.retry_after_ms = max(1, round(asked_ms))

    def said(self) -> bytes:
        """What a refusal says behind its id: made once for all that hear the same."""
        if self._said_ms != self.retry_after_ms:
            self._said_ms = self.retry_after_ms
            self._said = text_replies.encode_error(0, self.error())[len(_ID_ZERO) :]
        return self._said

    def error(self) -> Overloaded:
        """The same, to be raised."""
        return Overloaded(_MESSAGE, retry_after_ms=self.retry_after_ms)
