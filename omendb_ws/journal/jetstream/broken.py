"""A stream that cannot be trusted, as the rest of the server is told."""

from __future__ import annotations

from typing import ClassVar

from omendb_core.model.errors import Unavailable

from ..interface import Damaged


class BrokenStream(Damaged):
    """``file`` is the stream, ``offset`` the last sequence that was as it should be."""

    remedy: ClassVar[str] = "drop it, or bring its stream back"

    def __init__(self, message: str, file: str, offset: int) -> None:
        Unavailable.__init__(self, f"stream {file} behind sequence {offset}: {message}")
        self.file = file
        self.offset = offset
