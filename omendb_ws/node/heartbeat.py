"""Whether the engine goes on: a beat goes through its queue and a tick, and comes back to the loop.

Lives on the loop's thread. Invariant: one beat is under way at most, so an engine that stands is
asked once, and says nothing until it goes on.
"""

from __future__ import annotations

from collections.abc import Callable

from ..engine.engine import Engine
from ..engine.model.commands import Beat


class Heartbeat:
    """``ask`` has ``on_beat`` called once the engine has been through a tick."""

    def __init__(self, engine: Engine, on_beat: Callable[[], None]) -> None:
        self._engine = engine
        self._on_beat = on_beat
        self._is_under_way = False

    def ask(self) -> None:
        """Send a beat, unless the last one has not come back."""
        if not self._is_under_way:
            self._is_under_way = True
            self._engine.submit(Beat(self))

    def deliver(self) -> None:
        """The effect of a beat: it has come back."""
        self._is_under_way = False
        self._on_beat()
