"""A message that comes in fragments, until it is whole.

Knows no socket; that fragments come in order is seen to by websockets.
"""

from __future__ import annotations

from typing import Final

from websockets.frames import Frame, Opcode

#: What a fragment takes besides its bytes.
_FRAGMENT_BYTES: Final = 400
#: As many as websockets takes.
_MAX_FRAGMENTS: Final = 4096


class Fragments:
    """What has come of one message. ``held_bytes``: what it takes."""

    def __init__(self) -> None:
        self.held_bytes = 0
        self._frames: list[Frame] = []

    @property
    def are_too_many(self) -> bool:
        """Whether their message must be refused."""
        return len(self._frames) > _MAX_FRAGMENTS

    def add(self, frame: Frame) -> tuple[bytes, bool] | None:
        """The message and whether it is text, where ``frame`` makes it whole; else None."""
        frames = self._frames
        frames.append(frame)
        self.held_bytes += len(frame.data) + _FRAGMENT_BYTES
        if not frame.fin or self.are_too_many:
            return None
        data = b"".join(one.data for one in frames)
        is_text = frames[0].opcode is Opcode.TEXT
        self.clear()
        return data, is_text

    def clear(self) -> None:
        """Let go of all."""
        self._frames.clear()
        self.held_bytes = 0
