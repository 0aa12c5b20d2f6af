"""What sessions ask of the engine: searches that the loop answers itself, and all the rest.

Lives on the loop's thread. Plain searches wait until the end of the loop's turn, so that those of
one turn go together. If their scan is short, and the engine sleeps, they are answered there and
then: a round trip through the engine's thread costs 100 µs, as much as a scan of 100,000 rows. The
engine gets the others, in one wake-up. Whatever else is asked goes behind them, at once.

Invariants: works reach the engine in the order in which they were asked; a search that is answered
here saw every change that its connection sent before it (``Engine.answer_now``).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import TypeAlias

from ..runtime.faults import as_error
from ..telemetry.metrics import Metrics
from .engine import Engine
from .model.commands import Change, Read
from .model.ticket import Effect
from .reads.commands import PlainSearch
from .version_waits import AwaitVersion
from .writes.commands import Asked

#: What sessions hand to the engine, besides searches that may be answered at once.
Submitted: TypeAlias = Change | Read | Asked | AwaitVersion


class Inbox:
    """The way from sessions to the engine. ``deliver`` does what the engine's effects say."""

    def __init__(
        self, engine: Engine, metrics: Metrics, deliver: Callable[[Sequence[Effect]], None]
    ) -> None:
        self._engine = engine
        self._metrics = metrics
        self._deliver = deliver
        self._searches: deque[PlainSearch] = deque()

    def search(self, work: PlainSearch) -> None:
        """Have a search answered; not before this call returns."""
        if not self._searches:
            asyncio.get_running_loop().call_soon(self._answer)
        self._searches.append(work)

    def submit(self, work: Submitted) -> None:
        """Hand anything else to the engine, behind the searches that came before it."""
        if self._searches:
            self._hand_over()
        self._engine.submit(work)

    def _answer(self) -> None:
        """The turn is over. What a fault leaves unanswered goes to the engine."""
        try:
            replies = self._engine.answer_now(self._searches) if self._searches else []
            if replies is not None:
                self._deliver(replies)
                self._metrics.answered_at_once += len(replies)
                self._searches.clear()
                return
        except Exception as error:
            self._metrics.faults += 1
            as_error(error, "searches where they arrived")
        try:
            self._hand_over()
        except Exception as error:
            as_error(error, "handing searches over")
            asyncio.get_running_loop().call_soon(self._answer)

    def _hand_over(self) -> None:
        while self._searches:
            self._engine.submit(self._searches[0])
            self._searches.popleft()
