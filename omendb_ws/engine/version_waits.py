"""Requests that wait until a window has come to a version (``min_version``, PROTOCOL section 5).

Lives on the engine's thread. Once the version is there the request is handled, on the loop, as if
it came then; at the queue's deadline it is refused, ``behind``. A tick looks at no more than the
least version that each shard is waited for with, and the deadline that is next.

Invariant: each that was added leads to one effect, unless its connection is gone.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from omendb_core.model.errors import Behind, OmenError

from .model.shard import Shard
from .model.sharded import Sharded
from .model.ticket import Command, Effect
from .moment import Moment


@dataclass(slots=True, eq=False)
class AwaitVersion(Command):
    """Have ``go_on`` called, on the loop, once the window of ``shard`` is at ``version``."""

    shard: Shard | Sharded
    version: int
    go_on: Callable[[], None]
    is_over: bool = field(default=False, init=False)


@dataclass(slots=True, eq=False)
class Reached(Effect):
    """Effect: the version is there, and the request is handled."""

    go_on: Callable[[], None]

    def deliver(self) -> None:
        """Handle it."""
        self.go_on()


#: What it is ordered by, a number that tells equals apart, and who waits.
_Place: TypeAlias = tuple[int, int, AwaitVersion]


class VersionWaits:
    """Those that wait, by versions of their shards and by deadlines."""

    def __init__(self, moment: Moment) -> None:
        self._moment = moment
        self._by_shard: dict[Shard | Sharded, list[_Place]] = {}
        self._by_deadline: list[_Place] = []
        self._added = 0

    def __bool__(self) -> bool:
        return bool(self._by_shard)

    @property
    def patience_seconds(self) -> float | None:
        """How long until the next of them is refused; None if none waits."""
        if not self._by_deadline:
            return None
        return max(0.0, (self._by_deadline[0][0] - self._moment.clock_us()) / 1e6)

    def add(self, work: AwaitVersion) -> None:
        """One more waits."""
        self._added += 1
        due_us = work.ticket.arrival_us + self._moment.deadline_us
        heapq.heappush(self._by_deadline, (due_us, self._added, work))
        waiting = self._by_shard.setdefault(work.shard, [])
        heapq.heappush(waiting, (work.version, self._added, work))

    def look(self) -> None:
        """End those whose version is there, whose collection is gone, and those that are late."""
        self._refuse_late()
        for shard in list(self._by_shard):
            self._look_at(shard)

    def _look_at(self, shard: Shard | Sharded) -> None:
        waiting = self._by_shard[shard]
        is_gone = shard.is_dropped or shard.broken is not None
        version = 0 if is_gone else shard.version
        while waiting and (waiting[0][2].is_over or is_gone or waiting[0][0] <= version):
            self._end(waiting[0][2])
            heapq.heappop(waiting)
        if not waiting:
            del self._by_shard[shard]

    def _refuse_late(self) -> None:
        by_deadline, now_us = self._by_deadline, self._moment.now_us
        while by_deadline and (by_deadline[0][2].is_over or by_deadline[0][0] <= now_us):
            self._end(by_deadline[0][2])
            heapq.heappop(by_deadline)

    def _end(self, work: AwaitVersion) -> None:
        """It goes on, or is refused. What was asked is not kept until its deadline."""
        if work.is_over:
            return
        if work.ticket.asker.lane.is_open:
            refused = _refusal(work)
            self._moment.effects.append(
                Reached(work.go_on) if refused is None else self._moment.refusal(work, refused)
            )
        work.is_over, work.go_on = True, _nothing


def _nothing() -> None:
    """It is over."""


def _refusal(work: AwaitVersion) -> OmenError | None:
    """Why it does not go on, once it waits no longer."""
    try:
        work.shard.refuse_dropped()
        work.shard.refuse_broken()
    except OmenError as error:
        return error
    return None if work.shard.version >= work.version else _behind(work)


def _behind(work: AwaitVersion) -> Behind:
    version = work.shard.version
    return Behind(
        f"min_version: the window is at version {version}, and did not come to {work.version} in"
        " time",
        version=version,
    )
