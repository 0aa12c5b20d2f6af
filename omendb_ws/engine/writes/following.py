"""Shards that follow: what another node admitted is applied as it comes, and told as any change.

Lives on the engine's thread. A follower admits nothing, so nothing expires here by itself and no
rows are written again; its log refuses changes (``FollowerLog``). What happens to such a shard is
done in the order in which it was queued: everything that was delivered, then the promotion behind
it. Where what is delivered cannot be applied, or comes to an end, nobody is shown the window any
more, and the loop is told: it makes another.

Invariant: what was delivered is ``took`` once, applied or not, or its log is closed.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from omendb_core.model.errors import OmenError
from omendb_core.model.logged import KeptRows
from omendb_core.replay import kept_rows
from omendb_core.window import Window

from ...journal.digests import digest_of
from ...journal.follower_log import FollowerLog
from ...journal.interface import (
    Damaged,
    Delivered,
    Deposed,
    Differs,
    Following,
    Log,
    SharedLog,
    Stated,
)
from ...journal.store_thread import Storage
from ...runtime.faults import as_error
from ...telemetry.metrics import Metrics
from ..model.commands import Signal
from ..model.ended import Ended
from ..model.shard import Shard
from ..model.ticket import Effect
from .changes import Changes
from .durability import Durability
from .turns import Turns


@dataclass(slots=True, eq=False)
class OfReplica(Signal):
    """What happens to a shard that follows, or is about to."""

    shard: Shard


@dataclass(slots=True, eq=False)
class Follows(OfReplica):
    """Its log holds more, of so many bytes."""

    following: Following
    logged: Sequence[Delivered]
    size_bytes: int


@dataclass(slots=True, eq=False)
class Promoted(OfReplica):
    """This node owns it from now on; ``then`` is called on the loop's thread."""

    log: Log
    ahead_us: int
    then: Callable[[], None]


@dataclass(slots=True, eq=False)
class SteppedDown(OfReplica):
    """Another node owns it; it goes on by ``following``, if nothing failed."""

    following: Following | None
    error: Exception | None


@dataclass(slots=True, eq=False)
class FollowingFailed(OfReplica):
    """Nothing comes of its log any more."""

    error: OmenError


@dataclass(slots=True, eq=False)
class Lost(OfReplica):
    """Nobody else can read its log either; the window is kept, for what it may have."""

    error: Damaged


@dataclass(slots=True, eq=False)
class LetGo(OfReplica):
    """This node keeps it no more, for ``reason``; None: it was dropped. ``then`` is called on the
    loop's thread."""

    reason: str | None
    then: Callable[[], None]


@dataclass(slots=True, eq=False)
class Told:
    """Effect: somebody on the loop waits for this."""

    then: Callable[[], None]

    def deliver(self) -> None:
        """Tell."""
        self.then()


#: ``on_failure(shard, error)``, on the loop's thread: nobody is shown this shard any more.
OnFailure: TypeAlias = Callable[[Shard, OmenError], None]


