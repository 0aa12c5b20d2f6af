"""One server without its sockets: what ``server.py`` and ``local.py`` both are underneath.

Puts the parts together (limits, catalog, engine, metrics: the ``Context`` of its sessions), and is
where the two threads meet: the engine's effects come over to the loop in one call a tick. Knows
sessions and no transport. Everything here but ``_post`` runs on the loop's thread.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Final

from omendb_core.kernels.scan import choose

from .auth import Keyring, Principal
from .catalog import Catalog
from .config import Settings
from .context import Context, monotonic_us
from .engine import Engine
from .faults import as_error
from .metrics import Metrics
from .outbox import Outbox
from .session import Session
from .work import Effect

log = logging.getLogger(__name__)

_SAMPLE_SECONDS: Final = 1.0
_LAG_SAMPLE_SECONDS: Final = 0.1


class Instance:
    """See the module. ``start``, any number of sessions, ``stop``: once each, on one loop."""

    def __init__(self, settings: Settings, clock_us: Callable[[], int] = monotonic_us) -> None:
        limits = settings.limits()
        metrics = Metrics(clock_us() / 1e6)
        keyring = Keyring.load(settings.api_key_file) if settings.api_key_file else None
        for warning in keyring.warnings if keyring is not None else ():
            log.warning("%s", warning)
        self.context = Context(
            limits=limits,
            max_messages_per_second=settings.max_messages_per_second,
            keyring=keyring,
            catalog=Catalog(limits, choose(), settings.default_durability),
            engine=Engine(metrics, limits, settings.queue_deadline_ms, clock_us, self._post),
            metrics=metrics,
            clock_us=clock_us,
        )
        self._loop: asyncio.AbstractEventLoop
        self._sampler: asyncio.Task[None]

    def start(self) -> None:
        """Start the engine's thread; its effects come to the running loop."""
        self._loop = asyncio.get_running_loop()
        self.context.engine.start()
        self._sampler = self._loop.create_task(self._sample())

    async def stop(self) -> None:
        """Do what is queued, and end the engine's thread. Its sessions are closed by then."""
        self._sampler.cancel()
        await asyncio.wait([self._sampler])
        try:
            await asyncio.to_thread(self.context.engine.stop)
        except RuntimeError:  # the interpreter is ending, and starts no threads any more
            self.context.engine.stop()

    def open_session(self, principal: Principal | None) -> Session:
        """A session for a new connection; ``principal`` None: not authenticated yet."""
        self.context.metrics.connections += 1
        self.context.metrics.connections_opened += 1
        return Session(self.context, Outbox(), principal)

    def close_session(self, session: Session) -> None:
        """Its connection is gone; called once."""
        self.context.metrics.connections -= 1
        session.close()

    # -- the engine's thread, and time ------------------------------------------------------------

    def _post(self, effects: list[Effect]) -> None:
        """On the engine's thread: have effects delivered on the loop's."""
        try:
            self._loop.call_soon_threadsafe(self._deliver, effects)
        except RuntimeError:
            log.debug("the loop is closed: %d effects are for nobody", len(effects))

    def _deliver(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            try:
                effect.deliver()
            except Exception as error:
                self.context.metrics.faults += 1
                as_error(error, "delivering an effect")

    async def _sample(self) -> None:
        """Measure the loop's lag, and keep samples for rates and percentiles."""
        context, beats = self.context, round(_SAMPLE_SECONDS / _LAG_SAMPLE_SECONDS)
        while True:
            worst = 0.0
            for _ in range(beats):
                before = self._loop.time()
                await asyncio.sleep(_LAG_SAMPLE_SECONDS)
                worst = max(worst, self._loop.time() - before - _LAG_SAMPLE_SECONDS)
            context.metrics.loop_lag_seconds = worst
            now_seconds = context.clock_us() / 1e6
            context.metrics.sample(now_seconds)
            for collection in context.catalog:
                collection.rates.sample(now_seconds, collection.rate_counters())
