"""The segment that a log goes on with: made ahead of time, or when it is needed. No threads.

Its appender holds a lock around every call.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from .files import Files
from .segments import Segment, discard, make_segment

#: How long after a spare segment could not be made it is tried again.
SPARE_SECONDS: Final = 1.0


class Spare:
    """At most one segment that is not in use. ``number``: that of the first; ``seconds``: a clock.

    ``directory`` may change while there is none.
    """

    def __init__(
        self,
        files: Files,
        directory: str,
        number: int,
        segment_bytes: int,
        seconds: Callable[[], float],
    ) -> None:
        self.directory = directory
        self._files = files
        self._number = number
        self._segment_bytes = segment_bytes
        self._seconds = seconds
        self._made: tuple[Segment, int] | None = None
        self._again_at_seconds = 0.0

    def prepare(self) -> None:
        """Make it, unless it is there, or could not be made a moment ago."""
        if self._made is not None or self._seconds() < self._again_at_seconds:
            return
        try:
            self._made = self._make()
        except OSError:
            self._again_at_seconds = self._seconds() + SPARE_SECONDS

    def take(self) -> tuple[Segment, int]:
        """It, and its descriptor, for use. Raises OSError if it is not there, nor can be made."""
        made, self._made = self._made or self._make(), None
        return made

    def put_back(self, segment: Segment, fd: int) -> None:
        """What was taken is not in use yet."""
        self._made = segment, fd

    def discard(self) -> None:
        """Close and remove it, if it is there."""
        if self._made is not None:
            segment, fd = self._made
            self._files.close(fd)
            discard(self._files, segment)
            self._made = None

    def _make(self) -> tuple[Segment, int]:
        number, self._number = self._number, self._number + 1
        return make_segment(self._files, self.directory, number, self._segment_bytes)