class Followers:
    """The shards that follow, and what is queued for them.

    ``forget`` lets go of all else that the engine has of a shard; ``is_read`` tells whether a long
    read goes on over it.
    """

    def __init__(
        self,
        metrics: Metrics,
        changes: Changes,
        durability: Durability,
        turns: Turns,
        forget: Callable[[Shard], None],
        is_read: Callable[[Shard], bool],
        submit: Callable[[Signal], None],
    ) -> None:
        self._metrics = metrics
        self._changes = changes
        self._durability = durability
        self._turns = turns
        self._forget = forget
        self._is_read = is_read
        self._submit = submit
        self._queued: dict[Shard, deque[OfReplica]] = {}
        #: None on a server without a store.
        self.storage: Storage | None = None
        self.on_failure: OnFailure = lambda shard, error: None
        durability.on_deposed = self._step_down

    # -- from any thread --------------------------------------------------------------------------

    def begin(self, shard: Shard, following: Following) -> None:
        """Have what comes applied from now on; the window stands where ``following`` does."""
        submit = self._submit
        following.begin(
            lambda logged, size_bytes: submit(Follows(shard, following, logged, size_bytes)),
            lambda error: submit(FollowingFailed(shard, error)),
        )

    # -- on the engine's thread -------------------------------------------------------------------

    def __bool__(self) -> bool:
        return bool(self._queued)

    def take(self, signal: OfReplica) -> None:
        """Queue it behind what else happens to its shard."""
        self._queued.setdefault(signal.shard, deque()).append(signal)

    def run(self, effects: list[Effect], now_us: int, until_ns: int) -> int:
        """Do what is queued, as far as a tick goes; how many messages were applied.

        A fault with one shard leaves the others alone.
        """
        done = 0
        for shard in list(self._queued):
            queue = self._queued.pop(shard)
            try:
                while queue and self._may(queue[0]):
                    done += self._do(queue.popleft(), effects, now_us)
                    if time.perf_counter_ns() >= until_ns:
                        break
            except Exception as error:
                self._metrics.faults += 1
                as_error(error, f"following the log of {shard.name}")
            if queue:  # behind those of the others
                self._queued[shard] = queue
            if time.perf_counter_ns() >= until_ns:
                break
        return done

    def _may(self, signal: OfReplica) -> bool:
        shard = signal.shard
        if isinstance(signal, LetGo):
            return not shard.is_being_prepared and not self._is_read(shard)
        if shard.broken is not None or shard.is_dropped:
            return True
        shard.has_kept_waiting = shard.is_held
        return not shard.is_held

    def _do(self, signal: OfReplica, effects: list[Effect], now_us: int) -> int:
        match signal:
            case Follows():
                self._follow(signal, effects, now_us)
                return 1
            case Promoted():
                self._promoted(signal, effects)
            case SteppedDown():
                self._stepped_down(signal, effects)
            case FollowingFailed():
                self._fail(signal.shard, signal.error, effects)
            case Lost():
                if not signal.shard.is_dropped:
                    self._changes.loses(signal.shard, signal.error)
            case LetGo():
                self._let_go(signal, effects)
            case _:
                raise TypeError(f"{type(signal).__name__} happens to no shard")
        return 0

    def _follow(self, signal: Follows, effects: list[Effect], now_us: int) -> None:
        shard = signal.shard
        try:
            for logged in signal.logged:
                if shard.broken is None and not shard.is_dropped:
                    self._apply(shard, logged, now_us)
        except Exception as error:
            if not isinstance(error, OmenError):
                self._metrics.faults += 1
                error = as_error(error, f"applying what the owner of {shard.name} did")
            self._fail(shard, error, effects)
        signal.following.took(signal.size_bytes)

    def _apply(self, shard: Shard, logged: Delivered, now_us: int) -> None:
        window = shard.window
        if isinstance(logged, KeptRows):  # they are here
            _compare(window, logged.first_seq, logged.last_seq, digest_of(logged))
            return
        if isinstance(logged, Stated):
            _compare(window, logged.first_seq, logged.last_seq, logged.digest)
            return
        window.admission.admitted.observe(logged)
        self._changes.apply(shard, logged, now_us)
        window.refuse_beyond_budget()

    # -- who owns it ------------------------------------------------------------------------------

    def _promoted(self, signal: Promoted, effects: list[Effect]) -> None:
        shard, pending = signal.shard, signal.shard.pending
        effects.append(Told(signal.then))
        if shard.broken is not None or shard.is_dropped:
            assert self.storage is not None
            if isinstance(signal.log.error, Damaged):
                self._end_log(shard, signal.log.error)
            self.storage.close_log(signal.log)
            return
        assert pending is not None
        shard.window.rewind(signal.log.rewind())
        shard.ahead_us = signal.ahead_us
        pending.log = signal.log
        self._durability.look_at(shard)

    def _step_down(self, shard: Shard) -> None:
        """Its log is another node's, and nothing is pending: go on as a follower."""
        storage, pending, submit = self.storage, shard.pending, self._submit
        assert storage is not None
        assert pending is not None
        log = pending.log
        assert isinstance(log, SharedLog)
        pending.is_stepping_down = True
        storage.step_down(
            log, lambda following, error: submit(SteppedDown(shard, following, error))
        )

    def _stepped_down(self, signal: SteppedDown, effects: list[Effect]) -> None:
        shard, pending, following = signal.shard, signal.shard.pending, signal.following
        assert pending is not None
        pending.is_stepping_down = False
        if following is None:
            error = signal.error or Deposed("collection: is owned by another node now")
            self._fail(shard, as_error(error, "stepping down"), effects)
            return
        pending.log = FollowerLog(following)
        pending.error, pending.must_rewind = None, False
        if shard.broken is not None or shard.is_dropped:
            following.close()
        else:
            self.begin(shard, following)

    # -- the end ----------------------------------------------------------------------------------

    def _fail(self, shard: Shard, error: OmenError, effects: list[Effect]) -> None:
        """Nobody is shown it any more. The loop looks whether it was dropped, and makes another;
        it lets this one go, which tells who subscribed."""
        if shard.broken is not None or shard.is_dropped:
            return
        shard.broken = f"is read again from the cluster: {error.message}; try again"
        if isinstance(error, Damaged):
            self._end_log(shard, error)
        self._close(shard)
        on_failure = self.on_failure
        effects.append(Told(lambda: on_failure(shard, error)))

    def _let_go(self, signal: LetGo, effects: list[Effect]) -> None:
        shard, pending = signal.shard, signal.shard.pending
        self._close(shard)
        shard.left = signal.reason
        shard.is_dropped = True
        ended = Ended(shard, "dropped" if signal.reason is None else "unavailable")
        effects += [ended, Told(signal.then)]
        if pending is not None:
            self._turns.put_back(pending.parked)
            pending.waits_for = ""
        self._forget(shard)
        shard.let_go()

    @staticmethod
    def _end_log(shard: Shard, error: Damaged) -> None:
        """Keep the window: it may have what the log lost."""
        if shard.pending is not None and isinstance(shard.pending.log, FollowerLog):
            shard.pending.log.error = error

    @staticmethod
    def _close(shard: Shard) -> None:
        if shard.pending is not None and isinstance(shard.pending.log, FollowerLog):
            shard.pending.log.close()


def _compare(window: Window, first_seq: int, last_seq: int, digest: int) -> None:
    """Differs if the owner's window held something else at this version."""
    if digest_of(kept_rows(window, first_seq, last_seq)) != digest:
        raise Differs(
            f"its rows {first_seq} to {last_seq} are not what its owner has at version"
            f" {window.version}"
        )
