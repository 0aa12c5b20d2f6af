"""The server's own statistics, looked up once in a turn of the loop, whoever asks.

Lives on the loop's thread. They take 0.1 to 0.4 ms, and one connection may ask for them 10,000
times, by subscriptions or by requests in one piece.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from ...telemetry.metrics import Metrics
from ...telemetry.server_stats import server_stats


class ServerNumbers:
    """``now()`` is what is true in this turn of the loop. Not to be changed by who gets it."""

    def __init__(self, metrics: Metrics, clock_us: Callable[[], int]) -> None:
        self._metrics = metrics
        self._clock_us = clock_us
        self._numbers: dict[str, Any] | None = None

    def now(self) -> dict[str, Any]:
        """The numbers as ``stats`` says them (PROTOCOL section 6)."""
        if self._numbers is None:
            asyncio.get_running_loop().call_soon(self._forget)
            self._numbers = server_stats(self._metrics, self._clock_us())
        return self._numbers

    def _forget(self) -> None:
        self._numbers = None
