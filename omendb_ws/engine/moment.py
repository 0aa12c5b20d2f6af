"""What a tick has come to: the time, the effects made so far, and what goes wrong."""

from __future__ import annotations

from collections.abc import Callable

from omendb_core.model.errors import OmenError, Overloaded

from ..runtime.faults import as_error
from ..telemetry.metrics import Metrics
from ..telemetry.tracing import EngineTraces
from .model import replies
from .model.ticket import Command, Effect, Reply


class Moment:
    """The state that the steps of a tick share. ``effects`` go to the loop when it is over.

    ``post`` takes them there; ``has_handed_over``: some of this tick's are there.
    """

    def __init__(
        self,
        metrics: Metrics,
        queue_deadline_ms: int,
        clock_us: Callable[[], int],
        post: Callable[[list[Effect]], None],
    ) -> None:
        self._metrics = metrics
        self._post = post
        #: How long what is asked may wait.
        self.deadline_us = queue_deadline_ms * 1000
        self._retry_after_ms = max(1, queue_deadline_ms // 10)
        self.clock_us = clock_us
        self.now_us = 0
        self.effects: list[Effect] = []
        self.has_faulted = self.has_handed_over = False
        #: Who writes down when what was done; None while nobody traces.
        self.traces: EngineTraces | None = None

    def hand_over(self) -> None:
        """The loop has what was made so far."""
        if self.effects:
            if self.traces is not None:
                self.traces.tick(self.effects, self.clock_us() - self.now_us)
            self._post(self.effects)
            self.effects = []
            self.has_handed_over = True

    def fault(self, error: Exception, doing: str) -> OmenError:
        """Note and log a fault; what a client is told of it."""
        self.has_faulted = True
        self._metrics.faults += 1
        return as_error(error, doing)

    def refusal(self, work: Command, error: Exception) -> Reply:
        """The reply to what failed."""
        if not isinstance(error, OmenError):
            self._metrics.faults += 1
        if self.traces is not None:
            with self.traces.within(work.ticket):
                return replies.refusal(work.ticket, as_error(error, work.ticket.op))
        return replies.refusal(work.ticket, as_error(error, work.ticket.op))

    def refuse_late(self, work: Command) -> None:
        """Overloaded for what has waited longer than the queue's deadline."""
        ticket, now_us = work.ticket, self.now_us
        waited_us = now_us - ticket.arrival_us
        if waited_us < 0:  # it came in this tick
            waited_us = 0
        share = ticket.asker.lane.share
        share.taken_us = now_us
        share.waited_us = max(waited_us - ticket.late_us, 0) if ticket.late_us else waited_us
        if self.traces is not None:
            self.traces.event(ticket, "queue", waited_us=waited_us)
        if waited_us > self.deadline_us:
            self._metrics.shed_late += 1
            raise Overloaded(
                f"waited {waited_us // 1000} ms; nothing was done",
                retry_after_ms=self._retry_after_ms,
            )
