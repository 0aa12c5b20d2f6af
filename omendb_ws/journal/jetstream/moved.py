"""Waiting on the connection's thread for something that becomes so, looked at whenever it may."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress


class Moved(asyncio.Event):
    """``set`` it whenever something has happened; one waits for it at a time."""

    async def until(self, is_so: Callable[[], bool]) -> None:
        """Wait until something has happened that makes it so."""
        while not is_so():
            self.clear()
            await self.wait()

    async def within(self, seconds: float, is_so: Callable[[], bool]) -> bool:
        """Wait for so long at most; whether it is so then."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.until(is_so)
        return is_so()
