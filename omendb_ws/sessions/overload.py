"""Who is refused when there is more to do than can be done in time, so that the rest is answered.

A message is refused as it comes, unread, and not after it has waited: so its client hears of it at
once, it costs little, and what is let in is answered in time. It falls on those that have most
waiting: time is shared (``engine/model/shares.py``), so what a connection waits for follows from
what all have waiting and what their requests take (``backlog.py``). Waiting for its own requests
does not count: who asks for much alone is not refused, it is not read (PROTOCOL section 2.7).

It begins to shed when by that model somebody would wait for others twice as long as ``most_us``, or
as long when what was taken up had really waited for the target for as long: a burst passes, and so
does what came while the engine stood still. From then on each connection may have as much waiting
as makes that wait ``most_us``. What was refused lately counts as wanted still, since that comes
again as soon as there is room; when nobody is refused for that long it is over. ``most_us`` begins
at the target, falls where real waits are beyond it (the model knows what the engine does, and not
what else the machine does), and rises again.

Real waits count from when bytes were read from the socket; how late the loop is counts as well.

Lives on the loop's thread; the engine writes what a share has used and how long it waited. Pure:
from ``watch`` on ``look`` is called every ``LOOK_SECONDS`` until it says no. Invariants: a request
is refused only if with it its connection had more waiting than the level up to which all may; one
of a connection that has nothing waiting, only if the next requests of the others alone are too
much, with those that will be asked again before its turn (``wants.py``); while nothing waits nobody
is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from ..engine.model.ticket import Lane
from ..tenants.share import TenantShare
from .backlog import Backlog
from .refusal import Refusal
from .wants import Wants, ahead_us

#: How often it is looked while requests wait: a small part of the target.
LOOK_SECONDS: Final = 0.01
#: With fewer requests waiting nothing is looked at.
_LOOK_FROM: Final = 8
#: So many more than had work at the last look are listed before that is tidied up between looks.
_LISTED: Final = 64
#: What a request takes on the loop; what one takes at first, and of a new connection at most.
_LOOP_US: Final = 25.0
_REQUEST_US: Final = 50.0
_UNKNOWN_US: Final = 1_000.0
#: How many times ``most_us`` is too much before anything has waited so long: a burst passes.
_START: Final = 2.0
#: What part of the target a message may wait for the loop.
_LATE: Final = 1 / 4
#: What part of what those that are late have waiting on average is much of one of them.
_HEAVY: Final = 1 / 2
#: With less than this part of ``most_us`` waiting the engine would have nothing to do.
_BUSY: Final = 1 / 4
#: How long it is remembered that a connection asked for too much.
_LASTS_US: Final = 200_000
#: How much the newest look counts for what a request takes; all where so many took less: those that
#: waited together were answered together.
_NEWEST: Final = 1 / 4
_TOGETHER: Final = 8
#: What stays of a wait.
_STAYS: Final = 0.8
#: By what ``most_us`` falls at most and rises in a look, and between which parts of the target.
_FALL: Final = 1 / 2
_RISE: Final = 1.1
_LEAST: Final = 1 / 4
_MOST: Final = 4.0
#: Waits below this part of the target let it rise.
_GOOD: Final = 0.7


class _Wait(NamedTuple):
    """How long something waited, and when that began."""

    us: float
    since_us: float


class Load:
    """What one connection has unanswered, and what a request of it takes."""

    __slots__ = (
        "_is_known",
        "_lane",
        "_overload",
        "answered",
        "is_listed",
        "moved_us",
        "refused_us",
        "request_us",
        "share",
        "used_us",
        "waiting",
        "waiting_bytes",
        "wanted",
    )

    def __init__(self, overload: Overload, lane: Lane) -> None:
        self._overload = overload
        self._lane = lane
        self.share = lane.share
        self.waiting = self.answered = self.waiting_bytes = 0
        self.used_us = lane.share.used_us
        self.refused_us, self.wanted = -float(_LASTS_US), 0.0
        #: When it was seen to get on; 0: nobody has looked at what it has waiting.
        self.moved_us = 0
        self.request_us = min(overload.request_us, _UNKNOWN_US)
        self.is_listed = self._is_known = False

    @property
    def work_us(self) -> float:
        """What all that it has waiting should take, but for changes that wait for their log."""
        return max(self.waiting - self._lane.pending, 0) * self.request_us

    @property
    def is_stuck(self) -> bool:
        """Whether it waits for the engine, and not for a log."""
        return self.waiting > 0 and not self._lane.pending

    def was_refused(self, count: int, now_us: float) -> None:
        """Some more that it asks for are refused."""
        self.wanted = self._wants(now_us) + count
        self.refused_us = now_us

    def wanted_us(self, now_us: float) -> float:
        """What it would have waiting if nothing of what it asked for lately had been refused."""
        return self.work_us + self._wants(now_us) * self.request_us

    def _wants(self, now_us: float) -> float:
        return self.wanted * max(1 - (now_us - self.refused_us) / _LASTS_US, 0.0)

    def note(self, waiting: int) -> None:
        """So many are let in and unanswered now. What a fault left out the next call sets right."""
        more = waiting - self.waiting
        if not more:
            return
        overload = self._overload
        self.waiting = waiting
        overload.waiting += more
        if more < 0:
            self.answered -= more
            return
        if not self.is_listed:
            self.is_listed = True
            overload.loads.append(self)
            if len(overload.loads) > overload.most_listed:
                overload.tidy_up()
        if overload.waiting >= overload.look_at:
            overload.crowded()

    def looked_at(self, now_us: int) -> None:
        """See whether it got on."""
        share = self.share
        got_on = self.answered or share.used_us != self.used_us or share.taken_us > self.moved_us
        if got_on or not self.moved_us:
            self.moved_us = now_us

    def learn(self) -> None:
        """See what its requests take."""
        took_us = self.share.used_us - self.used_us
        if self.answered:
            each_us = took_us / self.answered + _LOOP_US
            is_less = each_us < self.request_us and self.answered >= _TOGETHER
            newest = 1.0 if is_less or not self._is_known else _NEWEST
            self.request_us += (each_us - self.request_us) * newest
            self._is_known = True
            self.used_us += took_us
            self.answered = 0
        elif took_us > self.work_us > 0:  # they take long
            self.request_us = took_us / self.waiting


class Overload:
    """``target_us``: how long a request that is let in should wait; ``watch``: begin to look.

    ``waiting``: how many requests are let in and unanswered; ``delay_us``: for how long those had
    waited for others that were taken up lately; ``backlog_us``: for how long somebody would, by the
    model. ``refusal`` is what who is refused is told.
    """

    def __init__(
        self,
        target_us: float,
        clock_us: Callable[[], int],
        watch: Callable[[], None] = lambda: None,
    ) -> None:
        self.target_us = target_us
        self._clock_us = clock_us
        self._watch = watch
        self._is_watched = False
        self.loads: list[Load] = []
        self.most_listed = _LISTED
        self.waiting = 0
        #: With so many waiting it is looked at once.
        self.look_at: float = _LOOK_FROM
        self.is_shedding = False
        self.request_us = _REQUEST_US
        self.most_us = target_us
        self.delay_us = self.backlog_us = 0.0
        self.refusal = Refusal(target_us)
        self._wants = Wants(_LASTS_US)
        #: How late connections were heard since it was looked; what part of that was for others.
        self._late: dict[Load, float] = {}
        self._for_others = 0.0
        #: Who has at least so many bytes waiting is late for its own sake as well.
        self._heavy_bytes = 0.0
        self._looked_us = self._fell_us = self._waiting_before = 0
        #: When what was taken up had not waited for longer than the target.
        self._good_us = clock_us()
        #: What there is waiting, and what there would be if nobody were refused.
        self._backlog = self._wanted = Backlog({})
        self._levels: dict[TenantShare, float] = {}
        #: What one request of each that waits takes.
        self._next_us = 0.0

    def load(self, lane: Lane) -> Load:
        """What a new connection has waiting: nothing."""
        return Load(self, lane)

    def refuses(self, load: Load) -> bool:
        """Whether one more request of a connection is too much, while it sheds."""
        tenant = load.share.tenant
        level_us = self._levels.get(tenant)
        if level_us is None:
            level_us = self._levels[tenant] = self._wanted.level_us(tenant, self.most_us)
        if work_us := load.work_us:
            return work_us + load.request_us > level_us
        if ahead_us(load.share) + load.request_us <= level_us:
            return False
        return self._next_us + self._wants.before_us(load.share) > self.most_us

    def is_late(self, load: Load, late_us: float) -> bool:
        """Whether a message that waited so long for the loop is refused for that, while it sheds.

        Those that come now are answered in time then; these would not be. But who has sent much
        less than others that are late waits for their messages, not for its own: it is let in.
        """
        if late_us * self._for_others <= self.target_us * _LATE:
            return False
        is_heavy = load.waiting_bytes >= self._heavy_bytes
        return is_heavy and self.waiting * self.request_us > self.most_us * _BUSY

    def came_late(self, load: Load, late_us: float, waiting_bytes: int = 0) -> None:
        """What a connection is heard for now had waited so long for the loop; so much waits."""
        self._late[load] = late_us
        load.waiting_bytes = waiting_bytes
        self._begin_to_look()

    def refused(self, load: Load, count: int = 1) -> None:
        """Some were refused: their client asks for more than it gets."""
        self.refusal.count += count
        load.was_refused(count, self._looked_us)
        self._wants.refused(load, self._looked_us)

    def crowded(self) -> None:
        """More may be waiting than can be done in time."""
        self._begin_to_look()
        self._look(0.0)

    def tidy_up(self) -> None:
        """Who has nothing waiting is no longer listed: while little is asked, nobody looks."""
        if not self._is_watched:
            self._seen(self.loads, self._clock_us())
        self.most_listed = 2 * len(self.loads) + _LISTED

    def _begin_to_look(self) -> None:
        if not self._is_watched:
            self._is_watched = True
            self._watch()

    def look(self, late_us: float = 0.0) -> bool:
        """See how things stand; ``late_us``: how late the loop is. Whether to look again."""
        self._look(late_us)
        if self.waiting >= self._look_from or self.is_shedding:
            return True
        self._calm()
        return False

    def _look(self, late_us: float) -> None:
        now_us = self._clock_us()
        listed = self.loads
        came = self.waiting - self._waiting_before + sum(load.answered for load in listed)
        self._waiting_before = self.waiting
        self._backlog = self._seen(listed, now_us)
        self._wants.look(now_us)
        self._levels.clear()
        measured = self._measured(listed, now_us)
        if measured is not None:
            self.delay_us = max(measured.us, late_us, self.delay_us * _STAYS)
            self._adapt(measured, now_us)
        self._looked_us = now_us
        self._decide(now_us)
        self._wanted = self._as_wanted(now_us) if self.is_shedding else self._backlog
        self.refusal.look(came)

    def _seen(self, listed: list[Load], now_us: int) -> Backlog:
        """What all that are listed have waiting; who has nothing is no longer listed."""
        works: dict[TenantShare, list[float]] = {}
        self.loads, self._next_us = [], 0.0
        for load in listed:
            load.looked_at(now_us)
            load.learn()
            if not load.waiting:
                load.is_listed, load.moved_us = False, 0
                continue
            self.loads.append(load)
            if work_us := load.work_us:
                works.setdefault(load.share.tenant, []).append(work_us)
                self._next_us += load.request_us
        return Backlog(works)

    def _as_wanted(self, now_us: int) -> Backlog:
        """The backlog with what was refused lately.

        Who drains is filled up again at once, so that the others have to wait for it still.
        """
        works: dict[TenantShare, list[float]] = {}
        for load in self.loads:
            if work_us := load.wanted_us(now_us):
                works.setdefault(load.share.tenant, []).append(work_us)
        return Backlog(works)

    def _measured(self, listed: list[Load], now_us: int) -> _Wait | None:
        """The longest real wait since the last look, as far as it was for others' requests.

        Also of those that wait still: while it sheds those that come now may be served before them,
        soon enough, for as long as it lasts. None: nothing was taken up since.
        """
        longest, is_known = _Wait(0.0, 0.0), False
        for load in listed:
            share = load.share
            if share.taken_us > self._looked_us:
                is_known = True
                waited_us, until_us = share.waited_us, share.taken_us
            elif self.is_shedding and load.is_stuck:
                waited_us, until_us = now_us - load.moved_us, now_us
            else:
                continue
            if waited_us <= longest.us:
                continue
            own_us = max(load.work_us, load.request_us)
            others_us = self._backlog.of_others_us(share.tenant, own_us)
            for_others_us = waited_us * others_us / (others_us + own_us)
            if for_others_us > longest.us:
                longest = _Wait(for_others_us, until_us - waited_us)
        return longest if is_known else None

    def _adapt(self, measured: _Wait, now_us: int) -> None:
        """Once for each time that a change takes to show: until then old ones are measured."""
        target_us = self.target_us
        if measured.us > target_us:
            if measured.since_us >= self._fell_us:
                self._fell_us = now_us
                falls = max(target_us / measured.us, _FALL)
                self.most_us = max(self.most_us * falls, target_us * _LEAST)
        elif not self.is_shedding:
            self.most_us += (target_us - self.most_us) * (_RISE - 1)
        elif measured.us < target_us * _GOOD:
            self.most_us = min(self.most_us * _RISE, target_us * _MOST)

    def _decide(self, now_us: int) -> None:
        self.backlog_us = self._backlog.worst_us()
        if self.delay_us < self.target_us:
            self._good_us = now_us
        is_real = self.is_shedding or now_us - self._good_us >= self.target_us
        start_us = self.most_us if is_real else self.most_us * _START
        self.is_shedding = (
            self._latest_us() > self.target_us * (_LATE if self.is_shedding else 1.0)
            or self.backlog_us > start_us
            or bool(self.loads and self._wants)
        )
        if self.loads:
            self.request_us = sum(load.request_us for load in self.loads) / len(self.loads)
        room_us = start_us - self.backlog_us
        more = self.waiting / 8 if self.is_shedding else room_us / self.request_us
        self.look_at = max(self.waiting + max(more, 1.0), self._look_from)

    def _latest_us(self) -> float:
        """The longest that a connection had to wait for the loop, as far as it was for others."""
        late, self._late = self._late, {}
        self._for_others = 1 - 1 / len(late) if late else 0.0
        waiting_bytes = sum(load.waiting_bytes for load in late)
        self._heavy_bytes = waiting_bytes / max(len(late), 1) * _HEAVY
        return max(late.values(), default=0.0) * self._for_others

    @property
    def _look_from(self) -> int:
        """How many must wait before it is looked: fewer where each takes long."""
        return max(2, min(_LOOK_FROM, int(self.target_us / 4 / self.request_us)))

    def _calm(self) -> None:
        self._is_watched = False
        self._good_us = self._clock_us()
        self._wants.clear()
        self.look_at = self._look_from
        self.most_us = max(min(self.most_us, self.target_us), self.target_us / 2)
        self.delay_us = 0.0
