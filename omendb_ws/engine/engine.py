"""The engine's thread: it holds every window, and turns queued work into ticks.

The loop's thread puts works into one queue and never waits. The engine takes everything that is
queued, and does a *tick*: changes in the order in which they came; standing queries catch up with
them; reads, all searches of a collection in one scan; pushes. It hands all effects to the loop's
thread in one call. While it works, the queue fills, so ticks grow by themselves under load; when
idle a tick is one request.

A tick takes a bounded amount of work. Changes stop after ``TICK_CHANGES_US``, so that searches do
not wait behind an endless stream of adds: a read waits only for the changes that its own connection
sent before it (``Lane``), not for those of others. A drop is a barrier: what was asked before it is
answered before it.

Changes of durable collections take two ticks: in the first they are admitted and handed to the log,
in the second, once the log has settled them, applied and acknowledged (``durability.py``,
``turns.py``). Others do not wait for them.

While the engine sleeps the loop's thread may answer searches itself (``arrivals.py``): the two
hops between the threads cost as much as a short scan. A lock says who has the windows.

Invariants: every work with a ticket leads to exactly one Answer, unless its connection is gone; an
exception never leaves the thread. A tick is steps, each guarded by itself: what one made is kept,
whatever befalls it later, and the others go on. What waited longer than the queue's deadline is
shed, except drops and subscriptions' ends, which took effect when they were received.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, Final, TypeAlias

from omendb_core.model.errors import Internal, NotFound, OmenError, Overloaded

from ..journal.interface import Settle
from ..journal.store_thread import Storage
from ..runtime.faults import as_error
from ..telemetry.metrics import Metrics
from ..wire.opcodes import Limits
from .model import answers
from .model.collection import Collection
from .model.commands import Change, Note, Read
from .model.ended import Ended
from .model.ticket import Answer, Command, Effect
from .pieces.long_reads import LongReads
from .reads.commands import PlainRead, PlainSearch
from .reads.long_answers import steps_of, takes_long
from .reads.reads import Reads, is_short
from .reads.statistics import collection_stats
from .streams.commands import (
    Follow,
    Gone,
    Leave,
    Measure,
    Measured,
    Sent,
    Standing,
    Unfollow,
    Watch,
)
from .streams.deliveries import Deliveries, Push, Stream
from .streams.drawing import Draw, Drawings, Look
from .streams.feeds import Feeds
from .streams.live import LiveQueries
from .streams.matches import Matches
from .streams.standing_queries import StandingQueries
from .waiting import WaitingReads, is_ready
from .writes.changes import Changes
from .writes.commands import (
    Create,
    Drop,
    DropGivenUp,
    NotDropped,
    Recovered,
    RowChange,
    Settled,
    Stored,
)
from .writes.durability import Durability
from .writes.expiry import Expiry
from .writes.lifecycle import Lifecycle
from .writes.turns import Turns

log = logging.getLogger(__name__)

#: How long a tick applies changes before the reads that can be answered get their turn. A batch of
#: 64 searches of 100,000 rows takes ten times as long, so adds still get most of the time.
TICK_CHANGES_US: Final = 2_000

#: How long the engine lets go after a fault.
_AFTER_A_FAULT_SECONDS: Final = 0.005

#: Streams that nobody reads any more, of one tick: a connection may leave 10,000 of them behind.
GONE_AT_ONCE: Final = 256

#: How long a tick looks numbers up and tells them: 20 µs for a collection, 1 µs for each reader.
TICK_MEASURES_US: Final = 1_000

#: What the queue holds.
Work: TypeAlias = Command | Note
_SENT: Final = Sent()


class Engine:
    """Owns the windows and runs the ticks. ``post`` takes a tick's effects to the loop's thread."""

    def __init__(
        self,
        metrics: Metrics,
        limits: Limits,
        queue_deadline_ms: int,
        clock_us: Callable[[], int],
        post: Callable[[list[Effect]], None],
        clock_ns: Callable[[], int] = time.perf_counter_ns,
    ) -> None:
        self._metrics = metrics
        self._deadline_us = queue_deadline_ms * 1000
        self._clock_us = clock_us
        self._post = post
        self._queue: SimpleQueue[Work | None] = SimpleQueue()
        #: Taken from the queue, and not sorted in yet.
        self._inbox: deque[Work | None] = deque()
        #: Held by whoever looks at windows: the engine, or the loop while the engine sleeps.
        self._windows = threading.Lock()
        self._is_asleep = False
        self._turns = Turns()
        self._waiting_reads = WaitingReads()
        self._measures: deque[Measure] = deque()
        self._drawings = Drawings(metrics, clock_ns)
        self._sent: deque[Push] = deque()
        self._sent_noted = False
        self._changes = Changes(metrics)
        self._durability = Durability(metrics, self._changes, self._turns, self.submit)
        self._lifecycle = Lifecycle(self._durability, self._turns, self._forget, self.submit)
        self._reads = Reads(metrics, clock_us)
        self._deliveries = Deliveries(metrics, limits, clock_ns)
        self.feeds = Feeds(metrics, limits, self._deliveries)
        self.live = LiveQueries(metrics, self._deliveries)
        self.matches = Matches(metrics, limits, self._deliveries)
        self._long_reads = LongReads(self._refusal, self._refuse_late, clock_ns)
        self._set_aside: list[Change] = []
        self._gone: deque[Stream] = deque()
        self._standing = StandingQueries(
            metrics,
            self.live,
            self.matches,
            self.feeds,
            self._deliveries,
            self._long_reads,
            self._changes.breaks,
            self._gone.extend,
            clock_ns,
        )
        self._expiry = Expiry(metrics, self._changes, self._durability)
        self._is_stopping = self._has_faulted = False
        self._now_us = 0
        self._effects: list[Effect] = []
        self._steps: Final[tuple[tuple[str, Callable[[], int | None]], ...]] = (
            ("streams that nobody reads", self._let_go),
            ("expiry", self._expire),
            ("changes that have settled", self._land),
            ("changes", self._do_changes),
            ("telling what changed", self._tell_changed),
            ("standing queries", self._catch_up),
            ("reads", self._do_reads),
            ("reads in pieces", self._do_pieces),
            ("collections that broke", self._end_broken),
            ("statistics", self._measure),
            ("maps", self._draw),
            ("pushes", self._push),
        )
        self._thread = threading.Thread(target=self._run, name="omendb-engine", daemon=True)

    # -- on the loop's thread ---------------------------------------------------------------------

    @property
    def depth(self) -> int:
        """How many works wait."""
        waiting = len(self._turns) + len(self._set_aside) + len(self._waiting_reads)
        return self._queue.qsize() + waiting + len(self._long_reads)

    @property
    def flying(self) -> int:
        """How many changes are admitted and not yet applied."""
        return self._durability.flying

    def start(self, storage: Storage | None = None) -> None:
        """Start the thread; ``storage`` None: collections are in memory only."""
        self._lifecycle.storage = storage
        self._thread.start()

    def settler(self, collection: Collection) -> Settle:
        """What the log of ``collection`` tells what it has settled."""
        return self._durability.settler(collection)

    def submit(self, work: Work) -> None:
        """Queue a work; never waits. From any thread."""
        self._queue.put(work)

    def sent(self, push: Push) -> None:
        """The socket took a push. On the loop's thread; many of them wake the engine once."""
        self._sent.append(push)
        if not self._sent_noted:
            self._sent_noted = True
            self._queue.put(_SENT)

    def answer_now(self, works: Sequence[PlainSearch]) -> list[Effect] | None:
        """On the loop's thread: answer searches there, while the engine sleeps.

        None if it does not, if that would take long, or if what they wait for is still to be done:
        then it is the engine's.
        """
        if not self._is_asleep or not self._queue.empty():
            return None
        if not self._windows.acquire(blocking=False):
            return None
        try:
            if not (all(map(is_ready, works)) and is_short(works)):
                return None
            found: list[Effect] = []
            self._reads.answer(works, found)
            return found
        finally:
            self._windows.release()

    def stop(self) -> None:
        """Do what is queued, durable changes included, end the thread, and wait for that."""
        self._queue.put(None)
        if self._thread.ident is not None:  # it was started
            self._thread.join()

    # -- on the engine's thread -------------------------------------------------------------------

    def _run(self) -> None:
        is_over = False
        while not is_over:
            try:
                self._wait(self._patience_seconds())
                with self._windows:
                    self._collect()
                    self._work()
                is_over = self._is_stopping and not self._has_waiting()
            except Exception as error:  # what was under way is where it was, and goes on
                self._fault(error, "a turn of the engine")

    def _work(self) -> None:
        """One tick, and its effects to the loop."""
        started_ns = time.perf_counter_ns()
        requests = self._tick()
        effects = self._effects
        if effects:
            self._post(effects)
            self._effects = []
        if requests or effects:
            self._metrics.ticks += 1
            self._metrics.tick_us.record((time.perf_counter_ns() - started_ns) // 1000)
        if requests:
            self._metrics.tick_requests.record(requests)

    def _has_waiting(self) -> bool:
        return bool(
            self._turns
            or self._set_aside
            or self._waiting_reads
            or self._long_reads
            or self._standing.early
            or self._durability.flying
            or self._lifecycle.pending
        )

    def _is_busy(self) -> bool:
        """Whether there is something to do right now."""
        return bool(
            self._turns
            or self._effects
            or self._waiting_reads.has_more
            or self._long_reads
            or self._set_aside
            or self._gone
            or self._measures
            or self._drawings
            or self._durability.has_settled
            or self._deliveries.is_busy
            or self._standing.is_busy
        )

    def _patience_seconds(self) -> float | None:
        """How long the engine may sleep for want of work; None without end."""
        if self._has_faulted:  # one that stays must not keep a core busy
            self._has_faulted = False
            return _AFTER_A_FAULT_SECONDS
        if self._is_busy():
            return 0.0
        patience = self._expiry.patience_seconds
        due_us = self._deliveries.next_due_us
        if due_us is None:
            return patience
        due_seconds = max(0.0, (due_us - self._clock_us()) / 1e6)
        return due_seconds if patience is None else min(patience, due_seconds)

    def _wait(self, patience_seconds: float | None) -> None:
        """Have the first of the queue in the inbox; nothing if none came in that time."""
        self._is_asleep = True
        try:
            if patience_seconds == 0.0:
                self._inbox.append(self._queue.get_nowait())
            else:
                self._inbox.append(self._queue.get(timeout=patience_seconds))
        except Empty:
            pass
        finally:
            self._is_asleep = False

    def _collect(self) -> None:
        """Sort in everything that came. What faults is tried once more, and then refused."""
        inbox = self._inbox
        with suppress(Empty):
            while True:
                if not inbox:
                    inbox.append(self._queue.get_nowait())
                try:
                    self._sort_in(inbox[0])
                except Exception as error:
                    self._fault(error, "taking in work")
                    self._sort_in_again(inbox[0])
                inbox.popleft()

    def _sort_in_again(self, work: Work | None) -> None:
        try:
            self._sort_in(work)
        except Exception as error:
            if isinstance(work, DropGivenUp):
                self._effects += [NotDropped(work.held, work.stored), self._refusal(work, error)]
                return
            if not isinstance(work, Change | Read):
                self._fault(error, "taking in work again")
                return
            self._effects.append(self._refusal(work, error))
            if isinstance(work, Change):
                self._through(work)

    def _sort_in(self, work: Work | None) -> None:
        if work is None:
            self._is_stopping = True
        elif isinstance(work, Change):
            self._turns.add(work)
        elif isinstance(work, Read):
            self._waiting_reads.add(work)
        else:
            self._note(work)

    def _note(self, note: Work) -> None:
        if isinstance(note, Sent):
            self._sent_noted = False
            while self._sent:
                self._deliveries.sent(self._sent[0])
                self._sent.popleft()
        elif isinstance(note, Settled):
            self._durability.settled(note)
        elif isinstance(note, Measure):
            self._measures.append(note)
        elif isinstance(note, Draw | Look):
            self._drawings.add(note)
        elif isinstance(note, Gone):
            self._gone.append(note.stream)
        elif isinstance(note, DropGivenUp):
            self._lifecycle.drop_given_up(note)
        elif isinstance(note, Stored):
            self._lifecycle.stored(note, self._effects)
        elif isinstance(note, Recovered):
            self._expiry.watch(note.collection)
        else:
            raise TypeError(f"{type(note).__name__} is no work of the engine")

    def _tick(self) -> int:
        """One tick; how many requests it was through with."""
        self._now_us = self._clock_us()
        requests = 0
        for doing, step in self._steps:
            try:
                requests += step() or 0
            except Exception as error:
                self._fault(error, doing)
        return requests

    def _fault(self, error: Exception, doing: str) -> OmenError:
        self._has_faulted = True
        self._metrics.faults += 1
        return as_error(error, doing)

    def _expire(self) -> None:
        self._expiry.look(self._now_us)

    def _land(self) -> int:
        until_ns = time.perf_counter_ns() + TICK_CHANGES_US * 1000
        return self._durability.land(self._effects, until_ns)

    def _tell_changed(self) -> None:
        """Feeds and standing queries hear of every window that changed."""
        changed = self._changes.changed
        while changed:
            collection, arrival_us = next(iter(changed.items()))
            for subscriber in (self.feeds, self._standing):
                try:
                    subscriber.changed(collection, arrival_us)
                except Exception as error:
                    self._fault(error, "telling what changed")
            changed.pop(collection, None)

    def _end_broken(self) -> None:
        """What subscribed to a window that nobody can trust ends, and does not wait in silence."""
        broken = self._changes.newly_broken
        self._effects += [Ended(collection, "unavailable") for collection in broken]
        broken.clear()

    def _catch_up(self) -> None:
        self._standing.catch_up()

    def _draw(self) -> None:
        self._drawings.run(self._effects)

    def _push(self) -> None:
        self._deliveries.push(self._effects, self._now_us)

    # -- changes ----------------------------------------------------------------------------------

    def _do_changes(self) -> int:
        """Changes in order, for as long as a tick has for them."""
        done = 0
        self._put_back_free()
        until_ns = time.perf_counter_ns() + TICK_CHANGES_US * 1000
        while (work := self._turns.take()) is not None:
            try:
                if isinstance(work, Drop):
                    done += self._answer_ahead_of(work)
                    if self._long_reads.hold(work):
                        continue
                elif work.collection.is_held and isinstance(work, RowChange):
                    work.collection.has_kept_waiting = True
                    self._set_aside.append(work)
                    continue
                answer = self._change(work)
            except Exception as error:
                self._fault(error, "a change")
                # A drop must be done: in the catalog it is.
                answer = self._drop(work) if isinstance(work, Drop) else self._refusal(work, error)
            if answer is not None:
                self._effects.append(answer)
                try:
                    self._through(work)
                except Exception as error:  # nothing of it was done
                    self._fault(error, "going on behind a change")
                    self._through(work)
            done += 1
            if time.perf_counter_ns() >= until_ns:
                break
        return done

    def _answer_ahead_of(self, drop: Drop) -> int:
        """What was asked of a collection before it was dropped; what a fault leaves finds none."""
        done = 0
        try:
            self._standing.finish(drop.collection)
            if self._standing.has_ready:
                self._waiting_reads.put_back(self._standing.early)
            while answered := self._do_reads(drop.collection):
                done += answered
        except Exception as error:
            self._fault(error, "reads ahead of a drop")
        return done

    def _drop(self, work: Drop) -> Answer | None:
        """In the catalog it is gone already: after a fault this is called again."""
        return self._lifecycle.drop(work, self._effects)

    def _put_back_free(self) -> None:
        """Changes that a long read kept waiting go on, if it is through with their window."""
        free = deque(work for work in self._set_aside if not work.collection.is_held)
        if free:
            stays = [work for work in self._set_aside if work.collection.is_held]
            for work in free:
                work.collection.has_kept_waiting = False
            self._turns.put_back(free)
            self._set_aside = stays

    def _through(self, work: Change) -> None:
        """A change was answered; its connection's earlier ones may still be on their way."""
        lane = work.ticket.asker.lane
        if lane.flying:
            self._durability.was_answered(work)
        else:
            self._turns.is_through(lane)

    def _change(self, work: Change) -> Answer | None:
        """The answer to a change; None where it comes later."""
        collection = work.collection
        try:
            if isinstance(work, Drop):
                return self._drop(work)
            collection.refuse_dropped()
            if isinstance(work, Unfollow):
                return self._unfollow(work)
            if isinstance(work, Create):
                self._lifecycle.create(work, self._effects)
                return None
            self._refuse_late(work)
            self._expiry.watch(collection)
            if isinstance(work, Follow | Watch):
                collection.refuse_broken()
            if isinstance(work, Follow):
                return self._follow(work)
            if isinstance(work, Watch):
                return answers.ok(work.ticket, work.subscription.reply(collection))
            assert isinstance(work, RowChange), "there are no other changes"
            if collection.flights is None:
                return self._changes.do(work, self._now_us)
            return self._durability.begin(work, self._now_us)
        except Exception as error:
            if isinstance(work, Drop):
                raise  # it is tried again
            return self._refusal(work, error)

    def _refusal(self, work: Change | Read | DropGivenUp, error: Exception) -> Answer:
        if not isinstance(error, OmenError):
            self._metrics.faults += 1
        return answers.refusal(work.ticket, as_error(error, work.ticket.op))

    def _forget(self, collection: Collection) -> None:
        """A collection is gone."""
        self._standing.stop_all(collection)
        self._expiry.forget(collection)
        self._changes.forget(collection)
        self._durability.forget(collection)

    def _follow(self, work: Follow) -> Answer:
        if not work.feed.lane.is_open:
            raise Internal("the connection is gone")
        return answers.ok(work.ticket, self.feeds.start(work.feed, work.from_seq))

    def _unfollow(self, work: Unfollow) -> Answer:
        if work.feed is not None:
            if not work.feed.is_active:
                raise NotFound(f"sub: there is no {work.feed.sub}")
            self._standing.stop(work.feed)
        return answers.ok(work.ticket, {})

    def _refuse_late(self, work: Change | Read) -> None:
        waited_us = self._now_us - work.ticket.arrival_us
        if waited_us > self._deadline_us:
            raise Overloaded(f"waited {waited_us // 1000} ms; nothing was done")

    # -- reads ------------------------------------------------------------------------------------

    def _do_reads(self, of: Collection | None = None) -> int:
        """Answer the reads whose turn it is, all or those of one collection; how many those were.

        What a fault left without an answer is asked again one by one.
        """
        works = self._waiting_reads.take(of)
        before = len(self._effects)
        try:
            self._answer(works)
        except Exception as error:
            told = self._fault(error, "reads")
            made = self._effects[before:]
            answered = {effect.ticket for effect in made if isinstance(effect, Answer)}
            goes_on = self._long_reads.tickets() | self._standing.early_tickets()
            for work in works:
                if work.ticket not in answered | goes_on:
                    self._answer_alone(work, told)
        return len(works)

    def _answer_alone(self, work: Read, fault: OmenError) -> None:
        """A subscription may have begun, or moved, before ``fault``: it is refused, and ends."""
        if isinstance(work, Standing):
            self._effects.append(self._refusal(work, fault))
            return
        try:
            self._answer([work])
        except Exception as error:
            self._effects.append(self._refusal(work, error))

    def _answer(self, works: list[Read]) -> None:
        in_time: list[PlainRead] = []
        standing: list[Standing] = []
        for work in works:
            try:
                if not isinstance(work, Leave):
                    self._refuse_late(work)
            except Overloaded as error:
                self._effects.append(self._refusal(work, error))
                continue
            if isinstance(work, Standing):
                standing.append(work)
                continue
            assert isinstance(work, PlainRead), "there are no other reads"
            if takes_long(work):
                steps = steps_of(work, self._long_reads, self._clock_us)
                self._long_reads.begin(work, steps)
            else:
                in_time.append(work)
        self._reads.answer(in_time, self._effects)
        self._standing.answer(standing, self._effects, self._now_us)

    def _let_go(self) -> None:
        """Forget some of the streams that nobody reads any more."""
        gone = [self._gone.popleft() for _ in range(min(GONE_AT_ONCE, len(self._gone)))]
        try:
            self._standing.stop_many(gone)
        except Exception as error:
            self._fault(error, "letting go of streams")
            for stream in gone:
                self._standing.stop(stream)

    def _do_pieces(self) -> int:
        """Some of what long reads ask for; what waits for one that is through with goes on."""
        done = self._long_reads.run(self._effects)
        if self._standing.has_ready:
            self._waiting_reads.put_back(self._standing.early)
        if self._long_reads.has_drops and (done or not len(self._long_reads)):
            self._turns.put_back(self._long_reads.released())
        return done

    def _measure(self) -> None:
        """Say the numbers that subscriptions asked for, for as long as a tick has for them."""
        until_ns = time.perf_counter_ns() + TICK_MEASURES_US * 1000
        found: dict[Collection, dict[str, Any]] = {}
        while self._measures:
            subscription = self._measures.popleft().subscription
            collection = subscription.collection
            if collection is None or collection.is_dropped:
                continue
            try:
                if collection not in found:
                    found[collection] = collection_stats(collection, self._now_us)
                numbers: dict[str, Any] | None = found[collection]
            except Exception as error:
                self._fault(error, "statistics")
                numbers = None  # it asks again at its next beat
            self._effects.append(Measured(subscription, numbers))
            if time.perf_counter_ns() >= until_ns:
                break
