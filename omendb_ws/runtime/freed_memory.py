"""What was let go of, given back to the system: seldom, and only where it is much.

Lives on the loop's thread; the giving back is another's.
"""

from __future__ import annotations

import asyncio

from .machine import give_back_freed_memory


class FreedMemory:
    """Follows how much somebody holds.

    ``least_bytes``: what is less is used again by others. ``again_after``: after so many looks it
    is given back once more, as the last of it is free by then; 0: once is enough.
    """

    def __init__(self, least_bytes: int, again_after: int = 0) -> None:
        self._least_bytes = least_bytes
        self._again_after = again_after
        self._looks_left = 0
        #: The most that were held since something was given back last.
        self.most_bytes = 0

    def note(self, held_bytes: int) -> None:
        """So much is held now."""
        self.most_bytes = max(self.most_bytes, held_bytes)

    async def look(self, held_bytes: int) -> None:
        """Called regularly: give back what was let go of, if it is much."""
        self.note(held_bytes)
        if self.most_bytes - held_bytes >= self._least_bytes:
            self.most_bytes = held_bytes
            self._looks_left = self._again_after
        elif self._looks_left:
            self._looks_left -= 1
            if self._looks_left:
                return
        else:
            return
        await asyncio.to_thread(give_back_freed_memory)
