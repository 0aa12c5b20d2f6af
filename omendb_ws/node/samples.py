"""What a server does each second: sample its statistics, return freed memory to the system.

Lives on the loop, and measures how late that wakes up.
"""

from __future__ import annotations

import asyncio
from typing import Final

from ..runtime.faults import as_error
from ..runtime.freed_memory import FreedMemory
from ..sessions.context import Context

_SAMPLE_SECONDS: Final = 1.0
_LAG_SAMPLE_SECONDS: Final = 0.1
#: When so much less is taken than before, what was freed goes back to the system.
RETURNED_BYTES: Final = 16 << 20
#: So many samples later once more: what subscriptions leave behind is freed over many turns of the
#: loop, after its bytes were given back to the budget (10 MiB of 1,500 filters stayed otherwise).
AGAIN_AFTER_SAMPLES: Final = 5


class Samples:
    """Of the server whose ``context`` it is."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self.freed = FreedMemory(RETURNED_BYTES, AGAIN_AFTER_SAMPLES)

    async def run(self) -> None:
        """Measure the loop's lag, and keep samples for rates and percentiles."""
        loop = asyncio.get_running_loop()
        context, beats = self._context, round(_SAMPLE_SECONDS / _LAG_SAMPLE_SECONDS)
        while True:
            worst = 0.0
            for _ in range(beats):
                before = loop.time()
                await asyncio.sleep(_LAG_SAMPLE_SECONDS)
                worst = max(worst, loop.time() - before - _LAG_SAMPLE_SECONDS)
            context.metrics.loop_lag_seconds = worst
            try:
                await self.freed.look(context.catalog.reserved_bytes)
                self._rates()
            except Exception as error:  # the next time may go well
                context.metrics.faults += 1
                as_error(error, "a sample of the statistics")

    def _rates(self) -> None:
        context = self._context
        now_seconds = context.clock_us() / 1e6
        context.metrics.sample(now_seconds)
        context.accounts.sample()
        context.audit.say_left_out()
        for shard in context.catalog.shards():
            shard.rates.sample(now_seconds, shard.rate_counters())
