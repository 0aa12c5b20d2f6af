"""The engine's thread: it holds every window, and turns queued work into ticks.

The loop's thread puts works into one queue and never waits. The engine takes everything that is
queued, and does a *tick*: changes, as far as a tick goes; standing queries catch up with them;
reads, all searches of a shard in one scan; pushes. It hands all effects to the loop's thread in one
call, or in more where there are reads in pieces to be done or pushes were left over: replies do not
wait for those. While it works, the queue fills, so ticks grow by themselves under load; when idle a
tick is one request.

A tick takes a bounded amount of work. Changes stop after ``TICK_CHANGES_US``, so that searches do
not wait behind an endless stream of adds: a read waits only for the changes that its own connection
sent before it (``Lane``), not for those of others. A drop is a barrier for what waits for its turn:
that is answered before it. A change that its own connection keeps back may find nothing any more.

Changes of durable collections take two ticks: in the first they are admitted and handed to the log,
in the second, once the log has settled them, applied and acknowledged (``durability.py``,
``turns.py``). Others do not wait for them.

While the engine sleeps the loop's thread may answer searches itself (``inbox.py``): the two
hops between the threads cost as much as a short scan. A lock says who has the windows.

Invariants: every work with a ticket leads to exactly one Reply, unless its connection is gone; an
exception never leaves the thread. A tick is steps, each guarded by itself: what one made is kept,
whatever befalls it later, and the others go on. What waited longer than the queue's deadline is
shed, except drops and subscriptions' ends, which took effect when they were received.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue

from ..journal.interface import Settle
from ..journal.store_thread import Storage
from ..telemetry.metrics import Metrics
from ..telemetry.tracing import EngineTraces
from ..wire.opcodes import Limits
from .model.shard import Shard
from .model.ticket import Effect
from .moment import Moment
from .reads.commands import PlainSearch
from .reads.reads import Reads, is_short
from .streams.commands import Sent
from .streams.deliveries import Push
from .tick import Tick, Work
from .waiting import is_ready


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
        traces: EngineTraces | None = None,
    ) -> None:
        self._metrics = metrics
        self._queue: SimpleQueue[Work | None] = SimpleQueue()
        #: Taken from the queue, and not sorted in yet.
        self._taken: deque[Work | None] = deque()
        #: Held by whoever looks at windows: the engine, or the loop while the engine sleeps.
        self._windows = threading.Lock()
        self._is_asleep = self._is_stopping = False
        self._sent: deque[Push] = deque()
        self._sent_noted = False
        self._reads = Reads(metrics, clock_us)
        self.moment = Moment(metrics, queue_deadline_ms, clock_us, post)
        self.tick = Tick(
            self.moment, self._reads, metrics, limits, self.submit, self._collect_more, clock_ns
        )
        self.moment.traces = self._reads.traces = traces
        self.tick.changing.durability.traces = traces
        self.feeds, self.live = self.tick.feeds, self.tick.live
        self.gathered = self.tick.gathered
        self.followers = self.tick.changing.followers
        self.matches, self.novels = self.tick.matches, self.tick.novels
        self._thread = threading.Thread(target=self._run, name="omendb-engine", daemon=True)

    # -- on the loop's thread ---------------------------------------------------------------------

    @property
    def depth(self) -> int:
        """How many works wait."""
        return self._queue.qsize() + self.tick.depth

    @property
    def pending_changes(self) -> int:
        """How many changes are admitted and not yet applied."""
        return self.tick.changing.durability.pending

    def start(self, storage: Storage | None = None) -> None:
        """Start the thread; ``storage`` None: collections are in memory only."""
        self.tick.changing.lifecycle.storage = self.followers.storage = storage
        self._thread.start()

    def settler(self, shard: Shard) -> Settle:
        """What the log of ``shard`` tells what it has settled."""
        return self.tick.changing.durability.settler(shard)

    def submit(self, work: Work) -> None:
        """Queue a work; never waits. From any thread."""
        self._queue.put(work)

    def sent(self, push: Push) -> None:
        """The socket took a push. On the loop's thread; many of them wake the engine once."""
        self._sent.append(push)
        if not self._sent_noted:
            self._sent_noted = True
            self._queue.put(Sent(self._take_sent))

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
            return self.tick.reading.answer_now(works)
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
                self._wait(self.tick.patience_seconds())
                with self._windows:
                    self._collect()
                    self._work()
                is_over = self._is_stopping and not self.tick.has_waiting
            except Exception as error:  # what was under way is where it was, and goes on
                self.moment.fault(error, "a turn of the engine")

    def _work(self) -> None:
        """One tick, and its effects to the loop."""
        started_ns = time.perf_counter_ns()
        self.moment.has_handed_over = False
        requests = self.tick.do()
        self.moment.hand_over()
        if requests or self.moment.has_handed_over:
            self._metrics.ticks += 1
            self._metrics.tick_us.record((time.perf_counter_ns() - started_ns) // 1000)
        if requests:
            self._metrics.tick_requests.record(requests)

    def _wait(self, patience_seconds: float | None) -> None:
        """Take the first of the queue; nothing if none came in that time."""
        self._is_asleep = True
        try:
            if patience_seconds == 0.0:
                self._taken.append(self._queue.get_nowait())
            else:
                self._taken.append(self._queue.get(timeout=patience_seconds))
        except Empty:
            pass
        finally:
            self._is_asleep = False

    def _collect(self) -> None:
        """Sort in everything that came. What faults is tried once more, and then refused."""
        taken = self._taken
        while True:
            if not taken:
                try:
                    taken.append(self._queue.get_nowait())
                except Empty:
                    return
            work = taken[0]
            if work is None:
                self._is_stopping = True
            else:
                self._sort_in(work)
            taken.popleft()

    def _collect_more(self) -> None:
        """In the middle of a tick."""
        if not self._queue.empty():
            self._collect()

    def _sort_in(self, work: Work) -> None:
        try:
            self.tick.sort_in(work)
        except Exception as error:
            self.moment.fault(error, "taking in work")
            self.tick.sort_in_again(work)

    def _take_sent(self, sent: Callable[[Push], None]) -> None:
        """Tell of all pushes that went out meanwhile. On the engine's thread."""
        self._sent_noted = False
        while self._sent:
            sent(self._sent[0])
            self._sent.popleft()
