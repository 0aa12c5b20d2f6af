"""Since when the client of a transport has taken nothing of what was written to it.

What a client takes is what its machine acknowledges (``unacknowledged.py``): what this process or
the kernel holds tells little, as bytes go from the one to the other in lumps.
"""

from __future__ import annotations

import asyncio

from .unacknowledged import unacknowledged_bytes


class Progress:
    """``taken_at``: when something was taken last, or there was nothing to take."""

    __slots__ = ("_taken_bytes", "taken_at")

    def __init__(self, now: float) -> None:
        self.taken_at = now
        self._taken_bytes = 0

    def look(self, transport: asyncio.WriteTransport, written_bytes: int, now: float) -> float:
        """For how long nothing was taken, 0 if nothing waits. Call it regularly.

        ``written_bytes``: all that ``transport`` was given, since ever.
        """
        socket = transport.get_extra_info("socket")
        unsent_bytes = transport.get_write_buffer_size()
        if socket is not None:
            unsent_bytes += unacknowledged_bytes(socket.fileno())
        # Under TLS what is unsent is more than was given: less taken than before is no progress.
        taken_bytes = written_bytes - unsent_bytes
        if not unsent_bytes or taken_bytes > self._taken_bytes:
            self.taken_at = now
        self._taken_bytes = taken_bytes
        return now - self.taken_at
