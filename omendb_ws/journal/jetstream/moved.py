"""Waiting on the connection's thread for something that becomes so, looked at whenever it may."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Moved(asyncio.Event):
    """``set`` it whenever something has happened; one waits for it at a time."""

    async def until(self, is_so: Callable[[], bool]) -> None:
        """Wait until something has happened that makes it so."""
        while not is_so():
            self.clear()
            await self.wait()
